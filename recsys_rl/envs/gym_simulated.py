"""Simulated users with consequences in Gymnasium's form: `recsys_rl/Simulated-v0`.

    import gymnasium, recsys_rl  # the import registers it
    env = gymnasium.make("recsys_rl/Simulated-v0", dataset="ml-100k", form="satisfaction", dial=0.5)

One session with one user at a time; the rules are those of `ConsequencesEnv`. `score_function`
judges what was trained here as all other policies are judged.

B = batch, V = films of the catalogue, k = width of an item vector. Index V is padding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn import functional as F

from recsys_rl.data.devices import CPU, generator_on
from recsys_rl.data.effects import WIDTH, effects
from recsys_rl.data.histories import Histories
from recsys_rl.data.ids import IdMap
from recsys_rl.embeddings.rating_factors import RatingFactors, posterior_mean
from recsys_rl.envs.base import Info, known_options
from recsys_rl.envs.consequences import (
    HORIZON,
    Consequence,
    ConsequencesEnv,
    consequence_users,
    consequence_worlds,
    rated_at_random,
)
from recsys_rl.envs.gym_actions import (
    ACTIONS,
    action_space,
    allowed_from,
    item_of,
    item_scores,
    nearest,
    nearness,
    places_of,
)
from recsys_rl.envs.gym_common import (
    PARTS,
    UndrawnEnv,
    check_choice,
    check_render_mode,
    check_running,
    check_types,
    data_of,
    known_opening,
    user_index,
)
from recsys_rl.envs.simulated import Simulator, some_likes

ID = "recsys_rl/Simulated-v0"
SIMULATORS = "A", "B"
K = 8
NOISE = 0.5  # variance of a rating, for the posterior


def observed(
    histories: Histories, factors: RatingFactors, films: Tensor, horizon: int = HORIZON
) -> Tensor:
    """-> float32 [B, k + WIDTH + 1]: the posterior mean of the user's factors given the ratings, n
    and the shares of genres, t / T. factors: `rotated`."""
    vectors = F.pad(factors.item, (0, 0, 0, 1))[histories.item]
    mean = posterior_mean(vectors, histories.rating, *factors.prior(), NOISE)
    return torch.cat([mean, effects(histories, films, horizon), histories.clock], 1)


def film_places(rotated: RatingFactors, films: Tensor) -> Tensor:
    """`places_of` the item vectors and c, of the effects of films -> float32 [V, k + 1]."""
    return places_of(torch.cat([rotated.item, films[:, :1]], 1))


def score_function(
    act: Callable[[np.ndarray], np.ndarray],
    factors: RatingFactors,
    films: Tensor,
    horizon: int = HORIZON,
    action: str = "item",
) -> Callable[[Histories], Tensor]:
    """A policy that was trained here in the form that evaluations take (`whole_sessions`).

    act: observations float32 [B, k + WIDTH + 1] -> films, integers [B], or scores of all films
    float32 [B, V], or for action = "vector" vectors [B, k + 1]. ValueError for other actions.
    """
    check_choice("action", action, ACTIONS)
    rotated = factors.rotated()
    places = film_places(rotated, films)

    def score(histories: Histories) -> Tensor:
        told = act(observed(histories, rotated, films, horizon).numpy())
        if action == "item":
            return item_scores(told, len(places))
        return nearness(torch.as_tensor(told, device=CPU).float(), places)

    return score


class GymSimulatedEnv(UndrawnEnv):
    """One session with one simulated user on whom what is shown leaves its mark.

    action: "item", Discrete(V), the index of the film to show; one that was shown already, or known
    at the start, shows the next index in its place, round the end. "vector", Box(-1, 1, (k + 1,)):
    of the films that may be shown the nearest to `REACH` times the action is (`film_places`).
    Observation: Box (k + WIDTH + 1,), see
    `observed`; what describes the films, c and their genres, does not change: `consequence.films`.
    Reward: the rating times the consequence's factor. terminated: `horizon` films were shown;
    nothing is truncated.

    info: "user" at the start; then "item" and "rating"; always "mask", bool [V], the films that may
    be shown. Users and films are named by their ids, by their indices in a simulator that was
    given. reset's option "user" names who is met. All chance is drawn from Gymnasium's own
    `np_random`.

    simulator, consequence, factors, users (indices, int64 [U]): made of `part` ("train",
    "validation" or "test") of the data set in root/dataset where they are not given; form, dial:
    see `Consequence`; judged_in: the simulator, A to train in, B to be judged in.
    opening: other arguments of `open_data`, such as {"positive": 7}.
    """

    def __init__(
        self,
        simulator: Simulator | None = None,
        consequence: Consequence | None = None,
        factors: RatingFactors | None = None,
        users: Tensor | None = None,
        root: str | Path | None = None,
        dataset: str | Path = "ml-100k",
        part: str = "train",
        action: str = "item",
        form: str = "satisfaction",
        dial: float = 0.5,
        judged_in: str = "A",
        horizon: int = HORIZON,
        opening: Mapping[str, Any] | None = None,
        render_mode: str | None = None,
    ) -> None:
        check_choice("part", part, PARTS)
        check_choice("judged_in", judged_in, SIMULATORS)
        check_render_mode(render_mode)
        given = simulator, consequence, factors
        if any(part is None for part in given) and any(part is not None for part in given):
            raise ValueError("a simulator, a consequence and factors come together")
        if simulator is None:
            known = _of_data(root, dataset, part, form, dial, judged_in, known_opening(opening))
            simulator, consequence, factors, met, self.user_ids, self.item_ids = known
            users = met if users is None else users
        else:
            check_types(
                simulator=(simulator, Simulator),
                consequence=(consequence, Consequence),
                factors=(factors, RatingFactors),
            )
            ids = (IdMap(np.arange(n)) for n in (simulator.n_users, simulator.n_items))
            self.user_ids, self.item_ids = ids
        self.consequence, self.factors, self.render_mode = consequence, factors, render_mode
        self.rotated = factors.rotated()
        self.sessions = ConsequencesEnv(
            simulator, consequence, users=users, sessions=1, horizon=horizon
        )
        self.action, self.places = action, film_places(self.rotated, consequence.films)
        self.action_space = action_space(action, *self.places.shape)
        size = factors.item.shape[1] + WIDTH + 1
        self.observation_space = spaces.Box(-np.inf, np.inf, (size,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: Info | None = None
    ) -> tuple[np.ndarray, Info]:
        """Meet options["user"] or somebody at random; the films known at first are random."""
        named = known_options(options, "user").get("user")
        eligible = self.sessions.eligible
        index = None if named is None else user_index(named, self.user_ids, eligible)
        super().reset(seed=seed)
        drawn = int(eligible[int(self.np_random.integers(len(eligible)))])
        generator = generator_on(CPU, int(self.np_random.integers(2**62)))
        user = torch.tensor([drawn if index is None else index], device=CPU)
        likes = self.sessions.simulator.likes(user)
        known = some_likes(likes, self.sessions.n_seed, generator)
        self.sessions.reset(options={"users": user, "seed_items": known})
        told = self.user_ids.id(user.numpy())[0].item()
        return self._observation(), {"user": told, "mask": self._mask()}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, Info]:
        """ResetNeeded before a reset and after the end; ValueError for what is no action."""
        check_running(self.sessions)
        item = self._item(action)
        _, reward, terminated, _, info = self.sessions.step(torch.tensor([item], device=CPU))
        shown = self.item_ids.id([item])[0].item()
        found = {"item": shown, "rating": float(info["rating"]), "mask": self._mask()}
        return self._observation(), float(reward), bool(terminated), False, found

    def _item(self, action: Any) -> int:
        """The film that an action shows."""
        if self.action == "vector":
            return nearest(action, self.places, self._mask())
        return allowed_from(item_of(action, self.sessions.n_items), self._mask())

    def _mask(self) -> np.ndarray:
        return ~self.sessions.excluded[0].numpy()

    def _observation(self) -> np.ndarray:
        histories = self.sessions.observation()
        films, horizon = self.consequence.films, self.sessions.horizon
        return observed(histories, self.rotated, films, horizon)[0].numpy()


def _of_data(
    root: str | Path | None,
    dataset: str | Path,
    part: str,
    form: str,
    dial: float,
    simulator: str,
    opening: dict,
) -> tuple[Simulator, Consequence, RatingFactors, Tensor, IdMap, IdMap]:
    opened = data_of(root, dataset, **opening)
    data = opened.interactions()
    worlds, consequence, films = consequence_worlds(data, opened.movies, form, dial)
    groups = consequence_users(data.n_users)
    log = rated_at_random(worlds.a, groups[0], films)
    factors = RatingFactors.of(log, K, generator_on(CPU, 0))
    world = {"A": worlds.a, "B": worlds.b}[simulator]
    users = groups[PARTS.index(part)]
    return world, consequence, factors, users, data.user_ids, films.item_ids
