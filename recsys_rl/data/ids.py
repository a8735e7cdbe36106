"""Ids of users and items, and the indices they stand for.

This file needs neither PyTorch nor pandas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np

from recsys_rl.data.arrays import array_of
from recsys_rl.data.notes import shortened
from recsys_rl.data.written_ids import Id as Id
from recsys_rl.data.written_ids import holds_control

if TYPE_CHECKING:
    from torch import Tensor

Ids = "Tensor | np.ndarray | Sequence[Id]"


@dataclass(frozen=True, eq=False)
class IdMap:
    """Ids of a data set <-> contiguous indices 0..n-1. One object, saved with the weights.

    `ids`: int64 or str [n], strictly ascending; the index of an id is its place in it. Integers and
    text are never taken for each other: 10 is not "10". No text holds a control character.
    """

    ids: np.ndarray

    def __post_init__(self) -> None:
        text = _is_text(self.ids)
        ids = _texts(self.ids) if text else _integers(self.ids)
        as_given = np.asarray(self.ids, object).flat if text else ()  # numpy's text has no last NUL
        if odd := next(filter(holds_control, as_given), None):
            raise ValueError(f"the id {shortened(odd)!r} holds a control character: rename it")
        if ids.ndim != 1 or (ids[1:] <= ids[:-1]).any():
            raise ValueError("ids must be one ascending row without repetition")
        object.__setattr__(self, "ids", ids)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def text(self) -> bool:
        """Whether the ids are text."""
        return self.ids.dtype.kind == "U"

    def places(self, ids: Ids) -> np.ndarray:
        """Ids of any shape -> int64 indices of that shape; an unknown id -> -1."""
        given, ids = ids, _texts(ids) if self.text else _integers(ids)
        if not len(self.ids):
            return np.full(ids.shape, -1)
        place = np.searchsorted(self.ids, ids).clip(max=len(self.ids) - 1)
        known = self.ids[place] == ids
        if self.text:  # numpy has cut off a NUL at the end
            known &= np.char.str_len(ids) == np.vectorize(len, [int])(np.asarray(given, object))
        return np.where(known, place, -1)

    def index(self, ids: Ids) -> Tensor:
        """The same as a tensor."""
        import torch

        return torch.from_numpy(self.places(ids))

    def id(self, index: Tensor | np.ndarray | Sequence[int]) -> np.ndarray:
        """Indices of any shape -> ids of that shape. Padding or -1 raises IndexError."""
        index = _integers(index)
        if index.size and (index.min() < 0 or index.max() >= len(self.ids)):
            raise IndexError(f"an index is outside 0 .. {len(self.ids) - 1}")
        return self.ids[index]


def _is_text(values: Ids) -> bool:
    first = next(iter(np.ravel(np.asarray(values, object))), None) if len(values) else None
    return isinstance(first, str)


def _texts(values: Ids) -> np.ndarray:
    array = np.asarray(values, object)  # as str, numpy would turn the number 3 into "3"
    for value in array.flat:
        if not isinstance(value, str):
            raise TypeError(f"the ids of this data set are text, not {shortened(value)}")
    return array.astype(str)


def _integers(values: Ids) -> np.ndarray:
    array = array_of(values)
    listed = isinstance(values, (list, tuple))
    if array.dtype.kind != "i" or (listed and any(isinstance(value, bool) for value in values)):
        none = array.dtype == object and not array.ndim  # it has no numbers at all
        for value in [values] if none else np.asarray(values if listed else array, object).flat:
            whole = isinstance(value, Integral) and not isinstance(value, (bool, np.bool_))
            if not whole or not -(2**63) <= value < 2**63:
                raise TypeError(
                    f"ids and indices are integers of 64 bits, not {shortened(repr(value))}"
                )
    return array.astype(np.int64)
