"""A binary tree of sums."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys_rl.data.devices import CPU, exact, on_cpu


class SumTree:
    """Complete binary tree whose inner nodes hold the sum of their children.

    Node 1 is the root, node i has children 2i and 2i + 1, leaf j is node `leaves + j`. Reading and
    writing work on whole batches: one vectorised pass a level, log2(capacity) passes in all.
    """

    def __init__(self, capacity: int, device: torch.device = CPU) -> None:
        self.depth = max(1, (capacity - 1).bit_length())
        self.leaves = 2**self.depth
        self.nodes = torch.zeros(2 * self.leaves, dtype=exact(device), device=device)

    @property
    def total(self) -> float:
        return float(self.nodes[1])

    def get(self, leaf: Tensor) -> Tensor:
        return self.nodes[self.leaves + leaf]

    def set(self, leaf: Tensor, value: Tensor) -> None:
        """Write values [B] to leaves [B]; of a leaf named twice, one of its values stays.

        ValueError, and nothing is written, unless all are at least 0 and so small that any sum of
        them is finite; off the CPU they are not looked at.
        """
        value = value.to(self.nodes.dtype)
        most = torch.finfo(value.dtype).max / self.leaves
        if on_cpu(leaf) and not ((value >= 0) & (value <= most)).all():
            raise ValueError("a sum tree holds finite numbers of at least 0, whose sum is finite")
        node = self.leaves + leaf
        self.nodes[node] = value
        for _ in range(self.depth):
            node = torch.unique(node // 2) if on_cpu(node) else node // 2
            self.nodes[node] = self.nodes[2 * node] + self.nodes[2 * node + 1]

    def find(self, mass: Tensor) -> Tensor:
        """The leaf in whose share of [0, total) each mass [B] falls, int64 [B]."""
        node = torch.ones(len(mass), dtype=torch.int64, device=mass.device)
        mass = mass.to(self.nodes.dtype)
        for _ in range(self.depth):
            left = self.nodes[2 * node]
            go_right = mass >= left
            mass = torch.where(go_right, mass - left, mass)
            node = 2 * node + go_right
        return node - self.leaves
