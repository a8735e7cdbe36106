"""Linear models that learn a person from the answers of a session, with and without a bonus.

Sources: Li et al., WWW 2010, arXiv 1003.0146 (LinUCB, Algorithm 1); Wang, Wu & Wang, CIKM 2016,
"Learning hidden features for contextual bandits" (HLinUCB); PCA with a Gaussian prior for the
vectors: Tipping & Bishop 1999; subspace iteration: Halko et al. 2011; Gaussian processes:
Rasmussen & Williams 2006, chapter 2.

B = batch, H = length of a history, V = n_items, d = width of the films' vectors.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from environment import paper_reward
from replay import Observation
from states import PMF
from strangers import likes_and_rejections, no_profile
from utils import POSITIVE, Histories, Interactions

Reward = Callable[[Tensor], Tensor]  # stars -> reward, of the same shape


def liked(rating: Tensor) -> Tensor:
    """1 for 4 stars or more, else 0; so for films that were SHOWN and not liked."""
    return (rating >= POSITIVE).float()


# ---------------------------------------------------------------------------- what films are


def like_components(
    train: Interactions, k: int, generator: torch.Generator, rounds: int = 8
) -> tuple[Tensor, Tensor]:
    """The likes of the training people -> share float32 [V], components float32 [V, k].

    Share: of the people who like the film (not rated is not liked). Components: the k principal
    ones of the likes less that share (fewer, where there are fewer people or films), scaled so that
    over the training people their coordinates have mean 0 and variance 1; the products of two
    films' rows are then their covariance.
    """
    rows = train.select(train.rating >= POSITIVE)
    met = train.offsets.diff() > 0  # people without a row are none of the training's
    likes = rows.mask_of(met.nonzero().squeeze(1)).float()  # (U, V)
    share = likes.mean(0)
    likes = likes.sub_(share).div_(len(likes) ** 0.5)
    width = min(k + 10, *likes.shape)
    basis = torch.randn(train.n_items, width, generator=generator)
    for _ in range(rounds):
        basis = torch.linalg.qr(likes.T @ (likes @ basis)).Q
    _, spread, turn = torch.linalg.svd(likes @ basis, full_matrices=False)
    return share, (basis @ turn.T * spread)[:, :k]


def like_vectors(train: Interactions, k: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Films by who likes them -> vectors float32 [V, k + 2], prior mean float32 [k + 2].

    Columns: the share; the k components of `like_components` (fewer where it finds fewer), scaled
    alike, so that one ridge penalty suits them all; 1. The prior, 1 for the share and 0 for the
    rest, is the average training person.
    """
    share, components = like_components(train, k, generator)
    vectors = torch.cat([share.unsqueeze(1), components, torch.ones(len(share), 1)], 1)
    return vectors, _first(vectors)


def pmf_vectors(pmf: PMF) -> tuple[Tensor, Tensor]:
    """Films as PMF has them -> vectors float32 [V, k + 2], prior mean float32 [k + 2].

    Columns: the reward (stars - 3) / 2 that an average person gives; PMF's vectors, scaled so that
    the coordinates of its people have a variance of 1 in the mean; 1. The prior is that average
    person, 1 for the first column and 0 for the rest.
    """
    with torch.no_grad():
        average = paper_reward(pmf.mean + pmf.user_bias.mean() + pmf.item_bias).unsqueeze(1)
        components = pmf.item * pmf.user.square().mean().sqrt() / 2
        vectors = torch.cat([average, components, torch.ones_like(average)], 1)
    return vectors, _first(vectors)


def _first(vectors: Tensor) -> Tensor:
    """1 for the first column, 0 for the others."""
    return F.one_hot(torch.tensor(0), vectors.shape[1]).float()


def _squares(vectors: Tensor) -> Tensor:
    """x x' of each row x of [V, d] -> [V, d * d]: sums of them, and x' A x, are matrix products."""
    return (vectors.unsqueeze(2) * vectors.unsqueeze(1)).flatten(1)


# ---------------------------------------------------------------------------- a Gaussian of likes


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


# ---------------------------------------------------------------------------- LinUCB


class LinUCB:
    """theta . x + alpha sqrt(x' A^-1 x): one ridge regression for each person, on films' vectors x.

    A = ridge I + sum x x' over the films of the history, theta = A^-1 (ridge prior + sum r x). In
    Li et al. ("disjoint") an arm owns the regression and the visitor is the context; here the
    person owns it and the film is the context, as where DRR is compared with LinUCB. Nothing is
    kept between calls: the history is all that a person's regression is made of.

    item_vectors: float32 [V, d]; include a column of ones. prior: float32 [d], the theta of a
    person without history, 0 by default. reward: of the stars of a history; 0 stars (SHOWN) are a
    film that was shown and not liked, and count.
    """

    def __init__(
        self,
        item_vectors: Tensor,
        *,
        alpha: float = 0.1,
        ridge: float = 1.0,
        prior: Tensor | None = None,
        reward: Reward = liked,
    ) -> None:
        self.vectors = item_vectors
        self.alpha, self.ridge, self.reward = alpha, ridge, reward
        self.prior = torch.zeros(item_vectors.shape[1]) if prior is None else prior
        self._padded = F.pad(item_vectors, (0, 0, 0, 1))  # row V: padding teaches nothing
        self._squares = _squares(item_vectors)

    def person(self, histories: Histories) -> tuple[Tensor, Tensor]:
        """theta [B, d] and A^-1 [B, d, d] of each person, from the history."""
        seen = self._padded[histories.item]  # (B, H, d)
        gain = self.reward(histories.rating).unsqueeze(2)  # (B, H, 1)
        start = self.ridge * torch.eye(seen.shape[2])
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(start + seen.mT @ seen))
        total = self.ridge * self.prior.unsqueeze(1) + seen.mT @ gain  # (B, d, 1)
        return (inverse @ total).squeeze(2), inverse

    def __call__(self, histories: Histories) -> Tensor:
        """Upper confidence bounds of the rewards of all films -> float32 [B, V]."""
        theta, inverse = self.person(histories)
        return theta @ self.vectors.T + self.alpha * self.width(histories, inverse)

    def width(self, histories: Histories, inverse: Tensor) -> Tensor:
        """sqrt(x' A^-1 x) of all films x -> float32 [B, V]; `inverse` is A^-1, [B, d, d].

        Where a history is shorter than the vectors, A^-1 = (I - X' (ridge I + X X')^-1 X) / ridge
        (Woodbury), X being its films [H, d]: B H d V operations in place of B d^2 V.
        """
        if histories.item.shape[1] >= len(self.prior):
            return _width(inverse, self._squares)
        seen = self._padded[histories.item]  # (B, H, d)
        small = self.ridge * torch.eye(seen.shape[1]) + seen @ seen.mT
        root = torch.linalg.cholesky(small)
        told = torch.linalg.solve_triangular(root, seen, upper=False) @ self.vectors.T  # (B, H, V)
        left = self.vectors.square().sum(1) - told.square_().sum(1)
        return left.div_(self.ridge).clamp_(min=0).sqrt_()


