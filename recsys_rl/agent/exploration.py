"""How an agent explores: noise on its action, and random items."""

from __future__ import annotations

import torch
from torch import Tensor


class OUNoise:
    """Ornstein-Uhlenbeck noise, one walk a session: x <- x - theta x + sigma N(0, 1)."""

    def __init__(self, sessions: int, k: int, sigma: float, theta: float = 0.15) -> None:
        self.sigma, self.theta = sigma, theta
        self.x = torch.zeros(sessions, k)

    def reset(self) -> None:
        self.x = torch.zeros_like(self.x)

    def sample(self, generator: torch.Generator) -> Tensor:
        shock = torch.randn(self.x.shape, generator=generator)
        self.x = self.x - self.theta * self.x + self.sigma * shock
        return self.x  # (B, k)


def epsilon_greedy(
    item: Tensor, excluded: Tensor, epsilon: float, generator: torch.Generator
) -> Tensor:
    """Replace a share `epsilon` of the items [B] by random ones that are not excluded [B, V]."""
    chosen = torch.rand(len(item), generator=generator) < epsilon
    rows = chosen.nonzero().squeeze(1)
    keys = torch.rand(len(rows), excluded.shape[1], generator=generator)
    return item.index_put((rows,), keys.masked_fill_(excluded[rows], -1.0).argmax(1))
