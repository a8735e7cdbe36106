"""Where a training stands: the record that a checkpoint keeps of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from torch import Tensor

Weights = dict[str, Tensor]
STAGES = "pretrained", "final"


@dataclass
class Progress:
    """Where a training stands; plain numbers, lists and tensors.

    rows: one for each update: losses, the reward while exploring, and validation where it was
    measured; off the CPU the latest losses are tensors that are not read yet.
    best: the best value of the metric in each stage, and weights: the actor's at it.
    seconds: wall and CPU time of the updates, without validation.
    """

    total: int
    update: int = 0
    rows: list[dict[str, Any]] = field(default_factory=lambda: [{"update": 0, "stage": "start"}])
    best: dict[str, float] = field(default_factory=dict)
    weights: dict[str, Weights] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def check(self, saved: dict[str, Any], actor: Weights) -> None:
        """ValueError where a record cannot be of a training with so many updates and this actor:
        a checksum says that a file is whole, and not that what it holds is right."""
        if missing := [each.name for each in fields(self) if each.name not in saved]:
            raise ValueError(f"its progress has no {missing[0]}")
        update, rows, best = saved["update"], saved["rows"], saved["best"]
        if type(update) is not int or not 0 <= update <= self.total:
            raise ValueError(f"its update must be a whole number of 0 to {self.total}")
        if not isinstance(rows, list) or len(rows) != update + 1 or not all(map(_is_row, rows)):
            raise ValueError(f"its rows must be {update + 1}, of numbers and text")
        if not isinstance(best, dict) or not set(best) <= set(STAGES) or not _finite(best.values()):
            raise ValueError("its best values must be one finite number a stage")
        _check_weights(saved["weights"], best, actor)
        seconds = saved["seconds"]
        if not isinstance(seconds, list) or len(seconds) != 2 or not _finite(seconds):
            raise ValueError("its seconds must be two numbers")

    def restore(self, saved: dict[str, Any]) -> None:
        """Take a record over, but for the number of updates, which the configuration says."""
        vars(self).update({each.name: saved[each.name] for each in fields(self)[1:]})


def _is_row(row: Any) -> bool:
    if not isinstance(row, dict) or not all(type(name) is str for name in row):
        return False
    known = type(row.get("update")) is int and type(row.get("stage")) is str
    return known and all(type(value) in (int, float, str) for value in row.values())


def _finite(values: Any) -> bool:
    return all(type(value) is float and math.isfinite(value) for value in values)


def _check_weights(weights: Any, best: dict[str, float], actor: Weights) -> None:
    if not isinstance(weights, dict) or set(weights) != set(best):
        raise ValueError("its weights must be those of its best values")
    for stage, found in weights.items():
        tensors = found if isinstance(found, dict) else {}
        shapes = {k: v.shape for k, v in tensors.items() if isinstance(v, Tensor)}
        if len(shapes) < len(tensors) or shapes != {k: v.shape for k, v in actor.items()}:
            raise ValueError(f"its {stage} weights do not fit the actor")
