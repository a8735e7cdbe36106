"""Which films may be suggested: by genre and by year."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from recsys_rl.command.errors import CommandError
from recsys_rl.data.notes import shortened

if TYPE_CHECKING:
    from recsys_rl.data.films import Film

_AS_CALLED = {"scifi": "sci-fi", "sciencefiction": "sci-fi", "noir": "film-noir"}
_AS_CALLED |= {"kids": "children's", "children": "children's", "docu": "documentary"}
_AS_CALLED |= {"documentaries": "documentary", "cartoon": "animation", "animated": "animation"}

Years = tuple[int, int]


def years_of(text: str) -> Years:
    """ "1990-2000", "1990-", "-1980" or "1994" -> first and last year. Raises ValueError."""
    found = re.fullmatch(r"\s*(\d{4})?\s*(-|–|\.\.)?\s*(\d{4})?\s*", text)
    if not found or not (found[1] or found[3]) or (found[1] and found[3] and not found[2]):
        raise ValueError(f"must be a year or years, as in 1994, 1990-2000 or 1990-, not {text!r}")
    first = int(found[1]) if found[1] else 0
    last = int(found[3]) if found[3] else 9999 if found[2] else first
    if first > last:
        raise ValueError(f"must begin with the earlier year, not {text!r}")
    return first, last


def fitting(
    genres: Sequence[str],
    not_genres: Sequence[str],
    years: Years | None,
    films: Iterable[Film],
) -> Callable[[Film], bool]:
    """Whether a film has one of the genres, none of the others, and is of these years.

    Raises CommandError for a genre that no film has.
    """
    known = {genre.casefold(): genre for film in films for genre in film.genres}
    wanted = {_genre(text, known) for text in genres}
    unwanted = {_genre(text, known) for text in not_genres}

    def fits(film: Film) -> bool:
        theirs = set(film.genres)
        in_years = years is None or (film.year is not None and years[0] <= film.year <= years[1])
        return in_years and not theirs & unwanted and (not wanted or bool(theirs & wanted))

    return fits


def _genre(text: str, known: dict[str, str]) -> str:
    typed = text.strip().casefold()
    plain = re.sub(r"[^a-z]", "", typed)
    same = {re.sub(r"[^a-z]", "", name): name for name in known}
    for name in (typed, same.get(plain, ""), _AS_CALLED.get(plain, "")):
        if name in known:
            return known[name]
    begin = [name for name in known if name.startswith(typed)] if typed else []
    if len(begin) == 1:
        return known[begin[0]]
    raise CommandError(
        f"no film has the genre {shortened(text)!r}: choose among "
        f"{', '.join(sorted(known.values()))}"
    )
