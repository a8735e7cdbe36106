"""Ratings from a text or Parquet file: read right, or refused in a sentence with file and line."""

from __future__ import annotations

import csv
import itertools
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from recsys_rl.data.column_values import (
    BadRow,
    as_ids,
    as_numbers,
    as_seconds,
    on_scale,
    refuse_first,
)
from recsys_rl.data.layouts import PARQUET, tells_separator
from recsys_rl.data.notes import shortened
from recsys_rl.data.quotes import open_quote

COLUMNS = ("user", "item", "rating", "timestamp")
ORDERS = "time", "file"

_SEPARATORS = ",;\t|"


class Layout(NamedTuple):
    """How a file keeps the four columns.

    columns: name here -> its name in the file, or its place where the file has no header.
    separator: None for the one under which the header has all the names. quoted: whether "..." may
    hold a separator. least_id: ids that are integers start here; None: anywhere.
    """

    columns: Mapping[str, str | int]
    separator: str | None = None
    quoted: bool = True
    least_id: int | None = None
    kind: str = "a table of ratings with these columns"


def read_ratings(
    path: Path, layout: Layout, positive: float | None = None, order: str = "time"
) -> pd.DataFrame:
    """Columns user, item (int32, int64 or str), rating (float32, .5 to 5), timestamp (int64, s).

    Ids are integers where all of a column are written as such, without a leading 0; else text,
    exactly as in the file. positive: see `column_values.on_scale`. order="file" takes the rows as
    they stand for the order in time and reads no timestamps. Rows keep their order in the file, but
    for timestamps finer than a second: those rows come in the order of time.

    Raises ValueError, with file and line, for what is missing or cannot be right.
    """
    if order not in ORDERS:
        raise ValueError(f"order must be one of {ORDERS}, not {order!r}")
    wanted = {c: name for c, name in layout.columns.items() if order == "time" or c != COLUMNS[3]}
    if missing := [c for c in COLUMNS[: 4 if order == "time" else 3] if c not in wanted]:
        raise ValueError(f"{path}: no column is named for {', '.join(missing)}{_hint(missing)}")
    if path.suffix.lower() in PARQUET:
        raw, separator = _parquet(path, wanted), None
    else:
        raw, separator = _text(path, layout._replace(columns=wanted))
    if raw.empty:
        raise ValueError(f"{path} holds no rating")
    try:
        return _checked(raw, path, layout, positive)
    except BadRow as bad:
        place = f"row {bad.row + 1}"
        if separator is not None:
            row = bad.row + (not isinstance(wanted["user"], int))  # a header is a row too
            place = f"line {_line_of(path, row, separator, layout.quoted)}"
        raise ValueError(f"{path} is not {layout.kind}: {place}: {bad}") from None


def _hint(missing: Sequence[str]) -> str:
    only_time = list(missing) == ["timestamp"]
    return '; choose order="file" where the rows stand in the order of time' if only_time else ""


def _checked(raw: pd.DataFrame, path: Path, layout: Layout, positive: float | None) -> pd.DataFrame:
    rating = on_scale(as_numbers(raw["rating"], "rating"), positive)
    order = None
    if "timestamp" in raw:
        seconds, order = as_seconds(raw["timestamp"])
    else:
        seconds = np.arange(len(raw))
    table = {name: as_ids(raw[name], name, path) for name in ("user", "item")}
    for name, ids in table.items():
        if layout.least_id is not None and ids.dtype != object:
            refuse_first(
                ids < layout.least_id,
                lambda row, name=name, ids=ids: (
                    f"the {name} {ids[row]} is below {layout.least_id}, where ids of this layout "
                    "begin: number them anew, or name the columns of a table (columns)"
                ),
            )
    table = pd.DataFrame(table | {"rating": rating, "timestamp": seconds})
    return table if order is None else table.iloc[order].reset_index(drop=True)


