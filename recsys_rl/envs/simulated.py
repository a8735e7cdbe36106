"""Simulated users: a rating model answers every item, as in the paper's online evaluation.

Sources: Liu et al., arXiv 1810.12027, section 5 (simulator, total reward) and figure 1 (series of
likes and dislikes).

B = batch, V = n_items. Index V is padding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from recsys_rl.data.column_values import SCALE
from recsys_rl.data.counts import MOST, check_counts, check_lengths, check_numbers
from recsys_rl.data.devices import on_cpu
from recsys_rl.data.histories import POSITIVE, Histories
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.memory_limit import refuse_dense
from recsys_rl.data.random_streams import own_stream
from recsys_rl.data.rewards import Reward, paper_reward
from recsys_rl.envs.base import Info, SessionEnv, eligible_of

LONGEST_SERIES = 5  # a series of likes or dislikes counts for no more than this


def refuse_simulator(n_users: int, n_items: int, worlds: int = 1) -> None:
    """ValueError where the answers of all users to all items take too much memory."""
    instead = "choose another split, leave out films with few ratings by min_ratings"
    refuse_dense(n_users, n_items, "simulated users", instead, each=4 * worlds)


@dataclass(frozen=True, eq=False)
class Simulator:
    """What everybody would say of every item; rating: stars in 1..5, float32 [n_users, n_items]."""

    rating: Tensor

    def __post_init__(self) -> None:
        (low, high), stars = SCALE, self.rating
        right = stars.dim() == 2
        if right and on_cpu(stars):  # elsewhere it would be waited for
            right = ((stars >= low) & (stars <= high)).all()
        if not right:
            raise ValueError(f"a simulator has stars within {low:g} .. {high:g}, [users, items]")

    @classmethod
    def of(
        cls, score: Callable[[Histories], Tensor], log: Interactions, batch_size: int = 512
    ) -> Simulator:
        """Predictions from each user's rows of `log`, and those rows as they were logged.

        score: predicted stars, of a model fitted on `log` and nothing else; ValueError where it
        gives anything but a finite number of stars for every item.
        """
        refuse_simulator(log.n_users, log.n_items)
        rating = torch.empty(log.n_users, log.n_items, device=log.user.device)
        with torch.no_grad():
            for users in torch.arange(log.n_users, device=rating.device).split(batch_size):
                stars = score(log.histories(users))
                if stars.shape != rating[users].shape or not torch.isfinite(stars).all():
                    raise ValueError("a simulator needs finite stars of every user for every item")
                rating[users] = stars.clamp(1, 5)
        rating[log.user, log.item] = log.rating
        return cls(rating)

    def to(self, device: torch.device) -> Simulator:
        return Simulator(self.rating.to(device))

    @property
    def n_users(self) -> int:
        return len(self.rating)

    @property
    def n_items(self) -> int:
        return self.rating.shape[1]

    def likes(self, users: Tensor) -> Tensor:
        """Items that each of `users` (int64 [B]) would rate 4 or more -> bool [B, V]."""
        return self.rating[users] >= POSITIVE

    def score(self, histories: Histories) -> Tensor:
        """These users' own stars -> float32 [B, V]: knows who they are, asks no history.

        A step-by-step greedy choice if another one evaluates; the oracle if this one does.
        """
        return self.rating[histories.user.to(self.rating.device)]


def some_likes(likes: Tensor, n_seed: int, generator: torch.Generator) -> Tensor:
    """`n_seed` random items of each row of `likes` (bool [B, V]) -> int64 [B, n_seed].

    LEFT-padded with V where there are fewer.
    """
    keys = torch.rand(likes.shape, generator=generator, device=generator.device).to(likes.device)
    keys.masked_fill_(~likes, -1)
    keys = F.pad(keys, (0, max(0, n_seed - keys.shape[1])), value=-1.0)  # of few items
    drawn = keys.topk(n_seed)
    return drawn.indices.masked_fill(drawn.values < 0, likes.shape[1]).flip(1)


class SimulatedEnv(SessionEnv):
    """B sessions with simulated users: every item has an answer, and every star counts.

    A session starts from `n_seed` random items that the user likes (or as many as there are). The
    history holds the stars of every answer. The agent is told who the user is if `known`.

    series: the reward rises by this for every like in a row just before (LONGEST_SERIES at most)
    and falls by as much for every dislike: what is shown now changes what the next item earns.
    Figure 1 of the paper shows such an effect on ratings; that it is linear, and touches the reward
    alone, is our own simple form.

    terminated: no item is left, or `horizon` were shown. users: who may be met, int64 [U];
    everybody by default.
    """

    running = (*SessionEnv.running, "_series")

    def __init__(
        self,
        simulator: Simulator,
        *,
        users: Tensor | None = None,
        sessions: int = 512,
        horizon: int = 10,
        n_seed: int = 3,
        series: float = 0.0,
        known: bool = False,
        reward: Reward = paper_reward,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(horizon, reward, generator, simulator.rating.device)
        check_counts(sessions=sessions)
        check_numbers(-MOST, MOST, series=series)
        if n_seed != 0:
            check_lengths(simulator.n_items, n_seed=n_seed)
        self.simulator = simulator
        self.n_items, self.n_users = simulator.n_items, simulator.n_users
        there = simulator.rating.device
        self.eligible = eligible_of(users, self.n_users, there)
        self.sessions, self.n_seed, self.series, self.known = sessions, n_seed, series, known

    def reset(
        self, *, seed: int | None = None, options: Info | None = None
    ) -> tuple[Histories, Info]:
        """Start B sessions; options may fix `users` [B] and their `seed_items` [B, n_seed]."""
        seeds = self.n_items, self.n_seed  # padding where a user likes fewer
        users, options = self._met(seed, options, seed_items=seeds)
        seed_items = options.get("seed_items")
        if seed_items is None:
            seed_items = some_likes(self.simulator.likes(users), self.n_seed, self.generator)
        size = len(users), self.n_items + 1
        answers = torch.zeros(size, device=users.device)  # padding has no stars
        answers[:, :-1] = self.simulator.rating[users]
        known = answers.gather(1, seed_items)
        answers.scatter_(1, seed_items, 0.0)
        excluded = torch.zeros(size, dtype=torch.bool, device=users.device)
        excluded.scatter_(1, seed_items, True)
        told = users if self.known else torch.full_like(users, self.simulator.n_users)
        tables = answers[:, :-1].contiguous(), excluded[:, :-1].contiguous()
        self._begin(Histories(told, seed_items, known), *tables)
        self._series = torch.zeros(len(users), device=users.device)
        return self.observation(), {"active": self._active}

    def starts(self, draws: int, seed: int) -> tuple[Tensor, Tensor]:
        """Every user `draws` times -> users int64 [U * draws], seed items [U * draws, n_seed]."""
        check_counts(MOST, draws=draws)
        generator, users = own_stream(seed, "simulated starts"), self.eligible
        users = users.repeat_interleave(draws)
        seed_items = [
            some_likes(self.simulator.likes(some), self.n_seed, generator)
            for some in users.split(512)
        ]
        return users, torch.cat(seed_items)

    def _reward(self, item: Tensor, rating: Tensor) -> Tensor:
        before, answered = self._series, rating > 0  # no answer, no part of the series
        reward = super()._reward(item, rating) + self.series * before * answered
        longer = torch.where(rating >= POSITIVE, before.clamp(min=0) + 1, before.clamp(max=0) - 1)
        longer = longer.clamp(-LONGEST_SERIES, LONGEST_SERIES)
        self._series = torch.where(answered, longer, before)
        return reward

    def _exhausted(self, item: Tensor, rating: Tensor) -> Tensor:
        return self.excluded.all(1)
