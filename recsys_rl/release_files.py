"""The folder of a release: a reader sees the old or the new one, whole, and nothing is trusted.

`config.json` alone decides which release is seen. Every other file of a new release is written
beside the old one first, under a name that holds the hash of the new `config.json`
(`weights-3f0c....safetensors`); then `config.json` is replaced; then the files take their plain
names. A writer that is killed before the second step leaves the old release, after it the new one;
the next writer tidies up. A reader takes the file with the hash in its name where there is one, and
reads `config.json` again where the rest does not belong to it.

Of a file from elsewhere the size, the header and the shapes are checked before its numbers are
read. This file needs no PyTorch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import reprlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from recsys_rl.data.atomic_files import locked, sync_folder, write_atomically
from recsys_rl.data.regular_files import NotRegular, opened

FORMAT = 2
CONFIG, WEIGHTS, CARD, CURVE = "config.json", "weights.safetensors", "README.md", "training.csv"
OF_RELEASES = "format", "config", "item_ids", "weights_sha256"  # in every `config.json`
LARGEST_CONFIG = 2**23  # bytes; 100,000 items take 2 MB
LARGEST_HEADER = 2**20  # bytes
LARGEST_WEIGHTS = 2**29  # bytes; an agent of ML-32M takes less than a fifth of it
DEEPEST = 8  # objects and lists in one another
MOST_PARTS = 100_000  # objects and lists; a release has some fifty
MOST_VALUES = 1_500_000  # numbers and texts, of which an item has two
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)  # in JSON; an id may hold brackets
WAIT = 60.0  # seconds for another writer to end
ATTEMPTS = 100  # to read while others write
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1}
BYTES["BOOL"] = 1

Shapes = Mapping[str, tuple[str, list[int]]]  # name of a tensor -> type, shape
Expected = Callable[[dict[str, Any], Shapes], Shapes]

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 100


class BadRelease(ValueError):
    """One sentence: the files of a release are missing, damaged or do not belong together."""


class UnknownRelease(ValueError):
    """One sentence: a release needs what this code does not have. It is not damaged."""


def short(value: Any) -> str:
    """A value of unknown origin, in a sentence: without control characters, on one line."""
    return " ".join(_SHORT.repr(value).splitlines())


# ----------------------------------------------------------------------------------------- writing


def write_release(folder: Path, config: str, files: Mapping[str, bytes]) -> None:
    """Replace the release in a folder; empty content removes a file.

    Writers wait for each other, FolderInUse after a minute. OSError where the disk refuses: the old
    release stays.
    """
    content = as_bytes(config)
    refuse_large(len(content))
    mark = _mark(content)
    with locked(folder, wait=WAIT):
        _settle(folder)
        try:
            for name, part in files.items():
                write_atomically(folder / _marked(name, mark), part)
            write_atomically(folder / CONFIG, content)
        finally:
            _settle(folder)


def outdated(folder: Path, weights_sha256: str) -> dict[str, bytes]:
    """Card and curve of a folder whose weights become other ones, as `write_release` removes them:
    without content."""
    try:
        there = _parsed(folder, CONFIG, _config_file(folder)[0])
    except BadRelease:
        there = None
    if isinstance(there, dict) and there.get("weights_sha256") == weights_sha256:
        return {}
    return {name: b"" for name in (CARD, CURVE) if (folder / name).exists()}


def as_bytes(text: str) -> bytes:
    """UTF-8; what came from names of files that are no text is written as JSON escapes."""
    return text.encode("utf-8", "backslashreplace")


def refuse_large(config_bytes: int) -> None:
    if config_bytes > LARGEST_CONFIG:
        raise ValueError(
            f"the ids of the items and what else config.json holds take {config_bytes:,} bytes, "
            f"and a release has room for {LARGEST_CONFIG:,}: give the items shorter ids, or leave "
            "out rare ones (min_ratings)"
        )


def refuse_heavy(weights_bytes: int) -> None:
    """ValueError for weights that no reader would take."""
    if weights_bytes > LARGEST_WEIGHTS:
        raise ValueError(
            f"the weights take {weights_bytes:,} bytes, and a release has room for "
            f"{LARGEST_WEIGHTS:,}: make state.k smaller, or leave out rare items (min_ratings)"
        )


def refuse_foreign(folder: Path) -> None:
    """ValueError where files that are no release have the names that one would take.

    A release of this project, of whatever format, is replaced, so it may be there.
    """
    there = [name for name in (CARD, CONFIG, WEIGHTS, CURVE) if (folder / name).exists()]
    if not there:
        return
    try:
        config = _parsed(folder, CONFIG, _config_file(folder)[0])
    except BadRelease:
        config = None
    if not isinstance(config, dict) or not set(OF_RELEASES) <= set(config):
        raise ValueError(
            f"{folder} has a {there[0]} and holds no release: name another folder, since a release "
            "would take its place"
        )


def _mark(config: bytes) -> str:
    return hashlib.sha256(config).hexdigest()[:12]


def _marked(name: str, mark: str) -> str:
    stem, _, suffix = name.partition(".")
    return f"{stem}-{mark}.{suffix}"


def _settle(folder: Path) -> None:
    """Files of the release that `config.json` names take their plain names; leftovers of writers
    that were stopped go."""
    try:
        mark = _mark(_config_file(folder)[0])
    except BadRelease:
        mark = ""
    moved = False
    for name in (WEIGHTS, CARD, CURVE):
        for path in folder.glob(_marked(name, "[0-9a-f]" * 12)):
            if path.name != _marked(name, mark):
                path.unlink(missing_ok=True)
            elif path.stat().st_size:
                os.replace(path, folder / name)
            else:
                (folder / name).unlink(missing_ok=True)
                path.unlink()
            moved = True
    for name in (WEIGHTS, CARD, CURVE, CONFIG):
        stem, _, suffix = name.partition(".")
        for path in folder.glob(f".{stem}*.{suffix}-*.tmp"):
            path.unlink(missing_ok=True)
    if moved:
        sync_folder(folder)


# ----------------------------------------------------------------------------------------- reading


def read_config(folder: Path) -> dict[str, Any]:
    """The content of `config.json`, an object. Raises BadRelease, UnknownRelease."""
    return _read_config(folder)[0]


def read_release(folder: Path, expected: Expected) -> tuple[dict[str, Any], bytes]:
    """The config and the content of the weights of one release. Raises BadRelease.

    expected: the config and the shapes that the header of the weights claims -> the shapes that
    they should have. It may raise errors of its own, before any weight is read.
    """
    seen = None
    for _ in range(ATTEMPTS):
        config, mark, stamp = _read_config(folder)
        try:
            return config, _read_weights(folder, config, mark, expected)
        except BadRelease:
            if stamp == seen:  # nobody has written meanwhile
                raise
            seen = stamp
    raise BadRelease(f"{folder} is written all the time: load it when its writers are done")


def _read_config(folder: Path) -> tuple[dict[str, Any], str, tuple[int, ...]]:
    """The content, its mark, and what tells this file from the next one of its name."""
    content, stamp = _config_file(folder)
    config = _parsed(folder, CONFIG, content)
    found = config.get("format") if isinstance(config, dict) else None
    if type(found) is not int or found != FORMAT:
        newer = type(found) is int and found > FORMAT
        raise (UnknownRelease if newer else BadRelease)(
            f"{folder} has format {short(found)}, this code reads {FORMAT}"
            + (": read it with the version of this project that wrote it" if newer else "")
        )
    return config, _mark(content), stamp


def _config_file(folder: Path) -> tuple[bytes, tuple[int, ...]]:
    try:
        with _opened(folder / CONFIG, LARGEST_CONFIG) as (file, found):
            stamp = found.st_ino, found.st_mtime_ns, found.st_ctime_ns
            return file.read(LARGEST_CONFIG), stamp
    except OSError as error:
        raise _missing(folder, error) from None


def _read_weights(folder: Path, config: dict[str, Any], mark: str, expected: Expected) -> bytes:
    """The whole file, once its header has shown what it should."""
    marked = folder / _marked(WEIGHTS, mark)
    try:
        # this name first: where the file has just lost it, the plain name is its own
        path = marked if marked.exists() else folder / WEIGHTS
        with _opened(path, LARGEST_WEIGHTS) as (file, found):
            head, shapes = _read_header(folder, file)
            wanted = expected(config, shapes)
            _compare(folder, shapes, wanted)
            size = len(head) + sum(
                BYTES[kind] * math.prod(shape) for kind, shape in wanted.values()
            )
            if found.st_size != size:
                raise _damaged(folder, WEIGHTS, f"{found.st_size:,} bytes in place of {size:,}")
            content = head + file.read(size - len(head))
    except OSError as error:
        raise _missing(folder, error) from None
    if config.get("weights_sha256") != hashlib.sha256(content).hexdigest():
        raise BadRelease(f"{folder} mixes the weights of one save with the config of another")
    return content


def _read_header(folder: Path, file: BinaryIO) -> tuple[bytes, Shapes]:
    """The first bytes of a safetensors file, and what they say of its tensors.

    Format: 8 bytes, little-endian, the length of a JSON object; the object; the numbers.
    """
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > LARGEST_HEADER:
        raise _damaged(folder, WEIGHTS, "it does not begin as a safetensors file")
    text = file.read(length)
    header = _parsed(folder, WEIGHTS, text)
    if not isinstance(header, dict):
        raise _damaged(folder, WEIGHTS, "its header is no object")
    header.pop("__metadata__", None)
    shapes = {}
    for name, entry in header.items():
        entry = entry if isinstance(entry, dict) else {}
        kind, shape = entry.get("dtype"), entry.get("shape")
        if kind not in list(BYTES) or not _is_shape(shape):
            raise _damaged(folder, WEIGHTS, f"no type or no shape of {short(name)}")
        shapes[name] = kind, shape
    return start + text, shapes


def _is_shape(shape: Any) -> bool:
    whole = isinstance(shape, list) and all(type(size) is int for size in shape)
    return whole and all(0 <= size < 2**63 for size in shape)


def _compare(folder: Path, found: Shapes, wanted: Shapes) -> None:
    for name in sorted(set(wanted) | set(found)):
        if found.get(name) != wanted.get(name):
            there, right = (_in_words(shapes.get(name)) for shapes in (found, wanted))
            raise BadRelease(
                f"the weights in {folder} do not fit its config: {short(name)} is {there}, "
                f"where {right} is expected"
            )


def _in_words(shape: tuple[str, list[int]] | None) -> str:
    return "nothing" if shape is None else f"{shape[0]} {short(shape[1])}"


# ------------------------------------------------------------------------- files of unknown origin


@contextlib.contextmanager
def _opened(path: Path, most: int) -> Iterator[tuple[BinaryIO, os.stat_result]]:
    """A regular file of at most so many bytes."""
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(opened(path))
        except NotRegular:
            raise _damaged(path.parent, path.name, "it is no regular file") from None
        found = os.fstat(file.fileno())
        if found.st_size > most:
            raise _damaged(path.parent, path.name, f"more than {most:,} bytes")
        yield file, found


def _refuse_many(folder: Path, name: str, content: bytes) -> None:
    """BadRelease for JSON of more lists, objects or values than a release can have."""
    for marks, most, what in (
        (b"[{", MOST_PARTS, "lists and objects"),
        (b",", MOST_VALUES, "values"),
    ):
        if _count(marks, content) > most and _count(marks, _TEXT.sub(b"", content)) > most:
            raise _damaged(folder, name, f"it has more than {most:,} {what}")


def _count(marks: bytes, text: bytes) -> int:
    return sum(text.count(mark) for mark in marks)


def _parsed(folder: Path, name: str, content: bytes) -> Any:
    """JSON that is not nested too deeply, of not too many parts: each of them takes memory."""
    _refuse_many(folder, name, content)
    try:
        value = json.loads(content.decode("utf-8"))
    except RecursionError:
        raise _damaged(folder, name, "it is nested too deeply") from None
    except ValueError as error:  # neither JSON nor UTF-8
        digits = "a number in it has too many digits"
        reason = digits if "int_max_str_digits" in str(error) else str(error)
        raise _damaged(folder, name, reason) from None
    level = [value]
    for _ in range(DEEPEST):
        parts = [
            each.values() if isinstance(each, dict) else each
            for each in level
            if isinstance(each, (dict, list))
        ]
        level = [each for part in parts for each in part]
    if any(isinstance(each, (dict, list)) for each in level):
        raise _damaged(folder, name, "it is nested too deeply")
    return value


def _damaged(folder: Path, name: str, finding: str) -> BadRelease:
    return BadRelease(f"{folder} is damaged: {name}: {finding}")


def _missing(folder: Path, error: OSError) -> BadRelease:
    return BadRelease(f"{folder} holds no released agent: {error}")
