"""How an agent explores: items sampled from its policy, or noise on its action."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys_rl.data.devices import CPU, on_cpu

OU_THETA = 0.15  # Lillicrap et al., arXiv 1509.02971, section 7


class OUNoise:
    """Ornstein-Uhlenbeck noise, one walk a session: x <- x - theta x + sigma N(0, 1).

    sigma: a number, or one for each session, [B, 1]. theta = 1: normal noise without memory.
    """

    def __init__(
        self,
        sessions: int,
        k: int,
        sigma: float | Tensor,
        theta: float = OU_THETA,
        device: torch.device = CPU,
    ) -> None:
        self.sigma, self.theta = sigma, theta
        self.x = torch.zeros(sessions, k, device=device)

    def sample(self, generator: torch.Generator) -> Tensor:
        shock = torch.randn(self.x.shape, generator=generator, device=generator.device)
        shock = shock.to(self.x.device)
        self.x = self.x - self.theta * self.x + self.sigma * shock
        return self.x  # (B, k)


def session_epsilons(sessions: int, mean: float, device: torch.device = CPU) -> Tensor:
    """A share of exploring steps for each session, as far above the mean as below -> float32 [B].

    Some sessions are played nearly as they are evaluated, others stray far. Source: Horgan et al.,
    ICLR 2018, arXiv 1803.00933 (a ladder of epsilons over parallel environments).
    """
    if sessions == 1:
        return torch.tensor([mean], device=device)
    low = max(0.0, 2 * mean - 1)
    return torch.linspace(low, 2 * mean - low, sessions, device=device)


def sampled_items(scores: Tensor, excluded: Tensor, generator: torch.Generator) -> Tensor:
    """One item for each row, by the softmax of the scores [B, V] that are not excluded -> [B]."""
    probability = scores.masked_fill(excluded, -torch.inf).softmax(1)
    nothing = excluded.all(1, keepdim=True)
    probability = torch.where(nothing, 1.0, probability)  # NaN otherwise; what it draws is excluded
    if not on_cpu(probability):  # the same, without multinomial's look at all the numbers
        keys = torch.rand(probability.shape, generator=generator, device=generator.device)
        return (probability / -keys.to(probability.device).log()).argmax(1)
    return torch.multinomial(probability, 1, generator=generator).squeeze(1)


def epsilon_sampled(
    best: Tensor, scores: Tensor, excluded: Tensor, epsilon: Tensor, generator: torch.Generator
) -> Tensor:
    """Replace the best items [B], each with its probability `epsilon` [B], by sampled ones."""
    chance = torch.rand(len(best), generator=generator, device=generator.device).to(best.device)
    if not on_cpu(best):
        return torch.where(chance < epsilon, sampled_items(scores, excluded, generator), best)
    rows = (chance < epsilon).nonzero().squeeze(1)
    return best.index_put((rows,), sampled_items(scores[rows], excluded[rows], generator))
