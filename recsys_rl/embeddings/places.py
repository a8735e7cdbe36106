"""Where items lie, learned from who left when: two that lie too close end a session.

V = items, W = items that are looked back on, N = turns, p = width of a place. Index V is padding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from recsys_rl.data.devices import optimizer_options

STEEPNESS = 5.0
NEAR = 0.25  # of the median squared distance of vectors: there a gate is half open
START = 0.4  # standard deviation of places before the first update
UPDATES, BATCH, LR = 2000, 2048, 0.02
SURE = 1e-6  # nobody is certain that a session goes on


@dataclass(frozen=True, eq=False)
class Turns:
    """What was shown, to whom, and who left.

    user, item: int64 [N]; rating: float32 [N]; recent: int64 [N, W], the items shown before, V
    where fewer were; left: bool [N].
    """

    user: Tensor
    item: Tensor
    rating: Tensor
    recent: Tensor
    left: Tensor


def log_gate(square: Tensor) -> Tensor:
    """How likely a session goes on after two items at these squared distances, as a logarithm.

    sigmoid(a (d^2 - 1)): items within 1 of each other close the gate.
    """
    return F.logsigmoid(STEEPNESS * (square - 1))


def log_gates(places: Tensor, recent: Tensor, item: Tensor) -> Tensor:
    """The same after items int64 [B] and the ones before them [B, W]: a product -> [B].

    places: float32 [V, p]. Padding closes no gate.
    """
    padded = F.pad(places, (0, 0, 0, 1))
    square = (padded[recent] - padded[item].unsqueeze(1)).square().sum(2)  # (B, W)
    return (log_gate(square) * (recent < len(places))).sum(1)


def fit_places(turns: Turns, n_items: int, p: int, generator: torch.Generator) -> Tensor:
    """Maximum likelihood of who left and who stayed, by Adam -> float32 [V, p]."""
    there = turns.item.device
    told = ((turns.recent < n_items).any(1) & (turns.item < n_items)).nonzero().squeeze(1)
    start = START * torch.randn(n_items, p, generator=generator, device=generator.device)
    places = start.to(there).requires_grad_()
    optimizer = torch.optim.Adam([places], LR, **optimizer_options(there))
    for done in range(UPDATES if len(told) else 0):
        optimizer.param_groups[0]["lr"] = LR * (1 - done / UPDATES)
        drawn = torch.randint(len(told), (BATCH,), generator=generator, device=generator.device)
        rows = told[drawn.to(there)]
        stays = log_gates(places, turns.recent[rows], turns.item[rows]).clamp(max=-SURE)
        leaves = torch.log1p(-stays.exp())
        loss = -torch.where(turns.left[rows], leaves, stays).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return places.detach()


def places_of(vectors: Tensor) -> Tensor:
    """Item vectors float32 [V, p] as places, where nobody was seen to leave -> [V, p].

    Some thousand of them tell the median squared distance, of which `NEAR` becomes 1.
    """
    some = vectors[:: max(1, len(vectors) // 1000)]
    median = torch.cdist(some, some).square().median().clamp(min=1e-12)
    return vectors / (NEAR * median).sqrt()
