"""Films in, films out: suggestions from the released agent, without any training.

python recommendation.py                                    three random films, three suggestions
python recommendation.py --movies 1 "The Matrix" --k 5      your own films
python recommendation.py --seed 7 --json                    repeatable, for other programs

Exit codes: 0 answered; 2 something was wrong with the input, the data or the model, as one sentence
on stderr says; 130 interrupted; 141 whoever read the output went away.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

try:
    from recsys_rl.data.arguments import Parser
    from recsys_rl.data.films import (
        Film,
        Id,
        Match,
        NoSuchFilm,
        candidates,
        find_film,
        read_films,
        with_all,
    )
    from recsys_rl.data.notes import say
except ImportError as error:  # Python is too old, or nothing is installed
    print(f"recommendation.py: {error}", file=sys.stderr)
    sys.exit(2)

if TYPE_CHECKING:
    from recsys_rl.serving import Recommender

HERE = Path(__file__).resolve().parent
DRAWN = 3  # films drawn when none is named
POOL = 300  # they are drawn among so many of the most liked films
WIDTH = 96  # columns of the answer
TITLE_WIDTH = 56  # longer titles push their genres to the right


class CommandError(Exception):
    """One sentence for the person at the keyboard: what was wrong and what to do."""


# ------------------------------------------------------------------------- the command line


class _Parser(Parser):
    def error(self, message: str) -> NoReturn:
        films = "; films are named after --movies" if message.startswith("unrecognized") else ""
        raise CommandError(f"{message}{films} (--help shows what can be asked)")


def _whole(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = None
        if number is None or number < least:
            raise argparse.ArgumentTypeError(
                f"must be a whole number, {least} or more, not {text!r}"
            )
        return number

    return read


def _folder(text: str) -> Path:
    if not os.path.isdir(text):  # Path.is_dir raises for a name that is too long
        raise argparse.ArgumentTypeError(f"there is no folder {text!r}")
    return Path(text)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="recommendation.py",
        description="Suggests films to somebody who liked certain films. Without --movies it draws "
        f"{DRAWN} random films that many people know: among the {POOL} films with the most ratings "
        "of 4 or more in the data the agent learned from.",
        epilog='Examples: recommendation.py --seed 7; recommendation.py --movies 1 "The Matrix" '
        '"Heat (1995)" --k 5',
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--movies",
        nargs="+",
        action="extend",
        metavar="FILM",
        help="the films that were liked, the latest last: ids or titles, with or without "
        'year, as "Matrix, The" or "The Matrix", or words that one title alone holds; what is an '
        "id is never taken for a title",
    )
    add("--k", type=_whole(1), default=3, help="how many films to suggest (default: %(default)s)")
    add("--seed", type=_whole(0), help="draws the same random films each time")
    add(
        "--dataset",
        metavar="NAME",
        help="MovieLens set (default: ml-1m; ml-100k where ml-1m is not to be had), or a folder or "
        "file of your own that a model is released for",
    )
    add("--json", action="store_true", help="answer with one JSON object")
    add("--root", type=_folder, default=HERE / "data", help="folder of the data sets")
    add("--models", type=_folder, default=HERE / "models", help="folder of the released models")
    add("--model", type=_folder, metavar="DIR", help="folder of one model, as training releases it")
    return parser


# ------------------------------------------------------------------------- films, data and model


def open_films(folder: Path) -> dict[Id, Film]:
    """The films by id. Raises CommandError if they cannot be read."""
    try:
        return read_films(folder)
    except (ValueError, OverflowError, OSError) as error:
        raise CommandError(
            f"the films cannot be read: {_line(error)}; remove {folder} to have it fetched again"
        ) from error


def _line(error: Exception | str) -> str:
    """The first line of an error, for errors that were not written to be one sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")


def released(models: Path) -> list[str]:
    """The data sets that a model is released for, published ones first."""
    from recsys_rl.data.download import SOURCES

    there = sorted(path.parent.name for path in models.glob("*/config.json") if path.is_file())
    own = [n for n in there if n not in SOURCES and _dataset_in(models / n) == n]
    return [name for name in there if name in SOURCES] + own


def _dataset_in(folder: Path) -> str | None:
    """The data set that the model in a folder says it was trained on."""
    from recsys_rl.release_files import UnknownRelease, read_config

    try:
        return read_config(folder).get("dataset")
    except UnknownRelease:  # which says so when it is loaded
        return folder.name
    except ValueError:
        return None


def _own(dataset: str | None, root: Path) -> bool:
    """Whether this is somebody's own folder or file, and neither a published set nor nothing."""
    from recsys_rl.data.download import SOURCES

    if dataset is None or dataset in SOURCES:
        return False
    from recsys_rl.data.opening import located

    return located(dataset, root) is not None


def _check_released(dataset: str | None, models: Path) -> None:
    """Before anything is downloaded. `dataset` None: any model will do."""
    there = released(models)
    if not there:
        raise CommandError(f"{models} holds no released model: train one with recsys_rl.ipynb")
    if dataset is not None and dataset not in there:
        raise CommandError(
            f"{models} holds no model for the data set {dataset!r}: "
            f"choose --dataset {' or --dataset '.join(there)}"
        )


