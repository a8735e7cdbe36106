"""Zips to folders that are whole: nothing outside them, nothing too large, nothing changed later.

A folder is made in a scratch folder beside its final place and then renamed, so that it is there
whole or not at all whenever the program is killed. It carries a record of its files, by which a
file that was changed later is noticed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from recsys_rl.data.atomic_files import FolderInUse, locked, sync_folder, write_atomically
from recsys_rl.data.regular_files import content_of

RECORD = ".checksums.json"  # in a folder that was unpacked here
LARGEST_RECORD = 2**20  # bytes

PART, UNPACKED, MADE = "part.zip", "unpacked", "made"  # what is in a scratch folder, beside wheels


_MOST_MEMBERS = 1000  # files and folders in one zip; no MovieLens zip has 30


# File systems keep times in steps of up to two seconds (FAT), so a file that was written that
# shortly before it was recorded may have been written again since, with the same times.
_COARSEST_CLOCK = 2_000_000_000  # ns


# ------------------------------------------------------------------------- scratch folders


@contextlib.contextmanager
def scratch_folder(root: Path, name: str) -> Iterator[Path]:
    """A folder in `root` that is gone afterwards. Its lock says that it is no leftover."""
    with contextlib.ExitStack() as stack:
        while True:
            folder = Path(tempfile.mkdtemp(dir=root, prefix=f".{name}-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            with contextlib.suppress(FolderInUse):  # raised, too, where files cannot be locked
                stack.enter_context(locked(folder))
            if (folder / ".lock").exists():  # else another run was quicker than the lock
                break
        yield folder


def remove_leftovers(root: Path, names: Iterable[str]) -> None:
    """Remove the scratch folders of killed runs. Live runs hold a lock; other folders are kept."""
    for name in names:
        for folder in root.glob(f".{name}-*"):
            with contextlib.suppress(FolderInUse, OSError):
                if not _is_scratch(folder):
                    continue
                with locked(folder):
                    shutil.rmtree(folder, ignore_errors=True)
                shutil.rmtree(folder, ignore_errors=True)  # Windows keeps a file that is open


def _is_scratch(folder: Path) -> bool:
    ours = {PART, UNPACKED, MADE, ".lock"}
    if folder.is_symlink() or not folder.is_dir():
        return False
    return all(path.name in ours or path.suffix == ".whl" for path in folder.iterdir())


# ------------------------------------------------------------------------------- unpacking


def verify(archive: Path, sha256: str | None) -> None:
    """Raises ValueError on another checksum than the published one. Where none is published the
    zip's own ones must do, which are compared while it is unpacked."""
    if sha256 is not None and (found := _digest(archive)) != sha256:
        raise ValueError(f"SHA-256 is {found}, published is {sha256}")


def holds(folder: Path, files: Sequence[str]) -> bool:
    paths = [folder / name for name in files]
    return all(path.is_file() and path.stat().st_size > 0 for path in paths)


