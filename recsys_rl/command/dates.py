"""The order of dates as exports and spreadsheets write them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

_AFTERNOON = re.compile(r"\bp\.?m\b", re.IGNORECASE)
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
    elif len(third) in (2, 4) and len(first) <= 2:
        parts = int(first), int(second)
        if sign == "." and day:  # with dots the day comes first
            return None
        year = int(third) + (2000 if len(third) == 2 else 0)
        date = year, parts[month], parts[day]
    else:
        return None
    if not (1 <= date[1] <= 12 and 1 <= date[2] <= 31):
        return None
    clock = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", rest)[:3]]
    if clock and re.search(r"[ap]\.?m\b", rest, re.IGNORECASE):
        clock[0] = clock[0] % 12 + (12 if _AFTERNOON.search(rest) else 0)
    return (*map(float, date), *clock)


def _ranks(moments: Sequence[Moment | None]) -> list[int]:
    return sorted(range(len(moments)), key=lambda place: moments[place] or (-math.inf,))
