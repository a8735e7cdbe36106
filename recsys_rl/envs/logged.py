"""Logged sessions as a Markov decision process: users answer with the ratings they logged.

Source: Liu et al., arXiv 1810.12027, sections 3 and 4 (state, action, reward, transition);
`docs/method.md` lists the deviations.

B = batch, n = length of the memory. Index n_items is padding, n_users anonymous.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from recsys_rl.data.column_values import SCALE
from recsys_rl.data.counts import check_counts, check_numbers
from recsys_rl.data.devices import CPU, generator_on
from recsys_rl.data.histories import POSITIVE, Histories
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.rewards import Reward, paper_reward
from recsys_rl.envs.base import Info, SessionEnv, known_options


class LoggedEnv(SessionEnv):
    """B sessions, each at a random moment of a user's log.

    What was rated before is known: its n latest items of at least `reads_from` stars are the
    history, all of it is excluded. Each step shows one item; the user answers with the rating that
    they logged at or after that moment. The history moves on only at a rating of `reads_from` or
    more: 4, a positive, unless a state reads every rated item (DRR-seq).

    terminated: every item of the log has been shown, no reward is left to be had. truncated: only
    the collecting of data ends after `horizon` steps.

    log: ratings the agent may learn from (the train split, nothing else). anonymous_share: share of
    the sessions in which the agent is not told who the user is.
    """

    finite = False
    running = (*SessionEnv.running, "_left", "_shown")

    def __init__(
        self,
        log: Interactions,
        *,
        sessions: int = 1024,
        n: int = 5,
        horizon: int = 10,
        reads_from: float = POSITIVE,
        anonymous_share: float = 0.2,
        reward: Reward = paper_reward,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(horizon, reward, generator, log.user.device)
        check_counts(sessions=sessions, n=n)
        check_numbers(0, SCALE[1], reads_from=reads_from)
        check_numbers(0, 1, anonymous_share=anonymous_share)
        self.log, self.n_items, self.n_users = log, log.n_items, log.n_users
        self.shown_beside = horizon
        self.sessions, self.n = sessions, n
        self.anonymous_share, self.reads_from = anonymous_share, reads_from
        read = log.rating >= reads_from
        self._read_items = F.pad(log.item[read], (0, 1), value=log.n_items)
        self._read_ratings = F.pad(log.rating[read], (0, 1))
        self._read_before = F.pad(read.cumsum(0), (1, 0))  # [N + 1]
        self.eligible = torch.nonzero(log.offsets.diff() >= 2).squeeze(1)
        if not len(self.eligible):
            raise ValueError("nobody in the log has two ratings: there is no session to play")

    def histories_at(self, user: Tensor, row: Tensor) -> Histories:
        """What is known of users int64 [B] before rows [B] of the log: [B, n]; user as given."""
        end = self._read_before[row]
        first = self._read_before[self.log.offsets[user]]
        place = end.unsqueeze(1) + torch.arange(-self.n, 0, device=end.device)  # (B, n)
        known = place >= first.unsqueeze(1)
        place = place.clamp(min=0, max=len(self._read_items) - 1)
        item = torch.where(known, self._read_items[place], self.log.n_items)
        return Histories(user, item, torch.where(known, self._read_ratings[place], 0.0))

    def reset(
        self, *, seed: int | None = None, options: Info | None = None
    ) -> tuple[Histories, Info]:
        """Start B sessions; options may fix `users` and `rows` (int64 [B], rows of the log)."""
        users, options = self._met(seed, options, rows=(len(self.log) - 1,))
        rows = options.get("rows")
        if rows is None:
            rows = self._random_rows(users)
        if ((rows < self.log.offsets[users]) | (rows >= self.log.offsets[users + 1])).any():
            raise ValueError("a session starts at a row of its own user, who has at least two")
        self._start(users, rows)
        return self.observation(), {"active": self._active}

    def _start(self, users: Tensor, rows: Tensor) -> None:
        position, row = self.log.rows_of(users)
        ahead = row >= rows[position]
        size = (len(users), self.n_items)
        excluded = torch.zeros(size, dtype=torch.bool, device=users.device)
        excluded[position[~ahead], self.log.item[row[~ahead]]] = True
        answers = torch.zeros(size, device=users.device)
        answers[position[ahead], self.log.item[row[ahead]]] = self.log.rating[row[ahead]]
        self._left = torch.bincount(position[ahead], minlength=len(users))
        known = self.histories_at(users, rows)
        self._shown = users.new_full((len(users), self.horizon), self.n_items)
        self._begin(Histories(self._hide(users), known.item, known.rating), answers, excluded)

    def moments(self, count: int) -> tuple[Histories, Tensor]:
        """Random moments of the log -> (what is known there, item rated there int64 [count])."""
        users = self._random_users(count)
        rows = self._random_rows(users)
        known = self.histories_at(users, rows)
        return Histories(self._hide(users), known.item, known.rating), self.log.item[rows]

    def _random_rows(self, users: Tensor) -> Tensor:
        """A moment of each user's log, uniform over all but its first row."""
        first, end = self.log.offsets[users], self.log.offsets[users + 1]
        share = self._shares(users)
        return first + 1 + (share * (end - first - 1)).long()

    def _hide(self, users: Tensor) -> Tensor:
        """Replace a random share of the users by the anonymous one."""
        hidden = self._shares(users) < self.anonymous_share
        return torch.where(hidden, self.log.n_users, users)

    def _shares(self, users: Tensor) -> Tensor:
        """Uniform in 0 .. 1, one for each user."""
        g = self.generator
        return torch.rand(len(users), generator=g, device=g.device).to(users.device)

    def _shown_beside(self) -> Tensor:
        return self._shown

    def _remember(self, item: Tensor, rating: Tensor, shown: Tensor) -> None:
        if self._steps < self.horizon:  # whoever steps on after the limit gets what was seen before
            self._shown = self._shown.clone()
            self._shown[:, self._steps] = torch.where(shown, item, self.n_items)
        super()._remember(item, rating, shown & (rating >= self.reads_from))
        self._histories = self._histories.last(self.n)  # the oldest item drops out

    def _exhausted(self, item: Tensor, rating: Tensor) -> Tensor:
        self._left = self._left - (rating > 0).long()
        return self._left <= 0


class RerankingEnv(SessionEnv):
    """B sessions in which only the items that the user rated in `test` can be shown.

    The paper's offline evaluation (its Algorithm 2): the logged rating is read, whatever it is.
    Agents of logged sessions are evaluated here, who never saw how much of a session is over.
    """

    finite = False

    def __init__(self, history: Interactions, test: Interactions, reward: Reward, horizon: int):
        super().__init__(horizon, reward, generator_on(CPU, 0))  # nothing is drawn
        self.history, self.test = history, test
        self.n_items, self.n_users = test.n_items, test.n_users

    def reset(
        self, *, seed: int | None = None, options: Info | None = None
    ) -> tuple[Histories, Info]:
        """Start a session with each of options["users"], int64 [B]."""
        if known_options(options, "users").get("users") is None:
            raise ValueError('nobody is met at random here: name options["users"]')
        users, _ = self._met(seed, options)
        rated = self.test.histories(users)
        answers = torch.zeros(len(users), self.n_items + 1, device=users.device)
        answers = answers.scatter_(1, rated.item, rated.rating)[:, :-1].contiguous()
        self._begin(self.history.histories(users), answers, answers == 0)
        return self.observation(), {"active": self._active}

    def _exhausted(self, item: Tensor, rating: Tensor) -> Tensor:
        return self.excluded.all(1)
