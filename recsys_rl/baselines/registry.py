"""Baselines by the name that tables give them, and the linear models that an agent may read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from recsys_rl.baselines.counts import refuse_gram
from recsys_rl.baselines.ease import EASE
from recsys_rl.baselines.gaussian import GaussianLikes
from recsys_rl.baselines.ials import IALS
from recsys_rl.baselines.linucb import HLinUCB, LinUCB, refuse_users
from recsys_rl.baselines.neighbours import ItemKNN
from recsys_rl.baselines.popularity import Popularity, Random, RecentPopularity
from recsys_rl.data.devices import CPU, generator_on
from recsys_rl.data.interactions import Interactions
from recsys_rl.embeddings.cooccurrence import like_vectors, refuse_likes
from recsys_rl.embeddings.pmf import PMF
from recsys_rl.evaluation.scores import ScoreFunction


def fit_pmf(train: Interactions, **settings: Any) -> ScoreFunction:
    """Predicted stars; users without training rows are folded in by the stars of their history."""
    generator = _generator()
    size, there = (train.n_users, train.n_items), train.user.device
    model = PMF(*size, generator=generator, device=there, **settings)
    model.fit(train, generator=generator)
    return model.score


def fit_gaussian(train: Interactions, k: int = 256, **settings: Any) -> ScoreFunction:
    return GaussianLikes.fit(train, k, _generator(), **settings).score


def fit_lin_ucb(train: Interactions, k: int = 32, **settings: Any) -> ScoreFunction:
    vectors, prior = like_vectors(train, k, _generator())
    return LinUCB(vectors, prior=prior, **settings)


def fit_h_lin_ucb(train: Interactions, k: int = 8, **settings: Any) -> ScoreFunction:
    """Items that a train user has not rated teach a reward of 0, as in cold-start sessions."""
    generator = _generator()
    vectors, prior = like_vectors(train, k, generator)
    return HLinUCB(vectors, train, generator=generator, prior=prior, unrated_is_0=True, **settings)


def _generator() -> torch.Generator:
    """The same at every fit, so that it can be repeated."""
    return generator_on(CPU, 0)


# train rows, settings -> scores of histories
BASELINES: dict[str, Callable[..., ScoreFunction]] = {
    "random": Random,
    "popularity": Popularity,
    "recent popularity": RecentPopularity,
    "item-kNN": ItemKNN,
    "EASE": EASE,
    "iALS": IALS,
    "PMF": fit_pmf,
    "LinUCB": fit_lin_ucb,
    "HLinUCB": fit_h_lin_ucb,
    "Gaussian of likes": fit_gaussian,
}

# what refuses train rows that would take too much memory, before anything is fitted
_TABLES: dict[str, Callable[[Interactions], None]] = {
    "item-kNN": refuse_gram,
    "EASE": refuse_gram,
    "LinUCB": refuse_likes,
    "HLinUCB": refuse_users,
    "Gaussian of likes": refuse_likes,
}


def check_baselines(names: Iterable[str], train: Interactions) -> None:
    """ValueError, in a sentence, where one is not known or takes more memory than there is."""
    for name in names:
        if name not in BASELINES:
            raise ValueError(f"there is no baseline {name!r}: choose among {', '.join(BASELINES)}")
        if name in _TABLES:
            _TABLES[name](train)


# fitted by `fit(train, k, generator, noise, memory)`
LINEAR_MODELS: dict[str, type[GaussianLikes]] = {"gaussian": GaussianLikes}
