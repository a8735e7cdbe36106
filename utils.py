"""MovieLens files to tensors. Nothing in this file learns, and it imports nothing of ours but the
downloads, which it hands on (`download.py`).

    open_movielens -> folder -> load_ratings -> Interactions.from_ratings -> a split -> histories

Two conventions hold everywhere. An item index is 0..n_items-1 and `n_items` is padding; a user
index is 0..n_users-1 and `n_users` is a person the model has never met. Rows are in the order
(user, timestamp), and rows that share both keep the order of the file (a stable sort): nearly half
of ML-1M's timestamps are shared, and breaking those ties by item id leaks information.

Source of the data: F. M. Harper and J. A. Konstan. The MovieLens Datasets: History and Context.
ACM Transactions on Interactive Intelligent Systems 5, 4, 2015. https://doi.org/10.1145/2827872
"""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from download import (  # noqa: F401  handed on: this file is the one door to the data
    DEFAULT,
    FALLBACK,
    GENRES_100K,
    DataUnavailable,
    download_movielens,
    open_movielens,
)

POSITIVE = 4.0  # a rating of 4 or more is a positive (Liu et al., arXiv 1810.12027)
SHOWN = 0.0  # a film that was shown and not liked: no stars are known


# ------------------------------------------------------------------------- files to tables


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
    """The ratings (kind 0) or movie file (kind 1) of whichever layout the folder has."""
    for files in _LAYOUTS:
        if (folder / files[kind]).is_file():
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


# "(1995)", "(1995) (V)" for films that went straight to video, "(2006-2007)" for series
_YEAR = re.compile(r"\s*\((\d{4})(?:[-–]\d{0,4})?\)\s*(?:\((?:V|TV)\))?\s*$")


def _split_year(raw: pd.Series) -> tuple[pd.Series, pd.Series]:
    """ "Heat (1995)" -> "Heat", 1995; a title without a year stays whole."""
    year = pd.to_numeric(raw.str.extract(_YEAR, expand=False)).astype("Int16")
    return raw.str.replace(_YEAR, "", regex=True).str.strip().astype("str"), year


_ARTICLES = (
    "The|A|An|Der|Die|Das|Ein|Eine|Den|Det|De|Het|Een|En|Ett|Le|La|Les|L'|Un|Une|El|Los|Las|Una|"
    "Il|Lo|I|Gli|Uno|O|Os|As"
)
_INVERTED = re.compile(rf"((?:a\.k\.a\. )?)([^()]*?), ({_ARTICLES})(?=\s*(?:[()]|$))")


def display_title(title: str) -> str:
    """Turns an inverted article back: "Matrix, The" -> "The Matrix", also inside parentheses.

    A character that the file has as "&#8230;" is shown as it is meant.

    "City of Lost Children, The (Cité des enfants perdus, La)" -> "The City of Lost Children (La
    Cité des enfants perdus)".
    """

    def upright(match: re.Match) -> str:
        before, name, article = match.groups()
        blank = " " if name.startswith(" ") else ""  # between two pairs of parentheses
        joint = "" if article.endswith("'") else " "
        return f"{blank}{before}{article}{joint}{name.lstrip()}"

    return html.unescape(_INVERTED.sub(upright, title))


# ----------------------------------------------------------------------- tables to tensors


@dataclass(frozen=True, eq=False)
class IdMap:
    """MovieLens ids <-> contiguous indices 0..n-1. One object, saved with the weights.

    `ids`: int64 [n], strictly ascending; the index of an id is its place in it.
    """

    ids: np.ndarray

    def __post_init__(self) -> None:
        ids = _integers(self.ids)
        if ids.ndim != 1 or (np.diff(ids) <= 0).any():
            raise ValueError("ids must be one ascending row without repetition")
        object.__setattr__(self, "ids", ids)

    def __len__(self) -> int:
        return len(self.ids)

    def index(self, ids: Tensor | np.ndarray | Sequence[int]) -> Tensor:
        """Ids of any shape -> int64 indices of that shape; an unknown id -> -1."""
        ids = _integers(ids)
        if not len(self.ids):
            return torch.full(ids.shape, -1)
        place = np.searchsorted(self.ids, ids).clip(max=len(self.ids) - 1)
        return torch.from_numpy(np.where(self.ids[place] == ids, place, -1))

    def id(self, index: Tensor | np.ndarray | Sequence[int]) -> np.ndarray:
        """Indices of any shape -> int64 ids of that shape. Padding or -1 raises IndexError."""
        index = _integers(index)
        if index.size and (index.min() < 0 or index.max() >= len(self.ids)):
            raise IndexError(f"an index is outside 0 .. {len(self.ids) - 1}")
        return self.ids[index]


def _integers(values: Tensor | np.ndarray | Sequence[int]) -> np.ndarray:
    array = values.cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"ids and indices are integers, not {array.dtype}")
    return array.astype(np.int64)


