"""Ratings from a text or Parquet file: read right, or refused in a sentence with file and line."""

from __future__ import annotations

import contextlib
import csv
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from recsys_rl.data.layouts import PARQUET as PARQUET
from recsys_rl.data.likes import POSITIVE
from recsys_rl.data.notes import note, shown
from recsys_rl.data.written_ids import MISSING, whole_numbers

COLUMNS = ("user", "item", "rating", "timestamp")
SCALE = 0.5, 5.0  # ratings of MovieLens
LARGEST = 1e30  # ratings of any scale, whose differences are to be numbers
ORDERS = "time", "file"

_SEPARATORS = ",;\t|"
_UNITS = ("seconds", "milliseconds", "microseconds", "nanoseconds")
_UNIT_ENDS = 1e11, 1e14, 1e17  # seconds reach 1e11 in the year 5138, milliseconds in 1973


class BadRow(ValueError):
    """What is wrong with a row, which counts from 0."""

    def __init__(self, row: int, reason: str) -> None:
        super().__init__(reason)
        self.row = int(row)


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
    exactly as in the file. positive: see `on_scale`. order="file" takes the rows as they stand for
    the order in time and reads no timestamps. Rows keep their order in the file, but for timestamps
    finer than a second: those rows come in the order of time.

    Raises ValueError, with file and line, for what is missing or cannot be right.
    """
    if order not in ORDERS:
        raise ValueError(f"order must be one of {ORDERS}, not {order!r}")
    wanted = {c: name for c, name in layout.columns.items() if order == "time" or c != COLUMNS[3]}
    if missing := [c for c in COLUMNS[: 4 if order == "time" else 3] if c not in wanted]:
        raise ValueError(f"{path}: no column is named for {', '.join(missing)}{_hint(missing)}")
    parquet = path.suffix.lower() in PARQUET
    raw = _parquet(path, wanted) if parquet else _text(path, layout._replace(columns=wanted))
    if raw.empty:
        raise ValueError(f"{path} holds no rating")
    try:
        return _checked(raw, path, layout, positive)
    except BadRow as bad:
        header = not isinstance(wanted["user"], int)
        place = f"row {bad.row + 1}" if parquet else f"line {line_of(path, bad.row, header)}"
        raise ValueError(f"{path} is not {layout.kind}: {place}: {bad}") from None


def _hint(missing: Sequence[str]) -> str:
    only_time = list(missing) == ["timestamp"]
    return '; choose order="file" where the rows stand in the order of time' if only_time else ""


# ------------------------------------------------------------------------------ from the disk


def _parquet(path: Path, columns: Mapping[str, str | int]) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path)
    except ImportError:
        raise ValueError(
            f"{path} needs pyarrow to be read: pip install pyarrow, or write it as CSV"
        ) from None
    except Exception as error:  # of pyarrow's own kinds
        raise ValueError(f"{path} is no Parquet file: {_line(error)}") from None
    _refuse_unknown(path, columns, list(table.columns))
    return table[list(columns.values())].set_axis(list(columns), axis=1)


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _text(path: Path, layout: Layout) -> pd.DataFrame:
    places, separator, header, width = _places(path, layout)
    _refuse_longer_lines(path, layout, separator, width)
    options = {
        "sep": separator,
        "header": None if header is None else 0,
        "names": [f"column {place}" for place in range(width)],
        "usecols": sorted(places.values()),
        "keep_default_na": False,
        "skipinitialspace": True,
        "quoting": csv.QUOTE_MINIMAL if layout.quoted else csv.QUOTE_NONE,
    }
    # numbers as numbers; where that fails as text, in which the line that is wrong is found
    numbers = {"user": str, "item": str, "rating": "float64", "timestamp": "int64"}
    for types in (numbers, dict.fromkeys(COLUMNS, str)):
        by_place = {f"column {place}": types[name] for name, place in places.items()}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", pd.errors.ParserWarning)  # of columns not read
                table = pd.read_csv(path, dtype=by_place, **options)
            break
        except pd.errors.EmptyDataError:
            raise ValueError(f"{path} holds no rating") from None
        except (ValueError, OverflowError) as error:
            failure = error
    else:
        raise ValueError(f"{path} is not {layout.kind}: {_unreadable(path, failure)}") from None
    found = [f"column {place}" for place in places.values()]
    return table[found].set_axis(list(places), axis=1)


def _places(path: Path, layout: Layout) -> tuple[dict[str, int], str, list[str] | None, int]:
    """Where each column is, the separator, the header, or None where the file has none, and how
    many columns there are."""
    names = layout.columns
    first = _first_line(path)
    if isinstance(names["user"], int):
        last = first.count(layout.separator)
        missing = [name for name, place in names.items() if place > last]
        if missing:
            raise ValueError(
                f"{path} is not {layout.kind}: its first line has no {' or '.join(missing)}"
                + _hint(missing)
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


def _refuse_longer_lines(path: Path, layout: Layout, separator: str, width: int) -> None:
    """A separator within a value, as in 4,5 stars, would move all that stands behind it."""
    separators, lines, end = 0, 0, b"\n"
    with path.open("rb") as file:
        while block := file.read(2**24):
            separators += block.count(separator.encode())
            lines, end = lines + block.count(b"\n"), block[-1:]
    if separators == (width - 1) * (lines + (end != b"\n")):
        return  # as nearly always; else there are empty lines, or quotes, or what is looked for
    quoting = csv.QUOTE_MINIMAL if layout.quoted else csv.QUOTE_NONE
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        rows = csv.reader(file, delimiter=separator, quoting=quoting)
        with contextlib.suppress(csv.Error):  # of which pandas says more
            for row in rows:
                if any(field.strip() for field in row[width:]):
                    raise ValueError(
                        f"{path} is not {layout.kind}: line {rows.line_num}: it has {len(row)} "
                        f"columns, the first line has {width}; is a separator within a value?"
                    )


def _unreadable(path: Path, error: Exception) -> str:
    """What pandas says, or which line is no UTF-8."""
    if isinstance(error, UnicodeDecodeError):
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                try:
                    raw.decode("utf-8")
                except UnicodeDecodeError:
                    return f"line {number}: it is no text in UTF-8"
    return _line(error)


def _fields(line: str, separator: str) -> list[str]:
    try:
        return [field.strip() for field in next(csv.reader([line], delimiter=separator), [])]
    except csv.Error:  # a field of more than 131,072 characters
        return []


def _first_line(path: Path) -> str:
    with path.open("rb") as file:
        for raw in file:
            line = raw.removeprefix(b"\xef\xbb\xbf").strip(b" \r\n")
            if line:
                try:
                    return line.decode("utf-8").splitlines()[0]
                except UnicodeDecodeError:
                    raise ValueError(f"{path} is no text in UTF-8: save it as such") from None
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
            f"{_short(', '.join(map(str, found)))}: say which one holds what with "
            f'columns={{"{next(iter(missing))}": "its name"}}{_hint(list(missing))}'
        )


def _short(text: object, length: int = 80) -> str:
    text = shown(str(text))
    return text if len(text) <= length else f"{text[: length - 3]}..."


def line_of(path: Path, row: int, header: bool) -> int:
    """The line, from 1, of a row, from 0. Empty lines are no rows."""
    left = row + header
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            if line.strip(" \n"):
                if not left:
                    return number
                left -= 1
    return 0


# ------------------------------------------------------------------------------ values, checked


def _checked(raw: pd.DataFrame, path: Path, layout: Layout, positive: float | None) -> pd.DataFrame:
    rating = on_scale(_numbers(raw["rating"], "rating"), positive)
    order = None
    if "timestamp" in raw:
        seconds, order = as_seconds(raw["timestamp"])
    else:
        seconds = np.arange(len(raw))
    table = {name: as_ids(raw[name], name, path) for name in ("user", "item")}
    for name, ids in table.items():
        if ids.dtype == object:  # numpy's text cannot end with this character
            nul = pd.Series(ids, dtype=object).str.contains("\0", regex=False)
            _refuse_first(nul.to_numpy(bool), lambda row, name=name: f"the {name} holds a NUL")
        if layout.least_id is not None and ids.dtype != object:
            _refuse_first(
                ids < layout.least_id,
                lambda row, name=name: f"the {name} is missing or outside {layout.least_id} .. inf",
            )
    table = pd.DataFrame(table | {"rating": rating, "timestamp": seconds})
    return table if order is None else table.iloc[order].reset_index(drop=True)


def as_ids(values: pd.Series, what: str, path: Path | str = "") -> np.ndarray:
    """Ids as integers (int32 where they fit, else int64), or else as text (object [N] of str).

    Integers: if every one is written as a whole number of 64 bits without a leading 0 or a plus,
    so that 10 and 010 stay two. Raises BadRow for a missing one.
    """
    kind = values.dtype.kind if isinstance(values.dtype, np.dtype) else "O"
    if kind in "iu" and (kind == "i" or values.max() < 2**63):
        return _smallest(values.to_numpy(np.int64))
    if kind == "f":
        numbers = values.to_numpy(np.float64)
        bad = ~(np.abs(numbers) < 2**53) | (numbers != np.floor(numbers))
        _refuse_first(bad, lambda row: f"the {what} is missing or no whole number")
        return _smallest(numbers.astype(np.int64))
    codes, found = pd.factorize(values.to_numpy(object))  # a missing one has the code -1
    _refuse_first(codes < 0, lambda row: f"the {what} is missing")
    texts = [_as_text(value) for value in found]
    for code, text in enumerate(texts):
        if text is None or text.lower() in MISSING:
            problem = "missing" if text is not None else f"neither a number nor text: {found[code]}"
            raise BadRow((codes == code).argmax(), f"the {what} is {problem}")
    whole = whole_numbers(texts)
    if all(whole):
        return _smallest(np.array(list(map(int, texts)), np.int64)[codes])
    if any(whole):
        odd = texts[whole.index(False)]
        note(f"{path}: every {what} id is kept as text, since {_short(odd)!r} is no whole number")
    return np.array(texts, object)[codes]


def _as_text(value: object) -> str | None:
    if isinstance(value, str):
        return value.strip()
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return str(value) if whole else None


def _smallest(ids: np.ndarray) -> np.ndarray:
    fits = not len(ids) or (ids.min() >= -(2**31) and ids.max() < 2**31)
    return ids.astype(np.int32) if fits else ids


def _refuse_first(bad: np.ndarray, reason) -> None:
    if bad.any():
        row = int(bad.argmax())
        raise BadRow(row, reason(row))


def _numbers(values: pd.Series, what: str) -> np.ndarray:
    """Finite float64 [N]; BadRow for anything else."""
    if pd.api.types.is_numeric_dtype(values.dtype):
        numbers = values.to_numpy(np.float64, na_value=np.nan)
    else:
        numbers = pd.to_numeric(values.astype(object), errors="coerce").to_numpy(np.float64)
        absent = values.isna() | (values.astype(str).str.strip() == "")
        wrong = np.isnan(numbers) & ~absent.to_numpy()
        _refuse_first(wrong, lambda row: f"the {what} {_short(values.iloc[row])!r} is no number")
    low, high = SCALE
    _refuse_first(
        ~(np.abs(numbers) < LARGEST),
        lambda row: f"a {what} is missing or outside {low:g} .. {high:g}",
    )
    return numbers


def on_scale(rating: np.ndarray, positive: float | None = None) -> np.ndarray:
    """Ratings on MovieLens' scale, where 4 or more is a positive -> float32 [N].

    Without `positive`, or with 4, ratings from .5 to 5 stay as they are. With a threshold all are
    carried over, linearly on either side of it: the smallest to 1, `positive` to 4, the largest to
    5. What is below the threshold stays below 4. Raises BadRow for a rating outside .5 .. 5 without
    a threshold, ValueError for a threshold that no rating reaches.
    """
    low, high = SCALE
    outside = (rating < low) | (rating > high)
    if positive is None:
        _refuse_first(
            outside,
            lambda row: (
                f"a rating is missing or outside {low:g} .. {high:g} ({rating[row]:g}); for another"
                " scale say from which rating on an item is liked, with positive="
            ),
        )
    if positive is None or (positive == POSITIVE and not outside.any()):
        return rating.astype(np.float32)
    smallest, largest = float(rating.min()), float(rating.max())
    if isinstance(positive, bool) or not positive <= largest:  # NaN, too
        raise ValueError(
            f"positive={positive} is reached by no rating: they go from {smallest:g} to {largest:g}"
        )
    if not positive > smallest:
        note(f"every rating is {positive:g} or more, a positive: nothing in the data is disliked")
    if largest > positive:
        liked = POSITIVE + (rating - positive) / (largest - positive)
    else:
        liked = np.full(len(rating), SCALE[1])
    below = 1 + (POSITIVE - 1) * (rating - smallest) / max(positive - smallest, 1e-300)
    below = np.minimum(below.astype(np.float32), np.nextafter(np.float32(POSITIVE), np.float32(0)))
    return np.where(rating >= positive, liked, below).astype(np.float32)


def as_seconds(values: pd.Series) -> tuple[np.ndarray, np.ndarray | None]:
    """Seconds since 1970, int64 [N], and an order of the rows where time is finer than that.

    Numbers: the largest says the unit. Below 1e11 they are seconds, below 1e14 milliseconds, below
    1e17 microseconds, else nanoseconds; two units in one column are refused. Dates: any datetime
    type, or ISO 8601 text; without a zone they are UTC. Raises BadRow.
    """
    if isinstance(values.dtype, pd.DatetimeTZDtype) or values.dtype.kind == "M":
        return _dates(values)
    if not pd.api.types.is_numeric_dtype(values.dtype):
        absent = values.isna() | values.astype(str).str.strip().str.lower().isin(MISSING)
        _refuse_first(absent.to_numpy(), lambda row: "a timestamp is missing")
        numbers = pd.to_numeric(values.astype(object), errors="coerce")
        known = numbers.notna()
        if not known.any():
            return _dates(
                pd.to_datetime(values, errors="coerce", utc=True, format="ISO8601"), values
            )
        _refuse_first(~known.to_numpy(), lambda row: _no_time(values.iloc[row]))
        values = numbers
    _refuse_first(values.isna().to_numpy(), lambda row: "a timestamp is missing")
    number = values.to_numpy()
    if number.dtype == object:  # a whole number beyond 64 bits, or pandas' own type
        number = values.to_numpy(np.float64)
    _refuse_first(
        ~((number >= 0) & (number < 2.0**63)),
        lambda row: f"a timestamp is missing or outside 0 .. 2^63 ({number[row]})",
    )
    unit = int(np.searchsorted(_UNIT_ENDS, number.max(), side="right"))
    coarse = (number > 0) & (number < (0, *_UNIT_ENDS)[unit])
    _refuse_first(
        coarse,
        lambda row: (
            f"the timestamp {number[row]} is not in the unit of the largest, {_UNITS[unit]}: "
            "give all in one unit"
        ),
    )
    return _ordered(number, 1000**unit)


def _no_time(value: object) -> str:
    return f"the timestamp {_short(value)!r} is neither a number nor a date as 2001-02-03 04:05:06"


def _dates(dates: pd.Series, written: pd.Series | None = None) -> tuple:
    written = dates if written is None else written
    _refuse_first(
        dates.isna().to_numpy(),
        lambda row: "a timestamp is missing" if written is dates else _no_time(written.iloc[row]),
    )
    if isinstance(dates.dtype, pd.DatetimeTZDtype):
        dates = dates.dt.tz_convert("UTC").dt.tz_localize(None)
    unit, _ = np.datetime_data(dates.dtype)
    number = dates.to_numpy().astype(np.int64)
    _refuse_first(number < 0, lambda row: f"the timestamp {written.iloc[row]} is before 1970")
    return _ordered(number, {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit])


def _ordered(number: np.ndarray, each: int) -> tuple[np.ndarray, np.ndarray | None]:
    seconds = (number // each).astype(np.int64)
    finer = (number != seconds * each).any()
    return seconds, np.argsort(number, kind="stable") if finer else None
