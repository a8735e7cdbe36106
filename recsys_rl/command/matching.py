"""Which film somebody means who types a title, with slips, abbreviations and namesakes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from recsys_rl.command.known_titles import (
    famous_films,
    in_full,
    is_lesser,
    newer_alike,
    other_names,
    others_alike,
    series_named,
)
from recsys_rl.command.people import are_people, without_people
from recsys_rl.command.spelling import key_of, split_year, year_of
from recsys_rl.command.title_index import Candidate, TitleIndex
from recsys_rl.data.films import Film
from recsys_rl.data.titles import as_words

MEANT = 4  # films offered, at most
SURE = 84  # percent of fit from which a film may be taken
PART = 95.0  # percent of fit of a film that has a part of this name
OFFERED = 66  # percent of fit from which a film is offered
AHEAD = 5  # percent by which it must be ahead of the next
KNOWN = 5  # times as many likes as a namesake: then it is meant
NEWER = "newer than the data"
SHORT = 3  # digits; a number of fewer is rather an id
MOST_WORDS = 8  # of a title that is looked for in a longer text
SAID = 200  # letters of a text that are repeated
LONG = 10  # letters of a title from which it is compared with those of its namesakes
CLASSIC = 0.15  # of the likes of the most liked film: a newer namesake is not what is meant

_SHORT_YEAR = re.compile(r"(.*\S)\s+['(’]?(\d\d)\)?")
_AN_ID = re.compile(r"id:\s*(\S+)|[^\[]*\[id (\S+)\]", re.IGNORECASE)  # as it is shown


def id_in(text: str) -> str | None:
    """The id in a text that is one and nothing else: "id:300", "Heat (1995) [id 6]"."""
    found = _AN_ID.fullmatch(text.strip())
    return found and (found[1] or found[2])


@dataclass(frozen=True)
class Match:
    """What became of a text: a film, or a problem in one sentence and the films to choose from."""

    text: str
    film: Film | None = None
    note: str = ""  # what to tell about a film that was taken
    problem: str = ""
    choices: Sequence[Film] = field(default=())
    whole: bool = False  # a problem that is one of the whole text, and not of several titles in it


def names_of(films: Sequence[Film]) -> str:
    """ "Psycho (1960) [id 1219] or Psycho (1998) [id 2389]"."""
    return " or ".join(f"{film.label} [id {film.id}]" for film in films)


def said(text: str) -> str:
    """A text in quotes, and not all of it if it is very long."""
    return repr(text) if len(text) <= SAID else f"{text[:SAID]!r}..."


def find(text: str, index: TitleIndex) -> Match:
    """The film with this id or title, or the one that is clearly meant; else what it may be."""
    typed = text.strip()
    if only := id_in(typed):
        film = index.by_id(only)
        problem = f"no film has the id {said(typed)}; check it, or give a title"
        return Match(text, film, problem="" if film else problem)
    if (film := index.by_id(typed)) is not None:
        return _by_id(text, film, index)
    if not key_of(typed):
        return Match(text, problem=f"no film has the title {said(text)}; check it, or give its id")
    title, year = _title_and_year(typed, index)
    return (
        _newer(text, title, year, index)
        or _series(text, title, index)
        or _exact(text, title, year, index)
    )


def _title_and_year(typed: str, index: TitleIndex) -> tuple[str, int | None]:
    """What was typed as a title that is known, if it is one; "Blade Runner 2049" has no year."""
    without, year = split_year(typed)
    spellings = [(title, None) for title in in_full(typed)]
    spellings += [(title, year) for title in in_full(without)]
    if year is None:  # "Harry Potter 3"
        spellings += [(title, when) for when, title in famous_films(typed)]
    for known in (index.titled, famous_films, index.part_titled):
        for title, of_year in spellings:
            if known(title):
                return title, of_year
    return (without, year) if year else _short_year(typed, index)


def _short_year(typed: str, index: TitleIndex) -> tuple[str, int | None]:
    """ "braveheart 95": two digits behind a title are its year, where they are."""
    if found := _SHORT_YEAR.fullmatch(typed):
        for film in index.titled(found[1]):
            if film.year is not None and film.year % 100 == int(found[2]):
                return found[1], film.year
    return typed, None


def _by_id(text: str, film: Film, index: TitleIndex) -> Match:
    """Or what another film is called, "2001" of "2001: A Space Odyssey"; a note says which."""
    typed, note = text.strip(), ""
    called = [f for f in (*index.titled(text), *index.part_titled(text)) if f is not film]
    if called and _is_rather_called(typed, called[0], film, index):
        note = f"{typed} is taken for {names_of(called[:1])}, not for the id of {film.label}"
        note += f", which is id:{film.id}"
        return Match(text, called[0], note, choices=[*called, film][:MEANT])
    names = [names_of(called[:MEANT])] if called else []
    names += [f"{title} ({year})" for year, title in famous_films(text)[: not called]]
    if names or year_of(typed):
        other = names[0] if names else "a year"
        note = f"{typed} is taken for the id of {names_of([film])}, not for {other}"
    return Match(text, film, note, choices=[film, *called][:MEANT] if called else ())


def _is_rather_called(typed: str, called: Film, film: Film, index: TitleIndex) -> bool:
    """Whether a number is rather the title of one film than the id of the other."""
    if not typed.isdecimal() or (index.liked(film) and not index.liked(called)):
        return False
    return len(typed) >= SHORT


def _newer(text: str, title: str, year: int | None, index: TitleIndex) -> Match | None:
    """A film that came after the data end, unless an older one of its name is asked for."""
    last = index.last_year
    known = _newer_of_name(title, index)
    later = year is not None and last is not None and year > last
    alike = newer_alike(title, last) if later and not known else None
    if alike and key_of(alike[2]) != key_of(title):  # not "The Heat" for "Heat"
        known = [alike[1:]]
    if not known and not later:
        return None
    older = index.titled(title)
    if year is not None and any(film.year and abs(film.year - year) <= 1 for film in older):
        return None
    if known and year is not None and not later:
        return None
    classic = bool(older) and index.liked(older[0]) >= CLASSIC * index.most_liked
    if year is None and (older or _better_known(title, index)) and all(map(is_lesser, known)):
        return None
    if year is None and classic and not _is_only_the_newer(title, known, older):
        return None
    same = [
        film
        for film in known
        if year is None or key_of(film[1]) != key_of(title) or abs(film[0] - year) <= 1
    ]  # "Heat (2024)" is not "The Heat" of 2013
    newest, name = max(same, default=(year, title))
    problem = f"{name} ({newest}) is {NEWER}, whose films end in {last}"
    if key_of(name) != key_of(text.strip()):
        problem = f"{said(text)}: {problem}"
    older = older or index.part_titled(title) or _better_known(title, index)
    if older:
        problem += f"; if you mean {names_of(older[:MEANT])}, add the year"
    return Match(text, problem=problem, choices=older[:MEANT], whole=bool(known))


def _famous_of_name(title: str, index: TitleIndex) -> list[tuple[int, str]]:
    """Well-known films of this name; where a film of the data has it word for word, those that
    have, too: "Heat" is not "The Heat"."""
    known, typed = famous_films(title), as_words(title)
    if any(as_words(film.title) == typed for film in index.titled(title)):
        return [film for film in known if as_words(film[1]) == typed]
    return known


def _newer_of_name(title: str, index: TitleIndex) -> list[tuple[int, str]]:
    """Those that came after the data end."""
    last = index.last_year
    return [film for film in _famous_of_name(title, index) if last is not None and film[0] > last]


def _better_known(title: str, index: TitleIndex) -> list[Film]:
    """Classics with these words in their titles: "Snow White and the Seven Dwarfs"."""
    return [f for f in index.holding(title) if index.liked(f) >= CLASSIC * index.most_liked]


def _is_only_the_newer(title: str, known: Sequence[tuple[int, str]], older: Sequence[Film]) -> bool:
    """Whether an article tells them apart: "The Batman" is not "Batman"."""
    typed = as_words(title)
    newer = any(as_words(name) == typed for _, name in known)
    return newer and all(as_words(film.title) != typed for film in older)


def _series(text: str, title: str, index: TitleIndex) -> Match | None:
    """A television series, unless a film of the data is called so too."""
    name = series_named(title)
    if not name or index.titled(title) or famous_films(title):
        return None
    problem = f"{said(text)} is a television series, and the data hold films only"
    films = index.part_titled(title)[:MEANT]
    problem += f"; did you mean {names_of(films)}?" if films else ""
    return Match(text, problem=problem, choices=films, whole=True)


def _exact(text: str, title: str, year: int | None, index: TitleIndex) -> Match:
    """Films of this very title, or of this part of a title; else what is like it."""
    found = index.titled(title)
    of_year = [film for film in found if year is None or film.year in (None, year)]
    if year is not None and not of_year:
        of_year = [film for film in found if abs((film.year or 0) - year) == 1]
    if of_year:
        return _of_namesakes(text, of_year, title, year, index)
    if found:
        held = [film for film in index.holding(title) if film.year == year]
        if held and (likely := _likely(text, title, year, index)).film is not None:
            return likely
        found = [*held[:1], *found]
        return Match(
            text,
            problem=f"no film has the title {said(text)}; did you mean {names_of(found[:MEANT])}?",
            choices=found[:MEANT],
        )
    return _likely(text, title, year, index)


def _of_namesakes(
    text: str, films: list[Film], title: str, year: int | None, index: TitleIndex
) -> Match:
    """The one that is far better known than the others."""
    film, others = films[0], films[1:]
    if year is None:  # "Romeo and Juliet" may be "William Shakespeare's Romeo and Juliet"
        fuller = index.holding(title)
        known = KNOWN * max(1, index.liked(film))
        fuller += _called_alike(text, title, index)
        others = others + [
            f for f in dict.fromkeys(fuller) if f not in films and index.liked(f) > known
        ]
        typed = index.titled(text)
        others += [
            f for f in _called(text, index) if f not in others and f not in typed and f is not film
        ]
    if any(KNOWN * max(1, index.liked(other)) > index.liked(film) for other in others):
        choices = [film, *others][:MEANT]
        years = "add the year, or " if len({film.year for film in films}) > 1 else ""
        problem = f"{said(text)} may be {names_of(choices)}: {years}name the one by its id"
        return Match(text, problem=problem, choices=choices)
    exact = film.year is None or year in (None, film.year)
    beside = [] if year else _also_called(film, title, others, index)
    same = key_of(title) == key_of(split_year(text)[0]) or key_of(title) == key_of(text)
    newer = [] if year else _newer_of_name(title, index)
    missing = [] if year or newer else _missing(title, [film, *others, *beside], index)
    if not others and not beside and not newer and not missing and exact and same:
        return Match(text, film)
    others = [*others, *beside][:MEANT]
    note = f"{said(text)} is taken for {names_of([film])}"
    note += f", not for {names_of(others)}" if others else ""
    if newer:
        note += f", not for that of {max(newer)[0]}, which is {NEWER}"
    if missing:
        note += f", not for that of {max(missing)}, which is not in this data set"
    return Match(text, film, note)


def _called(text: str, index: TitleIndex) -> list[Film]:
    """Films that an abbreviation or translation stands for."""
    return [film for name in other_names(text) for film in index.titled(name)]


def _called_alike(text: str, title: str, index: TitleIndex) -> list[Film]:
    """Films that the text also stands for, or that have nearly its letters: "La vie est belle" and
    "Inglorious Bastards" may be better known films than the ones that are called just so."""
    alike = index.spelt_like(title) if len(key_of(title)) >= LONG else []
    return [*_called(text, index), *alike]


def _also_called(film: Film, title: str, others: Sequence[Film], index: TitleIndex) -> list[Film]:
    """Films that people also call so and that are as well known: "Solo: A Star Wars Story", and
    "William Shakespeare's Romeo and Juliet" if not far less."""
    key, least = key_of(title), index.liked(film)
    found = [each for each in index.part_titled(title) if index.liked(each) >= least]
    for each in index.holding(title):
        author, of, rest = each.title.partition("'s ")
        if of and key_of(rest) == key and KNOWN * index.liked(each) >= least:
            found.append(each)
    return [each for each in dict.fromkeys(found) if each is not film and each not in others]


def _missing(title: str, films: Sequence[Film], index: TitleIndex) -> list[int]:
    """Years of well-known films of this name that are none of these."""
    years, known = [film.year for film in films if film.year], _famous_of_name(title, index)
    return [when for when, _ in known if all(abs(when - y) > 1 for y in years)]


def _likely(text: str, title: str, year: int | None, index: TitleIndex) -> Match:
    """The film that is clearly meant, by its words or its letters; else those to choose from."""
    parts = [film for film in index.part_titled(title) if year in (None, film.year)]
    if not parts and are_people(title):
        return Match(text, problem=f"{said(text)} is a name, and no film: name a film", whole=True)
    found = [Candidate(film, PART) for film in parts]
    found += [each for each in index.candidates(title) if each.film not in parts]
    found = _with_other_names(found, title, index)
    if year is not None:
        found = [each for each in found if each.film.year == year] or found
    famous = [
        film
        for film in famous_films(title)
        if film[0] == year or year is None and not is_lesser(film)
    ]
    if famous and not (found and _may_be(found[0], famous[0][0])):
        when, name = famous[0]
        return Match(
            text,
            problem=f"{name} ({when}) is not in this data set, whose films end in "
            f"{index.last_year}",
        )
    alike = newer_alike(title, index.last_year)
    if alike and alike[0] > max((each.fit for each in found), default=0):
        return _like_a_newer(text, alike[2], alike[1], index)
    if found and _is_clear(found, index) and year in (None, found[0].film.year):
        film = found[0].film
        return Match(text, film, f"{said(text)} is taken for {names_of([film])}")
    if beside := _without_people(text, title, year, index):
        return beside
    choices = [each.film for each in found if each.fit >= OFFERED][:MEANT]
    kind, other = ("id", "a title") if text.strip().isdecimal() else ("title", "its id")
    if choices:
        problem = f"no film has the {kind} {said(text)}; did you mean {names_of(choices)}?"
    else:
        end = f" (the films of this data set end in {index.last_year})" if index.last_year else ""
        problem = f"no film has the {kind} {said(text)}{end}; check it, or give {other}"
    whole = bool(choices) and found[0].fit >= SURE
    return Match(text, problem=problem, choices=choices, whole=whole)


def _like_a_newer(text: str, name: str, year: int, index: TitleIndex) -> Match:
    """What is spelt like a newer film: that one, or the older one of its name, as if it had been
    spelt right."""
    right = find(name, index)
    if right.film is not None and index.titled(name):
        note = f"{said(text)} is taken for {names_of([right.film])}, not for {name} ({year})"
        return Match(text, right.film, f"{note}, which is {NEWER}")
    problem = f"{said(text)} seems to be {name} ({year}), which is {NEWER}, whose films end in "
    problem += str(index.last_year)
    older = index.titled(name)[:MEANT]
    if older:
        problem += f"; if you mean {names_of(older)}, add the year"
    return Match(text, problem=problem, choices=older, whole=True)


def _with_other_names(found: list[Candidate], title: str, index: TitleIndex) -> list[Candidate]:
    """And the films whose other names are spelt alike, "pirates of the caribean", before those that
    fit no better."""
    alike = others_alike(title)
    if alike is None:
        return found
    fit, names = alike
    films = []
    for name in names:
        without, year = split_year(name)
        films += [f for f in index.titled(without) if year is None or _near(f, year)]
    called = [Candidate(film, fit) for film in films]
    rest = [each for each in found if each.film not in films]
    return sorted([*called, *rest], key=lambda each: -each.fit) if called else found


def _near(film: Film, year: int) -> bool:
    return film.year is not None and abs(film.year - year) <= 1


def part_of(match: Match, index: TitleIndex) -> Match:
    """A problem, and the films whose titles begin or end a text that holds more than a title."""
    words = match.text.split()
    last = words[-1] if words else ""
    film = index.by_id(last) if len(words) > 1 and last.isdecimal() else None
    hint = f" ({names_of([film])} is named by id:{last})" if film and len(last) < SHORT else ""
    if not match.choices and NEWER not in match.problem and not series_named(match.text):
        lengths = range(min(len(words) - 1, MOST_WORDS), 0, -1)
        parts = [" ".join(part) for n in lengths for part in (words[:n], words[-n:])]
        films = next((f for p in parts if len(p) >= SHORT and (f := index.titled(p))), [])[:MEANT]
        if films:
            problem = f"no film has the title {said(match.text)}; did you mean {names_of(films)}?"
            match = replace(match, problem=problem, choices=films)
    return replace(match, problem=match.problem + hint) if hint else match


def _without_people(text: str, title: str, year: int | None, index: TitleIndex) -> Match | None:
    """The film beside which its people are named; one of several only offered, since they may
    tell it from the others."""
    rest = without_people(title) if len(title) <= SAID else ""
    match = find(f"{rest} ({year})" if year else rest, index) if rest else None
    if match is None or match.problem and not match.choices:
        return None if match is None or NEWER not in match.problem else replace(match, text=text)
    if match.problem:
        return replace(match, text=text, whole=True)
    film = match.film
    doubtful = "not for" in match.note or len(index.titled(rest)) > 1
    if doubtful:
        choices = list(
            dict.fromkeys([film, *index.titled(rest), *_also_called(film, rest, [], index)])
        )[:MEANT]
        problem = f"no film has the title {said(text)}; did you mean {names_of(choices)}?"
        return Match(text, problem=problem, choices=choices, whole=True)
    return Match(text, film, f"{said(text)} is taken for {names_of([film])}")


def _may_be(found: Candidate, year: int) -> bool:
    """Whether a film may be the well-known one of that year under another title: it has part of
    the title ("The Castaway Cowboy" is not "Cast Away"), or is of the year."""
    near = found.film.year is None or abs(found.film.year - year) <= 1
    return found.fit >= (SURE if near else PART)


def _is_clear(found: Sequence[Candidate], index: TitleIndex) -> bool:
    """Whether the first fits well, and no other nearly as well that is not far less known."""
    first, others = found[0], found[1:]
    return first.fit >= SURE and all(
        first.fit - other.fit >= AHEAD
        or index.liked(first.film) >= KNOWN * max(1, index.liked(other.film))
        for other in others
        if other.fit >= OFFERED
    )
