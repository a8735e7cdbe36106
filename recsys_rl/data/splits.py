"""Train, validation and test parts: by the last rows, by rows, by users, by time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np
import torch
from torch import Tensor

from recsys_rl.data.counts import check_counts, check_numbers
from recsys_rl.data.devices import CPU, generator_on
from recsys_rl.data.interactions import Interactions


@dataclass(frozen=True, eq=False)
class Split:
    """Three disjoint parts of one set of interactions, with the same id maps."""

    train: Interactions
    validation: Interactions
    test: Interactions


def _split(interactions: Interactions, validation: Tensor, test: Tensor) -> Split:
    parts = (~(validation | test), validation, test)
    return Split(*(interactions.select(mask) for mask in parts))


def _check_shares(*shares: float) -> None:
    if not all(isinstance(share, Real) and share >= 0 for share in shares) or sum(shares) >= 1:
        raise ValueError(f"shares must not be negative and must leave a training part: {shares}")


def leave_one_out(interactions: Interactions) -> Split:
    """Each user's last row is test, the one before it validation (He et al., WWW 2017).

    A user with fewer than three rows is in train only.
    """
    offsets, user = interactions.offsets, interactions.user
    enough = (offsets.diff() >= 3)[user]
    from_end = offsets[user + 1] - torch.arange(len(user), device=user.device)  # 1 = last
    return _split(interactions, enough & (from_end == 2), enough & (from_end == 1))


A_DAY = 86_400  # seconds


def after_a_pause(interactions: Interactions, pause: int = A_DAY) -> Split:
    """The first row after each user's last pause of at least `pause` seconds is test.

    All that follows it is in no part, users who never paused are in train whole, and there is no
    validation part.
    """
    if not isinstance(pause, Real) or not 0 <= pause < 2**63:
        raise ValueError(f"pause is a number of seconds, not {pause!r}")
    user, time = interactions.user, interactions.timestamp
    paused = torch.zeros_like(user, dtype=torch.bool)
    gap = time[1:] - time[:-1]  # in order, so below 0 where it is too large for a number
    paused[1:] = (user[1:] == user[:-1]) & ((gap >= pause) | (gap < 0))
    row = torch.arange(len(user), device=user.device)
    last = user.new_full((interactions.n_users,), len(user))  # row of the test item, or past all
    last.scatter_reduce_(0, user[paused], row[paused], "amax", include_self=False)
    train, test = row < last[user], row == last[user]
    return Split(*(interactions.select(mask) for mask in (train, torch.zeros_like(test), test)))


def random_split(
    interactions: Interactions,
    test_share: float = 0.2,
    seed: int = 0,
    validation_share: float = 0.0,
) -> Split:
    """By rows, uniformly at random (Liu et al.: 80 / 20). The same seed, the same split."""
    _check_shares(test_share, validation_share)
    n = len(interactions)
    n_test, n_validation = round(n * test_share), round(n * validation_share)
    order = torch.randperm(n, generator=generator_on(CPU, seed), device=CPU)
    test, validation = torch.zeros(2, n, dtype=torch.bool, device=CPU)
    test[order[:n_test]] = True
    validation[order[n_test : n_test + n_validation]] = True
    there = interactions.user.device
    return _split(interactions, validation.to(there), test.to(there))


def split_users(
    n_users: int,
    shares: Sequence[float] = (0.8, 0.1, 0.1),
    generator: torch.Generator | None = None,
) -> tuple[Tensor, ...]:
    """Whole users at random: one ascending int64 row of user indices for each share.

    Without a generator the split is that of seed 0. Raises ValueError unless shares add up to 1.
    """
    generator = generator or generator_on(CPU, 0)
    check_counts(n_users=n_users)
    listed = isinstance(shares, Sequence) and all(isinstance(s, Real) and s >= 0 for s in shares)
    if not listed or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"shares must not be negative and must add up to 1: {shares}")
    order = torch.randperm(n_users, generator=generator, device=CPU)
    bounds = np.rint(np.cumsum(shares) * n_users).astype(int)
    return tuple(part.sort().values for part in order.tensor_split(bounds[:-1].tolist()))


def split_by_time(
    interactions: Interactions, test_share: float = 0.1, validation_share: float = 0.1
) -> Split:
    """Two global times cut the log: every training row is older than every validation row, and
    those are older than every test row. Rows at a cut's own time stay on the older side."""
    _check_shares(test_share, validation_share)
    time = interactions.timestamp
    ordered, n = time.sort().values, len(time)
    if not n:
        return _split(interactions, time > 0, time > 0)
    train_rows = max(1, round(n * (1 - test_share - validation_share)))
    train_end = ordered[train_rows - 1]
    validation_end = ordered[max(train_rows, round(n * (1 - test_share))) - 1]
    return _split(
        interactions, (time > train_end) & (time <= validation_end), time > validation_end
    )


def split_holdout_users(
    log: Interactions, share: float, seed: int
) -> tuple[Interactions, Interactions]:
    """Rows of the users met in pretraining, and of the `share` who are met in DDPG only.

    Without a share all users are in both; ValueError for one below 0 or above 1.
    """
    check_numbers(0, 1, share=share)
    if not share:
        return log, log
    users = (log.offsets.diff() > 0).nonzero().squeeze(1)
    order = torch.randperm(len(users), generator=generator_on(CPU, seed), device=CPU)
    users, count = users[order.to(users.device)], round(share * len(users))
    if count in (0, len(users)):
        raise ValueError(
            f"a share of {share:g} of {len(users):,} users is {count:,}: some must be met, and "
            "some held out"
        )
    later = rows_of_users(log, users[:count])
    return log.select(~later), log.select(later)


def rows_of_users(log: Interactions, users: Tensor) -> Tensor:
    """Which rows are those of `users`, int64 [B] -> bool [N]; a look-up each, no search."""
    if len(users) and not 0 <= int(users.min()) <= int(users.max()) < log.n_users:
        raise ValueError(f"users are indices within 0 .. {log.n_users - 1}")
    chosen = torch.zeros(log.n_users, dtype=torch.bool, device=log.user.device)
    chosen[users.to(chosen.device)] = True
    return chosen[log.user]