@dataclass(frozen=True, eq=False)
class Histories:
    """What any model ranks from: B people and what each of them has rated so far.

    user: int64 [B], `n_users` for a person the model has never met; item: int64 [B, H], oldest
    first, LEFT-padded with `n_items`; rating: float32 [B, H], 0 at padding.
    """

    user: Tensor
    item: Tensor
    rating: Tensor

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True, eq=False)
class Interactions:
    """Ratings as tensors, in the order (user, timestamp); ties keep the file's row order.

    user, item: int64 [N]; rating: float32 [N]; timestamp: int64 [N]. Parts of a split share the id
    maps, so indices mean the same in each of them, and a user may have no row in a part.
    """

    user: Tensor
    item: Tensor
    rating: Tensor
    timestamp: Tensor
    user_ids: IdMap
    item_ids: IdMap

    def __len__(self) -> int:
        return len(self.user)

    @property
    def n_users(self) -> int:
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        return len(self.item_ids)

    @cached_property
    def offsets(self) -> Tensor:
        """int64 [n_users + 1]: the rows offsets[u]:offsets[u + 1] are those of user u."""
        users = torch.arange(self.n_users + 1, device=self.user.device)
        return torch.searchsorted(self.user, users)

    @classmethod
    def from_ratings(cls, ratings: pd.DataFrame) -> Interactions:
        """From the columns of `load_ratings`. Items are those that have a rating.

        Raises ValueError if a user has rated the same item twice: MovieLens never has that, and
        a repeated item would be in the training and the test part of a split at once.
        """
        user, user_ids = pd.factorize(ratings["user"].to_numpy(), sort=True)
        item, item_ids = pd.factorize(ratings["item"].to_numpy(), sort=True)
        pairs = np.sort(user.astype(np.int64) * len(item_ids) + item)
        if (pairs[1:] == pairs[:-1]).any():
            raise ValueError("a user has more than one rating of the same item")
        rating = ratings["rating"].to_numpy(np.float32)
        timestamp = ratings["timestamp"].to_numpy(np.int64)
        columns = map(torch.tensor, (user, item, rating, timestamp))
        return cls(*columns, IdMap(user_ids), IdMap(item_ids))._sorted()

    def _sorted(self) -> Interactions:
        if not len(self):
            return self
        # one int64 key for both: ten times as fast as np.lexsort, and as stable
        time = self.timestamp.cpu().numpy() - int(self.timestamp.min())
        key = self.user.cpu().numpy() * (int(time.max()) + 1) + time
        order = torch.from_numpy(np.argsort(key, kind="stable"))
        return self._take(order.to(self.user.device))

    def _take(self, rows: Tensor) -> Interactions:
        names = ("user", "item", "rating", "timestamp")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})

    def select(self, mask: Tensor) -> Interactions:
        """The rows where `mask` (bool [N]) is true; same id maps."""
        if mask.dtype != torch.bool or mask.shape != self.user.shape:
            raise ValueError(f"a mask is bool [{len(self)}], not {mask.dtype} {list(mask.shape)}")
        return self._take(mask)

    def concat(self, other: Interactions) -> Interactions:
        """Both, sorted again; where user and timestamp tie, the rows of `self` come first."""
        for mine, theirs in ((self.user_ids, other.user_ids), (self.item_ids, other.item_ids)):
            if mine is not theirs and not np.array_equal(mine.ids, theirs.ids):
                raise ValueError("only interactions with the same id maps can be joined")
        names = ("user", "item", "rating", "timestamp")
        both = {name: torch.cat([getattr(self, name), getattr(other, name)]) for name in names}
        return replace(self, **both)._sorted()

    def rows_of(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """All rows of each of `users` (int64 [B], repeats allowed, `n_users` has no row).

        Returns (position in the batch [M], row [M]), ordered by position, then by time.
        Raises IndexError for a user outside 0 .. n_users.
        """
        start, stop = self._bounds(users)
        return _ranges(start, stop)

    def histories(
        self, users: Tensor, length: int | None = None, min_rating: float | None = None
    ) -> Histories:
        """The last `length` rows of each of `users` (int64 [B]), oldest first, left-padded.

        `min_rating` keeps only ratings of at least that much, before the last ones are taken.
        `length=None` is as wide as the batch needs; with a length H is always that length.
        """
        start, stop = self._bounds(users)
        if length is not None and min_rating is None:  # do not gather what is cut off again
            start = torch.maximum(start, stop - length)
        batch, row = _ranges(start, stop)
        if min_rating is not None:
            keep = self.rating[row] >= min_rating
            batch, row = batch[keep], row[keep]
        counts = torch.bincount(batch, minlength=len(users))  # (B,)
        if length is None:
            length = int(counts.max()) if len(counts) else 0
        end = counts.cumsum(0)  # (B,)
        from_end = end[batch] - torch.arange(len(batch), device=batch.device)  # 1 = last
        keep = from_end <= length
        batch, row, column = batch[keep], row[keep], length - from_end[keep]
        item = self.item.new_full((len(users), length), self.n_items)  # (B, H)
        rating = self.rating.new_zeros((len(users), length))  # (B, H)
        item[batch, column], rating[batch, column] = self.item[row], self.rating[row]
        return Histories(users, item, rating)

    def mask_of(self, users: Tensor) -> Tensor:
        """bool [B, n_items]: the items that each of `users` (int64 [B]) has a row for."""
        batch, row = self.rows_of(users)
        mask = torch.zeros((len(users), self.n_items), dtype=torch.bool, device=self.user.device)
        mask[batch, self.item[row]] = True
        return mask

    def _bounds(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """First row and one past the last row of each of `users`, int64 [B] each."""
        if len(users) and (users.min() < 0 or users.max() > self.n_users):
            raise IndexError(f"a user index is outside 0 .. {self.n_users} (the last: unknown)")
        return self.offsets[users], self.offsets[(users + 1).clamp(max=self.n_users)]


def fingerprint(interactions: Interactions) -> str:
    """SHA-256 of users, items (MovieLens ids), ratings and order: the same data, the same mark."""
    digest = hashlib.sha256()
    digest.update(interactions.user_ids.id(interactions.user).astype("<i8").tobytes())
    digest.update(interactions.item_ids.id(interactions.item).astype("<i8").tobytes())
    digest.update(interactions.rating.numpy().astype("<f4").tobytes())
    return digest.hexdigest()


def _ranges(start: Tensor, stop: Tensor) -> tuple[Tensor, Tensor]:
    """The numbers start[b]..stop[b]-1 of every b in one row, and the b of each: both int64 [M]."""
    counts = stop - start
    batch = torch.repeat_interleave(counts)
    first = counts.cumsum(0) - counts  # where the numbers of b begin in the row
    row = torch.arange(len(batch), device=batch.device) + (start - first)[batch]
    return batch, row


# ---------------------------------------------------------------------------------- splits


@dataclass(frozen=True, eq=False)
class Split:
    """Three disjoint parts of one set of interactions, with the same id maps."""

    train: Interactions
    validation: Interactions
    test: Interactions


def _split(interactions: Interactions, validation: Tensor, test: Tensor) -> Split:
    parts = (~(validation | test), validation, test)
    return Split(*(interactions.select(mask) for mask in parts))


def _check_shares(*shares: float) -> None:
    if min(shares) < 0 or sum(shares) >= 1:
        raise ValueError(f"shares must not be negative and must leave a training part: {shares}")


def leave_one_out(interactions: Interactions) -> Split:
    """Each user's last row is test, the one before it validation (He et al., WWW 2017).

    A user with fewer than three rows is in train only.
    """
    offsets, user = interactions.offsets, interactions.user
    enough = (offsets.diff() >= 3)[user]
    from_end = offsets[user + 1] - torch.arange(len(user), device=user.device)  # 1 = last
    return _split(interactions, enough & (from_end == 2), enough & (from_end == 1))


def random_split(
    interactions: Interactions,
    test_share: float = 0.2,
    seed: int = 0,
    validation_share: float = 0.0,
) -> Split:
    """By rows, uniformly at random (Liu et al.: 80 / 20). The same seed, the same split."""
    _check_shares(test_share, validation_share)
    n = len(interactions)
    n_test, n_validation = round(n * test_share), round(n * validation_share)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    test, validation = torch.zeros(2, n, dtype=torch.bool)
    test[order[:n_test]] = True
    validation[order[n_test : n_test + n_validation]] = True
    return _split(interactions, validation, test)


def split_users(
    n_users: int,
    shares: Sequence[float] = (0.8, 0.1, 0.1),
    generator: torch.Generator | None = None,
) -> tuple[Tensor, ...]:
    """Whole people at random: one ascending int64 row of user indices for each share.

    Without a generator the split is that of seed 0. Raises ValueError unless shares add up to 1.
    """
    generator = generator or torch.Generator().manual_seed(0)
    if min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"shares must not be negative and must add up to 1: {tuple(shares)}")
    order = torch.randperm(n_users, generator=generator)
    bounds = np.rint(np.cumsum(shares) * n_users).astype(int)
    return tuple(part.sort().values for part in order.tensor_split(bounds[:-1].tolist()))


def split_by_time(
    interactions: Interactions, test_share: float = 0.1, validation_share: float = 0.1
) -> Split:
    """Two global times cut the log: every training row is older than every validation row, and
    those are older than every test row. Rows at a cut's own time stay on the older side."""
    _check_shares(test_share, validation_share)
    time = interactions.timestamp
    ordered, n = time.sort().values, len(time)
    if not n:
        return _split(interactions, time > 0, time > 0)
    train_rows = max(1, round(n * (1 - test_share - validation_share)))
    train_end = ordered[train_rows - 1]
    validation_end = ordered[max(train_rows, round(n * (1 - test_share))) - 1]
    return _split(
        interactions, (time > train_end) & (time <= validation_end), time > validation_end
    )
