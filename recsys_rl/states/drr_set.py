"""DRR-set: the items that were liked and those that were not, each as a sum.

Source: Zaheer et al., NIPS 2017 (a function of a set is a function of a sum).

B = batch, n = length of a memory, k = width, V = n_items. Index V is padding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys_rl.data.histories import Histories, likes_and_rejections
from recsys_rl.embeddings.cooccurrence import EMBEDDING_STD, Cooccurrence
from recsys_rl.states.base import State
from recsys_rl.states.layers import PooledDropout


class DRRset(State):
    """DRR-set: two sets, no order, no user.

    It also reads how much of the session is over. Like DRR-seq it is its own actor: the output,
    with a 1 appended, is the action, and the item vectors have one column more, a bias.
    """

    is_action = True
    has_dropout = True
    reads_dislikes = True
    pretrained = "likes"
    embedding_lr_scale = 0.05

    def __init__(self, n_users: int, n_items: int, k: int, n: int, *, dropout: float = 0.3) -> None:
        super().__init__(n_users, n_items, k, n)
        self.item_vectors = nn.Embedding(n_items + 1, k + 1, padding_idx=n_items)
        self.dropout = PooledDropout(dropout)
        hidden = 2 * k
        self.read = nn.Linear(2 * k + 3, hidden)
        self.inner_norm = nn.LayerNorm(hidden)
        self.widen, self.narrow = nn.Linear(hidden, 2 * hidden), nn.Linear(2 * hidden, hidden)
        self.norm, self.out = nn.LayerNorm(hidden), nn.Linear(hidden, k)
        there = self.out.weight.device
        self.skip_weight = nn.Parameter(torch.tensor(2.0, device=there))  # of what was liked, as is

    @property
    def size(self) -> int:
        return self.k + 1

    def initialise(self, generator: torch.Generator) -> None:
        """Small vectors, no bias; linear layers U(-1/sqrt(in), 1/sqrt(in))."""
        nn.init.normal_(self.item_vectors.weight, std=EMBEDDING_STD, generator=generator)
        self.item_vectors.weight.data[:, -1] = 0
        self.item_vectors.weight.data[self.n_items] = 0
        for layer in (self.read, self.widen, self.narrow, self.out):
            bound = layer.in_features**-0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
        self.dropout.refill(generator)

    def start_from(self, embeddings: Cooccurrence) -> None:
        """Item vectors and biases from co-occurrence."""
        columns = [embeddings.item, embeddings.bias.unsqueeze(1)]
        self.item_vectors.weight.data[:-1] = torch.cat(columns, 1)

    def summary(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Padded items int64 [B, n] -> 10 sum / sqrt(count), (log(1 + count) - 2) / 2.

        float32 [B, k] and [B, 1]; 10 sets the small vectors' scale right. An empty set: 0.
        """
        count = (items != self.n_items).sum(1, keepdim=True)
        vectors = self.item_vectors.weight
        total = F.embedding_bag(items, vectors, mode="sum", padding_idx=self.n_items)[:, : self.k]
        scale = (0.5 / EMBEDDING_STD) * count.clamp(min=1).float().rsqrt()
        return total * scale, (count.float().log1p() - 2) / 2

    def forward(self, histories: Histories) -> Tensor:
        likes, rejections = likes_and_rejections(histories, self.n, self.n_items)
        liked, n_liked = self.summary(likes)  # (B, k), (B, 1)
        rejected, n_rejected = self.summary(rejections)
        sets = self.dropout(torch.cat([liked, rejected, n_liked, n_rejected], dim=1))
        x = self.read(torch.cat([sets, histories.clock], dim=1))
        x = x + self.narrow(F.silu(self.widen(self.inner_norm(x))))  # (B, 2k)
        action = self.out(self.norm(x)) + self.skip_weight * liked  # (B, k)
        return F.pad(action, (0, 1), value=1.0)
