"""Exports of MovieLens, Letterboxd and IMDb as a taste."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from test_matching import FILMS, INDEX, index_of

from recsys_rl.command.errors import CommandError
from recsys_rl.command.links import Links, read_links
from recsys_rl.command.own_ratings import _are_other_ids, read_ratings, write_unmatched
from recsys_rl.command.title_index import TitleIndex
from recsys_rl.data.encodings import western
from recsys_rl.data.films import Film

LETTERBOXD = """Date,Name,Year,Letterboxd URI,Rating
2024-01-02,The Matrix,1999,https://boxd.it/2a1m,4.5
2024-01-01,Psycho,1960,https://boxd.it/1,4
2024-01-03,Psycho,1998,https://boxd.it/2,1.5
2024-01-04,Saving Private Ryan,1999,https://boxd.it/3,3.5
2024-01-05,Inception,2010,https://boxd.it/4,5
2024-01-06,Les Misérables,1995,https://boxd.it/5,
"""
IMDB = """Const,Your Rating,Date Rated,Title,URL,Title Type,IMDb Rating,Year,Genres
tt0133093,9,2020-01-02,The Matrix,https://x,Movie,8.7,1999,"Action, Sci-Fi"
tt0054215,8,2020-01-01,Psycho,https://x,Movie,8.5,1960,Horror
tt0155975,3,2020-01-03,Psycho,https://x,Movie,4.6,1998,Horror
tt0120815,7,2020-01-04,Some other name,https://x,Movie,8.6,1998,War
tt1375666,10,2020-01-05,Inception,https://x,Movie,8.8,2010,Sci-Fi
"""
MOVIELENS = """userId,movieId,rating,timestamp
1,1,4.0,1000
1,8,5.0,900
1,9,1.0,1100
1,10,3.5,1200
1,99999,5.0,1300
"""
WEBSITE = """movie_id,imdb_id,tmdb_id,rating,average_rating,title
1,0133093,603,4.5,4.1,"Matrix, The (1999)"
8,0054215,539,4.0,4.0,Psycho (1960)
"""


def read(tmp_path: Path, text: str, dataset: str = "ml-1m", links=None):
    path = tmp_path / "ratings.csv"
    path.write_text(text, encoding="utf-8")
    return read_ratings(path, dataset, INDEX, links or {})


@pytest.mark.parametrize("line", ["sep=,", '"sep=;"', "Sep=\t"])
@pytest.mark.parametrize("text", [LETTERBOXD, IMDB, MOVIELENS])
def test_a_first_line_for_excel_is_no_header(tmp_path, line, text):
    told, plain = (read(tmp_path, each) for each in (f"{line}\r\n{text}", text))
    assert told == plain


def test_an_open_quote_swallows_no_rows(tmp_path):
    later = '2024-01-07,"Heat",1995,x,4\n2024-01-08,Casino,1995,x,4\n'
    for odd in ('"Fargo,1996,x,4\n', f'"Fargo,1996,x,4\n{later}'):
        with pytest.raises(CommandError, match=r"ratings\.csv: a quote opens a value and none"):
            read(tmp_path, f"{LETTERBOXD}2024-01-06,{odd}")


def test_two_columns_of_one_name_are_refused(tmp_path):
    with pytest.raises(CommandError, match=r"has 2 columns 'rating': rename one"):
        read(tmp_path, "title,rating,rating\nToy Story (1995),5,1\n")


@pytest.mark.parametrize("row", ["1,10,4,5,1200", "1,10,4,1200,,x"])
def test_a_row_with_a_column_more_is_refused(tmp_path, row):
    """As 4,5 stars without quotes: time would be 5, or the title cut."""
    with pytest.raises(CommandError, match=rf"row 7, {row}, has a column more than the header"):
        read(tmp_path, f"{MOVIELENS}{row}\n")
    assert read(tmp_path, f"{MOVIELENS}1,10,3.5,1200,,\n").taste == read(tmp_path, MOVIELENS).taste


def ids(films) -> list[int]:
    return [film.id for film in films]


@pytest.mark.parametrize(
    ("text", "source", "between"),
    [(LETTERBOXD, "Letterboxd", [10]), (MOVIELENS, "MovieLens", [10]), (IMDB, "IMDb", [10])],
)
def test_likes_dislikes_and_what_is_between_in_the_order_of_time(tmp_path, text, source, between):
    links = {10: Links("0120815", "857")}
    found = read(tmp_path, text, links=links)
    assert found.source == source
    assert ids(found.taste.liked) == [8, 1]
    assert ids(found.taste.disliked) == [9]
    assert ids(found.taste.seen) == between
    assert "Inception" in str(found.unmatched) or "99999" in str(found.unmatched)
    assert "2 films liked (4 or more of 5 stars), 1 not (3 or fewer), 1 in between" in (
        found.summary()
    )


def test_the_export_of_the_website_has_ids_and_titles(tmp_path):
    assert ids(read(tmp_path, WEBSITE).taste.liked) == [1, 8]
    assert ids(read(tmp_path, WEBSITE, "ml-100k").taste.liked) == [1, 8]  # by title


def test_ids_of_movielens_are_not_those_of_ml_100k(tmp_path):
    found = read(tmp_path, MOVIELENS, "ml-100k")
    assert not found.taste.films
    assert len(found.unmatched) == 5


def test_a_film_that_was_rated_twice_counts_as_rated_last(tmp_path):
    found = read(tmp_path, "movieId,rating,timestamp\n1,5,10\n1,1,9\n8,4,8\n8,2,11\n")
    assert (ids(found.taste.liked), ids(found.taste.disliked)) == ([1], [8])


def test_what_was_not_found_goes_into_a_file_beside(tmp_path):
    found = read(tmp_path, LETTERBOXD)
    path = write_unmatched(tmp_path / "ratings.csv", found)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert path.name == "ratings-not-found.csv"
    assert lines[0] == "Date,Name,Year,Letterboxd URI,Rating"
    assert len(lines) == 2  # Inception; the one without a rating is none that was not found
    assert write_unmatched(tmp_path / "no" / "ratings.csv", found) is None
    assert write_unmatched(tmp_path / "ratings.csv", found) == path
    path.write_text("my own")
    assert write_unmatched(tmp_path / "ratings.csv", found).name == "ratings-not-found-2.csv"
    assert path.read_text() == "my own"


@pytest.mark.parametrize(
    "text",
    ["", "a,b\n", "a,b\n1,2\n", "rating\n5\n", '"', "\x00\x00,\x00\n1,2\n", "Name,Year\nx,1\n"],
)
def test_what_is_no_export_is_one_sentence(tmp_path, text):
    with pytest.raises(CommandError) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_rows_without_a_rating_are_counted_apart(tmp_path):
    odd = "movieId,rating,timestamp\n1,nan,1\n8,0,1\n9,-1,1\n10,inf,1\n8,,1\n"
    found = read(tmp_path, f"{odd}1,5,1\n")
    assert ids(found.taste.films) == [1]
    assert (found.unmatched, found.unrated) == ([], 5)
    assert "0 are not in this data set, 5 without a rating" in found.summary()
    watched = "Date,Name,Year,Letterboxd URI\n2024-01-02,The Matrix,1999,https://boxd.it/2a1m\n"
    for text in (odd, watched):
        with pytest.raises(CommandError, match="holds no rating above 0 and up to 5: give"):
            read(tmp_path, text)


def test_ratings_of_several_people_are_refused(tmp_path):
    with pytest.raises(CommandError, match="the ratings of 2 people: keep the rows of one"):
        read(tmp_path, f"{MOVIELENS}2,8,1,1300\n")


@pytest.mark.parametrize("kind", ["TV Series", "tvEpisode", "Video Game", "TV Mini Series"])
def test_what_imdb_calls_no_film_is_found_by_its_id_only(tmp_path, kind):
    row = f"tt0000007,2,2020-01-02,The Matrix,https://x,{kind},8.7,1999,Drama\n"
    text = IMDB.splitlines()[0] + "\n" + row
    assert len(read(tmp_path, text).unmatched) == 1
    links = {1: Links("0000007", "")}
    assert ids(read(tmp_path, text, links=links).taste.disliked) == [1]


def test_a_film_whose_imdb_id_is_another_one_is_not_found_by_its_title(tmp_path):
    links = {1: Links("0000007", ""), 8: Links("0054215", "")}
    found = read(tmp_path, IMDB, links=links)
    assert ids(found.taste.liked) == [8]
    assert "The Matrix" in str(found.unmatched)
    assert ids(found.taste.disliked) == [9]  # the data set does not say its id


def test_numbers_of_any_length_are_none_too_many(tmp_path):
    long = "9" * 5000
    head = IMDB.splitlines()[0]
    rows = f"tt{long},9,d,A,,Movie,1,1999,x\ntt1,9,d,The Matrix,,Movie,1,{long},x\n"
    links = {1: Links("0" * 5000 + "7", "")}
    assert len(read(tmp_path, f"{head}\n{rows}", links=links).unmatched) == 2
    (tmp_path / "links.csv").write_text(f"movieId,imdbId,tmdbId\n1,{long},603\n")
    assert read_links(tmp_path, FILMS) == {}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_what_a_spreadsheet_has_saved_again_is_read(tmp_path, encoding, separator):
    rows = [line.split(",") for line in LETTERBOXD.splitlines()]
    rows = [[cell.replace(".", ",") if separator != "," else cell for cell in row] for row in rows]
    path = tmp_path / "ratings.csv"
    path.write_text("\n".join(map(separator.join, rows)), encoding=encoding)
    found = read_ratings(path, "ml-1m", INDEX, {})
    assert (ids(found.taste.liked), ids(found.taste.disliked)) == ([8, 1], [9])
    assert found.unrated == 1


def test_an_archive_is_to_be_unpacked(tmp_path):
    path = tmp_path / "letterboxd.zip"
    path.write_bytes(b"PK\x03\x04 ratings.csv\n\n")
    with pytest.raises(CommandError, match="unpack it"):
        read_ratings(path, "ml-1m", INDEX, {})


def test_other_names_are_understood_where_the_year_fits(tmp_path):
    rows = "ESB,1980,x,5\nStar Wars,1977,x,4\nStar Wars,1990,x,4"
    found = read(tmp_path, f"Name,Year,Letterboxd URI,Rating\n{rows}")
    assert sorted(ids(found.taste.liked)) == [12, 13]
    assert len(found.unmatched) == 1


@pytest.mark.parametrize("year", ["1998", "1998.0", "1997.0"])
def test_a_year_counts_however_it_is_written(tmp_path, year):
    text = f"Name,Year,Letterboxd URI,Rating\nPsycho,{year},x,5\nThe Matrix,2021.0,x,5\n"
    found = read(tmp_path, text)
    assert ids(found.taste.liked) == [9]
    assert [row[0] for row in found.unmatched] == ["The Matrix"]


@pytest.mark.parametrize("year", ["(1999)", "1999-05-01", "1,999", "n/a", "19991"])
def test_what_is_no_year_is_not_guessed_at(tmp_path, year):
    found = read(tmp_path, f'Name,Year,Letterboxd URI,Rating\nThe Matrix,"{year}",x,5\n')
    assert not found.taste.liked
    assert len(found.unmatched) == 1


def test_pipes_and_devices_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "links.csv")
    assert read_links(tmp_path, FILMS) == {}
    for path in (tmp_path / "links.csv", Path("/dev/zero"), tmp_path):
        with pytest.raises(CommandError, match="is no regular file"):
            read_ratings(path, "ml-1m", INDEX, {})


def test_links_that_cannot_be_read_are_none(tmp_path):
    assert read_links(tmp_path, FILMS) == {}
    (tmp_path / "links.csv").write_text("movieId,imdbId,tmdbId\n1,0133093,603\n2,x,y\n77,1,1\n")
    assert read_links(tmp_path, FILMS) == {1: Links("0133093", "603")}
    (tmp_path / "links.csv").write_bytes(b"\xff\xfe\x00")
    assert read_links(tmp_path, FILMS) == {}


def test_a_list_of_ones_own_has_names_years_and_maybe_ratings_to_ten(tmp_path):
    found = read(tmp_path, "Title;Year;Rating\nThe Matrix;1999;9\npsycho;1960;4\npsycho;1998;7\n")
    assert ids(found.taste.liked) == [1]
    assert ids(found.taste.disliked) == [8]
    assert ids(found.taste.seen) == [9]
    assert "ratings to 10" in found.summary()
    assert ids(read(tmp_path, "Name,Year,Rating\nPsycho,1960,5\n").taste.liked) == [8]


def test_a_full_disk_leaves_no_half_list_of_what_was_not_found(tmp_path, monkeypatch):
    found = read(tmp_path, LETTERBOXD)
    opened = Path.open

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, content):
            self.file.write(content[:4])
            raise OSError(28, "No space left")

    monkeypatch.setattr(Path, "open", lambda path, mode: Full(opened(path, mode)))
    assert write_unmatched(tmp_path / "ratings.csv", found) is None
    assert not list(tmp_path.glob("*not-found*"))


def test_a_rating_is_no_number_of_a_programming_language(tmp_path):
    found = read(tmp_path, "Title;Year;Rating\nThe Matrix;1999;1_0\npsycho;1960;4\n")
    assert ids(found.taste.liked) == [8]  # four stars of five, and not of ten


def test_the_original_title_is_looked_for_too(tmp_path):
    header = "Const,Your Rating,Title,Original Title,Title Type,Year"
    text = f"{header}\ntt1,9,Die Elenden,Les Misérables,Movie,1995\n"
    assert ids(read(tmp_path, text).taste.liked) == [11]


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("12/31/2019", "1/2/2020"),
        ("31/12/2019", "02/01/2020"),
        ("31.12.2019", "02.01.2020"),
        ("03.02.2019", "02.03.2019"),
        ("12/31/19", "1/2/20"),
        ("2020-1-9", "2020-1-10"),
        ("1/31/2020 9:05:00 AM", "1/31/2020 1:05:00 PM"),
        ("1/31/2020 9:05AM", "1/31/2020 1:05pm"),
        ("1/31/2020 12:30 am", "1/31/2020 1:05 am"),
        ("12/31/99", "1/2/00"),
        ("2020-01-31T10:00:00+02:00", "2020-01-31T09:30:00+00:00"),
        ("2020-01-09T10:00:00Z", "2020-01-09T10:00:01Z"),
        ("2020-01-31T10:00:00+02", "2020-01-31T09:30:00+00"),
        ("2020-01-31 10:00:00-05 ", "2020-01-31 16:00:00+00:00"),
        ("20191231", "20200102"),
        ("999999999.5", "1000000000.5"),
    ],
)
def test_the_latest_rating_counts_however_dates_are_written(tmp_path, earlier, later):
    rows = f"{later},Psycho,1960,x,1", f"{earlier},Psycho,1960,x,5"
    for order in (rows, rows[::-1]):
        lines = "\n".join(order)
        found = read(tmp_path, f"Date,Name,Year,Letterboxd URI,Rating\n{lines}\n")
        assert ids(found.taste.disliked) == [8]


def test_rows_of_films_that_are_not_here_tell_how_dates_are_written(tmp_path, capsys):
    rows = "02/03/2020,Psycho,1960,x,1\n03/02/2020,Psycho,1960,x,5\n25/12/2019,Nowhere,2000,x,5\n"
    found = read(tmp_path, f"Date,Name,Year,Letterboxd URI,Rating\n{rows}")
    assert ids(found.taste.disliked) == [8]
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    "dates",
    [
        ("3/2/2020", "2/3/2020"),
        ("yesterday", "2020-01-02"),
        ("19-12-31", "20-01-09"),
        ("2020-01-31 10:00 EST", "2020-01-31 10:30 UTC"),
        ("31122019", "02012020"),
        ("311219", "020120"),
        ("2020-01-31 10-30", "2020-01-31 11-30"),
    ],
)
def test_dates_that_say_no_order_are_told(tmp_path, dates, capsys):
    rows = f"{dates[0]},Psycho,1960,x,1\n{dates[1]},Psycho,1960,x,5\n"
    found = read(tmp_path, f"Date,Name,Year,Letterboxd URI,Rating\n{rows}")
    assert ids(found.taste.liked) == [8]
    assert "its rows count in their order" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        "movieId,rating\n1,10\n8,9\n9,5\n",
        "Date,Name,Year,Letterboxd URI,Rating\n,The Matrix,1999,x,10\n,Psycho,1960,x,9\n"
        ",Psycho,1998,x,5\n",
    ],
)
def test_a_rating_above_the_stars_tells_the_scale(tmp_path, text):
    found = read(tmp_path, text)
    assert (ids(found.taste.liked), ids(found.taste.disliked)) == ([1, 8], [9])
    assert "ratings to 10" in found.summary()
    with pytest.raises(CommandError, match=r"row 5, .*, has a rating of 95: write all ratings"):
        read(tmp_path, f"{text}{text.splitlines()[-1][:-1]}95\n".replace(",595", ",95"))


def test_ids_of_movielens_are_not_those_of_somebodys_own_data(tmp_path):
    """Where the file has titles; ids alone may be those of the data."""
    assert ids(read(tmp_path, WEBSITE.replace("8,", "9,"), "my-films").taste.liked) == [1, 8]
    assert ids(read(tmp_path, MOVIELENS, "my-films").taste.liked) == [8, 1]


def test_films_without_years_are_found_by_their_id_beside_their_title(tmp_path):
    """In one's own data, of which some know no titles."""
    films = [Film("v1.0", "Heat", "Heat", None, ()), Film("v1", "film v1", "film v1", None, ())]
    index = TitleIndex({film.id: film for film in films}, {})
    path = tmp_path / "ratings.csv"
    path.write_text("movieId,title,rating\nv1.0,Heat (1995),5\nv1,Anything (1999),1\n")
    found = read_ratings(path, "my-films", index, {})
    assert (ids(found.taste.liked), ids(found.taste.disliked)) == (["v1.0"], ["v1"])
    path.write_text("movieId,title,rating\nv1.0,Psycho (1960),5\n")
    assert not read_ratings(path, "my-films", index, {}).taste.films


