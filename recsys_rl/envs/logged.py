"""Logged sessions as a Markov decision process, in Gymnasium's contract.

Source: Liu et al., arXiv 1810.12027, sections 3 and 4 (state, action, reward, transition). The
deviations are listed in the notebook.
"""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from recsys_rl.data.interactions import POSITIVE, Interactions
from recsys_rl.data.observation import Observation
from recsys_rl.data.rewards import paper_reward

Info = dict[str, Any]


class Resumable:
    """Sessions that can say whether they are over, and be saved and gone on with.

    `running` names the attributes that say where the sessions stand.
    """

    running: tuple[str, ...]
    generator: torch.Generator

    @property
    def over(self) -> bool:
        """Whether no session is running: none was started, or all have ended."""
        return not hasattr(self, "_active") or not bool(self._active.any())

    def state_dict(self) -> Info:
        """Where the running sessions stand; tensors and numbers only."""
        stand = {name: getattr(self, name) for name in self.running if hasattr(self, name)}
        return stand | {"generator": self.generator.get_state()}

    def load_state_dict(self, state: Info) -> None:
        state = copy.deepcopy(state)  # sessions write into their tensors
        self.generator.set_state(state.pop("generator"))
        vars(self).update(state)


class LoggedSessions(Resumable):
    """B sessions that step together; people answer with the ratings they logged.

    A session picks a person and a moment of that person's log. What was rated before is known: its
    n latest positives are the first memory, all of it is never recommended again. Each step takes
    an action a in R^k, recommends the film i with the largest a . v_i among those not yet seen, and
    rewards (rating - 3) / 2 if the person rated i at or after that moment. A film that was never
    rated gives `unrated`, 0 by default: the log says nothing about it, and 0 is what an indifferent
    rating of 3 gives. (The paper asks a rating model instead, so that the agent is judged by the
    model that also made its vectors.) The memory shifts only on a rating of `reads_from` or more:
    4, a positive, unless a state reads every rated film (DRR-seq).

    terminated: every film of the person's log has been shown, no reward is left to be had.
    truncated: `horizon` steps are over; the session could have gone on, so the bootstrap does not
    stop. A session that is over goes on stepping with the batch; `info["active"]` says which steps
    count.

    log: ratings the agent may learn from (the train split, nothing else).
    item_vectors: float32 [n_items, k], read anew at every step, so that it may be a live parameter.
    anonymous_share: share of the sessions in which the agent is not told who the person is.
    """

    running = ("_seen", "_rating", "_left", "_memory", "_user", "_each", "_active", "_steps")

    def __init__(
        self,
        log: Interactions,
        item_vectors: Tensor,
        *,
        sessions: int = 1024,
        n: int = 5,
        horizon: int = 10,
        unrated: float = 0.0,
        anonymous_share: float = 0.2,
        reads_from: float = POSITIVE,
        generator: torch.Generator | None = None,
    ) -> None:
        self.log, self.item_vectors = log, item_vectors
        self.sessions, self.n, self.horizon = sessions, n, horizon
        self.unrated, self.anonymous_share = unrated, anonymous_share
        self.reads_from = reads_from
        self.generator = generator or torch.Generator().manual_seed(0)
        read = log.rating >= reads_from
        self._read_items = torch.nn.functional.pad(log.item[read], (0, 1), value=log.n_items)
        self._read_before = torch.nn.functional.pad(read.cumsum(0), (1, 0))  # [N + 1]
        counts = log.offsets.diff()
        self._people = torch.nonzero(counts >= 2).squeeze(1)
        liked = self._read_before[log.offsets].diff()
        self._fans = torch.nonzero(liked >= 2).squeeze(1)  # people with two films to remember
        if not len(self._people):
            raise ValueError("nobody in the log has two ratings: there is no session to play")

    def memory_at(self, user: Tensor, row: Tensor) -> Tensor:
        """The n latest films each user's memory holds before row `row` -> int64 [B, n]."""
        end = self._read_before[row]
        first = self._read_before[self.log.offsets[user]]
        place = end.unsqueeze(1) + torch.arange(-self.n, 0)  # [B, n]
        known = place >= first.unsqueeze(1)
        films = self._read_items[place.clamp(min=0, max=len(self._read_items) - 1)]
        return torch.where(known, films, self.log.n_items)

    def reset(
        self, *, seed: int | None = None, options: Info | None = None
    ) -> tuple[Observation, Info]:
        """Start B sessions; options may fix `users` and `rows` (int64 [B], rows of the log)."""
        if seed is not None:
            self.generator.manual_seed(seed)
        options = options or {}
        users = options.get("users")
        if users is None:
            users = self._random_people(self.sessions)
        rows = options.get("rows")
        if rows is None:
            rows = self._random_rows(users)
        if ((rows < self.log.offsets[users]) | (rows >= self.log.offsets[users + 1])).any():
            raise ValueError("a session starts at a row of its own user, who has at least two")
        self._start(users, rows)
        return self.observation(), {"active": torch.ones(len(users), dtype=torch.bool)}

    def demonstrations(self, count: int) -> tuple[Observation, Tensor]:
        """Moments of the log -> (observation of `count` moments, film rated there int64 [count]).

        People and moments are drawn as `reset` draws them.
        """
        users = self._random_people(count)
        rows = self._random_rows(users)
        return Observation(self._hide(users), self.memory_at(users, rows)), self.log.item[rows]

    def likes(self, count: int) -> tuple[Observation, Tensor]:
        """Some films a person's memory may hold, and another -> (observation, film int64 [count]).

        No order: up to n films (1 to n draws, repeats dropped) and the other one are drawn
        from all that the person rated `reads_from` or more.
        """
        if not len(self._fans):
            raise ValueError("nobody in the log liked two films: there is nothing to imitate")
        users = self._fans[torch.randint(len(self._fans), (count,), generator=self.generator)]
        first = self._read_before[self.log.offsets[users]].unsqueeze(1)
        size = self._read_before[self.log.offsets[users + 1]].unsqueeze(1) - first  # (count, 1)
        draw = torch.rand(count, self.n + 1, generator=self.generator)
        place, _ = (draw[:, 1:] * size).long().sort(1)  # (count, n)
        wanted = (draw[:, :1] * size).long()
        repeated = torch.nn.functional.pad(place[:, 1:] == place[:, :-1], (1, 0))
        shown = torch.randint(1, self.n + 1, (count, 1), generator=self.generator)
        order = torch.rand(place.shape, generator=self.generator).argsort(1)
        place, repeated = place.gather(1, order), repeated.gather(1, order)
        known = (torch.arange(self.n) >= self.n - shown) & ~repeated & (place != wanted)
        memory = torch.where(known, self._read_items[first + place], self.log.n_items)
        padded_left = known.byte().argsort(dim=1, stable=True)
        films = self._read_items[(first + wanted).squeeze(1)]
        return Observation(self._hide(users), memory.gather(1, padded_left)), films

    def _random_people(self, count: int) -> Tensor:
        return self._people[torch.randint(len(self._people), (count,), generator=self.generator)]

    def _hide(self, users: Tensor) -> Tensor:
        """Replace a random share of the users by the anonymous one."""
        hidden = torch.rand(len(users), generator=self.generator) < self.anonymous_share
        return torch.where(hidden, self.log.n_users, users)

    def _random_rows(self, users: Tensor) -> Tensor:
        """A moment of each user's log, uniform over all but its first row."""
        first, end = self.log.offsets[users], self.log.offsets[users + 1]
        share = torch.rand(len(users), generator=self.generator)
        return first + 1 + (share * (end - first - 1)).long()

    def _start(self, users: Tensor, rows: Tensor) -> None:
        position, row = self.log.rows_of(users)
        size = (len(users), self.log.n_items)
        ahead = row >= rows[position]
        self._seen = torch.zeros(size, dtype=torch.bool)
        self._seen[position[~ahead], self.log.item[row[~ahead]]] = True
        self._rating = torch.zeros(size)  # 0 = not rated from here on
        self._rating[position[ahead], self.log.item[row[ahead]]] = self.log.rating[row[ahead]]
        self._left = torch.bincount(position[ahead], minlength=len(users))
        self._memory = self.memory_at(users, rows)
        self._user = self._hide(users)
        self._each = torch.arange(len(users))
        self._active = torch.ones(len(users), dtype=torch.bool)
        self._steps = 0

    def observation(self) -> Observation:
        return Observation(self._user, self._memory)

    def step(self, action: Tensor) -> tuple[Observation, Tensor, Tensor, Tensor, Info]:
        """Act with float32 [B, k] -> (observation, reward, terminated, truncated, info), each [B].

        info: "item" int64 [B], what was recommended; "rating" [B], 0 where there is none; "active"
        bool [B], whether the session was still running when the step was made.
        """
        with torch.no_grad():
            scores = action @ self.item_vectors.T  # (B, n_items)
            item = scores.masked_fill(self._seen, -torch.inf).argmax(1)
        return self.execute(item)

    def execute(self, item: Tensor) -> tuple[Observation, Tensor, Tensor, Tensor, Info]:
        """Recommend films int64 [B] directly; the rest as in `step`."""
        rating = self._rating[self._each, item]
        self._seen[self._each, item] = True
        self._rating[self._each, item] = 0  # a film answers once
        rated = rating > 0
        reward = torch.where(rated, paper_reward(rating), self.unrated)
        positive = rating >= self.reads_from
        shifted = torch.cat([self._memory[:, 1:], item.unsqueeze(1)], dim=1)
        self._memory = torch.where(positive.unsqueeze(1), shifted, self._memory)
        self._left = self._left - rated.long()
        self._steps += 1
        terminated = self._left <= 0
        truncated = torch.full_like(terminated, self._steps >= self.horizon)
        info = {"item": item, "rating": rating, "active": self._active}
        self._active = self._active & ~terminated & ~truncated
        return self.observation(), reward, terminated, truncated, info


