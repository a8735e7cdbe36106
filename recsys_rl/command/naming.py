"""Several films named at once: where one title ends, what each one is, and what is in doubt."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from recsys_rl.command.loose_words import DOUBTFUL, MOST, is_its_year, is_known, together
from recsys_rl.command.matching import Match, find, names_of, part_of
from recsys_rl.command.title_index import TitleIndex
from recsys_rl.data.films import Film

MANY = 100  # titles in doubt that are looked at in one call
DIGITS = 2  # of a number that may be a part of a title
LONG = 200  # letters of a text with commas that may be one title

# not the one of "10,000", nor of "Matrix, The" or "The Godfather, Part II"
_WITHIN = r"\s*(?:(?:the|an?)\s*(?:$|[,;(])|(?:part|episode|chapter|volume|vol)\b)"
SEPARATOR = re.compile(rf";| / |,(?!\d{{3}}\b)(?!{_WITHIN})", re.IGNORECASE)


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
        if not is_known(text, index):
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
        not title.isdecimal() and is_known(title, index) and find(title, index).film is not None
        for title in titles
    )


def _read(texts: Sequence[str], index: TitleIndex) -> list[str]:
    return [title for group in _groups(texts, index) for title in _titles_of(group, index)]


def _titles_of(pieces: list[str], index: TitleIndex) -> list[str]:
    titles, loose = [], []
    for text in pieces:
        if " " in text.strip():
            titles += [*together(loose, index), text]
            loose = []
        elif titles and not loose and is_its_year(titles[-1], text, index):
            titles[-1] = f"{titles[-1]} {text}"
        else:
            loose.append(text)
    return titles + together(loose, index)


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
    if not re.search(SEPARATOR, text) or is_known(text, index):
        return [text]
    pieces = [piece.strip() for piece in re.split(SEPARATOR, text) if piece.strip()]
    if len(text) > LONG:
        return pieces or [text]
    whole = find(text, index)
    if whole.film is not None and not all(find(piece, index).film for piece in pieces):
        return [text]
    return pieces or [text]
