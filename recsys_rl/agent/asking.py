"""A learned asker: what the knowledge gradient says of a question, corrected by a small network.

The candidates are the items of the asked half that are likest to be liked. The actor is a softmax
over them of the knowledge gradient and of what its network adds (residual policy learning: Silver
et al., arXiv 1812.06298); the network starts at 0, so that the actor starts at the knowledge
gradient. The critic is Q(s, c), the share of liked items among the ten recommended at the end.

B = batch, C = candidates, J = leaders of the list, F = features.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from recsys_rl.baselines.asking import LIST, Belief, gradient_of, only
from recsys_rl.data.histories import POSITIVE, Histories
from recsys_rl.embeddings.like_posterior import LikeGaussian
from recsys_rl.envs.elicitation import QUESTIONS

CANDIDATES, LEADERS = 30, 30
FEATURES, OF_STATE = 18, 5
WIDTH = 32
SHARPNESS = 4.0  # of the softmax of the knowledge gradient, in its standard deviations
EDGE = 0.05  # in expected likes: what is so close to the tenth of the list may enter or leave it


class Read(NamedTuple):
    """candidates: int64 [B, C]. features: float32 [B, C, F]."""

    candidates: Tensor
    features: Tensor


@torch.no_grad()
def read(gaussian: LikeGaussian, histories: Histories, questions: int) -> Read:
    """What each question could change.

    The knowledge gradient comes first, mean 0 and variance 1 among the candidates. The last five
    are of the state: how many likes and how many others are known, as log(1 + n), t / T, log T, and
    the mean expected like of the ten best. questions: T, which t / T does not tell at the start.
    """
    belief = Belief(gaussian, histories)
    candidates, leaders = belief.candidates(CANDIDATES), belief.leaders(LEADERS)
    mean = belief.expected.gather(1, leaders)  # (B, J), best first
    liked = belief.expected.gather(1, candidates)  # (B, C)
    variance = belief.variance(candidates)
    spread = variance + belief.noise[candidates]
    lift = belief.lift(candidates, leaders)  # (B, C, J)
    size, chance = lift.abs(), liked.clamp(0, 1)
    near = torch.exp(-(mean - mean[:, LIST - 1 : LIST]).abs() / EDGE).unsqueeze(1)
    likes = histories.rating >= POSITIVE
    known = [
        kind.sum(1, keepdim=True).float().log1p().expand_as(liked)
        for kind in (likes, (histories.item < gaussian.n_items) & ~likes)
    ]
    columns = [
        _standardised(gradient_of(belief, candidates, leaders, lift)),
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
        *known,
        histories.clock.expand_as(liked),
        torch.full_like(liked, questions).log(),
        mean[:, :LIST].mean(1, keepdim=True).expand_as(liked),
    ]
    return Read(candidates, torch.stack(columns, 2))


def _standardised(scores: Tensor) -> Tensor:
    """Mean 0 and variance 1 in each row."""
    spread = scores.std(1, keepdim=True).clamp(min=1e-9)
    return (scores - scores.mean(1, keepdim=True)) / spread


class Asker(nn.Module):
    """Scores of questions from histories, as other askers give them.

    critic: Q of each candidate is the mean expected like of the ten best now, and what its network
    adds to that. questions: how many there are in a session.
    """

    def __init__(
        self,
        gaussian: LikeGaussian,
        generator: torch.Generator | None = None,
        questions: int = QUESTIONS,
    ) -> None:
        super().__init__()
        self.gaussian, self.questions = gaussian, questions
        self.actor, self.critic = _network(generator), _network(generator)
        self.register_buffer("centre", torch.zeros(FEATURES))
        self.register_buffer("scale", torch.ones(FEATURES))

    def read(self, histories: Histories) -> Read:
        return read(self.gaussian, histories, self.questions)

    def fit_scale(self, features: Tensor) -> None:
        """Mean and spread of features [..., F], which the networks read in these units.

        Those of the state stay as they are: they are of the order of 1, and alike in sessions that
        start together.
        """
        seen = features.flatten(0, -2)[:, :-OF_STATE]
        self.centre[:-OF_STATE] = seen.mean(0)
        self.scale[:-OF_STATE] = seen.std(0).clamp(min=1e-4)

    def logits(self, features: Tensor) -> Tensor:
        """Of the softmax over candidates: [..., F] -> [...]."""
        return SHARPNESS * features[..., 0] + self._added(self.actor, features)

    def values(self, features: Tensor) -> Tensor:
        """Q of candidates: [..., F] -> [...]."""
        return features[..., -1] + self._added(self.critic, features)

    def _added(self, network: nn.Module, features: Tensor) -> Tensor:
        return network((features - self.centre) / self.scale).squeeze(-1)

    @torch.no_grad()
    def score(self, histories: Histories) -> Tensor:
        """-> float32 [B, V], -inf for what is no candidate."""
        candidates, features = self.read(histories)
        return only(candidates, self.logits(features), self.gaussian.n_items)

    @torch.no_grad()
    def q(self, histories: Histories, item: Tensor) -> Tensor:
        """Q of asking items int64 [B], which are candidates -> float32 [B]."""
        candidates, features = self.read(histories)
        place = (candidates == item.unsqueeze(1)).int().argmax(1, keepdim=True)
        return self.values(features).gather(1, place).squeeze(1)


def _network(generator: torch.Generator | None) -> nn.Sequential:
    """Starts at 0."""
    first, last = nn.Linear(FEATURES, WIDTH), nn.Linear(WIDTH, 1)
    nn.init.normal_(first.weight, std=FEATURES**-0.5, generator=generator)
    for zero in (first.bias, last.weight, last.bias):
        nn.init.zeros_(zero)
    return nn.Sequential(first, nn.Tanh(), last)
