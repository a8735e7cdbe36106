"""Settings of a baseline, chosen on validation data."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from recsys_rl.data.interactions import Interactions
from recsys_rl.data.splits import Split
from recsys_rl.evaluation.protocols import leave_one_out_metrics, ranking_task
from recsys_rl.evaluation.scores import ScoreFunction
from recsys_rl.evaluation.statistics import Evaluation


def tune(
    model: Callable[..., ScoreFunction],
    grid: dict[str, Sequence[Any]],
    train: Interactions,
    evaluate: Callable[[ScoreFunction], Evaluation],
    metric: str = "ndcg@10",
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Fits `model(train, **settings)` for every combination of `grid`; `evaluate` sees VALIDATION.

    -> table (a row for each combination, in grid order: settings, the means of the evaluator's
    metrics, seconds to fit) and the settings with the best `metric`, the first of equals.
    `leave_one_out_evaluator` is the usual one; whatever it is, it must never see the test part.
    """
    rows = []
    for values in itertools.product(*grid.values()):
        settings, start = dict(zip(grid, values, strict=True)), time.perf_counter()
        score = model(train, **settings)
        seconds = round(time.perf_counter() - start, 2)
        rows.append((settings, settings | evaluate(score).mean() | {"fit_seconds": seconds}))
    best, _ = max(rows, key=lambda row: row[1][metric])
    return pd.DataFrame([row for _, row in rows]), best


def leave_one_out_evaluator(split: Split, k: int = 10) -> Callable[[ScoreFunction], Evaluation]:
    """Evaluates by each user's validation row, ranked among all unseen items (full ranking)."""
    history, target = ranking_task(split, "validation")
    return lambda score: leave_one_out_metrics(score, history, target, k=k)
