"""What supervised pretraining learns from: batches that know their loss, and streams of them.

Source of the on-policy stream: Ross et al., AISTATS 2011 (DAgger: demonstrations at the states that
the learner itself reaches).

B = batch, L = length of a window, V = n_items; in sessions among candidates, their number. Index
n_items is padding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from recsys_rl.agent.losses import (
    Catalogue,
    Sample,
    full_softmax,
    hindsight_loss,
    sampled_softmax,
)
from recsys_rl.agent.networks import Actor
from recsys_rl.data.devices import CPU, on_cpu, sent
from recsys_rl.data.histories import Histories, Times
from recsys_rl.data.interactions import Interactions
from recsys_rl.envs.base import SessionEnv
from recsys_rl.envs.logged import LoggedEnv

ANY_HIT_WEIGHT = 3.0  # of showing any relevant item, beside showing them all


class Demonstration(Protocol):
    """A batch to learn from."""

    def loss(self, actor: Actor) -> Tensor: ...

    def rows(self, n_items: int) -> int | Tensor:
        """What the loss is a mean over, as several processes need it."""


class Demonstrations(Protocol):
    """An endless stream of batches that can be saved and gone on with."""

    def __next__(self) -> Demonstration: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class NextItem(NamedTuple):
    """B moments of logs, and the item that was rated there."""

    histories: Histories
    item: Tensor  # int64 [B]
    sample: Sample | None = None

    def loss(self, actor: Actor) -> Tensor:
        """Cross-entropy among all items, or among a sample of them."""
        return _next_item_loss(actor, actor(self.histories), self.item, self.sample)

    def rows(self, n_items: int) -> int:
        return len(self.item)


class Window(NamedTuple):
    """B stretches of users' logs: items and, at each, the item rated next."""

    items: Tensor  # int64 [B, L], right-padded
    following: Tensor  # int64 [B, L], right-padded
    times: Times | None = None  # of items and of those that follow, for states that read them
    sample: Sample | None = None

    def loss(self, actor: Actor) -> Tensor:
        """Cross-entropy among all items, or among a sample of them, at every position."""
        action, following = actor.state.sequence(self.items, self.times), self.following
        if on_cpu(following):
            there = following < actor.state.n_items  # (B, L)
            action, following = action[there], following[there]
        action, following = action.flatten(0, -2), following.flatten()
        return _next_item_loss(actor, action, following, self.sample)

    def rows(self, n_items: int) -> Tensor:
        return (self.following < n_items).sum()


class HindsightBatch(NamedTuple):
    """B moments of sessions, with the answers that hindsight gives to each."""

    histories: Histories
    relevant: Tensor  # bool [B, V]: items that the user likes and has not been shown
    excluded: Tensor  # bool [B, V]: items that cannot be shown

    def loss(self, actor: Actor) -> Tensor:
        scores = actor.scores(self.histories)
        return hindsight_loss(scores, self.relevant, self.excluded, ANY_HIT_WEIGHT)

    def rows(self, n_items: int) -> Tensor:
        return self.relevant.any(1).sum()


def _next_item_loss(actor: Actor, action: Tensor, item: Tensor, sample: Sample | None) -> Tensor:
    if sample is None:
        return full_softmax(action, actor.item_vectors, item)
    return sampled_softmax(action, actor.item_vectors, item, sample)


def _sample(catalogue: Catalogue | None, generator: torch.Generator) -> Sample | None:
    return None if catalogue is None else catalogue.sample(generator)


