"""Answers of one person, kept in a file that people can read and programs can write."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys_rl.command.errors import CommandError, first_line
from recsys_rl.command.taste import Taste
from recsys_rl.command.title_index import TitleIndex
from recsys_rl.data.atomic_files import write_atomically
from recsys_rl.data.films import Film

FORMAT = 1
LARGEST = 2**24  # bytes
LIKE, NO, SEEN_LIKED, SEEN_NOT, SKIP = "like", "no", "seen, liked", "seen, not", "skip"
KINDS = (LIKE, NO, SEEN_LIKED, SEEN_NOT, SKIP)


@dataclass(frozen=True)
class Answer:
    film: Film
    kind: str  # of KINDS


def taste_of(answers: Iterable[Answer]) -> Taste:
    """A later answer about a film replaces an earlier one."""
    latest: dict[str, Answer] = {}
    for answer in answers:
        latest.pop(answer.film.label, None)
        latest[answer.film.label] = answer
    by_kind = {
        kinds: [answer.film for answer in latest.values() if answer.kind in kinds]
        for kinds in ((LIKE, SEEN_LIKED), (NO, SEEN_NOT), (SKIP,))
    }
    return Taste(*by_kind.values())


Row = dict[str, Any]  # one answer as it stands in the file


def read_profile(path: Path, dataset: str, index: TitleIndex) -> tuple[list[Answer], list[Row]]:
    """The answers about films of this data set, and those about films that it has not.

    Answers of another data set are found by title and year. Raises CommandError for a file that is
    no profile.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"it has more than {LARGEST:,} bytes")
        saved = json.loads(path.read_text(encoding="utf-8"))
        answers = saved["answers"]
        if saved["format"] != FORMAT:
            raise ValueError(f"it has format {saved['format']!r}, this program reads {FORMAT}")
        rows = [(row["id"], row["title"], row["year"], row["answer"]) for row in answers]
        if any(not isinstance(title, str) or kind not in KINDS for _, title, _, kind in rows):
            raise ValueError("an answer in it is none")
    except OSError as error:
        raise CommandError(f"the profile cannot be read: {error}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CommandError(
            f"{path} is not a profile that a session has kept ({first_line(error)}): name another "
            "file, or move it away to start anew"
        ) from error
    found, others = [], []
    for item, title, year, kind in rows:
        film = _film(item if saved.get("dataset") == dataset else None, title, year, index)
        if film is None:  # its id is that of another data set
            others.append({"id": None, "title": title, "year": year, "answer": kind})
        else:
            found.append(Answer(film, kind))
    return found, others


def _film(item: Any, title: str, year: Any, index: TitleIndex) -> Film | None:
    if item is not None and (film := index.by_id(str(item))) is not None:
        return film
    films = [film for film in index.titled(title) if film.year == year]
    return films[0] if films else None


def write_profile(
    path: Path, dataset: str, answers: Iterable[Answer], others: Iterable[Row] = ()
) -> None:
    """Replaces the file, whole or not at all. others: answers about films that the data set has
    not. Raises CommandError where it cannot be written."""
    rows = [
        *others,
        *(
            {
                "id": answer.film.id,
                "title": answer.film.title,
                "year": answer.film.year,
                "answer": answer.kind,
            }
            for answer in answers
        ),
    ]
    lines = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in rows)
    head = f'{{"format": {FORMAT}, "dataset": {json.dumps(dataset)}, "answers": ['
    try:
        write_atomically(path, f"{head}\n{lines}\n]}}\n".encode())
    except (OSError, ValueError) as error:  # ValueError: no file can be called that
        reason = getattr(error, "strerror", None) or first_line(error)
        raise CommandError(
            f"{path} cannot be written ({reason}): name another file with --profile"
        ) from error
