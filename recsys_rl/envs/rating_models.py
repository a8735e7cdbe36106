"""Rating models that answer for simulated users.

An agent that trains in a simulator learns its errors as well, so it is evaluated in another one:
fitted on the other half of the ratings (`two_halves`) and of another family. Training: PMF.
Evaluation: `NeighbourRatings`.

Sources: Sarwar et al., WWW 2001 (item-based neighbours); Koren, KDD 2008, sections 2.1 and 2.2
(biased means, shrunk correlations of their residuals).

B = batch, H = length of a history, V = n_items. Index V is padding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recsys_rl.data.counts import check_counts, check_positive
from recsys_rl.data.histories import Histories
from recsys_rl.data.interactions import Interactions, refuse_empty
from recsys_rl.data.memory_limit import refuse_dense
from recsys_rl.data.splits import random_split


def two_halves(data: Interactions, seed: int = 0) -> tuple[Interactions, Interactions]:
    """All ratings in two halves, row by row at random: one to train with, one to evaluate with."""
    split = random_split(data, test_share=0.5, seed=seed)
    return split.train, split.test


def refuse_neighbours(n_items: int) -> None:
    """ValueError where `NeighbourRatings` has too many items for its dense tables."""
    instead = "leave out films with few ratings by min_ratings"
    refuse_dense(n_items, n_items, "neighbours that rate", instead, each=24)


class NeighbourRatings:
    """Stars from the user's own stars for similar items, with nothing learned by gradients.

    r_ui ~ b_ui + sum_j w_ij e_uj / (damping + sum_j w_ij) over the items j that u has rated, where
    b_ui = mean + b_u + b_i are biased means, e = r - b, and w_ij is the correlation of e_i and e_j
    over the n_ij users who rated both, times n_ij / (n_ij + shrinkage), to the `power`; only the
    `neighbours` largest of each item i count, and none below 0. The neighbours are those of the
    item and not, as in the sources, of the pair (item, user): then all users at once are two
    matrix products.
    """

    def __init__(
        self,
        train: Interactions,
        *,
        neighbours: int = 150,
        shrinkage: float = 50.0,
        power: float = 2.0,
        damping: float = 0.1,
        item_prior: float = 5.0,
        user_prior: float = 10.0,
        batch_size: int = 1024,
    ) -> None:
        check_counts(neighbours=neighbours, batch_size=batch_size)
        check_positive(shrinkage=shrinkage, power=power, damping=damping)
        check_positive(item_prior=item_prior, user_prior=user_prior)
        refuse_neighbours(train.n_items)
        refuse_empty(train)
        self.damping, self.user_prior = damping, user_prior
        self.mean = train.rating.mean()
        above = train.rating.new_zeros(train.n_items)
        above.index_add_(0, train.item, train.rating - self.mean)
        counts = torch.bincount(train.item, minlength=train.n_items)
        self.item_bias = above / (counts + item_prior)
        alike = self._similarities(train, shrinkage, batch_size).clamp(min=0).pow(power)
        near = alike.topk(min(neighbours, train.n_items), dim=0)
        self.weights = torch.zeros_like(alike).scatter_(0, near.indices, near.values)  # (V, V)

    def _similarities(self, train: Interactions, shrinkage: float, batch_size: int) -> Tensor:
        """Shrunk correlations of the residuals -> float32 [V, V], diagonal 0."""
        product, square, both = train.rating.new_zeros(3, train.n_items, train.n_items)
        for users in torch.arange(train.n_users, device=product.device).split(batch_size):
            _, residual, there = self._residuals(train.histories(users))
            product.addmm_(residual.T, residual)
            square.addmm_(residual.square().T, there)
            both.addmm_(there.T, there)
        length = square.mul(square.T).sqrt_().clamp_(min=1e-9)
        return product.div_(length).mul_(both / (both + shrinkage)).fill_diagonal_(0)

    def _residuals(self, histories: Histories) -> tuple[Tensor, Tensor, Tensor]:
        """b, e and what was rated, 1 or 0 -> float32 [B, V] each; e is 0 where nothing was."""
        size = len(histories), len(self.item_bias) + 1
        rating = histories.rating.new_zeros(size)
        rating = rating.scatter_(1, histories.item, histories.rating)[:, :-1]
        there = (rating > 0).float()
        above = rating - self.mean - self.item_bias  # (B, V)
        count = there.sum(1, keepdim=True)
        user_bias = (above * there).sum(1, keepdim=True) / (count + self.user_prior)
        return self.mean + user_bias + self.item_bias, (above - user_bias) * there, there

    def score(self, histories: Histories) -> Tensor:
        """Predicted stars of all items -> float32 [B, V]. Items shown without stars teach nothing.

        `Histories.user` is not read: cold-start users are served like anybody else.
        """
        base, residual, there = self._residuals(histories)
        weight = there @ self.weights  # (B, V)
        return base + (residual @ self.weights) / (weight + self.damping)
