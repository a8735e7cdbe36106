"""Answers of one person, kept in a file that people can read and programs can write."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from recsys_rl.command.errors import CommandError, first_line
from recsys_rl.command.taste import Taste
from recsys_rl.command.title_index import TitleIndex
from recsys_rl.data.atomic_files import InUse, locked_file, rewrite_atomically
from recsys_rl.data.films import Film
from recsys_rl.data.notes import written
from recsys_rl.data.regular_files import NotRegular, content_of
from recsys_rl.data.written_ids import Id

FORMAT = 1
LARGEST = 2**22  # bytes; an answer takes about 100
LONGEST = 1000  # characters of a title
LIKE, NO, SEEN_LIKED, SEEN_NOT, SKIP = "like", "no", "seen, liked", "seen, not", "skip"
KINDS = (LIKE, NO, SEEN_LIKED, SEEN_NOT, SKIP)
COLUMNS = "id", "title", "year", "answer"
OWN = "format", "dataset", "answers"


Row = dict[str, Any]  # one answer as it stands in the file


@dataclass(frozen=True)
class Answer:
    film: Film
    kind: str  # of KINDS
    row: Row = field(default_factory=dict, compare=False)  # as it stood in the file


class Profile(NamedTuple):
    """others: answers about films that the data set has not. more: what else stood in the file,
    from other programs or by hand."""

    answers: list[Answer]
    others: list[Row]
    more: Row


def taste_of(answers: Iterable[Answer]) -> Taste:
    """A later answer about a film replaces an earlier one."""
    latest: dict[Id, Answer] = {}
    for answer in answers:
        latest.pop(answer.film.mark, None)
        latest[answer.film.mark] = answer
    by_kind = {
        kinds: [answer.film for answer in latest.values() if answer.kind in kinds]
        for kinds in ((LIKE, SEEN_LIKED), (NO, SEEN_NOT), (SKIP,))
    }
    return Taste(*by_kind.values())


def read_profile(path: Path, dataset: str, index: TitleIndex) -> Profile:
    """What a session has kept, the films looked up in this data set.

    Title and year say which film is meant; the id decides between films that share them. Raises
    CommandError for a file that is no profile.
    """
    try:
        saved = json.loads(content_of(path, LARGEST).decode("utf-8-sig"))
        answers = saved["answers"]
        if saved["format"] != FORMAT:
            raise ValueError(
                f"it has format {written(saved['format'])}, this program reads {FORMAT}"
            )
        if not isinstance(answers, list):
            raise ValueError("its answers are no list")
        rows = [({} | row, *(row[name] for name in COLUMNS)) for row in answers]
        if any(not _is_title(title) or kind not in KINDS for _, _, title, _, kind in rows):
            raise ValueError("an answer in it is none")
    except NotRegular as error:
        raise CommandError(str(error)) from error
    except FileNotFoundError as error:
        raise CommandError(
            f"the profile cannot be read: there is no file {path}; --session keeps one"
        ) from error
    except OSError as error:
        raise CommandError(f"the profile cannot be read: {error}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = first_line(error) if isinstance(error, ValueError) else "it holds no such answers"
        raise CommandError(
            f"{path} is not a profile that a session has kept ({reason}): name another file, or "
            "move it away to start anew"
        ) from error
    found, others = [], []
    for row, item, title, year, kind in rows:
        film = _film(item if saved.get("dataset") == dataset else None, title, year, index)
        if film is None:  # and its id is that of another data set, or of another film
            others.append(row | {"id": None})
        else:
            found.append(Answer(film, kind, row))
    return Profile(found, others, {name: saved[name] for name in saved if name not in OWN})


def _is_title(title: Any) -> bool:
    return isinstance(title, str) and len(title) <= LONGEST


def _film(item: Any, title: str, year: Any, index: TitleIndex) -> Film | None:
    if isinstance(year, str) and year.isdecimal() and len(year) <= 4:  # written by hand
        year = int(year)
    film = None if item is None else index.by_id(str(item))
    if film is not None and (film.title, film.year) == (title, year):
        return film
    films = [film for film in index.titled(title) if film.year == year]
    return films[0] if films else None


@contextlib.contextmanager
def held(path: Path | None) -> Iterator[None]:
    """For a session, so that no second one writes to its profile. Raises CommandError if one does,
    or where nothing can be written."""
    with contextlib.ExitStack() as stack:
        if path is not None:
            try:
                stack.enter_context(locked_file(path))
            except InUse as error:
                raise CommandError(str(error)) from error
            except (OSError, ValueError) as error:  # ValueError: no file can be called that
                raise _unwritable(path, error) from error
        yield


def write_profile(
    path: Path,
    dataset: str,
    answers: Iterable[Answer],
    others: Iterable[Row] = (),
    more: Row | None = None,
) -> bytes:
    """Replaces the file, whole or not at all -> what stands in it. others and more: as in
    `Profile`. Raises CommandError where it cannot be written."""
    rows = [*others, *map(_row_of, answers)]
    lines = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in rows)
    first = {"format": FORMAT, "dataset": dataset} | (more or {})
    head = json.dumps(first, ensure_ascii=False).removesuffix("}") + ', "answers": ['
    # half a pair of surrogates is written as JSON escapes it
    content = f"{head}\n{lines}\n]}}\n".encode("utf-8", "backslashreplace")
    if len(content) > LARGEST:
        raise CommandError(f"{path} would have more than {LARGEST:,} bytes: name another file")
    try:
        rewrite_atomically(path, content)
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from error
    return content


def refuse_changed(path: Path, content: bytes) -> None:
    """CommandError where something else stands in a profile than was written last."""
    try:
        there = content_of(path, LARGEST)
    except FileNotFoundError:  # nothing is lost
        return
    except (OSError, ValueError):
        there = b""
    if there != content:
        raise CommandError(
            f"{path} was changed by another program while the session was open, and stays so: "
            "start the session again, and give the last answer once more"
        )


def _row_of(answer: Answer) -> Row:
    film = answer.film
    told = film.id, film.title, film.year, answer.kind
    stood = {name: value for name, value in answer.row.items() if name not in ("id", "answer")}
    return dict(zip(COLUMNS, told, strict=True)) | stood  # by the title of the set it came from


def _unwritable(path: Path, error: Exception) -> CommandError:
    reason = getattr(error, "strerror", None) or first_line(error)
    return CommandError(f"{path} cannot be written ({reason}): name another file with --profile")
