"""Histories: what every model ranks from, and what an agent observes of a session.

B = batch, H = length of a history, n = length of a memory. Index n_items is padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from recsys_rl.data.candidates import columns_of
from recsys_rl.data.devices import on_cpu
from recsys_rl.data.likes import POSITIVE as POSITIVE
from recsys_rl.data.likes import SHOWN as SHOWN

UNKNOWN_TIME = torch.iinfo(torch.int64).min  # in a row of times: nobody knows


class Times(NamedTuple):
    """When B x L items were rated, and when the next one was asked for; seconds, or UNKNOWN_TIME.

    The request of a position is the moment of the rating that follows it.
    """

    rated: Tensor  # int64 [B, L], anything at padding
    request: Tensor  # int64 [B, L]

    def at(self, rows: Tensor, length: int) -> Times:
        """Some of the users, and their first `length` positions."""
        return Times(self.rated[rows, :length], self.request[rows, :length])


@dataclass(frozen=True, eq=False)
class Histories:
    """B users and what each of them has rated, or answered in a session, so far.

    user: int64 [B], `n_users` for a user the model has never met; item: int64 [B, H], oldest first,
    LEFT-padded with `n_items`; rating: float32 [B, H], 0 at padding and for what was only SHOWN.
    elapsed: float32 [B], the share t / T of a session of at most T steps that is over; None outside
    of sessions, and where no limit counts, which means 0: a session that starts now.
    shown: int64 [B, W], items that cannot be shown again although no history names them, padded
    with `n_items`; None where there are none.
    user_vector: float32 [B, p], what a linear model makes of the history (`GatedLinear.read`).
    time: int64 [B, H], when each item was rated, in seconds; request: int64 [B], the moment at
    which the next item is asked for. None where they are not known, or not to be read; sessions
    have neither.
    candidates: int64 [m], the items that can be shown to all B users and are scored, a column each
    (`data.candidates`); None: all.
    """

    user: Tensor
    item: Tensor
    rating: Tensor
    elapsed: Tensor | None = None
    shown: Tensor | None = None
    user_vector: Tensor | None = None
    time: Tensor | None = None
    request: Tensor | None = None
    candidates: Tensor | None = None

    def __len__(self) -> int:
        return len(self.user)

    @property
    def clock(self) -> Tensor:
        """`elapsed` as a column that networks read, float32 [B, 1]."""
        if self.elapsed is None:
            return self.rating.new_zeros(len(self), 1)
        return self.elapsed.unsqueeze(1)

    def at(self, rows: Tensor | slice) -> Histories:
        """Some of the users: `rows` is a mask bool [B], indices or a slice."""
        parts = {each.name: getattr(self, each.name) for each in fields(self)}
        candidates = parts.pop("candidates")
        there = {name: part[rows] for name, part in parts.items() if part is not None}
        return Histories(**there, candidates=candidates)

    def to(self, device: torch.device) -> Histories:
        """The same on a device; itself where it is there."""
        if self.user.device == device:
            return self
        parts = {each.name: getattr(self, each.name) for each in fields(self)}
        there = {name: part.to(device) for name, part in parts.items() if part is not None}
        return Histories(**there)

    def last(self, n: int) -> Histories:
        """The n latest columns."""
        first = max(0, self.item.shape[1] - n)
        time = None if self.time is None else self.time[:, first:]
        return replace(self, item=self.item[:, first:], rating=self.rating[:, first:], time=time)

    def without_clock(self) -> Histories:
        """The order alone."""
        return replace(self, time=None, request=None)


def appended(histories: Histories, item: Tensor, rating: Tensor, keep: Tensor) -> Histories:
    """Histories [B, H] and one answer each [B] -> [B, H + 1]; on the left where not `keep`.

    item and rating: padding (n_items and 0) where not `keep`. Times are left out.
    """
    histories = histories.without_clock()

    def joined(old: Tensor, new: Tensor) -> Tensor:
        new = new.unsqueeze(1)
        return torch.where(keep.unsqueeze(1), torch.cat([old, new], 1), torch.cat([new, old], 1))

    return replace(
        histories, item=joined(histories.item, item), rating=joined(histories.rating, rating)
    )


def latest(histories: Histories, n: int, n_items: int, reads_from: float) -> Tensor:
    """The n latest items rated `reads_from` or more -> int64 [B, n], LEFT-padded."""
    return _compact(histories.item, histories.rating >= reads_from, n, n_items)


def latest_times(histories: Histories, n: int, reads_from: float) -> Tensor:
    """When the items of `latest` were rated -> int64 [B, n]; UNKNOWN_TIME at padding."""
    return _compact(histories.time, histories.rating >= reads_from, n, UNKNOWN_TIME)


def likes_and_rejections(histories: Histories, n: int, n_items: int) -> tuple[Tensor, Tensor]:
    """The n latest items that were liked, and the n latest that were not -> int64 [B, n] twice.

    Liked: a rating of 4 or more. Not liked: a lower one, or none for an item that was shown.
    """
    liked = histories.rating >= POSITIVE
    there = histories.item < n_items
    return tuple(_compact(histories.item, rows, n, n_items) for rows in (liked, there & ~liked))


def answers(histories: Histories, n: int, n_items: int) -> tuple[Tensor, Tensor]:
    """The n latest likes and the n latest rejections in one row -> item int64 [B, S], liked [B, S].

    liked: float32, 1 or 0. Padding moves to the end, and the columns that nobody fills are left
    out, where that is worth asking for.
    """
    likes, rejections = likes_and_rejections(histories, n, n_items)
    item = torch.cat([likes, rejections], 1)
    liked = torch.zeros_like(item, dtype=torch.float32)
    liked[:, : likes.shape[1]] = 1
    there = item < n_items
    order = there.int().argsort(dim=1, descending=True, stable=True)
    if on_cpu(item):
        order = order[:, : max(1, int(there.sum(1).max()) if len(item) else 1)]
    return item.gather(1, order), liked.gather(1, order)


def _compact(item: Tensor, keep: Tensor, n: int, padding: int) -> Tensor:
    """The last n values of each row [B, H] that are kept -> int64 [B, n], LEFT-padded."""
    from_end = keep.flip(1).cumsum(1).flip(1)  # 1 = the last one that is kept
    keep = keep & (from_end <= n)
    out = item.new_full((len(item), n + 1), padding)  # the first column is thrown away
    place = torch.where(keep, n + 1 - from_end, 0)
    return out.scatter_(1, place, item.masked_fill(~keep, padding))[:, 1:]


def exclusion_mask(histories: Histories, n_items: int) -> Tensor:
    """Items that a history names, or that were shown beside it -> bool [B, n_items], or [B, m] of
    its candidates."""
    candidates = histories.candidates
    size = len(histories), 1 + (n_items if candidates is None else len(candidates))
    mask = torch.zeros(size, dtype=torch.bool, device=histories.item.device)
    mask.scatter_(1, columns_of(candidates, histories.item), True)
    if histories.shown is not None:
        mask.scatter_(1, columns_of(candidates, histories.shown), True)
    return mask[:, :-1]


def repadded(histories: Histories, width: int, n_items: int) -> Histories:
    """The last `width` columns, padded on the left where there are fewer; times are left out."""
    histories = histories.without_clock()
    short = max(0, width - histories.item.shape[1])
    item = F.pad(histories.item, (short, 0), value=n_items)[:, -width:]
    return replace(histories, item=item, rating=F.pad(histories.rating, (short, 0))[:, -width:])


def stacked(parts: Sequence[Histories], width: int, n_items: int) -> Histories:
    """Several batches under each other, each history with its last `width` columns.

    All have the same candidates, those of the first.
    """
    candidates = parts[0].candidates
    parts = [repadded(part, width, n_items) for part in parts]
    columns = zip(*((p.user, p.item, p.rating, p.clock.squeeze(1)) for p in parts), strict=True)
    shown = None if parts[0].shown is None else torch.cat([part.shown for part in parts])
    return Histories(*map(torch.cat, columns), shown, candidates=candidates)