def test_quotes_of_windows_are_quotes():
    assert western("Schindler’s List – 1993 €".encode("cp1252")) == "Schindler’s List – 1993 €"
    assert western("Amélie".encode("latin-1")) == "Amélie"
    assert western(b"\x81\x92") == "\x81\x92"  # 81 means nothing in cp1252


@pytest.mark.parametrize("end", ["\n", "\r"])
def test_more_rows_than_anybody_has_rated_are_refused_at_once(tmp_path, end):
    with pytest.raises(CommandError, match="more than 50,000 lines: keep those of one person"):
        read(tmp_path, LETTERBOXD + end * 50_001)
    with pytest.raises(CommandError, match="more than 8,388,608 bytes"):
        read(tmp_path, LETTERBOXD + "," * 2**23)


def test_ids_that_titles_contradict_are_those_of_another_set(tmp_path, capsys):
    text = 'movieId,title,rating\n1,Psycho (1960),5\n8,"Matrix, The (1999)",1\n9,Unheard Of,4\n'
    found = read(tmp_path, text)
    assert (ids(found.taste.liked), ids(found.taste.disliked)) == ([8], [1])
    assert found.unmatched == [["9", "Unheard Of", "4"]]
    said = capsys.readouterr().err
    assert "titles of other films than their ids: 2, as 1,Psycho (1960),5; titles count" in said
    rest = "10,Saving Private Ryan (1998),5\n4,Seven (Se7en) (1995),5\n"
    found = read(tmp_path, f"movieId,title,rating\n1,Psycho (1960),5\n{rest}")
    assert ids(found.taste.liked) == [1, 10, 4]
    assert "than their ids: 1, as 1,Psycho (1960),5; ids count" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["ml-1m", "ml-latest-small"])
def test_the_ids_of_a_set_are_its_own(name):
    index = index_of(name)
    rows = [[str(item), f"{film.filed} ({film.year})"] for item, film in index.films.items()]
    assert not _are_other_ids(Path("any"), rows, {"item": 0, "title": 1}, index)


def test_titles_may_hold_their_year(tmp_path):
    text = LETTERBOXD + "2024-01-07,The Matrix (1999),1999,https://boxd.it/7,5\n"
    assert 1 in ids(read(tmp_path, text).taste.liked)
    films = {1: Film(1, "Dracula 2000", "Dracula 2000", 2000, ())}
    path = tmp_path / "ratings.csv"
    path.write_text("Name,Year,Rating\nDracula 2000,2000,5\n")
    assert ids(read_ratings(path, "ml-1m", TitleIndex(films, {}), {}).taste.liked) == [1]
