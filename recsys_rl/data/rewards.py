"""Rewards of a rating."""

from __future__ import annotations

from torch import Tensor


def paper_reward(rating: Tensor) -> Tensor:
    """(rating - 3) / 2: five stars give 1, three give 0, one gives -1."""
    return (rating - 3) / 2
