"""A linear model of the user beside a state: score = state's part + gate(n) x linear part.

B = batch, V = n_items, p = width of the model. Index V is padding.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor, nn

from recsys_rl.data.candidates import rows_of
from recsys_rl.data.devices import products
from recsys_rl.data.histories import POSITIVE, Histories


class LinearModel(Protocol):
    """A model whose scores are user vector . item vector; nothing in it is trained here."""

    item_vectors: Tensor  # float32 [V, p]
    initial_gate: tuple[float, ...]  # what to multiply its scores by before any training

    def user_vector(self, histories: Histories) -> Tensor:
        """What the answers say of the user, float32 [B, p]."""


class GatedLinear(nn.Module):
    """A linear model, and the gate by which its scores count.

    gate(n) = g0 + g1 n / `full` after n answers, g learned. Learned beside a network that comes to
    know the training users, the gate is too small for cold-start users, whom only the linear model
    gets to know; DDPG may set that right, where the gate learns fast enough (`lr_scale`).

    While the network is in training mode, the linear part of half of the rows is masked: the state
    must do without.
    """

    lr_scale = 200.0  # of the gate in DDPG, as a multiple of the actor's
    MASKED = 0.5

    def __init__(self, model: LinearModel, full: int, generator: torch.Generator) -> None:
        super().__init__()
        self.model, self.full, self.generator = model, full, generator
        there = model.item_vectors.device
        self.gate = nn.Parameter(torch.tensor(model.initial_gate, device=there))

    @property
    def width(self) -> int:
        return self.model.item_vectors.shape[1]

    def reset(self) -> None:
        """The gate as it was before any training."""
        self.gate.data = torch.tensor(self.model.initial_gate, device=self.gate.device)

    def read(self, histories: Histories) -> Histories:
        """The histories with their user vectors, computed once."""
        if histories.user_vector is not None:
            return histories
        with products(histories.item.device, "float32"):  # solved in closed form
            return replace(histories, user_vector=self.model.user_vector(histories))

    def weight(self, histories: Histories) -> Tensor:
        """The gate -> float32 [B, 1]; of likes and of rejections at most `full` count."""
        liked = histories.rating >= POSITIVE
        rejected = (histories.item != len(self.model.item_vectors)) & ~liked
        counts = (part.sum(1, keepdim=True).clamp(max=self.full) for part in (liked, rejected))
        share = sum(counts).float() / self.full
        return sum(weight * share**power for power, weight in enumerate(self.gate))

    def user_part(self, histories: Histories) -> Tensor:
        """gate(n) x user vector, half of the rows masked in training -> float32 [B, p]."""
        histories = self.read(histories)
        part = self.weight(histories) * histories.user_vector
        if self.training:
            g = self.generator
            keep = torch.rand(len(part), 1, generator=g, device=g.device) < 1 - self.MASKED
            part = part * keep.to(part.device)
        return part

    def forward(self, histories: Histories) -> Tensor:
        """gate(n) x scores of the linear model -> float32 [B, V], or [B, m] of the candidates."""
        return self.user_part(histories) @ rows_of(histories.candidates, self.model.item_vectors).T
