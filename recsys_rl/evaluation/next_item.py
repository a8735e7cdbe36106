"""What the next-item task is worth: the gap before the test item, ties, and requests told wrongly.

B = batch, T = target rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from recsys_rl.data.devices import CPU
from recsys_rl.data.histories import Histories
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.splits import A_DAY
from recsys_rl.evaluation.scores import ScoreFunction
from recsys_rl.evaluation.statistics import Evaluation

GAPS = "same time stamp", "same day", "a day or more later"
MINUTE, WEEK = 60, 7 * A_DAY
Request = Callable[[Tensor, Tensor], Tensor]  # last rating and request, int64 [B] -> the new one


def gap_classes(history: Interactions, target: Interactions) -> Tensor:
    """Which of `GAPS` lies between each target and the rating before it -> int64 [T].

    *Same day*: less than 24 hours. ValueError where a user of a target has no row in `history`, or
    a later one.
    """
    if (history.offsets.diff()[target.user] == 0).any():
        raise ValueError("a user of a target has no history: there is no gap")
    last = history.timestamp[history.offsets[target.user + 1] - 1]
    if (last > target.timestamp).any():
        raise ValueError("a history has ratings that are later than the target")
    return _classes(last, target.timestamp)


def _classes(last: Tensor, request: Tensor) -> Tensor:
    gap = request - last
    return (gap > 0).long() + (gap >= A_DAY).long()


def by_gap(found: Evaluation, classes: Tensor) -> Evaluation:
    """Each metric also once for each class, NaN for the users of others; shares of the classes."""
    metrics = dict(found.metrics)
    for number, gap in enumerate(GAPS):
        there = (classes == number).cpu().numpy()
        for name, values in found.metrics.items():
            metrics[f"{name}, {gap}"] = np.where(there, values, np.nan).astype(np.float32)
        metrics[f"share, {gap}"] = there.astype(np.float32)
    return replace(found, metrics=metrics, top=None)


def ties_shuffled(log: Interactions, generator: torch.Generator) -> Interactions:
    """The same rows, those of one user and one time in random order."""
    order = torch.randperm(len(log), generator=generator, device=CPU).to(log.user.device)
    return log.reordered(order)


def told(score: ScoreFunction, request: Request) -> ScoreFunction:
    """A score function that is told another moment than that of the request."""

    def scores(histories: Histories) -> Tensor:
        last = histories.time[:, -1]
        return score(replace(histories, request=request(last, histories.request)))

    return scores


def _coarse(last: Tensor, request: Tensor) -> Tensor:
    """The class of the gap alone: nothing, a minute or a week."""
    return last + last.new_tensor([0, MINUTE, WEEK])[_classes(last, request)]


# Probes of a model that reads the time of the request.
PROBES: dict[str, Request] = {
    "three classes in place of the gap": _coarse,
    'told "same time stamp"': lambda last, request: last,
    'told "a week later"': lambda last, request: last + WEEK,
}
