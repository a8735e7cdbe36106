"""Files, downloads, tensors and splits. Nothing here asks the network beyond 127.0.0.1."""

from __future__ import annotations

import hashlib
import io
import os
import ssl
import stat
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from synthetic import write_movielens

from recsys_rl.data import download, layouts, movielens, splits, titles
from recsys_rl.data.download import DataUnavailable
from recsys_rl.data.interactions import IdMap, Interactions

DATA = Path(__file__).parents[1] / "data"


# ---------------------------------------------------------------------------------- files


def test_the_three_layouts_hold_the_same_data(tiny_movielens):
    order = ["user", "item"]
    tables = {
        name: movielens.load_ratings(path).sort_values(order, ignore_index=True)
        for name, path in tiny_movielens.items()
    }
    movies = {name: movielens.load_movies(path) for name, path in tiny_movielens.items()}
    pd.testing.assert_frame_equal(tables["ml-1m"], tables["ml-100k"])
    pd.testing.assert_frame_equal(tables["ml-1m"], tables["csv"])
    pd.testing.assert_frame_equal(movies["ml-1m"], movies["ml-100k"])
    pd.testing.assert_frame_equal(movies["ml-1m"], movies["csv"])
    assert tables["csv"].groupby("user").size().min() >= 20


@pytest.mark.parametrize("layout", ["ml-1m", "ml-100k", "csv"])
def test_types_columns_and_row_order(tiny_movielens, layout):
    folder = tiny_movielens[layout]
    ratings = movielens.load_ratings(folder)
    types = {"user": "int32", "item": "int32", "rating": "float32", "timestamp": "int64"}
    assert dict(ratings.dtypes.astype(str)) == types
    file = next(
        folder / f for f in ("ratings.dat", "u.data", "ratings.csv") if (folder / f).exists()
    )
    lines = file.read_text().splitlines()[layout == "csv" :]
    separator = {"ml-1m": "::", "ml-100k": "\t", "csv": ","}[layout]
    by_hand = [tuple(map(float, line.split(separator))) for line in lines]
    assert [tuple(map(float, row)) for row in ratings.to_numpy()] == by_hand


@pytest.mark.parametrize("layout", ["ml-1m", "ml-100k", "csv"])
def test_titles_with_colons_accents_quotes_commas_and_no_year(tiny_movielens, layout):
    movies = movielens.load_movies(tiny_movielens[layout]).set_index("item")
    assert movies.loc[2, "title"] == "Alien Dawn: The Return"
    assert movies.loc[5, "title"] == "Séance à Orly, La"
    assert movies.loc[8, "title"] == 'Best "Worst" Day, The'
    assert movies.loc[11, "title"] == "Red, White & Blue"
    assert (movies.loc[14, "title"], movies.loc[14, "year"]) == ("1984", 1984)
    assert movies.loc[17, "title"] == "Fleur d'été, L' (Summer::Flower, The)"
    assert (movies.loc[20, "title"], movies.loc[23, "title"]) == ("Twice Told", "Twice Told")
    assert movies.loc[26, "title"] == "Nameless"
    assert movies.loc[26, "year"] is pd.NA
    assert str(movies["year"].dtype) == "Int16"
    assert movies.loc[8, "genres"] == "|".join(sorted(set(movies.loc[8, "genres"].split("|"))))
    assert "Drama" in movies.loc[8, "genres"].split("|")  # film 2 of six genres in turn


def test_years_genres_and_the_encoding_of_ml_10m(tmp_path):
    lines = [
        "1::Amélie – encore (2001)::Comedy",
        "2::Straight Tape (1995) (V)::(no genres listed)",
        "3::Saga (2006–2007) ::Drama|War",
        "4::(500) Nights (2009)::Romance",
        "5::Two (1990) Halves::Drama",
    ]
    (tmp_path / "movies.dat").write_bytes("\n".join(lines).encode("utf-8"))
    movies = movielens.load_movies(tmp_path)
    titles = ["Amélie – encore", "Straight Tape", "Saga", "(500) Nights", "Two (1990) Halves"]
    assert movies["title"].tolist() == titles
    assert movies["year"].tolist()[:4] == [2001, 1995, 2006, 2009]
    assert movies["year"].isna().tolist() == [False] * 4 + [True]
    assert movies["genres"].tolist() == ["Comedy", "", "Drama|War", "Romance", "Drama"]


