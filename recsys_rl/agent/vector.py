"""The paper's own form of DDPG: an action is the emitted vector, and the actor follows dQ/da.

Source: Lillicrap et al., arXiv 1509.02971, algorithm 1, as Liu et al. (arXiv 1810.12027) use it.

B = batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recsys_rl.agent.ddpg import DDPG, Losses
from recsys_rl.agent.networks import Critic, VectorCritic
from recsys_rl.agent.replay import Transitions
from recsys_rl.data import ranks
from recsys_rl.data.histories import Histories
from recsys_rl.states.base import State
from recsys_rl.states.linear import GatedLinear


class VectorDDPG(DDPG):
    """DDPG whose critic learns the value of the emitted vector; it explores by noise on it."""

    keeps_action = True

    def new_critic(self, state: State, linear: GatedLinear | None) -> Critic:
        # a configuration with a linear model is refused
        return VectorCritic(state, self.config.env.horizon, self.config.ddpg.gamma)

    @torch.no_grad()
    def q(self, histories: Histories, item: Tensor) -> Tensor:
        """Of the vector that the actor emits, whatever the item."""
        histories = histories.to(self.device)
        return self.critic(histories, self.actor(histories))

    def target_value(self, histories: Histories) -> Tensor:
        return self.target_critic(histories, self.target_actor(histories))

    def q_taken(self, batch: Transitions) -> Tensor:
        return self.critic(batch.histories, batch.action)

    def policy_loss(self, histories: Histories) -> tuple[Tensor, Losses]:
        """-a . dQ/da, the mean length of dQ/da scaled to 1: a step is as long whatever gamma is."""
        action = self.actor(histories)
        at = action.detach().requires_grad_()
        q = self.critic(histories, at)
        (slope,) = torch.autograd.grad(q.sum(), at)
        length = ranks.mean(slope.norm(dim=1).mean(), len(slope))
        slope = slope / length.clamp(min=1e-6)
        return -(action * slope).sum(1).mean(), {}
