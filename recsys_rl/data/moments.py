"""Moments that somebody gives beside a history: right, or refused in a sentence.

This file needs no PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from recsys_rl.data.arrays import array_of
from recsys_rl.data.notes import shortened

MILLISECONDS = 1e11  # seconds reach it in 5138, milliseconds in 1973
LARGEST = 2**53  # seconds that a float can count one by one


def checked_times(
    histories: Sequence[Sequence[Any]],
    times: Sequence[Sequence[float]] | None,
    at: Sequence[float] | None = None,
) -> tuple[list[np.ndarray], np.ndarray | None]:
    """Times of B histories, int64 [length] each, and of their requests, int64 [B]; whole seconds.

    ValueError where there is not one time an item and one request a history, where one is no number
    of seconds, or where time runs backwards.
    """
    if times is None:
        raise ValueError("`at`, when the next item is asked for, needs `times` of the ratings, too")
    if not hasattr(times, "__len__"):
        raise ValueError(f"times must be a list of times for each history, not {shortened(times)}")
    if len(times) != len(histories):
        raise ValueError(
            f"{len(times)} lists of times for {len(histories)} histories: give one each"
        )
    found = []
    for number, (history, row) in enumerate(zip(histories, times, strict=True)):
        moments = _seconds(row, f"times[{number}]")
        if len(moments) != len(history):
            raise ValueError(
                f"times[{number}] has {len(moments)} times for {len(history)} items: give one each"
            )
        if (moments[1:] < moments[:-1]).any():
            raise ValueError(f"times[{number}] runs backwards: a history is given oldest first")
        found.append(moments)
    if at is None:
        return found, None
    requests = _seconds(at, "at")
    if len(requests) != len(histories):
        raise ValueError(f"`at` has {len(requests)} moments for {len(histories)} histories")
    for number, (moments, request) in enumerate(zip(found, requests, strict=True)):
        if len(moments) and request < moments[-1]:
            raise ValueError(
                f"at[{number}] is {request}, before the last rating of that history, {moments[-1]}"
            )
    return found, requests


def _seconds(values: Sequence[float], where: str) -> np.ndarray:
    """int64 [N], rounded down."""
    numbers = array_of(values)
    listed = isinstance(values, list | tuple) and any(
        isinstance(value, bool | np.bool_) for value in values
    )
    if listed or numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iuf"):
        raise ValueError(f"{where} must be a list of numbers of seconds, not {shortened(values)}")
    inside = (numbers > -LARGEST) & (numbers < LARGEST)  # false for NaN, too
    if not inside.all():
        raise ValueError(
            f"{where} must be numbers of seconds below 2**53, not {numbers[inside.argmin()]}"
        )
    late = numbers >= MILLISECONDS
    if late.any():
        raise ValueError(
            f"{where} has {numbers[late.argmax()]}, in seconds a moment after the year 5138: "
            "divide milliseconds by 1000"
        )
    return np.floor(numbers).astype(np.int64)