def test_a_pipe_in_a_title_of_u_item(tmp_path):
    flags = "0|1" + "|0" * 16 + "|1"
    (tmp_path / "u.item").write_bytes(
        f"7|Either|Or (1990)|01-Jan-1990||http://x|{flags}\n".encode()
    )
    assert movielens.load_movies(tmp_path).loc[0].tolist() == [
        7,
        "Either|Or",
        1990,
        "Action|Western",
    ]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("movies.dat", "7::Heat (1995)::Action::Crime"),
        ("movies.dat", "7::Heat (1995)::Action::"),
        ("u.item", f"7|Heat (1995)|x|01-Jan-1995||http://x{'|0' * 19}"),
    ],
)
def test_a_column_too_many_is_no_part_of_a_title(tmp_path, name, line):
    (tmp_path / name).write_text(f"\n{line}\n")
    with pytest.raises(ValueError, match=rf"{name} is not .*line 2: a column too many"):
        movielens.load_movies(tmp_path)


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("Matrix, The", "The Matrix"),
        ("Bug's Life, A", "A Bug's Life"),
        ("Affair to Remember, An", "An Affair to Remember"),
        ("Enfer, L'", "L'Enfer"),
        (
            "City of Lost Children, The (Cité des enfants perdus, La)",
            "The City of Lost Children (La Cité des enfants perdus)",
        ),
        ("One (Two, The) (Trois, Les)", "One (The Two) (Les Trois)"),
        ("Macbeth (a.k.a. Tragedy of Macbeth, The)", "Macbeth (a.k.a. The Tragedy of Macbeth)"),
        ("Good, the Bad and the Ugly, The", "The Good, the Bad and the Ugly"),
        ("Sex, Lies, and Videotape", "Sex, Lies, and Videotape"),
        ("Bye Bye, Love", "Bye Bye, Love"),
        ("Theory, Thereof", "Theory, Thereof"),
        ("Heat", "Heat"),
        ("Dieu&#8230;Créa", "Dieu…Créa"),
    ],
)
def test_display_title(title, shown):
    assert titles.display_title(title) == shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1::2::6::978300760\n", "rating is missing or outside"),
        ("1::2::0::978300760\n", "rating is missing or outside"),
        ("-1::2::3::978300760\n", "user -1 is below 0, where ids"),
        ("1::-2::3::978300760\n", "item -2 is below 0, where ids"),
        ("1::2::3::-1\n", "timestamp is missing or outside"),
        ("1::2::::978300760\n", "rating is missing or outside"),
        ("1::2::3::978300760\n1::3\n", "not a MovieLens ratings file"),
        ("1::2::x::978300760\n", "not a MovieLens ratings file"),
        ("<html>sign in</html>\n", "not a MovieLens ratings file"),
        ("", "holds no rating"),
    ],
)
def test_impossible_ratings_are_one_clear_error(tmp_path, text, message):
    (tmp_path / "ratings.dat").write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        movielens.load_ratings(tmp_path)
    assert "ratings.dat" in str(error.value)


def test_csv_columns_are_found_by_name(tmp_path):
    (tmp_path / "ratings.csv").write_text("movieId,userId,timestamp,rating\n20,1,900000000,4.5\n")
    assert movielens.load_ratings(tmp_path).loc[0].tolist() == [1, 20, 4.5, 900000000]
    (tmp_path / "ratings.csv").write_text("user,movieId,rating,timestamp\n1,20,4.5,900000000\n")
    with pytest.raises(ValueError, match="userId"):
        movielens.load_ratings(tmp_path)


def test_movies_of_other_tables(tmp_path):
    """Semicolons, blanks around the names, blank lines; a film without a title has one all the
    same."""
    text = "\nmovieId; title;genres \n  \n7;Heat, the (1995);Drama | War\n8;;\n"
    (tmp_path / "movies.csv").write_text(text)
    movies = movielens.load_movies(tmp_path)
    assert movies["title"].tolist() == ["Heat, the", "film 8"]
    assert movies["genres"].tolist() == ["Drama|War", ""]


def test_bad_movie_files_are_one_clear_error(tmp_path):
    for text, message in (
        ("1::A (1990)::Drama\n2:B (1991):Drama\n", "unexpected line: '2:B"),
        ("1::A (1990)::Drama\n1::B (1991)::Drama\n", "a movie id twice"),
        ("", "no line at all"),
    ):
        (tmp_path / "movies.dat").write_text(text)
        with pytest.raises(ValueError, match=message):
            movielens.load_movies(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('movieId,title,genres\n1,A (1990),"Drama\n2,B (1991),Comedy\n', "line 2: a quote opens"),
        ('movieId,title,genres\n1,"A (1990),X\n2,B,Y\n3,"C",Z\n', "line 2: a quote opens"),
        ("movieId,title,title,genres\n1,A (1990),B,X\n", "it has 2 columns 'title': rename one"),
    ],
)
def test_no_film_is_lost_in_a_movie_file(tmp_path, text, message):
    (tmp_path / "movies.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        movielens.load_movies(tmp_path)


@pytest.mark.parametrize("count", [17, 18, 20, 21, 40])
def test_flags_of_u_item_are_19(tmp_path, count):
    line = "7|X (1990)|01-Jan-1990||http://x|" + "|".join("1" * count)
    (tmp_path / "u.item").write_text(line)
    with pytest.raises(ValueError, match="unexpected line: '7|X"):
        movielens.load_movies(tmp_path)


def test_counts_are_checked_for_folders_named_after_a_fixed_set(tmp_path):
    folder = write_movielens(tmp_path / "ml-1m", "ml-1m")
    with pytest.raises(ValueError, match="1,000,209 are published"):
        movielens.load_ratings(folder)
    with pytest.raises(ValueError, match="3,883 are published"):
        movielens.load_movies(folder)
    assert len(movielens.load_ratings(folder, check_counts=False)) > 1000
    assert len(movielens.load_movies(folder, check_counts=False)) == 80


def test_a_folder_without_data_says_what_it_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match="u.data"):
        movielens.load_ratings(tmp_path)


