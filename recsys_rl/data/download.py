"""MovieLens onto this machine: verified and unpacked, or one clear error.

MovieLens is never shipped with the project (its licence forbids that for ML-100K and ML-1M), so it
is fetched where the project runs. `utils` hands these functions on; this file imports nothing of
ours. Sources: GroupLens first, then the mirror of the same zips on Hugging Face, and for ML-100K
last of all the copy inside the `recbole` wheel, which is reached wherever pip works.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import queue
import ssl
import stat
import subprocess
import sys
import tempfile
import threading
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tqdm import tqdm

DATA_FOLDER = Path(__file__).resolve().parents[2] / "data"  # where the project keeps its data
DEFAULT, FALLBACK = "ml-1m", "ml-100k"


MIRRORS = (
    "https://files.grouplens.org/datasets/movielens/{name}.zip",
    "https://huggingface.co/datasets/Recommenders/MovieLens/resolve/main/{name}.zip",
)


TIMEOUT = 10.0  # seconds a mirror has to answer, and then to send its next bytes


_TIMEOUT_AFTER_FAILURE = 3.0  # the fallback asks hosts again that have just failed


_PIP_SECONDS = 30.0


_WHEEL = "recbole==1.2.1"


_WHEEL_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"


_WHEEL_FOLDER = "recbole/dataset_example/ml-100k/ml-100k"


GENRES_100K = (
    "unknown|Action|Adventure|Animation|Children's|Comedy|Crime|Documentary|Drama|Fantasy|"
    "Film-Noir|Horror|Musical|Mystery|Romance|Sci-Fi|Thriller|War|Western"
)  # the order of u.genre, and so of the flags in u.item


# What can go wrong with one source without anything being wrong with the next one
_FAILURES = (
    OSError,  # every urllib, socket, time-out, certificate and file error
    ValueError,
    http.client.HTTPException,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    RuntimeError,  # an encrypted zip; NotImplementedError, an unknown compression, is one too
    subprocess.SubprocessError,
)


@dataclass(frozen=True)
class Source:
    files: tuple[str, str]  # ratings and movies: a folder that holds both counts as the data set
    sha256: str | None = None  # of the official zip, where one is published


_DAT, _CSV, _TAB = (
    ("ratings.dat", "movies.dat"),
    ("ratings.csv", "movies.csv"),
    ("u.data", "u.item"),
)


SOURCES = {
    "ml-100k": Source(_TAB, "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229"),
    "ml-1m": Source(_DAT, "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20"),
    "ml-latest-small": Source(
        _CSV, "696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436"
    ),
    "ml-10m": Source(_DAT),
    "ml-20m": Source(_CSV),
    "ml-25m": Source(_CSV),
    "ml-32m": Source(_CSV),
}


class DataUnavailable(RuntimeError):
    """No source had the data set. `tried`: (source, why it failed) in the order of trying."""

    def __init__(self, name: str, root: Path, tried: Sequence[tuple[str, str]]) -> None:
        self.tried = list(tried)
        files = " and ".join(SOURCES[name].files)
        lines = [f"{name} could not be had. Tried:"]
        lines += [f"  - {source}: {reason}" for source, reason in self.tried]
        lines += [
            f"By hand: get {name}.zip from https://grouplens.org/datasets/movielens/ and put it",
            f"into {root.resolve()} as it is, or unpack it there so that {files} lie in",
            f"{root.resolve() / name}; then run this again.",
        ]
        super().__init__("\n".join(lines))


def open_movielens(name: str | None = None, root: str | Path = "data") -> tuple[str, Path]:
    """The data set to work on: its name and its folder.

    A named one is found or downloaded, or DataUnavailable is raised. Without a name it is ml-1m,
    with ml-100k in its stead (and one sentence about that on stderr) where ml-1m is not to be
    had. What is in `root` already is used without asking the network, so a second run starts at
    once, with or without a connection: ml-1m before ml-100k, whichever is there.
    """
    root = Path(root)
    if name is not None:
        return name, download_movielens(name, root)
    if not _is_here(DEFAULT, root) and _is_complete(root / FALLBACK, SOURCES[FALLBACK]):
        _say(
            f"{DEFAULT} is not in {root}, so this goes on with {FALLBACK}, which is there "
            f"(name {DEFAULT} to have it downloaded)."
        )
        return FALLBACK, root / FALLBACK
    try:
        return DEFAULT, download_movielens(DEFAULT, root)
    except DataUnavailable as error:
        reasons = "; ".join(f"{_host(source)}: {reason}" for source, reason in error.tried)
    folder = download_movielens(FALLBACK, root, timeout=_TIMEOUT_AFTER_FAILURE)
    _say(
        f"{DEFAULT} cannot be had ({reasons}), so this goes on with {FALLBACK} "
        f"(put {DEFAULT}.zip into {root} to use {DEFAULT})."
    )
    return FALLBACK, folder


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)  # stdout is for results


def download_movielens(
    name: str,
    root: str | Path = "data",
    *,
    mirrors: Sequence[str] = MIRRORS,
    timeout: float = TIMEOUT,
) -> Path:
    """Returns the folder root/name with the data set `name` in its official layout.

    Tried in order: the folder itself, a zip in `root`, each of `mirrors` (URLs with `{name}`), and
    for ml-100k a wheel from the package index. `timeout`: seconds for a mirror to answer. A zip is
    checked against its published SHA-256, or by its own checksums where none is published.
    Raises ValueError for an unknown name, DataUnavailable if no source has it.
    """
    if name not in SOURCES:
        raise ValueError(f"unknown data set {name!r}; there are {', '.join(SOURCES)}")
    source, root = SOURCES[name], Path(root)
    folder, archive = root / name, root / f"{name}.zip"
    if _is_complete(folder, source):
        return folder
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        missing = f"is there without {' and '.join(source.files)}; move it away and run this again"
        raise DataUnavailable(name, root, [(str(folder), missing)])
    root.mkdir(parents=True, exist_ok=True)

    def from_archive(scratch: Path) -> None:
        _verify(archive, source.sha256)
        _unpack(archive, scratch / "unpacked", folder, source)

    def from_mirror(url: str, scratch: Path) -> None:
        _fetch(url, scratch / "part.zip", timeout)
        _verify(scratch / "part.zip", source.sha256)
        _unpack(scratch / "part.zip", scratch / "unpacked", folder, source)
        os.replace(scratch / "part.zip", archive)

    attempts: list[tuple[str, Callable[[Path], None]]] = []
    if archive.is_file():
        attempts.append((str(archive), from_archive))
    for mirror in mirrors:
        url = mirror.format(name=name)
        attempts.append((url, lambda scratch, url=url: from_mirror(url, scratch)))
    if name == "ml-100k":
        attempts.append((f"pip download {_WHEEL}", lambda scratch: _from_wheel(scratch, folder)))

    tried = []
    for label, attempt in attempts:
        # everything happens in a folder beside the final one, so that the last step is a rename
        with tempfile.TemporaryDirectory(dir=root, prefix=f".{name}-") as scratch:
            try:
                attempt(Path(scratch))
                return folder
            except _FAILURES as error:
                tried.append((label, _reason(error)))
    raise DataUnavailable(name, root, tried)


def _is_complete(folder: Path, source: Source) -> bool:
    paths = [folder / name for name in source.files]
    return all(path.is_file() and path.stat().st_size > 0 for path in paths)


def _is_here(name: str, root: Path) -> bool:
    return _is_complete(root / name, SOURCES[name]) or (root / f"{name}.zip").is_file()


def _host(source: str) -> str:
    return urllib.parse.urlsplit(source).netloc or source


def _reason(error: Exception) -> str:
    """Why an attempt failed, on one line."""
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        return _reason(error.reason)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its TLS certificate does not hold: {error.verify_message}"
    if isinstance(error, subprocess.CalledProcessError):
        lines = (error.stderr or "").strip().splitlines()
        return lines[-1] if lines else f"exit status {error.returncode}"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"not done within {error.timeout:g} s"
    return " ".join(str(error).split()) or type(error).__name__


def _open(url: str, timeout: float) -> http.client.HTTPResponse:
    """`urlopen`, over after `timeout` seconds in all: its own time-out starts afresh for every
    address and redirect, and does not hold at all while a name is being looked up."""
    answer: queue.Queue = queue.Queue()

    def work() -> None:
        try:
            answer.put(urllib.request.urlopen(url, timeout=timeout))
        except Exception as error:
            answer.put(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        result = answer.get(timeout=timeout)
    except queue.Empty:
        raise TimeoutError("timed out") from None  # the words of a socket's own time-out
    if isinstance(result, Exception):
        raise result
    return result


def _fetch(url: str, path: Path, timeout: float) -> None:
    """Downloads `url` into `path`; raises OSError if the connection ends before the file does."""
    with _open(url, timeout) as response, path.open("wb") as file:
        total = int(response.headers.get("Content-Length") or 0)
        name = url.rsplit("/", 1)[-1]
        with tqdm(total=total or None, desc=name, unit="B", unit_scale=True, leave=False) as bar:
            while block := response.read(1 << 16):
                file.write(block)
                bar.update(len(block))
    if total and path.stat().st_size != total:
        raise OSError(f"the connection ended after {path.stat().st_size:,} of {total:,} bytes")


def _verify(archive: Path, sha256: str | None) -> None:
    """Raises ValueError on another checksum than the published one. Where none is published the
    zip's own ones must do, which are compared while it is unpacked."""
    if sha256 is None:
        return
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise ValueError(f"SHA-256 is {found}, published is {sha256}")


