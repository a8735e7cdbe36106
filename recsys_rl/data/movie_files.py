"""The movie file of a data set, row by row. This file needs no pandas."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from recsys_rl.data.encodings import western
from recsys_rl.data.layouts import GENRES_100K, PUBLISHED, check_count, file_of, tells_separator
from recsys_rl.data.notes import note, shown
from recsys_rl.data.quotes import open_quote
from recsys_rl.data.regular_files import content_of
from recsys_rl.data.written_ids import MISSING, Id, holds_control, whole_numbers

LARGEST = 2**26  # bytes; a million films take less
_NO_GENRE = {"(no genres listed)", "unknown"}
_CSV_COLUMNS = ["movieId", "title", "genres"]

# "(1995)", "(1995) (V)" for films that went straight to video, "(2006-2007)" for series. Blanks
# around it are stripped elsewhere: to look for their end from every place takes quadratic time.
_YEAR = re.compile(r"\(([0-9]{4})(?:[-–][0-9]{0,4})?\)(?:\s*\((?:V|TV)\))?$")
_SEPARATORS = ",;\t"  # of a table with a header


class Movie(NamedTuple):
    item: Id
    title: str  # as in the file, but without the year: "Matrix, The"
    year: int | None
    genres: tuple[str, ...]


class _BadLine(ValueError):
    """What is wrong with a line, which counts from 1."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")


def read_movies(folder: Path, check_counts: bool = True) -> list[Movie]:
    """The films of an extracted MovieLens folder, in the file's own row order.

    Ids are integers where all are written as such, else text. A folder named after a set of fixed
    size must hold exactly the published number unless `check_counts` is False.
    Raises FileNotFoundError without a movie file, ValueError for one that cannot be right.
    """
    path = file_of(folder, 1)
    read = {".dat": _dat_rows, ".csv": _csv_rows, ".item": _item_rows}
    try:
        rows = list(read[path.suffix](_text(path)))
        if not rows:
            raise ValueError("no line at all")
        movies = _checked(rows, path)
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path} is not a MovieLens movie file: {error}") from None
    if check_counts:
        check_count(path, "movies", len(movies), PUBLISHED.get(folder.name, (None,) * 4)[3])
    return movies


Row = tuple[int, str, str, str]  # line, id, title with the year, genres with "|" between them


def _checked(rows: list[Row], path: Path) -> list[Movie]:
    texts = [item.strip() for _, item, _, _ in rows]
    for (line, *_), text in zip(rows, texts, strict=True):
        if text.lower() in MISSING:
            raise _BadLine(line, "the movie is missing")
        if holds_control(text):
            raise _BadLine(line, f"the movie id holds a control character: {shown(text)[:80]!r}")
    whole = whole_numbers(texts)
    if any(whole) and not all(whole):
        odd = texts[whole.index(False)]
        note(f"{path}: every movie id is kept as text, since {odd!r} is no whole number")
    ids: list[Id] = list(map(int, texts)) if all(whole) else list(texts)
    first: dict[Id, int] = {}
    for item, (line, *_) in zip(ids, rows, strict=True):
        if first.setdefault(item, line) != line:
            raise _BadLine(
                line, f"it lists a movie id twice: {item}, first in line {first[item]}; remove one"
            )
    movies, signs = [], _between(genres for *_, genres in rows)
    for item, (_, _, raw, genres) in zip(ids, rows, strict=True):
        title, year = split_year(raw)
        known = [genre for each in re.split(signs, genres) if (genre := each.strip())]
        known = [] if "|".join(known) in _NO_GENRE else known
        movies.append(Movie(item, title or f"film {item}", year, tuple(known)))
    return movies


def _between(genres: Iterable[str]) -> str:
    """What separates the genres of a film, as a pattern: "|" or ";", and where a table of one's own
    has neither, ","."""
    text = "".join(genres)
    return "[|;]" if "|" in text or ";" in text else ","


def split_year(raw: str) -> tuple[str, int | None]:
    """ "Heat (1995)" -> "Heat", 1995; a title without a year stays whole."""
    raw = raw.rstrip()
    found = _YEAR.search(raw)
    if found is None:
        return raw.strip(), None
    return raw[: found.start()].strip(), int(found[1])


