"""Titles that a data set may not have: well-known films that may be newer, and abbreviations."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from rapidfuzz import fuzz, process

from recsys_rl.command.spelling import key_of

FILMS = Path(__file__).with_name("famous_films.txt")
LONGEST = 200  # letters of a text that are compared
SAME, SHORT = 85, 5  # percent of the letters; names of fewer letters are alike by chance
BEGUN = 10  # letters of a title that was not typed to its end

ABBREVIATIONS = {
    "2001": "2001 A Space Odyssey",
    "alien 2": "Aliens",
    "alien 4": "Alien Resurrection",
    "ace ventura 2": "Ace Ventura When Nature Calls",
    "alien cubed": "Alien 3",
    "anh": "Star Wars Episode IV A New Hope | Star Wars",
    "austin powers 1": "Austin Powers International Man of Mystery",
    "austin powers 2": "Austin Powers The Spy Who Shagged Me",
    "babe 2": "Babe Pig in the City",
    "back 2 the future": "Back to the Future",
    "batman 2": "Batman Returns",
    "batman 3": "Batman Forever",
    "batman 4": "Batman & Robin",
    "bicycle thieves": "The Bicycle Thief",
    "bttf 2": "Back to the Future Part II",
    "bttf 3": "Back to the Future Part III",
    "bttf": "Back to the Future",
    "btvs": "Buffy the Vampire Slayer",
    "close encounters": "Close Encounters of the Third Kind",
    "cuckoos nest": "One Flew Over the Cuckoo's Nest",
    "d2": "D2 The Mighty Ducks",
    "der pate": "The Godfather",
    "die hard 3": "Die Hard With a Vengeance",
    "empire": "Star Wars Episode V The Empire Strikes Back | The Empire Strikes Back",
    "esb": "Star Wars Episode V The Empire Strikes Back | The Empire Strikes Back",
    "et": "E.T. the Extra-Terrestrial",
    "evil dead 3": "Army of Darkness",
    "fotr": "The Lord of the Rings The Fellowship of the Ring",
    "gbu": "The Good the Bad and the Ugly",
    "gwh": "Good Will Hunting",
    "holy grail": "Monty Python and the Holy Grail",
    "hp": "Harry Potter",
    "hunger games": "The Hunger Games",
    "id4": "Independence Day",
    "indiana jones 1": "Raiders of the Lost Ark",
    "indiana jones 2": "Indiana Jones and the Temple of Doom",
    "indiana jones 3": "Indiana Jones and the Last Crusade",
    "indiana jones and the raiders of the lost ark": "Raiders of the Lost Ark",
    "indiana jones": "Raiders of the Lost Ark",
    "jp": "Jurassic Park",
    "jurassic park 2": "The Lost World Jurassic Park",
    "loa": "Lawrence of Arabia",
    "lotr 1": "The Lord of the Rings The Fellowship of the Ring",
    "lotr 2": "The Lord of the Rings The Two Towers",
    "lotr 3": "The Lord of the Rings The Return of the King",
    "lotr": "The Lord of the Rings",
    "mad max 3": "Mad Max Beyond Thunderdome",
    "mi 2": "Mission Impossible 2",
    "mi": "Mission Impossible",
    "mi2": "Mission Impossible 2",
    "mib": "Men in Black",
    "mpathg": "Monty Python and the Holy Grail",
    "ofotcn": "One Flew Over the Cuckoo's Nest",
    "nuovo cinema paradiso": "Cinema Paradiso",
    "otto e mezzo": "8 1/2",
    "pf": "Pulp Fiction",
    "rambo": "First Blood",
    "rambo 1": "First Blood",
    "rhps": "The Rocky Horror Picture Show",
    "rotj": "Star Wars Episode VI Return of the Jedi | Return of the Jedi",
    "rotk": "The Lord of the Rings The Return of the King",
    "rotla": "Raiders of the Lost Ark",
    "sotl": "The Silence of the Lambs",
    "spr": "Saving Private Ryan",
    "star trek 1": "Star Trek The Motion Picture",
    "star trek 2": "Star Trek The Wrath of Khan",
    "star trek 7": "Star Trek Generations",
    "star trek 8": "Star Trek First Contact",
    "star trek 9": "Star Trek Insurrection",
    "star wars 1": "Star Wars Episode I The Phantom Menace | The Phantom Menace",
    "star wars": "Star Wars Episode IV A New Hope | Star Wars",
    "strangelove": "Dr Strangelove",
    "sw 1": "Star Wars Episode I The Phantom Menace | The Phantom Menace",
    "sw 4": "Star Wars Episode IV A New Hope | Star Wars",
    "sw 5": "Star Wars Episode V The Empire Strikes Back | The Empire Strikes Back",
    "sw 6": "Star Wars Episode VI Return of the Jedi | Return of the Jedi",
    "sw": "Star Wars Episode IV A New Hope | Star Wars",
    "t1": "The Terminator",
    "t2": "Terminator 2 Judgment Day",
    "tdk": "The Dark Knight",
    "tpm": "Star Wars Episode I The Phantom Menace | The Phantom Menace",
    "ttt": "The Lord of the Rings The Two Towers",
    "willy wonka": "Willy Wonka and the Chocolate Factory",
    "π": "Pi",
    "wwft": "Willy Wonka and the Chocolate Factory",
}


@cache
def _abbreviations() -> dict[str, str]:
    return {key_of(short): title for short, title in ABBREVIATIONS.items()}


@cache
def _famous() -> dict[str, list[tuple[int, str]]]:
    """Key of a title -> years and titles of the well-known films that are called so."""
    found: dict[str, list[tuple[int, str]]] = {}
    for line in FILMS.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            year, names = line.split(" ", 1)
            title = names.split(" | ")[0]
            for name in names.split(" | "):
                found.setdefault(key_of(name), []).append((int(year), title))
    return found


def in_full(text: str) -> list[str]:
    """A text, and the titles that it stands for where it is an abbreviation in common use."""
    text = " ".join(text.split())  # a long gap takes a regular expression quadratic time
    stands_for = _abbreviations().get(key_of(text), "")
    first = re.sub(r"\s+(1|I|one)$", "", text, flags=re.IGNORECASE)  # "Rocky 1"
    return list(dict.fromkeys([text, *filter(None, stands_for.split(" | ")), first]))


def famous_films(text: str) -> list[tuple[int, str]]:
    """Years and titles of the well-known films of this name."""
    return _famous().get(key_of(text), [])


def newer_films(text: str, last_year: int | None) -> list[tuple[int, str]]:
    """Those that came after a data set ends."""
    return [film for film in famous_films(text) if last_year is not None and film[0] > last_year]


def newer_alike(text: str, last_year: int | None) -> tuple[float, int, str] | None:
    """How alike, year and title of the well-known newer film that is spelt most like a text."""
    if last_year is None or len(text) > LONGEST:
        return None
    typed = key_of(text)
    keys = [
        key
        for key, films in _famous().items()
        if any(year > last_year for year, _ in films) and _digits(key) == _digits(typed)
    ]
    best = process.extractOne(typed, keys, scorer=fuzz.ratio, score_cutoff=SAME)
    if best is None and len(typed) >= BEGUN:
        best = next(((key, SAME) for key in keys if key.startswith(typed)), None)
    if best is None or len(best[0]) < SHORT:
        return None
    year, title = max(_famous()[best[0]])
    return best[1], year, title


def _digits(key: str) -> str:
    """Of another part of a series they are others."""
    return "".join(filter(str.isdecimal, key))
