"""Ratings of made-up users, with the numbers and the spread of a MovieLens set."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

LEAST = 20  # ratings of a user, as in MovieLens
STARS = 1, 3, 1, 7, 5, 20, 13, 27, 9, 14  # per cent with .5, 1, 1.5 .. stars
ROUNDS = 3  # of drawing by popularity; what is missing then is drawn uniformly


class Shape(NamedTuple):
    """Numbers of a set. spread: sigma of the log-normal number of ratings that an item gets."""

    users: int
    items: int
    ratings: int
    spread: float


SHAPES = {
    "ml-100k": Shape(943, 1_682, 100_000, 1.3),
    "ml-1m": Shape(6_040, 3_706, 1_000_209, 1.3),
    "ml-10m": Shape(69_878, 10_677, 10_000_054, 2.0),
    "ml-20m": Shape(138_493, 26_744, 20_000_263, 2.7),
    "ml-32m": Shape(200_948, 87_585, 32_000_204, 2.9),
}


def lengths(shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """Ratings of each user: 20 and a log-normal number more, together about `ratings`."""
    more = rng.lognormal(0, 1.2, shape.users)
    more *= (shape.ratings - LEAST * shape.users) / more.sum()
    return np.minimum(LEAST + np.rint(more).astype(np.int64), int(0.6 * shape.items))


def pairs(shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """Who has rated what, as user x items + item, ascending; int64 [ratings], no pair twice."""
    share = rng.lognormal(0, shape.spread, shape.items).cumsum()
    share /= share[-1]
    wanted = lengths(shape, rng)
    # every item once, so that there are as many as there should be
    first = rng.integers(shape.users, size=shape.items) * shape.items + np.arange(shape.items)
    found = np.sort(first)
    for number in range(ROUNDS + 1):
        missing = np.maximum(wanted - np.bincount(found // shape.items, minlength=shape.users), 0)
        user = np.repeat(np.arange(shape.users), missing)
        if number < ROUNDS:
            item = np.searchsorted(share, rng.random(len(user)))
        else:
            item = rng.integers(shape.items, size=len(user))
        found = _together(found, user * shape.items + item)
    while len(found) < shape.ratings:
        more = rng.integers(shape.users * shape.items, size=shape.ratings - len(found))
        found = _together(found, more)
    others = np.flatnonzero(~np.isin(found, first))
    return np.delete(found, rng.choice(others, len(found) - shape.ratings, replace=False))


def _together(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Ascending, each once."""
    both = np.sort(np.concatenate([one, two]))
    return both[np.diff(both, prepend=-1) > 0]


def synthetic_ratings(shape: Shape, seed: int = 0) -> pd.DataFrame:
    """Columns user, item (from 1), rating, timestamp; in the order of users and items."""
    rng = np.random.default_rng(seed)
    user, item = np.divmod(pairs(shape, rng), shape.items)
    stars = np.repeat(np.arange(1, 11) / 2, STARS)[rng.integers(sum(STARS), size=len(user))]
    joined = rng.integers(800_000_000, 1_600_000_000, shape.users)
    timestamp = joined[user] + rng.integers(10_000_000, size=len(user))
    columns = {"user": user + 1, "item": item + 1, "rating": stars, "timestamp": timestamp}
    return pd.DataFrame(columns)