def _starts_as_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _parquet(path: Path, columns: Mapping[str, str | int]) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path)
    except ImportError:
        raise ValueError(
            f"{path} needs pyarrow to be read: pip install pyarrow, or write it as CSV"
        ) from None
    except Exception as error:  # of pyarrow's own kinds
        what = "cannot be read" if _starts_as_parquet(path) else "is no Parquet file"
        raise ValueError(f"{path} {what}: {_line(error)}") from None
    for name in set(columns.values()) - set(table.columns):
        if list(table.index.names).count(name) == 1:  # as pandas writes an index
            table = table.reset_index(level=name)
    _refuse_unknown(path, columns, list(table.columns))
    return table[list(columns.values())].set_axis(list(columns), axis=1)


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _text(path: Path, layout: Layout) -> tuple[pd.DataFrame, str]:
    """The columns, as numbers or text, and what separates them."""
    places, separator, header, width = _places(path, layout)
    _refuse_uneven_lines(path, layout, separator, width)
    options = {
        "sep": separator,
        "header": None if header is None else 0,
        "skiprows": _skipped(path),
        "names": [f"column {place}" for place in range(width)],
        "usecols": sorted(places.values()),
        "keep_default_na": False,
        "skipinitialspace": True,
        "quoting": csv.QUOTE_MINIMAL if layout.quoted else csv.QUOTE_NONE,
    }
    # numbers as numbers; where that fails as text, in which the line that is wrong is found
    numbers = {"user": str, "item": str, "rating": "float64", "timestamp": "int64"}
    forms = [numbers, dict.fromkeys(COLUMNS, str)]
    if _begins_with_truths(path, options):
        del forms[0]
    for types in forms:
        by_place = {f"column {place}": types[name] for name, place in places.items()}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", pd.errors.ParserWarning)  # of columns not read
                warnings.simplefilter("ignore", RuntimeWarning)  # 1e400; refused below
                table = pd.read_csv(path, dtype=by_place, **options)
            break
        except pd.errors.EmptyDataError:
            raise ValueError(f"{path} holds no rating") from None
        except (ValueError, OverflowError) as error:
            failure = error
    else:
        reason = _unreadable(path, failure, separator, layout.quoted)
        raise ValueError(f"{path} is not {layout.kind}: {reason}") from None
    found = [f"column {place}" for place in places.values()]
    return table[found].set_axis(list(places), axis=1), separator


def _begins_with_truths(path: Path, options: dict[str, object]) -> bool:
    """Whether the first row has a True or False: pandas makes 1 and 0 of a column of them."""
    try:
        row = pd.read_csv(path, dtype=str, nrows=1, **options)
    except (ValueError, OverflowError):
        return False
    return bool(row.isin(["True", "TRUE", "true", "False", "FALSE", "false"]).any(axis=None))


def _places(path: Path, layout: Layout) -> tuple[dict[str, int], str, list[str] | None, int]:
    """Where each column is, the separator, the header, or None where the file has none, and how
    many columns there are."""
    names = layout.columns
    first = first_line(path)
    if isinstance(names["user"], int):
        last = first.count(layout.separator)
        missing = [name for name, place in names.items() if place > last]
        if missing:
            raise ValueError(
                f"{path} is not {layout.kind}: its first line has no {' or '.join(missing)}"
                + (_hint(missing) or f", where columns are separated by {_shown(layout.separator)}")
            )
        if layout.separator == ":":
            _refuse_single_colons(path, layout)
        return dict(names), layout.separator, None, last + 1
    headers = [_fields(first, sep) for sep in layout.separator or _SEPARATORS]
    at = next((i for i, found in enumerate(headers) if set(names.values()) <= set(found)), None)
    longest = max(headers, key=len)
    header = longest if at is None else headers[at]
    _refuse_unknown(path, names, header)
    separator = (layout.separator or _SEPARATORS)[at]
    places = {name: header.index(column) for name, column in names.items()}
    return places, separator, header, len(header)


def _refuse_single_colons(path: Path, layout: Layout) -> None:
    """Read with a single ":", a::b::c::d has empty columns between; so it must, in every line."""
    number = 1
    with path.open("rb") as file:
        while block := file.read(2**24) + file.readline():  # of whole lines
            if _single_colon(block):
                lines = block.split(b"\n")
                number += next(place for place, line in enumerate(lines) if _single_colon(line))
                raise ValueError(
                    f"{path} is not {layout.kind}: line {number}: columns are separated by ::, "
                    "and no column holds a colon"
                )
            number += block.count(b"\n")


def _single_colon(line: bytes) -> bool:
    return line.count(b":") != 2 * line.count(b"::")


def _shown(separator: str) -> str:
    return {":": "::", "\t": "tabs"}.get(separator, separator)


def _refuse_uneven_lines(path: Path, layout: Layout, separator: str, width: int) -> None:
    """A column too many, as in 4,5 stars, or too few would move all that stands behind it.

    Empty columns at the end count for nothing.
    """
    if _even(path, layout, separator, width):
        return  # as nearly always; else there are empty lines, or quotes, or what is looked for
    _refuse_lost_columns(path, layout, separator)
    if layout.quoted:
        _refuse_open_quotes(path, layout, separator)
    each = 2 if separator == ":" else 1  # every second column of a::b is empty
    first = None
    for line, row in _rows(path, separator, layout.quoted):
        filled = next((n for n in range(len(row), 0, -1) if row[n - 1].strip()), 0)
        first = filled if first is None else first
        if filled > width or len(row) < first:
            raise ValueError(
                f"{path} is not {layout.kind}: line {line}: it has {-(-len(row) // each)} columns, "
                f"the first line has {-(-width // each)}; is a separator within a value, a column "
                "left out, or a quote not closed?"
            )


def _refuse_lost_columns(path: Path, layout: Layout, separator: str) -> None:
    """Where CR alone ends lines, pandas loses an empty first column behind an empty line."""
    with path.open("rb") as file:
        if b"\n" in file.read(2**20):
            return
        file.seek(0)
        content = file.read()
    if re.search(rb"\r[ \t]*\r[ \t\r]*" + re.escape(separator.encode()), content):
        raise ValueError(
            f"{path} is not {layout.kind}: its lines end in CR, as on old Macs, and some are "
            "empty: save it with LF or CRLF"
        )


