"""MovieLens files to tensors, by name: download, readers, ids and histories, splits.

This file is a door, without logic of its own; everything lives in the package `recsys_rl`.
"""

from recsys_rl.data.download import DataUnavailable, download_movielens, open_movielens
from recsys_rl.data.interactions import (
    POSITIVE,
    SHOWN,
    Histories,
    IdMap,
    Interactions,
    fingerprint,
)
from recsys_rl.data.movielens import load_movies, load_ratings
from recsys_rl.data.splits import Split, leave_one_out, random_split, split_by_time, split_users
from recsys_rl.data.titles import display_title

__all__ = [
    "DataUnavailable",
    "Histories",
    "IdMap",
    "Interactions",
    "POSITIVE",
    "SHOWN",
    "Split",
    "display_title",
    "download_movielens",
    "fingerprint",
    "leave_one_out",
    "load_movies",
    "load_ratings",
    "open_movielens",
    "random_split",
    "split_by_time",
    "split_users",
]
