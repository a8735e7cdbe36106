"""MovieLens onto this machine: verified and unpacked, or one clear error.

MovieLens is never shipped with the project (its licence forbids that for ML-100K and ML-1M), so it
is fetched where the project runs. `utils` hands these functions on. Sources: GroupLens first, then
the mirror of the same zips on Hugging Face, and for ML-100K last of all the copy inside the
`recbole` wheel, which is reached wherever pip works.
"""

from __future__ import annotations

import contextlib
import os
import sys
import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from recsys_rl.data.archives import (
    MADE,
    PART,
    UNPACKED,
    check_unpacked,
    holds,
    install,
    remove_leftovers,
    scratch_folder,
    unpack,
    verify,
)
from recsys_rl.data.layouts import GENRES_100K
from recsys_rl.data.notes import say, shown

DATA_FOLDER = Path(__file__).resolve().parents[2] / "data"  # where the project keeps its data
DEFAULT, FALLBACK = "ml-1m", "ml-100k"


MIRRORS = (
    "https://files.grouplens.org/datasets/movielens/{name}.zip",
    "https://huggingface.co/datasets/Recommenders/MovieLens/resolve/main/{name}.zip",
)


TIMEOUT = 10.0  # seconds a mirror has to answer, and then to send its next bytes


_TIMEOUT_AFTER_FAILURE = 3.0  # the fallback asks hosts again that have just failed


_LONGEST_REASON = 300  # characters


_EXPANSION = 20  # a zip may unpack to so many times the official zip; MovieLens takes up to 5


_PIP_SECONDS = 30.0


_WHEEL = "recbole==1.2.1"


_WHEEL_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"


_WHEEL_FOLDER = "recbole/dataset_example/ml-100k/ml-100k"


@dataclass(frozen=True)
class Source:
    files: tuple[str, str]  # ratings and movies: a folder that holds both counts as the data set
    sha256: str | None = None  # of the official zip, where one is known
    size: int = 1 << 30  # bytes of the official zip: a mirror may send no more


_DAT, _CSV, _TAB = (
    ("ratings.dat", "movies.dat"),
    ("ratings.csv", "movies.csv"),
    ("u.data", "u.item"),
)


# GroupLens itself publishes only MD5 sums. The SHA-256 sums are those of TensorFlow Datasets
# (url_checksums/movielens.txt); for ml-10m and ml-32m, which it lacks, those that several
# independent projects give for the zips with the MD5 of GroupLens.
SOURCES = {
    "ml-100k": Source(
        _TAB, "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229", 4_924_029
    ),
    "ml-1m": Source(
        _DAT, "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20", 5_917_549
    ),
    "ml-latest-small": Source(
        _CSV, "696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436", 978_202
    ),
    "ml-10m": Source(
        _DAT, "813c411ccb6122564edfe752e7f80c4dcc5aa25fa94c93622f6877a7ba252862", 65_566_137
    ),
    "ml-20m": Source(
        _CSV, "96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3", 198_702_078
    ),
    "ml-25m": Source(
        _CSV, "8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa", 261_978_986
    ),
    "ml-32m": Source(
        _CSV, "e4a68655d7386b8f95f2f2424b2ff975dfdd15ffd59e0d864a14dca43e99d6ee", 238_950_008
    ),
}
SHARED_IDS = frozenset(SOURCES) - {"ml-100k"}  # these sets number films alike


class DataUnavailable(RuntimeError):
    """No source had the data set. The message is a list with the way by hand; `sentence` says it in
    one. `tried`: (source, why it failed) in the order of trying."""

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
        reasons = "; ".join(f"{source}: {reason}" for source, reason in self.tried)
        self.sentence = (
            f"{name} could not be had ({reasons}): get {name}.zip from "
            f"https://grouplens.org/datasets/movielens/ and put it into {root.resolve()}"
        )


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
    remove_leftovers(root, SOURCES)
    if not _is_here(DEFAULT, root) and _is_complete(FALLBACK, root):
        say(
            f"{DEFAULT} is not in {root}, so this goes on with {FALLBACK}, which is there "
            f"(name {DEFAULT} to have it downloaded)."
        )
        return FALLBACK, root / FALLBACK
    try:
        return DEFAULT, download_movielens(DEFAULT, root)
    except DataUnavailable as error:
        tried = error.tried
    try:
        folder = download_movielens(FALLBACK, root, timeout=_TIMEOUT_AFTER_FAILURE)
    except DataUnavailable as error:
        raise DataUnavailable(FALLBACK, root, [*tried, *error.tried]) from None
    reasons = "; ".join(f"{_host(source)}: {reason}" for source, reason in tried)
    say(
        f"{DEFAULT} cannot be had ({reasons}), so this goes on with {FALLBACK} "
        f"(put {DEFAULT}.zip into {root} to use {DEFAULT})."
    )
    return FALLBACK, folder


