"""Single words, whose quotes were lost, as titles: the cheapest reading of all.

The matrix toy story -> the matrix, toy story; star wars, return of the jedi is one film; rocky 2 3
are two.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import takewhile

from recsys_rl.command.known_titles import famous_films, in_full, series_named
from recsys_rl.command.matching import NEWER, find, id_in
from recsys_rl.command.people import without_names
from recsys_rl.command.spelling import split_year, words_of, year_of
from recsys_rl.command.title_index import TitleIndex
from recsys_rl.data.films import Film

LONGEST, MOST = 8, 12  # words of one title, and of those that are put together at a time
DOUBTFUL = 24  # words in doubt that are put together beside exact titles, where words are many
ALL = 300  # words that are put together at all
PARTS = 13  # a number up to it behind a title may be meant as that of a sequel
# what a title, or each word of one, costs; the cheapest reading wins
EXACT, TAKEN, OFFERED, UNKNOWN, STRAY = 1.0, 1.6, 2.5, 4.0, 12.0
_NUMBER = re.compile(rf" (?:{'|'.join(map(str, range(1, PARTS + 1)))})$")


def is_its_year(title: str, text: str, index: TitleIndex) -> bool:
    """Whether a text is the year of the title before it, right or wrong, and no title itself."""
    year = year_of(text)
    if year is None or title.isdecimal() or _year_in(title, index):
        return False
    return _fits(title, year, index) or not _is_title(text, index)


def _year_in(title: str, index: TitleIndex) -> bool:
    """ "Heat 1995" has a year in it, "Death Race 2000" has none."""
    return not _is_title(title, index) and split_year(title)[1] is not None


def _is_title(text: str, index: TitleIndex) -> bool:
    return bool(index.titled(text) or index.part_titled(text) or famous_films(text))


def _fits(title: str, year: int, index: TitleIndex) -> bool:
    """Whether a film of this name came in that year, or one year off."""
    years: set[int | None] = set()
    for name in in_full(title):
        years |= {film.year for film in (*index.titled(name), *index.part_titled(name))}
        years |= {when for when, _ in famous_films(name)}
    if any(when is not None and abs(when - year) <= 1 for when in years):
        return True
    return bool(years) and year in {film.year for film in index.holding(title)}


def is_known(text: str, index: TitleIndex) -> bool:
    """Whether it is an id or a whole title, with its year or without."""
    if index.by_id(id_in(text) or text):
        return True
    if index.titled(text) or famous_films(text) or series_named(text):
        return True
    title, year = split_year(text)
    return year is not None and _fits(title, year, index)


def together(words: list[str], index: TitleIndex) -> list[str]:
    """Words as titles, in the cheapest reading; exact titles alone are looked at first."""
    if len(words) < 2 or all(word.isdecimal() for word in words) and len(words) > MOST:
        return words
    if len(words) > MOST:
        return _many_together(words, index)
    for cost in (_exact_cost, _cost):
        titles, total = _cheapest(words, lambda *text, cost=cost: cost(*text, index))
        if total == EXACT * len(titles):
            break
    titles = _with_series(_rejoined(titles, index), index)
    titles = _with_parts(_with_sequels(titles, index), index)
    return _without_people(words, titles, index)


def _without_people(words: list[str], titles: list[str], index: TitleIndex) -> list[str]:
    """Several films and the name of somebody: tarantino, pulp, fiction, reservoir, dogs."""
    rest = without_names(" ".join(words))
    if not rest or all(is_known(title, index) for title in titles):
        return titles
    others = together(rest.split(), index)
    return others if len(others) > 1 and all(is_known(t, index) for t in others) else titles


def _rejoined(titles: list[str], index: TitleIndex) -> list[str]:
    """Words beside one that is in no title are rather words of one title than those of others:
    bend, it, like, beckham; and so is a number before it: 50, first dates."""
    joined: list[str] = []
    run: list[str] = []
    for text in [*titles, ""]:
        match = find(text, index)
        if (
            text
            and not match.whole
            and not is_known(text, index)
            and (match.note or not match.film)
        ):
            run.append(text)
            continue
        if any(find(each, index).film is None for each in run):
            if joined and joined[-1].isdecimal() and not "".join(joined[-2:-1]).isdecimal():
                run.insert(0, joined.pop())
            run = [" ".join(run)]
        joined += [*run, text] if text else run
        run = []
    return joined


def _with_series(titles: list[str], index: TitleIndex) -> list[str]:
    """The name of a series in front of the rest of a title: star wars, return of the jedi."""
    joined: list[str] = []
    for text in titles:
        if joined and " " in text and _continues(joined[-1], text, index):
            joined[-1] += f" {text}"
        else:
            joined.append(text)
    return joined


def _continues(title: str, rest: str, index: TitleIndex) -> bool:
    """Whether a film is called by both, with other words between them at most."""
    films = [film.title for film in (*index.titled(rest), *index.part_titled(rest))]
    films += [name for _, name in famous_films(rest)]
    for name in in_full(title):
        typed = [*words_of(name), *words_of(rest)]
        for film in films:
            left = iter(words_of(film))
            if all(word in left for word in typed):
                return True
    return False


def _with_sequels(titles: list[str], index: TitleIndex) -> list[str]:
    """Several numbers behind a title are those of sequels, where one of them is there: rocky, 2, 3
    and rocky 2, 3; else they are ids."""
    joined, left = [], list(titles)
    while left:
        title, left = left[0], left[1:]
        joined.append(title)
        row, stem = list(takewhile(_is_number_of_part, left)), _NUMBER.sub("", title)
        alone = len(row) == 1 and stem == title
        if not row or title.isdecimal() or (alone and row != ["1"]):
            continue
        first = find(stem, index).film
        looked = ["2"] if alone else row  # rocky, 1
        sequels = [find(f"{stem} {number}", index).film for number in looked]
        if any(film is not None and film != first for film in sequels):
            if stem == title:
                joined.pop()
            joined += [f"{stem} {number}" for number in row]
            left = left[len(row) :]
    return joined


def _with_parts(titles: list[str], index: TitleIndex) -> list[str]:
    """A small number behind a title is that of a sequel, here or elsewhere: terminator, 2; heat, 2;
    one of several in a row is an id. Two digits may be its year: braveheart, 95."""
    joined: list[str] = []
    for text, after in zip(titles, [*titles[1:], ""], strict=True):
        if joined and is_its_year(joined[-1], text, index) and not _is_title(text, index):
            joined[-1] += f" {text}"
            continue
        short = text.isdecimal() and len(text) <= len(str(PARTS))
        if short and joined and not joined[-1].isdecimal():
            alone, sequel = (
                find(title, index).film for title in (joined[-1], f"{joined[-1]} {text}")
            )
            if (
                _is_short_year(text, sequel)
                or (1 < int(text) <= PARTS and not after.isdecimal())
                or (int(text) <= PARTS and _is_part(alone, sequel, joined[-1], index))
            ):
                joined[-1] += f" {text}"
                continue
        joined.append(text)
    return joined


def _is_number_of_part(text: str) -> bool:
    return text.isdecimal() and len(text) <= len(str(PARTS)) and 1 <= int(text) <= PARTS


def _is_short_year(text: str, film: Film | None) -> bool:
    year = film.year if film is not None else None
    return year is not None and len(text) == 2 and year % 100 == int(text)


def _is_part(alone: Film | None, sequel: Film | None, title: str, index: TitleIndex) -> bool:
    if sequel is not None:
        return sequel != alone
    if alone is None:  # one of several films is none that has no such part
        match = find(title, index)
        return not match.choices or NEWER in match.problem
    return not is_known(title, index)


def _many_together(words: list[str], index: TitleIndex) -> list[str]:
    """Exact titles of several words first, then what is between them, up to a limit."""
    words, rest = words[:ALL], words[ALL:]
    exact, _ = _cheapest(words, lambda *text: _exact_cost(*text, index))
    titles, loose, looked = [], [], 0
    for title in [*exact, ""]:
        several = " " in title and is_known(title, index)
        if not several:
            loose += title.split()
        while loose and (several or not title or len(loose) >= MOST):
            looked += len(loose[:MOST])
            part, loose = loose[:MOST], loose[MOST:]
            titles += together(part, index) if looked <= DOUBTFUL else part
        if several:
            titles.append(title)
    return titles + rest


def _cheapest(words: list[str], cost: Callable[[str, str], float]) -> tuple[list[str], float]:
    """cost: of a text behind a word."""
    best: list[tuple[float, int]] = [(0.0, 0)]  # and where the last title begins
    for end in range(1, len(words) + 1):
        readings = []
        for start in range(max(0, end - LONGEST), end):
            before = words[start - 1] if start else ""
            text = " ".join(words[start:end])
            readings.append((best[start][0] + cost(text, before), start))
        best.append(min(readings, key=lambda reading: reading[0]))
    titles, end = [], len(words)
    while end:
        start = best[end][1]
        titles.insert(0, " ".join(words[start:end]))
        end = start
    return titles, best[-1][0]


def _exact_cost(text: str, before: str, index: TitleIndex) -> float:
    if _is_stray(text, before, index):
        return STRAY
    return EXACT if is_known(text, index) else UNKNOWN * len(text.split())


def _cost(text: str, before: str, index: TitleIndex) -> float:
    if _is_stray(text, before, index):
        return STRAY
    match = find(text, index)
    if match.film is not None:
        return TAKEN if match.note else EXACT
    title, year = split_year(text)
    if is_known(text, index):
        return EXACT
    if year is not None and (_is_title(title, index) or find(title, index).film is not None):
        return UNKNOWN  # a wrong year is a year
    if match.whole:
        return OFFERED
    return (OFFERED if match.choices else UNKNOWN) * len(text.split())


def _is_stray(text: str, before: str, index: TitleIndex) -> bool:
    """Whether it is a year that belongs to the word before it, or several ids."""
    if " " in text and text.replace(" ", "").isdecimal():
        return True
    year = year_of(text)
    return (
        year is not None and not before.isdecimal() and before != "" and not _is_title(text, index)
    )
