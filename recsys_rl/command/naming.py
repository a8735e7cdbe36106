"""Several films named at once: where one title ends, what each one is, and what is in doubt."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from recsys_rl.command.known_titles import famous_films
from recsys_rl.command.matching import Match, find
from recsys_rl.command.title_index import TitleIndex
from recsys_rl.data.films import Film

LONGEST, MOST = 8, 12  # words of one title, and of all of them, that are put together
# what a title, or each word of one, costs; the cheapest reading wins
EXACT, TAKEN, OFFERED, UNKNOWN = 1.0, 1.6, 2.5, 4.0

# not the one of "10,000", nor of "Matrix, The"
SEPARATOR = re.compile(r";|,(?!\d{3}\b)(?!\s*(?:the|an?)\s*(?:$|[,;(]))", re.IGNORECASE)

Pick = Callable[[Match], Film | None]


@dataclass
class Named:
    """Films in the order they were named, each once, and what to say about the others."""

    films: list[Film] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[Match] = field(default_factory=list)


def named(texts: Sequence[str], index: TitleIndex, pick: Pick | None = None) -> Named:
    """The films that texts stand for. pick: asks which of several is meant, None for none."""
    found = Named()
    for text in titles_in(texts, index):
        match = find(text, index)
        film = match.film
        if pick is not None and match.choices:
            film = pick(match)
        elif match.note:
            found.notes.append(match.note)
        if film is None:
            found.problems.append(match)
        elif film.id not in {other.id for other in found.films}:
            found.films.append(film)
    return found


def titles_in(texts: Sequence[str], index: TitleIndex) -> list[str]:
    """One text a title: commas part titles, and single words may have lost their quotes.

    "The Matrix, Toy Story" -> two titles; the, matrix, toy, story -> the same two; "Matrix, The"
    is one.
    """
    titles, loose = [], []
    pieces = [piece for text in texts for piece in _pieces(text, index)]
    for text in pieces:
        if " " in text.strip():
            titles += [*_together(loose, index), text]
            loose = []
        else:
            loose.append(text)
    return titles + _together(loose, index)


def _pieces(text: str, index: TitleIndex) -> list[str]:
    """A text with commas is one title if there is such a title."""
    if not re.search(SEPARATOR, text) or index.titled(text) or famous_films(text):
        return [text]
    pieces = [piece.strip() for piece in re.split(SEPARATOR, text) if piece.strip()]
    whole = find(text, index)
    if whole.film is not None and not all(find(piece, index).film for piece in pieces):
        return [text]
    return pieces or [text]


def _together(words: list[str], index: TitleIndex) -> list[str]:
    """Words as titles, in the cheapest reading; exact titles alone are looked at first."""
    if not 1 < len(words) <= MOST:
        return words
    for cost in (_exact_cost, _cost):
        titles, total = _cheapest(words, lambda text, cost=cost: cost(text, index))
        if total == EXACT * len(titles):
            break
    return titles


def _cheapest(words: list[str], cost: Callable[[str], float]) -> tuple[list[str], float]:
    best: list[tuple[float, list[str]]] = [(0.0, [])]
    for end in range(1, len(words) + 1):
        readings = []
        for start in range(max(0, end - LONGEST), end):
            text = " ".join(words[start:end])
            total, titles = best[start]
            readings.append((total + cost(text), [*titles, text]))
        best.append(min(readings, key=lambda reading: reading[0]))
    total, titles = best[-1]
    return titles, total


def _exact_cost(text: str, index: TitleIndex) -> float:
    known = index.by_id(text) or index.titled(text) or famous_films(text)
    return EXACT if known else UNKNOWN * len(text.split())


def _cost(text: str, index: TitleIndex) -> float:
    match = find(text, index)
    if match.film is not None:
        return TAKEN if match.note else EXACT
    if famous_films(text):
        return EXACT
    return (OFFERED if match.choices else UNKNOWN) * len(text.split())
