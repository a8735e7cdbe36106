"""Sessions with users the agent has never met: what it shows decides what it learns about them.

B = batch, V = n_items. Index V is padding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recsys_rl.data.candidates import columns_of, drawn
from recsys_rl.data.counts import MOST, check_counts
from recsys_rl.data.devices import CPU
from recsys_rl.data.histories import POSITIVE, SHOWN, Histories
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.random_streams import own_stream
from recsys_rl.data.rewards import Reward, liked_reward
from recsys_rl.envs.base import Info, SessionEnv

LEAST = 3  # items left to like when a session starts, or it could not earn three


def likes_to_start(users: Interactions, n_seed: int) -> tuple[Interactions, Tensor]:
    """The rows with likes, and who has enough of them for a session, int64 [U]; ValueError if
    nobody has."""
    liked = users.select(users.rating >= POSITIVE)
    eligible = (liked.offsets.diff() >= n_seed + LEAST).nonzero().squeeze(1)
    if not len(eligible):
        raise ValueError(f"nobody liked {n_seed + LEAST} items: there is no session to play")
    return liked, eligible


class ColdStartEnv(SessionEnv):
    """B sessions, each with a user of whom only `n_seed` liked items are known.

    The user names `n_seed` random items that they rated 4 or more. Each step shows one item; an
    item that the user never rated counts as not liked, so no simulator answers. The history says
    what was liked (POSITIVE) and what was shown and not liked (SHOWN).

    terminated: nothing is left to like, or `horizon` items were shown. users: all rows of those who
    may be met.

    n_candidates: how many items stand for the catalogue in a round of sessions, from reset to end;
    0: all. They are drawn anew for each round, half of the chance uniform and half by the rows that
    items have, whoever is met. What is named at the start may be any item.
    """

    running = (*SessionEnv.running, "_left", "candidates")

    def __init__(
        self,
        users: Interactions,
        *,
        sessions: int = 512,
        horizon: int = 40,
        n_seed: int = 3,
        reward: Reward = liked_reward,
        generator: torch.Generator | None = None,
        n_candidates: int = 0,
    ) -> None:
        super().__init__(horizon, reward, generator, users.user.device)
        check_counts(sessions=sessions, n_seed=n_seed)
        self.users, self.sessions, self.n_seed = users, sessions, n_seed
        self.n_items, self.n_users = users.n_items, users.n_users
        self.liked, self.eligible = likes_to_start(users, n_seed)
        if n_candidates != 0:
            check_counts(n_candidates=n_candidates)
        self.n_candidates = min(n_candidates, self.n_items)
        if n_candidates:
            share = torch.bincount(users.item, minlength=self.n_items) / len(users)
            self._weight = share + 1 / self.n_items  # (V,)
            self._draw_candidates()  # an agent may learn from a replay before it plays

    def reset(
        self, *, seed: int | None = None, options: Info | None = None
    ) -> tuple[Histories, Info]:
        """Start B sessions; options may fix `users` [B] and their `seed_items` [B, n_seed]."""
        seeds = self.n_items - 1, self.n_seed
        users, options = self._met(seed, options, seed_items=seeds)
        if not torch.isin(users, self.eligible).all():
            raise ValueError("a session needs a user who likes a few items more than are named")
        log = self.users.histories(users)
        seed_items = options.get("seed_items")
        if seed_items is None:
            seed_items = self._random_likes(log)
        elif not _liked(log, seed_items).all():
            raise ValueError("a seed item is one that its user rated 4 or more")
        self._draw_candidates()
        rated, named = (columns_of(self.candidates, each) for each in (log.item, seed_items))
        size = len(users), 1 + (self.n_candidates or self.n_items)
        answers = torch.zeros(size, device=users.device).scatter_(1, rated, log.rating)
        answers.scatter_(1, named, 0.0)
        excluded = torch.zeros(size, dtype=torch.bool, device=users.device)
        excluded.scatter_(1, named, True)
        unknown = torch.full_like(users, self.users.n_users)
        known = torch.full(seed_items.shape, POSITIVE, device=users.device)
        tables = answers[:, :-1].contiguous(), excluded[:, :-1].contiguous()
        self._begin(Histories(unknown, seed_items, known), *tables)
        self._left = self.relevant.sum(1)
        return self.observation(), {"active": self._active}

    def _draw_candidates(self) -> None:
        if self.n_candidates:
            self.candidates = drawn(self._weight, self.n_candidates, self.generator)

    def _random_likes(self, log: Histories) -> Tensor:
        """`n_seed` liked items of each user, in random order -> int64 [B, n_seed]."""
        g = self.generator
        keys = torch.rand(log.item.shape, generator=g, device=g.device).to(log.item.device)
        keys.masked_fill_(log.rating < POSITIVE, -1.0)
        return log.item.gather(1, keys.topk(self.n_seed).indices)

    def starts(self, draws: int, seed: int) -> tuple[Tensor, Tensor]:
        """Every eligible user `draws` times -> users int64 [U * draws], seed items [.., n_seed].

        The draws of a user stand next to each other; they depend on `seed` alone.
        """
        check_counts(MOST, draws=draws)
        generator = own_stream(seed, "seeds")
        position, row = (each.cpu() for each in self.liked.rows_of(self.eligible))
        item, there = self.liked.item.cpu(), self.eligible.device
        counts = torch.bincount(position)
        first = counts.cumsum(0) - counts  # (U,): where a user's rows begin
        place = first.unsqueeze(1) + torch.arange(self.n_seed, device=CPU)  # (U, n_seed)
        drawn = []
        for _ in range(draws):
            keys = torch.rand(len(row), generator=generator, device=CPU).double()
            shuffled = (position + keys).argsort(stable=True)  # users stay together
            drawn.append(item[row[shuffled[place]]])
        seed_items = torch.stack(drawn, 1).flatten(0, 1)
        return self.eligible.repeat_interleave(draws), seed_items.to(there)

    def _remember(self, item: Tensor, rating: Tensor, shown: Tensor) -> None:
        super()._remember(item, torch.where(rating >= POSITIVE, POSITIVE, SHOWN), shown)

    def _exhausted(self, item: Tensor, rating: Tensor) -> Tensor:
        self._left = self._left - (rating >= POSITIVE).long()
        return self._left <= 0


def _liked(log: Histories, item: Tensor) -> Tensor:
    """Whether users rated items int64 [B, S] 4 or more -> bool [B, S]."""
    same = log.item.unsqueeze(1) == item.unsqueeze(2)  # (B, S, H)
    return (same & (log.rating >= POSITIVE).unsqueeze(1)).any(2)