@pytest.mark.parametrize("name", ["ml-1m", "ml-100k"])
def test_the_real_files_have_the_published_counts(name):
    folder = DATA / name
    if not folder.exists():
        pytest.skip(f"{name} is not in data/")
    ratings, movies = movielens.load_ratings(folder), movielens.load_movies(folder)
    interactions = Interactions.from_ratings(ratings)
    published = layouts.PUBLISHED[name]
    sizes = (len(interactions), interactions.n_users, interactions.n_items, len(movies))
    assert sizes == published
    assert movies["year"].isna().sum() == (name == "ml-100k")  # one film there has no name


# ------------------------------------------------------------------------------ downloads


def zip_of(files: dict[str, bytes]) -> bytes:
    blob = io.BytesIO()
    with zipfile.ZipFile(blob, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in files.items():
            zipped.writestr(name, content)
    return blob.getvalue()


@pytest.fixture(scope="module")
def good_zip(tiny_movielens) -> bytes:
    folder = tiny_movielens["ml-1m"]
    return zip_of({f"ml-1m/{f}": (folder / f).read_bytes() for f in ("ratings.dat", "movies.dat")})


def pin(monkeypatch, name: str, blob: bytes | None) -> None:
    """Publishes the checksum of `blob` (None: publishes none) for the set `name`."""
    sha256 = None if blob is None else hashlib.sha256(blob).hexdigest()
    monkeypatch.setitem(download.SOURCES, name, replace(download.SOURCES[name], sha256=sha256))


class Server:
    """Serves `routes` (path -> bytes, or how to misbehave) on 127.0.0.1 and counts requests."""

    def __init__(self) -> None:
        self.routes: dict[str, bytes | tuple[str, bytes]] = {}
        self.requests: list[str] = []
        self.over = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append(self.path)
                how, blob = "send", outer.routes.get(self.path)
                if isinstance(blob, tuple):
                    how, blob = blob
                if blob is None:
                    self.send_error(404)
                elif how == "hang":
                    outer.over.wait(20)
                else:
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(blob)))
                    self.end_headers()
                    self.wfile.write(blob if how == "send" else blob[: len(blob) // 2])
                    self.wfile.flush()
                    if how == "stall":
                        outer.over.wait(20)

            def log_message(self, *args) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    server = Server()
    yield server
    server.over.set()
    server.http.shutdown()
    server.http.server_close()


def fetch(server: Server, root: Path, *folders: str, name: str = "ml-1m", timeout: float = 5.0):
    mirrors = [f"{server.url}/{folder}/{{name}}.zip" for folder in folders]
    return download.download_movielens(name, root, mirrors=mirrors, timeout=timeout)


def left_in(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()}


def test_download_verifies_unpacks_and_is_not_repeated(server, tmp_path, monkeypatch, good_zip):
    pin(monkeypatch, "ml-1m", good_zip)
    server.routes["/a/ml-1m.zip"] = good_zip
    folder = fetch(server, tmp_path / "data", "a")
    assert folder == tmp_path / "data" / "ml-1m"
    assert len(movielens.load_ratings(folder, check_counts=False)) > 1000
    assert left_in(tmp_path / "data") == {"ml-1m", "ml-1m.zip"}
    fetch(server, tmp_path / "data", "a")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ("wrong checksum", "SHA-256"),
        ("404", "HTTP 404"),
        ("truncated", "the connection ended after"),
        ("hang", "timed out"),
        ("stall", "timed out"),
    ],
)
def test_a_bad_mirror_is_passed_over(server, tmp_path, monkeypatch, good_zip, trouble, reason):
    pin(monkeypatch, "ml-1m", good_zip)
    routes = {
        "wrong checksum": zip_of({"ml-1m/ratings.dat": b"1", "ml-1m/movies.dat": b"1"}),
        "truncated": ("truncate", good_zip),
        "hang": ("hang", b""),
        "stall": ("stall", good_zip),
    }
    if trouble in routes:
        server.routes["/bad/ml-1m.zip"] = routes[trouble]
    start = time.monotonic()
    with pytest.raises(DataUnavailable) as error:
        fetch(server, tmp_path, "bad", timeout=0.5)
    assert time.monotonic() - start < 3
    [(source, why)] = error.value.tried
    assert source == f"{server.url}/bad/ml-1m.zip"
    assert reason in why
    assert left_in(tmp_path) == set()
    server.routes["/good/ml-1m.zip"] = good_zip
    assert fetch(server, tmp_path, "bad", "good", timeout=0.5).is_dir()


def test_without_a_published_checksum_a_damaged_zip_is_still_refused(server, tmp_path, monkeypatch):
    noise = np.random.default_rng(0).bytes(50_000)
    blob = bytearray(zip_of({"ml-20m/ratings.csv": noise, "ml-20m/movies.csv": b"x"}))
    pin(monkeypatch, "ml-20m", None)
    blob[20_000] ^= 0xFF  # inside the packed bytes of ratings.csv
    server.routes["/a/ml-20m.zip"] = bytes(blob)
    server.routes["/b/ml-20m.zip"] = b"<html>sign in</html>"
    with pytest.raises(DataUnavailable) as error:
        fetch(server, tmp_path, "a", "b", name="ml-20m")
    reasons = [why for _, why in error.value.tried]
    assert any(word in reasons[0] for word in ("CRC", "decompress", "invalid"))
    assert "not a zip" in reasons[1]
    assert left_in(tmp_path) == set()


