"""Users who leave in Gymnasium's form, for any agent that speaks it: `recsys_rl/UserLeaves-v0`.

    import gymnasium, recsys_rl  # the import registers it
    env = gymnasium.make("recsys_rl/UserLeaves-v0", dataset="ml-100k", action="item")

One session with one user at a time; the rules are those of `UserLeavesEnv`.

V = items of the catalogue, k = width of an item vector, W = `WINDOW`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from torch import Tensor
from torch.nn import functional as F

from recsys_rl.data.download import DATA_FOLDER
from recsys_rl.data.opening import open_data
from recsys_rl.embeddings.rating_factors import RatingFactors, posterior_mean
from recsys_rl.envs.base import Info, known_options
from recsys_rl.envs.user_leaves import (
    FACTORS,
    WINDOW,
    LeavingWorld,
    UserLeavesEnv,
    leaving_users,
    leaving_worlds,
    random_play,
)

PARTS = "train", "validation", "test"
ACTIONS = "item", "vector"
NOISE = 0.0025  # variance of a rating, for the posterior
REACH = 2.0  # standard deviations of the item vectors that an action of 1 stands for


class GymUserLeavesEnv(gymnasium.Env):
    """One session with one user, who leaves when shown too much of the same.

    action: "item", Discrete(V), the index of the item to show; "vector", Box(-1, 1, (k,)), whose
    nearest item is shown: Euclidean distance to `REACH` times the action, each column of the item
    vectors less its mean and over its standard deviation.

    Observation: Box (k + W k + W + 1,): the posterior mean of the user's factors given the ratings,
    the vectors of the latest W items and their ratings (0 where fewer were shown), t / T. Reward:
    the rating. terminated: the user has left, or 30 items were shown; nothing is truncated.

    info: "user" at the start; then "item" and "rating"; always "mask", bool [V], the items that may
    be shown, which is all of them. Users and items are named by their ids, by their indices in a
    world that was given. reset's option "user" names who is met. All chance is drawn from
    Gymnasium's own `np_random`.

    world, factors, users: made of `part` ("train", "validation" or "test") of the data set in
    root/dataset where they are not given, the factors by `random_play` with the train users.
    trained_in: "truth", or "model" for the world of a rating model. render_mode: None.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - the name and type are Gymnasium's

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
        render_mode: str | None = None,
    ) -> None:
        _one_of("action", action, ACTIONS)
        _one_of("part", part, PARTS)
        _one_of("trained_in", trained_in, ("truth", "model"))
        if render_mode is not None:
            raise ValueError(f"there is no render mode {render_mode!r}: render_mode is None")
        if (world is None) != (factors is None):
            raise ValueError("a world and the factors that were learned in it come together")
        self.user_ids = self.item_ids = None
        if world is None:
            root = DATA_FOLDER if root is None else Path(root)
            data = open_data(dataset, root, fetch=False).interactions()
            groups = leaving_users(data.n_users)
            world = getattr(leaving_worlds(data), trained_in)
            played = random_play(world, groups[0], data)
            factors = RatingFactors.of(played, FACTORS, torch.Generator().manual_seed(0))
            users = groups[PARTS.index(part)] if users is None else users
            self.user_ids, self.item_ids = data.user_ids, played.item_ids
        self.world, self.action, self.render_mode = world, action, render_mode
        rotated = factors.rotated()
        self.vectors, self.prior = rotated.item, rotated.prior()
        self.standardised = (self.vectors - self.vectors.mean(0)) / self.vectors.std(0)
        self.sessions = UserLeavesEnv(world, users=users, sessions=1)
        n_items, k = self.vectors.shape
        forms = {
            "item": spaces.Discrete(n_items),
            "vector": spaces.Box(-1.0, 1.0, (k,), np.float32),
        }
        self.action_space = forms[action]
        size = k + WINDOW * (k + 1) + 1
        self.observation_space = spaces.Box(-np.inf, np.inf, (size,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: Info | None = None
    ) -> tuple[np.ndarray, Info]:
        """Meet options["user"] or somebody at random; the first item is random in any case."""
        named = known_options(options, "user").get("user")
        eligible = self.sessions.eligible
        index = None if named is None else self._index_of(named)
        super().reset(seed=seed)
        drawn = int(eligible[int(self.np_random.integers(len(eligible)))])
        first = int(self.np_random.integers(self.world.n_items))
        user = drawn if index is None else index
        started = {"users": torch.tensor([user]), "seed_items": torch.tensor([[first]])}
        self.sessions.reset(options=started)
        told = user if self.user_ids is None else self.user_ids.id([user])[0].item()
        return self._observation(), {"user": told, "mask": self._mask()}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, Info]:
        """ResetNeeded before a reset and after the end; ValueError for what is no action."""
        if self.sessions.over:
            raise ResetNeeded("no session is running: call reset, at the start and after every end")
        item = self._item(action)
        _, reward, terminated, _, info = self.sessions.step(torch.tensor([item]))
        shown = item if self.item_ids is None else self.item_ids.id([item])[0].item()
        found = {"item": shown, "rating": float(info["rating"]), "mask": self._mask()}
        return self._observation(), float(reward), bool(terminated), False, found

    def _item(self, action: Any) -> int:
        """The index of the item that an action shows."""
        values, space = np.asarray(action), self.action_space
        if self.action == "item":
            whole = values.dtype.kind in "iu" and values.shape == ()
            if not whole or not 0 <= int(values) < space.n:
                raise ValueError(f"an action is an item, 0 .. {space.n - 1}, not {action!r}")
            return int(values)
        inside = values.dtype.kind in "iuf" and values.shape == space.shape
        if not inside or not (np.abs(values) <= 1 + 1e-5).all():  # as no NaN is
            raise ValueError(f"an action is {space.shape[0]} real numbers in -1 .. 1")
        point = REACH * torch.as_tensor(values.astype(np.float32))
        return int((self.standardised - point).square().sum(1).argmin())

    def _mask(self) -> np.ndarray:
        return np.ones(self.world.n_items, dtype=bool)

    def _index_of(self, user: Any) -> int:
        if self.user_ids is None:
            index = user if isinstance(user, int) else -1
        else:
            index = int(self.user_ids.places([user])[0])
        if index not in self.sessions.eligible:
            raise ValueError(f"user {user!r} is not here")
        return index

    def _observation(self) -> np.ndarray:
        histories = self.sessions.observation()
        mean = posterior_mean(self.vectors[histories.item], histories.rating, *self.prior, NOISE)
        lately = histories.item[0, 1:][-WINDOW:], histories.rating[0, 1:][-WINDOW:]
        fewer = WINDOW - len(lately[0])
        vectors = F.pad(self.standardised[lately[0]], (0, 0, fewer, 0)).flatten()
        ratings = F.pad(lately[1], (fewer, 0))
        return torch.cat([mean[0], vectors, ratings, histories.clock[0]]).numpy()


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} is one of {known}, not {value!r}")
