"""Sessions with strangers for any agent that speaks Gymnasium: `recsys_rl/ColdStart-v0`.

    import gymnasium, recsys_rl  # the import registers it
    env = gymnasium.make("recsys_rl/ColdStart-v0", root="data", dataset="ml-100k")

One person whom the agent has never met at a time; the rules are those of `StrangerSessions`. An
action is a direction in the space of film vectors, the film with the largest inner product is shown
(Liu et al., arXiv 1810.12027).

Sources: Towers et al., arXiv 2407.17032 (Gymnasium's contract). For the film vectors, Levy &
Goldberg, NIPS 2014.

B = batch, n = length of a memory, k = width of a film vector. Index n_items is padding.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn import functional as F

from recsys_rl.data.interactions import POSITIVE, Histories, Interactions
from recsys_rl.data.movielens import load_ratings
from recsys_rl.data.observation import likes_and_rejections
from recsys_rl.data.splits import Split, split_users
from recsys_rl.embeddings.cooccurrence import Cooccurrence
from recsys_rl.envs.cold_start import StrangerSessions

ID = "recsys_rl/ColdStart-v0"


Info = dict[str, Any]


Shown = dict[str, np.ndarray] | np.ndarray


K = 8  # width of the film vectors made here: a critic of free directions learns slowly in more


def load_people(root: str | Path = "data", dataset: str = "ml-100k") -> Split:
    """Whole people, 80/10/10 by `split_users` of seed 0, from a folder that is there already."""
    try:
        data = Interactions.from_ratings(load_ratings(Path(root) / dataset))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{dataset} is not in {root}, and an environment downloads nothing: "
            f'recsys_rl.data.download.open_movielens("{dataset}", "{root}") fetches it'
        ) from error
    groups = split_users(data.n_users)
    return Split(*(data.select(torch.isin(data.user, users)) for users in groups))


def film_vectors(train: Interactions, k: int = K, seed: int = 0) -> Tensor:
    """What the likes of `train` say about films -> float32 [n_items, k].

    k - 1 columns tell which films the same people like (`Cooccurrence`), the last one is the log of
    how many like a film: without it no direction means "what most people like". Columns get mean 0
    and variance 1, then every film the length sqrt(k): a few long vectors would win the inner
    product in nearly every direction, and numbers of the order of 1 suit a network.
    """
    likes = train.select(train.rating >= POSITIVE)
    start = Cooccurrence(likes, k - 1, torch.Generator().manual_seed(seed), reach=None)
    columns = torch.cat([start.item, start.bias.unsqueeze(1)], 1)
    return F.normalize((columns - columns.mean(0)) / columns.std(0), dim=1) * k**0.5


def summary(films: Tensor, item_vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Padded films int64 [B, n] -> mean of their vectors float32 [B, k], 0 without any film; log
    of 1 + their number [B, 1]."""
    n_items = len(item_vectors)
    count = (films != n_items).sum(1, keepdim=True)
    padded = F.pad(item_vectors, (0, 0, 0, 1))  # (n_items + 1, k)
    total = F.embedding_bag(films, padded, mode="sum", padding_idx=n_items)
    return total / count.clamp(min=1), count.float().log1p()


def flat_observation(memory: Tensor, rejected: Tensor, item_vectors: Tensor) -> Tensor:
    """Films that were liked and those that were not, int64 [B, n] each -> float32 [B, 2k + 2]."""
    liked, n_liked = summary(memory, item_vectors)
    disliked, n_disliked = summary(rejected, item_vectors)
    return torch.cat([liked, disliked, n_liked, n_disliked], 1)


def score_function(
    act: Callable[[np.ndarray], np.ndarray], item_vectors: Tensor
) -> Callable[[Histories], Tensor]:
    """A policy that was trained here as the judges want it: Histories -> scores [B, n_items].

    act: flat observations float32 [B, 2k + 2] -> actions [B, k].
    """

    def score(histories: Histories) -> Tensor:
        width = histories.item.shape[1]
        liked, rejected = likes_and_rejections(histories, width, len(item_vectors))
        seen = flat_observation(liked, rejected, item_vectors)
        return torch.as_tensor(act(seen.numpy()), dtype=torch.float32) @ item_vectors.T

    return score


