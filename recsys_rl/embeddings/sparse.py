"""Products with the matrix of users and items that is never made: 1 where a log has a row.

N = rows, U = users, V = n_items, w = width of the other matrix.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from recsys_rl.data.interactions import Interactions


class Ones:
    """The matrix X [U, V] of a log: 1 where the user has a row for the item, else 0.

    Only users of `met` (bool [n_users]) have a row of the matrix; nobody else has one of the log.
    A product costs N w additions. Sums of rows are several times faster than torch's sparse
    matrices on a processor.
    """

    def __init__(self, log: Interactions, met: Tensor) -> None:
        number = met.cumsum(0) - 1
        self.n_users, self.n_items = int(met.sum()), log.n_items
        self.item, self.first_of_user = log.item, log.offsets[:-1][met]
        self.count = torch.bincount(log.item, minlength=log.n_items)
        self.first_of_item = self.count.cumsum(0) - self.count
        self.user = number[log.user[log.item.argsort()]]

    def times(self, right: Tensor) -> Tensor:
        """X @ right: float32 [V, w] -> [U, w]."""
        return F.embedding_bag(self.item, right, self.first_of_user, mode="sum")

    def transposed_times(self, right: Tensor) -> Tensor:
        """X.T @ right: float32 [U, w] -> [V, w]."""
        return F.embedding_bag(self.user, right, self.first_of_item, mode="sum")


class CentredOnes:
    """(X - mean of each column) / sqrt(U), as an operator: `centred @ b` and `centred.T @ b`."""

    def __init__(self, ones: Ones) -> None:
        self.ones, self.scale = ones, ones.n_users**-0.5
        self.mean = ones.count / ones.n_users  # float32 [V]

    @property
    def shape(self) -> tuple[int, int]:
        return self.ones.n_users, self.ones.n_items

    @property
    def T(self) -> _Transposed:
        return _Transposed(self)

    def __matmul__(self, right: Tensor) -> Tensor:
        return (self.ones.times(right) - self.mean @ right).mul_(self.scale)


class _Transposed:
    def __init__(self, centred: CentredOnes) -> None:
        self.centred = centred

    def __matmul__(self, right: Tensor) -> Tensor:
        centred = self.centred
        product = centred.ones.transposed_times(right)
        return product.sub_(torch.outer(centred.mean, right.sum(0))).mul_(centred.scale)
