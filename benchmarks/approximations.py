"""What the forms for large catalogues cost in quality, on data for which the exact ones fit.

    python -m benchmarks.approximations --dataset ml-1m --agent DRR-set --contexts 0 2048 1024 512
    python -m benchmarks.approximations --dataset ml-1m --agent DRR-seq --negatives 0 2048 512

contexts: columns of the co-occurrence that the item vectors start from; negatives: items that stand
for the catalogue, in the sampled softmax of the next item (DRR-seq) or in a round of sessions
(DRR-set); 0 is the exact form. Agents are pretrained only, for `--updates`,
and validation users or rows give the figures; with 0 updates it is the item vectors that are
measured, by the cosine with the sum of the latest likes. One line of JSON for each setting, seed.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.options import add_device, exit_with, ratings_on
from recsys_rl.agent.build import pretrained_embeddings
from recsys_rl.agent.config import Config
from recsys_rl.data.arguments import MOST_THREADS, whole_number
from recsys_rl.data.download import DATA_FOLDER
from recsys_rl.data.histories import POSITIVE, Histories, latest
from recsys_rl.data.interactions import Interactions
from recsys_rl.evaluation.scores import ScoreFunction
from recsys_rl.experiments import config_of
from recsys_rl.tasks.base import Task
from recsys_rl.tasks.registry import split_for, task_of


def configured(
    task: Task, name: str, dataset: str, updates: int, contexts: int, negatives: int, seed: int
) -> Config:
    """ValueError where it could not be trained."""
    there = task.train.user.device.type
    fields = {"pretrain.updates": updates, "ddpg.updates": 0, "device": there}
    fields |= {"pretrain.negatives": negatives, "state.contexts": contexts or task.train.n_items}
    config = config_of(name, dataset, seed).with_fields(fields)
    task.check(config)
    return config


def figures(task: Task, config: Config) -> dict:
    """Of the agent at the end of pretraining, on validation data."""
    updates = config.pretrain.updates
    if not updates:
        return rounded(task.validate(cosine(task.train, config)))
    training = task.build(config)
    agent, begun = training.agent, time.perf_counter()
    for _ in range(updates):
        agent.pretrain(next(training.demonstrations))
    seconds = (time.perf_counter() - begun) / updates
    return rounded({"seconds per update": seconds} | task.validate(agent.score))


def rounded(found: dict[str, float]) -> dict[str, float]:
    return {name: round(float(value), 4) for name, value in found.items()}


def cosine(train: Interactions, config: Config) -> ScoreFunction:
    """Items near to the latest five that were liked, or, in cold-start sessions, to all of them."""
    generator = torch.Generator().manual_seed(config.seed)
    start, logged = pretrained_embeddings(config, train, generator), config.env.name == "logged"
    vectors = F.normalize(F.pad(start.item, (0, 0, 0, 1)))
    reads_from, n, bias = (0.5, 5, 0.0) if logged else (POSITIVE, config.state.n, 0.05)

    def score(histories: Histories) -> Tensor:
        item = latest(histories, n, train.n_items, reads_from)
        return F.normalize(vectors[item].sum(1)) @ vectors[:-1].T + bias * start.bias

    return score


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ml-1m")
    parser.add_argument("--root", type=Path, default=DATA_FOLDER)
    parser.add_argument("--agent", default="DRR-set", choices=("DRR-set", "DRR-seq"))
    parser.add_argument("--contexts", type=whole_number(0), nargs="+", default=[0])
    parser.add_argument("--negatives", type=whole_number(0), nargs="+", default=[0])
    parser.add_argument("--updates", type=whole_number(0), default=1000)
    parser.add_argument("--seeds", type=whole_number(1), default=1)
    parser.add_argument("--threads", type=whole_number(1, MOST_THREADS), default=2)
    add_device(parser)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    data = ratings_on(options.device, options.root / options.dataset)
    config = config_of(options.agent, options.dataset)
    task = task_of(data, split_for(config.env.name))
    where = {"dataset": options.dataset, "agent": options.agent, "updates": options.updates}
    settings = [
        {"contexts": contexts, "negatives": negatives, "seed": seed}
        for contexts in options.contexts
        for negatives in options.negatives
        for seed in range(options.seeds)
    ]
    form = task, options.agent, options.dataset, options.updates
    configs = [configured(*form, **setting) for setting in settings]
    for setting, config in zip(settings, configs, strict=True):
        print(json.dumps(where | setting | figures(task, config)), flush=True)


if __name__ == "__main__":
    exit_with(main)
