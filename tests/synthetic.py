"""A tiny data set in MovieLens' own layouts, for tests: nothing in it is MovieLens data."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Literal

import numpy as np

Layout = Literal["ml-1m", "ml-100k", "csv"]

GENRES = ("Action", "Comedy", "Drama", "Horror", "Romance", "Sci-Fi")
FLAGS_100K = (
    "unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy "
    "Film-Noir Horror Musical Mystery Romance Sci-Fi Thriller War Western"
)
# Titles that break naive readers: colons, accents, commas, quotes, numbers, a duplicate, no year
ODD_TITLES = (
    "Alien Dawn: The Return (1979)",
    "Séance à Orly, La (1988)",
    'Best "Worst" Day, The (1991)',
    "Red, White & Blue (1960)",
    "1984 (1984)",
    "Fleur d'été, L' (Summer::Flower, The) (1999)",
    "Twice Told (1990)",
    "Twice Told (1990)",
    "Nameless",
)


def write_movielens(
    folder: Path, layout: Layout, n_users: int = 60, n_items: int = 80, seed: int = 0
) -> Path:
    """Writes ratings and movies into `folder` and returns it. The same numbers and seed give the
    same ratings and films in every layout; only the order of the rows is that of the layout.

    Every user has at least 20 ratings and two favourite genres, whose films get 4 or 5. Film ids
    leave gaps, so that an index taken for an id is seen, and some timestamps are shared.
    """
    if n_items < 40:
        raise ValueError("40 films are the least from which every user can rate 20 or more")
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    films = _films(n_items, rng)
    rows = _rows(n_users, [genres for _, _, genres in films], rng)
    ids = np.array([item for item, _, _ in films])
    user, index, rating, time = rows
    table = np.stack([user, ids[index], rating, time], axis=1)  # (N, 4)
    if layout == "ml-1m":  # by user, otherwise in no order
        _write(folder / "ratings.dat", "\n".join("::".join(map(str, row)) for row in table))
        lines = (f"{item}::{title}::{'|'.join(genres)}" for item, title, genres in films)
        _write(folder / "movies.dat", "\n".join(lines), "latin-1")
    elif layout == "ml-100k":  # in no order at all
        table = table[rng.permutation(len(table))]
        _write(folder / "u.data", "\n".join("\t".join(map(str, row)) for row in table))
        lines = (_item_line(*film) for film in films)
        _write(folder / "u.item", "\n".join(lines), "latin-1")
    elif layout == "csv":  # by user and film
        table = table[np.lexsort((table[:, 1], table[:, 0]))]
        lines = (f"{u},{i},{r}.0,{t}" for u, i, r, t in table)
        _write(folder / "ratings.csv", "userId,movieId,rating,timestamp\n" + "\n".join(lines))
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["movieId", "title", "genres"])
        writer.writerows([item, title, "|".join(genres)] for item, title, genres in films)
        _write(folder / "movies.csv", text.getvalue().rstrip("\n"))
    else:
        raise ValueError(f"unknown layout {layout!r}")
    return folder


def _films(n_items: int, rng: np.random.Generator) -> list[tuple[int, str, list[str]]]:
    films = []
    for index in range(n_items):
        genres = sorted({GENRES[index % len(GENRES)], GENRES[int(rng.integers(len(GENRES)))]})
        title = ODD_TITLES[index] if index < len(ODD_TITLES) else f"Film {index} ({1950 + index})"
        films.append((3 * index + 2, title, genres))
    return films


def _rows(
    n_users: int, genres: list[list[str]], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    user, item, rating, time = [], [], [], []
    for u in range(n_users):
        favourites = set(rng.choice(GENRES, 2, replace=False))
        liked = np.array([bool(favourites & set(film)) for film in genres])
        count = int(rng.integers(20, len(genres) // 2 + 1))
        seen = rng.choice(
            len(genres), count, replace=False, p=(1 + 2 * liked) / (1 + 2 * liked).sum()
        )
        start = 978_300_000 + 10_000 * int(rng.integers(n_users))
        user += [u + 1] * count
        item += seen.tolist()
        rating += np.where(
            liked[seen], rng.integers(4, 6, count), rng.integers(1, 4, count)
        ).tolist()
        time += (start + 10 * rng.integers(0, count, count)).tolist()  # films of one moment tie
    return np.array(user), np.array(item), np.array(rating), np.array(time)


def _item_line(item: int, title: str, genres: list[str]) -> str:
    flags = "|".join(str(int(name in genres)) for name in FLAGS_100K.split())
    return f"{item}|{title}|01-Jan-1995||http://example.org/{item}|{flags}"


def _write(path: Path, text: str, encoding: str = "utf-8") -> None:
    path.write_bytes((text + "\n").encode(encoding))
