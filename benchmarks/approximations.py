"""What the forms for large catalogues cost in quality, on data for which the exact ones fit.

    python -m benchmarks.approximations --dataset ml-1m --agent DRR-set --contexts 0 2048 1024 512
    python -m benchmarks.approximations --dataset ml-1m --agent DRR-seq --negatives 0 2048 512

contexts: columns of the co-occurrence that the item vectors start from; negatives: items in the
sampled softmax of the next item; 0 is the exact form. Agents are pretrained only, for `--updates`,
and validation users or rows give the figures. One line of JSON for each setting and seed.
"""

import argparse
import json
import time
from pathlib import Path
from unittest import mock

import torch

from recsys_rl.data.download import DATA_FOLDER
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.movielens import load_ratings
from recsys_rl.embeddings import contexts as limited
from recsys_rl.experiments import config_of
from recsys_rl.tasks import Task, split_for, task_of


def figures(task: Task, name: str, dataset: str, seed: int, updates: int, options: dict) -> dict:
    """Of the agent at the end of pretraining, on validation data."""
    fields = {"pretrain.updates": updates, "ddpg.updates": 0}
    if options["negatives"]:
        fields["pretrain.negatives"] = options["negatives"]
    config = config_of(name, dataset, seed).with_fields(fields)
    columns = options["contexts"] or task.train.n_items
    with mock.patch.object(limited, "default_contexts", return_value=columns):
        training = task.build(config)
    agent, begun = training.agent, time.perf_counter()
    for _ in range(updates):
        agent.pretrain(next(training.demonstrations))
    seconds = (time.perf_counter() - begun) / max(1, updates)
    return {"seconds per update": round(seconds, 4)} | {
        name: round(float(value), 4) for name, value in task.validate(agent.score).items()
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ml-1m")
    parser.add_argument("--root", type=Path, default=DATA_FOLDER)
    parser.add_argument("--agent", default="DRR-set", choices=("DRR-set", "DRR-seq"))
    parser.add_argument("--contexts", type=int, nargs="+", default=[0])
    parser.add_argument("--negatives", type=int, nargs="+", default=[0])
    parser.add_argument("--updates", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    data = Interactions.from_ratings(load_ratings(options.root / options.dataset))
    config = config_of(options.agent, options.dataset)
    task = task_of(data, split_for(config.env.name))
    where = {"dataset": options.dataset, "agent": options.agent, "updates": options.updates}
    for contexts in options.contexts:
        for negatives in options.negatives:
            setting = {"contexts": contexts, "negatives": negatives}
            for seed in range(options.seeds):
                form = task, options.agent, options.dataset, seed, options.updates, setting
                print(json.dumps(where | setting | {"seed": seed} | figures(*form)), flush=True)


if __name__ == "__main__":
    main()
