"""Inputs that are nearly right, and some that are not at all: Hypothesis strategies for `fuzz`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from recsys_rl.data.rating_files import COLUMNS

CELLS = ["", " ", "nan", "inf", "-inf", "NULL", "-1", "0", "007", "+5", "1e5", "1e400", "0x10"]
CELLS += ["3.5", "0.4999", "5.0001", "4,5", "1_000", "true", "'", '"', '"a', "a,b", "::", "|", "\t"]
CELLS += ["2001-02-03", "2001-02-03T04:05:06.7+01:00", "1969-12-31", "9999-12-31", "31/12/2001"]
CELLS += ["9" * 40, str(2**31), str(2**63), str(2**63 - 1), "978300760000", "978300760000000000"]
CELLS += [
    "\ufeff1",
    "é",
    "٣",
    "½",
    "𝟙",
    "\0",
    "\x1b[31m",
    "\u2028",
    "\x85",
    "a" * 3000,
    "-0",
    "1.0",
]
WORDS = ["Twice Told", "Film 12 (1962)", "film", "1984", "2", "23", "0", "-5", "the", "", "(", "*"]
WORDS += ["\\", "--", "-", "%s", "{0}", "'", "é" * 300, "\ud800", "x" * 5000, "12,23", "a.csv"]
PATHS = ["data", "models", "model", "nowhere", ".", "..", "", "/dev/null", "/dev/null/x", "a\0b"]
PATHS += ["n" * 300, "data/films", "~", "file", "*"]
SETS = ["films", "ml-1m", "ml-100k", "own", "own.csv", "ml-2m", "data/films", *PATHS]

text = st.sampled_from(CELLS) | st.text(max_size=8)
numbers = st.integers() | st.floats() | st.sampled_from([2**31, 2**63, 10**30, 10**400, 1e38])
json_values = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=8,
)


# ---------------------------------------------------------------------------------- data files


class DataFolder(NamedTuple):
    files: dict[str, bytes]  # name -> content
    dataset: str  # what is opened: "." for the folder, or a table in it
    options: dict[str, Any]  # of `open_data`
    good: bool  # whether nothing is odd


LAYOUTS = {  # names of ratings and films, separator, header
    "ml-1m": ("ratings.dat", "movies.dat", "::", ""),
    "ml-100k": ("u.data", "u.item", "\t", ""),
    "csv": ("ratings.csv", "movies.csv", ",", "userId,movieId,rating,timestamp"),
    "table": ("table.csv", "", ",", "user,item,rating,timestamp"),
}
FLAGS = "|".join("0" * 19)
FILMS = {
    "movies.dat": ["1::Heat (1995)::Action", "2::Red::Drama", "3::Odd: One (1960)::Drama|War"],
    "u.item": [f"{i}|Film {i} (1990)|1-Jan-90||none|{FLAGS}" for i in (1, 2, 3)],
    "movies.csv": ["movieId,title,genres", "1,Heat (1995),Action", '2,"Red, The (1990)",Drama'],
}


@st.composite
def data_folders(draw: st.DrawFn) -> DataFolder:
    """A small data set of some layout in which one or another thing is odd."""
    ratings, films, separator, header = LAYOUTS[draw(st.sampled_from(list(LAYOUTS)))]
    odd = draw(st.sampled_from([0, 0, 1, 1, 2, 3]))  # cells; with 3 of them, stray bytes
    rows = [
        [str(user), str(item), str(3 + (user + item) % 3), str(978_300_000 + 60 * user + item)]
        for user in (1, 2, 3)
        for item in (1, 2, 3)
    ]
    for _ in range(odd):
        row = draw(st.sampled_from(rows))
        row[draw(st.integers(0, len(row) - 1))] = draw(text)
        if draw(st.integers(0, 5)) == 0:
            row.append(draw(text))
    if odd and draw(st.booleans()):
        separator = draw(st.sampled_from([separator, separator, ",", ";", "\t", "|", "::", " "]))
    lines = [separator.join(row) for row in rows]
    if header:
        names = header.split(",")
        names = draw(st.permutations(names)) if odd == 1 else names
        names[0] = draw(st.sampled_from([names[0]] * 4 + CELLS)) if odd == 2 else names[0]
        lines.insert(0, separator.join(names))
    files = {ratings: draw(encoded(lines, odd))}
    if films and draw(st.booleans()):
        listed = list(FILMS[films])
        if odd:
            place = draw(st.integers(0, len(listed) - 1))
            listed[place] = draw(st.sampled_from([listed[0], listed[place] + draw(text)]) | text)
        files[films] = draw(encoded(listed, odd))
    options = draw(options_of_data()) if odd < 2 else {}
    good = not odd and not options and all(b"\0" not in content for content in files.values())
    return DataFolder(files, "table" if ratings == "table.csv" else ".", options, good)


@st.composite
def encoded(draw: st.DrawFn, lines: Sequence[str], odd: int) -> bytes:
    """Lines as a file: its line ends, encoding and mark, and bytes that went astray."""
    end = draw(st.sampled_from(["\n", "\r\n", "\n\n", "\r"]))
    whole = end.join(lines) + draw(st.sampled_from([end, "", end * 3]))
    coding = draw(st.sampled_from(["utf-8"] * 4 + ["utf-8-sig"] * 2 + ["latin-1", "utf-16"]))
    content = whole.encode(coding, errors="replace")
    if odd == 3:
        at = draw(st.integers(0, len(content)))
        content = content[:at] + draw(st.binary(max_size=4)) + content[at:]
        content = content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content
    return content


@st.composite
def options_of_data(draw: st.DrawFn) -> dict[str, Any]:
    wanted = {
        "positive": st.floats() | st.sampled_from([None, 3, 4, 4.5, 5, 0, -1]),
        "duplicates": st.sampled_from(["refuse", "latest", "latest", "first"]),
        "order": st.sampled_from(["time", "file", "file", ""]),
        "min_ratings": st.sampled_from([1, 2, 3, 3, 4, 0, -1, 10**20]),
        "columns": st.dictionaries(st.sampled_from([*COLUMNS, "film"]), text, max_size=2),
    }
    names = draw(st.lists(st.sampled_from(list(wanted)), unique=True, max_size=2))
    return {name: draw(wanted[name]) for name in names}


# -------------------------------------------------------------------------------------- releases


class Tampering(NamedTuple):
    config: list[tuple[tuple, Any]]  # path in config.json -> another value; DROP removes it
    header: list[tuple[tuple, Any]]  # the same in the header of the weights
    numbers: list[tuple[int, float]]  # place of a weight -> another number
    raw: list[tuple[str, int, bytes]]  # file, place, bytes written there
    cut: tuple[str, int] | None  # file, bytes that are left
    hashed: bool  # whether config.json has the hash of the weights as they are then


DROP = "(removed)"
RELEASE = ["config.json", "weights.safetensors"]


def places_in(value: Any, path: tuple = ()) -> list[tuple]:
    """The path of every value in a JSON object; of a list only the first two and the last."""
    found = [path] if path else []
    if isinstance(value, dict):
        inside = list(value.items())
    else:
        inside = list(enumerate(value)) if isinstance(value, list) else []
        inside = inside[:2] + inside[2:][-1:]
    return found + [place for key, part in inside for place in places_in(part, (*path, key))]


def tamperings(config: dict[str, Any], header: dict[str, Any], size: int) -> SearchStrategy:
    """config, header: as JSON. size: bytes of the weights file."""
    other = json_values | st.just(DROP)

    def changes(value: dict[str, Any]) -> SearchStrategy:
        return st.lists(st.tuples(st.sampled_from(places_in(value)), other), max_size=2)

    strange = st.sampled_from([float("nan"), float("inf"), -1e38, 1e38, 0.0, -0.0, 1e-45])
    raw = st.tuples(st.sampled_from(RELEASE), st.integers(0, size), st.binary(max_size=9))
    ways = {
        "config": changes(config),
        "header": changes(header),
        "numbers": st.lists(st.tuples(st.integers(0, size // 4), strange), max_size=3),
        "raw": st.lists(raw, min_size=1, max_size=2),
        "cut": st.tuples(st.sampled_from(RELEASE), st.integers(0, size)),
    }
    untouched = {name: [] for name in ways} | {"cut": None}
    hashed = st.sampled_from([True, True, True, False])
    return st.sets(st.sampled_from(list(ways)), min_size=1, max_size=2).flatmap(
        lambda chosen: st.builds(
            Tampering,
            hashed=hashed,
            **{name: ways[name] if name in chosen else st.just(untouched[name]) for name in ways},
        )
    )


def changed(value: Any, changes: Sequence[tuple[tuple, Any]]) -> Any:
    """A JSON value with other parts; a path that is gone by now changes nothing."""
    value = json.loads(json.dumps(value))
    for path, other in changes:
        part = value
        try:
            for key in path[:-1]:
                part = part[key]
            if other == DROP:
                del part[path[-1]]
            else:
                part[path[-1]] = other
        except (KeyError, IndexError, TypeError):
            continue
    return value


# --------------------------------------------------------------------------------- command lines


def _harmless(words: str) -> str:
    """No path that leads out of the folder of the tests."""
    return words.replace("/", "_").replace("..", "_")


words = st.sampled_from(WORDS) | st.text(max_size=8).map(_harmless)
numerals = st.integers(-3, 12).map(str) | st.sampled_from(["1e3", "9" * 30, "1.5", "nan", "٣"])
FOLDERS = {"root", "models", "model", "out", "checkpoints"}
RIGHT = {  # paths, and what must be one of few things
    "root": ["data"],
    "models": ["models"],
    "model": ["models/films"],
    "out": ["out"],
    "checkpoints": ["checkpoints"],
    "dataset": ["films"],
    "ratings": ["data/films/ratings.csv"],
    "profile": ["new", "other"],
    "genre": ["action", "drama,comedy"],
    "not_genre": ["drama"],
    "year": ["1955-", "1950-1990"],
    "adventure": ["0.5", "0"],
    "columns": ["user=userId", "item=movieId"],
    "set": ["ddpg.gamma=0", "state.k=4"],
}


@st.composite
def command_lines(
    draw: st.DrawFn, parser: argparse.ArgumentParser, good: Sequence[str]
) -> list[str]:
    """Options that the parser has, in any number and order, most of them with good values, behind
    arguments that are right."""
    odd = draw(st.sampled_from([0, 0, 1, 1, 2, 4]))  # options that may be wrong
    argv = list(good) if odd < 4 else []
    for place in range(odd + draw(st.integers(0, 3))):
        action = draw(st.sampled_from(parser._actions[1:]))  # --help ends all others
        argv += draw(strange_option(action) if place < odd else right_option(action))
    if odd == 4:
        argv.insert(draw(st.integers(0, len(argv))), draw(words))
    return argv + draw(st.sampled_from([[]] * 20 + [["--help"], ["-h"]]))


def right_option(action: argparse.Action) -> SearchStrategy[list[str]]:
    """An option with a value of the kind that it takes."""
    names = st.sampled_from(action.option_strings or [""]).map(lambda name: [name] if name else [])
    value = st.sampled_from(["3", "4", "Film 12", "Film 20 (1970)"])
    if action.nargs == 0:
        return names
    if action.dest in RIGHT:
        value = st.sampled_from(RIGHT[action.dest])
    elif action.metavar in ("DIR", "FILE"):
        value = st.sampled_from(["file", "data", "new"])
    elif action.choices:
        value = st.sampled_from([str(choice) for choice in action.choices])
    elif action.type is not None:
        value = st.integers(1, 5).map(str)
    most = 3 if action.nargs in ("+", "*") else 1
    values = st.lists(value, min_size=1, max_size=most, unique=True)
    return st.tuples(names, values).map(lambda parts: [*parts[0], *parts[1]])


def strange_option(action: argparse.Action) -> SearchStrategy[list[str]]:
    """An option with values of any number and kind, or joined to one."""
    path = action.dest in FOLDERS or action.metavar in ("DIR", "FILE")
    value = st.sampled_from(PATHS) if path else words | numerals
    if action.dest == "dataset":
        value = st.sampled_from(SETS)
    elif action.choices:
        value = value | st.sampled_from([str(choice) for choice in action.choices])
    names = st.sampled_from(action.option_strings or ["-x"])
    apart = st.tuples(names, st.lists(value, max_size=3)).map(lambda parts: [parts[0], *parts[1]])
    joined = st.tuples(names, value).map("=".join)
    return apart | apart | joined.map(lambda text: [text])


# --------------------------------------------------------------------------------- environments


def actions(k: int) -> SearchStrategy[Any]:
    """What might be given to `step` where the action is k numbers in -1 .. 1."""
    good = st.lists(st.floats(-1, 1, width=32), min_size=k, max_size=k)
    odd = st.lists(st.floats(width=32), min_size=k, max_size=k)
    kinds = [np.float32, np.float64, np.float16, np.int8, np.uint64, bool, complex, object, str]
    arrays = st.builds(_array, good | odd, st.sampled_from([np.float32] * 5 + kinds))
    shapes = st.sampled_from([(), (0,), (1,), (k, 1), (1, k), (k + 1,), (2, k)])
    wrong = shapes.map(lambda shape: np.zeros(shape, np.float32))
    rest = json_values | wrong | good.map(torch.tensor) | good.map(tuple)
    return arrays | arrays | arrays | rest


def _array(values: list[float], kind: type) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.array(values).astype(kind)


def resets() -> SearchStrategy[dict[str, Any]]:
    """What might be given to `reset`."""
    user = st.integers(-1, 4) | st.sampled_from([2**63, "1", 1.0, True, None, np.int64(2)])
    options = st.none() | st.fixed_dictionaries({"user": user}) | json_values
    seed = st.none() | st.integers(-1, 2**70) | json_values
    return st.fixed_dictionaries({}, optional={"seed": seed, "options": options})


def episodes(k: int) -> SearchStrategy[list[tuple[str, Any]]]:
    """Calls of an environment: name of the method, what it is given."""
    step = st.tuples(st.just("step"), actions(k))
    good = st.tuples(st.just("reset"), st.just({"seed": 0}))
    calls = st.lists(step | step | good | st.tuples(st.just("reset"), resets()), max_size=6)
    return calls | st.tuples(good, calls).map(lambda parts: [parts[0], *parts[1]])
