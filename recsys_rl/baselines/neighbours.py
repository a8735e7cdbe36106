"""Item-based neighbours."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from recsys_rl.baselines.counts import _gram, _liked, items_of
from recsys_rl.data.counts import check_counts, check_numbers
from recsys_rl.data.histories import Histories
from recsys_rl.data.interactions import Interactions


class ItemItem:
    """The score of an item: the sum of its weights from the items that the history holds.

    `weights`: float32 [n_items + 1, n_items], from row to column; the last row is padding's, 0.
    """

    def __init__(self, weights: Tensor, min_rating: float | None):
        self.weights, self.min_rating = F.pad(weights, (0, 0, 0, 1)), min_rating

    def __call__(self, histories: Histories) -> Tensor:
        item = items_of(histories, self.weights.shape[1], self.min_rating)
        item = F.pad(item, (0, 1), value=len(self.weights) - 1)  # an empty history has a row too
        # A sum of rows is several times faster than multi-hot times dense, most so for 3 items.
        return F.embedding_bag(item, self.weights, mode="sum", padding_idx=len(self.weights) - 1)


class ItemKNN(ItemItem):
    """Cosine of binary item columns, shrunk towards 0 where few users have both.

    An item is scored by those of its `neighbours` nearest items that the history holds.
    """

    def __init__(
        self,
        train: Interactions,
        neighbours: int = 100,
        shrinkage: float = 10.0,
        min_rating: float | None = None,
    ):
        check_counts(neighbours=neighbours)
        check_numbers(0, shrinkage=shrinkage)
        gram = _gram(_liked(train, min_rating))
        length = gram.diagonal().sqrt()
        # An item without rows has length 0 and no co-occurrence: 0, not 0 / 0.
        cosine = gram / (torch.outer(length, length) + shrinkage).clamp(min=1e-9)
        near = cosine.fill_diagonal_(0).topk(min(neighbours, len(gram)), dim=0)
        weights = torch.zeros_like(gram).scatter_(0, near.indices, near.values)
        super().__init__(weights, min_rating)
