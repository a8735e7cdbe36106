"""Counts that several baselines start from."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from recsys_rl.data.counts import check_numbers
from recsys_rl.data.histories import Histories
from recsys_rl.data.interactions import Interactions, refuse_empty
from recsys_rl.data.memory_limit import refuse_dense


def items_of(histories: Histories, n_items: int, min_rating: float | None = None) -> Tensor:
    """The set of items of each history; without those shown but not rated, or below `min_rating`.

    -> int64 [B, H], ascending and without repetition, the rest is padding (n_items).
    """
    unread = histories.rating <= 0 if min_rating is None else histories.rating < min_rating
    item = histories.item.masked_fill(unread, n_items)
    item = item.sort(dim=1).values
    return item.masked_fill(F.pad(item[:, 1:] == item[:, :-1], (1, 0)), n_items)


def _liked(train: Interactions, min_rating: float | None) -> Interactions:
    """Rows of `min_rating` or more; ValueError where there is none to learn from."""
    refuse_empty(train)
    if min_rating is None:
        return train
    check_numbers(0, min_rating=min_rating)
    liked = train.select(train.rating >= min_rating)
    refuse_empty(liked, f" of min_rating {min_rating:g} or more")
    return liked


def _counts(train: Interactions) -> Tensor:
    """Rows of each item -> float32 [n_items]."""
    return torch.bincount(train.item, minlength=train.n_items).float()


def refuse_gram(train: Interactions) -> None:
    """ValueError where there are too many items for item-kNN and EASE."""
    instead = "leave these two baselines out, or films with few ratings by min_ratings"
    refuse_dense(train.n_items, train.n_items, "a baseline of item pairs", instead, each=28)


def _gram(train: Interactions, batch_size: int = 1024) -> Tensor:
    """How many users have both items -> float32 [n_items, n_items]; the diagonal: either.

    Raises ValueError where that takes too much memory.
    """
    refuse_gram(train)
    gram = train.rating.new_zeros(train.n_items, train.n_items)
    for users in torch.arange(train.n_users, device=gram.device).split(batch_size):
        hot = train.mask_of(users).float()
        gram.addmm_(hot.T, hot)
    return gram
