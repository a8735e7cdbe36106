"""Likes as one Gaussian over all items: its parameters, and what answers tell about a user.

Sources: Tipping & Bishop, JRSS B 61(3), 1999 (principal components with a Gaussian prior);
Rasmussen & Williams, MIT Press 2006, eq. 2.25 and 2.26 (posterior mean and covariance).

B = batch, S = answers, V = n_items, p = width. Index V is padding.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from recsys_rl.data.histories import Histories, answers
from recsys_rl.data.interactions import Interactions
from recsys_rl.embeddings.cooccurrence import like_components


def gaussian_of_likes(
    train: Interactions, k: int, generator: torch.Generator, noise: float = 0.02
) -> tuple[Tensor, Tensor, Tensor]:
    """Share of the users who like an item [V], its k components [V, p], its noise [V].

    The noise is what the components leave of the item's variance, plus `noise`.

    Raises ValueError without noise: an item that nobody likes would have none.
    """
    if not noise > 0:
        raise ValueError(f"noise must be above 0, not {noise}")
    mean, components = like_components(train, k, generator)
    left = mean * (1 - mean) - components.square().sum(1)
    return mean, components, left.clamp(min=0) + noise


class Posterior(NamedTuple):
    """Of the factors z of B users: N(mean, I - root' root).

    mean: float32 [B, p]. root: float32 [B, S, p].
    """

    mean: Tensor
    root: Tensor

    @property
    def user_vector(self) -> Tensor:
        """The mean and a 1 for the share: its product with item vectors is the expected like."""
        return F.pad(self.mean, (0, 1), value=1.0)

    def seen(self, x: Tensor) -> Tensor:
        """What the covariance has lost in the direction of items: [B, N, p] -> [B, N, S].

        The covariance of two items is x . y - seen(x) . seen(y).
        """
        return x @ self.root.mT


@torch.no_grad()
def posterior(
    histories: Histories, item_vectors: Tensor, noise: Tensor, memory: int | None = None
) -> Posterior:
    """Given the answers of histories: liked is 1, all else 0.

    memory: of likes and of rejections the latest so many count; None: all.
    """
    memory = memory or max(1, histories.item.shape[1])
    item, liked = answers(histories, memory, len(item_vectors))  # (B, S)
    known = F.pad(item_vectors, (0, 0, 0, 1))[item]  # padding has no covariance with any item
    x, mean = known[..., :-1], known[..., -1]
    kernel = x @ x.mT  # (B, S, S)
    kernel.diagonal(dim1=1, dim2=2).add_(F.pad(noise, (0, 1), value=1.0)[item])
    lower = torch.linalg.cholesky(kernel)
    told = torch.cat([x, (liked - mean).unsqueeze(2)], 2)
    root, surprise = torch.linalg.solve_triangular(lower, told, upper=False).split(
        [x.shape[2], 1], 2
    )
    return Posterior((root.mT @ surprise).squeeze(2), root)
