"""Ratings as tensors, ids as indices, and the tables of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from pandas.api.types import infer_dtype
from torch import Tensor

from recsys_rl.data.column_values import SCALE, BadRow, as_numbers, refuse_first
from recsys_rl.data.counts import check_counts, check_numbers
from recsys_rl.data.devices import CPU, on_cpu
from recsys_rl.data.histories import UNKNOWN_TIME, Histories
from recsys_rl.data.ids import IdMap as IdMap

DUPLICATES = "refuse", "latest"
_COLUMNS = "user", "item", "rating", "timestamp"


@dataclass(frozen=True, eq=False)
class Interactions:
    """Ratings as tensors, in the order (user, timestamp); ties keep the file's row order.

    user, item: int64 [N]; rating: float32 [N]; timestamp: int64 [N]. Parts of a split share the id
    maps, so indices mean the same in each of them, and a user may have no row in a part.
    ValueError for columns of other types or lengths, in another order or of other indices, which
    are looked at on the CPU alone; `from_ratings` puts a table in order.
    """

    user: Tensor
    item: Tensor
    rating: Tensor
    timestamp: Tensor
    user_ids: IdMap
    item_ids: IdMap

    def __post_init__(self) -> None:
        found = [(column.dtype, column.shape) for column in self._columns]
        shape, whole = self.user.shape, torch.int64
        if len(shape) != 1 or found != [
            (kind, shape) for kind in (whole, whole, torch.float32, whole)
        ]:
            raise ValueError(
                "user, item and timestamp are int64 [N] and rating is float32 [N], not "
                + ", ".join(f"{kind} {list(size)}" for kind, size in found)
            )
        if not len(self.user) or not on_cpu(self.user):
            return
        users, order = (self.user[0], self.user[-1]), self.user.diff()
        if (order < 0).any() or ((order == 0) & (self.timestamp[1:] < self.timestamp[:-1])).any():
            raise ValueError("rows are in the order of users, and of their times: sort them first")
        items = self.item.aminmax()
        for name, (low, high), count in (
            ("user", users, self.n_users),
            ("item", items, self.n_items),
        ):
            if low < 0 or high >= count:
                raise ValueError(f"{name}s are within 0 .. {count - 1}, not {low} .. {high}")

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
    def from_ratings(cls, ratings: pd.DataFrame, duplicates: str = "refuse") -> Interactions:
        """From the columns of `load_ratings`. Items are those that have a rating.

        Raises ValueError or TypeError for values that those cannot hold, and where a user has rated
        an item twice, which would be in the training and the test part of a split at once;
        duplicates="latest" keeps the latest of them.
        """
        try:
            _refuse_odd(ratings)
        except BadRow as bad:
            raise ValueError(f"row {bad.row + 1} of the ratings: {bad}") from None
        if ratings["timestamp"].dtype.kind in "fM":  # whole seconds are kept, in the order of parts
            ratings = ratings.sort_values("timestamp", kind="stable")
        ratings = without_duplicates(ratings, duplicates)
        user, user_ids = pd.factorize(ratings["user"].to_numpy(), sort=True)
        item, item_ids = pd.factorize(ratings["item"].to_numpy(), sort=True)
        rating = as_numbers(ratings["rating"], "rating").astype(np.float32)
        timestamp = _times(ratings["timestamp"])
        columns = [torch.tensor(x, device=CPU) for x in (user, item, rating, timestamp)]
        return cls(*_sorted(columns), IdMap(user_ids), IdMap(item_ids))

    def to(self, device: torch.device) -> Interactions:
        """The same on a device; itself where it is there."""
        if self.user.device == device:
            return self
        return self._with([column.to(device) for column in self._columns])

    def reordered(self, order: Tensor) -> Interactions:
        """The same rows, where ties of user and timestamp come in this order, int64 [N]."""
        return self._with(_sorted([column[order] for column in self._columns]))

    @property
    def _columns(self) -> list[Tensor]:
        return [getattr(self, name) for name in _COLUMNS]

    def _with(self, columns: Sequence[Tensor]) -> Interactions:
        return replace(self, **dict(zip(_COLUMNS, columns, strict=True)))

    def select(self, mask: Tensor) -> Interactions:
        """The rows where `mask` (bool [N]) is true; same id maps."""
        if not isinstance(mask, Tensor):
            raise ValueError(f"a mask is a tensor, bool [{len(self)}], not {type(mask).__name__}")
        if mask.dtype != torch.bool or mask.shape != self.user.shape:
            raise ValueError(f"a mask is bool [{len(self)}], not {mask.dtype} {list(mask.shape)}")
        return self._with([column[mask] for column in self._columns])

    def concat(self, other: Interactions) -> Interactions:
        """Both, sorted again; where user and timestamp tie, the rows of `self` come first.

        ValueError for other ids, and where both have a rating of the same user for the same item.
        """
        self.check_same_ids(other)
        pairs, more = (each.user * self.n_items + each.item for each in (self, other))
        if on_cpu(pairs) and (again := int(torch.isin(more, pairs).sum())):
            raise ValueError(
                f"{again:,} ratings of the same users for the same items are in both: only parts "
                "that share no row go together"
            )
        pairs = zip(self._columns, other._columns, strict=True)
        return self._with(_sorted([torch.cat(pair) for pair in pairs]))

    def check_same_ids(self, other: Interactions) -> None:
        """ValueError unless an index means the same in both."""
        for mine, theirs in ((self.user_ids, other.user_ids), (self.item_ids, other.item_ids)):
            if mine is not theirs and not np.array_equal(mine.ids, theirs.ids):
                raise ValueError(
                    "only interactions with the same id maps go together: take parts of one split"
                )

    def rows_of(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """All rows of each of `users` (int64 [B], repeats allowed, `n_users` has no row).

        Returns (position in the batch [M], row [M]), ordered by position, then by time.
        Raises IndexError for a user outside 0 .. n_users.
        """
        start, stop = self._bounds(users)
        return _ranges(start, stop)

    def histories(
        self,
        users: Tensor,
        length: int | None = None,
        min_rating: float | None = None,
        times: bool = False,
    ) -> Histories:
        """The last `length` rows of each of `users` (int64 [B]), oldest first, left-padded.

        `min_rating` keeps only ratings of at least that much, before the last ones are taken.
        `length=None` is as wide as the batch needs; with a length H is always that length.
        `times`: with the moments of the ratings, UNKNOWN_TIME at padding.
        """
        if min_rating is not None:
            check_numbers(0, min_rating=min_rating)
        if length is not None:
            check_counts(length=length)
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
        if not times:
            return Histories(users, item, rating)
        time = torch.full_like(item, UNKNOWN_TIME)
        time[batch, column] = self.timestamp[row]
        return Histories(users, item, rating, time=time)

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


def _sorted(columns: Sequence[Tensor]) -> list[Tensor]:
    """User, item, rating and timestamp in the order (user, timestamp); ties stay as they are."""
    user, _, _, timestamp = columns
    # two stable sorts: one key made of both would overflow where times are far apart
    order = timestamp.argsort(stable=True)
    order = order[user[order].argsort(stable=True)]
    return [column[order] for column in columns]


def without_duplicates(
    ratings: pd.DataFrame, duplicates: str = "refuse", where: str = "the ratings"
) -> pd.DataFrame:
    """One row for each user and item: "refuse" others (ValueError), or keep the "latest" of them.

    Of rows with one time the last in the file is the latest. where: what the error calls the data.
    """
    if duplicates not in DUPLICATES:
        raise ValueError(f"duplicates must be one of {DUPLICATES}, not {duplicates!r}")
    pair = ["user", "item"]
    again = ratings.duplicated(pair)
    if not again.any():
        return ratings
    if duplicates == "latest":
        order = ratings["timestamp"].reset_index(drop=True).sort_values(kind="stable").index
        latest = ~ratings.iloc[order].duplicated(pair, keep="last").to_numpy()
        return ratings.iloc[np.sort(order[latest])]
    user, item = (ratings[name][again].iloc[0] for name in pair)
    times = int(((ratings["user"] == user) & (ratings["item"] == item)).sum())
    pairs = len(ratings.loc[again, pair].drop_duplicates())
    raise ValueError(
        f"{where}: user {_plain(user)!r} has more than one rating of the same item, "
        f"{_plain(item)!r} ({times} of them; {pairs:,} such {'pair' if pairs == 1 else 'pairs'} in "
        'all): choose duplicates="latest" to keep the latest of each'
    )


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value


def _refuse_odd(ratings: pd.DataFrame) -> None:
    """TypeError, ValueError or BadRow for a table that is not as `load_ratings` gives one."""
    if not isinstance(ratings, pd.DataFrame):
        raise TypeError(f"ratings must be a pandas.DataFrame, not {type(ratings).__name__}")
    for name in _COLUMNS:
        if list(ratings.columns).count(name) != 1:
            raise ValueError(f"ratings must have one column {name!r}: name or rename it")
        missing = ratings[name].isna().to_numpy()
        refuse_first(missing, lambda row, name=name: f"the {name} is missing")
    for name in ("user", "item"):
        if ratings[name].dtype.kind in "iu":
            continue
        kind = infer_dtype(ratings[name].astype(object))
        if kind not in ("integer", "string", "empty"):
            raise TypeError(
                f"the column {name!r} must hold whole numbers, or else text, not {kind}"
            )
    rating = as_numbers(ratings["rating"], "rating")
    low, high = SCALE
    refuse_first(
        (rating < low) | (rating > high),
        lambda row: (
            f"the rating {rating[row]:.10g} is outside {low:g} .. {high:g}: carry another "
            "scale over with column_values.on_scale"
        ),
    )
    if ratings["timestamp"].dtype.kind not in "iufM":
        raise TypeError("the column 'timestamp' must hold numbers or dates")
    if ratings["timestamp"].dtype.kind in "uf":
        time = ratings["timestamp"].to_numpy(np.float64)
        large = ~(np.abs(time) < 2.0**63)
        refuse_first(large, lambda row: f"the timestamp {time[row]:g} is too large")


def _times(values: pd.Series) -> np.ndarray:
    """int64 [N]; dates in whole seconds, numbers in whatever unit they have."""
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        values = values.dt.tz_convert("UTC").dt.tz_localize(None)
    times = values.to_numpy()
    return (times.astype("M8[s]") if times.dtype.kind == "M" else times).astype(np.int64)


def fingerprint(interactions: Interactions, times: bool = False) -> str:
    """SHA-256 of users, items (their ids), ratings and order: the same data, the same mark.

    times: and of the timestamps, which some agents read.
    """
    digest = hashlib.sha256()
    for ids, index in (
        (interactions.user_ids, interactions.user),
        (interactions.item_ids, interactions.item),
    ):
        digest.update(_numbers_of(ids)[index.cpu().numpy()].astype("<i8").tobytes())
    digest.update(interactions.rating.cpu().numpy().astype("<f4").tobytes())
    if times:
        digest.update(interactions.timestamp.cpu().numpy().astype("<i8").tobytes())
    return digest.hexdigest()


def _numbers_of(ids: IdMap) -> np.ndarray:
    """A number for each id, int64 [n]: itself, or 8 bytes of the SHA-256 of a text."""
    if not ids.text:
        return ids.ids
    marks = [hashlib.sha256(text.encode()).digest()[:8] for text in ids.ids.tolist()]
    return np.frombuffer(b"".join(marks), "<i8")


def _ranges(start: Tensor, stop: Tensor) -> tuple[Tensor, Tensor]:
    """The numbers start[b]..stop[b]-1 of every b in one row, and the b of each: both int64 [M]."""
    counts = stop - start
    batch = torch.repeat_interleave(counts)
    first = counts.cumsum(0) - counts  # where the numbers of b begin in the row
    row = torch.arange(len(batch), device=batch.device) + (start - first)[batch]
    return batch, row


def refuse_empty(rows: Interactions, which: str = "") -> None:
    """ValueError without rows."""
    if not len(rows):
        raise ValueError(f"there is no train row{which} to learn from")
