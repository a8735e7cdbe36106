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
import stat
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


class InUse(RuntimeError):
    """Another session holds the lock of a file."""


def write_atomically(
    path: Path, *content: bytes | memoryview, like: os.stat_result | None = None
) -> None:
    """Write through a temporary file and wait for the disk; an OSError leaves the old file whole.

    The file gets the permissions that the user's umask gives to new files, or those of the file
    that `like` describes.
    """
    name = path.parent / f".{path.name}-{secrets.token_hex(8)}.tmp"
    try:
        # never through a file or a link that is there
        with open(name, "xb", opener=None if like is None else _open_privately) as file:
            if like is not None:
                _make_alike(file.fileno(), like)
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


def rewrite_atomically(path: Path, *content: bytes) -> None:
    """As `write_atomically`, for a file of the user's own: behind a link it is the target that is
    written, and permissions stay as they are. A file that may not be written is a PermissionError.
    """
    target = Path(os.path.realpath(path))
    try:
        like = os.stat(target)
    except FileNotFoundError:
        like = None
    if like is not None and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    write_atomically(target, *content, like=like)


def _open_privately(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _make_alike(number: int, like: os.stat_result) -> None:
    """Owner and permissions of another file, where the platform has them; else nobody else's."""
    if hasattr(os, "fchown"):
        with contextlib.suppress(OSError):  # another user's file, or a file system without owners
            os.fchown(number, like.st_uid, like.st_gid)
        with contextlib.suppress(OSError):
            os.fchmod(number, stat.S_IMODE(like.st_mode))


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
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, and must be a file or nothing: remove it")
    while (file := _lock(path)) is None:
        if time.monotonic() >= end:
            raise FolderInUse(
                f"another training is writing to {folder}: wait for it, or name another folder"
            )
        time.sleep(0.02)
    with _held(file, path):
        yield


@contextlib.contextmanager
def locked_file(path: Path) -> Iterator[None]:
    """Hold a file, which need not exist yet, for one session; InUse if another one holds it.

    A killed process lets go. `.NAME.lock` is beside it as long as it is held, or after a kill.
    Where the file system has no locks, there is none.
    """
    target = Path(os.path.realpath(path))  # two names of one file are one
    lock = target.with_name(f".{target.name}.lock")
    try:
        file = _lock(lock)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        with contextlib.suppress(OSError):
            lock.unlink()
        yield
        return
    if file is None:
        raise InUse(f"another session is writing to {path}: end it first, or name another file")
    with _held(file, lock):
        yield


@contextlib.contextmanager
def _held(file: BinaryIO, path: Path) -> Iterator[None]:
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
