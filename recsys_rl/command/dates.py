"""The order of dates as exports and spreadsheets write them."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Sequence

_HALF_OF_THE_DAY = re.compile(r"(?<![a-z])([ap])\.?m\b", re.IGNORECASE)
_ZONE = re.compile(r"([+-])(\d\d)(?::?(\d\d))?$")
_LETTERS = re.compile(r"[^\W\d_]+")
_KNOWN = {"t", "z", "utc", "gmt", "h", "uhr"}  # beside a time of the day; any other may be a zone
_FARTHEST = 14  # hours from Greenwich
_NUMBER = re.compile(r"\d+(\.\d+)?")
_DATE = re.compile(r"(\d{1,4})([-./])(\d{1,2})\2(\d{1,4})(?!\d)(.*)", re.DOTALL)

Moment = tuple[float, ...]  # sorts by time among those of one file


def moments(texts: Sequence[str]) -> list[Moment] | None:
    """Something that sorts by time for each text; what is empty comes first.

    Numbers (seconds, or any other unit), or dates with or without a time: 2020-1-9, 31.12.2019,
    12/31/2019 or 31/12/2019. Days and months change places where that alone makes all of them
    dates. None where some text is no date, or where both readings make dates and order them in
    another way.
    """
    given = [text.strip() for text in texts]
    if all(not text or _NUMBER.fullmatch(text) for text in given):
        if _are_days(given):
            return None
        return [(float(text),) if text else () for text in given]
    orders = [[_moment(text, *order) for text in given] for order in ((0, 1), (1, 0))]
    found = [order for order in orders if None not in order]
    if not found or (len(found) == 2 and _ranks(found[0]) != _ranks(found[1])):
        return None
    return found[0]


def _moment(text: str, day: int, month: int) -> Moment | None:
    """day, month: their places where the year stands last."""
    if not text:
        return ()
    match = _DATE.fullmatch(text)
    if not match:
        return None
    first, sign, second, third, rest = match.groups()
    if len(first) == 4:
        date = int(first), int(second), int(third)
    elif len(third) in (2, 4) and len(first) <= 2 and (len(third) == 4 or sign != "-"):
        parts = int(first), int(second)
        if sign == "." and day:  # with dots the day comes first
            return None
        year = int(third) if len(third) == 4 else int(third) + (1900 if int(third) >= 70 else 2000)
        date = year, parts[month], parts[day]
    else:
        return None
    try:
        days = datetime.date(*date).toordinal()
    except ValueError:  # the 31st of February
        return None
    seconds = _seconds(rest.strip())
    return None if seconds is None else (days * 86_400 + seconds,)


def _are_days(given: Sequence[str]) -> bool:
    """Whether numbers may be days that do not sort by themselves: ddmmyyyy, yymmdd."""
    lengths = {len(text) for text in given if text}
    if lengths != {8}:
        return lengths == {6}
    dates = [text and f"{text[:4]}-{text[4:6]}-{text[6:]}" for text in given]
    return None in [_moment(date, 0, 1) for date in dates]  # yyyymmdd sorts


def _seconds(clock: str) -> float | None:
    """Of a time of the day, at Greenwich where it gives its zone in hours; None for words that may
    be a zone."""
    zone = _ZONE.search(clock)
    numbers = re.findall(r"\d+(?:\.\d+)?", clock[: zone.start()] if zone else clock)[:3]
    parts = [float(number) for number in numbers] + [0.0] * (3 - len(numbers))
    if half := _HALF_OF_THE_DAY.search(clock):
        parts[0] = parts[0] % 12 + 12 * (half[1].lower() == "p")
    words = _LETTERS.findall(_HALF_OF_THE_DAY.sub("", clock).casefold())
    if not _KNOWN.issuperset(words):
        return None
    ahead = 0
    if zone:
        if int(zone[2]) > _FARTHEST:
            return None
        ahead = (3600 * int(zone[2]) + 60 * int(zone[3] or 0)) * (1 if zone[1] == "+" else -1)
    return 3600 * parts[0] + 60 * parts[1] + parts[2] - ahead


def _ranks(moments: Sequence[Moment | None]) -> list[int]:
    return sorted(range(len(moments)), key=lambda place: moments[place] or (-math.inf,))
