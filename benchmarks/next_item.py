"""What the next-item task is worth: released agents by gap, with ties shuffled, told wrongly.

    python -m benchmarks.next_item --releases models/ml-1m-next models/ml-1m-next-clock
    python -m benchmarks.next_item --baselines

Split leave-one-out, test items. Protocols in the table, each with what the agent reads behind it as
in `evaluation.protocols.READS`:

    leave-one-out, by gap           hr@10 and ndcg@10, also for each gap between the test item and
                                    the rating before it, and the shares of the gaps
    leave-one-out, ties shuffled    rows of one time in random order, the test item among them (it
                                    may then be one that was trained on); the mean of five orders
    leave-one-out, ties before the test item shuffled    the same, and the test item stays
    leave-one-out, told ...         the probes of `evaluation.next_item`

--baselines records popularity and EASE, with their settings of leave-one-out, on the split
after-a-pause; agents are trained on it by `benchmarks.study`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks import results
from benchmarks.options import exit_with
from recsys_rl.baselines.registry import BASELINES
from recsys_rl.data.arguments import MOST_THREADS, whole_number
from recsys_rl.data.download import DATA_FOLDER
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.movielens import load_ratings
from recsys_rl.data.random_streams import own_stream
from recsys_rl.data.splits import leave_one_out
from recsys_rl.evaluation.next_item import PROBES, by_gap, gap_classes, ties_shuffled, told
from recsys_rl.evaluation.protocols import READS, leave_one_out_metrics, ranking_task
from recsys_rl.evaluation.scores import ScoreFunction
from recsys_rl.evaluation.statistics import Evaluation
from recsys_rl.serving import Recommender
from recsys_rl.tasks.registry import task_of

ORDERS = 5
BASELINE_NAMES = "popularity", "EASE"
NAME = "leave-one-out"


def evaluations(
    score: ScoreFunction, data: Interactions, reads_clock: bool, orders: int = ORDERS
) -> Iterator[tuple[str, Evaluation]]:
    """Protocol and what it says, one after another."""
    history, target = ranking_task(leave_one_out(data), "test")
    classes = gap_classes(history, target)  # times stay where they are, so for every order
    stream = own_stream(0, "ties")
    logs = [ties_shuffled(data, stream) for _ in range(orders)]
    shuffled = {
        "ties shuffled": [ranking_task(leave_one_out(log), "test") for log in logs],
        "ties before the test item shuffled": [
            (ties_shuffled(history, stream), target) for _ in range(orders)
        ],
    }
    for reads in READS if reads_clock else ["order"]:
        ending = READS[reads]
        found = leave_one_out_metrics(score, history, target, reads=reads)
        yield f"{NAME}, by gap{ending}", by_gap(found, classes)
        for name, tasks in shuffled.items():
            tied = [leave_one_out_metrics(score, *task, reads=reads) for task in tasks]
            yield f"{NAME}, {name}{ending}", by_gap(averaged(tied), classes)
    for name, request in PROBES.items() if reads_clock else ():
        found = leave_one_out_metrics(told(score, request), history, target, reads="request")
        yield f"{NAME}, {name}", by_gap(found, classes)


def averaged(found: list[Evaluation]) -> Evaluation:
    """The mean of several evaluations of the same users, user by user."""
    metrics = {
        name: np.mean([each.metrics[name] for each in found], axis=0) for name in found[0].metrics
    }
    return replace(found[0], metrics=metrics, top=None)


def released(folder: Path, data: Interactions) -> Recommender:
    """ValueError where an agent was trained for something else."""
    recommender = Recommender.load(folder)
    protocol = recommender.config["protocol"]
    if len(recommender.item_ids) != data.n_items or "leave one out" not in protocol:
        raise ValueError(f"{folder} was not trained on the split leave-one-out of these data")
    return recommender


def of_release(recommender: Recommender, data: Interactions, orders: int = ORDERS) -> pd.DataFrame:
    """Rows of the table for a released agent of ml-1m or ml-100k."""
    config = recommender.config
    state = config["config"]["state"]["name"]
    key = {"dataset": config["dataset"], "split": NAME, "agent": state}
    key |= {"seed": config["config"]["seed"], "stage": "final"}
    rows = []
    for protocol, found in evaluations(recommender.score, data, recommender.reads_clock, orders):
        kept = found.metrics if "by gap" in protocol else ()  # the others would fill the table
        by_user = [name for name in kept if not name.startswith(("share", "ndcg@10, "))]
        rows.append(results.rows_of(found, by_user=by_user, protocol=protocol, **key))
        print(protocol, {n: round(v, 4) for n, v in found.mean().items()}, flush=True)
    return pd.concat(rows, ignore_index=True)


def of_baselines(dataset: str, data: Interactions) -> pd.DataFrame:
    """Popularity and EASE on the split after-a-pause."""
    task, rows = task_of(data, "after-a-pause"), []
    for name in BASELINE_NAMES:
        score = BASELINES[name](task.train, **results.tuned(dataset, NAME).get(name, {}))
        for protocol, found in task.test(score).items():
            key = {"dataset": dataset, "split": protocol, "agent": name, "seed": 0}
            key |= {"stage": "final", "protocol": protocol}
            rows.append(results.rows_of(found, by_user=list(found.metrics), **key))
            print(name, found.mean(), flush=True)
    return pd.concat(rows, ignore_index=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ml-1m")
    parser.add_argument("--root", type=Path, default=DATA_FOLDER)
    parser.add_argument("--releases", nargs="+", type=Path, default=[], metavar="FOLDER")
    parser.add_argument("--baselines", action="store_true")
    parser.add_argument("--threads", type=whole_number(1, MOST_THREADS), default=1)
    options = parser.parse_args(arguments)
    if not (options.releases or options.baselines):
        parser.error("nothing is asked for: give --releases or --baselines")
    torch.set_num_threads(options.threads)
    results.ready()
    data = Interactions.from_ratings(load_ratings(options.root / options.dataset))
    for recommender in [released(folder, data) for folder in dict.fromkeys(options.releases)]:
        results.record(of_release(recommender, data))
    if options.baselines:
        results.record(of_baselines(options.dataset, data))


if __name__ == "__main__":
    exit_with(main)