def _trained_on(folder: Path) -> str:
    """The data set of the model in a folder."""
    from recsys_rl.release_files import UnknownRelease, read_config

    try:
        dataset = read_config(folder).get("dataset")
        if not isinstance(dataset, str) or Path(dataset).name != dataset:  # never a path
            raise ValueError("config.json does not name a data set")
        return dataset
    except UnknownRelease as error:
        raise CommandError(_line(error)) from error
    except ValueError as error:
        raise CommandError(
            f"{folder} is not the folder of a released model ({_line(error)}): name the folder "
            "that training wrote, or leave --model out"
        ) from error


def open_data(dataset: str | None, root: Path) -> tuple[str, Path]:
    """Name and folder of the data set, which is downloaded if it is not there."""
    from recsys_rl.data.download import DataUnavailable
    from recsys_rl.data.opening import NoSuchData, find_data

    try:
        return find_data(dataset, root)
    except NoSuchData as error:
        raise CommandError(f"{error}; name where it is with --dataset or --root") from error
    except DataUnavailable as error:
        name = dataset or "ml-1m"
        tried = "; ".join(f"{source}: {_line(reason)}" for source, reason in error.tried)
        raise CommandError(
            f"{name} could not be had ({tried}): get {name}.zip from "
            f"https://grouplens.org/datasets/movielens/ and put it into {root}"
        ) from error
    except ValueError as error:  # no such data set
        raise CommandError(_line(error)) from error
    except OSError as error:
        raise CommandError(
            f"{root} cannot hold the data ({_line(error)}): name another folder with --root"
        ) from error


def all_films(model: Recommender, films: dict[Id, Film], dataset: str) -> dict[Id, Film]:
    """Films by the model's ids; data of somebody's own need not list them all.

    Raises CommandError for the films of another data set.
    """
    from recsys_rl.data.download import SOURCES

    ids, listed = model.item_ids.tolist(), set(map(str, films))
    strange = [item for item in ids if str(item) not in listed]
    if strange and films and (dataset in SOURCES or len(strange) == len(ids)):
        raise CommandError(
            f"the model knows {len(strange)} films that the data set does not list, for instance "
            f"id {strange[0]!r}: use the data set that it was trained on"
        )
    if strange:
        _note(f'{len(strange)} films have no title in the data set: they are called "film" and id')
    return with_all(films, ids)


def load_model(folder: Path) -> Recommender:
    """The released agent. Raises CommandError if it is damaged."""
    from recsys_rl.release_files import UnknownRelease
    from recsys_rl.serving import Recommender

    try:
        return Recommender.load(folder)
    except UnknownRelease as error:
        raise CommandError(_line(error)) from error
    except ValueError as error:
        raise _damaged(_line(error)) from error


def _damaged(finding: str) -> CommandError:
    return CommandError(f"{finding}: restore the files of this model")


# ------------------------------------------------------------------------- films in, films out


def draw_films(model: Recommender, films: dict[Id, Film], seed: int, folder: Path) -> list[Film]:
    """Random films among the most liked ones; the same seed draws the same films."""
    counts = model.config.get("positive_counts")
    items = model.item_ids.tolist()
    whole = isinstance(counts, list) and all(isinstance(count, int) for count in counts)
    if not whole or len(counts) != len(items) or max(counts) <= 0:
        raise _damaged(f"{folder}/config.json does not say how often each film was liked")
    liked = [place for place in range(len(items)) if counts[place] > 0]
    liked.sort(key=lambda place: -counts[place])  # stable: equals stay in the order of their ids
    pool = _without_duplicates([films[items[place]] for place in liked[:POOL]])
    return random.Random(seed).sample(pool, min(DRAWN, len(pool)))


def _without_duplicates(films: Iterable[Film]) -> list[Film]:
    """ML-100K lists some films under two ids: the first of each stays, in its place."""
    first: dict[str, Film] = {}
    for film in films:
        first.setdefault(film.label, film)
    return list(first.values())


def _found(text: str, films: dict[Id, Film]) -> Match:
    if not text.strip():
        raise CommandError("a film given to --movies is empty: give an id or a title")
    try:
        return find_film(text, films)
    except NoSuchFilm as error:
        raise CommandError(str(error)) from error


def named_films(texts: Sequence[str], model: Recommender, films: dict[Id, Film]) -> list[Film]:
    """The films that were named and that the model knows, in the order given."""
    named: dict[Id, Film] = {}
    notes = []
    for text in texts:
        film, note = _found(text, films)
        if film.id in named:
            raise CommandError(f"{film.label} [id {film.id}] is given twice: name each film once")
        named[film.id] = film
        notes += [note] if note else []
    known = set(model.item_ids.tolist())
    unknown = [film for film in named.values() if film.id not in known]
    if len(unknown) == len(named):
        raise CommandError(
            f"the model has learned nothing about {candidates(unknown)}: add a film it knows"
        )
    for note in notes:
        _note(note)
    if unknown:
        _note(f"left out, since the model has learned nothing about it: {candidates(unknown)}")
    liked = [film for film in named.values() if film.id in known]
    if len(liked) > model.actor.state.n:
        _note(f"the model goes by the last {model.actor.state.n} of these {len(liked)} films")
    return liked


