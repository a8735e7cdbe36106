"""Replay buffers: what the agent saw, kept in preallocated tensors.

Sources: Lin 1992 (experience replay); Schaul et al. 2016, arXiv 1511.05952 (proportional
prioritized replay, section 3.3: sum tree, priorities |TD error| + eps, importance weights, beta
annealed to 1).
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recsys_rl.agent.sum_tree import SumTree
from recsys_rl.data.devices import CPU, on_cpu
from recsys_rl.data.histories import Histories, repadded

LEAST_EPS, LEAST_PRIORITY = 1e-37, 1e-200  # what float32 holds, and sums of many in float64
CAPACITY = 200_000  # transitions


class Transitions(NamedTuple):
    """A batch of B steps, each with the rewards of the m steps from it on, m >= 1.

    What is worth `reward` + `discount` x Q(next_histories, .) is the item. The discount is gamma^m,
    and 0 where the session terminated.
    """

    histories: Histories
    item: Tensor  # int64 [B], the item that was shown
    reward: Tensor  # float32 [B], the m rewards, discounted
    next_histories: Histories  # m steps later
    discount: Tensor  # float32 [B]
    action: Tensor | None = None  # float32 [B, w], the vector that was emitted

    def at(self, rows: Tensor) -> Transitions:
        """Some of the steps: a mask bool [B] or indices."""
        return Transitions(*(None if part is None else _at(part, rows) for part in self))

    def among(self, candidates: Tensor | None) -> Transitions:
        """The same, where these items stand for the catalogue in what is shown next; None: all."""
        told = (replace(h, candidates=candidates) for h in (self.histories, self.next_histories))
        before, after = told
        return self._replace(histories=before, next_histories=after)


def _at(part: Histories | Tensor, rows: Tensor) -> Histories | Tensor:
    return part.at(rows) if isinstance(part, Histories) else part[rows]


class ReplayBuffer:
    """Ring buffer with uniform sampling (with replacement).

    width: items of a history that are kept. capacity: number of transitions; the oldest are
    overwritten. action: width of the emitted vectors, where they are kept; shown: number of items
    of `Histories.shown`. n_users: what a state that is loaded is compared with; None: not at all.
    device: where the transitions are kept.
    """

    def __init__(
        self,
        width: int,
        n_items: int,
        capacity: int = CAPACITY,
        *,
        action: int = 0,
        shown: int = 0,
        n_users: int | None = None,
        device: torch.device = CPU,
    ) -> None:
        for name, value in {"width": width, "n_items": n_items, "capacity": capacity}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        self.width, self.n_items, self.capacity, self.n_users = width, n_items, capacity, n_users
        self.size, self.position, self.device = 0, 0, device
        whole = {"dtype": torch.int32, "device": device}
        self.columns: dict[str, Tensor] = {
            "user": torch.zeros(capacity, **whole),
            "item": torch.zeros(capacity, **whole),
            "reward": torch.zeros(capacity, device=device),
            "discount": torch.zeros(capacity, device=device),
        }
        if action:
            self.columns["action"] = torch.zeros(capacity, action, device=device)
        for moment in ("before", "after"):
            self.columns[f"elapsed_{moment}"] = torch.zeros(capacity, device=device)
            if shown:
                empty = torch.full((capacity, shown), n_items, **whole)
                self.columns[f"shown_{moment}"] = empty
            self.columns[f"items_{moment}"] = torch.zeros(capacity, width, **whole)
            self.columns[f"ratings_{moment}"] = torch.zeros(capacity, width, device=device)

    def __len__(self) -> int:
        return self.size

    def add(self, transitions: Transitions) -> Tensor:
        """Store B <= capacity transitions; returns their places, int64 [B].

        ValueError, and nothing is stored, for more, for users and items that are none, and for
        other numbers that are NaN or infinite, or a discount beyond 0 .. 1.
        """
        count = len(transitions.item)
        if count > self.capacity:
            raise ValueError(f"{count} transitions do not fit into a buffer of {self.capacity}")
        new = self._columns_of(transitions)
        if on_cpu(self.device):
            self._refuse(new)
        places = (self.position + torch.arange(count, device=self.device)) % self.capacity
        for name, values in new.items():
            self.columns[name][places] = values.to(self.columns[name].dtype)
        self.position = (self.position + count) % self.capacity
        self.size = min(self.size + count, self.capacity)
        return places

    def _columns_of(self, transitions: Transitions) -> dict[str, Tensor]:
        """As they are stored, each in its own type still."""
        before, item, reward, after, discount, action = transitions
        new = {"user": before.user, "item": item, "reward": reward, "discount": discount}
        if "action" in self.columns:
            new["action"] = action
        for moment, histories in (("before", before), ("after", after)):
            kept = repadded(histories, self.width, self.n_items)
            new |= {f"items_{moment}": kept.item, f"ratings_{moment}": kept.rating}
            new[f"elapsed_{moment}"] = histories.clock.squeeze(1)
            if f"shown_{moment}" in self.columns:
                new[f"shown_{moment}"] = histories.shown
        return new

    def _refuse(self, new: dict[str, Tensor]) -> None:
        for name, values in new.items():
            shape = [len(new["item"]), *self.columns[name].shape[1:]]
            if list(values.shape) != shape or values.is_complex():
                raise ValueError(f"{name}: real numbers {shape}, not {list(values.shape)}")
            if not values.numel():
                continue
            indices = self.columns[name].dtype == torch.int32
            low, high = (values if indices else values.float()).aminmax()
            if not indices:
                if not (abs(low) < torch.inf and abs(high) < torch.inf):
                    raise ValueError(
                        f"{name}: NaN or infinite numbers, of which nothing is learned"
                    )
                continue
            last = self._last(name)
            last = torch.iinfo(torch.int32).max if last is None else last
            if values.dtype not in (torch.int32, torch.int64):
                raise ValueError(f"{name}: indices are int64, not {values.dtype}")
            if low < 0 or high > last:
                raise ValueError(f"{name}: indices are within 0 .. {last}")
        if ((new["discount"] < 0) | (new["discount"] > 1)).any():
            raise ValueError("discount: numbers are within 0 .. 1")

    def take(self, places: Tensor) -> Transitions:
        """The transitions at `places`, int64 [B]."""
        found = {name: column[places] for name, column in self.columns.items()}
        user, item = found["user"].long(), found["item"].long()
        before, after = (
            Histories(
                user,
                found[f"items_{when}"].long(),
                found[f"ratings_{when}"],
                found[f"elapsed_{when}"],
                found[f"shown_{when}"].long() if f"shown_{when}" in found else None,
            )
            for when in ("before", "after")
        )
        discount, action = found["discount"], found.get("action")
        return Transitions(before, item, found["reward"], after, discount, action)

    def sample(
        self, batch_size: int, generator: torch.Generator
    ) -> tuple[Transitions, Tensor, Tensor]:
        """Draw transitions; returns (transitions, importance weights [B], places [B])."""
        self._refuse_empty(batch_size)
        there = generator.device
        places = torch.randint(self.size, (batch_size,), generator=generator, device=there)
        places = places.to(self.device)
        return self.take(places), torch.ones(batch_size, device=self.device), places

    def update_priorities(self, places: Tensor, td_error: Tensor) -> None:
        """Uniform replay has no priorities: nothing to do."""

    def _refuse_empty(self, batch_size: int) -> None:
        if batch_size < 1:
            raise ValueError(f"a sample has at least one transition, not {batch_size}")
        if not self.size:
            raise ValueError("the replay buffer is empty: add transitions before sampling")

    def state_dict(self) -> dict[str, Any]:
        """What is filled of it; tensors and numbers only."""
        # a copy: of a slice, the whole column would be written
        filled = {name: column[: self.size].clone() for name, column in self.columns.items()}
        return {"size": self.size, "position": self.position, "columns": filled}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """ValueError, and nothing changes, for what does not fit into these columns."""
        self._check(state)
        size, position, columns = state["size"], state["position"], state["columns"]
        self.size, self.position = size, position
        for name, column in columns.items():
            self.columns[name][:size] = column

    def _check(self, state: dict[str, Any]) -> None:
        """ValueError for a state that cannot be of this replay."""
        size, position = state["size"], state["position"]
        if not (0 <= size <= self.capacity and 0 <= position < self.capacity):
            raise ValueError(f"a replay of {self.capacity} cannot hold {size}, from {position} on")
        self._check_content(state)

    def _check_content(self, state: dict[str, Any]) -> None:
        """The same but for its capacity, which another number of processes makes another one."""
        size, columns = state["size"], state["columns"]
        if {name: column.shape for name, column in columns.items()} != {
            name: (size, *column.shape[1:]) for name, column in self.columns.items()
        }:
            raise ValueError(f"its columns are not those of this replay, {size} long")
        for name, column in columns.items():
            last = self._last(name)
            if last is not None and ((column < 0) | (column > last)).any():
                raise ValueError(f"its column {name} has numbers beyond 0 .. {last}")

    def _last(self, column: str) -> int | None:
        """The largest number that may stand in a column of indices; None for other columns."""
        if column == "user":
            return self.n_users
        if column == "item":
            return self.n_items - 1
        return self.n_items if column.startswith(("items", "shown")) else None

    def deal(self, states: list[dict[str, Any]], first: int, step: int) -> None:
        """Hold every `step`-th transition of other buffers' states, from the `first` on.

        The oldest of all of them stand first; the newest stay, where there are too many. ValueError
        for a state that cannot be of such a replay.
        """
        for state in states:
            self._check_content(state)
        sizes = [state["size"] for state in states]
        oldest_first = [
            ((state["position"] + torch.arange(size, device=CPU)) % max(1, size))[first::step]
            for state, size in zip(states, sizes, strict=True)
        ]
        ages = [torch.linspace(0, 1, len(places), device=CPU) for places in oldest_first]
        age = torch.cat(ages)
        kept = age.argsort(stable=True)[-self.capacity :]
        self.size, self.position = len(kept), len(kept) % self.capacity
        for name, column in self.columns.items():
            pairs = zip(states, oldest_first, strict=True)
            column[: self.size] = torch.cat([s["columns"][name][rows] for s, rows in pairs])[kept]


class PrioritizedReplayBuffer(ReplayBuffer):
    """Proportional prioritized replay: P(i) ~ p_i^alpha, p_i = |TD error| + eps.

    New transitions enter with the largest priority seen so far, so that each is likely to be
    replayed at least once. The importance weights (N P(i))^-beta undo the bias of the sampling;
    they are divided by the batch's largest, so that they only scale updates down. beta grows
    linearly from `beta` to 1 over `anneal` draws.
    """

    def __init__(
        self,
        width: int,
        n_items: int,
        capacity: int = CAPACITY,
        *,
        action: int = 0,
        shown: int = 0,
        n_users: int | None = None,
        alpha: float = 0.6,
        beta: float = 0.4,
        anneal: int = 10_000,
        eps: float = 1e-3,
        device: torch.device = CPU,
    ) -> None:
        beside = {"action": action, "shown": shown, "n_users": n_users, "device": device}
        super().__init__(width, n_items, capacity, **beside)
        if not (alpha >= 0 and 0 <= beta <= 1 and anneal >= 1 and 0 < eps < math.inf):
            raise ValueError(
                "alpha is 0 or more, beta within 0 .. 1, anneal at least 1 and eps above 0, not "
                f"{alpha}, {beta}, {anneal} and {eps}"
            )
        if eps < LEAST_EPS or eps**alpha < LEAST_PRIORITY:
            raise ValueError(f"eps = {eps:g} to the power alpha = {alpha:g} is 0 in rounding")
        self.alpha, self.first_beta, self.anneal, self.eps = alpha, beta, anneal, eps
        self.tree = SumTree(capacity, device)
        self.largest: float | Tensor = 1.0  # a tensor off the CPU
        self.draws = 0

    @property
    def beta(self) -> float:
        done = min(1.0, self.draws / self.anneal)
        return self.first_beta + (1 - self.first_beta) * done

    def add(self, transitions: Transitions) -> Tensor:
        places = super().add(transitions)
        largest = float(self.largest) ** self.alpha
        self.tree.set(places, torch.full((len(places),), largest, device=self.device))
        return places

    def sample(
        self, batch_size: int, generator: torch.Generator
    ) -> tuple[Transitions, Tensor, Tensor]:
        """Stratified: one draw from each of B equal slices of the total priority."""
        self._refuse_empty(batch_size)
        kind, there = self.tree.nodes.dtype, generator.device
        slices = torch.arange(batch_size, dtype=kind, device=self.device)
        jitter = torch.rand(batch_size, generator=generator, dtype=kind, device=there)
        total = self.tree.nodes[1]
        places = self.tree.find((slices + jitter.to(self.device)) / batch_size * total)
        places = places.clamp(max=self.size - 1)  # rounding may step past the last filled leaf
        probability = self.tree.get(places) / total
        weights = (self.size * probability).pow(-self.beta)
        self.draws += 1
        return self.take(places), (weights / weights.max()).float(), places

    def update_priorities(self, places: Tensor, td_error: Tensor) -> None:
        """Set the priorities of `places` [B] from their TD errors [B].

        ValueError, and no priority changes, for a place that is not filled and for a TD error that
        is NaN or infinite: it would be the sum of all priorities, too. Off the CPU the agent alone
        tells it, see `DDPG.check`.
        """
        if td_error.shape != places.shape:
            raise ValueError(f"{list(td_error.shape)} TD errors for {list(places.shape)} places")
        if on_cpu(places) and ((places < 0) | (places >= self.size)).any():
            raise ValueError(f"places are within 0 .. {self.size - 1}")
        priority = td_error.detach().abs() + self.eps
        if on_cpu(priority) and not torch.isfinite(priority).all():
            raise ValueError("a TD error is NaN or infinite: the agent has diverged")
        if len(places):
            self.tree.set(places, priority.pow(self.alpha))
            self.largest = _larger(self.largest, priority.max())

    def state_dict(self) -> dict[str, Any]:
        own = {"largest": float(self.largest), "draws": self.draws}
        return super().state_dict() | own | {"tree": self.tree.nodes.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        nodes = copy.deepcopy(state["tree"])
        self.largest, self.draws = state["largest"], state["draws"]
        self.tree.nodes = nodes.to(self.device, self.tree.nodes.dtype)

    def _check(self, state: dict[str, Any]) -> None:
        super()._check(state)
        nodes = state["tree"]
        fits = nodes.shape == self.tree.nodes.shape and ((nodes >= 0) & nodes.isfinite()).all()
        if not fits or (state["size"] and not nodes[1] > 0):
            raise ValueError("its priorities are not those of this replay")

    def _check_content(self, state: dict[str, Any]) -> None:
        super()._check_content(state)
        if not state["largest"] > 0 or state["draws"] < 0:
            raise ValueError("its largest priority or its draws are below 0")

    def deal(self, states: list[dict[str, Any]], first: int, step: int) -> None:
        """All with the largest priority, as they were when they were new."""
        super().deal(states, first, step)
        self.largest = max(state["largest"] for state in states)
        self.draws = states[0]["draws"]
        self.tree = SumTree(self.capacity, self.device)
        priority = torch.full((self.size,), self.largest**self.alpha, device=self.device)
        self.tree.set(torch.arange(self.size, device=self.device), priority)


def _larger(known: float | Tensor, new: Tensor) -> float | Tensor:
    return max(known, float(new)) if on_cpu(new) else new.clamp(min=known)
