"""What can be asked on the command line, and a hint about what cannot."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from recsys_rl.command.errors import CommandError
from recsys_rl.command.filters import years_of
from recsys_rl.data.arguments import LONGEST, Parser, number_of, whole_number
from recsys_rl.data.notes import shortened

HERE = Path(__file__).resolve().parents[2]
DRAWN = 3  # films drawn when none is named
POOL = 300  # they are drawn among so many of the most liked films

# options that people try, and what there is for them
_MEANT = {
    "--list": "--search TEXT lists films",
    "--find": "--search TEXT lists films",
    "--title": "--search TEXT lists films",
    "--titles": "--search TEXT lists films",
    "--film": "films are named as they are, or after --movies",
    "--films": "films are named as they are, or after --movies",
    "--movie": "films are named as they are, or after --movies",
    "-m": "films are named as they are, or after --movies",
    "--top": "--k says how many films to suggest",
    "--n": "--k says how many films to suggest",
    "-n": "--k says how many films to suggest",
    "--count": "--k says how many films to suggest",
    "--number": "--k says how many films to suggest",
    "--user": "--profile FILE or --ratings FILE says who you are",
    "--history": "--profile FILE or --ratings FILE says who you are",
    "--interactive": "--session asks film by film",
    "-i": "--session asks film by film",
    "--why": "each suggestion says how many liked it, and which film of yours speaks for it",
    "--explain": "each suggestion says how many liked it, and which film of yours speaks for it",
    "-v": "--version says which version this is",
    "--random": "--adventure 0..1 goes from safe to less known films",
    "--exclude": "--seen FILM leaves a film out, --not-genre GENRE a genre",
    "--without": "--seen FILM leaves a film out, --not-genre GENRE a genre",
    "--decade": "--year 1990-1999 asks for some years",
    "--since": "--year 1990- asks for films since a year",
    "--data": "--dataset NAME names the data set, --root its folder",
}


class _Parser(Parser):
    def error(self, message: str) -> NoReturn:
        kind, _, rest = message.partition(": ")
        if kind == "unrecognized arguments":
            first = rest.split(" ")[0]
            message = f"{message}{self._hint(first)}"
        raise CommandError(f"{shortened(message, LONGEST)} (--help shows what can be asked)")

    def _hint(self, option: str) -> str:
        option = option.partition("=")[0]
        if option in _MEANT:
            return f": {_MEANT[option]}"
        near = difflib.get_close_matches(option, self._option_string_actions, n=1, cutoff=0.5)
        return f"; did you mean {near[0]}?" if near and option.startswith("-") else ""


def _years(text: str) -> tuple[int, int]:
    try:
        return years_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _names(text: str) -> list[str]:
    """ "crime,drama" is two."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError(f"must name a genre, not {text!r}")
    return names


def _folder(text: str) -> Path:
    if not os.path.isdir(text):  # Path.is_dir raises for a name that is too long
        raise argparse.ArgumentTypeError(f"there is no folder {text!r}")
    return Path(text)


def _file(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("must be a file, not an empty text")
    return Path(text)


def version() -> str:
    """Of the project, as its `pyproject.toml` says."""
    text = (HERE / "pyproject.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)["project"]["version"]


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        print(f"recsys_rl {version()}")
        parser.exit()


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Raises CommandError for what cannot be asked, SystemExit where only help was."""
    given = sys.argv[1:] if argv is None else list(argv)
    end = given.index("--") if "--" in given else len(given)
    arguments = _parser().parse_intermixed_args(given[:end])
    # argparse forgets that what stands behind two dashes is no option
    arguments.films = [*arguments.films, *given[end + 1 :], *arguments.movies]
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="recommendation.py",
        description="Suggests films to somebody who liked certain films. Without any it draws "
        f"{DRAWN} random films that many people know: among the {POOL} films with the most ratings "
        "of 4 or more in the data the agent learned from.",
        epilog="Examples: recommendation.py matrix 'toy story'; recommendation.py --seed 7; "
        "recommendation.py heat --dislike 'top gun' --genre crime --k 5; recommendation.py "
        "--session --profile me.json. More: docs/command.md",
        allow_abbrev=False,
    )
    _add_films(parser.add_argument_group("films"))
    _add_wishes(parser.add_argument_group("what to suggest"))
    _add_session(parser.add_argument_group("sessions and other answers"))
    _add_places(parser.add_argument_group("data and model"))
    return parser


def _add_films(group: argparse._ArgumentGroup) -> None:
    add, several = group.add_argument, {"nargs": "+", "action": "extend", "default": []}
    add(
        "films",
        nargs="*",
        metavar="FILM",
        help="films that were liked, the latest last: titles as you would type them, or ids "
        "(id:300 where a film is called 300)",
    )
    add("--movies", "--like", **several, metavar="FILM", help="the same")
    add("--dislike", **several, metavar="FILM", help="films that were not liked")
    add("--seen", **several, metavar="FILM", help="films not to suggest, for whatever reason")
    add("--ratings", type=_file, metavar="FILE", help="your ratings: MovieLens, Letterboxd or IMDb")
    add("--profile", type=_file, metavar="FILE", help="answers that a session has kept")
    add("--seed", type=whole_number(0), help="draws the same random films each time")
    add("--search", nargs="+", metavar="TEXT", help="list the films that a text may mean")


def _add_wishes(group: argparse._ArgumentGroup) -> None:
    add, named = group.add_argument, {"type": _names, "action": "extend", "default": []}
    add("--k", "-k", type=whole_number(1), default=3, help="how many films (default: %(default)s)")
    add("--genre", **named, metavar="GENRE", help="only films of this genre, or of one of several")
    add("--not-genre", **named, metavar="GENRE", help="no films of this genre")
    add("--year", type=_years, metavar="YEARS", help="only films of 1994, 1990-2000 or 1990-")
    add(
        "--adventure",
        type=number_of("a number from 0 to 1", 1),
        metavar="0..1",
        help="from the safest films to those that fit you more than they fit everybody",
    )
    add("--series", action="store_true", help="several films of one series may be among three")


def _add_session(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--session", action="store_true", help="shows film by film and learns from your answers")
    add("--json", action="store_true", help="answer with one JSON object")
    add("--version", action=_Version, nargs=0, help="say which version this is")


def _add_places(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--dataset",
        metavar="NAME",
        help="MovieLens set (default: ml-1m; ml-100k where ml-1m is not to be had), or a folder or "
        "file of your own that a model is released for",
    )
    add("--root", type=_folder, default=HERE / "data", help="folder of the data sets")
    add("--models", type=_folder, default=HERE / "models", help="folder of the released models")
    add("--model", type=_folder, metavar="DIR", help="folder of one model, as training releases it")
