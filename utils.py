"""From MovieLens files to tensors and figures, by name: data, splits, evaluation, plots; and the
command in a cell.

Names alone, no logic: everything lives in the package `recsys_rl`.
"""

from recsys_rl.command.cells import session, suggest
from recsys_rl.data.atomic_files import writable
from recsys_rl.data.download import DataUnavailable, open_movielens
from recsys_rl.data.histories import POSITIVE, SHOWN, Histories
from recsys_rl.data.interactions import IdMap, Interactions, fingerprint
from recsys_rl.data.movielens import load_movies, load_ratings
from recsys_rl.data.opening import Data, open_data
from recsys_rl.data.rewards import liked_reward, paper_reward
from recsys_rl.data.splits import leave_one_out, random_split, split_by_time, split_users
from recsys_rl.data.titles import display_title
from recsys_rl.envs.user_leaves import in_turn, leaving_users, lists_far_apart
from recsys_rl.evaluation import plots
from recsys_rl.evaluation.metrics import list_statistics
from recsys_rl.evaluation.protocols import leave_one_out_metrics
from recsys_rl.evaluation.sessions import (
    HORIZONS,
    cold_start_oracle,
    cold_start_sessions,
    roll_out,
    seed_and_suggest,
    whole_sessions,
)
from recsys_rl.evaluation.statistics import Evaluation
from recsys_rl.tasks.registry import task_of