def test_every_source_is_listed_with_its_reason_and_the_way_by_hand(server, tmp_path):
    with pytest.raises(DataUnavailable) as error:
        fetch(server, tmp_path, "a", "b")
    message = str(error.value)
    assert f"{server.url}/a/ml-1m.zip: HTTP 404" in message
    assert f"{server.url}/b/ml-1m.zip: HTTP 404" in message
    assert "ml-1m.zip" in message
    assert str(tmp_path.resolve()) in message
    assert "ratings.dat and movies.dat" in message


def test_a_zip_placed_by_hand_is_used_without_the_network(server, tmp_path, monkeypatch, good_zip):
    pin(monkeypatch, "ml-1m", good_zip)
    (tmp_path / "ml-1m.zip").write_bytes(good_zip)
    assert fetch(server, tmp_path, "a").is_dir()
    assert server.requests == []


def test_a_bad_zip_placed_by_hand_is_named_and_passed_over(server, tmp_path, monkeypatch, good_zip):
    pin(monkeypatch, "ml-1m", good_zip)
    (tmp_path / "ml-1m.zip").write_bytes(good_zip[:-100])
    with pytest.raises(DataUnavailable) as error:
        fetch(server, tmp_path, "a")
    assert error.value.tried[0][0].endswith("ml-1m.zip")
    assert "SHA-256" in error.value.tried[0][1]
    server.routes["/a/ml-1m.zip"] = good_zip
    assert fetch(server, tmp_path, "a").is_dir()


def test_the_folder_of_ml_10m_gets_its_own_name(server, tmp_path, monkeypatch, good_zip):
    with zipfile.ZipFile(io.BytesIO(good_zip)) as zipped:
        files = {n.replace("ml-1m", "ml-10M100K"): zipped.read(n) for n in zipped.namelist()}
    server.routes["/a/ml-10m.zip"] = blob = zip_of(files)
    pin(monkeypatch, "ml-10m", blob)
    folder = fetch(server, tmp_path, "a", name="ml-10m")
    assert folder.name == "ml-10m"
    assert (folder / "ratings.dat").is_file()
    assert left_in(tmp_path) == {"ml-10m", "ml-10m.zip"}


@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/evil.txt", "ml-1m/../../evil.txt", "link"])
def test_members_outside_the_folder_are_refused(server, tmp_path, monkeypatch, good_zip, name):
    member = zipfile.ZipInfo(name)
    if name == "link":
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
    blob = io.BytesIO(good_zip)
    with zipfile.ZipFile(blob, "a") as zipped:
        zipped.writestr(member, "/etc/passwd")
    pin(monkeypatch, "ml-1m", blob.getvalue())
    server.routes["/a/ml-1m.zip"] = blob.getvalue()
    root = tmp_path / "data"
    with pytest.raises(DataUnavailable, match="outside its folder"):
        fetch(server, root, "a")
    assert left_in(root) == set()
    assert left_in(tmp_path) == {"data"}


def test_an_interrupt_leaves_no_folder_that_counts(server, tmp_path, monkeypatch, good_zip):
    pin(monkeypatch, "ml-1m", good_zip)
    server.routes["/a/ml-1m.zip"] = good_zip
    extract = zipfile.ZipFile.extractall

    def half(zipped, path):
        extract(zipped, path, members=["ml-1m/ratings.dat"])
        raise KeyboardInterrupt

    def before_rename(*paths):
        raise KeyboardInterrupt

    for target, name, broken in (
        (zipfile.ZipFile, "extractall", half),
        (os, "rename", before_rename),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(target, name, broken)
            with pytest.raises(KeyboardInterrupt):
                fetch(server, tmp_path, "a")
        assert left_in(tmp_path) == set()
    assert fetch(server, tmp_path, "a").is_dir()


def test_a_half_filled_folder_is_neither_used_nor_deleted(server, tmp_path):
    (tmp_path / "ml-1m").mkdir()
    (tmp_path / "ml-1m" / "ratings.dat").write_text("1::2::3::978300760\n")
    with pytest.raises(DataUnavailable, match="without movies.dat"):
        fetch(server, tmp_path, "a")
    assert left_in(tmp_path / "ml-1m") == {"ratings.dat"}
    assert server.requests == []


def test_an_expired_certificate_is_one_failed_attempt(server, tmp_path, monkeypatch, good_zip):
    pin(monkeypatch, "ml-1m", good_zip)
    server.routes["/a/ml-1m.zip"] = good_zip
    real = urllib.request.urlopen

    def urlopen(url, **options):
        assert set(options) == {"timeout"}  # no context of our own that could skip verification
        if url.startswith("https:"):
            expired = ssl.SSLCertVerificationError()
            expired.verify_message = "certificate has expired"
            raise urllib.error.URLError(expired)
        return real(url, **options)

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    mirrors = ["https://expired.example/{name}.zip", f"{server.url}/a/{{name}}.zip"]
    assert download.download_movielens("ml-1m", tmp_path, mirrors=mirrors).is_dir()
    with pytest.raises(DataUnavailable, match="certificate has expired"):
        download.download_movielens("ml-1m", tmp_path / "other", mirrors=mirrors[:1])


def test_a_name_look_up_that_hangs_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(
        urllib.request, "urlopen", lambda url, timeout: time.sleep(5) or io.BytesIO()
    )
    start = time.monotonic()
    with pytest.raises(DataUnavailable, match="timed out"):
        download.download_movielens("ml-1m", tmp_path, mirrors=["http://x/{name}.zip"], timeout=0.2)
    assert time.monotonic() - start < 2


def test_an_unknown_name_lists_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="ml-latest-small"):
        download.download_movielens("ml-2m", tmp_path)


