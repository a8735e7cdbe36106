"""How time and memory grow with the data: synthetic logs of the shapes of MovieLens' sets.

    python -m benchmarks.growth --shapes ml-100k ml-1m ml-10m ml-20m ml-32m
    python -m benchmarks.growth --shapes ml-1m ml-32m --stages "DRR-set, DDPG update, sampled"
    python -m benchmarks.growth --picture           # docs/growth.png and a table, of these rows

Users, items and ratings are as many as in the set; how many ratings a user has and an item gets is
log-normal, with medians near those of the set. Every stage runs in a process of its own, whose peak
memory is what the operating system has counted (`ru_maxrss`, the log and the libraries included).
Seconds are those of the processor, so that they say the same beside other programs; with one thread
they are those of the clock on a machine with nothing else to do. Agents are not trained, their
vectors are random: that costs the same. Rows go to `benchmarks/results/growth.csv`; a stage that
was measured again replaces its row.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from benchmarks.options import exit_with
from benchmarks.pictures import write_picture
from benchmarks.synthetic_logs import SHAPES, synthetic_ratings
from recsys_rl.agent.build import EMBEDDINGS, LINEAR_WIDTH, Training, build, fit_pmf
from recsys_rl.agent.training import ddpg_update, play
from recsys_rl.baselines.gaussian import GaussianLikes
from recsys_rl.baselines.registry import LINEAR_MODELS
from recsys_rl.data.arguments import MOST_THREADS, whole_number
from recsys_rl.data.atomic_files import writable, write_atomically
from recsys_rl.data.ids import IdMap
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.opening import open_data
from recsys_rl.data.splits import leave_one_out, rows_of_users, split_users
from recsys_rl.evaluation.protocols import leave_one_out_metrics, ranking_task
from recsys_rl.evaluation.sessions import cold_start_sessions
from recsys_rl.experiments import config_of
from recsys_rl.tasks.registry import task_of

TABLE = Path(__file__).parent / "results" / "growth.csv"
PICTURE = Path(__file__).parent.parent / "docs" / "growth.png"
UPDATES = 7  # that are timed; the median counts
SAMPLED = {"DRR-seq": {"pretrain.negatives": 1024}, "DRR-set": {"pretrain.negatives": 4096}}
EVALUATED = 256  # users


class RandomLikes(GaussianLikes):
    """A Gaussian of the usual size, of random numbers."""

    @classmethod
    def fit(cls, train, k, generator, noise=0.02, memory=None):
        components = torch.randn(train.n_items, k, generator=generator) / k
        mean = torch.full((train.n_items,), 0.01)
        return cls(mean, components, torch.full_like(mean, noise), memory)


LINEAR_MODELS["random"] = RandomLikes


# ---------------------------------------------------------------------------- the stages


def log_in(folder: Path) -> Interactions:
    """What `write_log` has written, without reading a text file again."""
    columns = (torch.from_numpy(np.load(folder / f"{name}.npy")) for name in COLUMNS)
    user, item, rating, timestamp = columns
    ids = (IdMap(np.arange(1, 2 + int(column.max()))) for column in (user, item))
    return Interactions(user, item, rating, timestamp, *ids)


COLUMNS = "user", "item", "rating", "timestamp"


def write_log(folder: Path, shape: str) -> None:
    """ratings.csv as GroupLens writes them, by user and item, and the sorted columns."""
    ratings = synthetic_ratings(SHAPES[shape])
    names = {"user": "userId", "item": "movieId"}
    ratings.rename(columns=names).to_csv(folder / "ratings.csv", index=False)
    log = Interactions.from_ratings(ratings)
    for name in COLUMNS:
        np.save(folder / f"{name}.npy", getattr(log, name).numpy())


def timed(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def median(work: Callable[[], object]) -> float:
    work()  # does not count
    return float(np.median([timed(work) for _ in range(UPDATES)]))


def read(folder: Path) -> float:
    return timed(lambda: open_data(folder / "ratings.csv").interactions())


def split(folder: Path) -> float:
    """Both splits of the agents, with the negatives that leave-one-out ranks among."""
    log = log_in(folder)
    return timed(lambda: (task_of(log, "cold-start"), task_of(log, "leave-one-out")))


def embeddings(name: str) -> Callable[[Path], float]:
    def work(folder: Path) -> float:
        log, generator = log_in(folder), torch.Generator().manual_seed(0)
        return timed(lambda: EMBEDDINGS[name](log, WIDTHS[name], generator))

    return work


WIDTHS = {"likes": 128, "sequence": 96}


def gaussian(folder: Path) -> float:
    log, generator = log_in(folder), torch.Generator().manual_seed(0)
    return timed(lambda: GaussianLikes.fit(log, LINEAR_WIDTH, generator))


def pmf(folder: Path) -> float:
    log, generator = log_in(folder), torch.Generator().manual_seed(0)
    return timed(lambda: fit_pmf(log, 100, generator))


def ials(folder: Path) -> float:
    from recsys_rl.baselines.ials import IALS

    log = log_in(folder)
    return timed(lambda: IALS(log, factors=64))


def training_of(folder: Path, agent: str, **fields: object) -> Training:
    """Ready to learn; its share of users for DDPG is kept, its vectors are random."""
    changes = {"state.embeddings": "random", "ddpg.updates": 0}  # 0: no warm-up of the critic
    if agent == "DRR-set":
        changes["state.linear"] = "random"
    config = config_of(agent, "ml-1m").with_fields(changes | fields)
    return build(config, log_in(folder))


def pretraining(agent: str, **fields: object) -> Callable[[Path], float]:
    def work(folder: Path) -> float:
        training = training_of(folder, agent, **fields)
        return median(lambda: training.agent.pretrain(next(training.demonstrations)))

    return work


def ddpg(**fields: object) -> Callable[[Path], float]:
    """An update, and its share of the sessions that are played before every T-th."""

    def work(folder: Path) -> float:
        training = training_of(folder, "DRR-set", **fields)
        agent, environment = training.agent, training.environment
        agent.start_ddpg()
        ddpg_update(*training)  # plays, so that there is something to replay; then T - 1 updates
        playing = timed(lambda: play(agent, environment))
        return playing / environment.horizon + median(lambda: ddpg_update(*training))

    return work


def sessions(folder: Path) -> float:
    """Cold-start sessions of 40 steps with some users."""
    score = training_of(folder, "DRR-set").agent.score
    log = log_in(folder)
    _, users = split_users(log.n_users, (1 - EVALUATED / log.n_users, EVALUATED / log.n_users))
    some = log.select(rows_of_users(log, users))
    return timed(lambda: cold_start_sessions(score, some, draws=1))


def ranking(folder: Path) -> float:
    """Leave-one-out, all unseen items ranked, of some users."""
    score = training_of(folder, "DRR-seq").agent.score
    history, target = ranking_task(leave_one_out(log_in(folder)), "test")
    some = target.select(torch.arange(len(target)) < EVALUATED)
    return timed(lambda: leave_one_out_metrics(score, history, some))


STAGES: dict[str, Callable[[Path], float]] = {
    "read": read,
    "split": split,
    "vectors of DRR-set": embeddings("likes"),
    "vectors of DRR-seq": embeddings("sequence"),
    "Gaussian": gaussian,
    "PMF": pmf,
    "iALS": ials,
    "DRR-set, pretraining update": pretraining("DRR-set"),
    "DRR-set, pretraining update, sampled": pretraining("DRR-set", **SAMPLED["DRR-set"]),
    "DRR-set, DDPG update": ddpg(),
    "DRR-set, DDPG update, sampled": ddpg(**SAMPLED["DRR-set"]),
    "DRR-seq, pretraining update": pretraining("DRR-seq"),
    "DRR-seq, pretraining update, sampled": pretraining("DRR-seq", **SAMPLED["DRR-seq"]),
    "cold-start sessions, 256 users": sessions,
    "leave-one-out, 256 users": ranking,
}
PREPARATION = tuple(STAGES)[:5]
MARKS = "os^Dvp"  # of at most six series


# ---------------------------------------------------------------------------- measuring


def child(folder: Path, threads: int, *options: str) -> subprocess.Popen:
    """This program in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.growth", "--folder", str(folder), *options]
    command += ["--threads", str(threads)]
    alone = os.environ | {"OPENBLAS_NUM_THREADS": str(threads)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=alone)


