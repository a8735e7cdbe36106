"""Mean ratings of items and users from few ratings, with caution where there are very few.

Who picks the best of many estimates picks those that err upwards, so every item's mean is taken
some standard deviations below what its ratings say: pessimism, in the words of offline
reinforcement learning.

Sources: Efron and Morris, JASA 70, 1975 (empirical Bayes); Jin, Yang and Wang, ICML 2021, arXiv
2012.15085 (pessimism).

U = users, V = items.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from recsys_rl.data.counts import check_numbers
from recsys_rl.data.devices import exact
from recsys_rl.data.interactions import Interactions
from recsys_rl.embeddings.rating_factors import RatingFactors

ROUNDS = 5  # of items given users, and users given items
BETWEEN_USERS = 0.2  # variance of the users' means, stars^2
LEAST = 1e-3  # variance


class Posterior(NamedTuple):
    """Of the items' means, less the mean of all ratings: [V] each."""

    mean: Tensor
    deviation: Tensor


def cautious_means(data: Interactions, caution: float = 2.0) -> RatingFactors:
    """rating ~ mean + b_u + b_i - caution x standard deviation of b_i, as factors of width 2."""
    check_numbers(0, caution=caution)
    rating = data.rating.to(exact(data.rating.device))
    mean, above = rating.mean(), rating.new_zeros(data.n_users)
    counts = torch.bincount(data.user, minlength=data.n_users)
    for _ in range(ROUNDS):
        residual = rating - mean - above[data.user]
        items, within = _posterior(data.item, residual, data.n_items)
        left = torch.zeros_like(above)
        left.index_add_(0, data.user, rating - mean - items.mean[data.item])
        above = left / (counts + within / BETWEEN_USERS)
    cautious = items.mean - caution * items.deviation
    user, item = torch.ones_like(above), torch.ones_like(cautious)
    columns = (mean + above, user), (item, cautious)
    return RatingFactors(*(torch.stack(each, 1).to(data.rating.dtype) for each in columns))


def _posterior(item: Tensor, residual: Tensor, n_items: int) -> tuple[Posterior, Tensor]:
    """Means of the items, and the variance of ratings within an item.

    Before its ratings are seen, an item's mean is a parabola of log(1 + their number), for films
    that few people rate are liked less; the variance around it has the greatest likelihood if all
    is normal. Items without ratings are taken for the least rated ones.
    """
    count = torch.bincount(item, minlength=n_items).to(residual.dtype)
    there = count > 0
    if not there.any():
        raise ValueError("the data are too few: no rating is left for the model of the ratings")
    total = torch.zeros_like(count).index_add_(0, item, residual)
    average = total / count.clamp(min=1)
    scatter, free = (residual - average[item]).square().sum(), len(item) - there.sum()
    # one rating an item tells nothing of how they scatter: then all of them together do
    within = (scatter / free if free > 0 else residual.square().mean()).clamp(min=LEAST)
    size = torch.log1p(count).clamp(min=torch.log1p(count[there].min()))
    known = torch.stack([torch.ones_like(size), size, size.square()], 1)  # (V, 3)
    sampling, between = within / count[there], torch.ones_like(within)
    for _ in range(20):
        weight = 1 / (between + sampling)
        weighted = known[there].T * weight
        line = torch.linalg.lstsq(weighted @ known[there], weighted @ average[there]).solution
        apart = (average[there] - known[there] @ line).square() - sampling
        between = ((weight.square() * apart).sum() / weight.square().sum()).clamp(min=LEAST)
    prior = known @ line
    share = between * count / (between * count + within)
    mean = prior + share * (average - prior)
    deviation = (between * within / (between * count + within)).sqrt()
    return Posterior(mean, deviation), within
