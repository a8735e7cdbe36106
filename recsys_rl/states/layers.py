"""Layers that several states share."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PooledDropout(nn.Module):
    """Dropout whose masks are slices of one pool of pre-drawn zeros and ones.

    Drawing a fresh mask for every activation costs more than the layer around it on a CPU; a slice
    at a random place costs nothing. `refill` draws the pool.
    """

    SIZE = 2**22

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p, self.pool, self.generator = p, torch.empty(0), torch.Generator().manual_seed(0)

    def refill(self, generator: torch.Generator) -> None:
        self.generator = generator
        if self.p == 0:
            return
        kept = torch.rand(self.SIZE, generator=generator) >= self.p
        self.pool = kept.float() / (1 - self.p)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        if x.numel() >= len(self.pool):
            mask = torch.rand(x.shape, generator=self.generator) >= self.p
            return x * mask / (1 - self.p)
        place = int(torch.randint(len(self.pool) - x.numel(), (), generator=self.generator))
        return x * self.pool[place : place + x.numel()].view(x.shape)
