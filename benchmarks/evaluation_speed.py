"""How long one evaluation of all users takes: leave-one-out, full and sampled, in one pass.

    python -m benchmarks.evaluation_speed --dataset ml-1m --threads 2

Every user's test item is ranked among all unseen items and among 99 negatives. The agents are not
trained: that costs the same.
"""

import argparse
import time
from pathlib import Path

import torch

from benchmarks.options import add_device, exit_with, ratings_on
from recsys_rl.agent.build import linear_model
from recsys_rl.agent.ddpg import DDPG
from recsys_rl.baselines.registry import BASELINES
from recsys_rl.data.arguments import MOST_THREADS, whole_number
from recsys_rl.data.devices import generator_on
from recsys_rl.data.download import DATA_FOLDER
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.splits import leave_one_out
from recsys_rl.evaluation.protocols import leave_one_out_metrics, ranking_task, sample_negatives
from recsys_rl.evaluation.scores import ScoreFunction
from recsys_rl.experiments import config_of

AGENTS = "DRR-ave", "DRR-set", "DRR-seq"


def untrained(name: str, dataset: str, train: Interactions) -> ScoreFunction:
    """An agent of the registry with random vectors."""
    there = train.user.device
    fields = {"state.embeddings": "random", "device": there.type}
    config = config_of(name, dataset).with_fields(fields)
    linear = linear_model(config, train, generator_on(there, 0))
    return DDPG(config, train.n_users, train.n_items, linear=linear).score


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ml-1m")
    parser.add_argument("--root", type=Path, default=DATA_FOLDER)
    parser.add_argument("--threads", type=whole_number(1, MOST_THREADS), default=2)
    parser.add_argument("--repeats", type=whole_number(1), default=3)
    add_device(parser)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    data = ratings_on(options.device, options.root / options.dataset)
    split = leave_one_out(data)
    history, target = ranking_task(split, "test")
    negatives = sample_negatives(data, target.user, generator=torch.Generator().manual_seed(3))
    models = {name: BASELINES[name](split.train) for name in ("popularity", "EASE")}
    models |= {name: untrained(name, options.dataset, split.train) for name in AGENTS}
    print(f"{options.dataset}, {len(target):,} users, {options.threads} threads, seconds")
    for name, score in models.items():
        spent = []
        for _ in range(options.repeats):
            begun = time.perf_counter()
            leave_one_out_metrics(score, history, target, negatives)
            spent.append(time.perf_counter() - begun)
        print(f"{name:12}" + "".join(f"{seconds:8.2f}" for seconds in spent), flush=True)


if __name__ == "__main__":
    exit_with(main)
