"""Ids, ratings and times of a file in the form used here, or the first row that cannot be right."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_rl.data.likes import POSITIVE
from recsys_rl.data.notes import note, shortened
from recsys_rl.data.written_ids import MISSING, holds_control, whole_numbers

SCALE = 0.5, 5.0  # ratings of MovieLens
LONGEST = 255  # characters of an id
MOVING = {"now", "today"}  # pandas takes them for the moment of reading
LARGEST = 1e30  # ratings of any scale, whose differences are to be numbers

_UNITS = ("seconds", "milliseconds", "microseconds", "nanoseconds")
_DIGITS = {  # dates without signs between
    8: "%Y%m%d",
    10: "%Y%m%d%H",
    12: "%Y%m%d%H%M",
    14: "%Y%m%d%H%M%S",
    17: "%Y%m%d%H%M%S%f",
}
_UNIT_ENDS = 1e11, 1e14, 1e17  # seconds reach 1e11 in the year 5138, milliseconds in 1973


class BadRow(ValueError):
    """What is wrong with a row, which counts from 0."""

    def __init__(self, row: int, reason: str) -> None:
        super().__init__(reason)
        self.row = int(row)


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
        refuse_first(bad, lambda row: f"the {what} is missing or no whole number")
        return _smallest(numbers.astype(np.int64))
    try:
        codes, found = pd.factorize(values.to_numpy(object))  # a missing one has the code -1
    except TypeError:  # of a list, for instance, as Parquet may hold
        row = next(row for row, value in enumerate(values) if not isinstance(value, Hashable))
        odd = shortened(values.iloc[row])
        raise BadRow(row, f"the {what} is neither a number nor text: {odd}") from None
    refuse_first(codes < 0, lambda row: f"the {what} is missing")
    texts = [_as_text(value) for value in found]
    for code, text in enumerate(texts):
        if text is None or text.lower() in MISSING:
            problem = f"neither a number nor text: {found[code]}" if text is None else "missing"
            if text:
                problem = f"{text!r}, which stands for a missing one: give it another name"
            raise BadRow((codes == code).argmax(), f"the {what} is {problem}")
        if len(text) > LONGEST:  # every id would take as much memory as the longest
            reason = f"the {what} has {len(text):,} characters: an id has {LONGEST} at most"
            raise BadRow((codes == code).argmax(), reason)
        if holds_control(text):
            odd = shortened(text)
            raise BadRow((codes == code).argmax(), f"the {what} holds a control character: {odd!r}")
    whole = whole_numbers(texts)
    if all(whole):
        return _smallest(np.array(list(map(int, texts)), np.int64)[codes])
    if any(whole) and path:  # else whoever read the file has said so
        odd = texts[whole.index(False)]
        note(
            f"{path}: every {what} id is kept as text, since {shortened(odd)!r} is no whole number"
        )
    return np.array(texts, object)[codes]


def _as_text(value: object) -> str | None:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        return str(int(value))
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return str(value) if whole else None


def _smallest(ids: np.ndarray) -> np.ndarray:
    fits = not len(ids) or (ids.min() >= -(2**31) and ids.max() < 2**31)
    return ids.astype(np.int32) if fits else ids


def refuse_first(bad: np.ndarray, reason: Callable[[int], str]) -> None:
    """BadRow for the first row that is bad, bool [N]; `reason` says what is wrong with a row."""
    if bad.any():
        row = int(bad.argmax())
        raise BadRow(row, reason(row))


def as_numbers(values: pd.Series, what: str) -> np.ndarray:
    """Finite float64 [N]; BadRow for anything else."""
    _refuse_truths(values, what)
    if pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_complex_dtype(values):
        numbers = _as_written(values.to_numpy(np.float64, na_value=np.nan), values)
    else:
        numbers = _numeric(values).to_numpy(np.float64)
        absent = values.isna() | (values.astype(str).str.strip() == "")
        wrong = np.isnan(numbers) & ~absent.to_numpy()
        refuse_first(wrong, lambda row: f"the {what} {shortened(values.iloc[row])!r} is no number")
    refuse_first(
        ~(np.abs(numbers) < LARGEST),
        lambda row: f"a {what} is missing or outside {-LARGEST:g} .. {LARGEST:g}",
    )
    return numbers


def _refuse_truths(values: pd.Series, what: str) -> None:
    """BadRow for True and False, which Python counts as 1 and 0."""
    if pd.api.types.is_bool_dtype(values.dtype):
        truths = values.notna().to_numpy()
    elif values.dtype == object:
        truths = np.array([isinstance(value, bool | np.bool_) for value in values], bool)
    else:
        return
    refuse_first(truths, lambda row: f"the {what} {values.iloc[row]!s} is no number")


def _as_written(numbers: np.ndarray, values: pd.Series) -> np.ndarray:
    """3.3 of 32 bits as 3.3, and not as the number of 64 bits that is nearest to it."""
    kind = getattr(values.dtype, "numpy_dtype", values.dtype)
    if kind not in (np.float16, np.float32):
        return numbers
    found, place = np.unique(numbers.astype(kind), return_inverse=True)
    return np.array([float(str(each)) for each in found], np.float64)[place]


def _numeric(values: pd.Series) -> pd.Series:
    """Numbers as numbers, infinite where they are too large; NaN for what is no real number."""
    try:
        numbers = pd.to_numeric(values.astype(object), errors="coerce")
    except OverflowError:  # whole numbers of hundreds of digits
        large = [isinstance(value, int) and abs(value) >= LARGEST for value in values]
        numbers = pd.to_numeric(values.astype(object).mask(large, np.inf), errors="coerce")
    if numbers.dtype.kind == "c":
        return numbers.map(lambda value: np.nan if value.imag else value.real)
    return numbers


def _whole_numbers(values: pd.Series, numbers: pd.Series) -> pd.Series:
    """The numbers to the last digit, where all are whole and some are beyond what a float holds."""
    inside = (numbers >= 0) & (numbers < 2.0**63)
    if numbers.dtype.kind != "f" or not inside.all() or not (numbers >= 2**53).any():
        return numbers
    try:
        exact = [Decimal(str(value).strip()) for value in values]
        if any(value != value.to_integral_value() for value in exact) or max(exact) >= 2**63:
            return numbers
    except InvalidOperation:  # 1+0j, True
        return numbers
    return pd.Series([int(value) for value in exact], numbers.index, np.int64)


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
        refuse_first(
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
    span = positive - smallest if positive > smallest else 1.0  # else none is below
    below = 1 + (POSITIVE - 1) * (rating - smallest) / span
    below = np.minimum(below.astype(np.float32), np.nextafter(np.float32(POSITIVE), np.float32(0)))
    return np.where(rating >= positive, liked, below).astype(np.float32)


def as_seconds(values: pd.Series) -> tuple[np.ndarray, np.ndarray | None]:
    """Seconds since 1970, int64 [N], and an order of the rows where time is finer than that.

    Numbers: the largest says the unit. Below 1e11 they are seconds, below 1e14 milliseconds, below
    1e17 microseconds, else nanoseconds; two units in one column are refused. Dates: any datetime
    type, or ISO 8601 text; without a zone they are UTC. Raises BadRow.
    """
    _refuse_truths(values, "timestamp")
    if isinstance(values.dtype, pd.DatetimeTZDtype) or values.dtype.kind == "M":
        return _dates(values)
    if not pd.api.types.is_numeric_dtype(values.dtype):
        absent = values.isna() | values.astype(str).str.strip().str.lower().isin(MISSING)
        refuse_first(absent.to_numpy(), lambda row: "a timestamp is missing")
        numbers = _numeric(values)
        known = numbers.notna()
        if not known.all():
            moving = values.astype(str).str.strip().str.lower().isin(MOVING)
            refuse_first(moving.to_numpy(), lambda row: _no_time(values.iloc[row]))
            dates = pd.to_datetime(values, errors="coerce", utc=True, format="ISO8601")
            if not known.any() or dates.notna().sum() > known.sum():  # dates, some all digits
                return _dates(dates, values)
        refuse_first(~known.to_numpy(), lambda row: _no_time(values.iloc[row]))
        values = _whole_numbers(values, numbers)
    refuse_first(values.isna().to_numpy(), lambda row: "a timestamp is missing")
    number = values.to_numpy()
    if number.dtype == object:  # a whole number beyond 64 bits, or pandas' own type
        number = values.to_numpy(np.float64)
    refuse_first(
        ~((number >= 0) & (number < 2.0**63)),
        lambda row: f"a timestamp is missing or outside 0 .. 2^63 ({number[row]})",
    )
    _refuse_digits_of_dates(number)
    unit = int(np.searchsorted(_UNIT_ENDS, number.max(), side="right"))
    coarse = (number > 0) & (number < (0, *_UNIT_ENDS)[unit])
    refuse_first(
        coarse,
        lambda row: (
            f"the timestamp {number[row]} is not in the unit of the largest, {_UNITS[unit]}: "
            "give all in one unit"
        ),
    )
    return _ordered(number, 1000**unit)


def _refuse_digits_of_dates(number: np.ndarray) -> None:
    """BadRow where all are written as 20010203, 03022001 or 20010203040506: as times they would be
    of the years 1970, 1976, 2030 to 2036 or 2572 to 2635."""
    number = number.astype(np.float64 if number.dtype.kind == "f" else np.uint64)
    last = number % 10_000
    if ((last >= 1900) & (last < 2100) & (number >= 10**6) & (number < 10**8)).all():
        texts = pd.Series(number.astype(np.int64)).astype(str).str.zfill(8)
        for form in ("%d%m%Y", "%m%d%Y"):
            if pd.to_datetime(texts, errors="coerce", format=form).notna().all():
                raise BadRow(0, _a_date(texts[0]))
    for length, form in _DIGITS.items():
        year = number // 10 ** (length - 4)
        if ((year >= 1900) & (year < 2100)).all():
            texts = pd.Series(number.astype(np.int64)).astype(str)
            if pd.to_datetime(texts, errors="coerce", format=form).notna().all():
                raise BadRow(0, _a_date(texts[0]))


def _a_date(text: str) -> str:
    return f"the timestamp {text} is a date, or else a number: write dates as 2001-02-03 04:05:06"


def _no_time(value: object) -> str:
    return (
        f"the timestamp {shortened(value)!r} is neither a number nor a date as 2001-02-03 "
        "04:05:06, or not what the others of its column are"
    )


def _dates(dates: pd.Series, written: pd.Series | None = None) -> tuple:
    written = dates if written is None else written
    refuse_first(
        dates.isna().to_numpy(),
        lambda row: "a timestamp is missing" if written is dates else _no_time(written.iloc[row]),
    )
    if isinstance(dates.dtype, pd.DatetimeTZDtype):
        dates = dates.dt.tz_convert("UTC").dt.tz_localize(None)
    unit, _ = np.datetime_data(dates.dtype)
    number = dates.to_numpy().astype(np.int64)
    refuse_first(number < 0, lambda row: f"the timestamp {written.iloc[row]} is before 1970")
    return _ordered(number, {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit])


def _ordered(number: np.ndarray, each: int) -> tuple[np.ndarray, np.ndarray | None]:
    seconds = (number // each).astype(np.int64)
    finer = (number != seconds * each).any()
    return seconds, np.argsort(number, kind="stable") if finer else None
