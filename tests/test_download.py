"""Mirrors that misbehave, zips that lie, runs that are killed, changed files. Only 127.0.0.1."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from recsys_rl.data import archives, download, mirrors, movie_files, movielens
from recsys_rl.data.download import DataUnavailable
from recsys_rl.data.titles import as_words, display_title

REAL = dict(download.SOURCES)
SET = "ml-1m"
FILES = {
    "ratings.dat": b"1::2::5::978300760\n1::3::4::978300761\n",
    "movies.dat": "2::Café, The (1990)::Drama\n3::B (1991)::War\n".encode("latin-1"),
    "README": b"read me\n",
}


def zip_of(files: dict[str, bytes]) -> bytes:
    blob = io.BytesIO()
    with zipfile.ZipFile(blob, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in files.items():
            zipped.writestr(name, content)
    return blob.getvalue()


GOOD = zip_of({f"ml-1m/{name}": content for name, content in FILES.items()})


def pin(monkeypatch, blob: bytes | None, name: str = SET) -> None:
    sha256 = None if blob is None else hashlib.sha256(blob).hexdigest()
    monkeypatch.setitem(download.SOURCES, name, replace(download.SOURCES[name], sha256=sha256))


@pytest.fixture(autouse=True)
def pinned(monkeypatch):
    pin(monkeypatch, GOOD)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(os, "fsync", lambda number: None)  # most of the time of these tests


class Mirror:
    """Sends to each path whatever `routes` has for it, on 127.0.0.1, byte by byte as it likes."""

    def __init__(self) -> None:
        self.routes: dict[str, Callable[[socket.socket], None]] = {}
        self.asked: list[str] = []
        self.over = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while not self.over.is_set():
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            try:
                path = connection.recv(1 << 16).split()[1].decode()
                self.asked.append(path)
                self.routes[path](connection)
            except (OSError, IndexError, KeyError):
                pass  # it hung up


@pytest.fixture
def mirror():
    mirror = Mirror()
    yield mirror
    mirror.over.set()
    mirror.listener.close()


def sending(*parts: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(b"".join(parts))


def answer(body: bytes, length: str | None = None) -> Callable[[socket.socket], None]:
    length = str(len(body)) if length is None else length
    return sending(b"HTTP/1.1 200 OK\r\nContent-Length: ", length.encode(), b"\r\n\r\n", body)


def endless(head: bytes, part: bytes, pause: float = 0) -> Callable[[socket.socket], None]:
    def send(connection: socket.socket) -> None:
        connection.sendall(head)
        stop = time.monotonic() + 20
        while time.monotonic() < stop:
            connection.sendall(part)
            time.sleep(pause)

    return send


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
LOOP = b"HTTP/1.1 302 Found\r\nLocation: /bad/ml-1m.zip\r\nContent-Length: 0\r\n\r\n"


def get(mirror: Mirror, root: Path, *folders: str, name: str = SET, timeout: float = 0.5) -> Path:
    urls = [f"{mirror.url}/{folder}/{{name}}.zip" for folder in folders]
    return download.download_movielens(name, root, mirrors=urls, timeout=timeout)


def left_in(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()}


def given_up(mirror: Mirror, root: Path) -> str:
    """Why the mirror "bad" is given up; what follows it is used and nothing else is left."""
    mirror.routes["/good/ml-1m.zip"] = answer(GOOD)
    with pytest.raises(DataUnavailable) as error:
        get(mirror, root, "bad")
    assert left_in(root) == set()
    [(source, reason)] = error.value.tried
    assert source == f"{mirror.url}/bad/ml-1m.zip"
    assert reason.isprintable()
    assert len(reason) < 320
    before = download.SOURCES[SET]
    download.SOURCES[SET] = replace(before, sha256=hashlib.sha256(GOOD).hexdigest())
    assert get(mirror, root, "bad", "good").is_dir()
    download.SOURCES[SET] = before
    assert left_in(root) == {SET, f"{SET}.zip"}
    return reason


# ---------------------------------------------------------------------------------- mirrors


@pytest.mark.parametrize(
    ("send", "reason"),
    [
        (endless(OK + b"Content-Length: 5000\r\n\r\n", b"x", 0.02), "too slow: it sent"),
        (endless(OK + b"\r\n", b"x", 0.02), "too slow: it sent"),
        (endless(CHUNKED, b"0", 0.02), "too slow: it sent 0 bytes"),  # inside one chunk's header
        (endless(CHUNKED + b"0\r\n", b"x: y\r\n"), "too slow: it sent 0 bytes"),  # after the last
        (endless(OK, b"x", 0.02), "timed out"),  # inside a header
        (answer(GOOD, "9" * 400), "a number of 400 digits"),
        (answer(GOOD, "9" * 5000), "a number of 5,000 digits"),
        (answer(GOOD, str(10**12)), "declares 1,000,000,000,000 bytes, more than the 5,917,549"),
        (answer(GOOD, "-7"), "its Content-Length, '-7', is no number of bytes"),
        (answer(GOOD, "1e3"), "its Content-Length, '1e3', is no number of bytes"),
        (answer(GOOD, "\xb2\xb3"), "is no number of bytes"),  # superscripts
        (answer(GOOD, ""), "its Content-Length, '', is no number of bytes"),
        (answer(GOOD, str(len(GOOD) + 1)), f"ended after {len(GOOD):,} of {len(GOOD) + 1:,}"),
        (answer(GOOD, str(len(GOOD) - 1)), "SHA-256"),
        (answer(GOOD, "0"), "it sent nothing"),
        (endless(OK + b"\r\n", b"x" * 60_000), "more than the 5,917,549 bytes of the official"),
        (endless(CHUNKED, b"ffff\r\n" + b"x" * 65_535 + b"\r\n"), "more than the 5,917,549"),
        (sending(CHUNKED, b"-5\r\n", GOOD), "ended before the file did"),
        (sending(CHUNKED, b"ffff\r\n", GOOD), "ended before the file did"),
        (sending(CHUNKED, b"zzz\r\n", GOOD), "ended before the file did"),
        (sending(LOOP), "it redirects in circles"),
        (sending(LOOP.replace(b"/bad/ml-1m.zip", b"http://[::1")), "Invalid IPv6"),
        (sending(LOOP.replace(b"/bad", b"http://127.0.0.1:1")), "Connection refused"),
        (sending(LOOP.replace(b"/bad", b"file:///bad")), "not allowed"),
        (sending(b"hello\x07" * 200, b"\r\n\r\n"), "hello"),
        (sending(OK, b"a: b\r\n" * 200, b"\r\n", GOOD), "100 headers"),
        (sending(b""), "closed connection"),
        (sending(b"HTTP/1.1 503 ", b"busy " * 200, b"\r\n\r\n"), "HTTP 503 busy"),
    ],
)
def test_a_mirror_that_misbehaves_is_given_up(mirror, tmp_path, monkeypatch, send, reason):
    if "too slow" in reason:
        monkeypatch.setattr(mirrors, "WINDOW", 0.25)
    mirror.routes["/bad/ml-1m.zip"] = send
    start = time.monotonic()
    assert reason in given_up(mirror, tmp_path)
    assert time.monotonic() - start < 8  # one WINDOW takes 10 s


def test_a_mirror_has_a_deadline_however_fast_it_is(mirror, tmp_path, monkeypatch):
    monkeypatch.setattr(mirrors, "DEADLINE", 0.3)
    mirror.routes["/bad/ml-1m.zip"] = endless(OK + b"\r\n", b"x" * 100, 0.01)
    assert given_up(mirror, tmp_path) == "not done within 0.3 s"


def test_a_slow_mirror_that_is_fast_enough_is_used(mirror, tmp_path, monkeypatch):
    monkeypatch.setattr(mirrors, "LEAST_SPEED", 100)
    monkeypatch.setattr(mirrors, "WINDOW", 0.25)

    def slowly(connection: socket.socket) -> None:
        connection.sendall(OK + b"Content-Length: %d\r\n\r\n" % len(GOOD))
        for start in range(0, len(GOOD), 20):
            connection.sendall(GOOD[start : start + 20])
            time.sleep(0.03)

    mirror.routes["/a/ml-1m.zip"] = slowly
    assert get(mirror, tmp_path, "a").is_dir()


def test_chunks_without_a_length_are_read(mirror, tmp_path):
    mirror.routes["/a/ml-1m.zip"] = sending(CHUNKED, b"%x\r\n" % len(GOOD), GOOD, b"\r\n0\r\n\r\n")
    assert get(mirror, tmp_path, "a").is_dir()


def test_a_mirror_may_be_a_folder(tmp_path):
    (tmp_path / "ml-1m.zip").write_bytes(GOOD)
    url = f"{tmp_path.as_uri()}/{{name}}.zip"
    assert download.download_movielens(SET, tmp_path / "data", mirrors=[url]).is_dir()


def test_every_set_has_a_checksum_and_a_size():
    for source in REAL.values():
        assert len(bytes.fromhex(source.sha256)) == 32
        assert source.size < download.Source(("", "")).size


# ------------------------------------------------------------------------------------- zips


def zip_with(*extra: tuple[str, bytes]) -> bytes:
    blob = io.BytesIO(GOOD)
    with zipfile.ZipFile(blob, "a", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in extra:
            zipped.writestr(name, content)
    return blob.getvalue()


def with_sizes(blob: bytes, size: int) -> bytes:
    """The zip with another unpacked size of its first member in the directory at its end."""
    place = blob.index(b"PK\x01\x02")
    return blob[: place + 24] + struct.pack("<I", size) + blob[place + 28 :]


def damaged(blob: bytes, offset: int, mask: int) -> bytes:
    """The zip with changed bits in the directory entry of its first member."""
    place = blob.index(b"PK\x01\x02") + offset
    return blob[:place] + bytes([blob[place] ^ mask]) + blob[place + 1 :]


@functools.cache
def bomb() -> bytes:
    return zip_with(("ml-1m/zeros", bytes(120_000_000)))


OTHER = {f"other/{name}": content for name, content in FILES.items()}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (bomb, "would unpack to 120,000,"),
        (lambda: with_sizes(GOOD, 2**32 - 2), "would unpack to 4,294,967,"),
        (lambda: with_sizes(GOOD, 3), "CRC"),
        (lambda: zip_with(*[(f"ml-1m/{i}", b"") for i in range(1001)]), "1,004 members"),
        (lambda: zip_with(("../x", b"1")), "outside its folder"),
        (lambda: zip_with(("/tmp/x", b"1")), "outside its folder"),
        (lambda: zip_with(("C:/x", b"1")), "outside its folder"),
        (lambda: zip_with(("..\\x", b"1")), "outside its folder"),
        (lambda: zip_with(("ml-1m/ratings.dat", b"1::2::1::978300760\n")), "twice"),
        (lambda: zip_with(("ml-1m/./ratings.dat", b"1")), "twice"),
        (lambda: zip_with(("ml-1m/RATINGS.dat", b"1")), "twice"),
        (lambda: zip_with(("ml-1m/README/x", b"1")), "README"),  # a file and a folder
        (lambda: zip_with(*OTHER.items()), "in 2 folders, where one is expected"),
        (lambda: zip_with(("x" * 300, b"1")), "name too long"),
        (lambda: zip_of({"ml-1m/README": b"1"}), "in 0 folders, where one is expected"),
        (lambda: GOOD[:-30], "not a zip"),
        (lambda: GOOD[: len(GOOD) // 2], "not a zip"),
        (lambda: GOOD[100:], "the zip cannot be unpacked"),
        (lambda: damaged(GOOD, 8, 1), "encrypted"),
        (lambda: damaged(GOOD, 10, 64), "compression"),
        (lambda: damaged(GOOD, 6, 255), "zip file version"),
        (lambda: damaged(GOOD, 45, 127), ""),  # where the member starts
    ],
)
@pytest.mark.parametrize("checksum", [True, False])
def test_a_bad_zip_is_given_up(mirror, tmp_path, monkeypatch, make, reason, checksum):
    root = tmp_path / "data"
    blob = make()
    mirror.routes["/bad/ml-1m.zip"] = answer(blob)
    pin(monkeypatch, blob if checksum else None)
    assert reason in given_up(mirror, root)
    assert left_in(tmp_path) == {"data"}


def test_a_zip_that_cannot_be_kept_does_no_harm(mirror, tmp_path):
    (tmp_path / "ml-1m.zip").mkdir()
    mirror.routes["/a/ml-1m.zip"] = answer(GOOD)
    assert get(mirror, tmp_path, "a").is_dir()


# ---------------------------------------------------------------------------- killed runs


def test_what_a_killed_run_leaves_is_removed_by_the_next(mirror, tmp_path):
    whole = threading.Event()

    def half(connection: socket.socket) -> None:
        connection.sendall(OK + b"Content-Length: %d\r\n\r\n" % len(GOOD) + GOOD[:100])
        whole.wait(10)

    mirror.routes["/slow/ml-1m.zip"] = half
    mirror.routes["/good/ml-1m.zip"] = answer(GOOD)
    code = (
        "import sys; from recsys_rl.data import download; "
        "download.download_movielens('ml-1m', sys.argv[1], mirrors=[sys.argv[2]])"
    )
    url = f"{mirror.url}/slow/{{name}}.zip"
    run = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), url])
    stop = time.monotonic() + 20
    while not list(tmp_path.glob(".ml-1m-*/part.zip")) and time.monotonic() < stop:
        time.sleep(0.01)
    [scratch] = tmp_path.glob(".ml-1m-*")
    archives.remove_leftovers(tmp_path, [SET])
    assert scratch.is_dir()  # the run is alive
    run.send_signal(signal.SIGKILL)
    run.wait()
    whole.set()
    assert left_in(tmp_path) == {scratch.name}
    get(mirror, tmp_path, "good")
    assert left_in(tmp_path) == {SET, f"{SET}.zip"}


@pytest.mark.parametrize("content", ["part.zip", "unpacked/ml-1m/ratings.dat", "made/u.data", ""])
def test_leftovers_of_older_runs_go_and_folders_of_the_user_stay(tmp_path, content):
    leftover, own = tmp_path / ".ml-20m-abcd1234", tmp_path / ".ml-1m-backup"
    for path in (leftover / content, own / "ratings.dat"):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix:
            path.write_bytes(b"1")
    leftover.mkdir(exist_ok=True)
    (tmp_path / ".ml-1m-link").symlink_to(own)
    (tmp_path / ".ml-1m-file").write_bytes(b"1")
    with pytest.raises(DataUnavailable):
        download.download_movielens(SET, tmp_path, mirrors=[])
    assert left_in(tmp_path) == {".ml-1m-backup", ".ml-1m-link", ".ml-1m-file"}
    assert left_in(own) == {"ratings.dat"}


def test_leftovers_go_also_when_nothing_is_to_be_downloaded(tmp_path):
    for name, files in ((SET, FILES), ("ml-100k", {"u.data": b"1", "u.item": b"1"})):
        for _ in range(2):  # found by its name, and without one
            (tmp_path / ".ml-1m-x").mkdir()
            folder = tmp_path / name
            folder.mkdir(exist_ok=True)
            for file, content in files.items():
                (folder / file).write_bytes(content)
            download.open_movielens(None if name == "ml-100k" else name, tmp_path)
            assert not (tmp_path / ".ml-1m-x").exists()
        shutil.rmtree(tmp_path / name)


def test_a_scratch_folder_in_use_is_no_leftover(tmp_path):
    with archives.scratch_folder(tmp_path, SET) as scratch:
        archives.remove_leftovers(tmp_path, [SET])
        assert scratch.is_dir()
    assert left_in(tmp_path) == set()


def test_a_scratch_folder_that_another_run_removed_is_made_again(tmp_path, monkeypatch):
    real, tries = archives.locked, []

    def locked(folder: Path):
        tries.append(folder)
        if len(tries) == 1:
            shutil.rmtree(folder)
            raise archives.FolderInUse
        return real(folder)

    monkeypatch.setattr(archives, "locked", locked)
    with archives.scratch_folder(tmp_path, SET) as scratch:
        assert scratch.is_dir()
        assert scratch == tries[1]


# --------------------------------------------------------------------------- changed files


@pytest.fixture
def unpacked(tmp_path) -> Path:
    (tmp_path / "ml-1m.zip").write_bytes(GOOD)
    return download.download_movielens(SET, tmp_path, mirrors=[])


def opened(folder: Path) -> None:
    assert download.download_movielens(folder.name, folder.parent, mirrors=[]) == folder


def change(path: Path, old: bytes = b"::5::", new: bytes = b"::1::") -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


def age(folder: Path) -> None:
    """Makes the record say that it was checked long after the files were written."""
    record = json.loads((folder / archives.RECORD).read_text())
    for entry in record.values():
        entry["checked"] += 10**10
    (folder / archives.RECORD).write_text(json.dumps(record))


@pytest.mark.parametrize("old", [False, True])
def test_one_changed_rating_is_noticed(unpacked, old):
    opened(unpacked)
    if old:
        age(unpacked)
    ratings = unpacked / "ratings.dat"
    times = ratings.stat()
    change(ratings)
    os.utime(ratings, ns=(times.st_atime_ns, times.st_mtime_ns))  # the time of the content is old
    with pytest.raises(DataUnavailable, match="ratings.dat was changed after it was unpacked"):
        opened(unpacked)
    with pytest.raises(ValueError, match="ratings.dat was changed after it was unpacked"):
        movielens.load_ratings(unpacked, check_counts=False)
    assert len(movielens.load_movies(unpacked, check_counts=False)) == 2
    (unpacked / archives.RECORD).unlink()  # as the message says
    opened(unpacked)
    assert movielens.load_ratings(unpacked, check_counts=False)["rating"].tolist() == [1, 4]


def test_to_check_one_file_says_nothing_of_another(unpacked):
    record = json.loads((unpacked / archives.RECORD).read_text())
    movies = unpacked / "movies.dat"
    change(movies, b"Drama", b"Crime")
    size, times = archives._size_and_times(movies)  # as if it had changed within one tick
    record["movies.dat"] |= {"size": size, "times": times, "checked": max(times) + 10**6}
    record["ratings.dat"]["checked"] = 0
    (unpacked / archives.RECORD).write_text(json.dumps(record))
    movielens.load_ratings(unpacked, check_counts=False)  # is checked, and recorded anew
    with pytest.raises(ValueError, match="movies.dat was changed"):
        movielens.load_movies(unpacked, check_counts=False)


@pytest.mark.parametrize("name", ["README", "movies.dat"])
def test_any_file_that_was_changed_is_noticed(unpacked, name):
    (unpacked / name).write_bytes(FILES[name] + b"4::C (1990)::War\n")
    with pytest.raises(DataUnavailable, match=f"{name} was changed"):
        opened(unpacked)
    (unpacked / name).write_bytes(FILES[name])  # as it was
    opened(unpacked)


def test_a_copy_is_as_good_and_read_once(unpacked, tmp_path, monkeypatch):
    copy = tmp_path / "elsewhere" / SET
    shutil.copytree(unpacked, copy)
    opened(copy)
    age(copy)
    monkeypatch.setattr(archives, "_digest", lambda path: pytest.fail(f"read {path}"))
    opened(copy)


def test_a_folder_that_cannot_be_written_is_checked_all_the_same(unpacked, monkeypatch):
    def refuse(*_) -> None:
        raise PermissionError

    monkeypatch.setattr(archives, "write_atomically", refuse)
    opened(unpacked)


def test_a_folder_of_the_user_is_used_as_it_is(tmp_path):
    folder = tmp_path / SET
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    opened(folder)
    change(folder / "ratings.dat")
    opened(folder)
    assert left_in(folder) == set(FILES)


@pytest.mark.parametrize(
    "record",
    ["", "{", "[]", "null", "1", "[" * 100_000, '{"ratings.dat": {}}', '{"ratings.dat": 1}',
     '{"ratings.dat": {"size": 1, "times": [], "checked": 1, "sha256": ""}}',
     '{"ratings.dat": {"size": 1, "times": [1], "checked": "x", "sha256": ""}}',
     '{"ratings.dat": {"size": 1, "times": ["x"], "checked": 1, "sha256": ""}}'],
)  # fmt: skip
def test_a_damaged_record_is_one_sentence(unpacked, record):
    (unpacked / archives.RECORD).write_text(record)
    with pytest.raises(DataUnavailable, match=r"checksums.json is damaged: move .* away"):
        opened(unpacked)


def test_without_a_name_a_changed_folder_is_passed_over_with_a_sentence(
    unpacked, tmp_path, monkeypatch, capsys
):
    change(unpacked / "ratings.dat")
    monkeypatch.setattr(download, "fetch", lambda *args: pytest.fail("asked the network"))
    (tmp_path / "ml-100k").mkdir()
    for name in ("u.data", "u.item"):
        (tmp_path / "ml-100k" / name).write_bytes(b"1")
    assert download.open_movielens(None, tmp_path)[0] == "ml-100k"
    err = capsys.readouterr().err
    assert "ratings.dat was changed" in err
    assert err.count("\n") == 1


# --------------------------------------------------------------------- titles of any length

N = 100_000
LONG = {
    "commas": "a, " * (N // 3),
    "articles": ", The" * (N // 5),
    "letters": "a" * N,
    "blanks": "x" + " " * N + "x",
    "blanks first": " " * N + "x",
    "blanks after an article": "x, The" + " " * N + "x",
    "blanks after a year": "(1990)" + " " * N + "x",
    "years": "(1990) " * (N // 7) + "x",
    "videos": "(1990) (V" * (N // 9),
    "parentheses": "()" * (N // 2),
    "also known": "a.k.a. " * (N // 7) + ", The",
    "ampersands": "&" * N,
    "a long number": "&#" + "9" * N + ";",
    "accents": "a" + "\u0301\u0316" * (N // 4),
    "double accents": "\u0f73" * (N // 3),
    "dots": "a." * (N // 2),
    "pipes": "|" * N,
    "colons": "::" * (N // 2),
}


@pytest.mark.parametrize("title", LONG.values(), ids=LONG)
def test_a_title_of_any_length_takes_no_time(tmp_path, title):
    start = time.process_time()
    display_title(title)
    as_words(title)
    flags = "|".join("0" * 19)
    for name, line in (
        ("movies.dat", f"1::{title}::War\n"),
        ("movies.dat", f"1::{title}::Wa:r\n"),
        ("u.item", f"1|{title} (1990)||||{flags}\n"),
        ("u.item", f"1|{title}||||{flags}|1\n"),
    ):
        (tmp_path / name).write_text(line, encoding="utf-8")
        with contextlib.suppress(ValueError):
            movielens.load_movies(tmp_path)
        (tmp_path / name).unlink()
    movie_files.split_year(title)
    assert time.process_time() - start < 1  # quadratic: over 10 s


def test_a_long_number_of_a_character_is_no_error():
    assert display_title("&#" + "9" * 5000 + ";, The") == "The &#" + "9" * 5000 + ";"
    assert display_title("A &eacute; &#8230; &#x41; &no; &") == "A é … A &no; &"
