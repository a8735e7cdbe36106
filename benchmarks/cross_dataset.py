"""Sessions with the users of another data set: the released agent of ML-1M and baselines.

    python -m benchmarks.cross_dataset --root data

The users of ml-latest-small (the release of September 2018) rated films from 1996 to 2018, in
halves of stars too; those of ML-1M came in 2000. Everything is trained, and chosen, on ML-1M as for
the sessions there, and nothing on these users. The catalogue is that of ML-1M: what else they rated
is left out. Both data sets are samples of MovieLens' users, so a few may be in both. Records the
split "cross-dataset" of ml-1m, rewards by user.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from benchmarks import results, tune_baselines
from benchmarks.options import exit_with
from recsys_rl.baselines.registry import BASELINES
from recsys_rl.data.arguments import MOST_THREADS, whole_number
from recsys_rl.data.interactions import IdMap, Interactions
from recsys_rl.data.movielens import load_ratings
from recsys_rl.evaluation.scores import ScoreFunction
from recsys_rl.evaluation.sessions import HORIZONS, cold_start_oracle, cold_start_sessions
from recsys_rl.serving import Recommender

ROOT = Path(__file__).resolve().parents[1]
COMPARED = "popularity", "item-kNN", "EASE", "LinUCB", "Gaussian of likes"
REWARDS = [f"reward@{t}" for t in HORIZONS]
RELEASED = "DRR-set-no-holdout-gamma-0"  # the agent of `models/ml-1m`


def of_catalogue(ratings: pd.DataFrame, item_ids: IdMap) -> Interactions:
    """The ratings of films that `item_ids` knows, with the indices that they have there."""
    known = (item_ids.index(ratings["item"].to_numpy()) >= 0).numpy()
    users = Interactions.from_ratings(ratings[known])
    return replace(users, item=item_ids.index(users.item_ids.id(users.item)), item_ids=item_ids)


def baselines(train: Interactions) -> dict[str, ScoreFunction]:
    """Name in the table -> score function, with the settings that validation users chose."""
    chosen = results.tuned("ml-1m", "cold-start")
    return {
        results.baseline_name(name, chosen[name]): BASELINES[name](train, **chosen[name])
        for name in COMPARED
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path("data"))
    parser.add_argument("--threads", type=whole_number(1, MOST_THREADS), default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    results.ready()
    data = Interactions.from_ratings(load_ratings(options.root / "ml-1m"))
    train, _, _ = tune_baselines.groups_of(data, seed=0)
    ratings = load_ratings(options.root / "ml-latest-small", check_counts=False)
    users = of_catalogue(ratings, data.item_ids)
    ours = Recommender.load(ROOT / "models" / "ml-1m").score
    key = {"dataset": "ml-1m", "split": "cross-dataset", "protocol": "cold-start-sessions"}
    key |= {"seed": 0, "stage": "final"}
    found = {}
    for name, score in (baselines(train) | {RELEASED: ours, "oracle": None}).items():
        oracle = score is None
        result = cold_start_oracle(users) if oracle else cold_start_sessions(score, users)
        results.record(results.rows_of(result, by_user=REWARDS, agent=name, **key))
        found[name] = result
    print(f"{len(found['oracle'].users)} users, {len(users)} of {len(ratings)} ratings")
    print(pd.DataFrame({name: result.mean() for name, result in found.items()}).T[REWARDS])


if __name__ == "__main__":
    exit_with(main)
