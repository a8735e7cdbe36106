"""Several films named at once: where one title ends, what each one is, and what is in doubt."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, takewhile

from recsys_rl.command.known_titles import famous_films, in_full, series_named
from recsys_rl.command.matching import NEWER, Match, find, id_in, names_of, part_of
from recsys_rl.command.people import without_names
from recsys_rl.command.spelling import split_year, words_of, year_of
from recsys_rl.command.title_index import TitleIndex
from recsys_rl.data.films import Film

LONGEST, MOST = 8, 12  # words of one title, and of those that are put together at a time
DOUBTFUL = 24  # words in doubt that are put together beside exact titles, where words are many
ALL = 300  # words that are put together at all
MANY = 100  # titles in doubt that are looked at in one call
DIGITS = 2  # of a number that may be a part of a title
PARTS = 13  # a number up to it behind a title may be meant as that of a sequel
LONG = 200  # letters of a text with commas that may be one title
# what a title, or each word of one, costs; the cheapest reading wins
EXACT, TAKEN, OFFERED, UNKNOWN, STRAY = 1.0, 1.6, 2.5, 4.0, 12.0

# not the one of "10,000", nor of "Matrix, The" or "The Godfather, Part II"
_WITHIN = r"\s*(?:(?:the|an?)\s*(?:$|[,;(])|(?:part|episode|chapter|volume|vol)\b)"
SEPARATOR = re.compile(rf";| / |,(?!\d{{3}}\b)(?!{_WITHIN})", re.IGNORECASE)

_NUMBER = re.compile(rf" (?:{'|'.join(map(str, range(1, PARTS + 1)))})$")

Pick = Callable[[Match], Film | None]


@dataclass
class Named:
    """Films in the order they were named, each once, and what to say about the others."""

    films: list[Film] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[Match] = field(default_factory=list)


def named(texts: Sequence[str], index: TitleIndex, pick: Pick | None = None) -> Named:
    """The films that texts stand for. pick: asks which of several is meant, None for none."""
    found, known, doubtful, left = Named(), set(), 0, []
    titles = list(dict.fromkeys(titles_in(texts, index)))
    numbers = _numbers_in_doubt(titles, texts)
    for text in titles:
        if not _is_known(text, index):
            doubtful += 1
            if doubtful > MANY:
                left.append(text)
                continue
        match = find(text, index)
        film = match.film
        if pick is not None and match.choices:
            film = pick(match)
        elif match.note:
            found.notes.append(match.note)
        elif film and text in numbers:
            found.notes.append(f"{text} is taken for the id of {names_of([film])}, not for a part")
        if film is None:
            found.problems.append(part_of(match, index))
        elif film.id not in known:
            known.add(film.id)
            found.films.append(film)
    if left:
        problem = f"{len(left)} more titles that are not known were not looked at, as {left[0]!r}"
        found.problems.append(Match(left[0], problem=f"{problem}: name fewer at once"))
    return found


def _numbers_in_doubt(titles: Sequence[str], texts: Sequence[str]) -> set[str]:
    """Small numbers that may be a part of the title beside them: casablanca, 22; 3, men, and, a,
    baby, where nothing stands in quotes."""
    unquoted = {text for text, after in pairwise(texts) if " " not in after.strip()}
    doubtful, before = set(), ""
    for text, after in zip(titles, [*titles, ""][1:], strict=True):
        small = text.isdecimal() and len(text) <= DIGITS
        is_behind = before != "" and not before.isdecimal()
        is_first = before == "" and text in unquoted and after != "" and not after.isdecimal()
        if small and (is_behind or is_first):
            doubtful.add(text)
        if not (small and is_behind):  # numbers in a row are all behind the title before them
            before = text
    return doubtful


def titles_in(texts: Sequence[str], index: TitleIndex) -> list[str]:
    """One text a title: commas part titles, and single words may have lost their quotes.

    "The Matrix, Toy Story" -> two titles; the, matrix, toy, story -> the same two; "Matrix, The"
    is one.
    """
    titles = _read(texts, index)
    parts = _at_commas(texts)
    if len(parts) > 1 and len(texts) <= DOUBTFUL and _found(titles, index) < len(titles):
        others = [title for part in parts for title in _read(part, index)]
        return others if _found(others, index) > _found(titles, index) else titles
    return titles


def _at_commas(texts: Sequence[str]) -> list[list[str]]:
    """Parted behind texts that end in a comma: fargo, | heat zzqq, | alien; a number goes on with
    the title before it."""
    parts: list[list[str]] = [[]]
    ended = False
    for text in texts:
        if ended and not text.strip(" ,;").isdecimal():
            parts.append([])
        parts[-1].append(text)
        ended = text.rstrip().endswith((",", ";"))
    return parts


def _found(titles: Sequence[str], index: TitleIndex) -> int:
    """How many are to the letter those of films that are there; ids do not count."""
    return sum(
        not title.isdecimal() and _is_known(title, index) and find(title, index).film is not None
        for title in titles
    )


def _read(texts: Sequence[str], index: TitleIndex) -> list[str]:
    return [title for group in _groups(texts, index) for title in _titles_of(group, index)]


def _titles_of(pieces: list[str], index: TitleIndex) -> list[str]:
    titles, loose = [], []
    for text in pieces:
        if " " in text.strip():
            titles += [*_together(loose, index), text]
            loose = []
        elif titles and not loose and _is_its_year(titles[-1], text, index):
            titles[-1] = f"{titles[-1]} {text}"
        else:
            loose.append(text)
    return titles + _together(loose, index)


def _groups(texts: Sequence[str], index: TitleIndex) -> list[list[str]]:
    """The pieces of texts. Commas within a text keep titles apart where each piece is like one; a
    number goes on with the title before it."""
    groups: list[list[str]] = [[]]
    for text in texts:
        pieces = _pieces(text, index)
        apart = 1 < len(pieces) <= MOST and all(_is_like_one(piece, index) for piece in pieces)
        for place, piece in enumerate(pieces):
            if apart and place and not piece.isdecimal():
                groups.append([])
            groups[-1].append(piece)
    return groups


def _is_like_one(text: str, index: TitleIndex) -> bool:
    match = find(text, index)
    return match.film is not None or bool(match.choices)


def _pieces(text: str, index: TitleIndex) -> list[str]:
    """A text with commas is one title if there is such a title."""
    if not re.search(SEPARATOR, text) or _is_known(text, index):
        return [text]
    pieces = [piece.strip() for piece in re.split(SEPARATOR, text) if piece.strip()]
    if len(text) > LONG:
        return pieces or [text]
    whole = find(text, index)
    if whole.film is not None and not all(find(piece, index).film for piece in pieces):
        return [text]
    return pieces or [text]


def _is_its_year(title: str, text: str, index: TitleIndex) -> bool:
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


def _is_known(text: str, index: TitleIndex) -> bool:
    """Whether it is an id or a whole title, with its year or without."""
    if index.by_id(id_in(text) or text):
        return True
    if index.titled(text) or famous_films(text) or series_named(text):
        return True
    title, year = split_year(text)
    return year is not None and _fits(title, year, index)


def _together(words: list[str], index: TitleIndex) -> list[str]:
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
    if not rest or all(_is_known(title, index) for title in titles):
        return titles
    others = _together(rest.split(), index)
    return others if len(others) > 1 and all(_is_known(t, index) for t in others) else titles


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
            and not _is_known(text, index)
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
        if joined and _is_its_year(joined[-1], text, index) and not _is_title(text, index):
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
    return not _is_known(title, index)


def _many_together(words: list[str], index: TitleIndex) -> list[str]:
    """Exact titles of several words first, then what is between them, up to a limit."""
    words, rest = words[:ALL], words[ALL:]
    exact, _ = _cheapest(words, lambda *text: _exact_cost(*text, index))
    titles, loose, looked = [], [], 0
    for title in [*exact, ""]:
        several = " " in title and _is_known(title, index)
        if not several:
            loose += title.split()
        while loose and (several or not title or len(loose) >= MOST):
            looked += len(loose[:MOST])
            part, loose = loose[:MOST], loose[MOST:]
            titles += _together(part, index) if looked <= DOUBTFUL else part
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
    return EXACT if _is_known(text, index) else UNKNOWN * len(text.split())


def _cost(text: str, before: str, index: TitleIndex) -> float:
    if _is_stray(text, before, index):
        return STRAY
    match = find(text, index)
    if match.film is not None:
        return TAKEN if match.note else EXACT
    title, year = split_year(text)
    if _is_known(text, index):
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
