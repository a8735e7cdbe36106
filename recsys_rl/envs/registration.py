"""The environments in Gymnasium's form, for any agent that speaks it: `recsys_rl/ColdStart-v0`.

    import gymnasium, recsys_rl  # the import registers it
    env = gymnasium.make("recsys_rl/ColdStart-v0", dataset="ml-100k")

One user whom the agent has never met at a time; the rules are those of `ColdStartEnv`. An action is
a direction in the space of item vectors, the item with the largest inner product is shown (Liu et
al., arXiv 1810.12027); or, with action="item", the index of an item.

Sources: Towers et al., arXiv 2407.17032 (Gymnasium's contract). For the item vectors, Levy &
Goldberg, NIPS 2014.

B = batch, n = length of a memory, k = width of an item vector. Index n_items is padding.
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

from recsys_rl.data.counts import check_counts
from recsys_rl.data.devices import CPU, generator_on
from recsys_rl.data.histories import POSITIVE, Histories, likes_and_rejections
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.rewards import Reward, liked_reward
from recsys_rl.data.splits import Split, split_users
from recsys_rl.embeddings.cooccurrence import Cooccurrence
from recsys_rl.envs.base import Info, best_item, known_options
from recsys_rl.envs.cold_start import ColdStartEnv
from recsys_rl.envs.gym_actions import (
    ACTIONS,
    action_space,
    allowed_from,
    item_of,
    item_scores,
)
from recsys_rl.envs.gym_common import (
    PARTS,
    UndrawnEnv,
    check_choice,
    check_render_mode,
    check_running,
    check_types,
    direction,
    interactions_of,
    known_opening,
    user_index,
)

ID = "recsys_rl/ColdStart-v0"
K = 8  # width of the item vectors made here: a critic of free directions learns slowly in more

Observation = dict[str, np.ndarray] | np.ndarray


def load_users(
    root: str | Path | None = None, dataset: str | Path = "ml-100k", **opening: Any
) -> Split:
    """Whole users, 80/10/10 by `split_users` of seed 0, from data that are there already.

    root: where the data sets are; the project's own folder by default. opening: other arguments of
    `open_data`, which also says what `dataset` may be.
    """
    data = interactions_of(root, dataset, **opening)
    groups = split_users(data.n_users)
    return Split(*(data.select(torch.isin(data.user, users)) for users in groups))


def item_vectors(train: Interactions, k: int = K, seed: int = 0) -> Tensor:
    """What the likes of `train` say about items -> float32 [n_items, k].

    k - 1 columns tell which items the same users like (`Cooccurrence`), the last one is the log of
    how many like an item: without it no direction means "what most users like". Columns get mean 0
    and variance 1, then every item the length sqrt(k): a few long vectors would win the inner
    product in nearly every direction, and numbers of the order of 1 suit a network.

    ValueError unless k is in 2 .. n_items: there are no more directions.
    """
    check_counts(k=k)
    if not 2 <= k <= train.n_items:
        raise ValueError(f"k is in 2 .. {train.n_items}, the number of items, not {k}")
    likes = train.select(train.rating >= POSITIVE)
    start = Cooccurrence(likes, k - 1, generator_on(CPU, seed), reach=None)
    columns = torch.cat([start.item, start.bias.unsqueeze(1)], 1)
    spread = columns.std(0).clamp(min=1e-12)  # 0 where everybody likes the same
    return F.normalize((columns - columns.mean(0)) / spread, dim=1) * k**0.5


def flat_observation(histories: Histories, vectors: Tensor) -> Tensor:
    """Means of the vectors of what was liked and of what was not, log(1 + their numbers), and the
    share of the session that is over.

    -> float32 [B, 2k + 3]; 0 without any item. vectors: float32 [n_items, k].
    """
    n_items = len(vectors)
    padded = F.pad(vectors, (0, 0, 0, 1))  # (n_items + 1, k)
    means, counts = [], []
    for items in likes_and_rejections(histories, histories.item.shape[1], n_items):
        count = (items != n_items).sum(1, keepdim=True)
        total = F.embedding_bag(items, padded, mode="sum", padding_idx=n_items)
        means.append(total / count.clamp(min=1))
        counts.append(count.float().log1p())
    return torch.cat([*means, *counts, histories.clock], 1)


def score_function(
    act: Callable[[np.ndarray], np.ndarray], vectors: Tensor, action: str = "vector"
) -> Callable[[Histories], Tensor]:
    """A policy that was trained here in the form that evaluations take.

    act: flat observations float32 [B, 2k + 3] -> directions [B, k], or for action = "item" items,
    integers [B], or scores of all items [B, V]. ValueError for other actions.
    """
    check_choice("action", action, ACTIONS)

    def score(histories: Histories) -> Tensor:
        told = act(flat_observation(histories, vectors).cpu().numpy())
        if action == "item":
            return item_scores(told, len(vectors)).to(vectors.device)
        return torch.as_tensor(told, dtype=torch.float32, device=vectors.device) @ vectors.T

    return score


class GymColdStartEnv(UndrawnEnv):
    """One session with one cold-start user, who named `n_seed` items they like.

    action: "vector", Box(-1, 1, (k,)): of the items neither named nor shown the one with the
    largest inner product is shown. "item", Discrete(n_items): the index of the item to show; one
    that was named or shown shows the next index in its place, round the end. `horizon` are shown in
    all. Reward: 1 if the user rated it 4 or more, else 0, or what
    `reward` makes of the stars. terminated: nothing is left to like, or `horizon` items were shown;
    evaluations end there too, so nothing is ever truncated.

    observe: "items", a Dict of `memory` (named or liked) and `rejected` (shown and not liked), item
    indices MultiDiscrete(n * [n_items + 1]), n = n_seed + horizon or all items, so that nothing is
    forgotten, and `elapsed`, the share of the session that is over, Box(0, 1, (1,)); or "vectors",
    a Box of 2k + 3 numbers for a plain network, see `flat_observation`.
    info: "user" at the start; then "item", the id of the item, and "liked"; always "mask", bool
    [n_items], what may be shown.
    All chance is drawn from Gymnasium's own `np_random`. reset's option "user" names who is met, by
    the id that `info` gives.

    users, vectors: rows of those who may be met, and the items' vectors float32 [n_items, k].
    Without them they are `part` ("train", "validation" or "test") of the data set in root/dataset,
    and `item_vectors` of its train users, whatever the part: of those held out nothing is learnt.
    opening: other arguments of `open_data`, such as {"positive": 7}.
    `users` cannot come without vectors, for nobody here knows whose likes those may be made from.
    render_mode: None, there is nothing to draw.
    """

    def __init__(
        self,
        users: Interactions | None = None,
        vectors: Tensor | None = None,
        root: str | Path | None = None,
        dataset: str | Path = "ml-100k",
        part: str = "train",
        action: str = "vector",
        horizon: int = 40,
        n_seed: int = 3,
        observe: str = "items",
        k: int = K,
        reward: Reward = liked_reward,
        opening: Mapping[str, Any] | None = None,
        render_mode: str | None = None,
    ) -> None:
        check_render_mode(render_mode)
        if observe not in ("items", "vectors"):
            raise ValueError(f'observe is "items" or "vectors", not {observe!r}')
        check_choice("part", part, PARTS)
        if users is None:
            groups = load_users(root, dataset, **known_opening(opening))
            users = getattr(groups, part)
            vectors = item_vectors(groups.train, k) if vectors is None else vectors
        if vectors is None:
            raise ValueError("users come with vectors: item_vectors makes them from others")
        check_types(users=(users, Interactions), vectors=(vectors, Tensor))
        real = not vectors.is_complex() and vectors.dtype != torch.bool
        filled = vectors.dim() == 2 and vectors.numel()
        if not (real and filled and vectors.float().isfinite().all()):
            raise ValueError("vectors are finite numbers [n_items, k], as float32 holds them")
        if len(vectors) != users.n_items:
            raise ValueError(f"{len(vectors)} vectors for {users.n_items} items")
        vectors = vectors.detach().float()
        self.users, self.vectors, self.observe = users, vectors, observe
        self.render_mode = render_mode
        self.sessions = ColdStartEnv(
            users, sessions=1, horizon=horizon, n_seed=n_seed, reward=reward
        )
        self.longest = min(n_seed + horizon, users.n_items)  # items of a session, none twice
        self.observation_space = self._observation_space(self.longest)
        self.action, self.action_space = action, action_space(action, *vectors.shape)

    def _observation_space(self, n: int) -> spaces.Space:
        if self.observe == "items":
            names = "memory", "rejected"
            parts = {name: spaces.MultiDiscrete([self.users.n_items + 1] * n) for name in names}
            return spaces.Dict(parts | {"elapsed": spaces.Box(0.0, 1.0, (1,), np.float32)})
        # a mean lies between the extremes, but for rounding
        largest = self.vectors.abs().amax(0).repeat(2) * 1.001 + 1e-6
        counts = torch.full((2,), n + 1.0, device=CPU).log()
        time = torch.ones(1, device=CPU)
        low = torch.cat([-largest, 0 * counts, 0 * time])
        high = torch.cat([largest, counts * 1.001, time])
        return spaces.Box(low.numpy(), high.numpy(), dtype=np.float32)

    def reset(
        self, *, seed: int | None = None, options: Info | None = None
    ) -> tuple[Observation, Info]:
        """Meet options["user"] or somebody at random; the seed items are random in any case."""
        named = known_options(options, "user").get("user")
        if named is not None:
            few = " or likes too few items to be met"
            named = user_index(named, self.users.user_ids, self.sessions.eligible, few)
        super().reset(seed=seed)
        eligible = self.sessions.eligible
        user = int(eligible[int(self.np_random.integers(len(eligible)))])
        items = int(self.np_random.integers(2**63 - 1))  # the seed of which items are named
        user = user if named is None else named
        self.sessions.reset(seed=items, options={"users": torch.tensor([user], device=CPU)})
        told = self.users.user_ids.id([user])[0].item()
        return self._observation(), {"user": told, "mask": self._mask()}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, Info]:
        """ResetNeeded before a reset and after the end; ValueError for what is no action."""
        check_running(self.sessions)
        item = self._item(action)
        _, reward, terminated, truncated, info = self.sessions.step(item)
        liked = bool(info["rating"] >= POSITIVE)
        shown = self.users.item_ids.id(item)[0].item()
        found = {"item": shown, "liked": liked, "mask": self._mask()}
        return self._observation(), float(reward), bool(terminated), bool(truncated), found

    def _item(self, action: Any) -> Tensor:
        """The item that an action shows -> int64 [1]."""
        if self.action == "item":
            shown = allowed_from(item_of(action, self.users.n_items), self._mask())
            return torch.tensor([shown], device=CPU)
        towards = direction(action, self.action_space.shape)
        return best_item(towards.unsqueeze(0) @ self.vectors.T, self.sessions.excluded)

    def _mask(self) -> np.ndarray:
        return ~self.sessions.excluded[0].numpy()

    def _observation(self) -> Observation:
        histories = self.sessions.observation()
        if self.observe == "vectors":
            return flat_observation(histories, self.vectors)[0].numpy()
        n = self.longest
        memories = likes_and_rejections(histories, n, self.users.n_items)
        padded = (
            F.pad(m, (n - m.shape[1], 0), value=self.users.n_items)[0].numpy() for m in memories
        )
        told = dict(zip(("memory", "rejected"), padded, strict=True))
        return told | {"elapsed": histories.clock[0].numpy()}
