"""Linear models by name."""

from __future__ import annotations

from collections.abc import Callable

from recsys_rl.baselines.ease import EASE
from recsys_rl.baselines.gaussian import GaussianLikes
from recsys_rl.baselines.ials import IALS
from recsys_rl.baselines.neighbours import ItemKNN
from recsys_rl.baselines.popularity import Popularity, Random, RecentPopularity
from recsys_rl.embeddings.als import ALS
from recsys_rl.embeddings.pmf import PMF
from recsys_rl.states.linear import LikesRidge

# what a profile comes from; of people whom the agent knows: pmf, als
LINEAR = {
    "": type(None),
    "pmf": PMF,
    "als": ALS,
    "ridge": LikesRidge,
    "gaussian": GaussianLikes,
}

BASELINES: dict[str, Callable] = {
    "Random": Random,
    "Popularity": Popularity,
    "RecentPopularity": RecentPopularity,
    "ItemKNN": ItemKNN,
    "EASE": EASE,
    "IALS": IALS,
}
