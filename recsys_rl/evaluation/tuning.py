"""Settings of a baseline, chosen on validation data."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from recsys_rl.data.interactions import Interactions
from recsys_rl.data.splits import Split
from recsys_rl.evaluation.protocols import leave_one_out_metrics, ranking_task
from recsys_rl.evaluation.scores import ScoreFunction
from recsys_rl.evaluation.statistics import Evaluation


class Kept:
    """Rows of a search on the disk: what was computed before an interrupt is not computed again.

    path: a line of JSON for each row, written as soon as there is one. of: names the model, the
    task and the data (`fingerprint`); rows of anything else are left alone. Rows do not know the
    code that made them: `remove` the file where it was changed.
    """

    def __init__(self, path: Path, of: Mapping[str, Any]) -> None:
        self.path, self._of = path, dict(of)
        self._rows: dict[str, dict[str, float]] = {}
        with contextlib.suppress(FileNotFoundError):
            for line in path.read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError, KeyError, TypeError):  # cut off by a kill
                    saved = json.loads(line)
                    if saved["of"] == self._of:
                        self._rows[json.dumps(saved["settings"])] = dict(saved["row"])

    def row(
        self, settings: dict[str, Any], compute: Callable[[], Mapping[str, float]]
    ) -> dict[str, float]:
        """The row of these settings: as it is kept, or computed and kept."""
        key = json.dumps(settings)
        if key not in self._rows:
            row = {name: float(value) for name, value in compute().items()}
            line = json.dumps({"of": self._of, "settings": settings, "row": row})
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"\n{line}\n")  # the line before it may have been cut off
                file.flush()
                os.fsync(file.fileno())
            self._rows[key] = row
        return self._rows[key]

    def remove(self) -> None:
        """The search is over and its result is kept in another place."""
        self.path.unlink(missing_ok=True)


def tune(
    model: Callable[..., ScoreFunction],
    grid: dict[str, Sequence[Any]],
    train: Interactions,
    evaluate: Callable[[ScoreFunction], Evaluation],
    metric: str = "ndcg@10",
    kept: Kept | None = None,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Fits `model(train, **settings)` for every combination of `grid`; `evaluate` sees VALIDATION.

    -> table (a row for each combination, in grid order: settings, the means of the evaluator's
    metrics, seconds to fit) and the settings with the best `metric`, the first of equals.
    `leave_one_out_evaluator` is the usual one; whatever it is, it must never see the test part.
    kept: where rows outlive an interrupt. NaN is worse than any value. ValueError for an empty
    grid, a `metric` that is none of the evaluator's, or that is NaN everywhere.
    """

    def there(row: dict[str, float]) -> dict[str, float]:
        if metric not in row:
            raise ValueError(f"the evaluator has no metric {metric!r}: {', '.join(row)}")
        return row

    def measured(settings: dict[str, Any]) -> dict[str, float]:
        start = time.perf_counter()
        score = model(train, **settings)
        seconds = round(time.perf_counter() - start, 2)
        return there(evaluate(score).mean()) | {"fit_seconds": seconds}

    rows = []
    for values in itertools.product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        compute = partial(measured, settings)
        row = compute() if kept is None else there(kept.row(settings, compute))
        rows.append((settings, settings | row))
    if not rows:
        raise ValueError(f"the grid has no settings to choose among: {grid}")
    measured_rows = [row for row in rows if not math.isnan(row[1][metric])]
    if not measured_rows:
        raise ValueError(f"{metric} is NaN for all settings: none is the best")
    best, _ = max(measured_rows, key=lambda row: row[1][metric])
    return pd.DataFrame([row for _, row in rows]), best


def leave_one_out_evaluator(split: Split, k: int = 10) -> Callable[[ScoreFunction], Evaluation]:
    """Evaluates by each user's validation row, ranked among all unseen items (full ranking)."""
    history, target = ranking_task(split, "validation")
    return lambda score: leave_one_out_metrics(score, history, target, k=k)
