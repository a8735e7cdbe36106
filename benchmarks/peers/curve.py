"""Quality against minutes of training: the rows of an agent and of its peer, kept as they come.

One table, `results/next_item_peer.csv`, one row each time that a model is judged:

    dataset, split      as in `benchmarks.results`
    model, seed         DRR-seq or the peer, and its training seed
    threads             of torch
    part                validation: of the learning curve; test: at the end, once
    minutes             of the clock since the training began, its preparation included, the times
                        in which it was judged left out
    cpu_minutes         the same, of the processor
    hr@10, ndcg@10      full ranking

Here is nothing that a peer's environment could lack.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pandas as pd

from recsys_rl.data.atomic_files import write_atomically

PATH = Path(__file__).parents[1] / "results" / "next_item_peer.csv"
SPLIT = "leave-one-out"
OURS, PEER = "DRR-seq", "SASRec (RecTools)"
KEY = ["dataset", "split", "model", "seed"]
METRICS = ["hr@10", "ndcg@10"]
COLUMNS = [*KEY, "threads", "part", "minutes", "cpu_minutes", *METRICS]
CHOSEN_BY = "ndcg@10"  # of validation


def table(path: Path | None = None) -> pd.DataFrame:
    """All rows; none where there is no file yet."""
    path = path or PATH
    return pd.read_csv(path) if path.exists() else pd.DataFrame(columns=COLUMNS)


def of(rows: pd.DataFrame, **key: object) -> pd.DataFrame:
    """The rows with these values."""
    for column, value in key.items():
        rows = rows[rows[column] == value]
    return rows


def best(rows: pd.DataFrame) -> pd.Series:
    """Of one training: its best validation, the first of several."""
    validated = of(rows, part="validation")
    return validated.loc[validated[CHOSEN_BY].idxmax()]


class Clock:
    """Wall and CPU minutes since it was made; what is spent inside `paused` does not count."""

    def __init__(self) -> None:
        self.begun = _now()

    @property
    def minutes(self) -> tuple[float, float]:
        wall, cpu = (now - begun for now, begun in zip(_now(), self.begun, strict=True))
        return wall / 60, cpu / 60

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        stopped = _now()
        try:
            yield
        finally:
            times = zip(self.begun, stopped, _now(), strict=True)
            self.begun = tuple(begun + now - at for begun, at, now in times)


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


class Curve:
    """The rows of one training, whose clock runs from now on; those of an earlier one go."""

    def __init__(self, path: Path, threads: int, **key: object) -> None:
        self.path, self.key, self.threads, self.clock = path, key, threads, Clock()
        rows = table(path)
        same = rows[KEY].eq(pd.Series(key)[KEY]).all(axis=1)
        _write(path, rows[~same])

    def judge(self, part: str, evaluate: Callable[[], Mapping[str, float]]) -> dict[str, float]:
        """A row of what `evaluate` finds, while the clock stands still -> hr@10 and ndcg@10."""
        wall, cpu = self.clock.minutes
        with self.clock.paused():
            found = evaluate()
            figures = {name: float(found[name]) for name in METRICS}
            spent = {"minutes": wall, "cpu_minutes": cpu}
            row = self.key | {"threads": self.threads, "part": part} | spent | figures
            _write(self.path, pd.concat([table(self.path), pd.DataFrame([row])[COLUMNS]]))
            shown = {n: round(v, 4) if isinstance(v, float) else v for n, v in row.items()}
            print(*(f"{name} {value}" for name, value in shown.items()), sep=", ", flush=True)
        return figures


def _write(path: Path, rows: pd.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, rows.to_csv(index=False, float_format="%.5g").encode())


class Best:
    """What was there when a value was the best so far."""

    def __init__(self) -> None:
        self.value, self.kept = float("-inf"), None

    def offer(self, value: float, make: Callable[[], object]) -> None:
        if value > self.value:
            self.value, self.kept = value, make()
