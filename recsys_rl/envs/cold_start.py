"""Sessions with users the agent has never met."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from recsys_rl.data.interactions import POSITIVE, Histories, Interactions
from recsys_rl.data.observation import LEAST, Observation, likes_and_rejections, remember
from recsys_rl.envs.logged import Info, Resumable
from recsys_rl.states.linear import no_profile


class StrangerSessions(Resumable):
    """B sessions that step together, each with somebody the agent has never met.

    A session starts from what a person says they like: `given` films that they rated 4 or more, at
    random; or, if `given` is a share, that share of all their rows, liked or not. Each step shows
    the film with the largest a . v_i among the candidates. The reward is 1 if the person rated it 4
    or more, else 0; what is liked joins `memory`, what is not joins `rejected`. No simulator
    answers: a film that was never rated counts as not liked.

    candidates: "all" films not shown yet, or only those the person "rated" (Liu et al., arXiv
    1810.12027, Algorithm 2).
    terminated: nothing is left to like. truncated: `horizon` steps are over; the bootstrap goes on.

    people: all rows of those who may be met. item_vectors: float32 [n_items, k], read anew at every
    step. n: width of either memory. profile: histories -> float32 [B, p], asked once a session
    about what is known when it starts.
    """

    running = (
        *("_user", "_memory", "_rejected", "_profile", "wanted", "barred"),
        *("_each", "_active", "_steps"),
    )

    def __init__(
        self,
        people: Interactions,
        item_vectors: Tensor,
        *,
        sessions: int = 512,
        n: int = 43,
        horizon: int = 40,
        given: float = 3,
        candidates: str = "all",
        profile: Callable[[Histories], Tensor] = no_profile,
        generator: torch.Generator | None = None,
    ) -> None:
        self.people, self.item_vectors, self.profile = people, item_vectors, profile
        self.sessions, self.n, self.horizon = sessions, n, horizon
        self.given, self.candidates = given, candidates
        self.generator = generator or torch.Generator().manual_seed(0)
        if given < 0 or (given > 1 and given != int(given)):
            raise ValueError(f"given is a number of films or a share below 1, not {given}")
        liked = people.select(people.rating >= POSITIVE).offsets.diff()
        least = given + LEAST if given >= 1 else 2
        self.fans = torch.nonzero(liked >= least).squeeze(1)
        if not len(self.fans):
            raise ValueError(f"nobody liked {least} films: there is no session to play")

    def reset(
        self, *, seed: int | None = None, options: Info | None = None
    ) -> tuple[Observation, Info]:
        """Start B sessions; options may fix `users`, int64 [B]."""
        if seed is not None:
            self.generator.manual_seed(seed)
        users = (options or {}).get("users")
        if users is None:
            drawn = torch.randint(len(self.fans), (self.sessions,), generator=self.generator)
            users = self.fans[drawn]
        elif not torch.isin(users, self.fans).all():
            raise ValueError("a session needs somebody who likes a few films more than are given")
        self._start(self.people.histories(users))
        return self.observation(), {"active": self._active}

    def _start(self, log: Histories) -> None:
        n_items, there = self.people.n_items, log.item < self.people.n_items
        given = self._given(log, there)
        item, rating = log.item.masked_fill(~given, n_items), log.rating.masked_fill(~given, 0)
        first = Histories(log.user, item, rating)
        self._memory, self._rejected = likes_and_rejections(first, self.n, n_items)
        self._profile = self.profile(first)
        size = (len(log), n_items + 1)
        column = log.item.masked_fill(~(there & ~given), n_items)
        left = torch.zeros(size, dtype=torch.bool).scatter_(1, column, True)[:, :-1]
        liked = log.item.masked_fill(given | (log.rating < POSITIVE), n_items)
        self.wanted = torch.zeros(size, dtype=torch.bool).scatter_(1, liked, True)[:, :-1]
        if self.candidates == "rated":
            self.barred = ~left
        else:
            shown = log.item.masked_fill(~given, n_items)
            self.barred = torch.zeros(size, dtype=torch.bool).scatter_(1, shown, True)[:, :-1]
        self.wanted, self.barred = self.wanted.contiguous(), self.barred.contiguous()
        self._user = torch.full_like(log.user, self.people.n_users)
        self._each = torch.arange(len(log))
        self._active = self.wanted.any(1)
        self._steps = 0

    def _given(self, log: Histories, there: Tensor) -> Tensor:
        """Which rows [B, H] of each person are known at the start."""
        keys = torch.rand(log.item.shape, generator=self.generator)
        if self.given < 1:
            return there & (keys < self.given)
        keys = keys.masked_fill_(log.rating < POSITIVE, -1.0)
        first = keys.topk(int(self.given)).indices
        return torch.zeros_like(there).scatter_(1, first, True)

    def observation(self) -> Observation:
        return Observation(self._user, self._memory, self._rejected, self._profile)

    def step(self, action: Tensor) -> tuple[Observation, Tensor, Tensor, Tensor, Info]:
        """Act with float32 [B, k] -> (observation, reward, terminated, truncated, info), each [B].

        k is the width of the film vectors. info: "item" int64 [B], the film shown; "active" bool
        [B], whether the session was still running when the step was made.
        """
        with torch.no_grad():
            scores = action @ self.item_vectors.T  # (B, n_items)
            return self.execute(scores.masked_fill_(self.barred, -torch.inf).max(1).indices)

    def execute(self, item: Tensor) -> tuple[Observation, Tensor, Tensor, Tensor, Info]:
        """Show films int64 [B] directly; the rest as in `step`."""
        liked = self.wanted[self._each, item]
        self.wanted[self._each, item] = False
        self.barred[self._each, item] = True
        self._memory = remember(self._memory, item, liked)
        self._rejected = remember(self._rejected, item, ~liked)
        self._steps += 1
        terminated = ~self.wanted.amax(1)  # any, only faster
        truncated = torch.full_like(terminated, self._steps >= self.horizon)
        info = {"item": item, "active": self._active}
        self._active = self._active & ~terminated & ~truncated
        return self.observation(), liked.float(), terminated, truncated, info
