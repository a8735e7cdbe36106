"""Ids of users and items as files write them. This file needs no numpy."""

from __future__ import annotations

import re
from collections.abc import Sequence

Id = int | str  # of a user or an item; all ids of one map are of one type

MISSING = {"", "nan", "null", "none", "na", "n/a", "<na>"}
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")
# a NUL is lost at the end of numpy's text, others hide in what is printed, a half of a pair of
# surrogates is no character in a file
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def whole_numbers(texts: Sequence[str]) -> list[bool]:
    """Which ids are written as a whole number of 64 bits, without a leading 0 or a plus."""
    return [bool(_WHOLE.fullmatch(text)) and -(2**63) <= int(text) < 2**63 for text in texts]


def holds_control(text: str) -> bool:
    """Whether a text holds a control character, as no id may."""
    return _CONTROL.search(text) is not None
