"""A Gaussian of likes: a user is its mean, given the answers so far.

Sources: Tipping & Bishop, JRSS B 61(3), 1999 (principal components with a Gaussian prior);
Rasmussen & Williams, MIT Press 2006, eq. 2.25 (the posterior mean).

B = batch, S = answers, V = n_items, p = width. Index V is padding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys_rl.data.counts import check_counts
from recsys_rl.data.devices import on_cpu
from recsys_rl.data.histories import Histories, answers
from recsys_rl.data.interactions import Interactions
from recsys_rl.embeddings.like_posterior import gaussian_of_likes


class GaussianLikes(nn.Module):
    """Likes as one Gaussian over all items.

    A user likes item i (1) or not (0) as m_i + x_i . z + e_i, with z ~ N(0, I) of the user and
    e_i ~ N(0, s_i). m and x are counted from the training users, and so is s but for a number that
    is added to it: nothing is trained. Of answers y to the items S the posterior mean of z is

        z = X_S' (X_S X_S' + diag s_S)^-1 (y_S - m_S),

    a Gaussian process on items with the covariance of their likes as kernel, or a ridge regression
    in which the answers are weighted by 1 / s.

    mean: float32 [V], m. components: float32 [V, p - 1], x. noise: float32 [V], s > 0.
    """

    initial_gate = (8.0, 6.0)  # beside DRR-set, see `GatedLinear`

    def __init__(
        self, mean: Tensor, components: Tensor, noise: Tensor, memory: int | None = None
    ) -> None:
        super().__init__()
        if memory is not None:
            check_counts(memory=memory)
        self.memory = memory  # of likes and of rejections, the latest so many count; None: all
        self.register_buffer("item_vectors", torch.cat([components, mean.unsqueeze(1)], 1))
        self.register_buffer("noise", noise)

    @classmethod
    def fit(
        cls,
        train: Interactions,
        k: int,
        generator: torch.Generator,
        noise: float = 0.02,
        memory: int | None = None,
    ) -> GaussianLikes:
        """k principal components; what they leave of each item's variance, plus `noise`, is s.

        Raises ValueError without noise: an item that nobody likes would have s = 0.
        """
        return cls(*gaussian_of_likes(train, k, generator, noise), memory)

    def __deepcopy__(self, memo: dict) -> GaussianLikes:
        """Itself: nothing in it is trained."""
        return self

    @torch.no_grad()
    def user_vector(self, histories: Histories) -> Tensor:
        """z and a 1 for the mean, float32 [B, p]: its product with `item_vectors` scores."""
        n_items = len(self.item_vectors)
        memory = self.memory or max(1, histories.item.shape[1])
        item, liked = answers(histories, memory, n_items)  # (B, S)
        row = item.clamp(max=n_items - 1)
        known = F.embedding(row, self.item_vectors)  # (B, S, p)
        padding = item == n_items
        known.masked_fill_(padding.unsqueeze(2), 0.0)  # it has no covariance
        x, mean = known[..., :-1], known[..., -1]
        kernel = x @ x.mT  # (B, S, S)
        kernel.diagonal(dim1=1, dim2=2).add_(F.pad(self.noise, (0, 1), value=1.0)[item])
        surprise = (liked - mean).masked_fill_(padding, 0.0).unsqueeze(2)
        # whether it could be done is asked on the CPU alone: elsewhere it would be waited for
        root = torch.linalg.cholesky_ex(kernel, check_errors=on_cpu(kernel)).L
        weight = torch.cholesky_solve(surprise, root).squeeze(2)  # (B, S)
        vector = F.embedding_bag(row, self.item_vectors, per_sample_weights=weight, mode="sum")
        vector[:, -1] = 1.0
        return vector

    def score(self, histories: Histories) -> Tensor:
        """Expected likes of all items -> float32 [B, V]."""
        return self.user_vector(histories) @ self.item_vectors.T
