"""Q of all films where what is shown changes what later ones are worth.

B = batch, V = n_items, M = films that are asked for: V, or one of each row.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys_rl.agent.networks import steps_left
from recsys_rl.agent.q_policy import QPolicy
from recsys_rl.data.histories import Histories, exclusion_mask
from recsys_rl.states.affected import Affected
from recsys_rl.states.base import initialise_linear

WIDTH = 32
BEST = 30  # films that tell what a user can be given
MOST = 5.0  # stars
LARGEST = 3.2  # by which a reward may be multiplied
SHUT = -1e3  # what neither a softmax nor an argmax takes


class AffectedCritic(nn.Module):
    """Q(s, i) = rating x (1 + now) + (n - 1) x level x (1 + later), in stars.

    rating: what the state expects of film i; level: the mean of the best `BEST` of these; n: the
    discounted number of steps left. now and later come from one layer that reads satisfaction,
    the time, c, rating - level and the share of the film's genres among what was shown.
    """

    def __init__(self, state: Affected, horizon: int, gamma: float) -> None:
        super().__init__()
        self.state, self.horizon, self.gamma = state, horizon, gamma
        self.of_state = nn.Linear(2, WIDTH)  # n, t / T
        self.of_pair = nn.Linear(3, WIDTH)  # c, rating - level, share of genres
        self.out = nn.Linear(WIDTH, 2)

    def initialise(self, generator: torch.Generator) -> None:
        for layer in (self.of_state, self.of_pair):
            initialise_linear(layer, generator)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    @property
    def item_vectors(self) -> Tensor:
        return self.state.item_vectors.weight[:-1]  # (V, k)

    def left(self, histories: Histories) -> Tensor:
        """The discounted number of steps that are left -> float32 [B]."""
        return steps_left(histories.clock.squeeze(1), self.horizon, self.gamma)

    def most(self, histories: Histories) -> Tensor:
        """What no Q can exceed -> float32 [B]."""
        return LARGEST * MOST * self.left(histories)

    def forward(self, histories: Histories, item: Tensor) -> Tensor:
        """Q of items int64 [B] -> float32 [B]."""
        return self._q(histories, item.unsqueeze(1)).squeeze(1)

    def all(self, histories: Histories) -> Tensor:
        """Q of every film, `SHUT` for those that the history names -> float32 [B, V]."""
        mask = exclusion_mask(histories, self.state.n_items)
        return self._q(histories).masked_fill(mask, SHUT)

    def _q(self, histories: Histories, item: Tensor | None = None) -> Tensor:
        """Of items int64 [B, M], all by default -> float32 [B, M]."""
        with torch.no_grad():
            effect = self.state.effects(histories, self.horizon)
            rating = self.state.ratings(histories)
            level = rating.topk(min(BEST, rating.shape[1])).values.mean(1, keepdim=True)
            share = effect[:, 1:] @ self.state.films[:, 1:].T  # (B, V)
            c = self.state.films[:, 0].expand_as(rating)
            if item is not None:
                rating, share, c = (each.gather(1, item) for each in (rating, share, c))
            pair = torch.stack([c, rating - level, share], 2)  # (B, M, 3)
            state = torch.cat([effect[:, :1], histories.clock], 1)
        hidden = F.relu(self.of_state(state).unsqueeze(1) + self.of_pair(pair))
        now, later = self.out(hidden).unbind(2)
        steps = (self.left(histories) - 1).unsqueeze(1)
        return rating * (1 + now) + steps * level * (1 + later)


class AffectedActor(QPolicy, AffectedCritic):
    """A policy of the same form as the critic."""