def _width(inverse: Tensor, squares: Tensor) -> Tensor:
    """sqrt(x' A^-1 x) of A^-1 [B, d, d] and x x' [V, d * d] -> float32 [B, V]."""
    return (inverse.flatten(1) @ squares.T).clamp_(min=0).sqrt_()


# ---------------------------------------------------------------------------- hidden features


class HLinUCB(LinUCB):
    """LinUCB on [x, v]: known features x of the films beside hidden ones v, which are learned.

    Wang et al. learn v online: after every answer one step of coordinate descent, the ridge
    regressions of the person's theta and of the film's v in turn. Simplified here: v is learned
    before, from the training people's rows, by the same two regressions in turn for `rounds`
    rounds, and then stays; a person is regressed from their history, as in LinUCB. Kept: a
    confidence term for the person, alpha, and one for the film, item_alpha sqrt(theta_v' C^-1
    theta_v), with C of the last regression of v. Added: the prior mean of theta, 0 for the hidden
    part.

    hidden: number of hidden features. ridge: of theta, while learning and afterwards; item_ridge:
    of v, and the larger it is, the smaller v and the larger theta_v. It matters: only where theta_v
    varies by about 1, like the coordinates of `like_vectors`, does `ridge` suit a short history
    (ML-1M, unrated_is_0: hundreds). unrated_is_0: every film that a training person has not rated
    teaches a reward of 0, for sessions in which such films count as not liked; without it only the
    rows teach.
    """

    def __init__(
        self,
        item_vectors: Tensor,
        train: Interactions,
        *,
        generator: torch.Generator,
        hidden: int = 5,
        rounds: int = 10,
        alpha: float = 0.1,
        item_alpha: float = 0.0,
        ridge: float = 1.0,
        item_ridge: float = 1.0,
        prior: Tensor | None = None,
        reward: Reward = liked,
        unrated_is_0: bool = False,
    ) -> None:
        known = item_vectors.shape[1]
        prior = F.pad(torch.zeros(known) if prior is None else prior, (0, hidden))
        there, gain = _table(train, reward, unrated_is_0)
        v = 0.1 * torch.randn(len(item_vectors), hidden, generator=generator)
        for _ in range(rounds):
            theta, _ = _regressions(there, gain, torch.cat([item_vectors, v], 1), ridge, prior)
            rest = gain - there * (theta[:, :known] @ item_vectors.T)  # what is left for v
            v, self._item_inverse = _regressions(
                there.T, rest.T, theta[:, known:], item_ridge, torch.zeros(hidden)
            )
        self.item_alpha, self.hidden = item_alpha, hidden
        vectors = torch.cat([item_vectors, v], 1)
        super().__init__(vectors, alpha=alpha, ridge=ridge, prior=prior, reward=reward)

    def __call__(self, histories: Histories) -> Tensor:
        theta, inverse = self.person(histories)
        of_person = self.alpha * self.width(histories, inverse)
        of_film = self.item_alpha * _width(self._item_inverse, _squares(theta[:, -self.hidden :])).T
        return theta @ self.vectors.T + of_person + of_film


def _table(train: Interactions, reward: Reward, unrated_is_0: bool) -> tuple[Tensor, Tensor]:
    """Which pairs teach (1 or 0) and their rewards -> float32 [U, V] twice, U people with rows."""
    people = train.offsets.diff().nonzero().squeeze(1)
    position, row = train.rows_of(people)
    gain = torch.zeros(len(people), train.n_items)
    gain[position, train.item[row]] = reward(train.rating[row])
    there = torch.ones_like(gain) if unrated_is_0 else train.mask_of(people).float()
    return there, gain


def _regressions(
    there: Tensor, gain: Tensor, features: Tensor, ridge: float, prior: Tensor
) -> tuple[Tensor, Tensor]:
    """P ridge regressions at once, each on those of Q features [Q, d] that are `there` [P, Q].

    gain [P, Q], 0 where not there; prior [d] -> weights [P, d], inverse Gram matrices [P, d, d].
    """
    width = features.shape[1]
    gram = (there @ _squares(features)).unflatten(1, (width, width)) + ridge * torch.eye(width)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
    total = ridge * prior + gain @ features  # (P, d)
    return (inverse @ total.unsqueeze(2)).squeeze(2), inverse
