"""MovieLens files to tables."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_rl.data.archives import check_unpacked
from recsys_rl.data.download import GENRES_100K
from recsys_rl.data.tables import COLUMNS, BadRow, Layout, as_ids, line_of, read_ratings

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


_NO_GENRE = {"(no genres listed)", "unknown"}


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
    `tables.read_ratings`.

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
        published = _PUBLISHED.get(folder.name, (None,) * 4)
        _check_count(path, "ratings", len(ratings), published[0])
        _check_count(path, "users", ratings["user"].nunique(), published[1])
        _check_count(path, "rated movies", ratings["item"].nunique(), published[2])
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
    ("Action|Sci-Fi", empty where unknown).
    Raises FileNotFoundError without a movie file, ValueError for one that cannot be right.
    """
    folder = Path(folder)
    path = file_of(folder, 1)
    read = {".dat": _read_dat_movies, ".csv": _read_csv_movies, ".item": _read_item_movies}
    try:
        movies = read[path.suffix](path)
        item = as_ids(movies["item"], "movie", path)
    except BadRow as bad:
        line = line_of(path, bad.row, path.suffix == ".csv")
        raise ValueError(f"{path} is not a MovieLens movie file: line {line}: {bad}") from None
    except (ValueError, csv.Error) as error:  # those of pandas end their line
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{path} is not a MovieLens movie file: {reason}") from error
    if (again := pd.Series(item).duplicated()).any():
        raise ValueError(f"{path} lists a movie id twice: {item[again.argmax()]}")
    if check_counts:
        _check_count(path, "movies", len(movies), _PUBLISHED.get(folder.name, (None,) * 4)[3])
    title, year = _split_year(movies["raw"])
    genres = movies["genres"].where(~movies["genres"].isin(_NO_GENRE), "")
    columns = {"item": item, "title": title, "year": year}
    return pd.DataFrame(columns | {"genres": genres.astype("str")})


def file_of(folder: Path, kind: int) -> Path:
    """The ratings (kind 0) or movie file (kind 1) of whichever layout the folder has.

    Raises ValueError if it was changed after this program had unpacked it.
    """
    for files in _LAYOUTS:
        if (folder / files[kind]).is_file():
            check_unpacked(folder, [files[kind]])
            return folder / files[kind]
    names = ", ".join(files[kind] for files in _LAYOUTS)
    raise FileNotFoundError(f"no MovieLens data in {folder}: none of {names} is there")


def _check_count(path: Path, what: str, found: int, published: int | None) -> None:
    if published is not None and found != published:
        raise ValueError(f"{path} has {found:,} {what} where {published:,} are published")


def _text(path: Path) -> str:
    """A small file. ML-10M is UTF-8, ML-100K and ML-1M are latin-1, which almost never happens to
    be valid UTF-8 once it holds an accent. Line ends are those of Unix."""
    raw = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    if b"\0" in raw:  # as in UTF-16, which latin-1 would take for letters
        line = raw[: raw.index(b"\0")].count(b"\n") + 1
        raise ValueError(f"line {line}: it is no text in UTF-8 or latin-1: save it as UTF-8")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _extract(path: Path, pattern: str) -> pd.DataFrame:
    """One column for each named group; raises ValueError on the first line that does not fit."""
    lines = pd.Series(_text(path).split("\n"), dtype="object")
    lines = lines[lines != ""]  # the index still counts lines
    fields = lines.str.extract(pattern)
    bad = fields.isna().any(axis=1)
    if lines.empty:
        raise ValueError("no line at all")
    if bad.any():
        line = int(bad.idxmax())
        raise ValueError(f"line {line + 1}: unexpected line: {lines[line][:80]!r}")
    return fields.reset_index(drop=True)


def _read_dat_movies(path: Path) -> pd.DataFrame:
    """id::title::genres. Titles hold colons, so the first and the last `::` are the separators."""
    return _extract(path, r"^(?P<item>[^:]+)::(?P<raw>.*)::(?P<genres>[^:]*)$")


def _read_csv_movies(path: Path) -> pd.DataFrame:
    reader = csv.reader(io.StringIO(_text(path)))
    rows = [(reader.line_num, row) for row in reader if any(row)]
    header = rows[0][1] if rows else []
    names = ["movieId", "title", "genres"]
    if missing := [name for name in names if name not in header]:
        raise ValueError(f"line 1: no column {', '.join(missing)} among {header}")
    for line, row in rows:
        if len(row) < len(header) or any(row[len(header) :]):
            raise ValueError(
                f"line {line}: {len(row)} columns where the header has {len(header)}; a title with "
                "a comma stands in quotes"
            )
    columns = {
        own: [row[header.index(name)] for _, row in rows[1:]]
        for own, name in zip(("item", "raw", "genres"), names, strict=True)
    }
    return pd.DataFrame(columns, dtype="str")


def _read_item_movies(path: Path) -> pd.DataFrame:
    """id|title|released|video released|url|19 genre flags, the flags in the order of u.genre."""
    movies = _extract(
        path, r"^(?P<item>[^|]+)\|(?P<raw>.*)\|[^|]*\|[^|]*\|[^|]*\|(?P<flags>[01](?:\|[01]){18})$"
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
