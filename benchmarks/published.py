"""Holds the judge against published figures: protocol A of ML-1M, models that have no luck in them.

    python benchmarks/published.py --root data

Writes benchmarks/results/published-ml-1m.json. EASE has one setting, tried over a grid on the test
items, since what is checked is the judge and not the model: the grid's best Hit@10 is the one that
a published figure would show. What can differ: the 99 negatives are drawn anew; rows with equal
time stamps, nearly half, keep the file's order here and have another one in the published files; a
history includes the validation film here.
"""

import argparse
import json
from pathlib import Path

import torch

from recsys_rl.baselines.ease import EASE
from recsys_rl.baselines.popularity import Popularity
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.movielens import load_ratings
from recsys_rl.data.splits import leave_one_out
from recsys_rl.evaluation.protocols import leave_one_out_metrics, ranking_task, sample_negatives

GRID = (200.0, 500.0, 1000.0, 2000.0)
# Hit@10, nDCG@10, published for the files of He et al., WWW 2017 (NCF).
PUBLISHED = {"popularity": (0.4533, 0.2542), "EASE": (0.7192, 0.4494)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path("data"))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = Interactions.from_ratings(load_ratings(options.root / "ml-1m"))
    split = leave_one_out(data)
    history, target = ranking_task(split, "test")
    negatives = sample_negatives(data, target.user, generator=torch.Generator().manual_seed(3))

    def judge(score) -> tuple[float, float]:
        found = leave_one_out_metrics(score, history, target, negatives).mean()
        return round(found["sampled_hr@10"], 4), round(found["sampled_ndcg@10"], 4)

    tried = {l2: judge(EASE(split.train, l2)) for l2 in GRID}
    best = max(tried, key=lambda l2: tried[l2][0])
    ours = {"popularity": judge(Popularity(split.train)), "EASE": tried[best]}
    result = {name: {"published": PUBLISHED[name], "ours": ours[name]} for name in PUBLISHED} | {
        "EASE lambda": {f"{l2:g}": figures for l2, figures in tried.items()}
    }
    path = Path(__file__).parent / "results" / "published-ml-1m.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(path.read_text())


if __name__ == "__main__":
    main()
