"""How long one judgement of everybody takes: protocols A and B together, agents and baselines.

    python benchmarks/evaluation_speed.py --dataset ml-1m --threads 2

Every person's test film is ranked among all unseen films and among 99 negatives, in one pass. The
agents have random weights where none are released: that costs the same.
"""

import argparse
import time
from pathlib import Path

import torch

from recsys_rl.agent.config import Settings
from recsys_rl.agent.ddpg import DDPG
from recsys_rl.baselines import ease, popularity
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.movielens import load_ratings
from recsys_rl.data.splits import leave_one_out
from recsys_rl.evaluation.protocols import leave_one_out_metrics, ranking_task, sample_negatives
from recsys_rl.serving import Recommender


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ml-1m")
    parser.add_argument("--root", type=Path, default=Path("data"))
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = Interactions.from_ratings(load_ratings(options.root / options.dataset))
    split = leave_one_out(data)
    history, target = ranking_task(split, "test")
    negatives = sample_negatives(data, target.user, generator=torch.Generator().manual_seed(3))
    models = {
        "popularity": popularity.Popularity(split.train),
        "EASE": ease.EASE(split.train),
        "DRR-ave": DDPG(Settings(vectors="random"), data.n_users, data.n_items).score,
        "DRR-set": Recommender.load(options.models / options.dataset).score,
        "DRR-seq": Recommender.load(options.models / f"{options.dataset}-next").score,
    }
    print(f"{options.dataset}, {len(target):,} people, {options.threads} threads, seconds")
    for name, score in models.items():
        spent = []
        for _ in range(options.repeats):
            begun = time.perf_counter()
            leave_one_out_metrics(score, history, target, negatives)
            spent.append(time.perf_counter() - begun)
        print(f"{name:12}" + "".join(f"{seconds:8.2f}" for seconds in spent), flush=True)


if __name__ == "__main__":
    main()
