"""A study on many machines: jobs that write their rows beside the table, or a Ray cluster.

An array of jobs, as Slurm has them: every job makes its part of the runs (`--task i --of n`) and
writes the rows of each into a file of its own; `--merge` puts them into the table. On Ray the
process that was called records what the workers return.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from benchmarks import results
from recsys_rl.data.atomic_files import write_atomically
from recsys_rl.data.interactions import Interactions

RETRIES = 3  # of a run whose worker was lost


class Run(NamedTuple):
    """One training with its evaluations."""

    dataset: str
    split: str
    agent: str
    seed: int


class RunRows:
    """The rows of runs, a file each, until they are merged: many jobs may write at the same time,
    on file systems that know no locks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, where: Run) -> bool:
        return self._path(where).exists()

    def record(self, rows: pd.DataFrame) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (names,) = rows[list(Run._fields)].drop_duplicates().itertuples(index=False)
        write_atomically(self._path(Run(*names)), rows.to_csv(index=False).encode())

    def merge(self) -> int:
        """Put all rows into the table -> how many runs; the files go when they are in it."""
        files = sorted(self.folder.glob("*.csv"))
        if files:
            results.record(pd.concat([pd.read_csv(file) for file in files], ignore_index=True))
        for file in files:
            file.unlink()
        return len(files)

    def _path(self, where: Run) -> Path:
        return self.folder / f"{'-'.join(map(str, where))}.csv"


Work = Callable[[Interactions, Run], pd.DataFrame]


def on_ray(
    address: str, work: Work, data: Interactions, runs: list[Run], threads: int
) -> list[Run]:
    """Spread runs over a Ray cluster and record each as it comes -> those that failed.

    A run whose worker was lost is made again by another one; it goes on from its checkpoint where
    the machines share the folder of the checkpoints. The others go on where one raises an error.
    """
    try:
        import ray
    except ImportError:
        raise SystemExit(
            "Ray is not installed: pip install 'recsys-rl[cluster]', or use --task and --of"
        ) from None
    if not ray.is_initialized():
        ray.init(address, **({"include_dashboard": False} if address == "local" else {}))
    take = ray.remote(num_cpus=threads, max_retries=RETRIES)
    remote = take(lambda data, where: work(data, where))  # Ray takes plain functions alone
    shared, failed = ray.put(data), []
    running = {remote.remote(shared, where): where for where in runs}
    while running:
        (done, *_), _ = ray.wait(list(running))
        where = running.pop(done)
        try:
            results.record(ray.get(done))
            print(*where, "recorded", flush=True)
        except ray.exceptions.RayError as error:
            print(*where, f"failed: {error}", flush=True)
            failed.append(where)
    return failed
