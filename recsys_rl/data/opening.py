"""The one door to data: a published MovieLens set, a folder of your own, or one table of ratings.

The notebook, the commands and the environment open data here, so that all take the same names and
the same options.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recsys_rl.data import download
from recsys_rl.data.arguments import decimal_number, whole_number
from recsys_rl.data.column_values import LARGEST
from recsys_rl.data.interactions import DUPLICATES, Interactions, without_duplicates
from recsys_rl.data.layouts import PARQUET, file_of
from recsys_rl.data.locating import NoSuchData as NoSuchData
from recsys_rl.data.locating import find_data
from recsys_rl.data.movielens import load_movies, load_ratings
from recsys_rl.data.notes import note, shortened
from recsys_rl.data.rating_files import COLUMNS, ORDERS, Layout, first_line, read_ratings

_OWN_NAMES = {name: name for name in COLUMNS}
_MOVIELENS_NAMES = {"user": "userId", "item": "movieId", "rating": "rating"} | {
    "timestamp": "timestamp"
}


@dataclass(frozen=True, eq=False)
class Data:
    """Ratings and films, checked.

    name: of the folder or file, as models and checkpoints are called after it. ratings: columns
    user, item, rating, timestamp (`rating_files.read_ratings`), one row for each user and item.
    movies: item, title, year, genres (`load_movies`), with a title of the kind "film 7" for every
    item that no movie file lists.
    """

    name: str
    path: Path
    ratings: pd.DataFrame
    movies: pd.DataFrame

    def interactions(self) -> Interactions:
        return Interactions.from_ratings(self.ratings)


def open_data(
    dataset: str | Path | None = None,
    root: str | Path = "data",
    *,
    columns: Mapping[str, str] | None = None,
    positive: float | None = None,
    duplicates: str = "refuse",
    order: str = "time",
    min_ratings: int = 1,
    fetch: bool = True,
) -> Data:
    """The data set to work on: see `find_data` for `dataset`, `root` and `fetch`.

    columns: names in the file for "user", "item", "rating" and "timestamp", where they are not
    those of MovieLens. positive: from which rating on an item is liked, for ratings that are not
    on the scale .5 to 5 with likes from 4 on; they are carried over to it
    (`column_values.on_scale`). duplicates: "refuse" a second rating of one item by one user, or
    keep the "latest". order: "file" where the rows stand in the order of time, and no timestamps
    are read. min_ratings: items with fewer are left out.

    Raises ValueError or OSError, in a sentence with file and line, before anything is trained.
    """
    _check_options(columns, positive, duplicates, min_ratings)
    name, path = find_data(dataset, root, fetch)
    if path.is_file():
        ratings = read_ratings(path, Layout(_columns_of(path, columns, order)), positive, order)
    else:
        ratings = load_ratings(path, columns=columns, positive=positive, order=order)
    file = path if path.is_file() else file_of(path, 0)
    ratings = without_duplicates(ratings, duplicates, str(file))
    ratings = _often_rated(ratings, min_ratings, file)
    movies = None if path.is_file() else _movies_in(path)
    movies = with_placeholders(movies, ratings["item"].to_numpy(), path)
    return Data(name, path, ratings, movies)


def _check_options(
    columns: Mapping[str, str] | None, positive: float | None, duplicates: str, min_ratings: int
) -> None:
    given = {} if columns is None else columns
    if not isinstance(given, Mapping) or not all(isinstance(n, str) for n in given.values()):
        raise ValueError(f'columns must be names by column, as in {{"user": "uid"}}, not {given!r}')
    if unknown := [name for name in given if name not in COLUMNS]:
        raise ValueError(f"columns names {', '.join(COLUMNS)}, and not {unknown[0]!r}")
    real = isinstance(positive, Real) and not isinstance(positive, bool)
    if positive is not None and not (real and abs(positive) < LARGEST):
        raise ValueError(f"positive must be a number, not {shortened(repr(positive))}")
    if duplicates not in DUPLICATES:
        raise ValueError(f"duplicates must be one of {DUPLICATES}, not {duplicates!r}")
    whole = isinstance(min_ratings, Integral) and not isinstance(min_ratings, bool)
    if not whole or min_ratings < 1:
        raise ValueError(f"min_ratings must be a whole number, 1 or more, not {min_ratings!r}")


def _columns_of(path: Path, columns: Mapping[str, str] | None, order: str) -> dict[str, str]:
    """The names given, the others as MovieLens or this project calls them."""
    if columns:
        return _OWN_NAMES | dict(columns)
    if path.suffix.lower() in PARQUET:
        return _OWN_NAMES
    movielens = re.search(r"\buserId\b", first_line(path))
    return dict(_MOVIELENS_NAMES if movielens else _OWN_NAMES)


def _often_rated(ratings: pd.DataFrame, least: int, path: Path) -> pd.DataFrame:
    if least == 1:
        return ratings
    counts = ratings.groupby("item")["user"].transform("size")
    kept = ratings[(counts >= least).to_numpy()].reset_index(drop=True)
    if kept.empty:
        raise ValueError(f"{path}: no item has {least} ratings, as min_ratings asks")
    before, after = ratings["item"].nunique(), kept["item"].nunique()
    note(f"{before - after:,} of {before:,} items have fewer than {least} ratings and are left out")
    return kept


def _movies_in(folder: Path) -> pd.DataFrame | None:
    try:
        file_of(folder, 1)
    except FileNotFoundError:
        return None
    return load_movies(folder)


def with_placeholders(movies: pd.DataFrame | None, items: np.ndarray, path: Path) -> pd.DataFrame:
    """Movies with a row for each of `items`, and ids of the type that the ratings have.

    Raises ValueError where the movie file lists none of the items: its ids are other ones.
    """
    rated = everything = pd.Series(items).drop_duplicates()
    if movies is not None:
        movies = movies.assign(item=_alike(movies["item"], rated))
        movies = movies[movies["item"].notna()].astype({"item": rated.dtype})
        rated = rated[~rated.isin(movies["item"])]
        if len(rated) == len(everything):
            raise ValueError(
                f"{file_of(path, 1)} lists none of the items in {file_of(path, 0).name}, for "
                f"instance {rated.iloc[0]}: the two files must write ids alike"
            )
        if rated.empty:
            return movies
        note(
            f"{file_of(path, 1)} does not list {len(rated):,} rated items, for instance "
            f'{rated.iloc[0]}: they are called "film" and their id'
        )
    rated = rated.sort_values()
    columns = {"item": rated, "title": [f"film {item}" for item in rated]}
    rest = pd.DataFrame(columns).assign(year=pd.Series(pd.NA, rated.index, "Int16"), genres="")
    rest = rest.astype({"title": "str", "genres": "str"})
    return (rest if movies is None else pd.concat([movies, rest])).reset_index(drop=True)


def _alike(ids: pd.Series, wanted: pd.Series) -> pd.Series:
    """Ids as integers or text, as those that are wanted; None for those that cannot be."""
    text = [pd.api.types.is_integer_dtype(each.dtype) for each in (ids, wanted)]
    if text[0] == text[1]:
        return ids
    if text[0]:
        return ids.astype(str).astype(object)
    known = {str(item): item for item in wanted}
    return ids.map(known)


# ------------------------------------------------------------------------- on a command line


def _folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("must be a folder, not an empty text")
    return Path(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `open_data`, the same for every command; `options_of` reads them."""
    add = parser.add_argument
    add(
        "--dataset",
        metavar="NAME",
        help="MovieLens set (default: ml-1m), or a folder or file of your own (data/README.md)",
    )
    add("--root", type=_folder, default=download.DATA_FOLDER, help="folder of the data sets")
    add(
        "--columns",
        nargs="+",
        default=[],
        metavar="COLUMN=NAME",
        help="names in your own file, as in user=uid item=film rating=score timestamp=when",
    )
    add(
        "--positive",
        type=decimal_number,
        metavar="RATING",
        help="from this rating on an item is liked, where ratings have another scale than .5 to 5",
    )
    add("--duplicates", choices=DUPLICATES, default="refuse", help="of a user and an item")
    add("--order", choices=ORDERS, default="time", help="file: rows are in the order of time")
    add(
        "--min-ratings",
        type=whole_number(1),
        default=1,
        metavar="N",
        help="leave out items with fewer",
    )


def options_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of `open_data`."""
    columns = {}
    for text in arguments.columns:
        column, equals, name = text.partition("=")
        if not equals:
            raise ValueError(f"--columns takes COLUMN=NAME, as in user=uid, not {text!r}")
        columns[column] = name
    names = "dataset", "root", "positive", "duplicates", "order", "min_ratings"
    return {name: getattr(arguments, name) for name in names} | {"columns": columns or None}
