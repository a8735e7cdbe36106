"""What an answer is worth. A reward is a function of the stars, float32 of any shape; 0 stars: the
user has not rated the item. Environments take one as an argument."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from recsys_rl.data.histories import POSITIVE

Reward = Callable[[Tensor], Tensor]


def paper_reward(rating: Tensor) -> Tensor:
    """(rating - 3) / 2: five stars give 1, three give 0, one gives -1 (Liu et al., section 3).

    An item without a rating gives 0: the log says nothing about it. (The paper asks a rating model,
    and so evaluates the agent by the model that made its vectors.)
    """
    return torch.where(rating > 0, (rating - 3) / 2, 0.0)


def stars_reward(rating: Tensor) -> Tensor:
    """The stars themselves."""
    return rating


def liked_reward(rating: Tensor) -> Tensor:
    """1 for 4 stars or more, else 0."""
    return (rating >= POSITIVE).float()
