"""Sessions that step together, over a table of what each user would answer.

`reset` and `step` are Gymnasium's, with a leading batch axis. An action is the index of the item to
show; whoever has a vector or scores takes the best item that is not `excluded`.

B = batch, V = n_items. Index V is padding: nothing is shown. Where a sample of the items stands for
the catalogue, tables have a column for each of these candidates (`data.candidates`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from gymnasium.error import ResetNeeded
from torch import Tensor

from recsys_rl.data.candidates import columns_of
from recsys_rl.data.counts import check_counts
from recsys_rl.data.devices import CPU, on_cpu, set_state
from recsys_rl.data.histories import POSITIVE, Histories, appended
from recsys_rl.data.rewards import Reward
from recsys_rl.envs.stand import check_stand

Info = dict[str, Any]
Step = tuple[Histories, Tensor, Tensor, Tensor, Info]


class SessionEnv:
    """B sessions that step together.

    A subclass says who is met and what is known (`reset`), and when nothing is left to be had
    (`_exhausted`). It may say what enters the history (`_remember`) and how a reward is made
    (`_reward`).

    excluded: bool [B, V], items that cannot be shown. terminated: nothing is left. What the limit
    of `horizon` steps means, `finite` says: where evaluations end there too, it is an end like
    others (terminated), and how much of the session is over is observed; where only the collecting
    of data ends, the session could have gone on (truncated), so the bootstrap does not stop. A
    session that is over goes on stepping with the batch; `info["active"]` says which steps count.

    Source: Pardo et al., ICML 2018 (limits that end a task, and limits that do not).

    generator: where all chance comes from. Without one, and without a seed for `reset`, sessions
    differ from run to run. device: where sessions live; that of the tables they are made from.
    """

    finite = True  # whether the limit belongs to the task
    repeats = False  # whether an item may be shown again
    takes_vectors = False  # whether `step` takes the vectors that an agent emits, in place of items
    shown_beside = 0  # items in `Histories.shown`: what no history names, and cannot be shown again
    candidates: Tensor | None = None  # what can be shown, int64 [m]; None: all items
    running: tuple[str, ...] = ("_histories", "_answers", "excluded", "_active", "_steps")
    n_items: int
    n_users: int
    sessions: int
    eligible: Tensor  # who may be met, int64 [U]
    excluded: Tensor

    def __init__(
        self,
        horizon: int,
        reward: Reward,
        generator: torch.Generator | None,
        device: torch.device = CPU,
    ) -> None:
        check_counts(horizon=horizon)
        check_reward(reward, device)
        self.horizon, self.reward, self.device = int(horizon), reward, device
        if generator is None:
            generator = torch.Generator(device=device)
            generator.seed()
        self.generator = generator

    def reset(
        self, *, seed: int | None = None, options: Info | None = None
    ) -> tuple[Histories, Info]:
        raise NotImplementedError

    def _met(
        self, seed: int | None, options: Info | None, **starts: tuple[int, ...]
    ) -> tuple[Tensor, Info]:
        """Who is met: options["users"] or `sessions` random ones of `eligible`; and the options.

        starts: the other options that there are, and what is asked of them: the largest index and,
        behind it, the shape [B, ...]. They belong to users, so they come with them. ValueError, and
        nothing changes, for anything else.
        """
        options = known_options(options, "users", *starts)
        users = options.get("users")
        if users is None and options:
            raise ValueError(f"the option {min(options)!r} comes with the users it belongs to")
        if users is not None:
            size = check_users(users, "B", self.n_users)
            for name, (last, *shape) in starts.items():
                if name in options:
                    check_indices(name, options[name], (size, *shape), last)
        if seed is not None:
            self.generator.manual_seed(seed)
        if users is None:
            users = self._random_users(self.sessions)
        return users, options

    def _random_users(self, count: int) -> Tensor:
        g = self.generator
        drawn = torch.randint(len(self.eligible), (count,), generator=g, device=g.device)
        return self.eligible[drawn.to(self.device)]

    def _begin(self, histories: Histories, answers: Tensor, excluded: Tensor) -> None:
        """answers: stars, 0 for none; float32 [B, V]. Both tables are written to from now on."""
        self._histories, self._answers, self.excluded = histories, answers, excluded
        self._steps = 0
        self._active = torch.ones(len(histories), dtype=torch.bool, device=excluded.device)

    def _check_running(self) -> None:
        if not hasattr(self, "_active"):
            raise ResetNeeded("no session was started: call reset before anything else")

    def observation(self) -> Histories:
        self._check_running()
        told = self._histories
        elapsed = None
        if self.finite:
            share = self._steps / self.horizon
            elapsed = torch.full((len(told),), share, device=told.item.device)
        shown, among = self._shown_beside(), self.candidates
        return Histories(told.user, told.item, told.rating, elapsed, shown, candidates=among)

    def _shown_beside(self) -> Tensor | None:
        """What the session has shown and the history does not name -> int64 [B, W]."""
        return None

    @property
    def relevant(self) -> Tensor:
        """Items that the user would like and that can still be shown -> bool [B, V]."""
        self._check_running()
        return self._answers >= POSITIVE

    @property
    def over(self) -> bool:
        """Whether no session is running: none was started, or all have ended.

        Off the CPU all last to the limit: whether they have ended is not asked at each step.
        """
        if not hasattr(self, "_active"):
            return True
        if not on_cpu(self._active):
            return self._steps >= self.horizon
        return not bool(self._active.any())

    def step(self, item: Tensor) -> Step:
        """Show items int64 [B] -> (observation, reward, terminated, truncated, info), each [B].

        info: "item"; "rating", the stars of the answer, 0 where there are none; "active" bool [B],
        whether the session was still running when the step was made.

        ResetNeeded before the first reset; ValueError, and nothing is shown, for other actions.
        """
        self._check_running()
        check_indices("items", item, tuple(self._active.shape), self.n_items)
        each = torch.arange(len(item), device=item.device)
        column, columns = columns_of(self.candidates, item), self.excluded.shape[1]
        shown = column < columns
        index = column.clamp(max=columns - 1)
        rating = torch.where(shown, self._answers[each, index], 0.0)
        if not self.repeats:
            self._answers[each, index] = torch.where(shown, 0.0, self._answers[each, index])
            self.excluded[each, index] |= shown
        reward = self._reward(item, rating).masked_fill(~shown, 0.0)
        self._remember(item, rating, shown)
        self._steps += 1
        limit = self._steps >= self.horizon
        terminated = self._exhausted(item, rating) | (self.finite and limit)
        truncated = torch.full_like(terminated, limit and not self.finite)
        info = {"item": item, "rating": rating, "active": self._active}
        self._active = self._active & ~terminated & ~truncated
        return self.observation(), reward, terminated, truncated, info

    def _reward(self, item: Tensor, rating: Tensor) -> Tensor:
        return self.reward(rating.clone()).to(rating.dtype)  # it may work in place

    def _remember(self, item: Tensor, rating: Tensor, shown: Tensor) -> None:
        """Append the answers, where something was `shown` [B], to the history."""
        item = torch.where(shown, item, self.n_items)
        rating = torch.where(shown, rating, 0.0)
        self._histories = appended(self._histories, item, rating, shown)

    def _exhausted(self, item: Tensor, rating: Tensor) -> Tensor:
        """Whether nothing is left after this item and its answer -> bool [B]."""
        raise NotImplementedError

    def state_dict(self) -> Info:
        """Where the running sessions stand: tensors and numbers that no later step changes."""
        own = vars(self)
        stand = {name: own[name] for name in self.running if name in own}
        if histories := stand.pop("_histories", None):
            stand |= {"user": histories.user, "item": histories.item, "rating": histories.rating}
        stand = {n: v.clone() if isinstance(v, Tensor) else v for n, v in stand.items()}
        return stand | {"generator": self.generator.get_state()}

    def load_state_dict(self, state: Info) -> None:
        """Go on where `state_dict` stood; ValueError, and nothing changes, for unknown names, a
        step beyond the limit, and tables of other sessions."""
        state = copy.deepcopy(state)  # sessions write into their tensors
        generator = state.pop("generator")
        state = {n: v.to(self.device) if isinstance(v, Tensor) else v for n, v in state.items()}
        if "user" in state:
            parts = (state.pop(name) for name in ("user", "item", "rating"))
            state["_histories"] = Histories(*parts)
        if unknown := set(state) - set(self.running):
            raise ValueError(f"these are no parts of a session: {sorted(unknown)}")
        if not 0 <= state.get("_steps", 0) <= self.horizon:
            raise ValueError(f"a session has {self.horizon} steps, and not {state['_steps']}")
        check_stand(state, self.n_users, self.n_items)
        set_state(self.generator, generator)
        for name in self.running:  # sessions may be running here and none there
            vars(self).pop(name, None)
        vars(self).update(state)


def best_item(scores: Tensor, excluded: Tensor) -> Tensor:
    """The item with the largest score that may be shown: float32 [B, V], bool [B, V] -> [B]."""
    return scores.masked_fill(excluded, -torch.inf).argmax(1)


def known_options(options: Info | None, *names: str) -> Info:
    """The options that were given, those that are None left out; ValueError for unknown ones."""
    if not isinstance(options, Mapping | None):
        raise ValueError(f"options are a dict, not {type(options).__name__}")
    options = options or {}
    if unknown := [name for name in options if name not in names]:
        raise ValueError(f"unknown options {unknown}: there is {', '.join(names)}")
    return {name: value for name, value in options.items() if value is not None}


def check_reward(reward: Any, device: torch.device = CPU) -> None:
    """ValueError unless it makes a finite number of the stars of each session."""
    if not callable(reward):
        raise ValueError(f"a reward is a function of the stars, not {reward!r}")
    stars = torch.tensor([0.0, 1.0, 5.0], device=device)
    found = reward(stars)
    right = isinstance(found, Tensor) and found.shape == stars.shape and not found.is_complex()
    if not right or not found.isfinite().all():
        raise ValueError(f"a reward makes one finite number of each of the stars, not {found!r}")


def check_indices(name: str, values: Any, shape: tuple[int | str, ...], last: int) -> None:
    """ValueError unless `values` is a tensor of this shape, int64, within 0 .. last.

    The numbers are looked at on the CPU alone: elsewhere each look waits for the device.
    """
    if not isinstance(values, Tensor):
        found = type(values).__name__
    elif values.dtype != torch.int64 or values.shape != shape:
        found = _described(values.dtype, values.shape)
    else:
        if values.numel() and on_cpu(values):
            low, high = map(int, values.aminmax())  # one pass: every step of a session is checked
            if low < 0 or high > last:
                raise ValueError(f"{name} are within 0 .. {last}, not {low} .. {high}")
        return
    raise ValueError(f"{name} are a tensor {_described(torch.int64, shape)}, not {found}")


def check_users(users: Any, letter: str, n_users: int) -> int:
    """How many users these are, int64 [B]; ValueError for anything else, and for nobody."""
    rows = getattr(users, "shape", ())
    size = rows[0] if len(rows) == 1 and rows[0] else letter
    check_indices("users", users, (size,), n_users - 1)
    return size


def eligible_of(users: Tensor | None, n_users: int, there: torch.device) -> Tensor:
    """Who may be met, on a device: everybody by default -> int64 [U]."""
    if users is None:
        return torch.arange(n_users, device=there)
    check_users(users, "U", n_users)
    return users.to(there)


def _described(dtype: torch.dtype, shape: tuple[int | str, ...]) -> str:
    return f"{str(dtype).removeprefix('torch.')} [{', '.join(map(str, shape))}]"
