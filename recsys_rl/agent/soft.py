"""An actor that follows the softmax of Q over items.

Sources: Haarnoja et al., ICML 2018, arXiv 1801.01290 (soft actor-critic: the policy is projected on
the softmax of Q); Abdolmaleki et al., ICLR 2018, arXiv 1806.06920 (MPO: by cross-entropy, the
softmax of Q as the target).

B = batch, V = n_items.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recsys_rl.agent.affected import SHUT, AffectedActor, AffectedCritic
from recsys_rl.agent.config import Config
from recsys_rl.agent.ddpg import DDPG, Choice, Losses
from recsys_rl.agent.exploration import OUNoise, sampled_items
from recsys_rl.agent.gated import GatedActor, GatedCritic
from recsys_rl.data.devices import figure
from recsys_rl.data.histories import Histories
from recsys_rl.states.base import State
from recsys_rl.states.linear import GatedLinear

# actor and critic by state; others have the first
NETWORKS = {"belief": (GatedActor, GatedCritic), "affected": (AffectedActor, AffectedCritic)}
TEMPERATURE = 0.3  # stars
RANDOM_START = 0.1  # share of the updates in which random items are shown


class SoftDDPG(DDPG):
    """DDPG over items where one wrong item may cost the rest of the session.

    An expected policy gradient soon has no item left but the one that it prefers, and learns no
    more: here the actor's softmax follows that of Q at a fixed temperature. It explores at that
    temperature, too; it shows the item with the largest score.
    """

    critic_lr = 2e-3
    warmup = 0.05
    temperature = TEMPERATURE

    @torch.no_grad()
    def explore(
        self, histories: Histories, excluded: Tensor, noise: OUNoise | None = None
    ) -> Choice:
        """Random items in the first updates (`RANDOM_START`), then as `DDPG` does."""
        if self.updated >= RANDOM_START * self.config.ddpg.updates:
            return super().explore(histories, excluded, noise)
        equal = torch.zeros(excluded.shape, device=excluded.device)
        item = sampled_items(equal, excluded, self.generator)
        return Choice(item, torch.zeros_like(item, dtype=torch.bool))

    @staticmethod
    def new_actor(config: Config, state: State, linear: GatedLinear | None) -> nn.Module:
        actor, _ = NETWORKS.get(config.state.name, NETWORKS["belief"])
        return actor(state, config.env.horizon, config.ddpg.gamma)

    def new_critic(self, state: State, linear: GatedLinear | None) -> nn.Module:
        _, critic = NETWORKS.get(self.config.state.name, NETWORKS["belief"])
        return critic(state, self.config.env.horizon, self.config.ddpg.gamma)

    def target_value(self, histories: Histories) -> Tensor:
        """Within what a session can earn: targets that follow themselves could grow for ever."""
        value = super().target_value(histories)
        return torch.minimum(value.clamp(min=0), self.target_critic.most(histories))

    def policy_loss(self, histories: Histories) -> tuple[Tensor, Losses]:
        """Cross-entropy of the actor's softmax, that of Q as the target."""
        with torch.no_grad():
            q = self.critic.all(histories)
            target = (q / self.temperature).softmax(1)
        log_policy = (self.actor.scores(histories) / self.temperature).log_softmax(1)
        with torch.no_grad():
            entropy = torch.special.entr(log_policy.exp()).sum(1).mean()
        loss = -(target * log_policy).sum(1).mean()
        return loss, {"q_spread": figure(_spread(q)), "entropy": figure(entropy)}


def _spread(q: Tensor) -> Tensor:
    """Standard deviation of Q over the items that can be shown, the mean over the batch.

    q: float32 [B, V], `SHUT` for those that cannot.
    """
    shown = q > SHUT
    count = shown.sum(1).clamp(min=2)
    mean = (q * shown).sum(1) / count
    square = ((q - mean.unsqueeze(1)) * shown).square().sum(1)
    return (square / (count - 1)).sqrt().mean()
