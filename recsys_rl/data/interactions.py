"""Ratings as tensors, ids as indices, and the tables of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recsys_rl.data.histories import Histories


@dataclass(frozen=True, eq=False)
class IdMap:
    """MovieLens ids <-> contiguous indices 0..n-1. One object, saved with the weights.

    `ids`: int64 [n], strictly ascending; the index of an id is its place in it.
    """

    ids: np.ndarray

    def __post_init__(self) -> None:
        ids = _integers(self.ids)
        if ids.ndim != 1 or (np.diff(ids) <= 0).any():
            raise ValueError("ids must be one ascending row without repetition")
        object.__setattr__(self, "ids", ids)

    def __len__(self) -> int:
        return len(self.ids)

    def index(self, ids: Tensor | np.ndarray | Sequence[int]) -> Tensor:
        """Ids of any shape -> int64 indices of that shape; an unknown id -> -1."""
        ids = _integers(ids)
        if not len(self.ids):
            return torch.full(ids.shape, -1)
        place = np.searchsorted(self.ids, ids).clip(max=len(self.ids) - 1)
        return torch.from_numpy(np.where(self.ids[place] == ids, place, -1))

    def id(self, index: Tensor | np.ndarray | Sequence[int]) -> np.ndarray:
        """Indices of any shape -> int64 ids of that shape. Padding or -1 raises IndexError."""
        index = _integers(index)
        if index.size and (index.min() < 0 or index.max() >= len(self.ids)):
            raise IndexError(f"an index is outside 0 .. {len(self.ids) - 1}")
        return self.ids[index]


def _integers(values: Tensor | np.ndarray | Sequence[int]) -> np.ndarray:
    array = values.cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"ids and indices are integers, not {array.dtype}")
    return array.astype(np.int64)


@dataclass(frozen=True, eq=False)
class Interactions:
    """Ratings as tensors, in the order (user, timestamp); ties keep the file's row order.

    user, item: int64 [N]; rating: float32 [N]; timestamp: int64 [N]. Parts of a split share the id
    maps, so indices mean the same in each of them, and a user may have no row in a part.
    """

    user: Tensor
    item: Tensor
    rating: Tensor
    timestamp: Tensor
    user_ids: IdMap
    item_ids: IdMap

    def __len__(self) -> int:
        return len(self.user)

    @property
    def n_users(self) -> int:
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        return len(self.item_ids)

    @cached_property
    def offsets(self) -> Tensor:
        """int64 [n_users + 1]: the rows offsets[u]:offsets[u + 1] are those of user u."""
        users = torch.arange(self.n_users + 1, device=self.user.device)
        return torch.searchsorted(self.user, users)

    @classmethod
    def from_ratings(cls, ratings: pd.DataFrame) -> Interactions:
        """From the columns of `load_ratings`. Items are those that have a rating.

        Raises ValueError if a user has rated the same item twice: MovieLens never has that, and
        a repeated item would be in the training and the test part of a split at once.
        """
        user, user_ids = pd.factorize(ratings["user"].to_numpy(), sort=True)
        item, item_ids = pd.factorize(ratings["item"].to_numpy(), sort=True)
        pairs = np.sort(user.astype(np.int64) * len(item_ids) + item)
        if (pairs[1:] == pairs[:-1]).any():
            raise ValueError("a user has more than one rating of the same item")
        rating = ratings["rating"].to_numpy(np.float32)
        timestamp = ratings["timestamp"].to_numpy(np.int64)
        columns = map(torch.tensor, (user, item, rating, timestamp))
        return cls(*columns, IdMap(user_ids), IdMap(item_ids))._sorted()

    def _sorted(self) -> Interactions:
        if not len(self):
            return self
        # one int64 key for both: ten times as fast as np.lexsort, and as stable
        time = self.timestamp.cpu().numpy() - int(self.timestamp.min())
        key = self.user.cpu().numpy() * (int(time.max()) + 1) + time
        order = torch.from_numpy(np.argsort(key, kind="stable"))
        return self._take(order.to(self.user.device))

    def _take(self, rows: Tensor) -> Interactions:
        names = ("user", "item", "rating", "timestamp")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})

    def select(self, mask: Tensor) -> Interactions:
        """The rows where `mask` (bool [N]) is true; same id maps."""
        if mask.dtype != torch.bool or mask.shape != self.user.shape:
            raise ValueError(f"a mask is bool [{len(self)}], not {mask.dtype} {list(mask.shape)}")
        return self._take(mask)

    def concat(self, other: Interactions) -> Interactions:
        """Both, sorted again; where user and timestamp tie, the rows of `self` come first."""
        for mine, theirs in ((self.user_ids, other.user_ids), (self.item_ids, other.item_ids)):
            if mine is not theirs and not np.array_equal(mine.ids, theirs.ids):
                raise ValueError("only interactions with the same id maps can be joined")
        names = ("user", "item", "rating", "timestamp")
        both = {name: torch.cat([getattr(self, name), getattr(other, name)]) for name in names}
        return replace(self, **both)._sorted()

    def rows_of(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """All rows of each of `users` (int64 [B], repeats allowed, `n_users` has no row).

        Returns (position in the batch [M], row [M]), ordered by position, then by time.
        Raises IndexError for a user outside 0 .. n_users.
        """
        start, stop = self._bounds(users)
        return _ranges(start, stop)

    def histories(
        self, users: Tensor, length: int | None = None, min_rating: float | None = None
    ) -> Histories:
        """The last `length` rows of each of `users` (int64 [B]), oldest first, left-padded.

        `min_rating` keeps only ratings of at least that much, before the last ones are taken.
        `length=None` is as wide as the batch needs; with a length H is always that length.
        """
        start, stop = self._bounds(users)
        if length is not None and min_rating is None:  # do not gather what is cut off again
            start = torch.maximum(start, stop - length)
        batch, row = _ranges(start, stop)
        if min_rating is not None:
            keep = self.rating[row] >= min_rating
            batch, row = batch[keep], row[keep]
        counts = torch.bincount(batch, minlength=len(users))  # (B,)
        if length is None:
            length = int(counts.max()) if len(counts) else 0
        end = counts.cumsum(0)  # (B,)
        from_end = end[batch] - torch.arange(len(batch), device=batch.device)  # 1 = last
        keep = from_end <= length
        batch, row, column = batch[keep], row[keep], length - from_end[keep]
        item = self.item.new_full((len(users), length), self.n_items)  # (B, H)
        rating = self.rating.new_zeros((len(users), length))  # (B, H)
        item[batch, column], rating[batch, column] = self.item[row], self.rating[row]
        return Histories(users, item, rating)

    def mask_of(self, users: Tensor) -> Tensor:
        """bool [B, n_items]: the items that each of `users` (int64 [B]) has a row for."""
        batch, row = self.rows_of(users)
        mask = torch.zeros((len(users), self.n_items), dtype=torch.bool, device=self.user.device)
        mask[batch, self.item[row]] = True
        return mask

    def _bounds(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """First row and one past the last row of each of `users`, int64 [B] each."""
        if len(users) and (users.min() < 0 or users.max() > self.n_users):
            raise IndexError(f"a user index is outside 0 .. {self.n_users} (the last: unknown)")
        return self.offsets[users], self.offsets[(users + 1).clamp(max=self.n_users)]


def fingerprint(interactions: Interactions) -> str:
    """SHA-256 of users, items (MovieLens ids), ratings and order: the same data, the same mark."""
    digest = hashlib.sha256()
    digest.update(interactions.user_ids.id(interactions.user).astype("<i8").tobytes())
    digest.update(interactions.item_ids.id(interactions.item).astype("<i8").tobytes())
    digest.update(interactions.rating.numpy().astype("<f4").tobytes())
    return digest.hexdigest()


def _ranges(start: Tensor, stop: Tensor) -> tuple[Tensor, Tensor]:
    """The numbers start[b]..stop[b]-1 of every b in one row, and the b of each: both int64 [M]."""
    counts = stop - start
    batch = torch.repeat_interleave(counts)
    first = counts.cumsum(0) - counts  # where the numbers of b begin in the row
    row = torch.arange(len(batch), device=batch.device) + (start - first)[batch]
    return batch, row
