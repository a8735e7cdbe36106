"""From sessions that were played to what a critic learns: returns of several steps.

Sources: Sutton & Barto 2018, section 7.1 (n-step returns); Watkins 1989 (a return is cut where the
agent explored: what follows is not what its policy would have earned).

T = steps, B = sessions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from recsys_rl.agent.replay import Transitions
from recsys_rl.data.histories import Histories, stacked


class Played(NamedTuple):
    """B sessions from their first step to their last.

    greedy: whether the item is the one that the policy itself would have shown. active: whether the
    session was still running. action: the vectors that were emitted, where the agent needs them.
    """

    observations: list[Histories]  # T + 1, each of B
    item: Tensor  # int64 [T, B]
    reward: Tensor  # float32 [T, B]
    terminated: Tensor  # bool [T, B]
    active: Tensor  # bool [T, B]
    greedy: Tensor  # bool [T, B]
    action: Tensor | None = None  # float32 [T, B, w]

    @property
    def finite(self) -> bool:
        """Whether the limit belongs to the task, see `SessionEnv`."""
        return self.observations[0].elapsed is not None


class Returns(NamedTuple):
    """The rewards of the steps t .. end, discounted, and by how much what follows counts.

    total: float32 [T, B]. discount: float32 [T, B], gamma^(end - t + 1), or 0 where the session
    terminated. end: int64 [T, B].
    """

    total: Tensor
    discount: Tensor
    end: Tensor


def multi_step(played: Played, gamma: float, n_steps: int) -> Returns:
    """Returns of at most `n_steps` steps, none of them, but the first, an exploring one."""
    steps, sessions = played.reward.shape
    start = torch.arange(steps, device=played.reward.device).unsqueeze(1)  # (T, 1)
    goes_on = played.active & played.greedy
    total, end = played.reward.clone(), start.repeat(1, sessions)
    alive = torch.ones_like(goes_on)
    for later in range(1, min(n_steps, steps)):
        alive = alive[: steps - later] & goes_on[later:]  # the return of t reaches t + later
        total[: steps - later] += gamma**later * played.reward[later:] * alive
        end[: steps - later] += alive
    discount = torch.full_like(total, gamma).pow(end - start + 1)
    return Returns(total, discount * ~played.terminated.gather(0, end), end)


def transitions_of(
    played: Played, gamma: float, n_steps: int, width: int, n_items: int
) -> Transitions:
    """Every active step with its return, and the observation that is bootstrapped from.

    width: columns of a history that are kept.
    """
    returns = multi_step(played, gamma, n_steps)
    seen = stacked(played.observations, width, n_items)  # (T + 1) x B rows
    step, session = played.active.nonzero(as_tuple=True)
    sessions = played.reward.shape[1]
    return Transitions(
        seen.at(step * sessions + session),
        played.item[step, session],
        returns.total[step, session],
        seen.at((returns.end[step, session] + 1) * sessions + session),
        returns.discount[step, session],
        None if played.action is None else played.action[step, session],
    )
