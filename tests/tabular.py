"""Small problems whose Q is known by enumeration, and the state that tells their situations apart.

Item i < n_items - 1 stands for the situation in which it is the last of the history. The item that
stands for the present situation cannot be shown, so staying takes another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from recsys_rl.agent.build import GRADIENTS, Training, make_replay
from recsys_rl.agent.config import Config, DDPGConfig, EnvConfig, PretrainConfig, StateConfig
from recsys_rl.agent.networks import Actor
from recsys_rl.data.histories import Histories, stacked
from recsys_rl.envs.base import Info, SessionEnv
from recsys_rl.states.base import State
from recsys_rl.states.registry import STATES

torch.set_num_threads(1)  # everything here is tiny: threads cost more than they bring


@dataclass(frozen=True, eq=False)
class Problem:
    """next: int64 [S, V], the situation that an item leads to. reward: float32 [S, V].

    finite: whether the `horizon` is an end, or only that of the collecting.
    """

    next: Tensor
    reward: Tensor
    horizon: int
    gamma: float
    finite: bool

    @property
    def shape(self) -> tuple[int, int]:
        return tuple(self.reward.shape)

    @cached_property
    def allowed(self) -> Tensor:
        """Which items can be shown in which situation -> bool [S, V]."""
        return torch.arange(self.shape[1]) != torch.arange(self.shape[0]).unsqueeze(1)

    def observed(self, step: int) -> Histories:
        """Every situation, as it is seen at a step."""
        elapsed = step / self.horizon if self.finite else None
        return in_situations(torch.arange(self.shape[0]), elapsed)

    @cached_property
    def q(self) -> Tensor:
        """Q of the best policy by value iteration: [T, S, V], or the same at every step."""
        value, found = torch.zeros(self.shape[0]), []
        for _ in range(self.horizon if self.finite else 2000):
            q = self.reward + self.gamma * value[self.next]
            value = q.masked_fill(~self.allowed, -torch.inf).amax(1)
            found.append(q)
        return torch.stack(found[::-1]) if self.finite else q.expand(self.horizon, -1, -1)


class ProblemEnv(SessionEnv):
    """B sessions in a problem, each from a random situation."""

    def __init__(self, problem: Problem, sessions: int, generator: torch.Generator) -> None:
        super().__init__(problem.horizon, lambda stars: stars, generator)
        self.problem, self.sessions, self.finite = problem, sessions, problem.finite
        self.n_users, self.n_items = 1, problem.shape[1]

    def reset(
        self, *, seed: int | None = None, options: Info | None = None
    ) -> tuple[Histories, Info]:
        situations = self.problem.shape[0]
        start = torch.randint(situations, (self.sessions,), generator=self.generator)
        self._begin_in(start)
        return self.observation(), {"active": self._active}

    def _begin_in(self, situation: Tensor) -> None:
        self._situation = situation
        self._begin(self._told(), torch.zeros(len(situation), self.n_items), self._forbidden())

    def _told(self) -> Histories:
        return in_situations(self._situation)

    def _forbidden(self) -> Tensor:
        return ~self.problem.allowed[self._situation]

    def step(self, item: Tensor):
        reward = self.problem.reward[self._situation, item]
        self._situation = self.problem.next[self._situation, item]
        _, _, terminated, truncated, info = super().step(item)
        self._histories, self.excluded = self._told(), self._forbidden()
        return self.observation(), reward, terminated, truncated, info

    def _exhausted(self, item: Tensor, rating: Tensor) -> Tensor:
        return torch.zeros_like(rating, dtype=torch.bool)


class LastItem(State):
    """A softmax over items that knows the last item and the time; item vectors are one-hot."""

    is_action = True

    def __init__(self, n_users: int, n_items: int, k: int, n: int) -> None:
        super().__init__(n_users, n_items, k, n)
        self.item_vectors = nn.Embedding(n_items + 1, n_items, padding_idx=n_items)
        self.table = nn.Embedding(n_items, n_items)
        self.change = nn.Embedding(n_items, n_items)  # with the time

    @property
    def size(self) -> int:
        return self.n_items

    def initialise(self, generator: torch.Generator) -> None:
        self.item_vectors.weight.data[:-1] = torch.eye(self.n_items)
        self.item_vectors.requires_grad_(False)
        self.table.weight.data = torch.eye(self.n_items)
        self.change.weight.data.zero_()

    def forward(self, histories: Histories) -> Tensor:
        last = histories.item[:, -1]
        return self.table(last) + self.change(last) * histories.clock


class EveryItem:
    """A demonstration of every item in every situation: it keeps the policy from being certain."""

    def __init__(self, problem: Problem) -> None:
        steps = range(problem.horizon if problem.finite else 1)
        items = problem.shape[1]
        self.histories = stacked([problem.observed(step) for step in steps], 1, items)
        self.allowed = problem.allowed.repeat(len(steps), 1)

    def __next__(self) -> EveryItem:
        return self

    def loss(self, actor: Actor) -> Tensor:
        scores = actor.scores(self.histories)
        log_policy = scores.masked_fill(~self.allowed, -1e9).log_softmax(1)
        return -(log_policy * self.allowed).sum() / self.allowed.sum()


def in_situations(situation: Tensor, elapsed: float | None = None) -> Histories:
    """Histories that end with these items; elapsed: the share of the session that is over."""
    item, user = situation.unsqueeze(1), torch.zeros_like(situation)
    time = None if elapsed is None else torch.full(situation.shape, elapsed)
    return Histories(user, item, torch.full(item.shape, 5.0), time)


def training_of(problem: Problem, **ddpg) -> Training:
    """The project's own agent and replay in a problem, without any demonstration."""
    STATES["last-item"] = LastItem
    sessions = 64
    config = Config(
        StateConfig("last-item", k=problem.shape[1], n=1 + problem.horizon, embeddings="random"),
        PretrainConfig(updates=0),
        DDPGConfig(gamma=problem.gamma, bc_weight=0.1, **ddpg),
        EnvConfig("simulated", sessions=sessions, horizon=problem.horizon, n_seed=1),
        weight_decay=0.0,
    )
    agent = GRADIENTS[config.ddpg.gradient](config, 1, problem.shape[1])
    environment = ProblemEnv(problem, sessions, torch.Generator().manual_seed(0))
    return Training(agent, environment, EveryItem(problem), make_replay(agent, environment))
