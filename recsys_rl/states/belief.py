"""What ratings say of a user, exactly: the posterior of the factors, and what was shown lately.

For sessions in which every item is answered by its stars and may come again. The first item of a
history was known at the start and has not been shown.

B = batch, H = length of a history, V = n_items, k = factors, W = items that are looked back on.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys_rl.data.histories import Histories
from recsys_rl.embeddings.rating_factors import RatingFactors, posterior_mean
from recsys_rl.states.base import State

WINDOW = 7


class Belief(State):
    """Mean of the user's factors given the ratings, mean of the latest W items, the latest item.

    rating ~ N(u . q_i, noise), u ~ N(mean, covariance) of the users that were fitted. The item
    vectors stay as they were fitted. places: where items lie at first, for networks that read it,
    float32 [V, k]; None where nothing is known of who left.
    """

    reads_from = 0.0
    reads_dislikes = True
    pretrained = "ratings"
    noise = 0.0025
    places: Tensor | None = None

    def __init__(self, n_users: int, n_items: int, k: int, n: int) -> None:
        super().__init__(n_users, n_items, k, n)
        self.item_vectors = nn.Embedding(n_items + 1, k, padding_idx=n_items)
        self.item_vectors.requires_grad_(False)
        there = self.item_vectors.weight.device
        self.register_buffer("mean", torch.zeros(k, device=there))
        self.register_buffer("precision", torch.eye(k, device=there))

    @property
    def size(self) -> int:
        return 3 * self.k

    def initialise(self, generator: torch.Generator) -> None:
        nn.init.normal_(self.item_vectors.weight, generator=generator)
        self.item_vectors.weight.data[self.n_items] = 0

    def start_from(self, embeddings: RatingFactors) -> None:
        factors = embeddings.rotated()
        self.item_vectors.weight.data[:-1] = factors.item
        self.mean, self.precision = factors.prior()
        self.places = factors.places

    def forward(self, histories: Histories) -> Tensor:
        items = self.item_vectors(self.recent(histories))  # (B, W, k)
        count = (self.recent(histories) < self.n_items).sum(1, keepdim=True).clamp(min=1)
        return torch.cat([self.user(histories), items.sum(1) / count, items[:, -1]], 1)

    def user(self, histories: Histories) -> Tensor:
        """The posterior mean -> float32 [B, k]."""
        vectors = self.item_vectors(histories.item)  # (B, H, k)
        prior = self.mean, self.precision, self.noise
        return posterior_mean(vectors, histories.rating, *prior)

    def ratings(self, histories: Histories) -> Tensor:
        """Expected stars of all items -> float32 [B, V]."""
        return (self.user(histories) @ self.item_vectors.weight[:-1].T).clamp(0, 5)

    def recent(self, histories: Histories) -> Tensor:
        """The latest W items that were shown -> int64 [B, W], LEFT-padded."""
        item = F.pad(histories.item, (WINDOW, 0), value=self.n_items)[:, -WINDOW:]
        shown = (histories.item < self.n_items).sum(1, keepdim=True) - 1
        back = torch.arange(WINDOW, 0, -1, device=item.device)
        return item.masked_fill(back > shown, self.n_items)


class NoBelief(Belief):
    """Without the ratings: everybody is the mean user. What a policy earns by them, shows here."""

    def user(self, histories: Histories) -> Tensor:
        return self.mean.expand(len(histories), -1)