def measured(stage: str, folder: Path, threads: int) -> tuple[float, float]:
    """Seconds and peak memory in GiB of a stage."""
    with child(folder, threads, "--stage", stage) as process:
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    refuse_failed(process.returncode, f"{stage} was not measured")
    each = 1 if platform.system() == "Darwin" else 1024
    return float(output.split()[-1]), usage.ru_maxrss * each / 2**30


def refuse_failed(code: int, what: str) -> None:
    """ChildProcessError where a process did not end with 0."""
    if code:
        how = f"was stopped by signal {-code}" if code < 0 else f"ended with {code}"
        raise ChildProcessError(
            f"{what}, since its process {how}: what was measured before is in {TABLE}, go on with "
            "--stages"
        )


def keep(row: dict[str, object]) -> None:
    table = pd.DataFrame([row])
    if TABLE.exists():
        old = pd.read_csv(TABLE)
        again = (old["shape"] == row["shape"]) & (old["stage"] == row["stage"])
        table = pd.concat([old[~again], table])
    write_atomically(TABLE, table.to_csv(index=False, float_format="%.4g").encode())


def measure(shape: str, stages: list[str], threads: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with child(folder, threads, "--make", shape) as process:
            refuse_failed(process.wait(), f"the log of {shape} was not made")
        for stage in stages:
            seconds, gib = measured(stage, folder, threads)
            keep(dict(SHAPES[shape]._asdict(), shape=shape, stage=stage, seconds=seconds, gib=gib))
            print(f"{shape:8} {stage:38} {seconds:9.3f} s {gib:6.2f} GiB", flush=True)


# ---------------------------------------------------------------------------- what is shown


def markdown(table: pd.DataFrame) -> str:
    """Seconds and GiB of every stage (rows) and shape (columns)."""
    shapes = [shape for shape in SHAPES if shape in set(table["shape"])]
    lines = ["| | " + " | ".join(shapes) + " |", "|---|" + "---|" * len(shapes)]
    for name in ("users", "items", "ratings"):
        numbers = (f"{getattr(SHAPES[shape], name):,}" for shape in shapes)
        lines.append(f"| {name} | " + " | ".join(numbers) + " |")
    columns = (table[name] for name in ("shape", "stage", "seconds", "gib"))
    cells = {
        (shape, stage): f"{two_digits(seconds)} s, {two_digits(gib)} GiB"
        for shape, stage, seconds, gib in zip(*columns, strict=True)
    }
    for stage in STAGES:
        row = (cells.get((shape, stage), "") for shape in shapes)
        lines.append(f"| {stage} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def two_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2g}"


def exponent(size: np.ndarray, value: np.ndarray) -> float:
    """b of value ~ size ** b, by least squares of the logarithms."""
    return float(np.polyfit(np.log(size), np.log(value), 1)[0])


def draw(axes: plt.Axes, table: pd.DataFrame, stages: list[str], size: str, value: str) -> None:
    for stage, mark in zip(stages, MARKS, strict=False):
        rows = table[table["stage"] == stage].sort_values(size)
        if len(rows) > 1:
            slope = exponent(rows[size].to_numpy(), rows[value].to_numpy())
            line = "--" if "sampled" in stage else "-"
            axes.loglog(rows[size], rows[value], mark + line, ms=5, label=f"{stage}: {slope:.2f}")
    axes.set_xlabel(size)
    axes.legend(fontsize=7, title="exponent", title_fontsize=7)
    axes.grid(alpha=0.3, which="both")


def picture(table: pd.DataFrame) -> None:
    figure, panels = plt.subplots(1, 3, figsize=(16, 5))
    updates = [stage for stage in STAGES if "update" in stage]
    prepared = [*(stage for stage in PREPARATION if stage != "read"), "PMF", "iALS"]
    draw(panels[0], table, prepared, "ratings", "seconds")
    draw(panels[1], table, updates, "items", "seconds")
    draw(panels[2], table, updates, "items", "gib")
    for axes, title in zip(
        panels,
        (
            "Preparation grows as the ratings do: seconds",
            "With a sample an update hardly grows: seconds",
            "Memory of an update grows slowly: GiB at most",
        ),
        strict=True,
    ):
        axes.set_title(title)
    figure.tight_layout()
    write_picture(figure, PICTURE, dpi=110)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=[], choices=SHAPES)
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=STAGES)
    parser.add_argument("--threads", type=whole_number(1, MOST_THREADS), default=1)
    parser.add_argument("--picture", action="store_true")
    parser.add_argument(
        "--stage", choices=STAGES, help=argparse.SUPPRESS
    )  # in a process of its own
    parser.add_argument("--make", choices=SHAPES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if (options.make or options.stage) and not options.folder:
        parser.error("--make and --stage need a --folder: --shapes and --stages need none")
    torch.set_num_threads(options.threads)
    if options.make:
        write_log(options.folder, options.make)
        return
    if options.stage:
        print(STAGES[options.stage](options.folder))
        return
    if options.shapes:
        writable(TABLE.parent)
    for shape in dict.fromkeys(options.shapes):
        measure(shape, list(dict.fromkeys(options.stages)), options.threads)
    if options.picture:
        picture(pd.read_csv(TABLE))
        print(markdown(pd.read_csv(TABLE)))


if __name__ == "__main__":
    exit_with(main)
