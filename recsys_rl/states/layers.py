"""Layers that several states share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recsys_rl.data.devices import CPU, generator_on, sent


class PooledDropout(nn.Module):
    """Dropout whose masks are slices of one pool of pre-drawn zeros and ones.

    Drawing a fresh mask for every activation costs more than the layer around it on a CPU; a slice
    at a random place costs nothing. `refill` draws the pool, by a generator of the CPU, as are the
    places: nobody waits for a device to tell one.
    """

    SIZE = 2**22

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p, self.generator = p, generator_on(CPU, 0)
        self.register_buffer("pool", torch.empty(0, device=CPU), persistent=False)

    def refill(self, generator: torch.Generator) -> None:
        self.generator = generator
        if self.p == 0:
            return
        kept = torch.rand(self.SIZE, generator=generator, device=generator.device) >= self.p
        self.pool = (kept.float() / (1 - self.p)).to(self.pool.device)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        there = self.generator.device
        if x.numel() >= len(self.pool):
            mask = torch.rand(x.shape, generator=self.generator, device=there) >= self.p
            return x * sent(mask, x.device) / (1 - self.p)
        last = len(self.pool) - x.numel()
        place = int(torch.randint(last, (), generator=self.generator, device=there))
        return x * self.pool[place : place + x.numel()].view(x.shape)
