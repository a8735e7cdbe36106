"""Numbers that count something, given as arguments."""

from __future__ import annotations

import numbers
from typing import Any


def check_counts(**counts: Any) -> None:
    """ValueError unless every count is a whole number of at least 1."""
    for name, count in counts.items():
        if not isinstance(count, numbers.Integral) or isinstance(count, bool) or count < 1:
            raise ValueError(f"{name} is a whole number of at least 1, not {count!r}")
