"""Files that survive: written whole or not at all, and locked against a second writer.

All that depends on the platform is here and is left out where it does not exist (Windows has
neither SIGHUP nor an fsync of folders, and another kind of lock).
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

STOP_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class FolderInUse(RuntimeError):
    """Another process holds the lock of a folder."""


def write_atomically(path: Path, *content: bytes | memoryview) -> None:
    """Write through a temporary file and wait for the disk; an OSError leaves the old file whole.

    The file gets the permissions that the user's umask gives to new files.
    """
    name = path.parent / f".{path.name}-{secrets.token_hex(8)}.tmp"
    try:
        with open(name, "xb") as file:  # never through a file or a link that is there
            for part in content:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Wait until renames in a folder are on the disk, where the platform can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # some file systems cannot; the files are written
            os.fsync(number)
    finally:
        os.close(number)


@contextlib.contextmanager
def locked(folder: Path, wait: float = 0.0) -> Iterator[None]:
    """Hold a folder for this process; FolderInUse if another one does, after `wait` seconds.

    A killed process lets go. The file `.lock` is there as long as the folder is held.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, end = folder / ".lock", time.monotonic() + wait
    while (file := _lock(path)) is None:
        if time.monotonic() >= end:
            raise FolderInUse(
                f"another training is writing to {folder}: wait for it, or name another folder"
            )
        time.sleep(0.02)
    with file:
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # Windows keeps what is open
                if _is_at(file, path):
                    path.unlink()


def _lock(path: Path) -> BinaryIO | None:
    """The file, locked; None while somebody else has it."""
    file = open(path, "a+b")  # noqa: SIM115
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        if _is_at(file, path):
            return file
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES, errno.ENOENT):
            file.close()
            raise
    file.close()
    return None


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Whether a path still leads to an open file: whoever lets go of a lock removes it."""
    return os.path.samestat(os.fstat(file.fileno()), os.stat(path))


def writable(*folders: str | Path) -> None:
    """Make the folders, and write into each; OSError, before a training, where that fails."""
    for folder in map(Path, folders):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"?")
        except OSError as error:
            reason = error.strerror or error
            raise type(error)(error.errno, f"{folder} cannot be written ({reason})") from None
