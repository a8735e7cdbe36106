"""Which files a data set is made of, and what GroupLens publishes about those that never change.

This file needs no pandas.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from recsys_rl.data.archives import check_unpacked

LAYOUTS = (("ratings.dat", "movies.dat"), ("u.data", "u.item"), ("ratings.csv", "movies.csv"))
PARQUET = (".parquet", ".pq")
_TOLD = re.compile(r'"?sep=.?"?')  # of what separates columns, for Excel, in front of the header

# Ratings, users, rated movies, and all rows of the movie file. None: not checked.
PUBLISHED = {
    "ml-100k": (100_000, 943, 1_682, 1_682),
    "ml-1m": (1_000_209, 6_040, 3_706, 3_883),
    "ml-10m": (10_000_054, None, None, None),
    "ml-20m": (20_000_263, None, None, None),
    "ml-25m": (25_000_095, None, None, None),
    "ml-32m": (32_000_204, None, None, None),
}


GENRES_100K = (
    "unknown|Action|Adventure|Animation|Children's|Comedy|Crime|Documentary|Drama|Fantasy|"
    "Film-Noir|Horror|Musical|Mystery|Romance|Sci-Fi|Thriller|War|Western"
)  # the order of u.genre, and so of the flags in u.item


def file_of(folder: Path, kind: int) -> Path:
    """The ratings (kind 0) or movie file (kind 1) of whichever layout the folder has.

    Raises ValueError if it was changed after this program had unpacked it.
    """
    for files in LAYOUTS:
        if (folder / files[kind]).is_file():
            check_unpacked(folder, [files[kind]])
            return folder / files[kind]
    for files in LAYOUTS:
        if os.path.lexists(folder / files[kind]):
            raise ValueError(f"{folder / files[kind]} is a pipe, a device, a folder or a dead link")
    names = ", ".join(files[kind] for files in LAYOUTS)
    raise FileNotFoundError(f"no MovieLens data in {folder}: none of {names} is there")


def check_count(path: Path, what: str, found: int, published: int | None) -> None:
    """Raises ValueError where a published set has another number of rows than published."""
    if published is not None and found != published:
        raise ValueError(f"{path} has {found:,} {what} where {published:,} are published")


def tells_separator(line: str) -> bool:
    """Whether a line is no row of a table but "sep=;", as spreadsheets write it first. The header
    says the same."""
    return _TOLD.fullmatch(line.strip(" \r\n").casefold()) is not None
