"""Sessions with people from elsewhere: the released agent of ML-1M and its rivals meet others.

    python benchmarks/elsewhere.py --root data

The people of ml-latest-small rated films from 1996 to 2018, in halves of stars too; those of ML-1M
came in 2000. Everything is trained, and chosen, on ML-1M as for the sessions there, and nothing on
these people. The catalogue is that of ML-1M: what else they rated is left out. Both data sets are
samples of MovieLens' people, so a few may be in both. Writes results/elsewhere-ml-1m.json.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from benchmarks import study, tables, tune_baselines
from recsys_rl.baselines.registry import BASELINES
from recsys_rl.data.interactions import IdMap, Interactions
from recsys_rl.data.movielens import load_ratings
from recsys_rl.evaluation.scores import ScoreFunction
from recsys_rl.evaluation.sessions import HORIZONS, oracle_sessions, sessions_with_strangers
from recsys_rl.evaluation.statistics import Evaluation
from recsys_rl.serving import Recommender

ROOT = Path(__file__).resolve().parents[1]
RIVALS = "Popularity", "ItemKNN", "EASE", "LinUCB", "GaussianLikes"
METRICS = [f"reward@{t}" for t in HORIZONS]


def of_catalogue(ratings: pd.DataFrame, item_ids: IdMap) -> Interactions:
    """The ratings of films that `item_ids` knows, with the indices that they have there."""
    known = (item_ids.index(ratings["item"].to_numpy()) >= 0).numpy()
    people = Interactions.from_ratings(ratings[known])
    return replace(people, item=item_ids.index(people.item_ids.id(people.item)), item_ids=item_ids)


def rivals(train: Interactions) -> dict[str, ScoreFunction]:
    """Name -> score function, with the settings that validation people of ML-1M chose."""
    chosen = tables.baselines("ml-1m", "sessions")
    build = {name: tune_baselines.BY_NAME.get(name) for name in RIVALS}
    return {
        name: (build[name] or BASELINES[name])(train, **chosen[name]["chosen"]) for name in RIVALS
    }


def figures(result: Evaluation) -> dict:
    """Mean rewards per step, and their intervals over people."""
    mean, interval = result.mean(), result.interval()
    return {"mean": {m: mean[m] for m in METRICS}, "interval": {m: interval[m] for m in METRICS}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path("data"))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = Interactions.from_ratings(load_ratings(options.root / "ml-1m"))
    train, _, _ = study.task(data, "people")
    ratings = load_ratings(options.root / "ml-latest-small", check_counts=False)
    people = of_catalogue(ratings, data.item_ids)
    ours = Recommender.load(ROOT / "models" / "ml-1m").score
    judged = {
        name: sessions_with_strangers(score, people)
        for name, score in (rivals(train) | {"DRR-set": ours}).items()
    } | {"Oracle": oracle_sessions(people)}
    rows = {name: figures(result) for name, result in judged.items()}
    for name in RIVALS:
        rows[name]["ours_minus"] = {
            m: judged["DRR-set"].compare(judged[name], m)[:3] for m in METRICS
        }
    about = {
        "people": len(judged["DRR-set"].users),
        "ratings": len(people),
        "left_out": len(ratings) - len(people),
    }
    path = ROOT / "benchmarks" / "results" / "elsewhere-ml-1m.json"
    tune_baselines.write(path, about | {"rows": rows})
    print(path.read_text())


if __name__ == "__main__":
    main()
