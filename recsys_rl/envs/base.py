"""Sessions that step together, over a table of what each user would answer.

`reset` and `step` are Gymnasium's, with a leading batch axis. An action is the index of the item to
show; whoever has a vector or scores takes the best item that is not `excluded`.

B = batch, V = n_items. Index V is padding: nothing is shown.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from recsys_rl.data.histories import POSITIVE, Histories, appended
from recsys_rl.data.rewards import Reward

Info = dict[str, Any]
Step = tuple[Histories, Tensor, Tensor, Tensor, Info]


class SessionEnv:
    """B sessions that step together.

    A subclass says who is met and what is known (`reset`), and when nothing is left to be had
    (`_exhausted`). It may say what enters the history (`_remember`) and how a reward is made
    (`_reward`).

    excluded: bool [B, V], items that cannot be shown. terminated: nothing is left. truncated:
    `horizon` steps are over; the session could have gone on, so the bootstrap does not stop. A
    session that is over goes on stepping with the batch; `info["active"]` says which steps count.
    """

    running: tuple[str, ...] = ("_histories", "_answers", "excluded", "_active", "_steps")
    n_items: int
    sessions: int
    eligible: Tensor  # who may be met, int64 [U]
    excluded: Tensor

    def __init__(self, horizon: int, reward: Reward, generator: torch.Generator | None) -> None:
        self.horizon, self.reward = horizon, reward
        self.generator = generator or torch.Generator().manual_seed(0)

    def reset(
        self, *, seed: int | None = None, options: Info | None = None
    ) -> tuple[Histories, Info]:
        raise NotImplementedError

    def _met(self, seed: int | None, options: Info | None) -> tuple[Tensor, Info]:
        """Who is met: options["users"] or `sessions` random ones of `eligible`; and the options."""
        if seed is not None:
            self.generator.manual_seed(seed)
        options = options or {}
        users = options.get("users")
        if users is None:
            drawn = torch.randint(len(self.eligible), (self.sessions,), generator=self.generator)
            users = self.eligible[drawn]
        return users, options

    def _begin(self, histories: Histories, answers: Tensor, excluded: Tensor) -> None:
        """answers: stars, 0 for none; float32 [B, V]. Both tables are written to from now on."""
        self._histories, self._answers, self.excluded = histories, answers, excluded
        self._steps = 0
        self._active = torch.ones(len(histories), dtype=torch.bool)

    def observation(self) -> Histories:
        step = torch.full((len(self._histories),), self._steps)
        return Histories(self._histories.user, self._histories.item, self._histories.rating, step)

    @property
    def relevant(self) -> Tensor:
        """Items that the user would like and that can still be shown -> bool [B, V]."""
        return self._answers >= POSITIVE

    @property
    def over(self) -> bool:
        """Whether no session is running: none was started, or all have ended."""
        return not hasattr(self, "_active") or not bool(self._active.any())

    def step(self, item: Tensor) -> Step:
        """Show items int64 [B] -> (observation, reward, terminated, truncated, info), each [B].

        info: "item"; "rating", the stars of the answer, 0 where there are none; "active" bool [B],
        whether the session was still running when the step was made.
        """
        each = torch.arange(len(item))
        shown = item < self.n_items
        index = item.clamp(max=self.n_items - 1)
        rating = torch.where(shown, self._answers[each, index], 0.0)
        self._answers[each, index] = torch.where(shown, 0.0, self._answers[each, index])
        self.excluded[each, index] |= shown
        reward = self._reward(rating).masked_fill(~shown, 0.0)
        self._remember(item, rating, shown)
        self._steps += 1
        terminated = self._exhausted(rating)
        truncated = torch.full_like(terminated, self._steps >= self.horizon)
        info = {"item": item, "rating": rating, "active": self._active}
        self._active = self._active & ~terminated & ~truncated
        return self.observation(), reward, terminated, truncated, info

    def _reward(self, rating: Tensor) -> Tensor:
        return self.reward(rating)

    def _remember(self, item: Tensor, rating: Tensor, shown: Tensor) -> None:
        """Append the answers, where something was `shown` [B], to the history."""
        item = torch.where(shown, item, self.n_items)
        rating = torch.where(shown, rating, 0.0)
        self._histories = appended(self._histories, item, rating, shown)

    def _exhausted(self, rating: Tensor) -> Tensor:
        """Whether nothing is left after this answer -> bool [B]."""
        raise NotImplementedError

    def state_dict(self) -> Info:
        """Where the running sessions stand; tensors and numbers only."""
        stand = {name: getattr(self, name) for name in self.running if hasattr(self, name)}
        if histories := stand.pop("_histories", None):
            stand |= {"user": histories.user, "item": histories.item, "rating": histories.rating}
        return stand | {"generator": self.generator.get_state()}

    def load_state_dict(self, state: Info) -> None:
        """Go on where `state_dict` stood; ValueError, and nothing changes, for unknown names."""
        state = copy.deepcopy(state)  # sessions write into their tensors
        generator = state.pop("generator")
        if "user" in state:
            parts = (state.pop(name) for name in ("user", "item", "rating"))
            state["_histories"] = Histories(*parts)
        if unknown := set(state) - set(self.running):
            raise ValueError(f"these are no parts of a session: {sorted(unknown)}")
        self.generator.set_state(generator)
        for name in self.running:  # sessions may be running here and none there
            vars(self).pop(name, None)
        vars(self).update(state)


def best_item(scores: Tensor, excluded: Tensor) -> Tensor:
    """The item with the largest score that may be shown: float32 [B, V], bool [B, V] -> [B]."""
    return scores.masked_fill(excluded, -torch.inf).argmax(1)
