"""What learns, by name: agent, training, states, environments, replay, the released agent.

Names alone, no logic: everything lives in the package `recsys_rl`.
"""

from recsys_rl.agent.build import build
from recsys_rl.agent.checkpoint import Checkpoints
from recsys_rl.agent.config import Config
from recsys_rl.agent.ddpg import DDPG
from recsys_rl.agent.networks import Actor, ItemCritic, VectorCritic
from recsys_rl.agent.replay import PrioritizedReplayBuffer, ReplayBuffer, Transitions
from recsys_rl.agent.training import ddpg_update, play, train
from recsys_rl.agent.vector import VectorDDPG
from recsys_rl.baselines.gaussian import GaussianLikes
from recsys_rl.baselines.registry import BASELINES, check_baselines
from recsys_rl.embeddings.cooccurrence import Cooccurrence
from recsys_rl.embeddings.pmf import PMF
from recsys_rl.envs.cold_start import ColdStartEnv
from recsys_rl.envs.logged import LoggedEnv
from recsys_rl.envs.simulated import SimulatedEnv
from recsys_rl.envs.user_leaves import UserLeavesEnv
from recsys_rl.experiments import config_of, configs_of
from recsys_rl.releasing import release
from recsys_rl.serving import Recommender
from recsys_rl.states.base import State
from recsys_rl.states.registry import STATES
