"""People whom somebody names beside a film: "psycho hitchcock", "titanic with dicaprio"."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from recsys_rl.command.known_titles import names_in
from recsys_rl.data.titles import as_words

PEOPLE = Path(__file__).with_name("famous_people.txt")
_BEFORE = "(?:by|with|from|of|starring|directed by|von|de|con|mit|avec|di)"
_KIND = "(?:the )?(?:movie|film|dvd|original)"


@cache
def _names() -> frozenset[str]:
    return frozenset(as_words(name) for line in names_in(PEOPLE) for name in line)


def are_people(text: str) -> bool:
    """Whether a text is the name of somebody, and nothing else."""
    return as_words(text) in _names()


@cache
def _beside() -> re.Pattern[str]:
    longest_first = "|".join(sorted(_names(), key=lambda name: (-len(name), name)))
    first = rf"^(?:(?:{longest_first})s? |(?:movie|film) )"
    return re.compile(rf"{first}|(?: {_BEFORE})? (?:{longest_first})$| {_KIND}$")


def without_people(text: str) -> str:
    """The words without the people at their ends, nor "the movie"; "" where there are none, or
    nothing else."""
    typed = as_words(text)
    rest, before = typed, ""
    while rest != before:
        before, rest = rest, _beside().sub("", rest)
    return rest if rest != typed else ""


@cache
def _anywhere() -> re.Pattern[str]:
    longest_first = "|".join(sorted(_names(), key=lambda name: (-len(name), name)))
    return re.compile(rf"(?:^| )(?:{longest_first})(?= |$)")


def without_names(text: str) -> str:
    """The words without the people among them; "" where there are none, or nothing else."""
    typed = as_words(text)
    rest = _anywhere().sub("", typed).strip()
    return rest if rest != typed else ""
