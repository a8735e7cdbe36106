"""Replay buffers: what the agent saw, kept in preallocated tensors.

Sources: Lin 1992 (experience replay); Schaul et al. 2016, arXiv 1511.05952 (proportional
prioritized replay, section 3.3: sum tree, priorities |TD error| + eps, importance weights, beta
annealed to 1).
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor

from recsys_rl.agent.sum_tree import SumTree
from recsys_rl.data.observation import Observation


class Transitions(NamedTuple):
    """A batch of B steps. Only `terminated` stops the bootstrap: a time limit does not."""

    observation: Observation
    item: Tensor  # int64 [B], the film that was executed
    reward: Tensor  # float32 [B]
    next_observation: Observation
    terminated: Tensor  # bool [B]

    @classmethod
    def of(
        cls,
        before: Observation,
        item: Tensor,
        reward: Tensor,
        after: Observation,
        terminated: Tensor,
        live: Tensor,
    ) -> Transitions:
        """The steps of the sessions that were still running, `live` bool [B]."""
        return cls(before.at(live), item[live], reward[live], after.at(live), terminated[live])


class ReplayBuffer:
    """Ring buffer with uniform sampling (with replacement).

    capacity: number of transitions kept; the oldest are overwritten.
    n: width of the memory in an observation; rejections: whether it has a second one, and a
    profile, which is `profile` wide.
    """

    def __init__(self, capacity: int, n: int, rejections: bool = False, profile: int = 0) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, not {capacity}")
        self.capacity, self.size, self.position = capacity, 0, 0
        self.memories = ("memory", "rejected") if rejections else ("memory",)
        self.user = torch.zeros(capacity, dtype=torch.int32)
        self.profile = torch.zeros(capacity, profile) if rejections else None
        for name in self.memories:
            for moment in ("", "next_"):
                setattr(self, moment + name, torch.zeros(capacity, n, dtype=torch.int32))
        self.item = torch.zeros(capacity, dtype=torch.int32)
        self.reward = torch.zeros(capacity)
        self.terminated = torch.zeros(capacity, dtype=torch.bool)

    def __len__(self) -> int:
        return self.size

    def add(self, transitions: Transitions) -> Tensor:
        """Store B <= capacity transitions; returns their places, int64 [B]."""
        count = len(transitions.item)
        if count > self.capacity:
            raise ValueError(f"{count} transitions do not fit into a buffer of {self.capacity}")
        places = (self.position + torch.arange(count)) % self.capacity
        self.user[places] = transitions.observation.user.int()
        if self.profile is not None:
            self.profile[places] = transitions.observation.profile
        for name in self.memories:
            before, after = transitions.observation, transitions.next_observation
            getattr(self, name)[places] = getattr(before, name).int()
            getattr(self, "next_" + name)[places] = getattr(after, name).int()
        self.item[places] = transitions.item.int()
        self.reward[places] = transitions.reward
        self.terminated[places] = transitions.terminated
        self.position = (self.position + count) % self.capacity
        self.size = min(self.size + count, self.capacity)
        return places

    def take(self, places: Tensor) -> Transitions:
        """The transitions at `places`, int64 [B]."""
        user = self.user[places].long()
        profile = None if self.profile is None else self.profile[places]
        before, after = (
            Observation(
                user,
                profile=profile,
                **{name: getattr(self, moment + name)[places].long() for name in self.memories},
            )
            for moment in ("", "next_")
        )
        return Transitions(
            before, self.item[places].long(), self.reward[places], after, self.terminated[places]
        )

    def sample(
        self, batch_size: int, generator: torch.Generator
    ) -> tuple[Transitions, Tensor, Tensor]:
        """Draw transitions; returns (transitions, importance weights [B], places [B])."""
        self._refuse_empty()
        places = torch.randint(self.size, (batch_size,), generator=generator)
        return self.take(places), torch.ones(batch_size), places

    def update_priorities(self, places: Tensor, td_error: Tensor) -> None:
        """Uniform replay has no priorities: nothing to do."""

    def _refuse_empty(self) -> None:
        if not self.size:
            raise ValueError("the replay buffer is empty: add transitions before sampling")

    def state_dict(self) -> dict[str, object]:
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, object]) -> None:
        vars(self).update(copy.deepcopy(state))


class PrioritizedReplayBuffer(ReplayBuffer):
    """Proportional prioritized replay: P(i) ~ p_i^alpha, p_i = |TD error| + eps.

    New transitions enter with the largest priority seen so far, so that each is likely to be
    replayed at least once. The importance weights (N P(i))^-beta undo the bias of the sampling;
    they are divided by the batch's largest, so that they only scale updates down. beta grows
    linearly from `beta` to 1 over `anneal` draws.
    """

    def __init__(
        self,
        capacity: int,
        n: int,
        alpha: float = 0.6,
        beta: float = 0.4,
        anneal: int = 10_000,
        eps: float = 1e-3,
        rejections: bool = False,
        profile: int = 0,
    ) -> None:
        super().__init__(capacity, n, rejections, profile)
        self.alpha, self.first_beta, self.anneal, self.eps = alpha, beta, anneal, eps
        self.tree = SumTree(capacity)
        self.largest = 1.0
        self.draws = 0

    @property
    def beta(self) -> float:
        done = min(1.0, self.draws / self.anneal)
        return self.first_beta + (1 - self.first_beta) * done

    def add(self, transitions: Transitions) -> Tensor:
        places = super().add(transitions)
        self.tree.set(places, torch.full((len(places),), self.largest**self.alpha))
        return places

    def sample(
        self, batch_size: int, generator: torch.Generator
    ) -> tuple[Transitions, Tensor, Tensor]:
        """Stratified: one draw from each of B equal slices of the total priority."""
        self._refuse_empty()
        slices = torch.arange(batch_size, dtype=torch.float64)
        jitter = torch.rand(batch_size, generator=generator, dtype=torch.float64)
        places = self.tree.find((slices + jitter) / batch_size * self.tree.total)
        places = places.clamp(max=self.size - 1)  # rounding may step past the last filled leaf
        probability = self.tree.get(places) / self.tree.total
        weights = (self.size * probability).pow(-self.beta)
        self.draws += 1
        return self.take(places), (weights / weights.max()).float(), places

    def update_priorities(self, places: Tensor, td_error: Tensor) -> None:
        """Set the priorities of `places` [B] from their TD errors [B]."""
        priority = td_error.detach().abs() + self.eps
        self.largest = max(self.largest, float(priority.max()))
        self.tree.set(places, priority.pow(self.alpha))

    def state_dict(self) -> dict[str, object]:
        """The tree as its tensor: a checkpoint may hold no object of ours."""
        return super().state_dict() | {"tree": self.tree.nodes}

    def load_state_dict(self, state: dict[str, object]) -> None:
        super().load_state_dict(state)
        nodes, self.tree = self.tree, SumTree(self.capacity)
        self.tree.nodes = nodes
