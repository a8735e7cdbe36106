"""Files that survive: written whole or not at all, and locked against a second writer.

All that depends on the platform is here and is left out where it does not exist (Windows has
neither SIGHUP nor an fsync of folders, and another kind of lock).
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

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
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=".tmp")
    try:
        with os.fdopen(number, "wb") as file:
            for part in content:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())
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
        os.fsync(number)
    finally:
        os.close(number)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process; FolderInUse if another one does. A killed process lets go."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "a+b") as file:
        try:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            else:
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            raise FolderInUse(
                f"another training is writing to {folder}: wait for it, or name another folder"
            ) from None
        yield


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