WHEEL_ITEMS = """item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq
1\tToy Days\t1995\tAnimation Children's Comedy
2\tCafé Noir, Le\t1996\tFilm-Noir
267\tunkonwn\tunkonwn\tunknown
1412\tTape III (1995)\tV\tAnimation Children's
"""


@pytest.fixture
def fake_pip(monkeypatch):
    """`pip download` that leaves a small wheel; returns the commands it was called with."""
    base = "recbole/dataset_example/ml-100k/ml-100k"
    ratings = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    ratings += "9\t2\t4\t881250949\n9\t1\t3\t881250949\n3\t1412\t5\t881250000\n"
    users = "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
    users += "3\t24\tM\tartist\t85711\n9\t30\tF\twriter\t05201\n"
    contents = {"inter": ratings, "item": WHEEL_ITEMS, "user": users}
    wheel = zip_of({f"{base}.{kind}": text.encode() for kind, text in contents.items()})
    monkeypatch.setattr(download, "_WHEEL_SHA256", hashlib.sha256(wheel).hexdigest())
    commands = []

    def run(command, **options):
        commands.append((command, options))
        folder = Path(command[command.index("-d") + 1])
        (folder / "recbole-1.2.1-py3-none-any.whl").write_bytes(wheel)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_ml_100k_out_of_the_wheel(tmp_path, fake_pip):
    folder = download.download_movielens("ml-100k", tmp_path, mirrors=[])
    [(command, options)] = fake_pip
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "recbole==1.2.1"} <= set(command)
    assert options["timeout"] <= 30
    assert left_in(tmp_path) == {"ml-100k"}
    rows = "9\t2\t4\t881250949\n9\t1\t3\t881250949\n3\t1412\t5\t881250000\n"
    assert (folder / "u.data").read_text() == rows
    assert (folder / "u.user").read_text().startswith("3|24|M|artist|85711\n")
    lines = (folder / "u.item").read_bytes().decode("latin-1").splitlines()
    assert {len(line.split("|")) for line in lines} == {24}
    assert lines[1].startswith("2|Café Noir, Le (1996)|")
    movies = movielens.load_movies(folder, check_counts=False)
    assert movies["title"].tolist() == ["Toy Days", "Café Noir, Le", "unknown", "Tape III"]
    assert movies["year"].tolist() == [1995, 1996, pd.NA, 1995]
    genres = ["Animation|Children's|Comedy", "Film-Noir", "", "Animation|Children's"]
    assert movies["genres"].tolist() == genres


def test_a_wheel_with_another_checksum_is_refused(tmp_path, fake_pip, monkeypatch):
    monkeypatch.setattr(download, "_WHEEL_SHA256", "0" * 64)
    with pytest.raises(DataUnavailable, match="pip download recbole==1.2.1: SHA-256"):
        download.download_movielens("ml-100k", tmp_path, mirrors=[])
    assert left_in(tmp_path) == set()


def test_a_pip_that_fails_or_hangs_is_one_failed_attempt(tmp_path, monkeypatch):
    for error, reason in (
        (subprocess.CalledProcessError(1, "pip", stderr="x\nERROR: no network"), "no network"),
        (subprocess.TimeoutExpired("pip", 30), "not done within 30 s"),
        (FileNotFoundError("no python"), "no python"),
    ):

        def run(*args, error=error, **options):
            raise error

        monkeypatch.setattr(subprocess, "run", run)
        with pytest.raises(DataUnavailable, match=reason):
            download.download_movielens("ml-100k", tmp_path, mirrors=[])


# The mirrors of `open_movielens` are bound when the file is read, so it is watched through the
# one function it calls.


@pytest.fixture
def downloads(monkeypatch):
    """Records what `open_movielens` asks for; ml-1m is not to be had, ml-100k is."""
    asked = []

    def fake(name, root, **options):
        asked.append((name, options))
        if name != "ml-100k":
            raise DataUnavailable(name, Path(root), [("https://a.example/x.zip", "HTTP 404")])
        return Path(root) / name

    monkeypatch.setattr(download, "download_movielens", fake)
    return asked


def test_without_a_name_ml_100k_stands_in_with_one_sentence(tmp_path, downloads, capsys):
    assert download.open_movielens(None, tmp_path) == ("ml-100k", tmp_path / "ml-100k")
    assert [name for name, _ in downloads] == ["ml-1m", "ml-100k"]
    assert downloads[1][1]["timeout"] < download.TIMEOUT  # those hosts have just failed
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "a.example: HTTP 404" in err
    assert "goes on with ml-100k" in err


def test_a_named_set_that_is_not_to_be_had_is_an_error(tmp_path, downloads, capsys):
    with pytest.raises(DataUnavailable, match="ml-1m could not be had"):
        download.open_movielens("ml-1m", tmp_path)
    assert [name for name, _ in downloads] == ["ml-1m"]
    assert capsys.readouterr().err == ""


