"""Rows of tables and histories of like length, in batches."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from recsys_rl.data.histories import Histories


def rows(table: Tensor, index: Tensor) -> Tensor:
    """table[index], with a gradient that is added up in the same order every time.

    The gradient of plain indexing is added by several threads at once, in whatever order they
    come: the same seed would give other weights.
    """
    if table.dim() == 1:
        return F.embedding(index, table.unsqueeze(1)).squeeze(-1)
    return F.embedding(index, table)


def by_length(
    histories: Histories, n_items: int, size: int = 64
) -> Iterator[tuple[Tensor, Histories]]:
    """The rated items of B histories without the gaps, in groups of about one length.

    -> (which of the B, int64 [b]; their items, padded on the right with n_items).
    """
    if not len(histories):
        return
    there = (histories.rating > 0) & (histories.item < n_items)
    count = there.sum(1)
    longest = int(count.max())
    place = torch.where(there, there.cumsum(1) - 1, longest)  # the last column is thrown away
    shape = len(count), longest + 1
    item = histories.item.new_full(shape, n_items).scatter_(1, place, histories.item)
    rating = histories.rating.new_zeros(shape).scatter_(1, place, histories.rating)
    for rows in count.argsort(stable=True).split(size):
        here = int(count[rows[-1]])
        yield rows, Histories(histories.user[rows], item[rows, :here], rating[rows, :here])
