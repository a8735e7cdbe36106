"""Users who leave in Gymnasium's form, for any agent that speaks it: `recsys_rl/UserLeaves-v0`.

    import gymnasium, recsys_rl  # the import registers it
    env = gymnasium.make("recsys_rl/UserLeaves-v0", dataset="ml-100k", action="item")

One session with one user at a time; the rules are those of `UserLeavesEnv`. `score_function` judges
what was trained here as all other policies are judged.

B = batch, V = items of the catalogue, k = width of an item vector, W = `WINDOW`. Index V is
padding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn import functional as F

from recsys_rl.data.devices import CPU, generator_on
from recsys_rl.data.histories import Histories, repadded
from recsys_rl.data.ids import IdMap
from recsys_rl.data.interactions import Interactions, fingerprint
from recsys_rl.embeddings.rating_factors import RatingFactors, posterior_mean
from recsys_rl.envs.base import Info, known_options
from recsys_rl.envs.gym_actions import (
    ACTIONS,
    action_space,
    item_of,
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
    interactions_of,
    known_opening,
    user_index,
)
from recsys_rl.envs.user_leaves import (
    FACTORS,
    WINDOW,
    LeavingWorld,
    UserLeavesEnv,
    leaving_users,
    leaving_worlds,
    random_play,
)

ID = "recsys_rl/UserLeaves-v0"
WORLDS = "truth", "model"
NOISE = 0.0025  # variance of a rating, for the posterior


@dataclass(frozen=True, eq=False)
class Features:
    """What plain networks read of a session, and how their vectors name items.

    vectors: float32 [V + 1, k], rotated (`RatingFactors.rotated`), 0 at padding; prior: mean and
    precision of the users' factors beside them. places: float32 [V + 1, k], `places_of` the item
    vectors, 0 at padding.
    """

    vectors: Tensor
    prior: tuple[Tensor, Tensor]
    places: Tensor

    @classmethod
    def of(cls, factors: RatingFactors) -> Features:
        rotated = factors.rotated()
        both = rotated.item, places_of(rotated.item)
        vectors, places = (F.pad(each, (0, 0, 0, 1)) for each in both)
        return cls(vectors, rotated.prior(), places)

    @property
    def n_items(self) -> int:
        return len(self.vectors) - 1

    @property
    def size(self) -> int:
        """Of an observation."""
        k = self.vectors.shape[1]
        return k + WINDOW * (k + 1) + 1

    def observation(self, histories: Histories) -> Tensor:
        """-> float32 [B, k + W k + W + 1].

        The posterior mean of the user's factors given all ratings; places and ratings of the latest
        W items that were shown, 0 where fewer were; t / T. The first item of a history was known at
        the start and has not been shown.
        """
        vectors = self.vectors[histories.item]
        mean = posterior_mean(vectors, histories.rating, *self.prior, NOISE)
        shown = (histories.item < self.n_items).sum(1, keepdim=True) - 1
        lately = repadded(histories, WINDOW, self.n_items)
        there = torch.arange(WINDOW, 0, -1, device=shown.device) <= shown
        places = self.places[lately.item.masked_fill(~there, self.n_items)].flatten(1)
        return torch.cat([mean, places, lately.rating * there, histories.clock], 1)


def score_function(
    act: Callable[[np.ndarray], np.ndarray], factors: RatingFactors, action: str = "item"
) -> Callable[[Histories], Tensor]:
    """A policy that was trained here in the form that evaluations take (`whole_sessions`).

    act: observations float32 [B, k + W k + W + 1] -> items, integers [B], or for action = "vector"
    vectors [B, k]. The item that it shows has the largest score. ValueError for other actions.
    """
    check_choice("action", action, ACTIONS)
    features = Features.of(factors)

    def score(histories: Histories) -> Tensor:
        seen = features.observation(histories)
        chosen = torch.as_tensor(act(seen.cpu().numpy()), device=seen.device)
        if action == "item":
            return F.one_hot(chosen.long(), features.n_items).float()
        return nearness(chosen.float(), features.places[:-1])

    return score


class GymUserLeavesEnv(UndrawnEnv):
    """One session with one user, who leaves when shown too much of the same.

    action: "item", Discrete(V), the index of the item to show; "vector", Box(-1, 1, (k,)), whose
    nearest item is shown: Euclidean distance to `REACH` times the action, each column of the item
    vectors less its mean and over its standard deviation.

    Observation: Box (k + W k + W + 1,): the posterior mean of the user's factors given the ratings,
    the vectors of the latest W items, scaled in the same way, and their ratings (0 where fewer were
    shown), t / T (`Features.observation`). Reward: the rating. terminated: the user has left, or 30
    items were shown; nothing is truncated.

    info: "user" at the start; then "item" and "rating"; always "mask", bool [V], the items that may
    be shown, which is all of them. Users and items are named by their ids, by their indices in a
    world that was given. reset's option "user" names who is met. All chance is drawn from
    Gymnasium's own `np_random`.

    world, factors, users (indices, int64 [U]): made of `part` ("train", "validation" or "test") of
    the data set in root/dataset where they are not given, the factors by `random_play` with the
    train users in the same world. trained_in: "truth", or "model" for the world of a rating model.
    opening: other arguments of `open_data`, such as {"positive": 7}.
    render_mode: None, there is nothing to draw.
    """

    def __init__(
        self,
        world: LeavingWorld | None = None,
        factors: RatingFactors | None = None,
        users: Tensor | None = None,
        root: str | Path | None = None,
        dataset: str | Path = "ml-100k",
        part: str = "train",
        action: str = "item",
        trained_in: str = "truth",
        opening: Mapping[str, Any] | None = None,
        render_mode: str | None = None,
    ) -> None:
        check_choice("part", part, PARTS)
        check_choice("trained_in", trained_in, WORLDS)
        check_render_mode(render_mode)
        if (world is None) != (factors is None):
            raise ValueError("a world and the factors that were learned in it come together")
        known = (
            _of_data(root, dataset, part, trained_in, known_opening(opening))
            if world is None
            else _of(world, factors)
        )
        self.world, self.factors, met, self.user_ids, self.item_ids = known
        self.action, self.render_mode = action, render_mode
        self.features = Features.of(self.factors)
        met = met if users is None else users
        self.sessions = UserLeavesEnv(self.world, users=met, sessions=1)
        self.action_space = action_space(action, self.world.n_items, self.factors.item.shape[1])
        self.observation_space = spaces.Box(-np.inf, np.inf, (self.features.size,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: Info | None = None
    ) -> tuple[np.ndarray, Info]:
        """Meet options["user"] or somebody at random; the first item is random in any case."""
        named = known_options(options, "user").get("user")
        eligible = self.sessions.eligible
        index = None if named is None else user_index(named, self.user_ids, eligible)
        super().reset(seed=seed)
        drawn = int(eligible[int(self.np_random.integers(len(eligible)))])
        first = int(self.np_random.integers(self.world.n_items))
        user = drawn if index is None else index
        started = {
            "users": torch.tensor([user], device=CPU),
            "seed_items": torch.tensor([[first]], device=CPU),
        }
        self.sessions.reset(options=started)
        told = self.user_ids.id([user])[0].item()
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
        """The index of the item that an action shows."""
        if self.action == "vector":
            return nearest(action, self.features.places[:-1], self._mask())
        return item_of(action, self.world.n_items)

    def _mask(self) -> np.ndarray:
        return np.ones(self.world.n_items, dtype=bool)

    def _observation(self) -> np.ndarray:
        return self.features.observation(self.sessions.observation())[0].numpy()


class _Known(NamedTuple):
    """What sessions need. users: int64 [U], None for everybody."""

    world: LeavingWorld
    factors: RatingFactors
    users: Tensor | None
    user_ids: IdMap
    item_ids: IdMap


def _of(world: LeavingWorld, factors: RatingFactors) -> _Known:
    check_types(world=(world, LeavingWorld), factors=(factors, RatingFactors))
    if len(factors.item) != world.n_items:
        raise ValueError(f"{len(factors.item)} vectors for {world.n_items} items")
    ids = (IdMap(np.arange(n)) for n in (world.n_users, world.n_items))
    return _Known(world, factors, None, *ids)


def _of_data(
    root: str | Path | None, dataset: str | Path, part: str, trained_in: str, opening: dict
) -> _Known:
    data = interactions_of(root, dataset, **opening)
    key = fingerprint(data), trained_in
    if key not in _KEPT:
        _KEPT.clear()
        _KEPT[key] = _made(data, trained_in)
    return _KEPT[key]._replace(users=leaving_users(data.n_users)[PARTS.index(part)])


# of the latest data, by their checksum: it takes seconds, and vectors of environments share it
_KEPT: dict[tuple[str, str], _Known] = {}


def _made(data: Interactions, trained_in: str) -> _Known:
    world = getattr(leaving_worlds(data), trained_in)
    users, *_ = leaving_users(data.n_users)
    played = random_play(world, users, data)  # in the model nothing of the truth is known
    factors = RatingFactors.of(played, FACTORS, generator_on(CPU, 0))
    return _Known(world, factors, users, data.user_ids, played.item_ids)
