"""Matrix factorisation of ratings by alternating least squares.

Source: Zhou et al., AAIM 2008 (a ridge times the number of ratings).

U = users, V = items, k = factors, N = ratings.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from recsys_rl.data.counts import check_counts, check_numbers, check_positive
from recsys_rl.data.devices import on_cpu
from recsys_rl.data.interactions import Interactions, refuse_empty


@dataclass(frozen=True, eq=False)
class RatingFactors:
    """rating of u for i ~ user[u] . item[i]; float32 [U, k] and [V, k].

    Who has no rating, or what has none, has the vector 0. places: float32 [V, p], where the items
    lie (`embeddings/places.py`), if somebody found out.
    """

    user: Tensor
    item: Tensor
    places: Tensor | None = field(default=None, kw_only=True)

    @classmethod
    def fit(
        cls,
        user: Tensor,
        item: Tensor,
        rating: Tensor,
        n_users: int,
        n_items: int,
        k: int,
        *,
        ridge: float,
        rounds: int = 15,
        generator: torch.Generator,
    ) -> RatingFactors:
        """user, item: int64 [N]; rating: float32 [N]."""
        check_counts(k=k, rounds=rounds)
        check_numbers(0, ridge=ridge)
        start = torch.randn(n_items, k, generator=generator, device=generator.device) / k
        start = start.to(rating.device)
        items = start + (rating.mean() / k) ** 0.5
        for _ in range(rounds):
            users = _solved(user, items[item], rating, n_users, ridge)
            items = _solved(item, users[user], rating, n_items, ridge)
        return cls(users, items)

    @classmethod
    def of(cls, log: Interactions, k: int, generator: torch.Generator) -> RatingFactors:
        """From ratings without noise, as users of a simulated world give them."""
        refuse_empty(log)
        rows = log.user, log.item, log.rating
        return cls.fit(*rows, log.n_users, log.n_items, k, ridge=1e-2, generator=generator)

    def rotated(self) -> RatingFactors:
        """The same ratings by users whose factors have the second moment I.

        Then the distance of two item vectors is the root mean square of how differently the users
        rate the two.
        """
        known = self.user[self.user.abs().sum(1) > 0]
        moment = known.T @ known / len(known)
        eye = torch.eye(len(moment), device=moment.device)
        root = torch.linalg.cholesky(moment + 1e-6 * moment.trace() * eye)
        user = torch.linalg.solve_triangular(root, self.user.T, upper=False).T
        return RatingFactors(user, self.item @ root, places=self.places)

    def prior(self) -> tuple[Tensor, Tensor]:
        """Mean [k] and precision [k, k] of the users who have ratings."""
        known = self.user[self.user.abs().sum(1) > 0]
        spread = torch.cov(known.T) + 1e-3 * torch.eye(known.shape[1], device=known.device)
        return known.mean(0), torch.linalg.inv(spread)


@dataclass(frozen=True, eq=False)
class DescribedFactors(RatingFactors):
    """With what is known of every film beside its ratings; films: float32 [V, p]."""

    films: Tensor


def posterior_mean(
    vectors: Tensor, rating: Tensor, mean: Tensor, precision: Tensor, noise: float
) -> Tensor:
    """Of the factors of B users, rating ~ N(u . q, noise), u ~ N(mean, precision^-1) -> [B, k].

    vectors: float32 [B, H, k], 0 at padding; rating: float32 [B, H].
    """
    check_positive(noise=noise)
    told = (vectors * rating.unsqueeze(2)).sum(1) / noise
    gram = precision + vectors.mT @ vectors / noise
    # whether it could be done is asked on the CPU alone: elsewhere it would be waited for
    solved = torch.linalg.solve_ex(gram, precision @ mean + told, check_errors=on_cpu(gram))
    return solved.result


def _solved(row: Tensor, vectors: Tensor, rating: Tensor, size: int, ridge: float) -> Tensor:
    """Least squares of each row's ratings on the vectors beside them [N, k] -> [size, k]."""
    k = vectors.shape[1]
    products = (vectors.unsqueeze(2) * vectors.unsqueeze(1)).flatten(1)  # (N, k k)
    gram = vectors.new_zeros(size, k * k).index_add_(0, row, products).view(size, k, k)
    right = vectors.new_zeros(size, k).index_add_(0, row, vectors * rating.unsqueeze(1))
    counts = torch.bincount(row, minlength=size).clamp(min=1)
    eye = torch.eye(k, device=gram.device)
    return torch.linalg.solve(gram + ridge * counts.view(-1, 1, 1) * eye, right)