def unpack(archive: Path, scratch: Path, folder: Path, files: Sequence[str], most: int) -> None:
    """Unpacks into `scratch`, then renames the folder with `files`, whatever its name, to `folder`.

    most: bytes that all members may have together. An interrupt at any moment leaves no `folder`.
    Raises ValueError on a zip that is unsafe or holds no data, OSError where it cannot be
    unpacked, and what `zipfile` raises.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            _refuse_unsafe(zipped.infolist(), most)
            zipped.extractall(scratch)  # writes no more than the declared size of a member
    except OSError as error:  # a full disk, or a zip that points to places outside of itself
        raise OSError(f"the zip cannot be unpacked: {error}") from error
    found = [path.parent for path in scratch.rglob(files[0]) if holds(path.parent, files)]
    if len(found) != 1:
        both = " and ".join(files)
        raise ValueError(f"the zip holds {both} in {len(found)} folders, where one is expected")
    install(found[0], folder, files)


def _refuse_unsafe(members: Sequence[zipfile.ZipInfo], most: int) -> None:
    if len(members) > _MOST_MEMBERS:
        raise ValueError(f"the zip has {len(members):,} members, more than any MovieLens set")
    size = sum(member.file_size for member in members)
    if size > most:
        raise ValueError(f"the zip would unpack to {size:,} bytes, more than the limit of {most:,}")
    seen = set()
    for member in members:
        path = PurePosixPath(member.filename)
        outside = path.is_absolute() or ".." in path.parts or not path.parts
        outside = outside or "\\" in member.filename or ":" in path.parts[0]  # as Windows reads it
        if outside or stat.S_ISLNK(member.external_attr >> 16):
            raise ValueError(f"the zip wants to write outside its folder: {member.filename!r}")
        if (key := str(path).casefold()) in seen:  # some file systems know no capitals
            raise ValueError(f"the zip holds {member.filename!r} twice")
        seen.add(key)


def install(made: Path, folder: Path, files: Sequence[str]) -> None:
    """Records the files of `made` and renames it to `folder`, all of it on the disk."""
    paths = [path for path in sorted(made.rglob("*")) if path.is_file()]
    entries = {path.relative_to(made).as_posix(): _entry(path) for path in paths}
    (made / RECORD).write_bytes(_as_record(entries))
    for path in [*paths, made / RECORD]:
        with path.open("r+b") as file:  # Windows flushes no file that is open to be read
            os.fsync(file.fileno())
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    try:
        os.rename(made, folder)
    except OSError:
        if not holds(folder, files):  # else another process was quicker: use that
            raise
    with contextlib.suppress(OSError):  # some network disks cannot
        sync_folder(folder)
        sync_folder(folder.parent)


# --------------------------------------------------------------------------------- records


def check_unpacked(folder: Path, names: Sequence[str] | None = None) -> None:
    """Raises ValueError if a file (None: any file) is not what was unpacked into `folder` here.

    Sizes and times are compared, and the content only where they say nothing. A folder without a
    record is the user's own and is used as it is.
    """
    record = folder / RECORD
    try:
        known = json.loads(content_of(record, LARGEST_RECORD))
        entries = {name: known[name] for name in names or known.keys()}
        sure = {name for name, entry in entries.items() if _is_as_recorded(folder / name, entry)}
        digests = {name: entry["sha256"] for name, entry in entries.items()}
    except (FileNotFoundError, NotADirectoryError):
        return
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{record} is damaged: {_way_out(folder)}") from None
    renewed = {}
    for name in entries.keys() - sure:
        path = folder / name
        if not path.is_file():  # whoever reads it finds that out
            continue
        renewed[name] = _entry(path)
        if renewed[name]["sha256"] != digests[name]:
            raise ValueError(f"{path} was changed after it was unpacked: {_way_out(folder)}")
    if renewed:
        with contextlib.suppress(OSError):  # a folder that is only to be read
            write_atomically(record, _as_record(known | renewed))


def _way_out(folder: Path) -> str:
    return (
        f"move {folder} away to have it unpacked anew, or delete {RECORD} in it to use it as it is"
    )


def _as_record(entries: dict[str, dict]) -> bytes:
    return json.dumps(entries, indent=1).encode()


def _entry(path: Path) -> dict:
    size, times = _size_and_times(path)  # before the content, so that no change falls between
    checked = time.time_ns()
    return {"size": size, "times": times, "checked": checked, "sha256": _digest(path)}


def _is_as_recorded(path: Path, entry: dict) -> bool:
    """Whether size and times say that the content is what it was. False if they may not tell."""
    size, times, checked = entry["size"], list(entry["times"]), entry["checked"]
    old = max(times) + _COARSEST_CLOCK < checked
    return old and path.is_file() and (size, times) == _size_and_times(path)


def _size_and_times(path: Path) -> tuple[int, list[int]]:
    """Bytes, and when content and the file's entry were changed; the latter cannot be set."""
    found = path.stat()
    return found.st_size, [found.st_mtime_ns, found.st_ctime_ns]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
