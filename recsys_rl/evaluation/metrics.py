"""Metrics of a ranking."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from recsys_rl.data.counts import check_counts
from recsys_rl.data.devices import CPU

NEVER_SHOWN = 2**40  # rank of an item whose score is -inf: behind the end of every list


def discounts(k: int) -> Tensor:
    """1 / log2(rank + 2) for the ranks 0..k-1 -> float64 [k], on the CPU: figures of users are made
    there, from counts that are made where the scores are. ValueError unless k is a length."""
    check_counts(k=k)
    return 1 / torch.log2(torch.arange(k, dtype=torch.float64, device=CPU) + 2)


def rank_counts(scores: Tensor, target: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """How many candidates beat each target, and how many *others* tie with it.

    scores [B, n], target int64 [B], candidates bool [B, n] (the target may be among them or not)
    -> greater, ties: int64 [B]; NEVER_SHOWN and 0 for a target at -inf or NaN, which no list shows.
    A candidate at NaN beats all.
    """
    own = scores.gather(1, target[:, None])  # (B, 1)
    greater = (~(scores <= own) & candidates).sum(1)
    tied = (scores == own) & candidates
    ties = tied.sum(1) - tied.gather(1, target[:, None]).squeeze(1).long()
    return _shown(own, greater, ties)


def _shown(own: Tensor, greater: Tensor, ties: Tensor) -> tuple[Tensor, Tensor]:
    """Counts [B], on the CPU, as they are where the targets' `own` scores [B, 1] are above -inf."""
    never = ~(own.squeeze(1) > -torch.inf)
    return greater.masked_fill(never, NEVER_SHOWN).cpu(), ties.masked_fill(never, 0).cpu()


def hit_rate(greater: Tensor, ties: Tensor, k: int) -> Tensor:
    """Expected Hit@k of one target over a random order of ties -> float64 like `greater`."""
    check_counts(k=k)
    return ((k - greater).double() / (ties + 1)).clamp(0, 1)


def ndcg(greater: Tensor, ties: Tensor, k: int) -> Tensor:
    """Expected NDCG@k of one target over a random order of ties -> float64 like `greater`."""
    gained = F.pad(discounts(k).cumsum(0), (1, 0))  # (k + 1,)
    return (gained[(greater + ties + 1).clamp(max=k)] - gained[greater.clamp(max=k)]) / (ties + 1)


def list_statistics(top: Tensor, counts: Tensor) -> dict[str, float]:
    """What the lists [..., k] are made of; `counts` [n_items] are the items' rows in train.

    distinct: how many different items anybody is shown.
    coverage: that number as a share of the catalogue; k / n_items if all get the same list.
    mean_popularity: how many train rows the average recommended item has.
    popularity_percentile: share of the catalogue less popular than it (ties half); .5 is blind.

    ValueError without items, for lists of no indices and for what is no number of rows.
    """
    if counts.ndim != 1 or not len(counts):
        raise ValueError("counts is one number for each item, one item at least")
    if counts.is_complex() or not (torch.isfinite(counts) & (counts >= 0)).all():
        raise ValueError("counts are numbers of rows: finite, and 0 or more")
    if top.is_floating_point() or top.is_complex() or top.dtype == torch.bool:
        raise ValueError(f"lists hold indices of items, whole numbers, not {top.dtype}")
    if ((top < 0) | (top > len(counts))).any():
        raise ValueError(
            f"lists hold items within 0 .. {len(counts) - 1}, and {len(counts)} to pad"
        )
    top = top.long()  # bytes would be taken for a mask
    shown, counts = top[top < len(counts)], counts.to(top.device)
    distinct, ordered = len(shown.unique()), counts.sort().values
    below = torch.searchsorted(ordered, counts) + torch.searchsorted(ordered, counts, right=True)
    return {
        "distinct": float(distinct),
        "coverage": distinct / len(counts),
        "mean_popularity": float(counts[shown].double().mean()),
        "popularity_percentile": float(below[shown].double().mean()) / (2 * len(counts)),
    }


def sampled_metrics(
    scores: Tensor, position: Tensor, item: Tensor, others: Tensor, k: int
) -> dict[str, Tensor]:
    """Item [M] of the users at `position` [M] in scores [B, n] against others [M, 99]."""
    own, other = scores[position, item][:, None], scores[position[:, None], others]
    counts = _shown(own, (~(other <= own)).sum(1), (other == own).sum(1))
    return {f"sampled_hr@{k}": hit_rate(*counts, k), f"sampled_ndcg@{k}": ndcg(*counts, k)}
