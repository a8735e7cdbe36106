"""How much planning can win in an environment, before anything is trained.

The greedy oracle knows what every item would earn now. Rolled out from some candidates of every
step, it is improved once (Tesauro & Galperin, NIPS 1996: policy improvement by roll-outs). What the
improved one earns more is a lower bound of what planning can win.

    environment.reset(seed=0)
    found = headroom(environment, lambda env: env.rewards())
    print(found.gain.mean() / found.greedy.mean())

B = batch, V = n_items, C = candidates.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from gymnasium.error import ResetNeeded
from torch import Tensor

from recsys_rl.data.counts import check_counts
from recsys_rl.envs.base import SessionEnv, best_item

Rewards = Callable[[SessionEnv], Tensor]


@dataclass(frozen=True, eq=False)
class Headroom:
    """What sessions earn in all, float32 [B]: played greedily, and by roll-outs."""

    greedy: Tensor
    planned: Tensor

    @property
    def gain(self) -> Tensor:
        return self.planned - self.greedy


@torch.no_grad()
def headroom(
    environment: SessionEnv, rewards: Rewards, candidates: int = 30, depth: int = 20
) -> Headroom:
    """Plays the sessions that `environment` was reset to, twice from the same start.

    rewards: environment -> what every item is expected to earn now, float32 [B, V]; it may look at
    all that the environment knows. candidates: items that are tried in every step: the ranks
    by reward, close to each other at the top. depth: steps of a roll-out, the candidate's included.
    Chance, if an environment has any, falls alike in a roll-out and in the step that follows, so
    the bound holds for environments whose steps are certain. ValueError for counts below 1 and for
    rewards that are no numbers, ResetNeeded before a reset.
    """
    check_counts(candidates=candidates, depth=depth)
    if environment.over:
        raise ResetNeeded("no session was started: call reset before headroom")
    rewards = _checked(rewards)
    start = copy.deepcopy(environment.state_dict())
    greedy = _greedily(environment, rewards, environment.horizon)
    environment.load_state_dict(start)
    planned = torch.zeros_like(greedy)
    while not environment.over:
        here = copy.deepcopy(environment.state_dict())
        items = _candidates(rewards(environment), environment.excluded, candidates)  # (B, C)
        worth = []
        for item in items.unbind(1):
            environment.load_state_dict(here)
            earned = _earned(environment, item)
            worth.append(earned + _greedily(environment, rewards, depth - 1))
        best = torch.stack(worth, 1).argmax(1, keepdim=True)
        environment.load_state_dict(here)
        planned += _earned(environment, items.gather(1, best).squeeze(1))
    return Headroom(greedy, planned)


def _checked(rewards: Rewards) -> Rewards:
    """The same; ValueError where one is NaN or infinite."""

    def finite(environment: SessionEnv) -> Tensor:
        expected = rewards(environment)
        if not torch.isfinite(expected).all():
            raise ValueError("rewards of items must be finite numbers")
        return expected

    return finite


def _earned(environment: SessionEnv, item: Tensor) -> Tensor:
    _, reward, _, _, info = environment.step(item)
    return reward * info["active"]


def _greedily(environment: SessionEnv, rewards: Rewards, steps: int) -> Tensor:
    """The sum of the rewards of at most `steps` steps -> float32 [B]."""
    total = torch.zeros(len(environment.excluded), device=environment.device)
    for _ in range(steps):
        if environment.over:
            break
        total += _earned(environment, best_item(rewards(environment), environment.excluded))
    return total


def _candidates(rewards: Tensor, excluded: Tensor, count: int) -> Tensor:
    """Items by their ranks: the best, and others ever further apart -> int64 [B, <= count].

    Padding where nothing is left.
    """
    left = max(1, int((~excluded).sum(1).min()))
    share = torch.linspace(0, 1, min(count, left), device=rewards.device)
    ranks = share.square().mul(left - 1).ceil().long().unique()
    order = rewards.masked_fill(excluded, -torch.inf).topk(int(ranks[-1]) + 1).indices
    items = order[:, ranks]
    return items.masked_fill(excluded.gather(1, items), excluded.shape[1])