def download_movielens(
    name: str,
    root: str | Path = "data",
    *,
    mirrors: Sequence[str] = MIRRORS,
    timeout: float = TIMEOUT,
) -> Path:
    """Returns the folder root/name with the data set `name` in its official layout.

    Tried in order: the folder itself, a zip in `root`, each of `mirrors` (URLs with `{name}`), and
    for ml-100k a wheel from the package index. `timeout`: seconds for a mirror to answer. A mirror
    that is too slow (`mirrors`) or sends more than the official zip is given up. A zip
    is checked against its known SHA-256, or by its own checksums where none is known. What killed
    runs left in `root` is removed first.
    Raises ValueError for an unknown name, DataUnavailable if no source has it or if a file was
    changed after it had been unpacked here.
    """
    if name not in SOURCES:
        raise ValueError(f"unknown data set {name!r}; there are {', '.join(SOURCES)}")
    source, root = SOURCES[name], Path(root)
    folder, archive = root / name, root / f"{name}.zip"
    remove_leftovers(root, SOURCES)
    if _is_complete(name, root):
        return folder
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        missing = [file for file in source.files if not (folder / file).is_file()] or source.files
        missing = f"is there without {' and '.join(missing)}; move it away and run this again"
        raise DataUnavailable(name, root, [(str(folder), missing)])
    root.mkdir(parents=True, exist_ok=True)
    most = _EXPANSION * source.size

    def from_archive(scratch: Path) -> None:
        verify(archive, source.sha256)
        unpack(archive, scratch / UNPACKED, folder, source.files, most)

    def from_mirror(url: str, scratch: Path) -> None:
        fetch(url, scratch / PART, source.size, timeout)
        verify(scratch / PART, source.sha256)
        unpack(scratch / PART, scratch / UNPACKED, folder, source.files, most)
        with contextlib.suppress(OSError):  # the zip is kept where it can be
            os.replace(scratch / PART, archive)

    attempts: list[tuple[str, Callable[[Path], None]]] = []
    if archive.is_file():
        attempts.append((str(archive), from_archive))
    for mirror in mirrors:
        url = mirror.replace("{name}", name)
        attempts.append((url, lambda scratch, url=url: from_mirror(url, scratch)))
    if name == "ml-100k":
        attempts.append((f"pip download {_WHEEL}", lambda scratch: _from_wheel(scratch, folder)))

    tried = []
    for label, attempt in attempts:
        # everything happens in a folder beside the final one, so that the last step is a rename
        with scratch_folder(root, name) as scratch:
            try:
                attempt(scratch)
                return folder
            except Exception as error:  # whatever is wrong with one source, the next may be right
                tried.append((label, _reason(error)))
    raise DataUnavailable(name, root, tried)


def _is_complete(name: str, root: Path) -> bool:
    """Whether the folder of the set holds it. Raises DataUnavailable if a file was changed."""
    if not holds(root / name, SOURCES[name].files):
        return False
    try:
        check_unpacked(root / name)
    except ValueError as error:
        raise DataUnavailable(name, root, [(str(root / name), str(error))]) from None
    return True


def _is_here(name: str, root: Path) -> bool:
    return holds(root / name, SOURCES[name].files) or (root / f"{name}.zip").is_file()


def fetch(url: str, target: Path, most: int, timeout: float) -> None:
    """See `mirrors.fetch`, which is imported when something is to be downloaded."""
    from recsys_rl.data import mirrors

    mirrors.fetch(url, target, most, timeout)


def _host(source: str) -> str:
    return urllib.parse.urlsplit(source).netloc or source


def _reason(error: BaseException) -> str:
    """Why an attempt failed, on one line of bounded length."""
    import http.client
    import ssl
    import subprocess
    import urllib.error

    if type(error) is http.client.BadStatusLine:  # not where it has just closed the connection
        text = f"what it answers is no HTTP: {error}"
    elif isinstance(error, urllib.error.HTTPError):
        circle = "infinite loop" in str(error.reason)
        text = f"HTTP {error.code} {'it redirects in circles' if circle else error.reason}"
    elif isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        return _reason(error.reason)
    elif isinstance(error, ssl.SSLCertVerificationError):
        text = f"its TLS certificate does not hold: {error.verify_message}"
    elif isinstance(error, subprocess.CalledProcessError):
        lines = (error.stderr or "").strip().splitlines()
        text = lines[-1] if lines else f"exit status {error.returncode}"
    elif isinstance(error, subprocess.TimeoutExpired):
        text = f"not done within {error.timeout:g} s"
    elif isinstance(error, OSError) and error.strerror and not error.filename:
        text = error.strerror  # without its number
    else:
        text = str(error) or type(error).__name__
    line = shown(" ".join(text.split()))
    return line if len(line) <= _LONGEST_REASON else f"{line[:_LONGEST_REASON]}..."


def _from_wheel(scratch: Path, folder: Path) -> None:
    """ML-100K out of the `recbole` wheel, which is read as a zip and never installed or run.

    Compared with the official files: u.data is the same byte for byte, row order included; u.user
    is the same; titles, years and genres in u.item are the same for all 1,682 films but for blanks
    at the end of three titles; the columns with release dates and addresses stay empty.
    """
    import subprocess
    import zipfile

    options = "--no-deps --only-binary=:all: --no-input --retries 0 --timeout 10 -qq"
    options += " --disable-pip-version-check"
    pip = [sys.executable, "-m", "pip", "download", *options.split(), "-d", str(scratch)]
    subprocess.run([*pip, _WHEEL], check=True, capture_output=True, text=True, timeout=_PIP_SECONDS)
    wheels = list(scratch.glob("*.whl"))
    if len(wheels) != 1:
        raise ValueError(f"pip left {len(wheels)} wheels")
    verify(wheels[0], _WHEEL_SHA256)
    made = scratch / MADE
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
    install(made, folder, SOURCES["ml-100k"].files)


def _item_line(row: str) -> str:
    """id, title, year, "Genre Genre" with tabs -> id|Title (year)||||19 flags, as in u.item."""
    item, title, year, genres = row.split("\t")
    # film 267 has neither title nor year: the wheel has a misspelt word in both places. The "year"
    # of film 1412, a video, is "V", and its real one is still in the title.
    full = "unknown" if title == year else f"{title} ({year})"
    flags = (str(int(name in genres.split(" "))) for name in GENRES_100K.split("|"))
    return "|".join([item, full, "", "", "", *flags])
