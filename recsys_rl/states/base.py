"""What every state representation is, and says of what it needs.

B = batch, n = length of the memory, k = width of the vectors. Index n_items is padding, n_users
anonymous.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from recsys_rl.data.histories import POSITIVE, Histories, latest


class State(nn.Module):
    """Turns the histories of B users into float32 [B, size].

    A subclass owns its item vectors, `item_vectors` [n_items + 1, w], the last row padding, and
    says by class attributes what it needs.
    """

    reads_from: float = POSITIVE  # the smallest rating that enters its memory
    reads_dislikes = False  # whether items that were shown and not liked say something
    has_dropout = False  # whether it has a `dropout`, a PooledDropout: `state.dropout` sets its p
    is_action = False  # whether its output is the action; else the actor has layers
    pretrained = "pmf"  # the embeddings it starts from, see `agent.build.EMBEDDINGS`
    windows = False  # whether it is pretrained on all positions of a stretch of log at once
    reads_clock = False  # whether it can read when items were rated, and when one is asked for
    critic_copies_actor = False  # whether the critic reads a frozen copy of the pretrained state
    noise = 0.0  # variance of what an answer says by chance, where the state reckons with it
    embedding_lr_scale = 1.0  # learning rate of the item vectors, as a share of the others'

    def __init__(self, n_users: int, n_items: int, k: int, n: int) -> None:
        super().__init__()
        self.n_users, self.n_items, self.k, self.n = n_users, n_items, k, n

    @property
    def size(self) -> int:
        raise NotImplementedError

    @property
    def session_items(self) -> int:
        """How many of a session's latest items are kept for it, in play and in the replay."""
        return self.n

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights from a given generator."""
        raise NotImplementedError

    def start_from(self, embeddings: Any) -> None:
        """Take over vectors that were learned before."""
        raise NotImplementedError

    def forward(self, histories: Histories) -> Tensor:
        raise NotImplementedError

    def memory(self, histories: Histories) -> Tensor:
        """The n latest items that it reads -> int64 [B, n], LEFT-padded."""
        return latest(histories, self.n, self.n_items, self.reads_from)


def initialise_linear(module: nn.Module, generator: torch.Generator) -> None:
    """PyTorch's default for linear layers, U(-1/sqrt(in), 1/sqrt(in)), from a given generator."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            bound = part.in_features**-0.5
            nn.init.uniform_(part.weight, -bound, bound, generator=generator)
            nn.init.uniform_(part.bias, -bound, bound, generator=generator)
