"""What a model did user by user, and how sure the figures made of it are.

There are two uncertainties, and neither contains the other. Another set of *users*, the trained
model kept: the bootstrap (`Evaluation.interval`, `paired_bootstrap`). Another *training run*, the
users kept: `seed_spread`. Both at once, where values by user are there for several training runs:
`hierarchical_bootstrap`.

A user whose value is NaN does not count. The same seed draws the same users, so that models which
were evaluated on the same ones are compared in pairs.

Sources: Efron & Tibshirani, An Introduction to the Bootstrap, Chapman & Hall 1993 (chapter 13: the
percentile interval); Koehn, EMNLP 2004 (paired bootstrap of two systems on one test set); Davison
& Hinkley, Bootstrap Methods and their Application, Cambridge 1997 (section 3.8: resampling at
several levels); Owen, Annals of Applied Statistics 1(2), 2007 (levels that are crossed); Agarwal et
al., NeurIPS 2021 (few training runs are a sample, too).

U = users, M = metrics, S = training seeds, B = resamples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from numbers import Real
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from recsys_rl.data.arrays import array_of
from recsys_rl.data.counts import MOST, check_counts
from recsys_rl.data.devices import on_cpu
from recsys_rl.data.notes import shortened
from recsys_rl.data.random_streams import check_seed


@dataclass(frozen=True)
class Evaluation:
    """What one model did under one protocol, user by user.

    `metrics`: name -> float32 [U], NaN where a user does not count towards that metric; lists and
    tensors become arrays.
    `users` int64 [U] are user indices; `top` int64 [U, k] ([U, draws, k] in sessions) the lists
    shown, padded with n_items; `weights` float32 [U], where rows and not users are averaged.
    ValueError for weights that can average nothing, for metrics of other users, for users who are
    named twice and would count twice, for what is no number.
    """

    protocol: str
    metrics: dict[str, np.ndarray]
    users: Tensor
    top: Tensor | None = None
    weights: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.users, Tensor):
            raise ValueError(f"users are a tensor, int64 [U], not {type(self.users).__name__}")
        n_users = len(self.users)
        if on_cpu(self.users) and len(self.users.unique()) < n_users:
            raise ValueError("every user is evaluated once: some are named twice or more")
        metrics = {name: _values(name, values) for name, values in self.metrics.items()}
        for name, values in metrics.items():
            if values.shape != (n_users,):
                raise ValueError(f"{name} has one value for each user, [{n_users}]")
        object.__setattr__(self, "metrics", metrics)
        object.__setattr__(self, "weights", _checked_weights(self.weights, n_users))

    def mean(self) -> dict[str, float]:
        """Metric name -> (weighted) mean over the users who count."""
        return {name: _mean(values, self.weights) for name, values in self.metrics.items()}

    def interval(
        self, n_boot: int = 1000, level: float = 0.95, seed: int = 0
    ) -> dict[str, tuple[float, float]]:
        """Metric name -> percentile interval of the mean, resampling users with replacement.

        It answers "how far might the figure move with other *users*, this one trained model kept?".
        What another training run would give is a different question: see `seed_spread`.
        """
        means = resampled_means(list(self.metrics.values()), self.weights, n_boot, seed)
        return {
            name: percentile_interval(m, level)
            for name, m in zip(self.metrics, means.T, strict=True)
        }

    def compare(self, other: Evaluation, metric: str, **options) -> Difference:
        """`paired_bootstrap` of self minus other; ValueError unless the users are the same."""
        self._check_same(metric, other)
        if not np.array_equal(
            *(np.ones(1) if e.weights is None else e.weights for e in (self, other))
        ):
            raise ValueError("only evaluations of the same weights can be compared")
        return paired_bootstrap(
            self.metrics[metric], other.metrics[metric], weights=self.weights, **options
        )

    def _check_same(self, metric: str, *others: Evaluation) -> None:
        for other in others:
            if self.protocol != other.protocol or not torch.equal(self.users, other.users):
                raise ValueError("only evaluations of the same users and protocol can be compared")
        _check_metric(metric, self, *others)

    def share_of_way(
        self, start: Evaluation, end: Evaluation, metric: str, **options
    ) -> tuple[float, float, float]:
        """How far a mean goes from that of `start` (0) to that of `end` (1) -> (share, low, high).

        The interval is that of the mean; the two ends are held fixed.
        """
        self._check_same(metric, start, end)
        low, high = start.mean()[metric], end.mean()[metric]
        if not abs(high - low) > 0:  # false for NaN, too
            raise ValueError(f"{metric} is {low:g} at the start and at the end: there is no way")
        figures = self.mean()[metric], *self.interval(**options)[metric]
        return tuple((figure - low) / (high - low) for figure in figures)


def _numbers(name: str, values: np.ndarray) -> np.ndarray:
    """An array of real numbers, as floats."""
    array = array_of(values)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be numbers, not {shortened(values)}")
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _values(name: str, values: np.ndarray) -> np.ndarray:
    """An array of users' values, as floats."""
    array = _numbers(name, values)
    if np.isinf(array).any():
        raise ValueError(f"{name} must be finite, or NaN where a user does not count")
    return array


