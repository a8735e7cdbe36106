"""What to ask a user of whom little is known: scores of questions, given the answers so far.

Every asker scores all items from histories, whose `shown` are the items of the other half, those
that may be recommended after the last answer (`ElicitationEnv`). Random, popular and greedy
questions are scored by `Random`, `Popularity` and `LikeGaussian.score`.

Sources: Rashid et al., IUI 2002 (entropy, popularity); Frazier et al., SIAM J. Control Optim.
47(5), 2008 (the knowledge gradient).

B = batch, V = n_items, C = candidates, J = items that may be recommended, p = width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recsys_rl.data.counts import check_counts
from recsys_rl.data.histories import Histories, exclusion_mask
from recsys_rl.embeddings.like_posterior import LikeGaussian, Posterior

LIST = 10  # items that are recommended
CERTAIN = 0.02  # no answer is expected with more than 1 - this


class Belief:
    """What a Gaussian of likes makes of histories.

    posterior: of the users' factors. expected: likes of all items, float32 [B, V]. excluded: items
    that cannot be asked, bool [B, V]. judged: those that may be recommended, int64 [B, J].
    """

    def __init__(self, gaussian: LikeGaussian, histories: Histories) -> None:
        self.vectors, self.noise = gaussian.item_vectors, gaussian.noise
        self.posterior: Posterior = gaussian.posterior(histories)
        self.expected = self.posterior.user_vector @ self.vectors.T
        self.excluded = exclusion_mask(histories, len(self.noise))
        self.judged = histories.shown

    def candidates(self, count: int) -> Tensor:
        """Those of the items that may be asked that are likest to be liked -> int64 [B, C]."""
        count = min(count, int((~self.excluded).sum(1).min()))
        return self.expected.masked_fill(self.excluded, -torch.inf).topk(count).indices

    def leaders(self, count: int) -> Tensor:
        """Those of the items that may be recommended that lead the list -> int64 [B, J]."""
        scores = self.expected.gather(1, self.judged)
        best = scores.topk(min(count, scores.shape[1])).indices
        return self.judged.gather(1, best)

    def covariance(self, one: Tensor, other: Tensor) -> Tensor:
        """Of the likes of items [B, C] and [B, J], without noise -> float32 [B, C, J]."""
        x, y = self.vectors[one, :-1], self.vectors[other, :-1]
        return x @ y.mT - self.posterior.seen(x) @ self.posterior.seen(y).mT

    def lift(self, one: Tensor, other: Tensor) -> Tensor:
        """How much an answer of 1 more to items [B, C] lifts the means of others -> [B, C, J]."""
        spread = self.variance(one) + self.noise[one]
        return self.covariance(one, other) / spread.unsqueeze(2)

    def variance(self, items: Tensor) -> Tensor:
        """Of the like of items [B, C], without noise -> float32 [B, C]."""
        x = self.vectors[items, :-1]
        return x.square().sum(2) - self.posterior.seen(x).square().sum(2)


def only(candidates: Tensor, scores: Tensor, n_items: int) -> Tensor:
    """Scores [B, C] of candidates, -inf for all other items -> float32 [B, V]."""
    return scores.new_full((len(scores), n_items), -torch.inf).scatter_(1, candidates, scores)


class VarianceQuestions:
    """The item whose like is least certain: the largest variance of the posterior."""

    def __init__(self, gaussian: LikeGaussian) -> None:
        self.gaussian = gaussian

    def __call__(self, histories: Histories) -> Tensor:
        belief = Belief(self.gaussian, histories)
        x = belief.vectors[:, :-1]
        return x.square().sum(1) - (belief.posterior.root @ x.T).square().sum(1)


class EntropyQuestions:
    """The item whose answer is least certain: the largest entropy of the expected like."""

    def __init__(self, gaussian: LikeGaussian) -> None:
        self.gaussian = gaussian

    def __call__(self, histories: Histories) -> Tensor:
        p = Belief(self.gaussian, histories).expected.clamp(1e-6, 1 - 1e-6)
        return -(p * p.log() + (1 - p) * (1 - p).log())


class KnowledgeGradient:
    """The question whose answer is expected to lift the list most, one step ahead.

    Of each of `candidates` items (the likest to be liked) it takes both answers, weighted by the
    expected like, and sums the ten best posterior means of what may be recommended after each.
    leaders: only so many items that lead the list now are looked at; None: all.
    """

    def __init__(
        self, gaussian: LikeGaussian, candidates: int = 30, leaders: int | None = 30
    ) -> None:
        check_counts(candidates=candidates)
        if leaders is not None:
            check_counts(leaders=leaders)
        self.gaussian, self.candidates, self.leaders = gaussian, candidates, leaders

    def __call__(self, histories: Histories) -> Tensor:
        belief = Belief(self.gaussian, histories)
        candidates = belief.candidates(self.candidates)
        leaders = belief.judged if self.leaders is None else belief.leaders(self.leaders)
        gained = knowledge_gradient(belief, candidates, leaders)
        return only(candidates, gained, belief.expected.shape[1])


def knowledge_gradient(belief: Belief, candidates: Tensor, leaders: Tensor) -> Tensor:
    """Expected sum of the ten best means after the answer less that before it -> float32 [B, C]."""
    return gradient_of(belief, candidates, leaders, belief.lift(candidates, leaders))


def gradient_of(belief: Belief, candidates: Tensor, leaders: Tensor, lift: Tensor) -> Tensor:
    """The same where `Belief.lift` is known already."""
    mean = belief.expected.gather(1, leaders).unsqueeze(1)  # (B, 1, J)
    liked = belief.expected.gather(1, candidates)  # (B, C)
    chance = liked.clamp(CERTAIN, 1 - CERTAIN)
    yes = best_sum(mean + lift * (1 - liked).unsqueeze(2))
    no = best_sum(mean - lift * liked.unsqueeze(2))
    return chance * yes + (1 - chance) * no - best_sum(mean)


def best_sum(means: Tensor) -> Tensor:
    """Of the ten largest in the last dimension."""
    return means.topk(min(LIST, means.shape[-1]), sorted=False).values.sum(-1)
