"""Files that somebody names are read only where they are regular ones.

A pipe may make its reader wait for ever, and a device may have no end.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


class NotRegular(OSError):
    """One sentence: a pipe, a device or a folder stands where a file is expected."""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A regular file to read from. Raises OSError, of which NotRegular is one."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    number = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise NotRegular(
            f"{path} is no regular file but a pipe, a device or a folder: save what it holds as a "
            "file and name that"
        )
    with os.fdopen(number, "rb") as file:
        yield file


def content_of(path: Path, most: int) -> bytes:
    """The whole of a regular file. Raises ValueError where it has more than so many bytes."""
    with opened(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return content
