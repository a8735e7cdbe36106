"""LinUCB and HLinUCB: linear models that learn a user from a history, with a bonus.

Sources: Li et al., WWW 2010, arXiv 1003.0146 (LinUCB, Algorithm 1); Wang, Wu & Wang, CIKM 2016,
"Learning hidden features for contextual bandits" (HLinUCB).

B = batch, H = length of a history, V = n_items, d = width of the items' vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from recsys_rl.data.counts import check_counts, check_numbers, check_positive
from recsys_rl.data.histories import Histories
from recsys_rl.data.interactions import Interactions, refuse_empty
from recsys_rl.data.memory_limit import refuse_dense
from recsys_rl.data.rewards import Reward, liked_reward


def _squares(vectors: Tensor) -> Tensor:
    """x x' of each row x of [V, d] -> [V, d * d]: sums of them, and x' A x, are matrix products."""
    return (vectors.unsqueeze(2) * vectors.unsqueeze(1)).flatten(1)


class LinUCB:
    """theta . x + alpha sqrt(x' A^-1 x): one ridge regression for each user, on items' vectors x.

    A = ridge I + sum x x' over the items of the history, theta = A^-1 (ridge prior + sum r x). In
    Li et al. ("disjoint") an arm owns the regression and the visitor is the context; here the
    user owns it and the item is the context, as where DRR is compared with LinUCB. Nothing is
    kept between calls: the history is all that a user's regression is made of.

    item_vectors: float32 [V, d]; include a column of ones. prior: float32 [d], the theta of a
    user without history, 0 by default. reward: of the stars of a history; 0 stars (SHOWN) are a
    item that was shown and not liked, and count.
    """

    def __init__(
        self,
        item_vectors: Tensor,
        *,
        alpha: float = 0.1,
        ridge: float = 1.0,
        prior: Tensor | None = None,
        reward: Reward = liked_reward,
    ) -> None:
        check_numbers(0, alpha=alpha)
        check_positive(ridge=ridge)
        self.vectors = item_vectors
        self.alpha, self.ridge, self.reward = alpha, ridge, reward
        self.prior = item_vectors.new_zeros(item_vectors.shape[1]) if prior is None else prior
        self._padded = F.pad(item_vectors, (0, 0, 0, 1))  # row V: padding teaches nothing
        self._squares = _squares(item_vectors)

    def regression(self, histories: Histories) -> tuple[Tensor, Tensor]:
        """theta [B, d] and A^-1 [B, d, d] of each user, from the history."""
        seen = self._padded[histories.item]  # (B, H, d)
        gain = self.reward(histories.rating.clone()).unsqueeze(2)  # (B, H, 1)
        start = self.ridge * torch.eye(seen.shape[2], device=seen.device)
        root = _cholesky(start + seen.mT @ seen, "ridge", self.ridge)
        inverse = torch.cholesky_inverse(root)
        total = self.ridge * self.prior.unsqueeze(1) + seen.mT @ gain  # (B, d, 1)
        return (inverse @ total).squeeze(2), inverse

    def __call__(self, histories: Histories) -> Tensor:
        """Upper confidence bounds of the rewards of all items -> float32 [B, V]."""
        theta, inverse = self.regression(histories)
        return theta @ self.vectors.T + self.alpha * self.width(histories, inverse)

    def width(self, histories: Histories, inverse: Tensor) -> Tensor:
        """sqrt(x' A^-1 x) of all items x -> float32 [B, V]; `inverse` is A^-1, [B, d, d].

        Where a history is shorter than the vectors, A^-1 = (I - X' (ridge I + X X')^-1 X) / ridge
        (Woodbury), X being its items [H, d]: B H d V operations in place of B d^2 V.
        """
        if histories.item.shape[1] >= len(self.prior):
            return _width(inverse, self._squares)
        seen = self._padded[histories.item]  # (B, H, d)
        small = self.ridge * torch.eye(seen.shape[1], device=seen.device) + seen @ seen.mT
        root = _cholesky(small, "ridge", self.ridge)
        told = torch.linalg.solve_triangular(root, seen, upper=False) @ self.vectors.T  # (B, H, V)
        left = self.vectors.square().sum(1) - told.square_().sum(1)
        return left.div_(self.ridge).clamp_(min=0).sqrt_()


def _width(inverse: Tensor, squares: Tensor) -> Tensor:
    """sqrt(x' A^-1 x) of A^-1 [B, d, d] and x x' [V, d * d] -> float32 [B, V]."""
    return (inverse.flatten(1) @ squares.T).clamp_(min=0).sqrt_()


class HLinUCB(LinUCB):
    """LinUCB on [x, v]: known features x of the items beside hidden ones v, which are learned.

    Wang et al. learn v online: after every answer one step of coordinate descent, the ridge
    regressions of the user's theta and of the item's v in turn. Simplified here: v is learned
    before, from the training users' rows, by the same two regressions in turn for `rounds`
    rounds, and then stays; a user is regressed from their history, as in LinUCB. Kept: a
    confidence term for the user, alpha, and one for the item, item_alpha sqrt(theta_v' C^-1
    theta_v), with C of the last regression of v. Added: the prior mean of theta, 0 for the hidden
    part.

    hidden: number of hidden features. ridge: of theta, while learning and afterwards; item_ridge:
    of v, and the larger it is, the smaller v and the larger theta_v. It matters: only where theta_v
    varies by about 1, like the coordinates of `like_vectors`, does `ridge` suit a short history
    (ML-1M, unrated_is_0: hundreds). unrated_is_0: every item that a training user has not rated
    teaches a reward of 0, for sessions in which such items count as not liked; without it only the
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
        reward: Reward = liked_reward,
        unrated_is_0: bool = False,
    ) -> None:
        check_counts(hidden=hidden, rounds=rounds)
        check_numbers(0, item_alpha=item_alpha)
        check_positive(ridge=ridge, item_ridge=item_ridge)
        refuse_empty(train)
        known = item_vectors.shape[1]
        prior = F.pad(item_vectors.new_zeros(known) if prior is None else prior, (0, hidden))
        taught, gain = _table(train, reward, unrated_is_0)
        size, there = (len(item_vectors), hidden), gain.device
        v = torch.randn(size, generator=generator, device=generator.device).to(there) * 0.1
        for _ in range(rounds):
            theta, _ = _regressions(taught, gain, torch.cat([item_vectors, v], 1), ridge, prior)
            rest = gain - taught * (theta[:, :known] @ item_vectors.T)  # what is left for v
            v, self._item_inverse = _regressions(
                taught.T, rest.T, theta[:, known:], item_ridge, v.new_zeros(hidden), "item_ridge"
            )
        self.item_alpha, self.hidden = item_alpha, hidden
        vectors = torch.cat([item_vectors, v], 1)
        super().__init__(vectors, alpha=alpha, ridge=ridge, prior=prior, reward=reward)

    def __call__(self, histories: Histories) -> Tensor:
        theta, inverse = self.regression(histories)
        of_user = self.alpha * self.width(histories, inverse)
        of_item = self.item_alpha * _width(self._item_inverse, _squares(theta[:, -self.hidden :])).T
        return theta @ self.vectors.T + of_user + of_item


def _cholesky(matrix: Tensor, name: str, ridge: float) -> Tensor:
    """The lower root of Gram matrices with a ridge; ValueError where they are not positive definite
    in their precision: the ridge is too small, or so large that the rest is rounded away."""
    try:
        return torch.linalg.cholesky(matrix)
    except torch.linalg.LinAlgError:
        words = "does not suit the vectors: choose one of about their squares"
        raise ValueError(f"{name} = {ridge:g} {words}") from None


def refuse_users(train: Interactions) -> None:
    """ValueError where HLinUCB has too many users and items for its dense tables."""
    users = int((train.offsets.diff() > 0).sum())
    instead = "choose LinUCB, leave out films by min_ratings"
    refuse_dense(users, train.n_items, "HLinUCB", instead, each=16)


def _table(train: Interactions, reward: Reward, unrated_is_0: bool) -> tuple[Tensor, Tensor]:
    """Which pairs teach (1 or 0) and their rewards -> float32 [U, V] twice, U users with rows."""
    refuse_users(train)
    users = train.offsets.diff().nonzero().squeeze(1)
    position, row = train.rows_of(users)
    gain = train.rating.new_zeros(len(users), train.n_items)
    gain[position, train.item[row]] = reward(train.rating[row])
    there = torch.ones_like(gain) if unrated_is_0 else train.mask_of(users).float()
    return there, gain


def _regressions(
    there: Tensor,
    gain: Tensor,
    features: Tensor,
    ridge: float,
    prior: Tensor,
    name: str = "ridge",
) -> tuple[Tensor, Tensor]:
    """P ridge regressions at once, each on those of Q features [Q, d] that are `there` [P, Q].

    gain [P, Q], 0 where not there; prior [d] -> weights [P, d], inverse Gram matrices [P, d, d].
    """
    width = features.shape[1]
    gram = (there @ _squares(features)).unflatten(1, (width, width))
    gram = gram + ridge * torch.eye(width, device=gram.device)
    inverse = torch.cholesky_inverse(_cholesky(gram, name, ridge))
    total = ridge * prior + gain @ features  # (P, d)
    return (inverse @ total.unsqueeze(2)).squeeze(2), inverse
