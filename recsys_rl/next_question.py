"""The next question for somebody of whom little is known, with numpy: the knowledge gradient.

The same as `baselines.asking.KnowledgeGradient`, whose names and sources hold here, too, for one
person; a test holds the two forms together. This file needs no PyTorch.

V = n_items, S = answers, C = candidates, J = leaders, p = width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CANDIDATES, LEADERS, LIST = 30, 30, 10
CERTAIN = 0.02  # no answer is expected with more than 1 - this


def next_question(
    item_vectors: np.ndarray,
    noise: np.ndarray,
    liked: Sequence[int] = (),
    rejected: Sequence[int] = (),
    *,
    askable: np.ndarray | None = None,
    recommendable: np.ndarray | None = None,
) -> int:
    """The item whose answer is expected to lift the list of ten most; an index.

    item_vectors: float [V, p + 1], the Gaussian's components and, last, shares; noise: float [V].
    liked, rejected: what was answered, "not seen" is a rejection. askable, recommendable: bool [V];
    all items by default. What was answered is neither. An item that is asked about leaves the list.
    ValueError where nothing is left to ask or to recommend, and for other masks.
    """
    answered = [*liked, *rejected]
    ask, show = (_mask(mask, len(noise)) for mask in (askable, recommendable))
    ask[answered] = show[answered] = False
    if not ask.any() or not show.any():
        raise ValueError("nothing is left to ask about, or to recommend")
    x, share = item_vectors[:, :-1].astype(np.float64), item_vectors[:, -1].astype(np.float64)
    told, mean = _posterior(x, share, noise, liked, rejected)
    candidates, leaders = _best(mean, ask, CANDIDATES), _best(mean, show, LEADERS)
    seen = x @ told.T  # (V, S)
    lost = seen[candidates] @ seen[leaders].T
    covariance = x[candidates] @ x[leaders].T - lost  # (C, J)
    variance = np.square(x[candidates]).sum(1) - np.square(seen[candidates]).sum(1)
    lift = covariance / (variance + noise[candidates])[:, None]
    before, expected = mean[leaders], mean[candidates, None]
    gone = np.where(candidates[:, None] == leaders, -np.inf, 0.0)
    chance = expected[:, 0].clip(CERTAIN, 1 - CERTAIN)
    yes = _best_sum(before + lift * (1 - expected) + gone)
    no = _best_sum(before - lift * expected + gone)
    return int(candidates[np.argmax(chance * yes + (1 - chance) * no)])


def _mask(given: np.ndarray | None, n_items: int) -> np.ndarray:
    """bool [V], of one's own."""
    if given is None:
        return np.ones(n_items, bool)
    mask = np.asarray(given)
    if mask.dtype != bool or mask.shape != (n_items,):
        raise ValueError(f"a mask is bool [{n_items}], not {mask.dtype} {list(mask.shape)}")
    return mask.copy()


def _posterior(
    x: np.ndarray,
    share: np.ndarray,
    noise: np.ndarray,
    liked: Sequence[int],
    rejected: Sequence[int],
) -> tuple[np.ndarray, np.ndarray]:
    """Root of what the covariance has lost [S, p], and expected likes [V]."""
    answered = [*liked, *rejected]
    known = x[answered]
    lower = np.linalg.cholesky(known @ known.T + np.diag(noise[answered].astype(np.float64)))
    surprise = np.repeat([1.0, 0.0], [len(liked), len(rejected)]) - share[answered]
    root = np.linalg.solve(lower, known)
    return root, share + x @ (root.T @ np.linalg.solve(lower, surprise))


def _best(scores: np.ndarray, allowed: np.ndarray, count: int) -> np.ndarray:
    """Indices of the best that are allowed, best first."""
    there = np.flatnonzero(allowed)
    return there[np.argsort(-scores[there], kind="stable")[:count]]


def _best_sum(means: np.ndarray) -> np.ndarray:
    """Of the ten largest in a row; what is gone counts 0."""
    best = -np.sort(-means, axis=1)[:, :LIST]
    return np.where(np.isfinite(best), best, 0.0).sum(1)