def _unpack(archive: Path, scratch: Path, folder: Path, source: Source) -> None:
    """Unpacks into `scratch`, then renames the folder with the data, whatever its name, to
    `folder`. An interrupt at any moment leaves no `folder`. Unsafe members raise ValueError."""
    with zipfile.ZipFile(archive) as zipped:
        for member in zipped.infolist():
            _refuse_unsafe(member)
        zipped.extractall(scratch)
    found = [path.parent for path in scratch.rglob(source.files[0])]
    if not found or not _is_complete(found[0], source):
        raise ValueError(f"the zip does not hold {' and '.join(source.files)}")
    _install(found[0], folder, source)


def _refuse_unsafe(member: zipfile.ZipInfo) -> None:
    path = PurePosixPath(member.filename)
    outside = path.is_absolute() or ".." in path.parts or not path.parts
    outside = outside or "\\" in member.filename or ":" in path.parts[0]  # as Windows reads it
    if outside or stat.S_ISLNK(member.external_attr >> 16):
        raise ValueError(f"the zip wants to write outside its folder: {member.filename!r}")


def _install(made: Path, folder: Path, source: Source) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    try:
        os.rename(made, folder)
    except OSError:
        if not _is_complete(folder, source):  # else another process was quicker: use that
            raise


def _from_wheel(scratch: Path, folder: Path) -> None:
    """ML-100K out of the `recbole` wheel, which is read as a zip and never installed or run.

    Compared with the official files: u.data is the same byte for byte, row order included; u.user
    is the same; titles, years and genres in u.item are the same for all 1,682 films but for blanks
    at the end of three titles; the columns with release dates and addresses stay empty.
    """
    options = "--no-deps --only-binary=:all: --no-input --retries 0 --timeout 10 -qq"
    options += " --disable-pip-version-check"
    pip = [sys.executable, "-m", "pip", "download", *options.split(), "-d", str(scratch)]
    subprocess.run([*pip, _WHEEL], check=True, capture_output=True, text=True, timeout=_PIP_SECONDS)
    wheels = list(scratch.glob("*.whl"))
    if len(wheels) != 1:
        raise ValueError(f"pip left {len(wheels)} wheels")
    _verify(wheels[0], _WHEEL_SHA256)
    made = scratch / "made"
    made.mkdir()
    with zipfile.ZipFile(wheels[0]) as wheel:
        ratings, films, users = (
            wheel.read(f"{_WHEEL_FOLDER}.{kind}").decode("utf-8").split("\n", 1)[1]  # less its head
            for kind in ("inter", "item", "user")
        )
    items = "".join(_item_line(row) + "\n" for row in films.splitlines())
    genres = "".join(f"{name}|{i}\n" for i, name in enumerate(GENRES_100K.split("|")))
    (made / "u.data").write_bytes(ratings.encode("ascii"))
    (made / "u.user").write_bytes(users.replace("\t", "|").encode("ascii"))
    (made / "u.genre").write_bytes(f"{genres}\n".encode("ascii"))
    (made / "u.item").write_bytes(items.encode("latin-1"))
    _install(made, folder, SOURCES["ml-100k"])


def _item_line(row: str) -> str:
    """id, title, year, "Genre Genre" with tabs -> id|Title (year)||||19 flags, as in u.item."""
    item, title, year, genres = row.split("\t")
    # film 267 has neither title nor year: the wheel has a misspelt word in both places. The "year"
    # of film 1412, a video, is "V", and its real one is still in the title.
    full = "unknown" if title == year else f"{title} ({year})"
    flags = (str(int(name in genres.split(" "))) for name in GENRES_100K.split("|"))
    return "|".join([item, full, "", "", "", *flags])
