"""Q of all items where what was shown lately may end the session: a gate on pairs of items.

B = batch, V = n_items, W = items that are looked back on, k = width of the item vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys_rl.agent.networks import HIDDEN, steps_left
from recsys_rl.agent.q_policy import QPolicy
from recsys_rl.data.devices import CPU
from recsys_rl.data.histories import Histories
from recsys_rl.states.base import initialise_linear
from recsys_rl.states.belief import Belief

WIDTH = 32  # of what the value of the steps to come knows of an item
MOST = 5.0  # stars
STEEPNESS = 4.0
NEAR = 0.25  # of the median squared distance: where a gate is half open before any training


class PairGate(nn.Module):
    """How likely a session goes on after an item: a product over the latest W items.

    gate(i, j) = sigmoid(a (|x_i - x_j|^2 - b)), x_i = A v_i + u_i: two items that are alike close
    it. In what, and how much alike, the rewards have to tell: a, b, A and every u_i are learned.
    """

    def __init__(self, n_items: int, k: int, device: torch.device = CPU) -> None:
        super().__init__()
        self.own_vectors = nn.Parameter(torch.zeros(n_items, k, device=device))
        self.map = nn.Parameter(torch.eye(k, device=device))
        self.steepness = nn.Parameter(torch.tensor(STEEPNESS, device=device))
        self.middle = nn.Parameter(torch.tensor(1.0, device=device))

    @torch.no_grad()
    def start_from(self, vectors: Tensor) -> None:
        """Scaled by the item vectors [V, k], of which some thousand tell the median distance."""
        some = vectors[:: max(1, len(vectors) // 1000)]
        median = torch.cdist(some, some).square().median()
        self.map.div_(median.sqrt())
        self.middle.fill_(NEAR)

    def log_gates(self, vectors: Tensor) -> Tensor:
        """log gate of every pair, 0 for padding -> float32 [V + 1, V]."""
        mapped = vectors @ self.map + self.own_vectors
        length = mapped.square().sum(1)
        square = length.unsqueeze(1) + length - 2 * mapped @ mapped.T
        return F.pad(self._log(square.clamp(min=0)), (0, 0, 0, 1))

    def forward(self, vectors: Tensor, recent: Tensor, item: Tensor) -> Tensor:
        """After items int64 [B], latest ones [B, W], vectors [V + 1, k] -> float32 [B]."""
        mapped = vectors @ self.map + F.pad(self.own_vectors, (0, 0, 0, 1))
        square = (mapped[recent] - mapped[item].unsqueeze(1)).square().sum(2)  # (B, W)
        there = recent < len(vectors) - 1
        return (self._log(square) * there).sum(1).exp()

    def _log(self, square: Tensor) -> Tensor:
        return F.logsigmoid(self.steepness * (square - self.middle))


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
        self.pairs.start_from(self.item_vectors)

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
        worth = later.squeeze(1) + (weight * self._items()[item]).sum(1)
        vectors = self.state.item_vectors.weight
        gate = self.pairs(vectors, self.state.recent(histories), item)
        now = rating.gather(1, item.unsqueeze(1)).squeeze(1)
        return now + gate * (self.left(histories) - 1) * (rating.mean(1) + worth)

    def most(self, histories: Histories) -> Tensor:
        """What no Q can exceed: five stars in every step that is left -> float32 [B]."""
        return MOST * self.left(histories)

    def all(self, histories: Histories) -> Tensor:
        """Q of every item -> float32 [B, V]."""
        rating = self.state.ratings(histories)
        weight, later = self._later(histories)
        gates = self.pairs.log_gates(self.item_vectors)
        recent = self.state.recent(histories)
        gate = sum(gates[column] for column in recent.unbind(1)).exp()  # (B, V)
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
