"""MovieLens files to tables."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_rl.data.column_values import BadRow, as_ids
from recsys_rl.data.layouts import PUBLISHED, check_count, file_of
from recsys_rl.data.movie_files import read_movies
from recsys_rl.data.rating_files import COLUMNS, Layout, read_ratings

# `content_mark` of the ratings, in which timestamps do not count
_MARKS = {
    "ml-100k": "6949bdd25f48b9ba0e7fa05e1ebccd5da077490b53e329168517750f2ec412dc",
    "ml-1m": "97d0ec2baaaa45c034bdc428a3ed43ce075600bd97b57a319002d67f1fb639b6",
}


_KIND = "a MovieLens ratings file"
_CSV_COLUMNS = {"user": "userId", "item": "movieId", "rating": "rating", "timestamp": "timestamp"}
_RATING_LAYOUTS = {
    # a::b::c::d read with a single ":" has empty columns 1, 3 and 5, and so stays with the fast
    # C parser
    ".dat": Layout(dict(zip(COLUMNS, (0, 2, 4, 6), strict=True)), ":", False, 0, _KIND),
    ".data": Layout(dict(zip(COLUMNS, range(4), strict=True)), "\t", False, 0, _KIND),
    ".csv": Layout(_CSV_COLUMNS, least_id=0, kind=_KIND),
}


def load_ratings(
    folder: str | Path,
    check_counts: bool = True,
    columns: Mapping[str, str] | None = None,
    positive: float | None = None,
    order: str = "time",
) -> pd.DataFrame:
    """The ratings of an extracted MovieLens folder, in the file's own row order.

    Returns columns user, item (int32, int64 where they need it, or str), rating (float32, .5 to 5),
    timestamp (int64, seconds since 1970). A folder named after a set of fixed size (`ml-1m`) must
    hold exactly the published ratings unless `check_counts` is False; any other folder name is not
    counted. columns: other names than those of MovieLens in ratings.csv. positive, order: see
    `rating_files.read_ratings`.

    Raises FileNotFoundError without a ratings file, ValueError for one that cannot be right.
    """
    folder = Path(folder)
    path = file_of(folder, 0)
    layout = _RATING_LAYOUTS[path.suffix]
    if columns and path.suffix != ".csv":
        raise ValueError(f"{path} has no header whose columns could be named: leave columns out")
    layout = layout._replace(columns=dict(layout.columns) | dict(columns or {}))
    ratings = read_ratings(path, layout, positive, order)
    if check_counts:
        published = PUBLISHED.get(folder.name, (None,) * 4)
        check_count(path, "ratings", len(ratings), published[0])
        check_count(path, "users", ratings["user"].nunique(), published[1])
        check_count(path, "rated movies", ratings["item"].nunique(), published[2])
        if folder.name in _MARKS:
            _check_content(path, ratings if positive is None else load_ratings(folder, False))
    return ratings


def content_mark(ratings: pd.DataFrame) -> str:
    """SHA-256 of who rated what how, whatever the order of the rows; ids as integers."""
    columns = (ratings["user"].to_numpy("<i8"), ratings["item"].to_numpy("<i8"))
    order = np.lexsort(columns[::-1])
    digest = hashlib.sha256()
    for column in (*columns, ratings["rating"].to_numpy("<f4")):
        digest.update(column[order].tobytes())
    return digest.hexdigest()


def _check_content(path: Path, ratings: pd.DataFrame) -> None:
    name = path.parent.name
    if content_mark(ratings) != _MARKS[name]:
        raise ValueError(
            f"{path} has other ratings than {name} as published: get it again, or give "
            "the folder another name if they are your own"
        )


def load_movies(folder: str | Path, check_counts: bool = True) -> pd.DataFrame:
    """The films of an extracted MovieLens folder, in the file's own row order.

    Returns columns item (int32, int64 where they need it, or str), title (as in the file, but
    without the year: "Matrix, The"), year (Int16, missing where the file gives none) and genres
    ("Action|Sci-Fi", empty where unknown). Raises as `movie_files.read_movies` does.
    """
    movies = read_movies(Path(folder), check_counts)
    try:
        ids = as_ids(pd.Series([movie.item for movie in movies]), "movie")
    except BadRow as error:
        raise ValueError(f"the movie file of {folder}: {error}") from None
    columns = {
        "item": ids,
        "title": pd.Series([movie.title for movie in movies], dtype="str"),
        "year": pd.Series([movie.year for movie in movies], dtype="Int16"),
        "genres": pd.Series(["|".join(movie.genres) for movie in movies], dtype="str"),
    }
    return pd.DataFrame(columns)
