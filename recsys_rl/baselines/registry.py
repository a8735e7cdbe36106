"""Baselines, and the linear models that an agent may read, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from recsys_rl.baselines.ease import EASE
from recsys_rl.baselines.gaussian import GaussianLikes
from recsys_rl.baselines.ials import IALS
from recsys_rl.baselines.neighbours import ItemKNN
from recsys_rl.baselines.popularity import Popularity, Random, RecentPopularity

BASELINES: dict[str, Callable[..., Any]] = {
    "random": Random,
    "popularity": Popularity,
    "recent popularity": RecentPopularity,
    "item-kNN": ItemKNN,
    "EASE": EASE,
    "iALS": IALS,
}

# fitted by `fit(train, k, generator, noise, memory)`
LINEAR_MODELS: dict[str, type[GaussianLikes]] = {"gaussian": GaussianLikes}
