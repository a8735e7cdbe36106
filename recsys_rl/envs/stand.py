"""Whether what a checkpoint says of running sessions can be true."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from recsys_rl.data.devices import on_cpu
from recsys_rl.data.histories import Histories

# [V] or [m], the same for all sessions
SHARED = "candidates", "_recommendable"
TABLES = "_answers", "excluded", "relevant_items", "_told"  # a column for each item


def check_stand(state: Mapping[str, Any], n_users: int, n_items: int) -> None:
    """ValueError where parts of running sessions are not of one batch, or name what is not there.

    Numbers are looked at on the CPU alone: elsewhere each look waits for the device.
    """
    histories = state.get("_histories")
    if histories is None:
        return
    if not isinstance(histories.item, Tensor) or histories.item.shape != histories.rating.shape:
        raise ValueError("the ratings of running sessions do not fit their items")
    sessions, candidates = len(histories.user), state.get("candidates")
    columns = n_items if candidates is None else len(candidates)
    parts = _parts_of(histories) | {n: v for n, v in state.items() if isinstance(v, Tensor)}
    for name, part in parts.items():
        if name not in SHARED and len(part) != sessions:
            raise ValueError(f"{name} is not of {sessions} running sessions")
        if name in TABLES and part.shape[1] != columns:
            raise ValueError(f"{name} has {part.shape[1]} columns, not one for each item")
        last = n_users if name == "user" else n_items
        indices = name != "_left" and part.dtype == torch.int64 and on_cpu(part) and part.numel()
        if indices and not 0 <= int(part.min()) <= int(part.max()) <= last:
            raise ValueError(f"{name} has numbers beyond 0 .. {last}")


def _parts_of(histories: Histories) -> dict[str, Tensor]:
    return {"user": histories.user, "item": histories.item, "rating": histories.rating}
