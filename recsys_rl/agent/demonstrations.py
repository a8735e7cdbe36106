"""What supervised pretraining imitates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from recsys_rl.data.interactions import Interactions
from recsys_rl.data.observation import Observation
from recsys_rl.envs.cold_start import StrangerSessions
from recsys_rl.envs.logged import Info, LoggedSessions


class Window(NamedTuple):
    """A batch of B stretches of people's logs: films and, at each, the film rated next."""

    items: Tensor  # int64 [B, L], right-padded
    following: Tensor  # int64 [B, L], right-padded


class Windows:
    """An endless stream of batches in which every row of the log but a person's first is a target.

    Logs longer than n are cut into stretches of at most n films, at a new random place in every
    epoch. Stretches of like length share a batch of some `tokens` films, so that little of it is
    padding.
    """

    def __init__(self, log: Interactions, n: int, tokens: int, generator: torch.Generator) -> None:
        self.log, self.n, self.tokens, self.generator = log, n, tokens, generator
        self.inputs = (log.offsets.diff() - 1).clamp(
            min=0
        )  # [n_users]: the last row is only a target
        self.epoch_start, self.plan, self.position = generator.get_state(), [], 0

    def __iter__(self) -> Iterator[Window]:
        return self

    @property
    def batches(self) -> int:
        """About how many batches make an epoch."""
        return -(-int(self.inputs.sum()) // self.tokens)

    def __next__(self) -> Window:
        if self.position >= len(self.plan):
            self.epoch_start, self.position = self.generator.get_state(), 0
            self.plan = self._plan()
        start, length = self.plan[self.position]
        self.position += 1
        step = torch.arange(int(length.max()))
        inside = step < length.unsqueeze(1)
        row = torch.where(inside, start.unsqueeze(1) + step, 0)
        return Window(
            torch.where(inside, self.log.item[row], self.log.n_items),
            torch.where(
                inside, self.log.item[(row + 1).clamp(max=len(self.log) - 1)], self.log.n_items
            ),
        )

    def _plan(self) -> list[tuple[Tensor, Tensor]]:
        """(first rows, lengths) of the stretches of each batch of one epoch, batches shuffled."""
        users = torch.nonzero(self.inputs).squeeze(1)
        count, first = self.inputs[users], self.log.offsets[users]
        offset = torch.randint(1, self.n + 1, (len(users),), generator=self.generator)
        offset = torch.where(count <= self.n, self.n, offset)  # short logs stay whole
        pieces = 1 + (count - offset).clamp(min=0).add(self.n - 1) // self.n
        user = torch.repeat_interleave(torch.arange(len(users)), pieces)
        piece = torch.arange(len(user)) - (pieces.cumsum(0) - pieces)[user]
        begin = (offset[user] + (piece - 1) * self.n).clamp(min=0)
        end = torch.minimum(offset[user] + piece * self.n, count[user])
        start, length = first[user] + begin, end - begin
        jitter = 1 + 0.1 * torch.rand(len(length), generator=self.generator)
        order = (length * jitter).argsort()
        start, length = start[order], length[order]
        batch = length.cumsum(0) // self.tokens
        sizes = torch.unique_consecutive(batch, return_counts=True)[1].tolist()
        plan = list(zip(start.split(sizes), length.split(sizes), strict=True))
        shuffle = torch.randperm(len(plan), generator=self.generator)
        return [plan[i] for i in shuffle]

    def state_dict(self) -> dict[str, object]:
        now = self.generator.get_state()
        return {"epoch_start": self.epoch_start, "position": self.position, "generator": now}

    def load_state_dict(self, state: dict[str, object]) -> None:
        self.epoch_start, self.position = state["epoch_start"], state["position"]
        self.plan = []
        if self.position:
            self.generator.set_state(self.epoch_start)
            self.plan = self._plan()
        self.generator.set_state(state["generator"])


class Likes(NamedTuple):
    """B moments of sessions, with the answer that hindsight gives to each."""

    observation: Observation
    wanted: Tensor  # bool [B, V]: films the person likes and has not been shown
    barred: Tensor  # bool [B, V]: films that cannot be shown


class OwnSessions:
    """An endless stream of moments that the agent reaches by its own choices.

    act: observation -> action float32 [B, k], what the agent does there. later: sessions that take
    the place of the first ones as soon as `turned` says so.
    """

    def __init__(
        self,
        sessions: StrangerSessions,
        act: Callable[[Observation], Tensor],
        later: StrangerSessions | None = None,
        turned: Callable[[], bool] = lambda: False,
    ) -> None:
        self.first, self.later = sessions, later or sessions
        self.act, self.turned = act, turned

    @property
    def sessions(self) -> StrangerSessions:
        return self.later if self.turned() else self.first

    def __iter__(self) -> Iterator[Likes]:
        return self

    def __next__(self) -> Likes:
        sessions = self.sessions
        if sessions.over:
            sessions.reset()
        observation = sessions.observation()
        moment = Likes(observation, sessions.wanted.clone(), sessions.barred.clone())
        sessions.step(self.act(observation))
        return moment

    def state_dict(self) -> Info:
        return {"first": self.first.state_dict(), "later": self.later.state_dict()}

    def load_state_dict(self, state: Info) -> None:
        self.first.load_state_dict(state["first"])
        self.later.load_state_dict(state["later"])


class Moments:
    """An endless stream of demonstrations.

    what: "next", moments of the log and the film rated there; "likes", films a person liked and
    another one, in no order.
    """

    def __init__(self, sessions: LoggedSessions, what: str, batch_size: int) -> None:
        self.draw = {"next": sessions.demonstrations, "likes": sessions.likes}[what]
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[tuple[Observation, Tensor]]:
        return self

    def __next__(self) -> tuple[Observation, Tensor]:
        return self.draw(self.batch_size)
