"""Films and the spellings of their titles, kept so that they need not be worked out every time.

The name of the file holds a hash of the movie file and of the program that reads it: when one of
the two changes, it is made again. Its first line is a hash of the rest: so it is when it is
damaged.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from recsys_rl.command import spelling, title_index
from recsys_rl.command.title_index import Spelling, spelling_of
from recsys_rl.data import films as film_files
from recsys_rl.data import movie_files, notes, titles, written_ids
from recsys_rl.data.atomic_files import write_atomically
from recsys_rl.data.films import Film, read_films
from recsys_rl.data.layouts import file_of
from recsys_rl.data.regular_files import content_of
from recsys_rl.data.written_ids import Id

LARGEST = 2**28  # bytes
_MODULES = (film_files, movie_files, notes, titles, written_ids, spelling, title_index)
_PROGRAM = (__file__, *(module.__file__ for module in _MODULES))

Spellings = Mapping[tuple[str, str], Spelling]  # by title, and title as filed


def films_of(place: Path) -> tuple[dict[Id, Film], Spellings]:
    """The films of a data set, as `read_films`, and how they are spelt, from the cache if it can
    be. Raises ValueError or OSError where the films cannot be read."""
    path = _cache_file(place)
    if path is not None and (kept := _read(path)) is not None:
        return kept
    films = read_films(place)
    spellings = {(film.title, film.filed): spelling_of(film) for film in films.values()}
    if path is not None:
        with contextlib.suppress(OSError):  # a cache is a help, and no duty
            _write(path, films, spellings, f"{place.name}-*.json")
    return films, spellings


def _cache_file(place: Path) -> Path | None:
    """Where the films of a folder are kept; None where they are not."""
    try:
        digest = hashlib.sha256(place.name.encode())
        for path in (file_of(place, 1), *_PROGRAM):
            digest.update(Path(path).read_bytes())
        home = Path(os.environ.get("XDG_CACHE_HOME") or "")
        if not home.is_absolute():  # as its standard wants it: such a value is none
            home = Path.home() / ".cache"
    except (OSError, RuntimeError):  # no such file, or no home
        return None
    return home / "recsys_rl" / f"{place.name}-{digest.hexdigest()[:16]}.json"


def _read(path: Path) -> tuple[dict[Id, Film], Spellings] | None:
    try:
        mark, _, text = content_of(path, LARGEST).partition(b"\n")
        if hashlib.sha256(text).hexdigest().encode() != mark:
            return None
        films, spellings = {}, {}
        rows = json.loads(text)
        for item, title, filed, year, genres, names, parts in rows:
            texts = title, filed, *genres, *parts, *(name for name, _ in names)
            if not _right((genres, parts, names), item, year, texts):
                return None
            films[item] = Film(item, title, filed, year, tuple(genres))
            spellings[title, filed] = Spelling(
                [(plain, words.split()) for plain, words in names], parts
            )
        return (films, spellings) if films else None
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):  # or another form
        return None


def _right(lists: tuple, item: object, year: object, texts: tuple) -> bool:
    """Whether a row of the cache has the types that it was written with."""
    return (
        all(type(each) is list for each in lists)
        and type(item) in (int, str)
        and (year is None or type(year) is int)
        and all(type(text) is str for text in texts)
    )


def _write(path: Path, films: Mapping[Id, Film], spellings: Spellings, old: str) -> None:
    rows = []
    for film in films.values():
        names, parts = spellings[film.title, film.filed]
        joined = [(plain, " ".join(words)) for plain, words in names]
        rows.append([film.id, film.title, film.filed, film.year, film.genres, joined, parts])
    path.parent.mkdir(parents=True, exist_ok=True)
    for other in path.parent.glob(old):
        other.unlink(missing_ok=True)
    text = json.dumps(rows).encode()
    write_atomically(path, hashlib.sha256(text).hexdigest().encode(), b"\n", text)
