"""Implicit feedback by alternating least squares."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys_rl.data.interactions import Histories, Interactions
from recsys_rl.data.observation import Observation
from recsys_rl.embeddings.batching import _transposed, by_length


class ALS(nn.Module):
    """Implicit feedback by alternating least squares (Hu, Koren & Volinsky, ICDM 2008).

    Every film of a history is a 1 that counts `confidence` times, every other film a 0 that counts
    once; vectors of people and films are ridge regressions on each other in turn.
    """

    tuned, scores_are_rewards = True, False
    trust = (2.0,)  # scores run from 0 to 1

    def __init__(
        self,
        log: Interactions,
        k: int = 64,
        *,
        generator: torch.Generator,
        regularization: float = 10.0,
        confidence: float = 4.0,
        sweeps: int = 10,
    ) -> None:
        super().__init__()
        self.regularization, self.confidence = regularization, confidence
        by_film = _transposed(log)
        films = torch.randn(log.n_items, k, generator=generator) * 0.1
        for _ in range(sweeps):
            films = self._solve_all(by_film, self._solve_all(log, films))
        self.film_vectors = nn.Parameter(films, requires_grad=False)

    def profile(self, histories: Histories) -> Tensor:
        """The vectors of people from the films that they rated -> float32 [B, k]."""
        return self._solve(histories, self.film_vectors)

    def person(self, observation: Observation) -> Tensor:
        return observation.profile

    def score(self, histories: Histories) -> Tensor:
        """float32 [B, n_items]."""
        return self.profile(histories) @ self.film_vectors.T

    def _solve_all(self, log: Interactions, vectors: Tensor, batch_size: int = 1024) -> Tensor:
        batches = torch.arange(log.n_users).split(batch_size)
        return torch.cat([self._solve(log.histories(batch), vectors) for batch in batches])

    def _solve(self, histories: Histories, vectors: Tensor) -> Tensor:
        """Ridge on the rows of `vectors` [V, k] that each history names -> float32 [B, k]."""
        once = vectors.T @ vectors + self.regularization * torch.eye(vectors.shape[1])
        padded, extra = F.pad(vectors, (0, 0, 0, 1)), self.confidence - 1
        solved = vectors.new_zeros(len(histories), vectors.shape[1])
        for rows, some in by_length(histories, len(vectors)):
            there = padded[some.item]  # (b, h, k)
            gram = torch.baddbmm(once.expand(len(rows), -1, -1), there.mT, there, alpha=extra)
            moment = self.confidence * there.sum(1, keepdim=True).mT
            solved[rows] = torch.cholesky_solve(moment, torch.linalg.cholesky(gram)).squeeze(2)
        return solved
