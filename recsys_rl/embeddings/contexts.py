"""Co-occurrence with the most frequent items: some columns of the exact table, if that is large.

Source: Levy & Goldberg, NIPS 2014 (words by contexts; there may be fewer contexts than words).

V = n_items, C = contexts.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recsys_rl.data.devices import exact
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.memory_limit import is_small
from recsys_rl.embeddings.sparse import Ones

CONTEXTS = 2048  # of a large catalogue
_ROWS = 2**22  # of a log that are counted at once
_COLUMNS = 256  # of a table of users and contexts that is there at once


def default_contexts(n_items: int) -> int:
    """All items of a small catalogue, else the most frequent `CONTEXTS`."""
    return n_items if is_small(n_items, n_items) else min(CONTEXTS, n_items)


def most_frequent(log: Interactions, contexts: int) -> Tensor:
    """int64 [C], in no order that matters."""
    return torch.bincount(log.item, minlength=log.n_items).argsort(descending=True, stable=True)[
        :contexts
    ]


def near(log: Interactions, reach: int, items: Tensor) -> Tensor:
    """Columns `items` [C] of the information of being rated near each other -> float32 [V, C]."""
    column = items.new_full((log.n_items,), -1)
    column[items] = torch.arange(len(items), device=items.device)
    new = log.rating.new_zeros
    pairs, margin = new(log.n_items * len(items)), new(log.n_items)
    for distance in range(1, reach + 1):
        weight = distance**-0.5
        for start in range(0, len(log) - distance, _ROWS):
            stop = min(start + _ROWS, len(log) - distance)
            before, after = slice(start, stop), slice(start + distance, stop + distance)
            together = log.user[before] == log.user[after]
            one, two = log.item[before][together], log.item[after][together]
            for item, other in ((one, two), (two, one)):
                margin += weight * torch.bincount(item, minlength=log.n_items)
                there = column[other]
                place = (item * len(items) + there)[there >= 0]
                pairs.index_add_(0, place, pairs.new_full((len(place),), weight))
    margin += 1e-9
    pairs = pairs.view(log.n_items, len(items)).mul_(margin.sum())
    return _positive(pairs, margin, margin[items])


def shared(log: Interactions, items: Tensor) -> Tensor:
    """Columns `items` [C] of the information of having both items -> float32 [V, C]."""
    met = log.offsets.diff() > 0
    ones = Ones(log, met)
    column = items.new_full((log.n_items,), -1)
    column[items] = torch.arange(len(items), device=items.device)
    number, place = (met.cumsum(0) - 1)[log.user], column[log.item]
    pairs = log.rating.new_empty(log.n_items, len(items))
    for start in range(0, len(items), _COLUMNS):
        stop = min(start + _COLUMNS, len(items))
        have = pairs.new_zeros(ones.n_users, stop - start)
        here = (place >= start) & (place < stop)
        have[number[here], place[here] - start] = 1
        pairs[:, start:stop] = ones.transposed_times(have)
    margin = ones.count.float() + 1  # one row more shrinks rare ones
    information = _positive(pairs.mul_(ones.n_users), margin, margin[items])
    information[items, column[items]] = 0
    return information


def _positive(pairs: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """log of pairs / (row's margin x column's), 0 where that is negative; in place."""
    return pairs.div_(rows.unsqueeze(1)).div_(columns).clamp_(min=1).log_()


def extended(table: Tensor, items: Tensor, k: int) -> Tensor:
    """Vectors whose products are about the table of all pairs, from columns of it -> [V, k].

    The k strongest eigenvectors among the contexts `items` [C] are extended to all items; where a
    strength is negative its absolute value counts, as in a singular value.

    Source: Williams & Seeger, NIPS 2001 (the Nystrom method).
    """
    within = table[items].to(exact(table.device))
    strength, directions = torch.linalg.eigh((within + within.T) / 2)
    strongest = strength.abs().argsort(descending=True)[:k]
    strength, directions = strength[strongest].abs(), directions[:, strongest]
    there = strength > 1e-6 * strength[0]  # others would be rounding, divided by nothing
    return table @ (directions[:, there] / strength[there].sqrt()).float()