def _refuse_open_quotes(path: Path, layout: Layout, separator: str) -> None:
    skipped = _skipped(path)
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        found = open_quote(itertools.islice(file, skipped, None), separator)
    if found:
        raise ValueError(
            f"{path} is not {layout.kind}: line {found + skipped}: a quote opens a value and none "
            "closes it"
        )


def _skipped(path: Path) -> int:
    """How many lines stand before the table: 1 where the first one tells Excel the separator."""
    with path.open("rb") as file:
        first = file.readline(64).removeprefix(b"\xef\xbb\xbf")
    return int(tells_separator(first.decode("latin-1")))


def _even(path: Path, layout: Layout, separator: str, width: int) -> bool:
    """Whether every line surely has as many columns as the first; False where quotes may matter."""
    with path.open("rb") as file:
        while block := file.read(2**24) + file.readline():  # of whole lines
            codes = np.frombuffer(block, np.uint8)
            ends = np.flatnonzero(codes == ord("\n"))
            if not block.endswith(b"\n"):
                ends = np.append(ends, len(codes))
            places = np.flatnonzero(codes == ord(separator))
            if len(places) != len(ends) * (width - 1) or (layout.quoted and b'"' in block):
                return False
            places = places.reshape(len(ends), width - 1)
            if (places[:, -1] > ends).any() or (places[1:, 0] < ends[:-1]).any():
                return False
    return True


def _rows(path: Path, separator: str, quoted: bool) -> Iterator[tuple[int, list[str]]]:
    """Each row that pandas takes for one, with the line, from 1, where it begins."""
    limit = csv.field_size_limit(2**31 - 1)  # pandas has none
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
            skipped = _skipped(path)
            lines = itertools.islice(file, skipped, None)
            rows = _reader(lines, separator, quoting)
            line = skipped + 1
            for row in rows:
                if len(row) > 1 or any(field.strip(" ") for field in row):  # else it is empty
                    yield line, row
                line = rows.line_num + skipped + 1
    finally:
        csv.field_size_limit(limit)


def _unreadable(path: Path, error: Exception, separator: str, quoted: bool) -> str:
    """What pandas says, or which line is no UTF-8, or where quotes begin that never end."""
    if isinstance(error, UnicodeDecodeError):
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                try:
                    raw.decode("utf-8")
                except UnicodeDecodeError:
                    return f"line {number}: it is no text in UTF-8"
    if open_quote := re.search("EOF inside string starting at row ([0-9]+)", str(error)):
        line = _line_of(path, int(open_quote[1]), separator, quoted)
        return f"line {line}: a quote opens a value and none closes it"
    return _line(error)


def _reader(lines: Iterable[str], separator: str, quoting: int = csv.QUOTE_MINIMAL) -> Any:
    return csv.reader(lines, delimiter=separator, quoting=quoting, skipinitialspace=True)


def _fields(line: str, separator: str) -> list[str]:
    try:
        return [field.strip() for field in next(_reader([line], separator), [])]
    except csv.Error:  # a field of more than 131,072 characters
        return []


def first_line(path: Path) -> str:
    """The first that is not empty. Raises ValueError where there is none, or no text."""
    with path.open("rb") as file:
        for raw in itertools.islice(file, _skipped(path), None):
            line = raw.removeprefix(b"\xef\xbb\xbf").strip(b" \r\n")
            if line:
                try:
                    text = line.decode("utf-8")
                except UnicodeDecodeError:
                    text = "\0"
                if "\0" in text:  # UTF-16 without a mark is UTF-8 with these
                    raise ValueError(f"{path} is no text in UTF-8: save it as such")
                return re.split("[\r\n]", text)[0]
    raise ValueError(f"{path} holds no rating")


def _refuse_unknown(path: Path, columns: Mapping[str, str | int], found: Sequence[str]) -> None:
    for column, name in columns.items():
        if same := [other for other in columns if columns[other] == name and other != column]:
            raise ValueError(f"columns names {name!r} for {column} and for {same[0]}: name two")
        if list(found).count(name) > 1:
            raise ValueError(f"{path} has {list(found).count(name)} columns {name!r}: rename one")
    if missing := {column: name for column, name in columns.items() if name not in found}:
        raise ValueError(
            f"{path} has no column {' or '.join(map(repr, missing.values()))}, only "
            f"{shortened(', '.join(map(str, found)))}: say which one holds what with "
            f'columns={{"{next(iter(missing))}": "its name"}}{_hint(list(missing))}'
        )


def _line_of(path: Path, row: int, separator: str, quoted: bool) -> int:
    """The line, from 1, where a row, from 0, begins. Empty lines are no rows."""
    lines = (line for line, _ in _rows(path, separator, quoted))
    return next(itertools.islice(lines, row, None), 0)