def suggest(
    model: Recommender, films: dict[Id, Film], liked: Sequence[Film], k: int, folder: Path
) -> list[tuple[Film, float]]:
    """The k best films with their scores, best first: none of `liked`, no film twice."""
    from recsys_rl.release_files import BadRelease

    ids = [film.id for film in liked]
    left = len(model.item_ids) - len(ids)
    try:  # all of them, since a duplicate may have to make room
        ranked = {films[item]: score for item, score in model.recommend(ids, left)} if left else {}
    except BadRelease as error:
        raise _damaged(f"{folder} cannot answer: {_line(error)}") from error
    taken = {film.label for film in liked}
    fresh = [film for film in _without_duplicates(ranked) if film.label not in taken]
    if k > len(fresh):
        raise CommandError(
            f"--k {k} is too large: give at most {len(fresh)}, as many films as are left to suggest"
        )
    return [(film, ranked[film]) for film in fresh[:k]]


def _note(sentence: str) -> None:
    say(f"note: {sentence}")


# ------------------------------------------------------------------------- the answer


def as_text(
    liked: Sequence[Film], suggested: Sequence[Film], model: str, dataset: str, seed: int | None
) -> str:
    """Two short tables and a line about who answered."""
    column = min(TITLE_WIDTH, max(len(film.label) for film in (*liked, *suggested)))
    again = "" if seed is None else f" The same films again: --seed {seed}"
    return "\n".join(
        [
            "Because you liked",
            *_rows(liked, column),
            "",
            "You might like",
            *_rows(suggested, column),
            "",
            f"Suggested by the agent in {model}, data set {dataset}.{again}",
        ]
    )


def _rows(films: Sequence[Film], column: int) -> list[str]:
    digits = len(str(len(films)))
    indent = " " * (digits + 4)
    rows = []
    for rank, film in enumerate(films, start=1):
        start = f"  {rank:>{digits}}. "
        text = f"{film.label:<{column}}  {', '.join(film.genres)}".rstrip()
        rows.append(textwrap.fill(text, WIDTH, initial_indent=start, subsequent_indent=indent))
    return rows


def answer(arguments: argparse.Namespace) -> str:
    """What goes to stdout. Raises CommandError for whatever stands in the way."""
    if arguments.model:
        folder = arguments.model
        dataset, data = open_data(arguments.dataset or _trained_on(folder), arguments.root)
        name = str(folder)
    else:
        if not _own(arguments.dataset, arguments.root):
            _check_released(arguments.dataset, arguments.models)
        dataset, data = open_data(arguments.dataset, arguments.root)
        _check_released(dataset, arguments.models)
        folder = arguments.models / dataset
        name = f"{arguments.models.resolve().name}/{dataset}"
    films, model = open_films(data), load_model(folder)
    films = all_films(model, films, dataset)
    seed = arguments.seed
    if arguments.movies:
        if seed is not None:
            _note("--seed only draws random films, and has no effect beside --movies")
        seed, liked = None, named_films(arguments.movies, model, films)
    else:
        seed = random.SystemRandom().randrange(1_000_000) if seed is None else seed
        liked = draw_films(model, films, seed, folder)
    suggestions = suggest(model, films, liked, arguments.k, folder)
    if not arguments.json:
        return as_text(liked, [film for film, _ in suggestions], name, dataset, seed)
    return json.dumps(  # plain ASCII, so that it is the same in every terminal's encoding
        {
            "dataset": dataset,
            "model": name,
            "seed": seed,
            "seeds": [film.as_json() for film in liked],
            "suggestions": [film.as_json() | {"score": score} for film, score in suggestions],
        }
    )


def _answer_or_help(argv: Sequence[str] | None) -> None:
    try:
        print(answer(_parser().parse_args(argv)))
    except ImportError as error:
        raise CommandError(
            f"{_line(error)}: install what is needed with pip install -r requirements.txt"
        ) from error
    finally:  # here, and not when Python ends, where nothing can be caught any more
        print(end="", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code. PyTorch is imported on the way, not at the top of this file, so that
    --help and a misspelt flag answer at once, and Ctrl-C is as quiet then as later."""
    try:
        _answer_or_help(argv)
        return 0
    except CommandError as error:
        say(f"recommendation.py: {error}")
        return 2
    except KeyboardInterrupt:
        return 130
    except OSError as error:  # from writing the answer: all others are CommandErrors by now
        # what is still in the buffer would fail once more when Python ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 141
        say(f"recommendation.py: the answer cannot be written: {error}")
        return 2


if __name__ == "__main__":
    if sys.stdout is not None:  # it is None where the caller has closed it
        sys.stdout.reconfigure(errors="replace")  # an accent must not end a session in ASCII
    sys.exit(main())
