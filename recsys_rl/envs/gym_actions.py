"""The two forms of an action in Gymnasium's form: an item, or a vector that an item is near to.

B = batch, V = n_items, k = width of a vector.
"""

from __future__ import annotations

import reprlib
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from recsys_rl.data.devices import CPU
from recsys_rl.data.notes import written
from recsys_rl.envs.gym_common import check_choice, direction, whole_number

ACTIONS = "item", "vector"
REACH = 2.0  # standard deviations of the item vectors that an action of 1 stands for


def places_of(columns: Tensor) -> Tensor:
    """Where items lie for actions: each column less its mean and over its standard deviation.

    float32 [V, k] -> [V, k].
    """
    spread = columns.std(0).nan_to_num(0).clamp(min=1e-6)  # of one item, of a constant column
    return (columns - columns.mean(0)) / spread


def nearness(action: Tensor, places: Tensor) -> Tensor:
    """Minus the distance of `REACH` times an action to every item's place.

    float32 [B, k], [V, k] -> [B, V].
    """
    return -torch.cdist(REACH * action, places)


def action_space(form: str, n_items: int, width: int) -> spaces.Space:
    """Discrete(V) or Box(-1, 1, (k,)); ValueError for other forms."""
    check_choice("action", form, ACTIONS)
    if form == "item":
        return spaces.Discrete(n_items)
    return spaces.Box(-1.0, 1.0, (width,), np.float32)


def item_of(action: Any, n_items: int) -> int:
    """The index that an action of Discrete(V) is; ValueError for what is none."""
    item = whole_number(action)
    if item is None or not 0 <= item < n_items:
        raise ValueError(f"an action is an item, 0 .. {n_items - 1}, not {written(action)}")
    return item


def item_scores(told: np.ndarray, n_items: int) -> Tensor:
    """What a policy of items says, as scores float32 [B, V]: scores as they are, or of indices [B]
    the item first, the next ones behind it, round the end, as `allowed_from` takes them.

    ValueError for what is neither.
    """
    found = torch.as_tensor(np.asarray(told), device=CPU)
    if found.dim() == 2:
        return found.float()
    behind = torch.arange(n_items, device=CPU) - items_told(found, n_items).unsqueeze(1)
    return -(behind % n_items).float()


def items_told(told: Any, n_items: int) -> Tensor:
    """Indices of items that a policy says, int64 [B]; ValueError for what is none."""
    found = torch.as_tensor(told, device=CPU)
    whole = not (found.is_floating_point() or found.is_complex() or found.dtype == torch.bool)
    if found.dim() != 1 or not whole or ((found < 0) | (found >= n_items)).any():
        raise ValueError(
            f"a policy says whole numbers within 0 .. {n_items - 1}, one of each session, not "
            f"{reprlib.repr(found.tolist())}"
        )
    return found.long()


def allowed_from(item: int, mask: np.ndarray) -> int:
    """The item, or the next one that may be shown, round the end; mask: bool [V]."""
    return (item + int(np.roll(mask, -item).argmax())) % len(mask)


def nearest(action: Any, places: Tensor, mask: np.ndarray) -> int:
    """The allowed item that is nearest to an action of Box(-1, 1, (k,)); ValueError for what is
    none. places: float32 [V, k]; mask: bool [V]."""
    towards = direction(action, places.shape[1:]).unsqueeze(0)
    allowed = torch.as_tensor(mask, device=CPU)
    return int(nearness(towards, places)[0].masked_fill(~allowed, -torch.inf).argmax())
