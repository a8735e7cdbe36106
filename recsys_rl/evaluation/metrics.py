"""Metrics of a ranking."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from recsys_rl.data.interactions import POSITIVE


def discounts(k: int) -> Tensor:
    """1 / log2(rank + 2) for the ranks 0..k-1 -> float64 [k]."""
    return 1 / torch.log2(torch.arange(k, dtype=torch.float64) + 2)


def rank_counts(scores: Tensor, target: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """How many candidates beat each target, and how many *others* tie with it.

    scores [B, n], target int64 [B], candidates bool [B, n] (the target may be among them or not)
    -> greater, ties: int64 [B].
    """
    own = scores.gather(1, target[:, None])  # (B, 1)
    greater = ((scores > own) & candidates).sum(1)
    tied = (scores == own) & candidates
    return greater, tied.sum(1) - tied.gather(1, target[:, None]).squeeze(1).long()


def hit_rate(greater: Tensor, ties: Tensor, k: int) -> Tensor:
    """Expected Hit@k of one target over a random order of ties -> float64 like `greater`."""
    return ((k - greater).double() / (ties + 1)).clamp(0, 1)


def ndcg(greater: Tensor, ties: Tensor, k: int) -> Tensor:
    """Expected NDCG@k of one target over a random order of ties -> float64 like `greater`."""
    gained = torch.cat([torch.zeros(1, dtype=torch.float64), discounts(k).cumsum(0)])  # (k + 1,)
    return (gained[(greater + ties + 1).clamp(max=k)] - gained[greater.clamp(max=k)]) / (ties + 1)


def list_statistics(top: Tensor, counts: Tensor) -> dict[str, float]:
    """What the lists [..., k] are made of; `counts` [n_items] are the items' rows in train.

    distinct: how many different films anybody is shown.
    coverage: that number as a share of the catalogue; k / n_items if all get the same list.
    mean_popularity: how many train rows the average recommended film has.
    popularity_percentile: share of the catalogue less popular than it (ties half); .5 is blind.
    """
    shown = top[top < len(counts)]
    distinct, ordered = len(shown.unique()), counts.sort().values
    below = torch.searchsorted(ordered, counts) + torch.searchsorted(ordered, counts, right=True)
    return {
        "distinct": float(distinct),
        "coverage": distinct / len(counts),
        "mean_popularity": float(counts[shown].double().mean()),
        "popularity_percentile": float(below[shown].double().mean()) / (2 * len(counts)),
    }


def _sampled_metrics(
    scores: Tensor, position: Tensor, item: Tensor, others: Tensor, k: int
) -> dict[str, Tensor]:
    """Item [M] of the users at `position` [M] in scores [B, n] against others [M, 99]."""
    own, other = scores[position, item][:, None], scores[position[:, None], others]
    counts = (other > own).sum(1), (other == own).sum(1)
    return {f"sampled_hr@{k}": hit_rate(*counts, k), f"sampled_ndcg@{k}": ndcg(*counts, k)}


def _session_metrics(read: Tensor, logged: Tensor, ks: Sequence[int]) -> list[dict[str, Tensor]]:
    """Protocol D's metrics [B] of the order taken, of a random order, and of the best order.

    read: ratings in the order taken [B, K]; logged: the session's [B, M]; both 0 at padding.
    Precision and DCG are linear in the gains, so a random order expects the mean gain everywhere.
    """
    steps, n_rows, weight = read.shape[1], (logged > 0).sum(1), discounts(read.shape[1])
    short = max(0, steps - logged.shape[1])
    logged = torch.nn.functional.pad(logged, (0, short)).sort(1, descending=True).values
    there, figures = torch.arange(steps) < n_rows[:, None], [{}, {}, {}]
    for name, binary in (("ndcg", False), ("binary_ndcg", True)):
        gain, gained = (
            (r >= POSITIVE).double() if binary else 2 ** r.double() - 1 for r in (logged, read)
        )
        mean, best = gain.sum(1, keepdim=True) / n_rows[:, None] * there, gain[:, :steps]
        for row, gains in zip(figures, (gained, mean, best), strict=True):
            for k in ks:
                dcg = gains[:, :k] @ weight[:k]  # 0 / 0 = NaN where no row is positive
                at_k = {f"{name}@{k}": dcg / (best[:, :k] @ weight[:k])}
                if binary:
                    at_k[f"precision@{k}"] = gains[:, :k].sum(1) / k
                row.update(at_k)
                row.update({f"long_{n}": v.where(n_rows >= k, torch.nan) for n, v in at_k.items()})
    return figures