class RecommendationEnv(gymnasium.Env):
    """One logged session at a time, for any agent that speaks Gymnasium.

    Observation: {"user": Discrete(n_users + 1), "memory": MultiDiscrete(n * [n_items + 1])}.
    Action: Box(-1, 1, (k,)), a direction in the space of `item_vectors`. See `LoggedSessions`.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - the name and type are Gymnasium's

    def __init__(self, log: Interactions, item_vectors: Tensor, **settings: Any) -> None:
        self.sessions = LoggedSessions(log, item_vectors, sessions=1, **settings)
        self.observation_space = gymnasium.spaces.Dict(
            {
                "user": gymnasium.spaces.Discrete(log.n_users + 1),
                "memory": gymnasium.spaces.MultiDiscrete([log.n_items + 1] * self.sessions.n),
            }
        )
        width = item_vectors.shape[1]
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (width,), dtype=np.float32)

    def reset(
        self, *, seed: int | None = None, options: Info | None = None
    ) -> tuple[dict[str, Any], Info]:
        super().reset(seed=seed)
        observation, _ = self.sessions.reset(seed=seed, options=options)
        return self._single(observation), {}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, Info]:
        vector = torch.as_tensor(action, dtype=torch.float32).unsqueeze(0)
        observation, reward, terminated, truncated, info = self.sessions.step(vector)
        return (
            self._single(observation),
            float(reward),
            bool(terminated),
            bool(truncated),
            {"item": int(info["item"]), "rating": float(info["rating"])},
        )

    def _single(self, observation: Observation) -> dict[str, Any]:
        return {"user": int(observation.user), "memory": observation.memory[0].numpy()}
