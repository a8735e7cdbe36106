"""Likes as one Gaussian over all items: its parameters, and what answers tell about a user.

Sources: Tipping & Bishop, JRSS B 61(3), 1999 (principal components with a Gaussian prior);
Rasmussen & Williams, MIT Press 2006, eq. 2.25 and 2.26 (posterior mean and covariance).

B = batch, S = answers, V = n_items, p = width. Index V is padding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from recsys_rl.data.devices import CPU, generator_on
from recsys_rl.data.histories import Histories, answers
from recsys_rl.data.interactions import Interactions
from recsys_rl.embeddings.cooccurrence import like_components

WIDTH = 128  # components
LEAST_NOISE = 1e-6  # below it rounding decides


def gaussian_of_likes(
    train: Interactions, k: int, generator: torch.Generator, noise: float = 0.02
) -> tuple[Tensor, Tensor, Tensor]:
    """Share of the users who like an item [V], its k components [V, p], its noise [V].

    The noise is what the components leave of the item's variance, plus `noise`.

    Raises ValueError without noise: an item that nobody likes would have none.
    """
    if not LEAST_NOISE <= noise < math.inf:
        raise ValueError(f"noise must be at least {LEAST_NOISE} and finite, not {noise}")
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


@dataclass(frozen=True, eq=False)
class LikeGaussian:
    """A user likes item i (1) or not (0) as m_i + x_i . z + e_i, z ~ N(0, I), e_i ~ N(0, s_i).

    What is not liked and what is not seen are both 0, as in the likes that it is fitted on.

    item_vectors: float32 [V, p + 1], x and m. noise: float32 [V], s > 0.
    """

    item_vectors: Tensor
    noise: Tensor

    @classmethod
    def fit(cls, train: Interactions, k: int = WIDTH, seed: int = 0) -> LikeGaussian:
        generator = generator_on(CPU, seed)
        mean, components, noise = gaussian_of_likes(train, k, generator)
        return cls(torch.cat([components, mean.unsqueeze(1)], 1), noise)

    @property
    def n_items(self) -> int:
        return len(self.noise)

    @torch.no_grad()
    def posterior(self, histories: Histories) -> Posterior:
        """Of z, given the answers of histories."""
        longest = max(1, histories.item.shape[1])
        item, liked = answers(histories, longest, self.n_items)  # (B, S)
        known = F.pad(self.item_vectors, (0, 0, 0, 1))[item]  # padding tells nothing of any item
        x, mean = known[..., :-1], known[..., -1]
        kernel = x @ x.mT  # (B, S, S)
        kernel.diagonal(dim1=1, dim2=2).add_(F.pad(self.noise, (0, 1), value=1.0)[item])
        lower = torch.linalg.cholesky(kernel)
        told = torch.cat([x, (liked - mean).unsqueeze(2)], 2)
        solved = torch.linalg.solve_triangular(lower, told, upper=False)
        root, surprise = solved[..., :-1], solved[..., -1:]
        return Posterior((root.mT @ surprise).squeeze(2), root)

    def score(self, histories: Histories) -> Tensor:
        """Expected likes of all items -> float32 [B, V]."""
        return self.posterior(histories).user_vector @ self.item_vectors.T
