"""Q of all items where what was shown lately may end the session: a gate on pairs of items.

B = batch, V = n_items, W = items that are looked back on, k = width of the item vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys_rl.agent.networks import HIDDEN, steps_left
from recsys_rl.agent.q_policy import QPolicy
from recsys_rl.data.devices import CPU, on_cpu
from recsys_rl.data.histories import Histories
from recsys_rl.embeddings.batching import rows
from recsys_rl.embeddings.places import log_gate, log_gates, places_of
from recsys_rl.states.base import initialise_linear
from recsys_rl.states.belief import Belief

WIDTH = 32  # of what the value of the steps to come knows of an item
MOST = 5.0  # stars


class PairGate(nn.Module):
    """How likely a session goes on after an item: a product over the latest W items.

    gate(i, j) = sigmoid(a (|x_i - x_j|^2 - 1)): two items that are alike close it. In what they are
    alike, the places x_i say, which are learned.
    """

    def __init__(self, n_items: int, k: int, device: torch.device = CPU) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.zeros(n_items, k, device=device))

    @torch.no_grad()
    def start_from(self, places: Tensor) -> None:
        """float32 [V, k]."""
        self.places.copy_(places)

    def log_gates(self, before: Tensor) -> Tensor:
        """log gate of all items after items int64 [A], 0 after padding -> float32 [A, V]."""
        there = rows(F.pad(self.places, (0, 0, 0, 1)), before)
        length, other = self.places.square().sum(1), there.square().sum(1, keepdim=True)
        square = torch.addmm(length + other, there, self.places.T, alpha=-2)
        return log_gate(square.clamp(min=0)) * (before < len(self.places)).unsqueeze(1)

    def all(self, recent: Tensor) -> Tensor:
        """Gates of all items after the latest ones, int64 [B, W] -> float32 [B, V].

        A batch names few different items: on the CPU only their pairs are made; elsewhere it would
        be waited for which they are.
        """
        before, row = torch.arange(len(self.places) + 1, device=recent.device), recent
        if on_cpu(recent):
            before, row = recent.unique(return_inverse=True)
        return F.embedding_bag(row, self.log_gates(before), mode="sum").exp()

    def forward(self, recent: Tensor, item: Tensor) -> Tensor:
        """After items int64 [B] and the latest ones before them [B, W] -> float32 [B]."""
        return log_gates(self.places, recent, item).exp()


class GatedCritic(nn.Module):
    """Q(s, i) = expected rating + gate(s, i) x (n - 1) x (r(s) + later(s) + w(s) . e_i).

    n is the discounted number of steps left, r(s) the mean of the ratings that the state expects:
    so the rest of a session is worth its length from the start. e_i is learned beside a linear map
    of v_i.
    """

    def __init__(self, state: Belief, horizon: int, gamma: float) -> None:
        super().__init__()
        self.state, self.horizon, self.gamma = state, horizon, gamma
        there = state.item_vectors.weight.device
        self.pairs = PairGate(state.n_items, state.k, there)
        self.own_vectors = nn.Parameter(torch.zeros(state.n_items, WIDTH, device=there))
        self.map = nn.Linear(state.k + 1, WIDTH)
        self.body = nn.Sequential(
            nn.Linear(state.size + 1, HIDDEN // 2),
            nn.ReLU(),
            nn.Linear(HIDDEN // 2, HIDDEN // 2),
            nn.ReLU(),
            nn.Linear(HIDDEN // 2, WIDTH + 1),
        )

    def initialise(self, generator: torch.Generator) -> None:
        initialise_linear(self.map, generator)
        initialise_linear(self.body, generator)
        nn.init.normal_(self.own_vectors, std=0.01, generator=generator)
        known = self.state.places
        self.pairs.start_from(places_of(self.item_vectors) if known is None else known)

    @property
    def item_vectors(self) -> Tensor:
        return self.state.item_vectors.weight[:-1]  # (V, k)

    def left(self, histories: Histories) -> Tensor:
        """The discounted number of steps that are left -> float32 [B]."""
        return steps_left(histories.clock.squeeze(1), self.horizon, self.gamma)

    def forward(self, histories: Histories, item: Tensor) -> Tensor:
        """Q of items int64 [B] -> float32 [B]."""
        rating = self.state.ratings(histories)
        weight, later = self._later(histories)
        worth = later.squeeze(1) + (weight * rows(self._items(), item)).sum(1)
        gate = self.pairs(self.state.recent(histories), item)
        now = rating.gather(1, item.unsqueeze(1)).squeeze(1)
        return now + gate * (self.left(histories) - 1) * (rating.mean(1) + worth)

    def most(self, histories: Histories) -> Tensor:
        """What no Q can exceed: five stars in every step that is left -> float32 [B]."""
        return MOST * self.left(histories)

    def all(self, histories: Histories) -> Tensor:
        """Q of every item -> float32 [B, V]."""
        rating = self.state.ratings(histories)
        weight, later = self._later(histories)
        gate = self.pairs.all(self.state.recent(histories))  # (B, V)
        steps = (self.left(histories) - 1).unsqueeze(1)
        worth = rating.mean(1, keepdim=True) + later + weight @ self._items().T
        return rating + gate * steps * worth

    def _later(self, histories: Histories) -> tuple[Tensor, Tensor]:
        """w(s) [B, WIDTH] and later(s) [B, 1]."""
        read = torch.cat([self.state(histories), histories.clock], 1)
        return self.body(read).tensor_split([WIDTH], dim=1)

    def _items(self) -> Tensor:
        vectors = self.item_vectors
        features = torch.cat([vectors, vectors.square().sum(1, keepdim=True)], 1)
        return self.own_vectors + self.map(features)  # (V, WIDTH)


class GatedActor(QPolicy, GatedCritic):
    """A policy of the same form as the critic."""
