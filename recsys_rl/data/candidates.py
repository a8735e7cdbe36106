"""A sample of the items that stands for the catalogue in a round of sessions: the candidates.

An item has an id, 0 .. V - 1, everywhere: in logs, histories, actions and the replay. Tables,
scores and masks over m candidates have m columns, and `candidates[c]` is the item of column c.
Where all items are scored, `candidates` is None, and the column of an item is its id.

candidates: int64 [m], different ids in ascending order.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def columns_of(candidates: Tensor | None, item: Tensor) -> Tensor:
    """Ids int64 [...] -> columns int64 [...]; m, as padding, for what is no candidate."""
    if candidates is None:
        return item
    column = torch.searchsorted(candidates, item.contiguous()).clamp_(max=len(candidates) - 1)
    return torch.where(candidates[column] == item, column, len(candidates))


def items_at(candidates: Tensor | None, column: Tensor) -> Tensor:
    """Columns int64 [...] -> ids int64 [...]."""
    return column if candidates is None else candidates[column]


def rows_of(candidates: Tensor | None, table: Tensor) -> Tensor:
    """What a table [V, w] has of the candidates -> [m, w]."""
    return table if candidates is None else F.embedding(candidates, table)


def drawn(weight: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` candidates without replacement, each next one in proportion to its weight [V] > 0.

    Source: Efraimidis & Spirakis, Information Processing Letters 97 (5), 2006.
    """
    keys = torch.rand(weight.shape, generator=generator, device=generator.device)
    return (keys.to(weight.device).log() / weight).topk(count).indices.sort().values
