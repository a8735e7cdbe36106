"""Ask first, recommend afterwards: questions about one half of a catalogue, items of the other.

A question earns nothing by itself. What counts is how well the ten items are chosen that are
recommended after the last answer, so that the best question is the one whose answer helps most, and
not the item that is liked most. Real ratings answer, no simulator.

Nearest published work: Rashid et al., IUI 2002 (what to ask new users); Golbandi et al., WSDM 2011
(decision trees of questions); Zou et al., SIGIR 2020, arXiv 2007.02095 (NICF).

B = batch, V = n_items. Index V is padding: nothing is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral

import torch
from torch import Tensor
from torch.nn import functional as F

from recsys_rl.data.counts import MOST, check_counts
from recsys_rl.data.devices import CPU
from recsys_rl.data.histories import POSITIVE, SHOWN, Histories
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.random_streams import own_stream
from recsys_rl.envs.base import Info, SessionEnv, Step, check_indices
from recsys_rl.envs.cold_start import LEAST, likes_to_start
from recsys_rl.envs.simulated import some_likes

LIST = 10  # items are recommended at the end
NOT_LIKED = 1.0  # the stars of an item that was rated and not liked
QUESTIONS = 5

Rank = Callable[[Histories], Tensor]  # histories -> scores [B, V]


def asked_half(n_items: int, number: int, device: torch.device = CPU) -> Tensor:
    """The items of one random half that may be asked about -> bool [V]; the same for a number."""
    order = torch.randperm(n_items, generator=own_stream(number, "asked half"), device=CPU)
    asked = torch.zeros(n_items, dtype=torch.bool, device=CPU)
    return asked.index_fill_(0, order[: n_items // 2], True).to(device)


class ElicitationEnv(SessionEnv):
    """B sessions of `horizon` questions with users of whom `n_seed` liked items are known, or none.

    A question is an item of the asked half: liked (POSITIVE), not liked (NOT_LIKED) or not seen
    (SHOWN). Its answer enters the history. Items of the other half are `excluded`, and named in
    `Histories.shown`; their ratings are in no history. A user names random items of the asked half
    (padding where they like fewer).

    terminated: `horizon` questions were asked. The reward comes then: the share of ten items of the
    other half that the user rated 4 or more, the best by `rank`. info has these ten and whether
    they are liked, in the last step: "top" int64 [B, 10], "hits" bool [B, 10].

    relevant_items: bool [B, V], those of the other half that are liked, for the judge alone.

    users: all rows of those who may be met. half: the number of the asked half; without one every
    reset draws another.
    """

    running = (*SessionEnv.running, "relevant_items", "_recommendable")

    def __init__(
        self,
        users: Interactions,
        rank: Rank,
        *,
        half: int | None = None,
        sessions: int = 256,
        horizon: int = QUESTIONS,
        n_seed: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(horizon, torch.zeros_like, generator, users.user.device)
        check_counts(sessions=sessions)
        if n_seed != 0:
            check_counts(n_seed=n_seed)
        whole = isinstance(half, Integral) and not isinstance(half, bool)
        if half is not None and not (whole and 0 <= half < 2**63):
            raise ValueError(f"half is the number of a half, 0 or more, or None, not {half!r}")
        self.users, self.rank, self.half = users, rank, half
        self.sessions, self.n_seed = sessions, n_seed
        self.n_items, self.n_users = users.n_items, users.n_users
        if self.n_items // 2 < n_seed + horizon or self.n_items - self.n_items // 2 < LIST:
            raise ValueError(
                f"{self.n_items} items are too few for {n_seed + horizon} to name or ask about "
                f"and {LIST} to recommend, each in one half"
            )
        self.liked, self.eligible = likes_to_start(users, n_seed)

    def reset(
        self, *, seed: int | None = None, options: Info | None = None
    ) -> tuple[Histories, Info]:
        """Start B sessions; options may fix `users` [B] and their `seed_items` [B, n_seed]."""
        users, options = self._met(seed, options, seed_items=(self.n_items, self.n_seed))
        if not torch.isin(users, self.eligible).all():
            raise ValueError(f"a session needs a user who likes {self.n_seed + LEAST} items")
        asked = asked_half(self.n_items, self._number(), self.device)
        seed_items = options.get("seed_items")
        if seed_items is None:
            likes = self.liked.mask_of(users) & asked
            seed_items = some_likes(likes, self.n_seed, self.generator)
        log = self.users.histories(users)
        size = len(users), self.n_items + 1
        rating = log.rating.new_zeros(size).scatter_(1, log.item, log.rating)
        named = torch.zeros_like(rating, dtype=torch.bool).scatter_(1, seed_items, True)[:, :-1]
        there = seed_items < self.n_items
        if not ((rating.gather(1, seed_items) >= POSITIVE) & asked[seed_items % self.n_items])[
            there
        ].all():
            raise ValueError("a seed item is one of the asked half that its user rated 4 or more")
        rating = rating[:, :-1]
        self.relevant_items = (rating >= POSITIVE) & ~asked
        self._recommendable = (~asked).nonzero().squeeze(1)
        answers = rating.masked_fill(~asked | named, 0.0)
        unknown = torch.full_like(users, self.n_users)
        known = torch.where(there, POSITIVE, SHOWN)
        self._begin(Histories(unknown, seed_items, known), answers, ~asked | named)
        return self.observation(), {"active": self._active}

    def _number(self) -> int:
        if self.half is not None:
            return self.half
        g = self.generator
        return int(torch.randint(2**31 - 1, (), generator=g, device=g.device))

    def starts(self, draws: int, seed: int) -> tuple[Tensor, Tensor]:
        """Every eligible user `draws` times -> users int64 [U * draws], seed items [.., n_seed].

        ValueError without a half of which they could name something.
        """
        check_counts(MOST, draws=draws)
        if self.half is None:
            raise ValueError("sessions that start alike need one half: give its number")
        asked = asked_half(self.n_items, self.half, self.device)
        generator = own_stream(seed, "seeds")
        users = self.eligible.repeat_interleave(draws)
        named = [
            some_likes(self.liked.mask_of(some) & asked, self.n_seed, generator)
            for some in users.split(512)
        ]
        return users, torch.cat(named)

    def step(self, item: Tensor) -> Step:
        """As in `SessionEnv`; who asks what cannot be asked has asked nothing."""
        self._check_running()
        check_indices("items", item, tuple(self._active.shape), self.n_items)
        barred = F.pad(self.excluded, (0, 1)).gather(1, item.unsqueeze(1)).squeeze(1)
        item = item.masked_fill(barred, self.n_items)
        observation, reward, terminated, truncated, info = super().step(item)
        if terminated.all():  # all sessions are as long
            top, hits = self.recommended()
            info |= {"top": top, "hits": hits}
            reward = hits.float().mean(1)
        return observation, reward, terminated, truncated, info

    def recommended(self) -> tuple[Tensor, Tensor]:
        """What would be recommended now -> items int64 [B, 10], best first; bool [B, 10], liked.

        What scores -inf earns nothing; ValueError for scores that are none.
        """
        scores = self.rank(self.observation())
        if scores.shape != (len(self._active), self.n_items) or not (scores < torch.inf).all():
            raise ValueError("rank gives a score below infinity, and no NaN, for every item")
        best = scores[:, self._recommendable].topk(LIST)
        top = self._recommendable[best.indices]
        return top, self.relevant_items.gather(1, top) & (best.values > -torch.inf)

    def _shown_beside(self) -> Tensor:
        return self._recommendable.expand(len(self._active), -1)

    def _remember(self, item: Tensor, rating: Tensor, shown: Tensor) -> None:
        liked, rated = rating >= POSITIVE, rating > 0
        told = torch.where(liked, POSITIVE, torch.where(rated, NOT_LIKED, SHOWN))
        super()._remember(item, told, shown)

    def _exhausted(self, item: Tensor, rating: Tensor) -> Tensor:
        return torch.zeros_like(item, dtype=torch.bool)
