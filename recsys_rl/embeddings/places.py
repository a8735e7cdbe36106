"""Where items lie, learned from who left when: two that lie too close end a session.

V = items, W = items that are looked back on, N = turns, p = width of a place. Index V is padding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from recsys_rl.data.devices import optimizer_options
from recsys_rl.embeddings.batching import rows

STEEPNESS = 5.0
NEAR = 0.25  # of the median squared distance of vectors: there a gate is half open
START = 0.4  # standard deviation of places before the first update
UPDATES, BATCH, LR = 2000, 2048, 0.02
ANYHOW = 1e-6  # of leaving though all gates are open: no certainty, and no gradient that vanishes


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
    apart = rows(padded, recent) - rows(padded, item).unsqueeze(1)  # (B, W, p)
    square = apart.square().sum(2)
    return (log_gate(square) * (recent < len(places))).sum(1)


def log_likelihood(gates: Tensor, left: Tensor) -> Tensor:
    """Of who left, bool [B], and who stayed, by the logarithms of the gates [B] -> [B]."""
    stays = gates + math.log1p(-ANYHOW)
    return torch.where(left, torch.log1p(-stays.exp()), stays)


def fit_places(turns: Turns, n_items: int, p: int, generator: torch.Generator) -> Tensor:
    """Maximum likelihood of who left and who stayed, by Adam -> float32 [V, p].

    Turns with nothing shown before tell nothing; without any other the places are random.
    """
    there = turns.item.device
    told = ((turns.recent < n_items).any(1) & (turns.item < n_items)).nonzero().squeeze(1)
    start = START * torch.randn(n_items, p, generator=generator, device=generator.device)
    places = start.to(there).requires_grad_()
    optimizer = torch.optim.Adam([places], LR, **optimizer_options(there))
    for done in range(UPDATES if len(told) else 0):
        optimizer.param_groups[0]["lr"] = LR * (1 - done / UPDATES)
        drawn = torch.randint(len(told), (BATCH,), generator=generator, device=generator.device)
        of = told[drawn.to(there)]
        gates = log_gates(places, turns.recent[of], turns.item[of])
        loss = -log_likelihood(gates, turns.left[of]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return places.detach()


def places_of(vectors: Tensor) -> Tensor:
    """Item vectors float32 [V, p] as places, where nothing is known of who left -> [V, p].

    Some thousand of them tell the median squared distance of two that differ, of which `NEAR`
    becomes 1.
    """
    some = vectors[:: max(1, len(vectors) // 1000)]
    square = torch.cdist(some, some).square()
    apart = square[square > 0]
    return vectors / (NEAR * apart.median()).sqrt() if len(apart) else vectors
