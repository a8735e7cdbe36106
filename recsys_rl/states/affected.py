"""What ratings say of a user, and what the session has done to them.

B = batch, V = n_items.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recsys_rl.data.effects import WIDTH, effects
from recsys_rl.data.histories import Histories
from recsys_rl.embeddings.rating_factors import DescribedFactors
from recsys_rl.states.belief import Belief


class Affected(Belief):
    """`Belief` beside satisfaction and shares of genres (`data/effects.py`)."""

    def __init__(self, n_users: int, n_items: int, k: int, n: int) -> None:
        super().__init__(n_users, n_items, k, n)
        there = self.item_vectors.weight.device
        self.register_buffer("films", torch.zeros(n_items, WIDTH, device=there))

    def start_from(self, embeddings: DescribedFactors) -> None:
        super().start_from(embeddings)
        self.films = embeddings.films

    def effects(self, histories: Histories, horizon: int) -> Tensor:
        """Satisfaction and shares of genres, in sessions of `horizon` steps -> [B, WIDTH]."""
        return effects(histories, self.films, horizon)