def _text(path: Path) -> str:
    """A small file. ML-10M is UTF-8, ML-100K and ML-1M are latin-1, which almost never happens to
    be valid UTF-8 once it holds an accent; neither is Windows' cp1252. Line ends are those of
    Unix."""
    raw = content_of(path, LARGEST).removeprefix(b"\xef\xbb\xbf")
    if b"\0" in raw:  # as in UTF-16, which latin-1 would take for letters
        line = raw[: raw.index(b"\0")].count(b"\n") + 1
        raise _BadLine(line, "it is no text in UTF-8 or latin-1: save it as UTF-8")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = western(raw)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _matches(text: str, pattern: str, separator: str) -> Iterator[tuple[int, re.Match]]:
    """The lines that are not empty, from 1; raises ValueError on the first that does not fit.

    Nothing but the year at its end tells a title that holds a separator from a column too many.
    """
    fits = re.compile(pattern).match
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            found = fits(line)
            if found is None:
                raise _BadLine(number, f"unexpected line: {line[:80]!r}")
            title = found[2]
            if separator in title and _YEAR.search(title.rstrip()) is None:
                raise _BadLine(
                    number,
                    f"a column too many, or a title that holds {separator!r}: such a title must "
                    "end in a year, as in Heat (1995)",
                )
            yield number, found


def _dat_rows(text: str) -> Iterator[Row]:
    """id::title::genres. Titles hold colons, so the first and the last `::` are the separators."""
    for number, found in _matches(text, r"^([^:]+)::(.*)::([^:]*)$", "::"):
        yield number, found[1], found[2], found[3]


def _item_rows(text: str) -> Iterator[Row]:
    """id|title|released|video released|url|19 genre flags, the flags in the order of u.genre."""
    names = GENRES_100K.split("|")
    # a url is no flag: with a flag too many the title would begin the columns, and end late
    url = r"(?![01]\|)[^|]*"
    pattern = rf"^([^|]+)\|(.*)\|[^|]*\|[^|]*\|{url}\|([01](?:\|[01]){{18}})$"
    for number, found in _matches(text, pattern, "|"):
        flags = found[3].split("|")
        genres = [name for name, flag in zip(names, flags, strict=True) if flag == "1"]
        yield number, found[1], found[2], "|".join(genres)


def _csv_rows(text: str) -> Iterator[Row]:
    lines = text.split("\n")
    if tells_separator(lines[0]):  # left empty, so that lines keep their numbers
        lines[0] = ""
        text = "\n".join(lines)
    start = next((place for place, line in enumerate(lines) if line.strip()), 0)
    headers = [_header(lines[start], separator) for separator in _SEPARATORS]
    at = next((i for i, found in enumerate(headers) if set(_CSV_COLUMNS) <= set(found)), 0)
    header = headers[at]
    if missing := [name for name in _CSV_COLUMNS if name not in header]:
        raise _BadLine(start + 1, f"no column {', '.join(missing)} among {header}")
    if twice := [name for name in _CSV_COLUMNS if header.count(name) > 1]:
        raise _BadLine(
            start + 1, f"it has {header.count(twice[0])} columns {twice[0]!r}: rename one"
        )
    if found := open_quote(io.StringIO(text), _SEPARATORS[at]):
        raise _BadLine(found, "a quote opens a value and none closes it")
    places = [header.index(name) for name in _CSV_COLUMNS]
    reader = csv.reader(io.StringIO(text), delimiter=_SEPARATORS[at], skipinitialspace=True)
    try:
        for row in itertools.islice((row for row in reader if any(map(str.strip, row))), 1, None):
            if len(row) < len(header) or any(row[len(header) :]):
                raise _BadLine(
                    reader.line_num,
                    f"{len(row)} columns where the header has {len(header)}; a title with a comma "
                    "stands in quotes",
                )
            yield reader.line_num, *(row[place] for place in places)
    except csv.Error as error:
        raise _BadLine(reader.line_num, str(error)) from None


def _header(line: str, separator: str) -> list[str]:
    row = next(csv.reader([line], delimiter=separator), [])
    return [name.strip() for name in row]
