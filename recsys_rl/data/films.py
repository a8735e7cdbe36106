"""The films of a data set, and which of them somebody means who types a title."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from recsys_rl.data.notes import shown
from recsys_rl.data.titles import as_words, display_title

MEANT = 4  # films named, at most, that may have been meant


YEAR = re.compile(r" (18|19|20)\d\d$")


SEQUEL = re.compile(r"[a-z]?\d{1,2}|ii+|iv|vi*|ix|x+")  # "2", "D3", "III"; "I" is a word, too


ARTICLES = {"a", "an", "the"}


LONGEST = 300  # characters that are compared letter by letter, which takes quadratic time


Id = int | str


class NoSuchFilm(ValueError):
    """One sentence: what was typed, and which film may have been meant."""


@dataclass(frozen=True)
class Film:
    id: Id
    title: str  # "The Matrix"
    filed: str  # "Matrix, The", as in the MovieLens file
    year: int | None
    genres: tuple[str, ...]

    @property
    def label(self) -> str:
        return self.title if self.year is None else f"{self.title} ({self.year})"

    @property
    def whole(self) -> set[str]:
        """The full title, with the year, as words."""
        year = "" if self.year is None else f" {self.year}"
        return {as_words(title + year) for title in (self.title, self.filed)}

    @cached_property
    def names(self) -> frozenset[str]:
        """Every way to write this film, as words.

        "Seven (Se7en)" is also "Seven" and "Se7en"; each with the year or without.
        """
        titles = {self.title, self.filed}
        titles |= {part for title in titles for part in re.split(r"[()]|a\.k\.a\.", title)}
        ends = ("",) if self.year is None else ("", f" {self.year}")
        words = {as_words(title) for title in titles} - {""}
        return frozenset(word + end for word in words for end in ends)

    def as_json(self) -> dict:
        parts = {"id": self.id, "title": self.title, "year": self.year}
        return parts | {"genres": list(self.genres)}


class Match(NamedTuple):
    """The film that a text stands for, and what to tell who typed it, or ""."""

    film: Film
    note: str = ""


def read_films(place: Path) -> dict[Id, Film]:
    """The films of an extracted MovieLens folder by id. Raises ValueError or OSError.

    None for a table of ratings or a folder without a movie file: `with_all` makes them up.
    """
    from recsys_rl.data.movielens import file_of, load_movies  # pandas: not before it is needed

    try:
        file_of(place, 1)
    except FileNotFoundError:
        if place.exists():
            return {}
        raise
    films = {}
    for row in load_movies(place).fillna({"year": 0}).itertuples(index=False):
        genres = tuple(filter(None, shown(row.genres).split("|")))
        filed = shown(row.title)
        parts = row.item, shown(display_title(filed)), filed, int(row.year) or None, genres
        films[parts[0]] = Film(*parts)
    return films


def with_all(films: dict[Id, Film], ids: Iterable[Id]) -> dict[Id, Film]:
    """The films by ids of the type of `ids`, and one called "film 7" for each that is missing."""
    written = {str(item): film for item, film in films.items()}
    found = {}
    for item in ids:
        film = written.pop(str(item), None)
        title = shown(f"film {item}")
        found[item] = replace(film, id=item) if film else Film(item, title, title, None, ())
    return found | {film.id: film for film in written.values()}


def find_film(text: str, films: dict[Id, Film]) -> Match:
    """The one film with this id or title, or else the one whose title alone holds these words.

    Raises NoSuchFilm with what might have been meant.
    """
    typed, query = text.strip(), as_words(text)
    for film in films.values():
        if str(film.id) == typed:
            return Match(film, _also_a_title(typed, film, films))
    found = [film for film in films.values() if query in film.names]
    for sure in ([film for film in found if query in film.whole], found):
        if len(sure) == 1:
            return Match(sure[0])
    if found:
        year = "add the year, or " if len({film.year for film in found}) > 1 else ""
        raise NoSuchFilm(f"{text!r} may be {candidates(found)}: {year}name the one by its id")
    holding = _holding(query, films)
    if len(holding) == 1 and _names(query, holding[0]):
        return Match(holding[0], f"{text!r} is taken for {candidates(holding)}")
    kind, other = ("id", "a title") if typed.isdecimal() else ("title", "its id")
    close = [*holding, *_with_all_words(query, films), *_alike(query, films)]
    hint = f"check it, or give {other}"
    if close:
        hint = f"did you mean {candidates(_once(close)[:MEANT])}?"
    raise NoSuchFilm(f"no film has the {kind} {text!r}; {hint}")


def _also_a_title(number: str, film: Film, films: dict[Id, Film]) -> str:
    """A note where the id of a film is what another is called: "2001" of "2001: A Space ..."."""
    called = [
        f
        for f in films.values()
        if re.match(rf"{re.escape(number)}(:|$)", f.title) and f is not film
    ]
    if not called:
        return ""
    return f"{number} is taken for the id of {candidates([film])}, not for {candidates(called)}"


def _holding(query: str, films: dict[Id, Film]) -> list[Film]:
    """Films whose title holds `query`: first those that begin with it, then the shortest."""

    def holds(film: Film) -> bool:
        return any(f" {query} " in f" {name} " for name in film.names)

    def rank(film: Film) -> tuple[bool, int]:
        return not _begins(query, film), len(film.label)

    return sorted(filter(holds, films.values()), key=rank)


def _begins(query: str, film: Film) -> bool:
    return any(f"{name} ".startswith(f"{query} ") for name in film.names)


def _names(query: str, film: Film) -> bool:
    """Whether words of a title name the film: "private ryan" does, "traffic" not Human Traffic.

    One word has to begin the title; articles and the year are no words here. A film with a number
    beside these words is a sequel of what was meant.
    """
    words, names = _content(query), set(map(_content, film.names))
    around = [f" {name} ".split(f" {words} ", 1) for name in names]
    beside = [word for parts in around if len(parts) == 2 for word in " ".join(parts).split()]
    begins = any(f"{name} ".startswith(f"{words} ") for name in names)
    return (" " in words or begins) and not any(map(SEQUEL.fullmatch, beside))


def _content(name: str) -> str:
    """Words without articles and the year at the end."""
    return " ".join(word for word in YEAR.sub("", name).split() if word not in ARTICLES)


def _with_all_words(query: str, films: dict[Id, Film]) -> list[Film]:
    """Films whose title has all these words, in whatever order."""
    words = set(query.split())

    def has_them(film: Film) -> bool:
        return any(words <= set(name.split()) for name in film.names)

    return list(filter(has_them, films.values())) if words else []


def _alike(query: str, films: dict[Id, Film]) -> list[Film]:
    """Films whose title is spelt much like `query`, the closest first; years do not count."""
    title = YEAR.sub("", query)
    if len(title) > LONGEST:
        return []
    by_name = {name: film for film in films.values() for name in film.names if len(name) <= LONGEST}
    close = difflib.get_close_matches(title, by_name, n=4 * MEANT, cutoff=0.7)  # several a film
    return _once(by_name[name] for name in close)


def _once(films: Iterable[Film]) -> list[Film]:
    return list({film.id: film for film in films}.values())


def candidates(films: Sequence[Film]) -> str:
    """ "Psycho (1960) [id 1219] or Psycho (1998) [id 2389]"."""
    return " or ".join(f"{film.label} [id {film.id}]" for film in films)
