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

from recsys_rl.data.tables import COLUMNS

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
    odd = draw(st.integers(0, 3))
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
    options = draw(options_of_data()) if draw(st.booleans()) else {}
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
        "positive": st.none() | st.floats() | st.sampled_from([3, 4, 4.5, 5, 0, -1]),
        "duplicates": st.sampled_from(["refuse", "latest", "first"]),
        "order": st.sampled_from(["time", "file", ""]),
        "min_ratings": st.sampled_from([1, 2, 3, 4, 0, -1, 10**20]),
        "columns": st.dictionaries(st.sampled_from([*COLUMNS, "film"]), text, max_size=2),
    }
    names = draw(st.lists(st.sampled_from(list(wanted)), unique=True, max_size=3))
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
    return st.builds(
        Tampering,
        config=changes(config),
        header=changes(header) | st.just([]),
        numbers=st.lists(st.tuples(st.integers(0, size // 4), strange), max_size=3),
        raw=st.just([]) | st.lists(raw, max_size=1),
        cut=st.none() | st.none() | st.tuples(st.sampled_from(RELEASE), st.integers(0, size)),
        hashed=st.booleans(),
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


@st.composite
def command_lines(
    draw: st.DrawFn, parser: argparse.ArgumentParser, good: Sequence[str]
) -> list[str]:
    """Options that the parser has, in any number and order, behind arguments that are right."""
    argv = list(good) if draw(st.integers(0, 4)) else []
    for _ in range(draw(st.integers(0, 4))):
        action = draw(st.sampled_from(parser._actions))
        if action.option_strings:
            argv.append(draw(st.sampled_from(action.option_strings)))
        elif draw(st.booleans()):
            continue
        if draw(st.integers(0, 5)) == 0:
            argv[-1:] = [f"{argv[-1] if argv else ''}={draw(st.sampled_from(WORDS))}"]
        argv += draw(values_of(action))
    if draw(st.integers(0, 9)) == 0:
        argv.insert(draw(st.integers(0, len(argv))), draw(st.text(max_size=5).map(_harmless)))
    return argv


def values_of(action: argparse.Action) -> SearchStrategy[list[str]]:
    """Values that an option might be given."""
    if action.nargs == 0:
        return st.just([])
    number = st.integers(-3, 12).map(str) | st.sampled_from(["1e3", "9" * 30, "1.5", "nan", "٣"])
    some = st.sampled_from(WORDS) | st.text(max_size=10).map(_harmless)
    one = {"DIR": st.sampled_from(PATHS)}.get(str(action.metavar), some)
    if action.dest in ("root", "models", "model", "out", "checkpoints"):
        one = st.sampled_from(PATHS)
    elif action.dest == "dataset":
        one = st.sampled_from(SETS)
    elif action.choices:
        one = st.sampled_from([*map(str, action.choices), *WORDS])
    elif action.type is not None:
        one = number | number | some
    many = action.nargs in ("+", "*") or draw_anyway(action)
    return st.lists(one, min_size=1, max_size=4 if many else 1) | st.lists(one, max_size=2)


def draw_anyway(action: argparse.Action) -> bool:
    return isinstance(action.nargs, int)


def _harmless(words: str) -> str:
    """No path that leads out of the folder of the tests."""
    return words.replace("/", "_").replace("..", "_")


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
    return st.lists(step | step | good | st.tuples(st.just("reset"), resets()), max_size=6)
