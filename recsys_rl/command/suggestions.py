"""What is asked of the agent, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from recsys_rl.data.films import Film


@dataclass(frozen=True)
class Wishes:
    """k: how many. adventure: 0..1, None for the default. fits: which films may be suggested."""

    k: int = 3
    adventure: float | None = None
    series: bool = False  # several films of one series may be among three
    fits: Callable[[Film], bool] = field(default=lambda film: True)


@dataclass(frozen=True)
class Suggestion:
    """because: the liked film that moved the score most. chance: see `Calibration.chance`."""

    film: Film
    score: float
    because: Film | None
    chance: float | None
