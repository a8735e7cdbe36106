"""Quotes in a table that were opened and forgotten. This file needs no pandas."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from itertools import chain

LONGEST = 2**31 - 1  # characters of a value


def open_quote(lines: Iterable[str], separator: str) -> int | None:
    """The line, from 1, of a row with a quote that none closes; None where there is no such row.

    A forgotten quote takes the lines below into its value, up to the next quote or the end, and
    what follows there is no separator. Values may hold ends of lines if they are quoted right.
    """
    held: list[str] = []

    def told() -> Iterator[str]:
        for line in chain(lines, ["\n"]):  # the last one is taken in by a quote that is still open
            held.append(line)
            yield line

    limit = csv.field_size_limit(LONGEST)
    try:
        line, reads = 1, {"delimiter": separator, "skipinitialspace": True}
        for _ in csv.reader(told(), **reads):
            if len(held) > 1 and not _closed(held, reads):
                return line
            line += len(held)
            held.clear()
    finally:
        csv.field_size_limit(limit)
    return None


def _closed(lines: list[str], reads: dict) -> bool:
    try:
        return bool(list(csv.reader(lines, strict=True, **reads)))
    except csv.Error:
        return False
