"""Numbers that count something, given as arguments."""

from __future__ import annotations

import math
import numbers
from typing import Any

from recsys_rl.data.notes import written

LARGEST = 2**62  # of anything that is counted: it fits into a tensor
MOST = 100_000  # draws or resamples: more take hours and change no figure that is shown
LONGEST = 1000  # items of a list or steps of a session, or as many as there are items


def check_counts(most: int = LARGEST, /, **counts: Any) -> None:
    """ValueError unless every count is a whole number of at least 1, and of `most` at most."""
    for name, count in counts.items():
        if not isinstance(count, numbers.Integral) or isinstance(count, bool) or count < 1:
            raise ValueError(f"{name} is a whole number of at least 1, not {written(count)}")
        if count > most:
            raise ValueError(f"{name} is at most {most:,}, not {count}")


def check_numbers(least: float, /, most: float = math.inf, **values: Any) -> None:
    """ValueError unless every value is a finite real number within these bounds."""
    span = f"of at least {least:g}" if most == math.inf else f"within {least:g} .. {most:g}"
    for name, value in values.items():
        real = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not real or not math.isfinite(value) or not least <= value <= most:
            raise ValueError(f"{name} is a finite number {span}, not {written(value)}")


def check_positive(**values: Any) -> None:
    """ValueError unless every value is a finite real number above 0."""
    for name, value in values.items():
        real = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not real or not 0 < value < math.inf:
            raise ValueError(f"{name} is a finite number above 0, not {written(value)}")


def check_lengths(n_items: int, **lengths: Any) -> None:
    """The same for lists and sessions, which memory is taken for: of so many items."""
    check_counts(max(n_items, LONGEST), **lengths)


def check_list_of_lengths(n_items: int, **lists: Any) -> None:
    """ValueError unless every list holds such lengths, one at least."""
    for name, counts in lists.items():
        if not isinstance(counts, (list, tuple)) or not counts:
            raise ValueError(
                f"{name} is a list of whole numbers, one at least, not {written(counts)}"
            )
        for count in counts:
            check_lengths(n_items, **{name: count})
