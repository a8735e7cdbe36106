"""A policy whose scores are on the scale of Q: an actor of the same form as its critic.

B = batch, V = n_items.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recsys_rl.data.histories import Histories


class QPolicy:
    """What an actor is beside a critic that knows Q of all items, `all(histories)` -> [B, V]."""

    linear = None
    squashed = False  # there is no vector to be squashed

    def read(self, histories: Histories) -> Histories:
        return histories

    def scores(self, histories: Histories) -> Tensor:
        return self.all(histories)

    @torch.no_grad()
    def score(self, histories: Histories) -> Tensor:
        return self.all(histories)

    def best(self, histories: Histories) -> Tensor:
        """What is shown: the item with the largest score -> int64 [B]."""
        return self.score(histories).argmax(1)
