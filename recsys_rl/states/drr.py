"""The states of the DRR papers: DRR-p, DRR-u, DRR-ave, DRR-att.

Sources: Liu et al., arXiv 1810.12027, section 4 (DRR-p, DRR-u, DRR-ave); Knowledge-Based Systems
205, 2020 (DRR-att).

B = batch, n = length of the memory, k = width of the vectors. Index n_items is padding, n_users
anonymous.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys_rl.data.histories import Histories
from recsys_rl.embeddings.pmf import PMF
from recsys_rl.states.base import State, initialise_linear


class PaperState(State):
    """User and item vectors, and a learned weight for each place in the memory.

    Padding is the zero vector and contributes nothing; row n_users is the anonymous user, learned
    from the sessions in which the agent is not told who the user is.
    """

    def __init__(self, n_users: int, n_items: int, k: int, n: int) -> None:
        super().__init__(n_users, n_items, k, n)
        self.user_vectors = nn.Embedding(n_users + 1, k)
        self.item_vectors = nn.Embedding(n_items + 1, k, padding_idx=n_items)
        there = self.item_vectors.weight.device
        self.weight = nn.Parameter(torch.ones(n, device=there))  # w_1..w_n, oldest item first

    def initialise(self, generator: torch.Generator) -> None:
        """N(0, 0.1^2) vectors; linear layers as PyTorch does."""
        for vectors in (self.user_vectors, self.item_vectors):
            nn.init.normal_(vectors.weight, std=0.1, generator=generator)
        self.item_vectors.weight.data[self.n_items] = 0
        initialise_linear(self, generator)

    def start_from(self, embeddings: PMF) -> None:
        """The vectors of a PMF; the anonymous user starts as the mean user."""
        self.user_vectors.weight.data[:-1] = embeddings.user.data
        self.user_vectors.weight.data[-1] = embeddings.user.data.mean(0)
        self.item_vectors.weight.data[:-1] = embeddings.item.data

    def weighted(self, memory: Tensor) -> Tensor:
        """The weighted vectors w_a i_a of a memory -> float32 [B, n, k]."""
        return self.item_vectors(memory) * self.weight.unsqueeze(1)


def pair_products(vectors: Tensor) -> Tensor:
    """Element-wise products of every pair: float32 [B, n, k] -> [B, n (n - 1) / 2, k]."""
    n, there = vectors.shape[1], vectors.device
    first, second = torch.triu_indices(n, n, offset=1, device=there)
    return vectors.index_select(1, first) * vectors.index_select(1, second)


class DRRp(PaperState):
    """DRR-p: the n items and the product of every pair of them."""

    @property
    def size(self) -> int:
        return self.k * (self.n + self.n * (self.n - 1) // 2)

    def forward(self, histories: Histories) -> Tensor:
        memory = self.memory(histories)
        items = self.item_vectors(memory)  # (B, n, k)
        pairs = pair_products(self.weighted(memory))  # (B, n(n-1)/2, k)
        return torch.cat([items, pairs], dim=1).flatten(1)


class DRRu(PaperState):
    """DRR-u: the user times each item, and the product of every pair of items."""

    @property
    def size(self) -> int:
        return self.k * (self.n + self.n * (self.n - 1) // 2)

    def forward(self, histories: Histories) -> Tensor:
        items = self.weighted(self.memory(histories))  # (B, n, k)
        user = self.user_vectors(histories.user).unsqueeze(1)  # (B, 1, k)
        return torch.cat([user * items, pair_products(items)], dim=1).flatten(1)


class DRRave(PaperState):
    """DRR-ave: the user, the user times the mean item, and the mean item."""

    @property
    def size(self) -> int:
        return 3 * self.k

    def summary(self, memory: Tensor, user: Tensor) -> Tensor:
        """One vector for the memory: the mean of the weighted items -> float32 [B, k]."""
        known = (memory != self.n_items).sum(1, keepdim=True).clamp(min=1)
        return self.weighted(memory).sum(1) / known

    def forward(self, histories: Histories) -> Tensor:
        user = self.user_vectors(histories.user)  # (B, k)
        items = self.summary(self.memory(histories), user)  # (B, k)
        return torch.cat([user, user * items, items], dim=1)


class DRRatt(DRRave):
    """DRR-att: DRR-ave with the mean replaced by the user's attention over the items."""

    def __init__(self, n_users: int, n_items: int, k: int, n: int) -> None:
        super().__init__(n_users, n_items, k, n)
        self.hidden = nn.Linear(2 * k, k)
        self.score = nn.Linear(k, 1)

    def summary(self, memory: Tensor, user: Tensor) -> Tensor:
        items = self.weighted(memory)  # (B, n, k)
        pairs = torch.cat([user.unsqueeze(1).expand_as(items), items], dim=2)  # (B, n, 2k)
        score = self.score(F.relu(self.hidden(pairs))).squeeze(2)  # (B, n)
        padding = memory == self.n_items
        score = score.masked_fill(padding, torch.finfo(score.dtype).min)
        attention = score.softmax(1).masked_fill(padding, 0.0)  # an empty memory attends to nothing
        return (attention.unsqueeze(2) * items).sum(1)