def test_what_is_there_is_used_without_asking(tmp_path, downloads, capsys):
    write_movielens(tmp_path / "ml-100k", "ml-100k")
    assert download.open_movielens(None, tmp_path)[0] == "ml-100k"
    assert downloads == []
    assert capsys.readouterr().err.count("\n") == 1


def test_ml_1m_comes_before_ml_100k_where_both_are_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(download, "fetch", lambda *args: pytest.fail("asked the network"))
    write_movielens(tmp_path / "ml-100k", "ml-100k")
    write_movielens(tmp_path / "ml-1m", "ml-1m")
    assert download.open_movielens(None, tmp_path) == ("ml-1m", tmp_path / "ml-1m")
    assert capsys.readouterr().err == ""


def test_a_zip_of_ml_1m_comes_before_an_ml_100k_folder(tmp_path, monkeypatch, good_zip):
    pin(monkeypatch, "ml-1m", good_zip)
    write_movielens(tmp_path / "ml-100k", "ml-100k")
    (tmp_path / "ml-1m.zip").write_bytes(good_zip)
    assert download.open_movielens(None, tmp_path)[0] == "ml-1m"


# -------------------------------------------------------------------------------- tensors


def frame(*rows: tuple[int, int, float, int]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["user", "item", "rating", "timestamp"])


@pytest.fixture(scope="module")
def tiny(tiny_movielens) -> Interactions:
    return Interactions.from_ratings(movielens.load_ratings(tiny_movielens["ml-1m"]))


@pytest.fixture(scope="module")
def gappy(tiny) -> Interactions:
    """Some users have no row, some one or two."""
    kept = torch.rand(len(tiny), generator=torch.Generator().manual_seed(3)) < 0.1
    return tiny.select(kept & (tiny.user % 7 != 0))


def test_id_map_goes_there_and_back():
    ids = IdMap(np.array([3, 7, 20]))
    assert len(ids) == 3
    assert ids.index([20, 3, 5, 0, 99, 7]).tolist() == [2, 0, -1, -1, -1, 1]
    assert ids.index(torch.tensor([[3], [8]])).tolist() == [[0], [-1]]
    assert ids.index([]).dtype == torch.int64
    assert ids.index(np.array([7], dtype=np.int32)).dtype == torch.int64
    assert ids.id(torch.tensor([[2, 0]])).tolist() == [[20, 3]]
    assert ids.ids.dtype == np.int64
    assert IdMap(np.array([], dtype=int)).index([1]).tolist() == [-1]


@pytest.mark.parametrize("index", [-1, 3])
def test_padding_and_unknown_have_no_id(index):
    with pytest.raises(IndexError):
        IdMap(np.array([3, 7, 20])).id([index])


def test_id_map_refuses_what_is_no_id():
    with pytest.raises(TypeError, match="integers"):
        IdMap(np.array([3, 7])).index([3.0])
    with pytest.raises(TypeError, match="integers"):
        IdMap(np.array([3, 7])).index(["3"])
    for bad in ([7, 3], [3, 3], [[3, 7]]):
        with pytest.raises(ValueError, match="ascending"):
            IdMap(np.array(bad))
    for bad in ("f\0", "\0", "a\x1b[1m", "a\n", "a\ud800"):
        with pytest.raises(ValueError, match="holds a control character"):
            IdMap(["a", bad])


def test_a_nul_at_the_end_makes_another_id():
    """NumPy's text does not keep it."""
    ids = IdMap(["f", "f01"])
    assert ids.places(["f01\0", "f01", "f\0", "f", "\0"]).tolist() == [-1, 1, -1, 0, -1]
    assert ids.places(np.array([["f", "g"]])).tolist() == [[0, -1]]
    assert ids.places([]).tolist() == []


def test_rows_are_ordered_by_user_and_time_and_ties_keep_the_file_order():
    ratings = frame(
        (9, 50, 1.0, 100), (5, 70, 2.0, 30), (9, 10, 3.0, 100), (5, 60, 4.0, 20),
        (9, 30, 5.0, 100), (9, 90, 1.5, 99), (5, 80, 2.5, 20),
    )  # fmt: skip
    x = Interactions.from_ratings(ratings)
    assert x.user_ids.id(x.user).tolist() == [5, 5, 5, 9, 9, 9, 9]
    assert x.item_ids.id(x.item).tolist() == [60, 80, 70, 90, 50, 10, 30]
    assert x.rating.tolist() == [4.0, 2.5, 2.0, 1.5, 1.0, 3.0, 5.0]
    assert x.timestamp.tolist() == [20, 20, 30, 99, 100, 100, 100]
    assert x.offsets.tolist() == [0, 3, 7]
    assert (x.n_users, x.n_items, len(x)) == (2, 7, 7)
    types = (x.user.dtype, x.item.dtype, x.rating.dtype, x.timestamp.dtype)
    assert types == (torch.int64, torch.int64, torch.float32, torch.int64)