def _checked_weights(weights: np.ndarray | None, n_users: int) -> np.ndarray | None:
    if weights is None:
        return None
    weights = _numbers("weights", weights)
    if weights.shape != (n_users,):
        raise ValueError(f"weights are one for each user, [{n_users}]")
    if not ((weights >= 0) & np.isfinite(weights)).all() or (n_users and not weights.any()):
        raise ValueError("weights are finite, 0 or more, and not all 0")
    return weights


def _check_metric(metric: str, *evaluations: Evaluation) -> None:
    for each in evaluations:
        if metric not in each.metrics:
            raise ValueError(f"there is no metric {metric!r}, only {', '.join(each.metrics)}")


class Difference(NamedTuple):
    """A paired difference of means, and its interval."""

    mean: float
    low: float
    high: float


def _mean(values: np.ndarray, weights: np.ndarray | None) -> float:
    """The (weighted) mean of values [U] that are not NaN; NaN if all are."""
    counts = ~np.isnan(values)
    if not counts.any():
        return float("nan")
    weights = None if weights is None else np.asarray(weights)[counts]
    if weights is not None and not weights.any():
        return float("nan")
    return float(np.average(values[counts].astype(np.float64), weights=weights))


def percentile_interval(means: np.ndarray, level: float) -> tuple[float, float]:
    """The middle `level` of resampled means float64 [n_boot], NaN left out -> (low, high)."""
    if not isinstance(level, Real) or not 0 < level < 1:
        raise ValueError(f"level is a share between 0 and 1, as 0.95, not {level!r}")
    if np.isnan(means).all():
        return float("nan"), float("nan")
    low, high = np.nanquantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def resampled_means(
    columns: Sequence[np.ndarray], weights: np.ndarray | None, n_boot: int, seed: int
) -> np.ndarray:
    """Means of M columns over `n_boot` resamples of their U users -> float64 [n_boot, M].

    The same seed draws the same users, so differences of two calls are paired.
    """
    check_counts(MOST, n_boot=n_boot)
    check_seed(seed)
    values = np.stack(columns, axis=1).astype(np.float64)  # (U, M)
    n = len(values)
    if n == 0:
        raise ValueError("no users to resample")
    weight = np.ones(n) if weights is None else weights.astype(np.float64)
    weight = np.where(np.isnan(values), 0.0, weight[:, None])
    both = np.concatenate([np.nan_to_num(values) * weight, weight], axis=1)  # (U, 2M)
    sums = [times @ both for times in _times_drawn(n, n_boot, seed)]
    totals, weights_drawn = np.split(np.concatenate(sums), 2, axis=1)
    with np.errstate(invalid="ignore"):
        return totals / weights_drawn


