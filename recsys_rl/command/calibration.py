"""What was measured of a release: how sure its scores are, and how it comes to variety.

`benchmarks/variety.py` writes one table a release, for the weights that it names. A table that
cannot be read counts as none, and a note says so. This file needs no PyTorch.
"""

from __future__ import annotations

import json
import re
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from recsys_rl.command.errors import first_line
from recsys_rl.data.notes import note
from recsys_rl.serving import Recommender
from recsys_rl.set_scorer import Answers

TABLES = Path(__file__).with_name("tables")
TRIPLES = 256  # random ones, whose scores make the mean where no table holds it
POPULAR = 300  # they are drawn among so many of the most liked items
LARGEST = 1e30  # of the numbers in a table; neither infinite nor NaN


class Calibration:
    """What the table of a release holds; without one no chances, and no variety by default."""

    def __init__(self, model: Recommender) -> None:
        self.model = model
        self.table = _table_of(model.config, len(model.item_ids)) or {}

    @property
    def adventure(self) -> float:
        """The default share of a film's mean score that is subtracted from its score."""
        return self.table.get("adventure", 0.0)

    @cached_property
    def mean_scores(self) -> np.ndarray:
        """Of every film for somebody who likes three random ones -> float32 [n_items]."""
        if "mean_scores" in self.table:
            return np.array(self.table["mean_scores"], np.float32)
        return mean_scores(self.model, TRIPLES)

    def chance(self, score: float, n_answers: int) -> float | None:
        """The share of validation users who liked a film of this score after so many answers; None
        where it is not known."""
        if "chances" not in self.table:
            return None
        counts, chances = [], []
        for each in self.table["chances"]:
            counts.append(np.log1p(each["answers"]))
            chances.append(np.interp(score, each["scores"], each["shares"]))
        return float(np.interp(np.log1p(n_answers), counts, chances))


def _table_of(config: dict[str, Any], n_items: int) -> dict[str, Any] | None:
    """That of these very weights; None where there is none that can be read."""
    name = str(config.get("dataset"))
    if not re.fullmatch(r"[\w.-]+", name) or not (path := TABLES / f"{name}.json").is_file():
        return None
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(table, dict):
            raise ValueError("it is no table")
        if table.get("weights_sha256") != config.get("weights_sha256"):
            return None
        _check(table, n_items)
    except (OSError, ValueError, RecursionError) as error:
        note(
            f"no chances and no variety by default, since {path} cannot be read "
            f"({first_line(error)}): get it again, or run "
            f"python -m benchmarks.variety --dataset {name}"
        )
        return None
    return table


def _check(table: dict[str, Any], n_items: int) -> None:
    """ValueError for a table that has not the form in which it is read."""
    if not _are_numbers([table.get("adventure")], 1):
        raise ValueError("adventure is no number")
    if not _are_numbers(table.get("mean_scores"), n_items):
        raise ValueError(f"mean_scores are not {n_items} numbers")
    chances = table.get("chances")
    if not (isinstance(chances, list) and chances and all(map(_is_curve, chances))):
        raise ValueError("chances are no curves")


def _is_curve(row: Any) -> bool:
    if not (isinstance(row, dict) and isinstance(row.get("shares"), list) and row["shares"]):
        return False
    count = len(row["shares"])
    return _are_numbers([row.get("answers")], 1) and all(
        _are_numbers(row.get(name), count) for name in ("scores", "shares")
    )


def _are_numbers(values: Any, count: int) -> bool:
    """A list of so many finite numbers."""
    return (
        isinstance(values, list)
        and len(values) == count
        and all(type(value) in (int, float) and abs(value) <= LARGEST for value in values)
    )


def mean_scores(model: Recommender, triples: int, seed: int = 0) -> np.ndarray:
    """Mean score of every item for somebody who likes three random ones of those that many like
    -> float32 [n_items]."""
    likes = np.array(model.config.get("positive_counts") or np.ones(len(model.item_ids)))
    popular, rng = np.argsort(-likes, kind="stable")[:POPULAR], np.random.default_rng(seed)
    liked = [rng.choice(popular, min(3, len(popular)), replace=False) for _ in range(triples)]
    return model.scores_of([Answers(triple.tolist()) for triple in liked]).mean(0)
