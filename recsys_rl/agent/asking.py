"""A learned asker: a small network scores candidate questions by what their answers would change.

Candidates are the items of the asked half that are likest to be liked; of each, the network reads
numbers made of the posterior of the Gaussian of likes. The actor gives a softmax over candidates,
the critic Q(s, c): the share of liked items among the ten that are recommended at the end.

B = batch, C = candidates, J = leaders of the list, F = features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recsys_rl.baselines.asking import LIST, Belief, only
from recsys_rl.data.histories import Histories
from recsys_rl.embeddings.like_posterior import LikeGaussian

CANDIDATES, LEADERS = 30, 30
FEATURES = 14
WIDTH = 64
EDGE = 0.05  # in expected likes: what is so close to the tenth of the list may enter or leave it


def features(belief: Belief, candidates: Tensor, leaders: Tensor, clock: Tensor) -> Tensor:
    """What each question could change -> float32 [B, C, F].

    candidates: int64 [B, C]; leaders: int64 [B, J], best first; clock: float32 [B, 1].
    """
    mean = belief.expected.gather(1, leaders)  # (B, J)
    liked = belief.expected.gather(1, candidates)  # (B, C)
    variance = belief.variance(candidates)
    spread = variance + belief.noise[candidates]
    lift = belief.covariance(candidates, leaders) / spread.unsqueeze(2)  # (B, C, J)
    size, chance = lift.abs(), liked.clamp(0, 1)
    near = torch.exp(-(mean - mean[:, LIST - 1 : LIST]).abs() / EDGE).unsqueeze(1)
    in_list = mean[:, :LIST].mean(1, keepdim=True).expand_as(liked)
    columns = [
        liked,
        chance * (1 - chance),
        spread.sqrt(),
        variance / spread,
        belief.vectors[candidates, -1],
        size[..., :LIST].sum(2),
        lift[..., :LIST].sum(2),
        size[..., LIST:].sum(2),
        lift[..., LIST:].sum(2),
        lift.square().mean(2).sqrt(),
        size.amax(2),
        (near * size).sum(2),
        in_list,
        clock.expand_as(liked),
    ]
    return torch.stack(columns, 2)


class Asker(nn.Module):
    """Scores of questions from histories, as other askers give them.

    critic: Q of each candidate is the mean expected like of the ten best now, and what its network
    adds to that.
    """

    def __init__(self, gaussian: LikeGaussian, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.gaussian = [gaussian]  # in a list: nothing of it is trained or saved
        self.actor, self.critic = _network(generator), _network(generator)
        self.register_buffer("centre", torch.zeros(FEATURES))
        self.register_buffer("scale", torch.ones(FEATURES))

    @torch.no_grad()
    def read(self, histories: Histories) -> tuple[Tensor, Tensor, Belief, Tensor]:
        """-> candidates [B, C], features [B, C, F], the belief, leaders [B, J]."""
        belief = Belief(self.gaussian[0], histories)
        candidates, leaders = belief.candidates(CANDIDATES), belief.leaders(LEADERS)
        return candidates, features(belief, candidates, leaders, histories.clock), belief, leaders

    def fit_scale(self, seen: Tensor) -> None:
        """Mean and spread of features [N, F]."""
        self.centre.copy_(seen.mean(0))
        self.scale.copy_(seen.std(0).clamp(min=1e-4))

    def logits(self, seen: Tensor) -> Tensor:
        """Features [..., F] -> [...]"""
        return self.actor((seen - self.centre) / self.scale).squeeze(-1)

    def values(self, seen: Tensor) -> Tensor:
        """Q of candidates; features [..., F] -> [...]"""
        in_list = seen[..., -2]
        return in_list + self.critic((seen - self.centre) / self.scale).squeeze(-1)

    @torch.no_grad()
    def score(self, histories: Histories) -> Tensor:
        """-> float32 [B, V], -inf for what is no candidate."""
        candidates, seen, belief, _ = self.read(histories)
        return only(candidates, self.logits(seen), belief.expected.shape[1])

    @torch.no_grad()
    def q(self, histories: Histories, item: Tensor) -> Tensor:
        """Q of asking items int64 [B], which are candidates -> float32 [B]."""
        candidates, seen, _, _ = self.read(histories)
        place = (candidates == item.unsqueeze(1)).int().argmax(1, keepdim=True)
        return self.values(seen).gather(1, place).squeeze(1)


def _network(generator: torch.Generator | None) -> nn.Sequential:
    layers = nn.Sequential(
        nn.Linear(FEATURES, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, 1),
    )
    for layer in layers[::2]:
        bound = layer.in_features**-0.5
        nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
        nn.init.zeros_(layer.bias)
    nn.init.zeros_(layers[-1].weight)
    return layers