class LogMoments:
    """Random moments of logs and the item rated there, drawn as the environment draws them.

    negatives: items in the sample that a loss takes for the catalogue; 0: it takes all.
    """

    def __init__(self, environment: LoggedEnv, batch_size: int, negatives: int = 0) -> None:
        self.environment, self.batch_size = environment, batch_size
        self.catalogue = Catalogue(environment.log, negatives) if negatives else None

    def __iter__(self) -> Iterator[NextItem]:
        return self

    def __next__(self) -> NextItem:
        moments = self.environment.moments(self.batch_size)
        return NextItem(*moments, _sample(self.catalogue, self.environment.generator))

    def state_dict(self) -> dict[str, Any]:
        return {}  # all chance is the environment's

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class LogWindows:
    """An endless stream of batches in which every row of the log but a user's first is a target.

    Logs longer than n are cut into stretches of at most n items, at a new random place in every
    epoch. Stretches of like length share a batch of some `tokens` items, so that little of it is
    padding. negatives: as in `LogMoments`.
    """

    def __init__(
        self,
        log: Interactions,
        n: int,
        tokens: int,
        generator: torch.Generator,
        negatives: int = 0,
    ) -> None:
        self.log, self.n, self.tokens, self.generator = log, n, tokens, generator
        self.catalogue = Catalogue(log, negatives) if negatives else None
        self.offsets = log.offsets.cpu()  # batches are planned on the CPU
        self.inputs = (self.offsets.diff() - 1).clamp(
            min=0
        )  # [n_users]: the last row is only a target
        self.epoch_start, self.plan, self.position = generator.get_state(), [], 0

    def __iter__(self) -> Iterator[Window]:
        return self

    def __next__(self) -> Window:
        if self.position >= len(self.plan):
            self.epoch_start, self.position = self.generator.get_state(), 0
            self.plan = self._plan()
        start, length = self.plan[self.position]
        self.position += 1
        step = torch.arange(int(length.max()), device=CPU)
        inside = step < length.unsqueeze(1)
        row, there = torch.where(inside, start.unsqueeze(1) + step, 0), self.log.item.device
        row, inside = sent(row, there), sent(inside, there)
        after = (row + 1).clamp(max=len(self.log) - 1)
        return Window(
            torch.where(inside, self.log.item[row], self.log.n_items),
            torch.where(inside, self.log.item[after], self.log.n_items),
            Times(self.log.timestamp[row], self.log.timestamp[after]),
            _sample(self.catalogue, self.generator),
        )

    def _plan(self) -> list[tuple[Tensor, Tensor]]:
        """(first rows, lengths) of the stretches of each batch of one epoch, batches shuffled."""
        users = torch.nonzero(self.inputs).squeeze(1)
        count, first = self.inputs[users], self.offsets[users]
        offset = torch.randint(1, self.n + 1, (len(users),), generator=self.generator, device=CPU)
        offset = torch.where(count <= self.n, self.n, offset)  # short logs stay whole
        pieces = 1 + (count - offset).clamp(min=0).add(self.n - 1) // self.n
        user = torch.repeat_interleave(torch.arange(len(users), device=CPU), pieces)
        piece = torch.arange(len(user), device=CPU) - (pieces.cumsum(0) - pieces)[user]
        begin = (offset[user] + (piece - 1) * self.n).clamp(min=0)
        end = torch.minimum(offset[user] + piece * self.n, count[user])
        start, length = first[user] + begin, end - begin
        jitter = 1 + 0.1 * torch.rand(len(length), generator=self.generator, device=CPU)
        order = (length * jitter).argsort()
        start, length = start[order], length[order]
        batch = length.cumsum(0) // self.tokens
        sizes = torch.unique_consecutive(batch, return_counts=True)[1].tolist()
        plan = list(zip(start.split(sizes), length.split(sizes), strict=True))
        shuffle = torch.randperm(len(plan), generator=self.generator, device=CPU)
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
        if not 0 <= self.position <= len(self.plan):
            raise ValueError(f"an epoch has {len(self.plan)} batches, and not {self.position}")
        self.generator.set_state(state["generator"])


class OnPolicyDemonstrations:
    """Moments of sessions that the agent reaches by its own choices.

    act: (histories, excluded) -> items int64 [B], what the agent does there. later: sessions that
    take the place of the first ones as soon as `switched` says so. read: histories with what a
    linear model makes of them, so that act and loss need not compute it again.
    """

    def __init__(
        self,
        environment: SessionEnv,
        act: Callable[[Histories, Tensor], Tensor],
        later: SessionEnv | None = None,
        switched: Callable[[], bool] = lambda: False,
        read: Callable[[Histories], Histories] = lambda histories: histories,
    ) -> None:
        self.first, self.later = environment, later or environment
        self.act, self.read, self.switched = act, read, switched

    @property
    def environment(self) -> SessionEnv:
        return self.later if self.switched() else self.first

    def __iter__(self) -> Iterator[HindsightBatch]:
        return self

    def __next__(self) -> HindsightBatch:
        sessions = self.environment
        if sessions.over:
            sessions.reset()
        histories = self.read(sessions.observation())
        batch = HindsightBatch(histories, sessions.relevant, sessions.excluded.clone())
        sessions.step(self.act(histories, sessions.excluded))
        return batch

    def state_dict(self) -> dict[str, Any]:
        return {"first": self.first.state_dict(), "later": self.later.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.first.load_state_dict(state["first"])
        self.later.load_state_dict(state["later"])
