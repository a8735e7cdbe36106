"""Linear models of a user that DRR-set may read."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys_rl.data.interactions import Histories
from recsys_rl.data.observation import Observation


def no_profile(histories: Histories) -> Tensor:
    """What stands for a profile where no linear model is asked: float32 [B, 0]."""
    return histories.rating.new_zeros(len(histories), 0)


class LinearModel(Protocol):
    """What DRR-set may read beside its sets: a model whose scores are person . film vector."""

    film_vectors: Tensor  # float32 [n_items, p]
    tuned: bool  # whether they go on learning as film vectors of the agent
    scores_are_rewards: bool  # expectations of what a session pays
    trust: tuple[float, ...]  # what to multiply its scores by at first, see `DRRset.trusted`

    def profile(self, histories: Histories) -> Tensor:
        """What a session keeps of the person from its start, float32 [B, p]; or p = 0."""

    def person(self, observation: Observation) -> Tensor:
        """The vector of the person, float32 [B, p]."""

    def become(self, film_vectors: Tensor) -> None:
        """Where `tuned` is false: the model with these film vectors, which a file has kept."""

    def requires_grad_(self, requires_grad: bool) -> nn.Module: ...


class LikesRidge(nn.Module):
    """A person as a ridge regression on the answers of the session: 1 liked, 0 not.

    LinUCB without a bonus (Li et al., WWW 2010), so a linear model that learns at every step.
    film_vectors: float32 [n_items, p]; prior: float32 [p], the person of whom nothing is known.
    """

    tuned, scores_are_rewards = True, False
    trust = (2.0, 10.0)

    def __init__(self, film_vectors: Tensor, prior: Tensor, ridge: float = 0.4) -> None:
        super().__init__()
        self.register_buffer("ridge", torch.tensor(ridge))  # saved with the agent
        self.film_vectors = nn.Parameter(film_vectors, requires_grad=False)
        self.prior_vectors = nn.Parameter(prior, requires_grad=False)

    def profile(self, histories: Histories) -> Tensor:
        return no_profile(histories)

    @torch.no_grad()
    def person(self, observation: Observation) -> Tensor:
        padded = F.pad(self.film_vectors, (0, 0, 0, 1))
        liked, rejected = padded[observation.memory], padded[observation.rejected]  # (B, n, p)
        gram = liked.mT @ liked + rejected.mT @ rejected
        gram.diagonal(dim1=1, dim2=2).add_(self.ridge)
        total = self.ridge * self.prior_vectors + liked.sum(1)  # (B, p)
        factor = torch.linalg.cholesky(gram)
        return torch.cholesky_solve(total.unsqueeze(2), factor).squeeze(2)
