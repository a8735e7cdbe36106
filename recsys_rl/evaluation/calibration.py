"""Whether a critic can be believed: Q of what is shown against the return that follows.

Sessions are played greedily, as they are evaluated; the return is the sum of the rewards from a
step to the end of the session, discounted by the agent's gamma. `docs/method.md` says how to read
it.

S = sessions, T = steps, U = users.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recsys_rl.data.counts import check_numbers
from recsys_rl.data.histories import Histories
from recsys_rl.envs.base import best_item
from recsys_rl.envs.cold_start import ColdStartEnv
from recsys_rl.envs.simulated import SimulatedEnv
from recsys_rl.evaluation.scores import ScoreFunction, batches, checked_scores
from recsys_rl.evaluation.statistics import Evaluation

QFunction = Callable[[Histories, Tensor], Tensor]  # (histories, items int64 [B]) -> Q float32 [B]


@dataclass(frozen=True, eq=False)
class Calibration:
    """Q of the items that were shown, and the returns; NaN where a session was over.

    user: int64 [S]. q, returns: float32 [S, T].
    """

    user: Tensor
    q: Tensor
    returns: Tensor

    @classmethod
    def joined(cls, parts: Sequence[Calibration]) -> Calibration:
        """All sessions of several environments that are as long."""
        columns = ([getattr(part, name) for part in parts] for name in ("user", "q", "returns"))
        return cls(*map(torch.cat, columns))

    @property
    def steps(self) -> dict[str, int]:
        """The first, the middle and the last step."""
        horizon = self.q.shape[1]
        return {"first": 0, "middle": horizon // 2, "last": horizon - 1}

    def means(self) -> tuple[Tensor, Tensor]:
        """Mean Q and mean return of every step -> float32 [T] twice."""
        return self.q.nanmean(0), self.returns.nanmean(0)

    def error(self, step: int) -> float:
        """abs(mean Q - mean return) / abs(mean return), at a step counted from 0."""
        q, returns = (mean[step] for mean in self.means())
        return float((q - returns).abs() / returns.abs())

    def tenths(self, step: int) -> tuple[Tensor, Tensor]:
        """Mean Q and mean return in each tenth of the sessions, ordered by Q -> float32 [10] twice.

        Fewer where there are fewer sessions.
        """
        there = ~self.q[:, step].isnan()
        q, returns = self.q[there, step], self.returns[there, step]
        parts = q.argsort().chunk(10)
        means = ((q[part].mean(), returns[part].mean()) for part in parts)
        return tuple(map(torch.stack, zip(*means, strict=True)))

    def worst_tenth(self, step: int) -> float:
        """The largest relative error among the tenths."""
        q, returns = self.tenths(step)
        return float(((q - returns).abs() / returns.abs()).max())

    def evaluation(self) -> Evaluation:
        """By user, for tables: q and return at the first, the middle and the last step."""
        users, place = self.user.unique(return_inverse=True)
        metrics = {}
        for name, step in self.steps.items():
            for kind, values in (("q", self.q[:, step]), ("return", self.returns[:, step])):
                metrics[f"{kind}, {name} step"] = _means_by(place, values, len(users))
        return Evaluation("calibration", metrics, users)


def _means_by(place: Tensor, values: Tensor, size: int) -> np.ndarray:
    """Means of values [S] by place int64 [S], NaN left out -> float32 [size]."""
    there = ~values.isnan()
    total = values.new_zeros(size).index_add_(0, place[there], values[there])
    return (total / place[there].bincount(minlength=size)).numpy()


def calibration(
    score: ScoreFunction,
    q: QFunction,
    environment: ColdStartEnv | SimulatedEnv,
    gamma: float,
    draws: int = 3,
    batch_size: int = 512,
    seed: int = 1,
) -> Calibration:
    """Every eligible user of a finite environment plays `draws` sessions, greedily."""
    users, seed_items = environment.starts(draws, seed)
    parts = []
    for rows in batches(torch.arange(len(users), device=users.device), batch_size):
        environment.reset(options={"users": users[rows], "seed_items": seed_items[rows]})
        parts.append(_played(score, q, environment, gamma))
    return Calibration(users.cpu(), *(torch.cat(part).cpu() for part in zip(*parts, strict=True)))


@torch.no_grad()
def _played(
    score: ScoreFunction, q: QFunction, environment: ColdStartEnv | SimulatedEnv, gamma: float
) -> tuple[Tensor, Tensor]:
    """Q and returns of the sessions that were started -> float32 [B, T] twice."""
    histories, values, rewards, active = environment.observation(), [], [], []
    for _ in range(environment.horizon):
        scores = checked_scores(score, histories, environment.n_items)
        item = best_item(scores, environment.excluded)
        values.append(q(histories, item).to(item.device))
        histories, reward, _, _, info = environment.step(item)
        rewards.append(reward * info["active"])
        active.append(info["active"])
    over = ~torch.stack(active, 1)
    returns = discounted_returns(torch.stack(rewards, 1), gamma)
    return torch.stack(values, 1).masked_fill(over, torch.nan), returns.masked_fill(over, torch.nan)


def discounted_returns(rewards: Tensor, gamma: float) -> Tensor:
    """The discounted sum of the rewards from each step on: float32 [B, T] -> the same shape."""
    check_numbers(0, 1, gamma=gamma)
    returns, total = [], rewards.new_zeros(len(rewards))
    for reward in rewards.flip(1).unbind(1):
        total = reward + gamma * total
        returns.append(total)
    return torch.stack(returns[::-1], 1)
