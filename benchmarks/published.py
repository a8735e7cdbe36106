"""Checks the evaluation code against published figures: sampled leave-one-out of ML-1M.

    python -m benchmarks.published --root data

The models have no luck in them. EASE has one setting, tried over a grid on the test items, since
what is checked is the evaluator and not the model: the grid's best Hit@10 is the one that a
published figure would show. What can differ: the 99 negatives are drawn anew; rows with equal time
stamps, nearly half, keep the file's order here and have another one in the published files; a
history includes the validation item here. Records the stages "published" and "reproduced".
"""

import argparse
from pathlib import Path

import pandas as pd
import torch

from benchmarks import results
from benchmarks.options import add_device, exit_with, ratings_on
from recsys_rl.baselines.ease import EASE
from recsys_rl.baselines.popularity import Popularity
from recsys_rl.data.arguments import MOST_THREADS, whole_number
from recsys_rl.data.splits import leave_one_out
from recsys_rl.evaluation.protocols import leave_one_out_metrics, ranking_task, sample_negatives

GRID = (200.0, 500.0, 1000.0, 2000.0)
# Hit@10, nDCG@10, published for the files of He et al., WWW 2017 (NCF).
PUBLISHED = {"popularity": (0.4533, 0.2542), "EASE": (0.7192, 0.4494)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path("data"))
    parser.add_argument("--threads", type=whole_number(1, MOST_THREADS), default=1)
    add_device(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = ratings_on(options.device, options.root / "ml-1m")
    split = leave_one_out(data)
    history, target = ranking_task(split, "test")
    negatives = sample_negatives(data, target.user, generator=torch.Generator().manual_seed(3))

    def evaluate(score) -> tuple[float, float]:
        found = leave_one_out_metrics(score, history, target, negatives).mean()
        return found["sampled_hr@10"], found["sampled_ndcg@10"]

    best = max((evaluate(EASE(split.train, l2)) for l2 in GRID), key=lambda found: found[0])
    reproduced = {"popularity": evaluate(Popularity(split.train)), "EASE": best}
    rows = pd.concat([
        rows_of_stage(name, stage, figures)
        for stage, found in (("published", PUBLISHED), ("reproduced", reproduced))
        for name, figures in found.items()
    ])  # fmt: skip
    results.record(rows)
    print(rows.to_string(index=False))


def rows_of_stage(agent: str, stage: str, figures: tuple[float, float]) -> pd.DataFrame:
    """Hit@10 and nDCG@10 among 99 negatives, as rows of the table."""
    key = {"dataset": "ml-1m", "split": "leave-one-out", "protocol": "leave-one-out"}
    values = dict(zip(("sampled_hr@10", "sampled_ndcg@10"), figures, strict=True))
    return results.rows(values, agent=agent, seed=0, stage=stage, **key)


if __name__ == "__main__":
    exit_with(main)