@pytest.mark.parametrize("layout", ["ml-1m", "ml-100k"])
def test_a_real_file_is_sorted_as_a_stable_sort_does(tiny_movielens, layout):
    ratings = movielens.load_ratings(tiny_movielens[layout])
    x = Interactions.from_ratings(ratings)
    rows = sorted(ratings.itertuples(index=False), key=lambda row: (row.user, row.timestamp))
    assert x.user_ids.id(x.user).tolist() == [row.user for row in rows]
    assert x.item_ids.id(x.item).tolist() == [row.item for row in rows]
    assert x.timestamp.tolist() == [row.timestamp for row in rows]
    ties = (x.user[1:] == x.user[:-1]) & (x.timestamp[1:] == x.timestamp[:-1])
    assert ties.sum() > 100


def test_a_repeated_pair_is_refused():
    with pytest.raises(ValueError, match="more than one rating"):
        Interactions.from_ratings(frame((1, 2, 3.0, 10), (4, 2, 3.0, 10), (1, 2, 5.0, 99)))


def test_select_keeps_the_maps_and_wants_a_mask(tiny):
    part = tiny.select(tiny.rating >= 4)
    assert part.item_ids is tiny.item_ids
    assert part.n_users == tiny.n_users
    assert torch.equal(part.item, tiny.item[tiny.rating >= 4])
    with pytest.raises(ValueError, match="a mask is bool"):
        tiny.select(torch.arange(3))


def test_concat_puts_the_parts_back_together(tiny):
    mask = torch.rand(len(tiny), generator=torch.Generator().manual_seed(0)) < 0.5
    both = tiny.select(mask).concat(tiny.select(~mask))
    assert torch.equal(both.user, tiny.user)
    assert torch.equal(both.timestamp, tiny.timestamp)
    pairs = [set(zip(x.user.tolist(), x.item.tolist(), strict=True)) for x in (both, tiny)]
    assert pairs[0] == pairs[1]


def test_concat_puts_its_own_rows_first_on_ties():
    x = Interactions.from_ratings(
        frame((1, 1, 3.0, 5), (1, 2, 3.0, 5), (1, 3, 3.0, 4), (1, 4, 3.0, 5))
    )
    for mine, order in ((x.item == 3, [2, 3, 0, 1]), (x.item < 2, [2, 0, 1, 3])):
        assert x.select(mine).concat(x.select(~mine)).item.tolist() == order
    other = Interactions.from_ratings(frame((1, 1, 3.0, 5)))
    with pytest.raises(ValueError, match="same id maps"):
        x.concat(other)


def users_of(x: Interactions) -> torch.Tensor:
    """Every user in no order, one of them twice, and one the model has never met."""
    order = torch.randperm(x.n_users, generator=torch.Generator().manual_seed(1))
    return torch.cat([order, order[:1], torch.tensor([x.n_users])])


def test_rows_of_equals_a_loop(gappy):
    users = users_of(gappy)
    batch, row = gappy.rows_of(users)
    expected = [
        (b, r)
        for b, user in enumerate(users.tolist())
        for r, owner in enumerate(gappy.user.tolist())
        if owner == user
    ]
    assert list(zip(batch.tolist(), row.tolist(), strict=True)) == expected
    assert (gappy.offsets.diff() == 0).any()


def test_rows_of_nobody_and_of_somebody_impossible(gappy):
    batch, row = gappy.rows_of(torch.tensor([], dtype=torch.int64))
    assert (len(batch), len(row)) == (0, 0)
    for user in (-1, gappy.n_users + 1):
        with pytest.raises(IndexError, match="user index"):
            gappy.rows_of(torch.tensor([user]))


@pytest.mark.parametrize("length", [None, 1, 3, 200])
@pytest.mark.parametrize("min_rating", [None, 4.0])
def test_histories_equal_a_loop(gappy, tiny, length, min_rating):
    for x in (gappy, tiny):
        users = users_of(x)
        h = x.histories(users, length, min_rating)
        rows = [
            [
                (i, r)
                for u, i, r in zip(x.user.tolist(), x.item.tolist(), x.rating.tolist(), strict=True)
                if u == user and (min_rating is None or r >= min_rating)
            ]
            for user in users.tolist()
        ]
        width = max(map(len, rows)) if length is None else length
        padded = [[(x.n_items, 0.0)] * (width - len(r)) + r[max(0, len(r) - width) :] for r in rows]
        assert len(h) == len(users)
        assert torch.equal(h.user, users)
        assert h.item.tolist() == [[i for i, _ in row] for row in padded]
        assert h.rating.tolist() == [[r for _, r in row] for row in padded]
        assert (h.item.dtype, h.rating.dtype) == (torch.int64, torch.float32)


def test_histories_of_an_empty_batch(tiny):
    nobody = torch.tensor([], dtype=torch.int64)
    assert tiny.histories(nobody).item.shape == (0, 0)
    assert tiny.histories(nobody, 5).item.shape == (0, 5)


def test_mask_of_equals_a_loop(gappy):
    users = users_of(gappy)
    mask = gappy.mask_of(users)
    assert (mask.dtype, mask.shape) == (torch.bool, (len(users), gappy.n_items))
    pairs = set(zip(gappy.user.tolist(), gappy.item.tolist(), strict=True))
    expected = [[(u, i) in pairs for i in range(gappy.n_items)] for u in users.tolist()]
    assert mask.tolist() == expected


# --------------------------------------------------------------------------------- splits


