"""The answer as text for people, in the width and the colours of their terminal, or as JSON."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from recsys_rl.command.links import Links
from recsys_rl.command.matching import Match
from recsys_rl.command.sources import Source
from recsys_rl.command.suggestions import Suggestion
from recsys_rl.command.taste import Taste
from recsys_rl.data.films import Film
from recsys_rl.data.notes import shown
from recsys_rl.data.written_ids import Id

SCHEMA = 2  # of the JSON object; see docs/command.md
WIDTH = 96  # columns where the answer goes to no terminal
NARROWEST = 24
ROWS = 12  # films that were named and are shown again
TITLE_WIDTH = 56  # longer titles push their genres to the right
BOLD, DIM, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"
SHARE = (
    "Liked by: of users kept apart, those who liked a film of such a score (at least: who has not "
    "rated it counts as not liking it)."
)


@dataclass(frozen=True)
class Reply:
    """What was asked, and what came of it."""

    source: Source
    taste: Taste
    suggestions: Sequence[Suggestion]
    seed: int | None = None
    links: Mapping[Id, Links] = field(default_factory=dict)
    notes: Sequence[str] = ()
    problems: Sequence[Match] = ()


@dataclass(frozen=True)
class Style:
    """Columns, and whether somebody looks at them, and colours may be used."""

    width: int = WIDTH
    terminal: bool = False
    colours: bool = False

    def bold(self, text: str) -> str:
        return f"{BOLD}{text}{PLAIN}" if self.colours else text

    def dim(self, text: str) -> str:
        return f"{DIM}{text}{PLAIN}" if self.colours else text


def style_of(stream: Any = None) -> Style:
    """What the stream (by default stdout) can show; no colours where NO_COLOR is set."""
    stream = sys.stdout if stream is None else stream
    if stream is None or not stream.isatty():
        return Style()
    width = max(NARROWEST, shutil.get_terminal_size((WIDTH, 24)).columns - 1)
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb"
    return Style(min(width, 120), True, not plain)


# ------------------------------------------------------------------------------ text


def as_text(reply: Reply, style: Style) -> str:
    """Short tables and a line about who answered."""
    taste, films = reply.taste, [each.film for each in reply.suggestions]
    latest = [*taste.liked[-ROWS - 1 :], *taste.disliked[-ROWS - 1 :]]
    column = _column([*latest, *films], style)
    blocks = [
        _table("Because you liked", taste.liked, column, style),
        _table(_disliked(taste), taste.disliked, column, style),
        _suggested(reply, column, style),
        _about(reply, style),
    ]
    return "\n\n".join(filter(None, blocks))


def _disliked(taste: Taste) -> str:
    return "and did not like" if taste.liked else "Because you did not like"


def suggested(reply: Reply, style: Style) -> str:
    """The suggestions alone."""
    if not reply.suggestions:
        return "No film is left to suggest."
    column = _column([each.film for each in reply.suggestions], style)
    return f"{_suggested(reply, column, style)}\n\n{_about(reply, style)}"


def _column(films: Sequence[Film], style: Style) -> int:
    """Where genres start."""
    longest = max((len(film.label) for film in films), default=0)
    return min(TITLE_WIDTH, longest, max(10, style.width // 2))


def _table(heading: str, films: Sequence[Film], column: int, style: Style) -> str:
    """The latest films; of more than `ROWS` the others are counted."""
    if not films:
        return ""
    rest = len(films) - ROWS if len(films) > ROWS + 1 else 0
    latest = list(enumerate(films, 1))[rest:]
    rows = [_row(rank, film, len(films), column, style) for rank, film in latest]
    before = [style.dim(f"  ({rest} films before these)")] if rest else []
    return "\n".join([style.bold(heading), *before, *rows])


def _row(rank: int, film: Film, most: int, column: int, style: Style) -> str:
    digits = len(str(most))
    text = f"{film.label:<{column}}  {', '.join(film.genres)}".rstrip()
    return textwrap.fill(
        text,
        style.width,
        initial_indent=f"  {rank:>{digits}}. ",
        subsequent_indent=" " * (digits + 4),
        break_long_words=style.width < WIDTH,
        break_on_hyphens=False,
    )


def _suggested(reply: Reply, column: int, style: Style) -> str:
    lines = [style.bold("You might like")]
    count = len(reply.suggestions)
    indent = " " * (len(str(count)) + 4)
    for rank, each in enumerate(reply.suggestions, 1):
        lines.append(_row(rank, each.film, count, column, style))
        why = _why(each, reply)
        if why:
            filled = textwrap.wrap(
                why, style.width, initial_indent=indent, subsequent_indent=indent
            )
            lines += [style.dim(line) for line in filled]
        if each.film.id in reply.links:
            for url in reply.links[each.film.id].urls:  # whole, so that it can be clicked
                lines.append(style.dim(f"{indent[: max(0, style.width - len(url))]}{url}"))
    return "\n".join(lines)


def _why(each: Suggestion, reply: Reply) -> str:
    parts = [] if each.chance is None else [f"liked by {each.chance:.0%}"]
    if each.because is not None and len(reply.taste.liked) > 1:
        parts.append(f"most because of {each.because.label}")
    return ", ".join(parts)


def _about(reply: Reply, style: Style) -> str:
    again = "" if reply.seed is None else f" The same films again: --seed {reply.seed}"
    source = reply.source
    about = f"Suggested by the agent in {source.name}, data set {source.dataset}.{again}"
    about = shown(about)  # both are names of folders
    sure = any(each.chance is not None for each in reply.suggestions)
    lines = [about, *([SHARE] if sure else [])]
    return "\n".join(style.dim(line) for text in lines for line in _wrapped(text, style))


def _wrapped(text: str, style: Style) -> list[str]:
    if not style.terminal:
        return [text]
    return textwrap.wrap(text, style.width, break_on_hyphens=False, break_long_words=False)


# ------------------------------------------------------------------------------ JSON


def as_json(reply: Reply) -> str:
    """One object, in plain ASCII, so that it is the same in every terminal's encoding."""
    source, taste = reply.source, reply.taste
    return json.dumps({
        "schema": SCHEMA,
        "dataset": source.dataset,
        "last_year": source.last_year,
        "model": source.name,
        "seed": reply.seed,
        "liked": [film.as_json() for film in taste.liked],
        "disliked": [film.as_json() for film in taste.disliked],
        "seen": [film.as_json() for film in taste.seen],
        "suggestions": [_suggestion(each, reply) for each in reply.suggestions],
        "notes": list(reply.notes),
        "problems": [problem_as_json(match) for match in reply.problems],
    })  # fmt: skip


def _suggestion(each: Suggestion, reply: Reply) -> dict[str, Any]:
    links = reply.links.get(each.film.id)
    return each.film.as_json() | {
        "score": each.score,
        "chance": None if each.chance is None else round(each.chance, 3),
        "because": None if each.because is None else each.because.as_json(),
        "links": None if links is None else links.as_json(),
    }


def problem_as_json(match: Match) -> dict[str, Any]:
    choices = [film.as_json() for film in match.choices]
    return {"typed": match.text, "message": match.problem, "choices": choices}
