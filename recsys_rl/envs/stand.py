"""Whether what a checkpoint says of running sessions can be true."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from recsys_rl.data.devices import on_cpu

NEEDED = "_histories", "_answers", "excluded", "_active", "_steps"
# what sessions have, and its dimensions, the first of which are the sessions
EACH = {"_active": 1, "_left": 1, "_series": 1, "_shown": 2, "_recent": 2, "_effect": 2}
TABLES = {"_answers", "excluded", "relevant_items", "_told"}  # [B, V], a column for each item
INDICES = {"_shown", "_recent", "candidates", "_recommendable"}


def check_stand(state: Mapping[str, Any], n_users: int, n_items: int) -> None:
    """ValueError where parts of running sessions are missing, are not of one batch, or name what is
    not there. Parts that only a subclass has are its own to look at.

    Numbers are looked at on the CPU alone: elsewhere each look waits for the device.
    """
    histories = state.get("_histories")
    if histories is None:
        return
    if missing := [name for name in NEEDED if name not in state]:
        raise ValueError(f"running sessions have no {missing[0].strip('_')}")
    if type(state["_steps"]) is not int:
        raise ValueError("the steps of running sessions are a whole number")
    sessions, candidates = len(histories.user), state.get("candidates")
    columns = n_items if candidates is None else len(candidates)
    _refuse("user", histories.user, (sessions,), n_users)
    _refuse("item", histories.item, (sessions, histories.item.shape[-1]), n_items)
    _refuse("rating", histories.rating, tuple(histories.item.shape))
    for name, part in state.items():
        last = n_items if name in INDICES else None
        if name in TABLES:
            _refuse(name, part, (sessions, columns))
        elif name in EACH:
            _refuse(name, part, (sessions, *part.shape[1 : EACH[name]]), last)
        elif last is not None and part is not None:
            _refuse(name, part, (part.numel(),), last)


def _refuse(name: str, part: Any, shape: tuple[int, ...], last: int | None = None) -> None:
    """last: the largest index that it may hold."""
    if not isinstance(part, Tensor) or part.shape != shape:
        raise ValueError(f"{name} of running sessions is no tensor {list(shape)}")
    if last is None or not part.numel() or not on_cpu(part):
        return
    if part.dtype != torch.int64 or not 0 <= int(part.min()) <= int(part.max()) <= last:
        raise ValueError(f"{name} of running sessions has numbers beyond 0 .. {last}")
