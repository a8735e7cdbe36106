"""Command lines of this project."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from recsys_rl.data.notes import shortened

LONGEST = 500  # characters of what is said of an argument
MOST_THREADS = 256  # thousands take minutes to start
_TWO_DASHES = re.compile(r"(-[^=]*)=--|(-[^-=])--", re.DOTALL)  # --seed=--, -k=--, -k--


class Parser(argparse.ArgumentParser):
    """Raises ValueError with one sentence in place of leaving with the usage."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{shortened(message, LONGEST)} (--help shows what can be asked)")

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        given = sys.argv[1:] if args is None else list(args)
        for text in given:
            joined = _TWO_DASHES.fullmatch(text)
            if joined:  # argparse would take it for no value
                self.error(f"argument {joined[1] or joined[2]}: expected a value, not '--'")
        return super().parse_known_args(given, namespace)


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """The type of an option that is a whole number, written in digits alone."""
    span = f"{least} or more" if most is None else f"{least} to {most}"

    def read(text: str) -> int:
        digits = text.removeprefix("-")
        written = digits.isascii() and digits.isdecimal() and len(text) < LONGEST
        number = int(text) if written else None
        if number is None or number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(
                f"must be a whole number, {span}, not {shortened(text)!r}"
            )
        return number

    return read


def decimal_number(text: str) -> float:
    """The type of an option that is a number: as Python reads it, but in plain digits alone."""
    if not text.isascii() or "_" in text:
        raise ValueError(f"{shortened(text)!r} is no number")
    return float(text)


def number_of(what: str, most: float = math.inf) -> Callable[[str], float]:
    """The type of an option that is a finite number from 0 to `most`; what: the same in words."""

    def read(text: str) -> float:
        try:
            number = decimal_number(text)
        except ValueError:
            number = math.nan
        if not (0 <= number <= most and math.isfinite(number)):
            raise argparse.ArgumentTypeError(f"must be {what}, not {shortened(text)!r}")
        return number

    return read
