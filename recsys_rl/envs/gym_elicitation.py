"""Ask first, recommend afterwards, in Gymnasium's form: `recsys_rl/Elicitation-v0`.

    import gymnasium, recsys_rl  # the import registers it
    env = gymnasium.make("recsys_rl/Elicitation-v0", dataset="ml-100k")

One session with one user at a time; the rules are those of `ElicitationEnv`. `score_function`
judges what was trained here as all other askers are judged.

B = batch, V = n_items, p = width of the Gaussian of likes.
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

from recsys_rl.data.devices import CPU
from recsys_rl.data.histories import POSITIVE, Histories, exclusion_mask
from recsys_rl.data.interactions import Interactions
from recsys_rl.embeddings.like_posterior import LikeGaussian
from recsys_rl.envs.base import Info, known_options
from recsys_rl.envs.elicitation import QUESTIONS, ElicitationEnv
from recsys_rl.envs.gym_actions import (
    ACTIONS,
    action_space,
    item_of,
    items_told,
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
    known_opening,
    user_index,
)
from recsys_rl.envs.registration import load_users

ID = "recsys_rl/Elicitation-v0"
ANSWERS = "not seen", "not liked", "liked"


def flat_observation(histories: Histories, gaussian: LikeGaussian) -> Tensor:
    """Posterior mean of the user's factors; log(1 + numbers) of what was liked, not liked and not
    seen; t / T -> float32 [B, p + 4]."""
    there, rated = histories.item < gaussian.n_items, histories.rating > 0
    liked = histories.rating >= POSITIVE
    kinds = liked, rated & ~liked, there & ~rated
    counts = torch.stack([kind.sum(1) for kind in kinds], 1).float().log1p()
    return torch.cat([gaussian.posterior(histories).mean, counts, histories.clock], 1)


def score_function(
    act: Callable[[np.ndarray, np.ndarray], np.ndarray],
    gaussian: LikeGaussian,
    action: str = "item",
) -> Callable[[Histories], Tensor]:
    """A policy that was trained here in the form that evaluations take.

    act: observations float32 [B, p + 4], masks bool [B, V] -> items, integers [B], or for action =
    "vector" vectors [B, p + 1]. ValueError for other actions.
    """
    check_choice("action", action, ACTIONS)
    places = places_of(gaussian.item_vectors)

    def score(histories: Histories) -> Tensor:
        mask = ~exclusion_mask(histories, gaussian.n_items)
        told = act(flat_observation(histories, gaussian).numpy(), mask.numpy())
        if action == "vector":
            return nearness(torch.as_tensor(told, device=CPU).float(), places)
        return F.one_hot(items_told(told, gaussian.n_items), gaussian.n_items).float()

    return score


class GymElicitationEnv(UndrawnEnv):
    """`horizon` questions to one user, then ten items of the other half of the catalogue.

    action: "item", Discrete(V), the index of the item to ask about. Who asks what cannot be asked
    (the other half, what was named or asked before) has asked nothing. "vector", Box(-1, 1,
    (p + 1,)): of what can be asked about the nearest to `REACH` times the action is asked about
    (`places_of` the item vectors of the Gaussian). Observation: Box (p + 4,), see
    `flat_observation`. Reward: 0 until the last question, then the share of the ten recommended
    items that the user rated 4 or more, the ten best by the Gaussian of likes. terminated: after
    the last question; nothing is truncated.

    info: "mask" bool [V], what can be asked; "user" at the start; then "answer", one of `ANSWERS`,
    and "item", the id, which is missing where nothing was asked. reset's option "user" names who is
    met. All chance is drawn from Gymnasium's own `np_random`.

    users, gaussian: rows of those who may be met, and a Gaussian of others' likes. Without them
    they are `part` ("train", "validation" or "test") of the data set in root/dataset, and what its
    train users like. half: the number of the half that is asked about; without one every session
    has another. n_seed: liked items that the user names before. opening: other arguments of
    `open_data`, such as {"positive": 7}. render_mode: None.
    """

    def __init__(
        self,
        users: Interactions | None = None,
        gaussian: LikeGaussian | None = None,
        root: str | Path | None = None,
        dataset: str | Path = "ml-100k",
        part: str = "train",
        action: str = "item",
        horizon: int = QUESTIONS,
        n_seed: int = 0,
        half: int | None = None,
        opening: Mapping[str, Any] | None = None,
        render_mode: str | None = None,
    ) -> None:
        check_render_mode(render_mode)
        check_choice("part", part, PARTS)
        if (users is None) != (gaussian is None):
            raise ValueError("users and a Gaussian of the likes of others come together")
        if users is None:
            groups = load_users(root, dataset, **known_opening(opening))
            users, gaussian = getattr(groups, part), LikeGaussian.fit(groups.train)
        check_types(users=(users, Interactions), gaussian=(gaussian, LikeGaussian))
        if gaussian.n_items != users.n_items:
            raise ValueError(f"a Gaussian of {gaussian.n_items} items for {users.n_items} items")
        self.users, self.gaussian, self.half = users, gaussian, half
        self.render_mode = render_mode
        self.sessions = ElicitationEnv(
            users, gaussian.score, half=half, sessions=1, horizon=horizon, n_seed=n_seed
        )
        size = gaussian.item_vectors.shape[1] - 1 + 4
        self.observation_space = spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self.action, self.places = action, places_of(gaussian.item_vectors)
        self.action_space = action_space(action, *self.places.shape)

    def reset(
        self, *, seed: int | None = None, options: Info | None = None
    ) -> tuple[np.ndarray, Info]:
        """Meet options["user"] or somebody at random; half and named items are random."""
        named = known_options(options, "user").get("user")
        eligible = self.sessions.eligible
        if named is not None:
            few = " or likes too few items to be met"
            named = user_index(named, self.users.user_ids, eligible, few)
        super().reset(seed=seed)
        drawn = int(eligible[int(self.np_random.integers(len(eligible)))])
        chance = int(self.np_random.integers(2**63 - 1))  # the seed of the half and what is named
        user = drawn if named is None else named
        met = torch.tensor([user], device=CPU)
        self.sessions.reset(seed=chance, options={"users": met})
        told = self.users.user_ids.id([user])[0].item()
        return self._observation(), {"user": told, "mask": self._mask()}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, Info]:
        """ResetNeeded before a reset and after the end; ValueError for what is no action."""
        check_running(self.sessions)
        item = self._item(action)
        _, reward, terminated, _, info = self.sessions.step(torch.tensor([item], device=CPU))
        asked, stars = int(info["item"]), float(info["rating"])
        found: Info = {"answer": ANSWERS[0]}
        if asked < self.users.n_items:
            answer = ANSWERS[int(stars > 0) + int(stars >= POSITIVE)]
            found = {"item": self.users.item_ids.id([asked])[0].item(), "answer": answer}
        return (
            self._observation(),
            float(reward),
            bool(terminated),
            False,
            found | {"mask": self._mask()},
        )

    def _item(self, action: Any) -> int:
        """The index of the item that an action asks about."""
        if self.action == "vector":
            return nearest(action, self.places, self._mask())
        return item_of(action, self.users.n_items)

    def _mask(self) -> np.ndarray:
        return ~self.sessions.excluded[0].numpy()

    def _observation(self) -> np.ndarray:
        histories = self.sessions.observation()
        return flat_observation(histories, self.gaussian)[0].numpy()
