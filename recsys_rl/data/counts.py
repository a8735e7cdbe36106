"""Numbers that count something, given as arguments."""

from __future__ import annotations

import numbers
from typing import Any


def check_counts(**counts: Any) -> None:
    """ValueError unless every count is a whole number of at least 1."""
    for name, count in counts.items():
        if not isinstance(count, numbers.Integral) or isinstance(count, bool) or count < 1:
            raise ValueError(f"{name} is a whole number of at least 1, not {count!r}")


def check_list_of_counts(**lists: Any) -> None:
    """ValueError unless every list holds such counts, one at least."""
    for name, counts in lists.items():
        if not isinstance(counts, (list, tuple)) or not counts:
            raise ValueError(f"{name} is a list of whole numbers, one at least, not {counts!r}")
        for count in counts:
            check_counts(**{name: count})
