"""Random scores and popularity."""

from __future__ import annotations

from numbers import Real

import torch
from torch import Tensor

from recsys_rl.baselines.counts import _counts, _liked
from recsys_rl.data.devices import CPU
from recsys_rl.data.histories import Histories
from recsys_rl.data.interactions import Interactions, refuse_empty
from recsys_rl.data.random_streams import own_stream


class Random:
    """Uniform scores, new ones at every call: the floor of every protocol."""

    def __init__(self, train: Interactions, seed: int = 0):
        self.n_items, self.generator = train.n_items, own_stream(seed, "random baseline")

    def __call__(self, histories: Histories) -> Tensor:
        size, there = (len(histories), self.n_items), histories.item.device
        return torch.rand(size, generator=self.generator, device=CPU).to(there)


class Popularity:
    """The number of training rows, the same for everybody."""

    def __init__(self, train: Interactions, min_rating: float | None = None):
        self.counts = _counts(_liked(train, min_rating))

    def __call__(self, histories: Histories) -> Tensor:
        return self.counts.repeat(len(histories), 1)  # a table that the caller may write into


class RecentPopularity(Popularity):
    """Popularity among the latest `share` of all training rows.

    A share of rows and not of the calendar: most of ML-1M was rated in its first months.
    """

    def __init__(self, train: Interactions, share: float = 0.1, min_rating: float | None = None):
        refuse_empty(train)
        if not isinstance(share, Real) or not 0 < share <= 1:
            raise ValueError(f"share is in (0, 1], not {share}")
        ordered = train.timestamp.sort(descending=True).values
        since = ordered[max(1, round(share * len(train))) - 1]
        super().__init__(train.select(train.timestamp >= since), min_rating)