def assert_partition(split: splits.Split, whole: Interactions) -> None:
    parts = (split.train, split.validation, split.test)
    pairs = [p for x in parts for p in zip(x.user.tolist(), x.item.tolist(), strict=True)]
    assert len(pairs) == len(whole)
    assert set(pairs) == set(zip(whole.user.tolist(), whole.item.tolist(), strict=True))
    for x in parts:
        assert x.item_ids is whole.item_ids
        assert (x.user.diff() >= 0).all()


def test_leave_one_out_takes_the_last_two(tiny):
    split = splits.leave_one_out(tiny)
    assert_partition(split, tiny)
    for user in range(tiny.n_users):
        rows = tiny.item[tiny.user == user].tolist()
        assert split.test.item[split.test.user == user].tolist() == rows[-1:]
        assert split.validation.item[split.validation.user == user].tolist() == rows[-2:-1]
        assert split.train.item[split.train.user == user].tolist() == rows[:-2]


def test_leave_one_out_on_ties_takes_the_last_row_of_the_file():
    x = Interactions.from_ratings(frame(*[(1, item, 4.0, 7) for item in (30, 10, 40, 20)]))
    split = splits.leave_one_out(x)
    assert x.item_ids.id(split.test.item).tolist() == [20]
    assert x.item_ids.id(split.validation.item).tolist() == [40]


def test_leave_one_out_leaves_short_users_in_train(gappy):
    split = splits.leave_one_out(gappy)
    assert_partition(split, gappy)
    counts = gappy.offsets.diff()
    assert ((counts > 0) & (counts < 3)).any()
    assert split.test.user.tolist() == (counts >= 3).nonzero().flatten().tolist()
    assert split.validation.user.tolist() == split.test.user.tolist()


def test_random_split_has_exact_shares_and_a_seed(tiny):
    split = splits.random_split(tiny, 0.2, seed=5, validation_share=0.1)
    assert_partition(split, tiny)
    assert len(split.test) == round(0.2 * len(tiny))
    assert len(split.validation) == round(0.1 * len(tiny))
    torch.manual_seed(99)  # the global state has no say
    again = splits.random_split(tiny, 0.2, seed=5, validation_share=0.1)
    assert torch.equal(split.test.item, again.test.item)
    other = splits.random_split(tiny, 0.2, seed=6, validation_share=0.1)
    assert not torch.equal(split.test.item, other.test.item)
    assert len(splits.random_split(tiny).validation) == 0
    with pytest.raises(ValueError, match="training part"):
        splits.random_split(tiny, 0.9, validation_share=0.1)


def test_split_users_is_by_whole_users():
    parts = splits.split_users(103, (0.8, 0.1, 0.1), generator=torch.Generator().manual_seed(0))
    assert [len(part) for part in parts] == [82, 11, 10]
    assert sorted(torch.cat(parts).tolist()) == list(range(103))
    assert all((part.diff() > 0).all() for part in parts)
    other = splits.split_users(103, generator=torch.Generator().manual_seed(1))
    assert not torch.equal(parts[0], other[0])
    again = splits.split_users(103, generator=torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(parts, again, strict=True))
    with pytest.raises(ValueError, match="add up to 1"):
        splits.split_users(10, (0.5, 0.1), generator=torch.Generator())


def test_split_by_time_never_looks_ahead(tiny):
    split = splits.split_by_time(tiny, 0.2, 0.1)
    assert_partition(split, tiny)
    assert split.train.timestamp.max() < split.validation.timestamp.min()
    assert split.validation.timestamp.max() < split.test.timestamp.min()
    assert abs(len(split.test) / len(tiny) - 0.2) < 0.02
    assert abs(len(split.validation) / len(tiny) - 0.1) < 0.02


def test_split_by_time_keeps_a_shared_time_on_the_older_side():
    rows = [(1, item, 4.0, time) for item, time in enumerate([1, 2, 3, 4, 4, 4, 4, 4, 9, 9], 1)]
    x = Interactions.from_ratings(frame(*rows))
    split = splits.split_by_time(x, 0.3, 0.2)
    assert split.train.timestamp.tolist() == [1, 2, 3, 4, 4, 4, 4, 4]
    assert split.validation.timestamp.tolist() == []
    assert split.test.timestamp.tolist() == [9, 9]


@pytest.mark.parametrize("share", [-0.1, 1, np.nan, None, "a"])
def test_shares_are_numbers_that_leave_something(tiny, share):
    for split in (splits.random_split, splits.split_by_time):
        with pytest.raises(ValueError, match="shares must not be negative"):
            split(tiny, share)
    with pytest.raises(ValueError, match="shares must not be negative"):
        splits.split_users(10, (share, 0.5))
    with pytest.raises(ValueError, match="n_users is a whole number"):
        splits.split_users(-1)


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("rating", [10**400, 4], "a rating is missing or outside"),
        ("rating", [4, 5 + 1j], "row 2 of the ratings: .*is no number"),
        ("timestamp", np.array([1, 2**63], np.uint64), "row 2 .* is too large"),
    ],
)
def test_numbers_that_would_be_others_are_refused(column, values, words):
    ratings = frame((1, 5, 4.0, 100), (1, 6, 5.0, 200))
    ratings[column] = values
    with pytest.raises(ValueError, match=words):
        Interactions.from_ratings(ratings)


def test_what_is_no_mask_is_refused(tiny):
    with pytest.raises(ValueError, match="a mask is a tensor"):
        tiny.select([True] * len(tiny))
