"""MovieLens files to tables."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_rl.data.archives import check_unpacked
from recsys_rl.data.download import GENRES_100K

_LAYOUTS = (("ratings.dat", "movies.dat"), ("u.data", "u.item"), ("ratings.csv", "movies.csv"))


# What GroupLens publishes about the sets that never change: ratings, users, rated movies, and all
# rows of the movie file. None: not checked.
_PUBLISHED = {
    "ml-100k": (100_000, 943, 1_682, 1_682),
    "ml-1m": (1_000_209, 6_040, 3_706, 3_883),
    "ml-10m": (10_000_054, None, None, None),
    "ml-20m": (20_000_263, None, None, None),
    "ml-25m": (25_000_095, None, None, None),
    "ml-32m": (32_000_204, None, None, None),
}


_RATING_TYPES = {"user": "int32", "item": "int32", "rating": "float32", "timestamp": "int64"}


_CSV_COLUMNS = ["userId", "movieId", "rating", "timestamp"]


_NO_GENRE = {"(no genres listed)", "unknown"}


def load_ratings(folder: str | Path, check_counts: bool = True) -> pd.DataFrame:
    """The ratings of an extracted MovieLens folder, in the file's own row order.

    Returns columns user, item (int32, MovieLens ids), rating (float32, .5 to 5), timestamp (int64,
    seconds since 1970). A folder named after a set of fixed size (`ml-1m`) must hold exactly the
    published number of rows unless `check_counts` is False; any other folder name is not counted.
    Raises FileNotFoundError without a ratings file, ValueError for one that cannot be right.
    """
    folder = Path(folder)
    path = _file_of(folder, 0)
    columns = list(_RATING_TYPES)
    options: dict = {"names": columns, "dtype": _RATING_TYPES, "header": None}
    if path.suffix == ".dat":  # a::b::c::d read with a single ":" has empty columns 1, 3 and 5,
        options |= {"sep": ":", "usecols": [0, 2, 4, 6]}  # and so stays with the fast C parser
    elif path.suffix == ".csv":
        types = dict(zip(_CSV_COLUMNS, _RATING_TYPES.values(), strict=True))
        options = {"usecols": _CSV_COLUMNS, "dtype": types}
    else:
        options |= {"sep": "\t"}
    try:
        ratings = pd.read_csv(path, **options)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{path} is not a MovieLens ratings file: {error}") from error
    if path.suffix == ".csv":
        ratings = ratings[_CSV_COLUMNS].set_axis(columns, axis=1)
    _check_values(path, ratings)
    if check_counts:
        published = _PUBLISHED.get(folder.name, (None,) * 4)
        _check_count(path, "ratings", len(ratings), published[0])
        _check_count(path, "users", ratings["user"].nunique(), published[1])
        _check_count(path, "rated movies", ratings["item"].nunique(), published[2])
    return ratings


def load_movies(folder: str | Path, check_counts: bool = True) -> pd.DataFrame:
    """The films of an extracted MovieLens folder, in the file's own row order.

    Returns columns item (int32), title (as in the file, but without the year: "Matrix, The"), year
    (Int16, missing where the file gives none) and genres ("Action|Sci-Fi", empty where unknown).
    Raises FileNotFoundError without a movie file, ValueError for one that cannot be right.
    """
    folder = Path(folder)
    path = _file_of(folder, 1)
    read = {".dat": _read_dat_movies, ".csv": _read_csv_movies, ".item": _read_item_movies}
    try:
        movies = read[path.suffix](path)
    except ValueError as error:
        raise ValueError(f"{path} is not a MovieLens movie file: {error}") from error
    if movies["item"].duplicated().any():
        raise ValueError(f"{path} lists a movie id twice")
    if check_counts:
        _check_count(path, "movies", len(movies), _PUBLISHED.get(folder.name, (None,) * 4)[3])
    title, year = _split_year(movies["raw"])
    genres = movies["genres"].where(~movies["genres"].isin(_NO_GENRE), "")
    columns = {"item": movies["item"].astype("int32"), "title": title, "year": year}
    return pd.DataFrame(columns | {"genres": genres.astype("str")})


def _file_of(folder: Path, kind: int) -> Path:
    """The ratings (kind 0) or movie file (kind 1) of whichever layout the folder has.

    Raises ValueError if it was changed after this program had unpacked it.
    """
    for files in _LAYOUTS:
        if (folder / files[kind]).is_file():
            check_unpacked(folder, [files[kind]])
            return folder / files[kind]
    names = ", ".join(files[kind] for files in _LAYOUTS)
    raise FileNotFoundError(f"no MovieLens data in {folder}: none of {names} is there")


def _check_values(path: Path, ratings: pd.DataFrame) -> None:
    if ratings.empty:
        raise ValueError(f"{path} holds no rating")
    limits = {
        "user": (1, np.inf),
        "item": (1, np.inf),
        "rating": (0.5, 5),
        "timestamp": (1, np.inf),
    }
    for column, (low, high) in limits.items():
        values = ratings[column].to_numpy()
        if not (values.min() >= low and values.max() <= high):  # false for a missing value too
            raise ValueError(f"{path}: a {column} is missing or outside {low} .. {high}")


def _check_count(path: Path, what: str, found: int, published: int | None) -> None:
    if published is not None and found != published:
        raise ValueError(f"{path} has {found:,} {what} where {published:,} are published")


def _lines(path: Path) -> pd.Series:
    """The lines of a small file. ML-10M is UTF-8, ML-100K and ML-1M are latin-1, which almost
    never happens to be valid UTF-8 once it holds an accent."""
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return pd.Series([line for line in text.replace("\r", "").split("\n") if line], dtype="object")


def _extract(path: Path, pattern: str) -> pd.DataFrame:
    """One column for each named group; raises ValueError on the first line that does not fit."""
    lines = _lines(path)
    fields = lines.str.extract(pattern)
    bad = fields.isna().any(axis=1)
    if lines.empty or bad.any():
        first = lines[bad].iloc[0] if bad.any() else "no line at all"
        raise ValueError(f"unexpected line: {first!r}")
    return fields


def _read_dat_movies(path: Path) -> pd.DataFrame:
    """id::title::genres. Titles hold colons, so the first and the last `::` are the separators."""
    return _extract(path, r"^(?P<item>\d+)::(?P<raw>.*)::(?P<genres>[^:]*)$")


def _read_csv_movies(path: Path) -> pd.DataFrame:
    movies = pd.read_csv(path, encoding="utf-8", keep_default_na=False, dtype=str)
    if list(movies.columns) != ["movieId", "title", "genres"]:
        raise ValueError(f"unexpected columns: {list(movies.columns)}")
    return movies.set_axis(["item", "raw", "genres"], axis=1)


def _read_item_movies(path: Path) -> pd.DataFrame:
    """id|title|released|video released|url|19 genre flags, the flags in the order of u.genre."""
    movies = _extract(
        path, r"^(?P<item>\d+)\|(?P<raw>.*)\|[^|]*\|[^|]*\|[^|]*\|(?P<flags>[01](?:\|[01]){18})$"
    )
    flags = np.array([row.split("|") for row in movies["flags"]]) == "1"  # (n, 19)
    names = np.array(GENRES_100K.split("|"))
    movies["genres"] = ["|".join(names[row]) for row in flags]
    return movies


# "(1995)", "(1995) (V)" for films that went straight to video, "(2006-2007)" for series. Blanks
# around it are stripped elsewhere: to look for their end from every place takes quadratic time.
_YEAR = re.compile(r"\(([0-9]{4})(?:[-–][0-9]{0,4})?\)(?:\s*\((?:V|TV)\))?$")


def _split_year(raw: pd.Series) -> tuple[pd.Series, pd.Series]:
    """ "Heat (1995)" -> "Heat", 1995; a title without a year stays whole."""
    raw = raw.str.rstrip()
    year = pd.to_numeric(raw.str.extract(_YEAR, expand=False)).astype("Int16")
    return raw.str.replace(_YEAR, "", regex=True).str.strip().astype("str"), year
