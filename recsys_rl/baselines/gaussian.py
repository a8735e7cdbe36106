"""A Gaussian of likes."""

from __future__ import annotations

import operator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys_rl.data.interactions import Histories, Interactions
from recsys_rl.data.observation import Observation, likes_and_rejections
from recsys_rl.embeddings.cooccurrence import like_components
from recsys_rl.states.linear import no_profile


class GaussianLikes(nn.Module):
    """Likes as one Gaussian over all films; a person is its mean given the answers so far.

    A person likes film i (1) or not (0) as m_i + x_i . z + e_i, with z ~ N(0, I) of the person and
    e_i ~ N(0, s_i). m and x are counted from the training people, and so is s but for a number that
    is added to it: nothing is trained. Of answers y to the films S the posterior mean of z is

        z = X_S' (X_S X_S' + diag s_S)^-1 (y_S - m_S),

    a Gaussian process on films with the covariance of their likes as kernel (Rasmussen & Williams
    2006, eq. 2.25), or a ridge regression in which the answers are weighted by 1 / s.

    mean: float32 [V], m. components: float32 [V, k], x. noise: float32 [V], s > 0.
    """

    tuned = False  # as vectors of an agent they stay: learned on, they fit the training people
    scores_are_rewards = True
    trust = (8.0, 6.0)

    def __init__(self, mean: Tensor, components: Tensor, noise: Tensor) -> None:
        super().__init__()
        self.register_buffer("noise", noise)  # (V,)
        self._latest: tuple[tuple[Tensor, ...], Tensor] | None = None
        # not saved: an agent that reads them has them among its own film vectors
        self.register_buffer("film_vectors", torch.empty(0), persistent=False)
        self.become(torch.cat([components, mean.unsqueeze(1)], 1))

    def become(self, film_vectors: Tensor) -> None:
        """The Gaussian with these x and m, float32 [V, k + 1], and the noise that it has."""
        self.film_vectors, self._latest = film_vectors, None
        components, mean = film_vectors[:, :-1], film_vectors[:, -1]
        # with a film more, the padding, which says nothing
        padded = F.pad(components, (0, 0, 0, 1))
        self._covariance, self._components = padded @ padded.T, padded.contiguous()
        self._mean, self._noise = F.pad(mean, (0, 1)), F.pad(self.noise, (0, 1), value=1.0)

    @classmethod
    def fit(
        cls, train: Interactions, k: int, generator: torch.Generator, noise: float = 0.02
    ) -> GaussianLikes:
        """k principal components; what they leave of each film's variance, plus `noise`, is s."""
        mean, components = like_components(train, k, generator)
        left = mean * (1 - mean) - components.square().sum(1)
        return cls(mean, components, left.clamp(min=0) + noise)

    def profile(self, histories: Histories) -> Tensor:
        return no_profile(histories)

    def __deepcopy__(self, memo: dict) -> GaussianLikes:
        """Itself: nothing in it is trained, and its covariance is large."""
        return self

    def person(self, observation: Observation) -> Tensor:
        """z and a 1 for the mean, float32 [B, k + 1]: its product with `film_vectors` scores.

        The latest observation is kept with what came of it: actor and critic ask about the same.
        """
        asked = observation.memory, observation.rejected
        if not (self._latest and all(map(operator.is_, asked, self._latest[0]))):
            self._latest = asked, self._posterior(observation)
        return self._latest[1]

    @torch.no_grad()
    def _posterior(self, observation: Observation) -> Tensor:
        film, answer = _answers(observation, len(self.film_vectors))  # (B, S)
        pairs = film.unsqueeze(2) * len(self._mean) + film.unsqueeze(1)
        kernel = self._covariance.take(pairs)  # (B, S, S)
        kernel.diagonal(dim1=1, dim2=2).add_(self._noise[film])
        surprise = (answer - self._mean[film]).unsqueeze(2)
        weight = torch.cholesky_solve(surprise, torch.linalg.cholesky(kernel)).squeeze(2)
        z = F.embedding_bag(film, self._components, per_sample_weights=weight, mode="sum")
        return F.pad(z, (0, 1), value=1.0)

    def score(self, histories: Histories) -> Tensor:
        """Expected likes of all films from whole histories -> float32 [B, V]."""
        width = max(1, histories.item.shape[1])
        memories = likes_and_rejections(histories, width, len(self.film_vectors))
        return self.person(Observation(histories.user, *memories)) @ self.film_vectors.T


def _answers(observation: Observation, n_items: int) -> tuple[Tensor, Tensor]:
    """The films of both memories, int64 [B, S], and 1 if liked, 0 if not, float32 [B, S].

    Padding moves to the end, and as many columns as everybody has of it are left out; what it
    answers is of no account, as it has no covariance with any film.
    """
    film = torch.cat([observation.memory, observation.rejected], 1)
    liked = torch.zeros_like(film, dtype=torch.float32)
    liked[:, : observation.memory.shape[1]] = 1
    there = film < n_items
    order = there.int().argsort(dim=1, descending=True, stable=True)
    order = order[:, : max(1, int(there.sum(1).max()) if len(film) else 1)]
    return film.gather(1, order), liked.gather(1, order)
