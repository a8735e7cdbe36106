"""Films of one series, by their titles."""

from __future__ import annotations

import re

from recsys_rl.command.spelling import words_of
from recsys_rl.data.films import Film

# whose titles do not show it
_ELSEWHERE = {
    "raiders lost ark": "indiana jones",
    "indiana jones temple of doom": "indiana jones",
    "indiana jones last crusade": "indiana jones",
    "empire strikes back": "star wars",
    "return of jedi": "star wars",
    "aliens": "alien",
    "alien resurrection": "alien",
    "batman returns": "batman",
    "batman forever": "batman",
    "batman robin": "batman",
    "lost world": "jurassic park",
    "mad max beyond thunderdome": "mad max",
    "army of darkness": "evil dead",
    "wes craven s new nightmare": "nightmare on elm street",
    "grand day out": "wallace gromit",
    "close shave": "wallace gromit",
    "wrong trousers": "wallace gromit",
}


def series_of(film: Film) -> str:
    """What the titles of a series have in common: "Terminator 2: Judgment Day" -> "terminator".

    The part before a colon, without the number of a sequel.
    """
    words = words_of(re.split(r": | - | \(", film.title)[0])
    while len(words) > 1 and words[-1].isdecimal() and int(words[-1]) < 20:
        words = words[:-1]
    name = " ".join(words)
    return _ELSEWHERE.get(name, name)
