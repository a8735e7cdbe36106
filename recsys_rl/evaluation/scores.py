"""Score functions, checked and batched, and the lists made from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from recsys_rl.data import ranks
from recsys_rl.data.counts import check_counts
from recsys_rl.data.histories import Histories

ScoreFunction = Callable[[Histories], Tensor]


RANKED = {
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
}


class NoScores(ValueError):
    """Scores hold what cannot be ranked."""


def top_k(scores: Tensor, candidates: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """The k best candidates, best first, equal scores in random order.

    scores [B, n], candidates bool [B, n] -> int64 [B, k]; n (padding) where a row has fewer than
    k candidates with a score above -inf.
    """
    n = scores.shape[1]
    masked = scores.masked_fill(~candidates, -torch.inf)
    values, items = masked.topk(min(k + 1, n))
    # Only rows with equal neighbours need the slow path: draw a random key for each tie.
    tied = (values[:, 1:] == values[:, :-1]).any(1).nonzero().squeeze(1)
    values, items = values[:, :k], items[:, :k]
    if len(tied):
        rows, last = masked[tied], values[tied, -1:]
        keys = torch.rand(rows.shape, generator=generator, device=generator.device).to(rows.device)
        keys = keys.add_(rows > last).masked_fill_(rows < last, -1)  # better ones first
        drawn = keys.topk(items.shape[1]).indices
        order = rows.gather(1, drawn).sort(dim=1, descending=True, stable=True)
        values[tied], items[tied] = order.values, drawn.gather(1, order.indices)
    items = items.masked_fill(values == -torch.inf, n)
    return torch.nn.functional.pad(items, (0, k - items.shape[1]), value=n)


def checked_scores(score: ScoreFunction, histories: Histories, n_items: int) -> Tensor:
    """The scores, checked: right shape, no NaN, no +inf -> float32 [B, n_items], where the
    histories are."""
    with torch.no_grad():
        scores = score(histories)
    dense = isinstance(scores, Tensor) and scores.layout == torch.strided
    if not dense or scores.dtype not in RANKED or (scores.is_meta and not histories.item.is_meta):
        found = scores.dtype if isinstance(scores, Tensor) else type(scores).__name__
        raise ValueError(f"a score function gives a dense tensor of real numbers, not {found}")
    scores = scores.to(histories.item.device)
    if scores.shape != (len(histories), n_items):
        raise ValueError(f"scores {tuple(scores.shape)}, expected {(len(histories), n_items)}")
    if not scores.max() < torch.inf:  # a NaN anywhere makes the maximum NaN
        raise NoScores("scores hold NaN or +inf")
    exact = scores.is_floating_point() and scores.dtype.itemsize <= 4
    return scores.float() if exact else _ranked(scores)


def _ranked(scores: Tensor) -> Tensor:
    """The scores in float32; the places of each row's values where that would make ties of them."""
    rounded = scores.float()
    values, order = scores.sort(dim=1)
    above = values[:, 1:] != values[:, :-1]
    kept = rounded.gather(1, order)
    same = torch.equal(above, kept[:, 1:] != kept[:, :-1])
    if (
        same
        and torch.equal(rounded == -torch.inf, scores == -torch.inf)
        and rounded.max().isfinite()
    ):
        return rounded
    places = torch.nn.functional.pad(above, (1, 0)).cumsum(1).float()
    ranked = torch.empty_like(rounded).scatter_(1, order, places)
    return ranked.masked_fill_(scores == -torch.inf, -torch.inf)


def batches(users: Tensor, size: int) -> tuple[Tensor, ...]:
    """`users` [U] in order, `size` at a time -> int64 [<= size] each; ValueError if U = 0."""
    check_counts(batch_size=size)
    if not len(users):
        raise ValueError("no user to evaluate")
    return users.split(int(size))


def shared(users: Tensor, size: int) -> Sequence[Tensor]:
    """The `batches`; where several processes evaluate (`data.ranks`), those of this one, and
    `ranks.together` puts in order what all have found. Ties are broken by draws of its own."""
    return ranks.own(batches(users, size))


def joined(parts: list[dict[str, Tensor]]) -> dict[str, np.ndarray]:
    """The metrics [B] of all batches, one after another -> name -> float32 [U]."""
    return {name: torch.cat([p[name] for p in parts]).float().cpu().numpy() for name in parts[0]}
