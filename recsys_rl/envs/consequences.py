"""Simulated users on whom what is shown leaves its mark, with a dial that turns it on.

Two forms. Satiation: a genre that was shown a lot is worth less; whoever sees that adapts to it
step by step. Satisfaction: blockbusters sell better at once, and wear down what everything later
is worth; whoever takes what earns most now pays for it. The second is the idea of the long-term
satisfaction of RecSim (Ie et al., arXiv 1909.04847).

B = batch, V = n_items. Index V is padding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from recsys_rl.data.devices import CPU, generator_on, on_cpu
from recsys_rl.data.effects import MEMORY, WIDTH, described, effects, pushes
from recsys_rl.data.histories import Histories
from recsys_rl.data.ids import IdMap
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.random_streams import own_stream
from recsys_rl.data.rewards import stars_reward
from recsys_rl.data.splits import split_users
from recsys_rl.envs.base import Info
from recsys_rl.envs.simulated import SimulatedEnv, Simulator
from recsys_rl.envs.simulators import Simulators, simulators

FORMS = "satiation", "satisfaction"
HORIZON = 30
CATALOGUE = 300
LEAST_RATINGS = 20  # of a film of the catalogue
MOST_USERS = 1000, 100, 300  # to train with, to choose by, to test with
RATED = 60  # random films that every train user rates, for item vectors


@dataclass(frozen=True, eq=False)
class Consequence:
    """By how much a reward is multiplied. dial: d, 0 for no consequence, 1 for the most.

    satiation:    1 - d x the decayed share of the film's genres among what was shown
    satisfaction: (1 + .6 d c) x (1 - d + 2 d sigmoid(3 n)), n <- .9 n + .2 (.5 - c)

    films: float32 [V, WIDTH], c and the genres of every film, see `data/effects.py`.
    """

    films: Tensor
    form: str = "satisfaction"
    dial: float = 0.5

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(f"form is one of {FORMS}, not {self.form!r}")
        real = isinstance(self.dial, Real) and not isinstance(self.dial, bool)
        if not (real and 0 <= self.dial <= 1):
            raise ValueError(f"dial is within 0 .. 1, not {self.dial!r}")
        if self.films.dim() != 2 or self.films.shape[1] != WIDTH:
            raise ValueError(f"films are [V, {WIDTH}], not {list(self.films.shape)}")
        if on_cpu(self.films) and not self.films.isfinite().all():
            raise ValueError("films hold NaN or infinite numbers")

    def factor(self, effect: Tensor) -> Tensor:
        """Of every film, after an effect float32 [B, WIDTH] -> float32 [B, V]."""
        if self.form == "satiation":
            return 1 - self.dial * effect[:, 1:] @ self.films[:, 1:].T
        now = 1 + 0.6 * self.dial * self.films[:, 0]  # (V,)
        mood = 1 - self.dial + 2 * self.dial * torch.sigmoid(3 * effect[:, :1])  # (B, 1)
        return mood * now


class ConsequencesEnv(SimulatedEnv):
    """B sessions with simulated users; the reward is the rating times the consequence's factor.

    The history holds the stars, which no consequence touches. The effect on the user is a function
    of what was shown (`data.effects.effects`), so the observation holds all that matters.
    """

    running = (*SimulatedEnv.running, "_effect")

    def __init__(
        self,
        simulator: Simulator,
        consequence: Consequence,
        *,
        horizon: int = HORIZON,
        **options: Any,
    ) -> None:
        if len(consequence.films) != simulator.n_items:
            raise ValueError(
                f"the consequence is of {len(consequence.films)} films and the simulator of "
                f"{simulator.n_items}: make both of the same films"
            )
        super().__init__(simulator, horizon=horizon, reward=stars_reward, **options)
        self.consequence = replace(consequence, films=consequence.films.to(self.device))

    def reset(
        self, *, seed: int | None = None, options: Info | None = None
    ) -> tuple[Histories, Info]:
        told = super().reset(seed=seed, options=options)
        self._effect = torch.zeros(len(self._histories), WIDTH, device=self.device)
        return told

    def rewards(self) -> Tensor:
        """What each film would earn now; 0 where it cannot be shown -> float32 [B, V]."""
        self._check_running()
        return self._answers * self.consequence.factor(self._effect)

    def _reward(self, item: Tensor, rating: Tensor) -> Tensor:
        index = item.clamp(max=self.n_items - 1).unsqueeze(1)
        return rating * self.consequence.factor(self._effect).gather(1, index).squeeze(1)

    def _remember(self, item: Tensor, rating: Tensor, shown: Tensor) -> None:
        super()._remember(item, rating, shown)
        push = pushes(self.consequence.films)[item.clamp(max=self.n_items - 1)]
        self._effect = MEMORY * self._effect + push * shown.unsqueeze(1)


def greedy_oracle(
    simulator: Simulator, consequence: Consequence, horizon: int = HORIZON
) -> Callable[[Histories], Tensor]:
    """What each film earns now, for who knows the user (`known`) and sees the effect."""

    def score(histories: Histories) -> Tensor:
        effect = effects(histories, consequence.films, horizon)
        return simulator.rating[histories.user] * consequence.factor(effect)

    return score


def some_films(data: Interactions, seed: int = 0) -> Interactions:
    """The rows of `CATALOGUE` random films of those with `LEAST_RATINGS` or more."""
    counts = torch.bincount(data.item, minlength=data.n_items)
    pool = (counts >= LEAST_RATINGS).nonzero().squeeze(1)
    if len(pool) <= HORIZON:
        raise ValueError(
            f"these sessions need more than {HORIZON} films with {LEAST_RATINGS} ratings, and "
            f"there are {len(pool)}"
        )
    order = torch.randperm(len(pool), generator=generator_on(CPU, seed), device=CPU)
    films = pool[order[:CATALOGUE].to(pool.device)].sort().values
    rows = torch.isin(data.item, films)
    columns = data.user[rows], torch.searchsorted(films, data.item[rows])
    ids = IdMap(data.item_ids.id(films.cpu()))
    return Interactions(*columns, data.rating[rows], data.timestamp[rows], data.user_ids, ids)


class ConsequenceWorlds(NamedTuple):
    """The same consequence in two worlds; films: rows of the catalogue, of which they are made."""

    worlds: Simulators
    consequence: Consequence
    films: Interactions


def consequence_worlds(
    data: Interactions, movies: pd.DataFrame, form: str, dial: float
) -> ConsequenceWorlds:
    """movies: item and genres, as `load_movies` gives them."""
    films = some_films(data)
    consequence = Consequence(described(films, movies), form, dial)
    return ConsequenceWorlds(simulators(films), consequence, films)


def consequence_users(n_users: int) -> tuple[Tensor, Tensor, Tensor]:
    """Train, validation and test users: 60, 10 and 30 %, at most `MOST_USERS` of each."""
    groups = split_users(n_users, (0.6, 0.1, 0.3))
    return tuple(group[:most].sort().values for group, most in zip(groups, MOST_USERS, strict=True))


def rated_at_random(simulator: Simulator, users: Tensor, data: Interactions) -> Interactions:
    """The stars that users give to `RATED` random films each; ids as in `data`."""
    generator = own_stream(0, "rated at random")
    keys = torch.rand(len(users), simulator.n_items, generator=generator, device=CPU)
    item = keys.topk(min(RATED, simulator.n_items)).indices.sort(1).values.flatten()
    user = users.sort().values.repeat_interleave(len(item) // len(users))
    user, item = user.to(data.user.device), item.to(data.user.device)
    rating = simulator.rating[user, item]
    return Interactions(user, item, rating, torch.zeros_like(user), data.user_ids, data.item_ids)
