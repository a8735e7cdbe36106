"""Data of one's own through the one door: read right, or refused with file and line."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path

import gymnasium
import numpy as np
import pandas as pd
import pytest
import torch
from synthetic import write_movielens
from toys import SMALL, SMALL_SET, changed, random_log

from recsys_rl import train
from recsys_rl.agent import build as building
from recsys_rl.baselines.registry import BASELINES, check_baselines
from recsys_rl.command.main import main
from recsys_rl.data import download, layouts, memory_limit, mirrors, movielens, opening
from recsys_rl.data.atomic_files import writable
from recsys_rl.data.column_values import BadRow, as_ids, as_numbers, as_seconds, on_scale
from recsys_rl.data.films import read_films, with_all
from recsys_rl.data.interactions import IdMap, Interactions, fingerprint
from recsys_rl.data.movie_files import read_movies
from recsys_rl.data.opening import NoSuchData, find_data, open_data
from recsys_rl.embeddings.cooccurrence import Cooccurrence
from recsys_rl.embeddings.pmf import PMF
from recsys_rl.envs.registration import GymColdStartEnv, load_users
from recsys_rl.experiments import configs_of
from recsys_rl.serving import Recommender
from recsys_rl.tasks.registry import task_of

HEADER = "userId,movieId,rating,timestamp\n"
WHEN = 978_300_760


@pytest.fixture
def read(tmp_path: Path):
    """read("1,2,3,4\n", ...) -> the data of a folder with these rows in its ratings.csv."""

    def read(rows: str, movies: str = "", header: str = HEADER, **options: object) -> opening.Data:
        folder = tmp_path / "my-films"
        folder.mkdir(exist_ok=True)
        (folder / "ratings.csv").write_bytes((header + rows).encode())
        if movies:
            (folder / "movies.csv").write_bytes(f"movieId,title,genres\n{movies}".encode())
        return open_data("my-films", tmp_path, **options)

    return read


def rows_of(data: opening.Data) -> list[tuple]:
    return list(data.ratings.itertuples(index=False, name=None))


# ------------------------------------------------------------------------------ by what name


@pytest.mark.parametrize("layout", ["ml-1m", "ml-100k", "csv"])
def test_a_folder_of_any_name_in_any_layout(tmp_path, layout, monkeypatch):
    monkeypatch.setattr(mirrors, "_open", lambda *args: pytest.fail("asked the network"))
    folder = write_movielens(tmp_path / "data" / "my films", layout)
    for named, root in (("my films", tmp_path / "data"), (folder, tmp_path / "none")):
        data = open_data(named, root)
        assert (data.name, data.path) == ("my films", folder)
        assert data.interactions().n_users == 60
        assert set(data.ratings["item"]) <= set(data.movies["item"])


def test_published_names_are_downloaded_and_others_are_not(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(download, "open_movielens", lambda *args: asked.append(args) or args)
    find_data("ml-20m", tmp_path)
    find_data(None, tmp_path)
    assert asked == [("ml-20m", tmp_path), (None, tmp_path)]
    with pytest.raises(NoSuchData, match="'ml-20m'"):
        find_data("ml-20m", tmp_path, fetch=False)
    assert len(asked) == 2


@pytest.mark.parametrize("name", ["ml-2m", "", "x" * 400, "a\0b", ".", "empty"])
def test_a_name_of_nothing_is_one_sentence(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoSuchData, match="there is no data set") as error:
        open_data(name, tmp_path)
    assert "\n" not in str(error.value)


def test_a_table_has_the_columns_that_are_named(tmp_path):
    text = "when;score;film;uid;more\n5;3;tt1;ann;x\n4;5;tt2;ann;x\n"
    (tmp_path / "scores.csv").write_text(text)
    columns = {"user": "uid", "item": "film", "rating": "score", "timestamp": "when"}
    for name in ("scores", "scores.csv", tmp_path / "scores.csv"):
        data = open_data(name, tmp_path, columns=columns)
        assert rows_of(data) == [("ann", "tt1", 3.0, 5), ("ann", "tt2", 5.0, 4)]
        assert data.name == "scores"
        assert data.movies["title"].tolist() == ["film tt1", "film tt2"]
    with pytest.raises(ValueError, match="scores.csv has no column 'user' or 'item'.*uid, more"):
        open_data("scores", tmp_path)
    with pytest.raises(ValueError, match="and not 'film'"):
        open_data("scores", tmp_path, columns={"film": "film"})


def test_columns_may_be_named_in_a_folder_with_a_header_only(read, tmp_path):
    data = read("1,2,3,4\n", header="a,movieId,rating,timestamp\n", columns={"user": "a"})
    assert rows_of(data) == [(1, 2, 3.0, 4)]
    folder = write_movielens(tmp_path / "dat", "ml-1m")
    with pytest.raises(ValueError, match=r"ratings\.dat has no header"):
        open_data(folder, columns={"user": "a"})


def test_parquet_is_read_where_pyarrow_is(tmp_path):
    pytest.importorskip("pyarrow")
    table = pd.DataFrame({"user": ["010", "10"], "item": [2**40, 7], "rating": [4, 5]})
    table["timestamp"] = pd.to_datetime([WHEN, WHEN - 1], unit="s").tz_localize("UTC")
    table.to_parquet(tmp_path / "scores.parquet")
    data = open_data("scores", tmp_path)
    assert rows_of(data) == [("010", 2**40, 4.0, WHEN), ("10", 7, 5.0, WHEN - 1)]
    table["rating"] = [4.0, None]
    table.to_parquet(tmp_path / "scores.parquet")
    with pytest.raises(ValueError, match=r"scores\.parquet is not .*: row 2: a rating is missing"):
        open_data("scores", tmp_path)


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "scores.parquet").write_bytes(b"PAR1")

    def absent(*args, **options):
        raise ImportError

    monkeypatch.setattr(pd, "read_parquet", absent)
    with pytest.raises(ValueError, match="pip install pyarrow"):
        open_data("scores", tmp_path)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("1,10,True,5\n1,11,True,6\n", "line 2: the rating 'True' is no number"),
        ("1,10,5,True\n1,11,4,False\n", "line 2: the timestamp 'True' is neither a number"),
    ],
)
def test_truths_are_no_numbers(read, rows, sentence):
    with pytest.raises(ValueError, match=sentence):
        read(rows)
    assert [row[2] for row in rows_of(read("1,10,1,0\n1,11,1,1\n"))] == [1, 1]
    truths = pd.Series([True, False])
    for column in (truths, truths.astype("boolean"), truths.astype(object)):
        with pytest.raises(BadRow, match="the rating True is no number"):
            as_numbers(column, "rating")
        with pytest.raises(BadRow, match="the timestamp True is no number"):
            as_seconds(column)


@pytest.mark.parametrize("odd", ["inf", "1e30", "9" * 30])
def test_times_beyond_every_calendar_are_told(read, odd):
    with pytest.raises(ValueError, match=r"line 3: a timestamp is missing or outside 0 \.\. 2\^63"):
        read(f"1,10,4,978300000123456789\n1,11,4,{odd}\n")


def test_nanoseconds_keep_their_order_however_they_are_written():
    times = [978300000123456000 + n for n in (789, 788, 787)]
    texts = [str(times[0]), f"{times[1]}.0", str(times[2])]
    for written in (times, list(map(Decimal, times)), texts):
        seconds, order = as_seconds(pd.Series(written, dtype=object))
        assert seconds.tolist() == [978300000] * 3
        assert order.tolist() == [2, 1, 0]


@pytest.mark.parametrize("odd", ["\u2028", "\x85", "\x0b", "\x0c", "\x1e"])
def test_a_header_ends_where_its_line_ends(tmp_path, odd):
    rows = f"user,item,no{odd}te,rating,timestamp\n1,10,x,4,{WHEN}\n"
    (tmp_path / "scores.csv").write_text(rows, encoding="utf-8")
    assert rows_of(open_data("scores.csv", tmp_path)) == [(1, 10, 4, WHEN)]


def test_a_header_in_quotes_may_have_spaces_between(tmp_path):
    rows = f'"user", "item", "rating", "timestamp"\n"a", "10", "4", "{WHEN}"\n'
    (tmp_path / "scores.csv").write_text(rows, encoding="utf-8")
    assert rows_of(open_data("scores.csv", tmp_path)) == [("a", 10, 4, WHEN)]


def test_an_empty_line_between_line_ends_of_old_macs_is_refused(tmp_path):
    path = tmp_path / "scores.csv"
    for fine in (
        b'note,user,item,rating\r\n"good\r\rfilm",1,10,4\r\n,2,20,3\r\n',
        b"note,user,item,rating\rx,1,10,4\r\rx,2,20,3\r\r",
    ):
        path.write_bytes(fine)
        data = open_data("scores.csv", tmp_path, order="file")
        assert [row[:3] for row in rows_of(data)] == [(1, 10, 4), (2, 20, 3)]
    path.write_bytes(b"note,user,item,rating\rx,1,10,4\r\r,2,20,3\rx,3,30,4\r")
    with pytest.raises(ValueError, match="lines end in CR, as on old Macs, and some are empty"):
        open_data("scores.csv", tmp_path, order="file")
    path.write_bytes(b"note,user,item,rating\rx,1,10,4\r,2,20,3\r")
    assert [row[:3] for row in rows_of(open_data("scores.csv", tmp_path, order="file"))] == [
        (1, 10, 4),
        (2, 20, 3),
    ]


def test_parquet_with_a_column_as_its_index_has_that_column(tmp_path, monkeypatch):
    table = pd.DataFrame(
        {"user": [1, 2], "item": [3, 4], "rating": [4.0, 5.0], "timestamp": [5, 6]}
    )
    (tmp_path / "scores.parquet").write_bytes(b"PAR1")
    monkeypatch.setattr(pd, "read_parquet", lambda path: table.set_index(["user"]))
    assert rows_of(open_data("scores", tmp_path)) == [(1, 3, 4, 5), (2, 4, 5, 6)]


@pytest.mark.parametrize(
    ("content", "sentence"), [(b"PAR1", "cannot be read: too odd"), (b"PK", "is no Parquet file")]
)
def test_a_parquet_file_that_cannot_be_read_is_told_from_another(
    tmp_path, monkeypatch, content, sentence
):
    (tmp_path / "scores.parquet").write_bytes(content)

    def failing(*args, **options):
        raise OverflowError("too odd")

    monkeypatch.setattr(pd, "read_parquet", failing)
    with pytest.raises(ValueError, match=rf"scores\.parquet {sentence}"):
        open_data("scores", tmp_path)


# ---------------------------------------------------------------------------- as it is written


@pytest.mark.parametrize("layout", ["ml-1m", "ml-100k", "csv"])
def test_a_byte_order_mark_and_line_ends_of_windows_change_nothing(tmp_path, layout):
    plain = open_data(write_movielens(tmp_path / "plain", layout))
    for path in write_movielens(tmp_path / "other", layout).iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    other = open_data(tmp_path / "other")
    pd.testing.assert_frame_equal(plain.ratings, other.ratings)
    pd.testing.assert_frame_equal(plain.movies, other.movies)


def test_moved_and_extra_columns(read, tmp_path):
    data = read("7,4,1,20,3\n", header="tag,timestamp,userId,movieId,rating\n")
    assert rows_of(data) == [(1, 20, 3.0, 4)]
    assert rows_of(read("1,20,3,4,\n1,21,3,4,\n"))[0] == (1, 20, 3.0, 4)  # not moved to the left
    folder = tmp_path / "my-films"
    (folder / "movies.csv").write_text("genres,imdb,movieId,title\nDrama,9,20,Heat (1995)\n")
    assert movielens.load_movies(folder).loc[0].tolist() == [20, "Heat", 1995, "Drama"]
    (folder / "movies.csv").write_text("movieId,title\n20,Heat (1995)\n")
    with pytest.raises(ValueError, match=r"movies\.csv is not .*line 1: no column genres"):
        movielens.load_movies(folder)
    (folder / "u.data").write_text("0\t2\t3\t10\t9\n")
    (folder / "ratings.csv").unlink()
    assert movielens.load_ratings(folder).loc[0].tolist() == [0, 2, 3.0, 10]


@pytest.mark.parametrize("more", ["", "::9", "::9::x", "::"])
def test_files_without_a_header_may_have_more_columns(more, tmp_path):
    folder = tmp_path / "dat"
    folder.mkdir()
    (folder / "ratings.dat").write_text(f"1::2::3::{WHEN}{more}\n1::3::4::{WHEN}{more}\n")
    assert rows_of(open_data(folder)) == [(1, 2, 3.0, WHEN), (1, 3, 4.0, WHEN)]
    (folder / "ratings.dat").rename(folder / "u.data")
    (folder / "u.data").write_text((folder / "u.data").read_text().replace("::", "\t"))
    assert rows_of(open_data(folder)) == [(1, 2, 3.0, WHEN), (1, 3, 4.0, WHEN)]


@pytest.mark.parametrize(
    ("row", "columns"),
    [("1,3,4,5,978300760", 5), ("1,3,5,1,978300760", 5), ('"a,b",3,5,4,1', 5), ("1,3,5,4,,x", 6)],
)
def test_a_line_with_more_columns_than_the_first_is_refused(read, row, columns):
    """A decimal comma, for instance: the time would be taken for stars, or stars for the time."""
    with pytest.raises(ValueError, match=rf"ratings\.csv .*line 4: it has {columns} columns, the"):
        read(f"1,2,3,4\n\n{row}\n1,5,3,4\n")


@pytest.mark.parametrize(
    "rows",
    ["1,9,5,4,x\n2,9,4,5\n", "1,9,5,4,x\n2,9,4,5\n3,9,4,5,6,x\n", '1,"9",5,4,x\n2,"9",4,5\n'],
)
def test_a_line_with_fewer_columns_than_the_first_is_refused(read, rows):
    """Whichever column it lacks: what is left would be read as others. A longer line elsewhere, or
    quotes, do not hide it."""
    with pytest.raises(ValueError, match=r"line 3: it has 4 columns, the first line has 5"):
        read(rows, header="userId,movieId,rating,timestamp,tag\n")
    assert rows_of(read("1,2,3,4\n", header=HEADER.strip() + ",\n")) == [(1, 2, 3.0, 4)]


@pytest.mark.parametrize("row", ["2::9::4::5", "2::9::4::5::6::x"])
def test_lines_without_a_header_are_as_long_as_the_first(tmp_path, row):
    folder = tmp_path / "dat"
    folder.mkdir()
    count = row.count("::") + 1
    (folder / "ratings.dat").write_text(f"1::9::5::4::x\n{row}\n")
    with pytest.raises(ValueError, match=rf"line 2: it has {count} columns, the first line has 5"):
        open_data(folder)


@pytest.mark.parametrize("rows", ['1,"9\n",5,4\n1,8,x,4\n', '1,9,5,4\n\n1,"8,5,4\n'])
def test_quotes_leave_the_line_numbers_right(read, rows):
    """Over two lines, or over the rest of the file."""
    with pytest.raises(ValueError, match=r"ratings\.csv is not .*line 4: "):
        read(rows)


def test_a_quote_that_is_not_closed_is_named_by_line(read):
    with pytest.raises(ValueError, match=r"ratings\.csv is not .*line 3: a quote opens a value"):
        read('1,9,5,4\n1,8,5,"4\n')


@pytest.mark.parametrize("rows", ["1,2,3,4,\n", '"1","2","3","4"\n', "\n1,2,3,4", '1,"2\n",3,4\n'])
def test_quotes_and_empty_columns_at_the_end_are_no_more_columns(read, rows):
    assert rows_of(read(rows)) == [(1, 2, 3.0, 4)]


def test_a_comma_in_a_title_without_quotes_is_refused(read):
    with pytest.raises(ValueError, match=r"movies\.csv .*line 3: 4 columns where the header has 3"):
        read("1,2,3,4\n", movies="1,A,x\n2,Red, The,x\n")
    with pytest.raises(ValueError, match=r"movies\.csv .*line 2: 2 columns where the header has 3"):
        read("1,2,3,4\n", movies="2,Red\n")
    with pytest.raises(ValueError, match=r"movies\.csv is not .*: line 2: field larger"):
        read("1,2,3,4\n", movies=f"2,{'x' * 200_000},y\n")


def test_a_first_line_without_an_end_is_refused(read):
    with pytest.raises(ValueError, match=r"ratings\.csv has no column 'userId'"):
        read("", header="x" * 200_000)


@pytest.mark.parametrize("odd", ["a\0", "\0", "\x1b[2Ja", "a\x9f", "a\x7fb", '"a\nb"'])
def test_ids_with_control_characters_are_refused(read, odd):
    said = r".*line 3: the {} holds a control character: '.*'$"
    with pytest.raises(ValueError, match=r"ratings\.csv" + said.format("user")):
        read(f"a,1,5,4\n{odd},1,5,4\n")
    with pytest.raises(ValueError, match=r"ratings\.csv" + said.format("item")):
        read(f"1,a,5,4\n1,{odd},5,4\n")
    if "\0" not in odd:
        line = "3" if "\n" not in odd else "4"
        movie = rf"movies\.csv .*line {line}: the movie id holds a control character"
        with pytest.raises(ValueError, match=movie):
            read("1,a,5,4\n", movies=f"a,Red,x\n{odd},Blue,x\n")


@pytest.mark.parametrize("line", ["sep=,", '"sep=,"', "SEP=;", "\ufeffsep=,", "sep=\t"])
@pytest.mark.parametrize("separator", [",", ";"])
def test_a_first_line_for_excel_is_no_row(tmp_path, line, separator):
    header, row, odd = "userId,movieId,rating,timestamp", "1,7,4.5,9", "1,8,x,9"
    path = tmp_path / "films.csv"
    path.write_text(f"{line}\r\n{header}\r\n{row}\r\n".replace(",", separator))
    assert open_data(path).ratings["item"].tolist() == [7]
    path.write_text(f"{line}\n{header}\n{row}\n{odd}\n".replace(",", separator))
    with pytest.raises(ValueError, match="line 4: the rating 'x' is no number"):
        open_data(path)
    path.write_text(f'{line}\n{header}\n{row}\n"1,8,3,9\n'.replace(",", separator))
    with pytest.raises(ValueError, match="line 4: "):
        open_data(path)


def test_a_first_line_for_excel_is_no_movie(read):
    found = read("1,7,4.5,9\n", movies="7,Red (1990),x\n")
    path = found.path / "movies.csv"
    path.write_text(f"sep=,\n{path.read_text()}")
    assert open_data(found.path).movies["title"].tolist() == ["Red"]
    path.write_text(f"{path.read_text()}8,Blue, The,x\n")
    with pytest.raises(ValueError, match="line 4: 4 columns"):
        open_data(found.path)


@pytest.mark.parametrize("rating", ["1e31", "-1e300", "1.7e308"])
def test_ratings_whose_differences_are_no_numbers_are_refused(read, rating):
    with pytest.raises(ValueError, match=r"line 3: a rating is missing or outside"):
        read(f"1,1,5,4\n1,2,{rating},4\n", positive=1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"positive": "4"}, "positive must be a number, not '4'"),
        ({"positive": [4]}, "positive must be a number"),
        ({"positive": 10**400}, "positive must be a number"),
        ({"columns": ["user"]}, "columns must be names by column"),
        ({"columns": {"user": 1}}, "columns must be names by column"),
        ({"columns": {1: "a"}}, "and not 1"),
        ({"columns": {"user": "movieId"}}, "columns names 'movieId' for user and for item"),
        ({"min_ratings": "2"}, "min_ratings must be a whole number"),
    ],
)
def test_options_of_another_type_are_refused(read, options, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        read("1,2,3,4\n", **options)


@pytest.mark.parametrize("row", ["1:9:2:9:3:9:4", "1::2::3::2001-02-03 04:05:06", "1::2::3::4:"])
def test_columns_between_double_colons_hold_none(row, tmp_path):
    folder = tmp_path / "dat"
    folder.mkdir()
    (folder / "ratings.dat").write_text(f"1::1::3::4\n\n{row}\n")
    with pytest.raises(ValueError, match=r"ratings\.dat .* line 3: columns are separated by ::"):
        open_data(folder)


@pytest.mark.parametrize("code", ["utf-16", "utf-16-le", "utf-32"])
def test_ratings_in_utf_16_are_refused(read, tmp_path, code):
    (tmp_path / "scores.csv").write_text(f"{HEADER}1,2,3,4\n", encoding=code)
    with pytest.raises(ValueError, match=r"scores\.csv is no text in UTF-8: save it as such"):
        open_data("scores", tmp_path)


def test_an_empty_line_before_the_header_changes_nothing(tmp_path):
    (tmp_path / "scores.csv").write_text(f"\n\n{HEADER}1,2,3,4\n")
    assert rows_of(open_data("scores", tmp_path)) == [(1, 2, 3.0, 4)]


def test_a_movie_file_in_utf_16_is_refused(read, tmp_path):
    read("1,2,3,4\n", movies="2,Heat (1995),Action\n")
    file = tmp_path / "my-films" / "movies.csv"
    file.write_text(file.read_text(), encoding="utf-16")
    with pytest.raises(ValueError, match=r"movies\.csv .* line 1: it is no text in UTF-8"):
        open_data("my-films", tmp_path)


def test_two_columns_of_one_name_are_refused(read):
    with pytest.raises(ValueError, match="2 columns 'rating'"):
        read("1,2,3,4,5\n", header="userId,movieId,rating,rating,timestamp\n")


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("1,2,x,4", "the rating 'x' is no number"),
        ("1,2,,4", "a rating is missing"),
        ("1,2,nan,4", "the rating 'nan' is no number"),
        ("1,2,inf,4", "a rating is missing or outside"),
        ("1,2", "it has 2 columns"),
        ("1,2,6,4", r"a rating is .*outside 0.5 .. 5 \(6\); for another scale .* positive="),
        ("1,2,3,", "a timestamp is missing"),
        ("1,2,3,nan", "a timestamp is missing"),
        ("1,2,3,-5", "a timestamp is missing or outside"),
        ("1,2,3,soon", "the timestamp 'soon' is neither a number nor a date"),
        (",2,3,4", "the user is missing"),
        ("1,NULL,3,4", "the item is 'NULL', which stands for a missing one: give it another name"),
        ("1,-2,3,4", "the item -2 is below 0, where ids"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(read, row, sentence):
    with pytest.raises(ValueError, match=rf"ratings\.csv is not .*: line 4: {sentence}"):
        read(f"1,7,3,4\n\n{row}\n1,8,3,4\n")


@pytest.mark.parametrize("value", [[1], [], {"a": 1}, {1}, np.array([1, 2])])
@pytest.mark.parametrize("place", [0, 1])
def test_an_id_is_one_value(value, place):
    values = [2, 3]
    values[place] = value
    with pytest.raises(BadRow, match="the user is neither a number nor text") as caught:
        as_ids(pd.Series(values, dtype=object), "user")
    assert caught.value.row == place


@pytest.mark.parametrize(
    "times",
    [
        (20010203, 20010204),
        (2001020304, 2001020305),
        (200102030405, 200102030406),
        (20010203040506, 20010203040507),
        (20010203040506789, 20010203040507789),
    ],
)
def test_digits_of_a_date_are_no_seconds(read, times):
    with pytest.raises(ValueError, match=f"line 2: the timestamp {times[0]} is a date, or else"):
        read(f"1,7,3,{times[0]}\n1,8,3,{times[1]}\n")


@pytest.mark.parametrize("times", [(20010203, 978300760), (0, 20010203), (1112486027, 1112486028)])
def test_seconds_that_look_like_no_date_are_seconds(read, times):
    data = read(f"1,7,3,{times[0]}\n1,8,3,{times[1]}\n")
    assert sorted(data.ratings["timestamp"]) == sorted(times)


def test_among_dates_digits_are_a_date(read):
    data = read("1,7,3,2001-02-03\n1,8,3,20010204\n1,9,3,2001-02-05\n")
    assert data.ratings["timestamp"].diff().tolist()[1:] == [86_400, 86_400]


def test_among_dates_a_number_is_the_row_that_is_named(read):
    with pytest.raises(ValueError, match="line 3: the timestamp '978300760' is neither"):
        read("1,7,3,2001-02-03\n1,8,3,978300760\n1,9,3,2001-02-05\n")


def test_text_that_is_no_utf_8_is_named_by_line(tmp_path):
    (tmp_path / "ratings.csv").write_bytes(HEADER.encode() + b"1,2,3,4\n\xff,2,3,4\n")
    with pytest.raises(ValueError, match="line 3: it is no text in UTF-8"):
        open_data(tmp_path)


# ------------------------------------------------------------------------------------ ids


def test_ids_with_leading_zeros_stay_two(read):
    data = read("010,1,3,4\n10,1,3,4\n")
    assert data.ratings["user"].tolist() == ["010", "10"]
    assert data.ratings["item"].tolist() == [1, 1]


@pytest.mark.parametrize("item", [0, 3_000_000_000, 2**62])
def test_ids_from_0_and_above_32_bits(read, item):
    data = read(f"0,{item},3,0\n", movies=f"{item},Heat (1995),Drama\n")
    assert rows_of(data) == [(0, item, 3.0, 0)]
    x = data.interactions()
    assert x.item_ids.ids.tolist() == [item]
    assert data.movies["title"].tolist() == ["Heat"]


def test_ids_beyond_64_bits_are_text(read):
    assert read(f"1,{10**20},3,4\n").ratings["item"].tolist() == [str(10**20)]


def test_a_map_of_text():
    ids = IdMap(np.array(["010", "10", "b"]))
    assert ids.index(["b", "10", "?"]).tolist() == [2, 1, -1]
    assert ids.id([[2, 0]]).tolist() == [["b", "010"]]
    assert ids.index([]).tolist() == []
    for wrong in ([10], ["b", 10], torch.tensor([1])):
        with pytest.raises(TypeError, match="text"):
            ids.index(wrong)
    with pytest.raises(TypeError):
        IdMap(["a", 2])
    with pytest.raises(ValueError, match="ascending"):
        IdMap(["b", "a"])


def test_the_fingerprint_of_text_ids_depends_on_them(read):
    marks = [fingerprint(read(f"{u},{i},3,4\n").interactions()) for u, i in ("ab", "ba", "aa")]
    assert len(set(marks)) == 3
    assert marks[0] == fingerprint(read("a,b,3,9\n").interactions())


# ----------------------------------------------------------------------------------- times


@pytest.mark.parametrize("each", [1, 1000, 10**6, 10**9])
def test_seconds_and_finer_units_are_told_by_their_size(read, each):
    data = read(f"1,2,3,{(WHEN + 5) * each}\n1,3,3,{WHEN * each}\n")
    assert data.ratings["timestamp"].tolist() == [WHEN + 5, WHEN]


def test_what_is_finer_than_a_second_keeps_its_order(read):
    data = read(f"1,2,3,{WHEN}900\n1,3,3,{WHEN}100\n1,4,3,{WHEN}500\n")
    x = data.interactions()
    assert x.item_ids.id(x.item).tolist() == [3, 4, 2]


def test_two_units_in_one_column_are_refused(read):
    with pytest.raises(ValueError, match=f"line 3: the timestamp {WHEN} .* milliseconds"):
        read(f"1,2,3,{WHEN}000\n1,3,3,{WHEN}\n")


def test_dates_are_read_and_others_refused(read):
    data = read("1,2,3,2001-01-01 00:00:01\n1,3,3,2001-01-01T01:00:00+01:00\n")
    assert data.ratings["timestamp"].tolist() == [978307201, 978307200]
    with pytest.raises(ValueError, match="line 2: the timestamp '01/02/2001' is neither"):
        read("1,2,3,01/02/2001\n")


def test_without_timestamps_the_order_of_the_file_counts_if_it_is_chosen(read, tmp_path):
    header = "userId,movieId,rating\n"
    with pytest.raises(ValueError, match="no column 'timestamp'.*order=\"file\""):
        read("1,9,3\n1,2,3\n", header=header)
    x = read("1,9,3\n1,2,3\n", header=header, order="file").interactions()
    assert x.item_ids.id(x.item).tolist() == [9, 2]
    (tmp_path / "dat").mkdir()
    (tmp_path / "dat" / "ratings.dat").write_text("1::9::3\n1::2::3\n")
    with pytest.raises(ValueError, match='first line has no timestamp; choose order="file"'):
        open_data("dat", tmp_path)
    assert open_data("dat", tmp_path, order="file").ratings["timestamp"].tolist() == [0, 1]
    with pytest.raises(ValueError, match="order must be one of"):
        open_data("dat", tmp_path, order="rows")


def far_apart(times: list) -> pd.DataFrame:
    users = [user for user in range(30) for _ in times]
    items = list(range(len(times))) * 30
    return pd.DataFrame({"user": users, "item": items, "rating": 4.0, "timestamp": [*times] * 30})


@pytest.mark.parametrize(
    "times",
    [
        [8 * 10**17, 0],
        [2**62, -(2**62)],
        pd.to_datetime([WHEN + 9, WHEN], unit="s").as_unit("ns").tolist(),
    ],
    ids=["nanoseconds", "the whole of int64", "datetime64[ns]"],
)
def test_times_that_are_far_apart_sort_within_users(times):
    x = Interactions.from_ratings(far_apart(times))
    assert (x.user.diff() >= 0).all()
    assert x.offsets.diff().tolist() == [2] * 30
    assert x.item.tolist() == [1, 0] * 30


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
def test_dates_count_in_seconds_whatever_their_unit(unit, zone):
    dates = pd.to_datetime([WHEN + 9, WHEN] * 30, unit="s").as_unit(unit).tz_localize(zone)
    first = WHEN - 9 * 3600 * (zone == "Asia/Tokyo")
    x = Interactions.from_ratings(far_apart([0, 1]).assign(timestamp=dates))
    assert x.timestamp.tolist() == [first, first + 9] * 30


def test_dates_within_a_second_keep_their_order():
    times = pd.to_datetime(["2001-01-01 00:00:00.7", "2001-01-01 00:00:00.2"])
    x = Interactions.from_ratings(far_apart(times.tolist()))
    assert x.item.tolist() == [1, 0] * 30


@pytest.mark.parametrize("column", ["user", "item", "rating", "timestamp"])
def test_interactions_refuse_what_is_missing(column):
    ratings = far_apart([1.0, 2.0]).astype({"user": "float64", "item": "float64"})
    ratings.loc[3, column] = np.nan
    with pytest.raises(ValueError, match=f"row 4 .*the {column} is missing"):
        Interactions.from_ratings(ratings)


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        (
            "user",
            [1, "1"],
            "'user' must hold whole numbers, or else text, not mixed-integer",
        ),
        ("item", [1.5, 2.0], "column 'item' must hold whole numbers, or else text, not floating"),
        ("user", [[1], [2]], "column 'user' must hold"),
        ("rating", [0.0, 4.0], "row 1 of the ratings: the rating 0 is outside 0.5 .. 5"),
        ("rating", [4.0, 1e39], "row 2 of the ratings: a rating is missing or outside"),
        ("rating", ["good", 4], "row 1 of the ratings: the rating 'good' is no number"),
        ("timestamp", [1.0, np.inf], "row 2 of the ratings: the timestamp inf is too large"),
        ("timestamp", ["a", "b"], "column 'timestamp' must hold numbers or dates"),
    ],
)
def test_interactions_refuse_what_files_do_not_hold(column, values, words):
    """Out of scale it would be taken for an item that was not rated, or for another time."""
    ratings = pd.DataFrame({"user": [1, 2], "item": [3, 4], "rating": 4.0, "timestamp": [5, 6]})
    with pytest.raises((ValueError, TypeError), match=re.escape(words)):
        Interactions.from_ratings(ratings.assign(**{column: values}))
    with pytest.raises(ValueError, match=f"one column '{column}'"):
        Interactions.from_ratings(ratings.drop(columns=column))


def test_the_latest_of_duplicates_in_two_tables_one_after_the_other():
    """Whose row labels repeat."""
    one = pd.DataFrame({"user": [1, 2], "item": [3, 4], "rating": 4.0, "timestamp": [5, 6]})
    x = Interactions.from_ratings(pd.concat([one.assign(rating=2.0), one]), duplicates="latest")
    assert x.rating.tolist() == [4.0, 4.0]


@pytest.mark.parametrize("name", [3, ["ml-1m"], b"ml-1m"])
def test_a_name_of_another_type_is_refused(name):
    with pytest.raises(TypeError, match="dataset must be a name or a path"):
        find_data(name)
    with pytest.raises(TypeError, match="root must be a name or a path"):
        find_data("ml-1m", name)


def test_a_threshold_below_all_ratings_warns_of_nothing(recwarn, read):
    assert read("1,2,3,4\n1,3,1,4\n", positive=-1).ratings["rating"].tolist() == [5.0, 4.5]
    assert not recwarn.list


# ---------------------------------------------------------------------- scales, duplicates, films


def test_another_scale_is_carried_over_by_its_threshold(read):
    rows = "".join(f"1,{i},{r},4\n" for i, r in enumerate([1, 4, 6.9999999, 7, 8.5, 10]))
    ratings = read(rows, positive=7).ratings["rating"]
    assert ratings.tolist() == pytest.approx([1, 2.5, 4, 4, 4.5, 5])
    assert (ratings >= 4).tolist() == [False] * 3 + [True] * 3
    with pytest.raises(ValueError, match="positive=11.* is reached by no rating: .* from 1 to 10"):
        read(rows, positive=11)
    with pytest.raises(ValueError, match="positive must be a number"):
        read(rows, positive=float("nan"))
    assert read("1,2,0,4\n1,3,1,4\n", positive=1).ratings["rating"].tolist() == [1, 5]


def test_a_threshold_of_4_leaves_the_scale_of_movielens_alone(read):
    rows = "1,2,0.5,4\n1,3,3.5,4\n1,4,4,4\n"
    assert read(rows, positive=4).ratings["rating"].tolist() == [0.5, 3.5, 4]
    assert read(rows, positive=3.5).ratings["rating"].tolist() == [1, 4, 5]


def test_duplicates_are_named_or_the_latest_is_kept(read):
    rows = "7,2,3,9\n7,2,4,5\n8,2,5,5\n8,2,1,5\n8,3,1,5\n"
    with pytest.raises(ValueError, match=r"ratings\.csv: user 7 has .* item, 2 \(2 of them; 2 .*"):
        read(rows)
    data = read(rows, duplicates="latest")
    assert rows_of(data) == [(7, 2, 3.0, 9), (8, 2, 1.0, 5), (8, 3, 1.0, 5)]
    with pytest.raises(ValueError, match="duplicates must be one of"):
        read(rows, duplicates="first")
    frame = data.ratings.iloc[[0, 0]]
    with pytest.raises(ValueError, match='user 7 .* 2 .*choose duplicates="latest"'):
        Interactions.from_ratings(frame)
    assert len(Interactions.from_ratings(frame, duplicates="latest")) == 1


def test_films_that_the_movie_file_lacks_get_a_title_and_a_note(read, capsys):
    data = read("1,2,3,4\n1,9,3,4\n", movies="2,Heat (1995),Drama\n5,Alien (1979),Horror\n")
    assert data.movies["title"].tolist() == ["Heat", "Alien", "film 9"]
    assert "does not list 1 rated items, for instance 9" in capsys.readouterr().err
    assert data.movies.set_index("item").loc[9, "genres"] == ""


def test_a_movie_file_with_other_ids_is_refused(read):
    with pytest.raises(ValueError, match="lists none of the items in ratings.csv"):
        read("1,2,3,4\n", movies="002,Heat (1995),Drama\n")


def test_films_rarely_rated_are_left_out_if_that_is_chosen(read, capsys):
    rows = "1,2,3,4\n2,2,3,4\n2,9,3,4\n"
    assert read(rows, min_ratings=2).ratings["item"].tolist() == [2, 2]
    assert "1 of 2 items have fewer than 2 ratings" in capsys.readouterr().err
    with pytest.raises(ValueError, match="no item has 3 ratings"):
        read(rows, min_ratings=3)
    with pytest.raises(ValueError, match="min_ratings must be a whole number"):
        read(rows, min_ratings=0)


def test_one_changed_rating_of_a_published_set_is_noticed(tmp_path, monkeypatch):
    folder = write_movielens(tmp_path / "ml-1m", "ml-1m")
    monkeypatch.setitem(layouts.PUBLISHED, "ml-1m", (None,) * 4)
    mark = movielens.content_mark(movielens.load_ratings(folder, check_counts=False))
    monkeypatch.setitem(movielens._MARKS, "ml-1m", mark)
    path = folder / "ratings.dat"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[::-1]))  # their order is not what was published
    assert len(movielens.load_ratings(folder)) == len(lines)
    user, item, rating, time = lines[0].split("::")
    other = "1" if rating == "5" else "5"
    path.write_text("\n".join([f"{user}::{item}::{other}::{time}", *lines[1:]]))
    with pytest.raises(ValueError, match=r"ratings\.dat has other ratings than ml-1m"):
        movielens.load_ratings(folder)


# -------------------------------------------------------------------------- the whole way, in text


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    """data/scores.csv: text ids, another scale, milliseconds, 60 films."""
    root = tmp_path_factory.mktemp("own")
    source = movielens.load_ratings(write_movielens(root / "source", "csv", 60, 60))
    table = pd.DataFrame(
        {
            "uid": [f"u{user:03d}" for user in source["user"]],
            "film": [f"{item:04d}" for item in source["item"]],
            "score": (2 * source["rating"]).astype(int),
            "when": source["timestamp"] * 1000,
        }
    )
    (root / "data").mkdir()
    table.to_csv(root / "data" / "scores.csv", index=False)
    return root


COLUMNS = {"user": "uid", "item": "film", "rating": "score", "timestamp": "when"}
SHORT = ["pretrain.updates=4", "ddpg.updates=2", "env.sessions=8", "state.k=8"]


def arguments(own: Path, *more: str) -> list[str]:
    named = [f"{name}={column}" for name, column in COLUMNS.items()]
    given = ["--dataset", "scores", "--root", str(own / "data"), "--columns", *named]
    sets = [part for value in SHORT for part in ("--set", value)]
    return [*given, "--positive", "8", "--agent", "DRR-ave", "--threads", "1", *sets, *more]


def test_a_release_and_the_command_carry_text(own, capsys):
    out = own / "models" / "scores"
    assert train.main(arguments(own, "--out", str(out))) == 0
    printed, err = capsys.readouterr()
    assert "metrics among 99 leave them out" in err
    assert "hr@10" in printed
    assert "sampled" not in printed
    config = json.loads((out / "config.json").read_text())
    assert config["item_ids"][:2] == ["0002", "0005"]
    model = Recommender.load(out)
    assert model.item_ids[0] == "0002"
    assert all(isinstance(item, str) for item, _ in model.recommend(["0002"]))
    with pytest.raises(TypeError, match="text"):
        model.recommend([2])
    common = ["--root", str(own / "data"), "--models", str(out.parent), "--dataset", "scores"]
    for given in (common, [*common[:2], "--model", str(out)]):
        assert main([*given, "--movies", "0002", "film 0005", "--json"]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert answer["dataset"] == "scores"
        assert [film["id"] for film in answer["liked"]] == ["0002", "0005"]
        assert all(isinstance(film["id"], str) for film in answer["suggestions"])
    assert main([*common, "--movies", "2"]) == 2


def test_a_table_is_never_taken_for_a_published_set(tmp_path):
    """The command would give its items the titles of that set."""
    (tmp_path / "ml-100k.csv").write_text("user,item,rating,timestamp\n1,1,5,1\n")
    assert find_data(tmp_path / "ml-100k.csv")[0] == "ml-100k.csv"
    assert find_data("ml-100k.csv", tmp_path) == ("ml-100k.csv", tmp_path / "ml-100k.csv")


def test_one_long_id_does_not_take_the_memory_of_all(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text(f"user,item,rating,timestamp\na,1,5,1\n{'u' * 100_000},1,5,1\n")
    with pytest.raises(ValueError, match=r"line 3: the user has 100,000 characters: .* 255 at mo"):
        open_data(path)


@pytest.mark.parametrize("between", ["|", ";", ", "])
def test_genres_are_separated_in_a_file_of_ones_own(tmp_path, between):
    rows = f'1,Heat (1995),"Crime{between}Drama"\n2,Psycho (1960),Horror\n'
    (tmp_path / "movies.csv").write_text(f"movieId,title,genres\n{rows}")
    movies = read_movies(tmp_path)
    assert [movie.genres for movie in movies] == [("Crime", "Drama"), ("Horror",)]


@pytest.mark.parametrize("name", ["Elicitation", "Simulated", "UserLeaves"])
def test_every_environment_takes_options_of_opening(own, name):
    options = {"columns": COLUMNS, "positive": 8}
    place = {"root": own / "data", "dataset": "scores"}
    with pytest.raises(ValueError, match="opening is a dict of"):
        gymnasium.make(f"recsys_rl/{name}-v0", **place, opening={"odd": 1})
    with pytest.raises(ValueError, match="no column"):
        gymnasium.make(f"recsys_rl/{name}-v0", **place)
    if name == "Elicitation":
        env = gymnasium.make(f"recsys_rl/{name}-v0", **place, opening=options)
        assert re.fullmatch(r"u\d{3}", env.reset(seed=0)[1]["user"])


def test_the_environment_takes_the_same_names_and_options(own):
    options = {"columns": COLUMNS, "positive": 8}
    env = gymnasium.make(
        "recsys_rl/ColdStart-v0", root=own / "data", dataset="scores", opening=options, k=4
    )
    _, info = env.reset(seed=0)
    assert re.fullmatch(r"u\d{3}", info["user"])
    assert re.fullmatch(r"\d{4}", env.step(env.action_space.sample())[4]["item"])
    assert env.reset(seed=1, options={"user": info["user"]})[1]["user"] == info["user"]
    for user, words in ((7, "named by text, not by 7"), ("nobody", "user nobody is not here")):
        with pytest.raises(ValueError, match=words):
            env.reset(options={"user": user})
    with pytest.raises(ValueError, match="scores.csv has no column"):
        GymColdStartEnv(root=own / "data", dataset="scores")
    assert load_users(own / "data", "scores", **options).train.user_ids.text


def test_films_take_ids_as_the_model_has_them(tmp_path):
    films = read_films(write_movielens(tmp_path, "csv"))
    found = with_all(films, ["2", "x"])
    assert found["2"].id == "2"
    assert found["2"].title == films[2].title
    assert (found["x"].title, found["x"].year) == ("film x", None)


# ------------------------------------------------------------------------------ before training


def test_a_small_catalogue_trains_with_longer_vectors():
    start = Cooccurrence(random_log(), 64, torch.Generator().manual_seed(0), reach=None)
    assert start.item.shape == (20, 64)
    assert start.item.isfinite().all()


def test_the_limit_of_a_table_is_a_setting(monkeypatch):
    monkeypatch.setenv(memory_limit.SETTING, "0.5")
    assert memory_limit.table_limit() == 2**29
    memory_limit.refuse_dense(2**13, 2**14, "x", "y")
    with pytest.raises(
        ValueError, match=r"x needs .* 8,192 x 16,385, .* 0.5 GiB .* allowed: y, or"
    ):
        memory_limit.refuse_dense(2**13, 2**14 + 1, "x", "y")
    for wrong in ("many", "nan", "0", "-1", "inf"):
        monkeypatch.setenv(memory_limit.SETTING, wrong)
        with pytest.raises(ValueError, match="must be a number of GiB"):
            memory_limit.table_limit()
    monkeypatch.delenv(memory_limit.SETTING)
    monkeypatch.setattr(memory_limit, "_memory", lambda: 0)
    assert memory_limit.table_limit() == 2**32


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (changed(SMALL, {"state.name": "DRR-seq", "state.embeddings": "pretrained"}), "random"),
        (changed(SMALL_SET, {"state.embeddings": "random"}), "state.linear="),
    ],
)
def test_tables_are_refused_before_anything_is_fitted(monkeypatch, config, sentence):
    for name in ("pretrained_embeddings", "linear_model"):
        monkeypatch.setattr(building, name, lambda *args: pytest.fail("was fitted"))
    monkeypatch.setenv(memory_limit.SETTING, "1e-8")
    with pytest.raises(ValueError, match=f"GiB of memory.*{sentence}"):
        building.build(config, random_log())


@pytest.mark.parametrize("name", ["item-kNN", "EASE", "Gaussian of likes", "LinUCB", "HLinUCB"])
def test_baselines_are_refused_by_their_tables(monkeypatch, name):
    check_baselines([name], random_log())
    monkeypatch.setenv(memory_limit.SETTING, "1e-8")
    with pytest.raises(ValueError, match="min_ratings"):
        check_baselines([name], random_log())
    with pytest.raises(ValueError, match="min_ratings"):
        BASELINES[name](random_log())
    check_baselines(["random", "popularity"], random_log())
    with pytest.raises(ValueError, match="no baseline 'EAST'"):
        check_baselines(["EAST"], random_log())


def test_simulators_are_refused_before_pmf_is_fitted(monkeypatch):
    monkeypatch.setattr(PMF, "fit", lambda *args, **options: pytest.fail("was fitted"))
    monkeypatch.setenv(memory_limit.SETTING, "1e-8")
    with pytest.raises(ValueError, match="simulated users needs? a dense table of 12 x 20"):
        task_of(random_log(), "simulated")


def test_changes_for_an_agent_that_is_not_trained_are_refused():
    changes = {"DRR-ave": {"ddpg.gamma": 0.5}}
    assert configs_of(["DRR-ave"], changes=changes)["DRR-ave"].ddpg.gamma == 0.5
    with pytest.raises(ValueError, match="not for 'DRR-sett'"):
        configs_of(["DRR-ave"], changes={"DRR-sett": {}})


@pytest.mark.parametrize("split", ["leave-one-out", "cold-start", "temporal", "random-positives"])
def test_too_few_data_for_a_split_are_said_at_once(split):
    ratings = pd.DataFrame({"user": [1, 1, 2], "item": [1, 2, 1], "rating": 2.0, "timestamp": 1})
    with pytest.raises(ValueError, match="the data are too few for this split"):
        task_of(Interactions.from_ratings(ratings), split)


def test_users_with_fewer_than_99_unrated_items_leave_sampled_metrics_alone(capsys):
    rng = np.random.default_rng(0)
    rows = [(u, i, 4.0, t) for u in range(40) for t, i in enumerate(rng.permutation(120)[:12])]
    rows += [(40, i, 4.0, t) for t, i in enumerate(rng.permutation(120)[:60])]
    names = ["user", "item", "rating", "timestamp"]
    data = Interactions.from_ratings(pd.DataFrame(rows, columns=names))
    for split in ("leave-one-out", "random-positives"):
        task = task_of(data, split)
        said = capsys.readouterr().err
        assert re.search(r"1 of \d+ users have not left 99 of 120 films unrated", said)
        found = task.test(lambda h: torch.rand(len(h), data.n_items))[split]
        values = found.metrics["sampled_hr@10"]
        assert np.isnan(values).tolist() == (found.users == 40).tolist()
        assert np.isnan(values).any()
        assert not np.isnan(found.mean()["sampled_hr@10"])
        assert not any(np.isnan(found.metrics.get("hr@10", [0.0])))


@pytest.mark.parametrize("option", ["--out", "--checkpoints"])
def test_folders_are_tried_before_the_data_are_read(own, monkeypatch, capsys, option):
    monkeypatch.setattr(opening, "open_data", lambda **options: pytest.fail("data were read"))
    assert train.main(arguments(own, option, "/dev/null/mine")) == 2
    assert "/dev/null/mine cannot be written" in capsys.readouterr().err


def test_a_folder_that_takes_no_file_is_refused(tmp_path):
    writable(tmp_path / "a" / "b", tmp_path)
    assert list((tmp_path / "a" / "b").iterdir()) == []
    with pytest.raises(OSError, match="cannot be written"):
        writable("/proc")


@pytest.mark.parametrize("threads", ["0", "-1", "two"])
def test_threads_are_a_whole_number(own, capsys, threads):
    assert train.main(arguments(own, "--threads", threads)) == 2
    assert "must be a whole number" in capsys.readouterr().err


def test_a_quote_that_takes_in_other_rows_is_refused_wherever_it_stands(tmp_path):
    """Closed by the next one, which opens a value, and in a column that nobody reads."""
    table = tmp_path / "mine.csv"
    table.write_text(
        'user,item,rating,timestamp,note\n1,1,4,1,"hi\n2,1,5,2,\n3,1,5,2,"x"\n4,1,5,2,ok\n'
    )
    with pytest.raises(ValueError, match=r"mine\.csv is not .*line 2: a quote opens a value"):
        open_data(table, tmp_path)


def test_values_may_hold_quotes_and_ends_of_lines(tmp_path):
    table = tmp_path / "mine.csv"
    table.write_text('user,item,rating,timestamp,note\n1,1,4,1,"a ""b""\nc"\n2,1,5,2,"x"y\n')
    assert len(open_data(table, tmp_path).ratings) == 2


def test_a_column_whose_name_begins_like_that_of_movielens_hides_no_other(tmp_path):
    table = tmp_path / "mine.csv"
    table.write_text("userIdx,item,rating,timestamp,user\n9,1,4,1,7\n")
    assert open_data(table, tmp_path).ratings["user"].tolist() == [7]


def test_parts_of_seconds_order_the_ratings_of_a_table():
    frame = pd.DataFrame(
        {"user": [1, 1], "item": [5, 6], "rating": [4.0, 5.0], "timestamp": [1.9, 1.1]}
    )
    data = Interactions.from_ratings(frame)
    assert data.item_ids.ids[data.item].tolist() == [6, 5]


@pytest.mark.parametrize("kind", ["int8", "int32", "uint32", "uint64"])
def test_times_of_any_width_are_times(kind: str) -> None:
    seconds, order = as_seconds(pd.Series([100, 7], dtype=kind))
    assert (seconds.tolist(), order) == ([100, 7], None)


@pytest.mark.parametrize("word", ["now", "Today"])
def test_a_time_that_moves_is_none(word: str) -> None:
    with pytest.raises(BadRow, match=f"the timestamp '{word}' is neither a number nor a date"):
        as_seconds(pd.Series(["2001-02-03", word]))


@pytest.mark.parametrize("numbers", [[31012000, 1022000], [1312000, 12312001]])
def test_digits_of_dates_in_other_orders_are_dates(numbers: list[int]) -> None:
    with pytest.raises(BadRow, match="is a date, or else a number"):
        as_seconds(pd.Series(numbers))


def test_a_threshold_is_met_by_the_same_number_of_32_bits() -> None:
    numbers = as_numbers(pd.Series([3.3, 9.0, 2.1], dtype="float32"), "rating")
    assert numbers.tolist() == [3.3, 9.0, 2.1]
    assert on_scale(numbers, 3.3).tolist()[:2] == [4.0, 5.0]
