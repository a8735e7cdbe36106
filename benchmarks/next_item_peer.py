"""DRR-seq and SASRec of RecTools on the same cores: quality against minutes of training.

    python -m benchmarks.next_item_peer --dataset ml-1m --threads 2
    python -m benchmarks.next_item_peer --seeds 0 1 2 --peer-python path/to/python

Split leave-one-out, one judge. DRR-seq first, by the one training loop and with its own settings;
then the peer, in its own environment (`peers/README.md`), for at most three times the minutes that
DRR-seq took. Neither pays for the minutes in which it is judged. Rows are kept as they come, in
`results/next_item_peer.csv` (`peers/curve.py`); a training whose test row is there is not made
again, one that was stopped begins anew. `python -m benchmarks.report` draws the picture.
"""

from __future__ import annotations

import argparse
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.options import exit_with
from benchmarks.peers.curve import OURS, PATH, PEER, SPLIT, Curve, of, table
from recsys_rl.data.arguments import MOST_THREADS, whole_number
from recsys_rl.data.download import DATA_FOLDER
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.movielens import load_ratings
from recsys_rl.evaluation.scores import ScoreFunction
from recsys_rl.experiments import config_of
from recsys_rl.tasks.base import Task
from recsys_rl.tasks.registry import task_of

ROOT = Path(__file__).resolve().parents[1]
TIMES = 3  # the minutes of the peer, in those of DRR-seq
PYTHON = ROOT / "benchmarks" / "peers" / "venv" / "bin" / "python"


def ours(task: Task, curve: Curve, dataset: str, seed: int) -> None:
    """Train DRR-seq as a study does, a row at every validation; then judge the test rows once."""

    def validate(score: ScoreFunction) -> dict[str, float]:
        return curve.judge("validation", lambda: task.validate(score))

    watched = replace(task, validate=validate)
    training = watched.build(config_of(OURS, dataset, seed))
    watched.fit(training)  # leaves the agent with the weights that are best on validation
    curve.judge("test", lambda: task.test(training.agent.score)[SPLIT].mean())


def minutes_of(path: Path, **key: object) -> float | None:
    """How long a training took, by its test row; None where there is none."""
    found = of(table(path), **key, split=SPLIT, part="test")
    return None if found.empty else float(found["minutes"].iloc[-1])


def theirs(python: Path, threads: int, **asked: object) -> None:
    """The peer's training, in its own environment."""
    asked["threads"] = threads
    options = [text for name, value in asked.items() for text in (f"--{name}", str(value))]
    command = [str(python), "-m", "benchmarks.peers.rectools_sasrec", *options]
    threads_of = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    ended = subprocess.run(command, cwd=ROOT, env=os.environ | threads_of).returncode
    if ended:
        raise ChildProcessError(
            f"the training of the peer ended with {ended}: mend what it said above, and the same "
            "call makes it again; ours is kept"
        )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--dataset", default="ml-1m")
    add("--root", type=Path, default=DATA_FOLDER)
    add("--seeds", nargs="+", type=whole_number(0), default=[0])
    add("--threads", type=whole_number(1, MOST_THREADS), default=1)
    add("--peer-python", type=Path, default=PYTHON, help="the Python that has RecTools")
    add("--into", type=Path, default=PATH, help="the table of rows")
    options = parser.parse_args(arguments)
    if not options.peer_python.exists():
        parser.error(f"{options.peer_python} is not there: see benchmarks/peers/README.md")
    root, into, dataset = options.root.resolve(), options.into.resolve(), options.dataset
    torch.set_num_threads(options.threads)
    data = Interactions.from_ratings(load_ratings(root / dataset))
    for seed in options.seeds:
        key = {"dataset": dataset, "seed": seed}
        if minutes_of(into, **key, model=OURS) is None:
            task = task_of(data, SPLIT)
            curve = Curve(into, options.threads, **key, split=SPLIT, model=OURS)
            ours(task, curve, dataset, seed)
        if minutes_of(into, **key, model=PEER) is None:
            limit = TIMES * minutes_of(into, **key, model=OURS)
            asked = key | {"root": root, "minutes": limit, "into": into}
            theirs(options.peer_python, options.threads, **asked)


if __name__ == "__main__":
    exit_with(main)
