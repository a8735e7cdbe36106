"""What a checkpoint's states must be before a training goes on from them.

A checksum says that a file is whole, and not that what it holds is right. Each function raises
ValueError with the place of the first thing that is not.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

ADAM = "step", "exp_avg", "exp_avg_sq"  # what its moments are, AdamW's too


def refuse_unlike(found: Any, own: Any, name: str) -> None:
    """Values of other types than a part's own: text, or fractions for whole numbers. Shapes are the
    part's to compare, and what only one of both has."""
    if isinstance(own, Tensor) and isinstance(found, Tensor):
        fits = found.is_floating_point() == own.is_floating_point()
    else:
        fits = type(found) is type(own) or (isinstance(found, dict) and isinstance(own, dict))
    if isinstance(own, (list, tuple)) and fits:
        fits = len(found) == len(own)
    if not fits:
        raise ValueError(f"{name} is {type(found).__name__}, and not as in this training")
    if isinstance(own, dict):
        for key in own.keys() & found.keys():
            refuse_unlike(found[key], own[key], f"{name}.{key}")
    elif isinstance(own, (list, tuple)):
        for place, (each, mine) in enumerate(zip(found, own, strict=True)):
            refuse_unlike(each, mine, f"{name}.{place}")


def refuse_non_finite(found: Any, name: str) -> None:
    """NaN and infinity, wherever they stand."""
    if isinstance(found, dict):
        found = list(found.items())
    elif isinstance(found, (list, tuple)):
        found = list(enumerate(found))
    else:
        whole = not isinstance(found, Tensor) or bool(torch.isfinite(found).all())
        if not whole or (isinstance(found, float) and not math.isfinite(found)):
            raise ValueError(f"{name} is NaN or infinite")
        return
    for key, value in found:
        refuse_non_finite(value, f"{name}.{key}")


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take a saved state over; ValueError for one with which it could not go on."""
    own = [dict(group) for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for mine, group in zip(own, optimizer.param_groups, strict=True):
        if missing := set(mine) - set(group):
            raise ValueError(f"a group of an optimizer has no {min(missing)}")
        for name in set(mine) - {"lr", "lr_scale", "params"}:  # rates change as the training goes
            if group[name] != mine[name]:
                raise ValueError(f"{name} of an optimizer is not that of this training")
        for name in {"lr", "lr_scale"} & set(mine):
            rate = group[name]
            if type(rate) not in (int, float) or not 0 <= rate < math.inf:
                raise ValueError(f"{name} of an optimizer is no rate")
    refuse_foreign_moments(optimizer)


def refuse_foreign_moments(optimizer: torch.optim.Optimizer) -> None:
    """Moments that are not of the form of their weights: optimizers themselves do not look."""
    adam = isinstance(optimizer, torch.optim.Adam)
    for weight, moments in optimizer.state.items():
        if adam and (missing := set(ADAM) - set(moments)):
            raise ValueError(f"moments have no {min(missing)}")
        for name, value in moments.items():
            shapes = [weight.shape, torch.Size()]
            if adam and name in ADAM:
                shapes = shapes[:1] if name.startswith("exp") else shapes[1:]
            fits = value.shape in shapes if isinstance(value, Tensor) else not adam
            if not fits or (name == "step" and value < 0):
                raise ValueError(f"the moments {name} do not fit their weights")