class StrangerEnv(gymnasium.Env):
    """One session with one stranger, who named `given` films they like; `horizon` films are shown.

    Action: Box(-1, 1, (k,)). Of the films neither named nor shown the one with the largest inner
    product is shown. Reward: 1 if the person rated it 4 or more, else 0. terminated: nothing is
    left to like. truncated: `horizon` films were shown.

    observe: "films", a Dict of `memory` (named or liked) and `rejected` (shown and not liked), film
    indices MultiDiscrete(n * [n_items + 1]), n = given + horizon, so that nothing is forgotten;
    or "vectors", a Box of 2k + 2 numbers for a plain network, see `flat_observation`.
    info: "user" at the start; then "item", the MovieLens id of the film, and "liked".
    All chance is drawn from Gymnasium's own `np_random`. reset's option "user" (an index of
    `people`) names who is met.

    people, item_vectors: who may be met, and the films' vectors float32 [n_items, k]. Without them
    they are `part` ("train", "validation" or "test") of the data set in root/dataset, and
    `film_vectors` of its train people, whatever the part: of those held out nothing is learnt.
    `people` cannot come without vectors, for nobody here knows whose likes those may be made from.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - the name and type are Gymnasium's

    def __init__(
        self,
        people: Interactions | None = None,
        item_vectors: Tensor | None = None,
        root: str | Path = "data",
        dataset: str = "ml-100k",
        part: str = "train",
        horizon: int = 40,
        given: int = 3,
        observe: str = "films",
        k: int = K,
    ) -> None:
        _check(observe, part, given, horizon)
        if people is None:
            groups = load_people(root, dataset)
            people = getattr(groups, part)
            item_vectors = film_vectors(groups.train, k) if item_vectors is None else item_vectors
        if item_vectors is None:
            raise ValueError("people come with item_vectors: film_vectors makes them from others")
        if len(item_vectors) != people.n_items:
            raise ValueError(f"{len(item_vectors)} item_vectors for {people.n_items} films")
        self.people, self.item_vectors, self.observe = people, item_vectors, observe
        n = given + horizon
        self.sessions = StrangerSessions(
            people, item_vectors, sessions=1, n=n, horizon=horizon, given=given
        )
        self.observation_space = self._observation_space(n)
        self.action_space = spaces.Box(-1.0, 1.0, (item_vectors.shape[1],), np.float32)

    def _observation_space(self, n: int) -> spaces.Space:
        if self.observe == "films":
            names = "memory", "rejected"
            return spaces.Dict(
                {name: spaces.MultiDiscrete([self.people.n_items + 1] * n) for name in names}
            )
        # a mean lies between the extremes, but for rounding
        largest = self.item_vectors.abs().amax(0).repeat(2) * 1.001 + 1e-6
        counts = torch.full((2,), n + 1.0).log()
        low, high = torch.cat([-largest, 0 * counts]), torch.cat([largest, counts * 1.001])
        return spaces.Box(low.numpy(), high.numpy(), dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Shown, Info]:
        super().reset(seed=seed)
        fans = self.sessions.fans
        user = int(fans[int(self.np_random.integers(len(fans)))])
        films = int(self.np_random.integers(2**63 - 1))  # the seed of which films are named
        user = int((options or {}).get("user", user))
        if user not in fans:
            raise ValueError(f"person {user} likes too few films to be met")
        self.sessions.reset(seed=films, options={"users": torch.tensor([user])})
        return self._seen(), {"user": int(self.people.user_ids.id([user])[0])}

    def step(self, action: np.ndarray) -> tuple[Shown, float, bool, bool, Info]:
        vector = torch.as_tensor(action, dtype=torch.float32).unsqueeze(0)
        _, reward, terminated, truncated, info = self.sessions.step(vector)
        item = int(self.people.item_ids.id(info["item"])[0])
        ends = bool(terminated), bool(truncated)
        return self._seen(), float(reward), *ends, {"item": item, "liked": bool(reward)}

    def _seen(self) -> Shown:
        _, memory, rejected, _ = self.sessions.observation()
        if self.observe == "films":
            return {"memory": memory[0].numpy(), "rejected": rejected[0].numpy()}
        return flat_observation(memory, rejected, self.item_vectors)[0].numpy()


def _check(observe: str, part: str, given: int, horizon: int) -> None:
    if observe not in ("films", "vectors"):
        raise ValueError(f'observe is "films" or "vectors", not {observe!r}')
    if part not in ("train", "validation", "test"):
        raise ValueError(f'part is "train", "validation" or "test", not {part!r}')
    if given < 1 or horizon < 1:
        raise ValueError(f"given and horizon are at least 1, not {given} and {horizon}")
