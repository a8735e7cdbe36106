"""Films of one series, by their titles."""

from __future__ import annotations

import re
from functools import cache

from recsys_rl.command.spelling import words_of
from recsys_rl.data.films import Film

# whose titles do not show it
_ELSEWHERE = {
    "Indiana Jones": [
        "Raiders of the Lost Ark",
        "Indiana Jones and the Temple of Doom",
        "Indiana Jones and the Last Crusade",
    ],
    "Star Wars": ["The Empire Strikes Back", "Return of the Jedi"],
    "Alien": ["Aliens", "Alien Resurrection"],
    "Batman": ["Batman Returns", "Batman Forever", "Batman & Robin"],
    "Jurassic Park": ["The Lost World"],
    "Mad Max": ["Mad Max Beyond Thunderdome"],
    "Evil Dead": ["Army of Darkness"],
    "A Nightmare on Elm Street": ["Wes Craven's New Nightmare"],
    "Wallace and Gromit": ["A Grand Day Out", "A Close Shave", "The Wrong Trousers"],
}


@cache
def _elsewhere() -> dict[str, str]:
    return {
        " ".join(words_of(title)): " ".join(words_of(series))
        for series, titles in _ELSEWHERE.items()
        for title in titles
    }


def series_of(film: Film) -> str:
    """What the titles of a series have in common: "Terminator 2: Judgment Day" -> "terminator".

    The part before a colon, without the number of a sequel.
    """
    words = words_of(re.split(r": | - | \(", film.title)[0])
    while len(words) > 1 and words[-1].isdecimal() and int(words[-1]) < 20:
        words = words[:-1]
    name = " ".join(words)
    return _elsewhere().get(name, name)
