"""The states of the DRR papers: DRR-p, DRR-u, DRR-ave, DRR-att."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys_rl.data.observation import Observation
from recsys_rl.states.base import State


def pair_products(vectors: Tensor) -> Tensor:
    """Element-wise products of every pair: float32 [B, n, k] -> [B, n (n - 1) / 2, k]."""
    first, second = torch.triu_indices(vectors.shape[1], vectors.shape[1], offset=1)
    return vectors.index_select(1, first) * vectors.index_select(1, second)


class DRRp(State):
    """DRR-p: the n films and the product of every pair of them."""

    @property
    def size(self) -> int:
        return self.k * (self.n + self.n * (self.n - 1) // 2)

    def forward(self, observation: Observation) -> Tensor:
        films = self.item_vectors(observation.memory)  # (B, n, k)
        pairs = pair_products(self.films(observation))  # (B, n(n-1)/2, k)
        return torch.cat([films, pairs], dim=1).flatten(1)


class DRRu(State):
    """DRR-u: the user times each film, and the product of every pair of films."""

    @property
    def size(self) -> int:
        return self.k * (self.n + self.n * (self.n - 1) // 2)

    def forward(self, observation: Observation) -> Tensor:
        films = self.films(observation)  # (B, n, k)
        user = self.user_vectors(observation.user).unsqueeze(1)  # (B, 1, k)
        return torch.cat([user * films, pair_products(films)], dim=1).flatten(1)


class DRRave(State):
    """DRR-ave: the user, the user times the mean film, and the mean film."""

    @property
    def size(self) -> int:
        return 3 * self.k

    def summary(self, observation: Observation, user: Tensor) -> Tensor:
        """One vector for the memory -> float32 [B, k]."""
        return self.mean_film(observation)

    def forward(self, observation: Observation) -> Tensor:
        user = self.user_vectors(observation.user)  # (B, k)
        films = self.summary(observation, user)  # (B, k)
        return torch.cat([user, user * films, films], dim=1)


class DRRatt(DRRave):
    """DRR-att: DRR-ave with the mean replaced by the user's attention over the films."""

    def __init__(self, n_users: int, n_items: int, k: int, n: int) -> None:
        super().__init__(n_users, n_items, k, n)
        self.hidden = nn.Linear(2 * k, k)
        self.score = nn.Linear(k, 1)

    def summary(self, observation: Observation, user: Tensor) -> Tensor:
        films = self.films(observation)  # (B, n, k)
        pairs = torch.cat([user.unsqueeze(1).expand_as(films), films], dim=2)  # (B, n, 2k)
        score = self.score(F.relu(self.hidden(pairs))).squeeze(2)  # (B, n)
        padding = observation.memory == self.n_items
        score = score.masked_fill(padding, torch.finfo(score.dtype).min)
        attention = score.softmax(1).masked_fill(padding, 0.0)  # an empty memory attends to nothing
        return (attention.unsqueeze(2) * films).sum(1)
