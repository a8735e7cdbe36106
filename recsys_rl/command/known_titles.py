"""Other names of films and series: abbreviations, translations, and those that no data set has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from functools import cache
from pathlib import Path

from rapidfuzz import fuzz, process

from recsys_rl.command.spelling import key_of, words_of

_FOLDER = Path(__file__).parent
FILMS = _FOLDER / "famous_films.txt"
TRANSLATED = _FOLDER / "translated_titles.txt"
SERIES = _FOLDER / "famous_series.txt"
LONGEST = 200  # letters of a text that are compared
SAME, SHORT = 85, 5  # percent of the letters; names of fewer letters are alike by chance
WORDS = 3  # typed of a title with more words between them
NEARLY, OTHER = 90, 8  # percent of the letters of another name; and its letters, at least
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
    "8 and a half": "8 1/2",
    "eight and a half": "8 1/2",
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


# of a series, before the title of one of its films
_SERIES_SHORT = {
    "hp": "Harry Potter",
    "lotr": "The Lord of the Rings",
    "mi": "Mission Impossible",
    "potc": "Pirates of the Caribbean",
    "sw": "Star Wars",
}
_SEASON = re.compile(
    r"\S.*\s(?:(?:season|staffel|saison|temporada|stagione)\s+\w+|s\d\d?(?:\s?e\d+)?)",
    re.IGNORECASE,
)


def names_in(path: Path) -> Iterator[list[str]]:
    """The names in each line of a list, the first one that of the film or person."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            yield line.split(" | ")


@cache
def _other_names() -> dict[str, list[str]]:
    """Key of an abbreviation or translation -> titles of the films that it stands for."""
    found = {key_of(short): title.split(" | ") for short, title in ABBREVIATIONS.items()}
    for title, *others in names_in(TRANSLATED):
        for other in others:
            found.setdefault(key_of(other), []).append(title)
    return found


@cache
def _famous() -> dict[str, list[tuple[int, str]]]:
    """Key of a title -> years and titles of the well-known films that are called so."""
    found: dict[str, list[tuple[int, str]]] = {}
    for first, *others in names_in(FILMS):
        year, title = first.rstrip("*").split(" ", 1)
        for name in (title, *others):
            found.setdefault(key_of(name), []).append((int(year), title))
    return found


@cache
def _series() -> dict[str, str]:
    return {key_of(name): names[0] for names in names_in(SERIES) for name in names}


def series_named(text: str) -> str:
    """The well-known television series of this name, or one of its seasons; "" for none."""
    text = text.strip()
    return text if _SEASON.fullmatch(text) else _series().get(key_of(text), "")


def other_names(text: str) -> list[str]:
    """Titles that an abbreviation or translation stands for."""
    return _other_names().get(key_of(text), [])


def in_full(text: str) -> list[str]:
    """A text, and the titles that it stands for where it is an abbreviation or a translation."""
    text = " ".join(text.split())  # a long gap takes a regular expression quadratic time
    first = re.sub(r"\s+(1|I|one)$", "", text, flags=re.IGNORECASE)  # "Rocky 1"
    short, _, rest = text.partition(" ")
    series = _SERIES_SHORT.get(short.casefold(), "")
    of_series = f"{series} {rest}" if series and rest else text
    return list(dict.fromkeys([text, *other_names(text), first, of_series]))


def famous_films(text: str) -> list[tuple[int, str]]:
    """Years and titles of the well-known films of this name."""
    return _famous().get(key_of(text), [])


@cache
def _lesser() -> frozenset[tuple[int, str]]:
    films = [first[:-1].split(" ", 1) for first, *_ in names_in(FILMS) if first.endswith("*")]
    return frozenset((int(year), title) for year, title in films)


def is_lesser(film: tuple[int, str]) -> bool:
    """Whether a well-known film is less known than an older one of its name."""
    return film in _lesser()


def newer_alike(text: str, last_year: int | None) -> tuple[float, int, str] | None:
    """How alike, year and title of the well-known newer film that is spelt most like a text."""
    if last_year is None or len(text) > LONGEST:
        return None
    typed = key_of(text)
    digits = _digits(typed)
    keys = [
        key
        for key, films in _famous().items()
        if _digits(key) == digits
        and any(film[0] > last_year and not is_lesser(film) for film in films)
    ]
    best = process.extractOne(typed, keys, scorer=fuzz.ratio, score_cutoff=SAME)
    if best is None and len(typed) >= BEGUN:
        best = next(((key, SAME) for key in keys if key.startswith(typed)), None)
        best = best or _with_more_words(words_of(text), set(keys))
    if best is None or len(best[0]) < SHORT:
        return None
    year, title = max(_famous()[best[0]])
    return best[1], year, title


def _with_more_words(typed: list[str], keys: Set[str]) -> tuple[str, float] | None:
    """One of these well-known films with more words between those typed: "Indiana Jones and the
    Crystal Skull"."""
    if len(typed) < WORDS:
        return None
    for words in _famous_words().get(typed[0], []):
        left = iter(words)
        if "".join(words) in keys and all(word in left for word in typed):
            return "".join(words), SAME
    return None


@cache
def _famous_words() -> dict[str, list[list[str]]]:
    """First word -> the names of well-known films that begin with it, as words."""
    found: dict[str, list[list[str]]] = {}
    for first, *others in names_in(FILMS):
        for name in (first.rstrip("*").split(" ", 1)[1], *others):
            words = words_of(name)
            found.setdefault(words[0], []).append(words)
    return found


def others_alike(text: str) -> tuple[float, list[str]] | None:
    """How alike, and the titles that the other name stands for which is spelt most like a text;
    of a well-known film with its year."""
    typed = key_of(text)
    if len(typed) > LONGEST:
        return None
    digits = _digits(typed)
    keys = [key for key in _spelt_out() if len(key) >= OTHER and _digits(key) == digits]
    best = process.extractOne(typed, keys, scorer=fuzz.ratio, score_cutoff=NEARLY)
    return (best[1], _spelt_out()[best[0]]) if best else None


@cache
def _spelt_out() -> dict[str, list[str]]:
    """Key of every other name -> titles that it stands for, those of well-known films with years"""
    found = dict(_other_names())
    for key, films in _famous().items():
        titles = [f"{title} ({year})" for year, title in films if key_of(title) != key]
        if titles:
            found.setdefault(key, titles)
    return found


@cache
def _digits(key: str) -> str:
    """Of another part of a series they are others."""
    return "".join(filter(str.isdecimal, key))