def paired_bootstrap(
    ours: np.ndarray,
    theirs: np.ndarray,
    weights: np.ndarray | None = None,
    n_boot: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Difference:
    """The difference of two models on the same users [U], resampling users, both models kept.

    Pairing removes what the users have in common, so this is much sharper than two separate
    intervals. Like them it says nothing about other training seeds: see `seed_spread`.
    """
    ours, theirs = _values("ours", ours), _values("theirs", theirs)
    if ours.ndim != 1:
        raise ValueError(f"ours is one value for each user, not of shape {ours.shape}")
    if ours.shape != theirs.shape:
        raise ValueError(f"not the same users: {ours.shape} and {theirs.shape}")
    weights = _checked_weights(weights, len(ours))
    gap = ours.astype(np.float64) - theirs
    means = resampled_means([gap], weights, n_boot, seed)[:, 0]
    return Difference(_mean(gap, weights), *percentile_interval(means, level))


def seed_spread(means: Sequence[float]) -> dict[str, float]:
    """Mean, sample standard deviation, minimum and maximum of one metric over training seeds.

    It answers "how far might the figure move with another *training run*, the users kept?": the
    other of the two uncertainties, which no bootstrap over users can see (`Evaluation.interval`).
    ValueError for no means, and for what is no number.
    """
    values = _values("means", means).astype(np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError("means are one number for each training seed, one seed at least")
    sd = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
    spread = {"mean": values.mean(), "sd": sd, "min": values.min(), "max": values.max()}
    return {name: float(value) for name, value in spread.items()}


class Interval(NamedTuple):
    """A mean, its interval, and what was resampled: "seeds and users", or "users" of one seed."""

    mean: float
    low: float
    high: float
    over: str


def hierarchical_bootstrap(
    values: np.ndarray | Sequence[np.ndarray],
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Interval of a mean over training seeds and users, both resampled with replacement.

    values: float [S, U], NaN where a user does not count: the same users under every seed, and a
    resample draws the same users for all of its seeds. Or a list of S arrays [U_s]: every seed has
    users of its own (other users held out), drawn anew for every drawn seed. The mean is over all
    values. For a paired difference pass the differences, each of one seed and user.

    Percentile interval. With one seed there is nothing to resample but the users: `over` says so,
    and the interval knows nothing of another training run. With a handful of seeds their part is a
    little too short, by sqrt((S - 1) / S); noise of single values counts up to three times when
    levels are crossed (Owen 2007), which errs on the safe side. ValueError for another shape, for
    no values, and for a seed without any.
    """
    check_counts(MOST, n_boot=n_boot)
    check_seed(seed)
    if isinstance(values, (Tensor, np.ndarray)):
        values = _values("values", values)
    if isinstance(values, np.ndarray):
        if values.ndim != 2:
            raise ValueError(f"values must be [seeds, users], not of shape {values.shape}")
        groups = list(values)
    else:
        groups = [_values("values", group) for group in values]
        if any(group.ndim != 1 for group in groups):
            raise ValueError("every group must be one array of users' values")
    if not groups or not all((~np.isnan(group)).any() for group in groups):
        raise ValueError("every seed needs the value of one user at least")
    one = len(groups) == 1
    resample = _crossed if one or isinstance(values, np.ndarray) else _nested
    sums, counts = resample(groups, n_boot, seed)
    with np.errstate(invalid="ignore"):
        low, high = percentile_interval(sums / counts, level)
    over = "users" if one else "seeds and users"
    return Interval(_mean(np.concatenate(groups), None), low, high, over)


def _crossed(groups: list[np.ndarray], n_boot: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of the values of B resamples, the same users for all seeds -> float64 [B]."""
    values = np.stack(groups).astype(np.float64)  # (S, U)
    both = np.concatenate([np.nan_to_num(values), ~np.isnan(values)]).T  # (U, 2S)
    seeds = np.concatenate(list(_times_drawn(len(values), n_boot, seed + 1)))  # (B, S)
    drawn = np.concatenate([times @ both for times in _times_drawn(len(both), n_boot, seed)])
    sums, counts = np.split(drawn, 2, axis=1)  # (B, S) each
    return (seeds * sums).sum(1), (seeds * counts).sum(1)


AT_ONCE = 8_000_000  # numbers that are drawn: 64 MB
KEPT = 64_000_000  # counts of resamples: 128 MB


def _times_drawn(n: int, n_boot: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of n is in each of B resamples of size n -> float64 [<= B, n], in parts."""
    parts = _kept_draws(n, n_boot, seed) if n * n_boot <= KEPT else _draws(n, n_boot, seed)
    return (part.astype(np.float64) for part in parts)


@lru_cache(maxsize=4)  # tables ask for hundreds of intervals over the same users
def _kept_draws(n: int, n_boot: int, seed: int) -> list[np.ndarray]:
    return list(_draws(n, n_boot, seed))


def _draws(n: int, n_boot: int, seed: int) -> Iterator[np.ndarray]:
    """The same as uint16."""
    rng, size = np.random.default_rng(seed), max(1, AT_ONCE // n)
    for first in range(0, n_boot, size):
        rows = min(size, n_boot - first)
        drawn = rng.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * n)
        yield times.reshape(rows, n).astype(np.uint16)


def _nested(groups: list[np.ndarray], n_boot: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of the values of B resamples, users drawn for each seed -> float64 [B]."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(groups), size=(n_boot, len(groups)))  # (B, S)
    sums, counts = np.zeros(drawn.shape), np.zeros(drawn.shape)
    for number, group in enumerate(groups):
        here, present = drawn == number, ~np.isnan(group)
        values, size = np.where(present, group, 0.0), max(1, AT_ONCE // len(group))
        for some in np.array_split(np.flatnonzero(here), -(-int(here.sum()) // size) or 1):
            users = rng.integers(len(group), size=(len(some), len(group)))  # (draws, U_s)
            sums.flat[some] = values[users].sum(1)
            counts.flat[some] = len(group) if present.all() else present[users].sum(1)
    return sums.sum(1), counts.sum(1)
