"""What an agent sees of a session."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from recsys_rl.data.interactions import POSITIVE, Histories


class Observation(NamedTuple):
    """What the agent sees of a session.

    user: int64 [B], index of the person; n_users stands for one the agent has never met. memory:
    int64 [B, n], the n latest positively rated films, oldest first, LEFT-padded with n_items.
    rejected: the same for films that were shown and not liked, where a state reads them.
    profile: float32 [B, p], what a linear model made of the person when the session began; p = 0 if
    none does.
    """

    user: Tensor
    memory: Tensor
    rejected: Tensor | None = None
    profile: Tensor | None = None

    def at(self, rows: Tensor | slice) -> Observation:
        """Some of the sessions: `rows` is a mask bool [B], indices or a slice."""
        return Observation(*(None if part is None else part[rows] for part in self))


LEAST = 3  # films left to like when a session starts, or it could not earn three


def remember(memory: Tensor, item: Tensor, here: Tensor) -> Tensor:
    """A memory [B, n] with `item` [B] appended where `here` [B]; the oldest film drops out."""
    shifted = torch.cat([memory[:, 1:], item.unsqueeze(1)], dim=1)
    return torch.where(here.unsqueeze(1), shifted, memory)


def likes_and_rejections(histories: Histories, n: int, n_items: int) -> tuple[Tensor, Tensor]:
    """The n latest films that were liked, and the n latest that were not -> int64 [B, n] twice.

    Liked: a rating of 4 or more. Not liked: a lower one, or none for a film that was shown.
    """
    liked = histories.rating >= POSITIVE
    there = histories.item < n_items
    return tuple(_compact(histories.item, rows, n, n_items) for rows in (liked, there & ~liked))


def _compact(item: Tensor, keep: Tensor, n: int, n_items: int) -> Tensor:
    """The last n films of each row [B, H] that are kept -> int64 [B, n], LEFT-padded."""
    from_end = keep.flip(1).cumsum(1).flip(1)  # 1 = the last one that is kept
    keep = keep & (from_end <= n)
    out = item.new_full((len(item), n + 1), n_items)  # the first column is thrown away
    place = torch.where(keep, n + 1 - from_end, 0)
    return out.scatter_(1, place, item.masked_fill(~keep, n_items))[:, 1:]
