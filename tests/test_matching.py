"""Titles as people type them: right, or offered, and never silently wrong."""

from __future__ import annotations

import json
import shlex
import time
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
from typed_titles import HELD_BACK, SEEN

from recsys_rl.command.answering import _search
from recsys_rl.command.errors import CommandError
from recsys_rl.command.matching import NEWER, Match, find
from recsys_rl.command.naming import MANY, named, titles_in
from recsys_rl.command.spelling import words_of
from recsys_rl.command.title_index import TitleIndex
from recsys_rl.data.films import Film, read_films
from recsys_rl.data.titles import display_title

ROOT = Path(__file__).parent.parent
TITLES = {
    1: ("Matrix, The", 1999),
    2: ("Beverly Hills Cop III", 1994),
    3: ("187", 1997),
    4: ("Seven (Se7en)", 1995),
    5: ("E.T. the Extra-Terrestrial", 1982),
    6: ("Human Traffic", 1999),
    7: ("2001: A Space Odyssey", 1968),
    8: ("Psycho", 1960),
    9: ("Psycho", 1998),
    10: ("Saving Private Ryan", 1998),
    11: ("Misérables, Les", 1995),
    12: ("Star Wars: Episode IV - A New Hope", 1977),
    13: ("Star Wars: Episode V - The Empire Strikes Back", 1980),
    14: ("M*A*S*H", 1970),
    15: ("Schindler's List", 1993),
    16: ("Professional, The (a.k.a. Leon: The Professional)", 1994),
    17: ("Nameless", None),
    18: ("Beauty & the Beast", 1991),
    19: ("Godzilla (Gojira)", 1954),
    20: ("Godzilla", 1998),
    21: ("An E.T. Film", 2000),
    22: ("Maybe (Bewegte Mann, Der)", 1994),
    23: ("Bewegte Mann, Der", 1994),
    24: ("D3: The Mighty Ducks", 1996),
    25: ("10 Things I Hate About You", 1999),
    26: ("Bhaji on the Beach", 1993),
    187: ("Party Girl", 1995),
    2001: ("Lethal Weapon 2", 1989),
}

FILMS = {i: Film(i, display_title(filed), filed, year, ()) for i, (filed, year) in TITLES.items()}
LIKES = {1: 900, 4: 500, 8: 400, 9: 20, 10: 800, 12: 1000, 13: 950, 20: 30}
INDEX = TitleIndex(FILMS, LIKES)


@cache
def index_of(name: str) -> TitleIndex:
    """The films of a published set, liked as often as the released agent was told."""
    if not (ROOT / "data" / name).is_dir():
        pytest.skip(f"{name} is not in data/")
    config = json.loads((ROOT / "models" / name / "config.json").read_text(encoding="utf-8"))
    likes = dict(zip(config["item_ids"], config["positive_counts"], strict=True))
    return TitleIndex(read_films(ROOT / "data" / name), likes)


def verdict(match: Match, meant: str) -> str:
    """right, offered, refused, or wrong: another film was taken; silent if without a word."""
    if match.film is None:
        labels = [film.label for film in match.choices]
        return "right" if not meant else "offered" if meant in labels else "refused"
    if match.film.label == meant:
        return "right"
    return "wrong" if match.note else "silent"


@pytest.mark.parametrize("titles", [SEEN, HELD_BACK], ids=["seen", "held back"])
def test_nine_of_ten_are_right_or_offered_and_none_is_silently_wrong(titles) -> None:
    found = {
        (name, typed): verdict(find(typed, index_of(name)), meant)
        for name, list_of in titles.items()
        for typed, meant in list_of.items()
    }
    good = [each for each in found.values() if each in ("right", "offered")]
    bad = {typed: each for typed, each in found.items() if each not in ("right", "offered")}
    assert "silent" not in found.values(), bad
    assert len(good) >= 0.9 * len(found), bad


# ------------------------------------------------------------------------- a small catalogue


@pytest.mark.parametrize(
    ("text", "film"),
    [
        ("1", 1),
        ("the matrix", 1),
        ("matrix", 1),
        ("Matrix, The (1999)", 1),
        ("Se7en (1995)", 4),
        ("seven", 4),
        ("7", 4),
        ("Les Miserables 1995", 11),
        ("Mash", 14),
        ("Schindlers List", 15),
        ("Leon: The Professional", 16),
        ("The Professional (1994)", 16),
        ("Beauty and the Beast (1991)", 18),
        ("Psycho 1998", 9),
        ("Gojira", 19),
        ("nameless", 17),
        ("187 (1997)", 3),
        ("beverly hills cop 3", 2),
    ],
)
def test_an_id_or_a_whole_title_is_found_without_a_note(text, film):
    index = TitleIndex({i: each for i, each in FILMS.items() if i != 7 or text != "7"}, LIKES)
    assert find(text, index) == Match(text, FILMS[film])


@pytest.mark.parametrize(
    ("text", "film"),
    [
        ("Private Ryan", 10),
        ("Star Wars: Episode IV", 12),
        ("star wars", 12),
        ("esb", 13),
        ("the empire strikes back", 13),
        ("2001 a space", 7),
        ("10 things", 25),
        ("teh matrx", 1),
        ("the matrix (1998)", 1),  # a year off
        ("E.T.", 5),
    ],
)
def test_a_film_that_is_clearly_meant_is_taken_with_a_note(text, film):
    note = f"{text!r} is taken for {FILMS[film].label} [id {film}]"
    assert find(text, INDEX) == Match(text, FILMS[film], note)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("Beverly Hills Cop", "did you mean Beverly Hills Cop III (1994) [id 2]?"),  # a sequel
        ("The Beach", "did you mean Bhaji on the Beach (1993) [id 26]?"),  # one word of a title
        ("Ryan", "did you mean Saving Private Ryan (1998) [id 10]?"),
        ("Empire Star Wars", "did you mean Star Wars: Episode V"),  # its words, in another order
        ("The Matrx (2000)", "did you mean The Matrix (1999) [id 1]"),
        ("psycho (1975)", "did you mean Psycho (1960) [id 8] or Psycho (1998) [id 9]?"),
        ("Der Bewegte Mann", "[id 23]: name the one by its id"),
        ("matrix 2", "The Matrix Reloaded (2003) is newer than the data, whose films end in 2000"),
        ("Avatar", "Avatar (2009) is newer than the data, whose films end in 2000"),
        ("Heat (2024)", "Heat (2024) is newer than the data"),
        ("everything everywhere", "seems to be Everything Everywhere All at Once (2022)"),
        ("avatr", "'avatr' seems to be Avatar (2009), which is newer than the data"),
        ("Godzilla", "Godzilla (2014) is newer than the data, whose films end in 2000; if you mean "
         "Godzilla (1998) [id 20] or Godzilla (Gojira) (1954) [id 19], add the year"),
        ("Traffic", "Traffic (2000) is not in this data set, whose films end in 2000"),
        ("zzzz", "no film has the title 'zzzz' (the films of this data set end in 2000); check it"),
        ("1954", "no film has the id '1954' (the films of this data set end in 2000)"),
        ("?", "no film has the title '?'; check it, or give its id"),
    ],
)  # fmt: skip
def test_what_is_in_doubt_is_refused_with_a_hint(text, hint):
    found = find(text, INDEX)
    assert found.film is None
    assert hint in found.problem


def test_the_known_one_of_two_namesakes_is_meant():
    found = find("Psycho", INDEX)
    assert found.film is FILMS[8]
    assert found.note.endswith("taken for Psycho (1960) [id 8], not for Psycho (1998) [id 9]")
    unknown = find("Psycho", TitleIndex(FILMS, {}))
    assert unknown.film is None
    assert list(unknown.choices) == [FILMS[8], FILMS[9]]


def test_a_classic_is_not_taken_for_its_remake():
    known = find("beauty and the beast", TitleIndex(FILMS, {18: 900}))
    assert known.film is FILMS[18]
    assert known.note.endswith("not for that of 2017, which is newer than the data")
    assert find("beauty and the beast", TitleIndex(FILMS, {1: 900, 18: 5})).film is None


def test_a_number_that_a_film_is_called_is_that_film_and_no_id():
    assert find("187", INDEX).film.id == 3
    note = (
        "187 is taken for 187 (1997) [id 3], not for the id of Party Girl (1995), which is id:187"
    )
    assert find("187", INDEX).note == note
    assert find("2001", INDEX).film.id == 7
    assert "not for the id of Lethal Weapon 2 (1989)" in find("2001", INDEX).note
    for text in ("id:187", "ID: 187", "[id 187]", "Party Girl (1995) [id 187]"):
        assert find(text, INDEX) == Match(text, FILMS[187])
    learned = TitleIndex(FILMS, {187: 9})  # and nothing about the other
    assert find("187", learned).film.id == 187
    assert "not for 187 (1997) [id 3]" in find("187", learned).note


def test_any_other_number_is_an_id_and_what_else_it_may_be_is_noted():
    assert find("5", INDEX).note == ""
    assert find("7", INDEX).film.id == 7  # of few digits
    films = FILMS | {1954: Film(1954, "Rocky", "Rocky", 1976, ())}
    found = find("1954", TitleIndex(films, LIKES))
    assert found.film.id == 1954
    assert found.note == "1954 is taken for the id of Rocky (1976) [id 1954], not for a year"
    others = TitleIndex({i: film for i, film in FILMS.items() if i != 2001}, LIKES)
    assert find("2001", others).film.id == 7


def test_a_film_that_is_listed_twice_is_one_film():
    films = {i: Film(i, "Twice Told", "Twice Told", 1990, ()) for i in (1, 2)}
    assert find("Twice Told", TitleIndex(films, {2: 5})) == Match("Twice Told", films[2])


@pytest.mark.parametrize("text", ["avatr", "Avatar", "a beautiful mind"])
def test_a_search_for_a_newer_film_lists_no_other(text):
    with pytest.raises(CommandError, match="newer than the data"):
        _search(text, SimpleNamespace(index=LIST, dataset="ml-1m", last_year=2000), False)


def test_a_long_title_is_not_compared_letter_by_letter():
    title = "".join(chr(0x4E00 + i * 7919 % 1000) for i in range(20_000))
    films = {1: Film(1, title, title, 1990, ()), 2: FILMS[1]}
    start = time.process_time()
    index = TitleIndex(films, {})
    assert find(f"x{title[::-1]}", index).film is None
    assert find("matrx", index).film is FILMS[1]
    assert time.process_time() - start < 1


# ------------------------------------------------------------------------- several at once


@pytest.mark.parametrize(
    ("texts", "titles"),
    [
        (["The", "Matrix", "Star", "Wars"], ["The Matrix", "Star Wars"]),
        (["The Matrix, Star Wars"], ["The Matrix", "Star Wars"]),
        (["Matrix, The"], ["Matrix, The"]),
        (["matrix,psycho 1998;187"], ["matrix", "psycho 1998", "187"]),
        (["teh", "matrx", "saving", "privat", "ryan"], ["teh matrx", "saving privat ryan"]),
        (["1", "12", "187"], ["1", "12", "187"]),
        (["matrix", "star wars", "1"], ["matrix", "star wars", "1"]),
        (["inception", "matrix"], ["inception", "matrix"]),
        (["20,000", "leagues"], ["20,000 leagues"]),
        (["zzzz"], ["zzzz"]),
        ([], []),
    ],
)
def test_where_one_title_ends(texts, titles):
    assert titles_in(texts, INDEX) == titles


def test_what_is_known_is_taken_and_the_rest_is_said():
    found = named(["matrix", "inception", "the matrix", "Private Ryan", "zzzz"], INDEX)
    assert found.films == [FILMS[1], FILMS[10]]  # each once
    assert [match.text for match in found.problems] == ["inception", "zzzz"]
    assert len(found.notes) == 1


def test_one_of_several_is_picked():
    found = named(["Ryan", "2001", "Godzilla"], INDEX, lambda match: match.choices[-1])
    assert found.films == [FILMS[10], FILMS[2001], FILMS[19]]
    assert not named(["Ryan"], INDEX, lambda match: None).films


BESIDE = [(1942, "Casablanca"), (1954, "Rear Window"), (1995, "Heat"), (1984, "Dune"),
          (1968, "Romeo and Juliet"), (1996, "William Shakespeare's Romeo and Juliet"),
          (1984, "Nineteen Eighty-Four"), (1966, "The Good, The Bad and The Ugly"),
          (1994, "Pulp Fiction"), (1990, "The Godfather: Part III"), (1972, "The Godfather"),
          (1975, "Death Race 2000"), (1950, "Father of the Bride"), (1996, "Solo")]  # fmt: skip
MORE = {i: Film(i, title, title, year, ()) for i, (year, title) in enumerate(BESIDE, start=40)}
YEARS = {i: Film(i, f"Other {i}", f"Other {i}", 1999, ()) for i in (*range(1940, 2000), 300)}
WIDE = TitleIndex(FILMS | MORE | YEARS, LIKES | dict.fromkeys(MORE, 100) | dict.fromkeys(YEARS, 50))


@pytest.mark.parametrize(
    ("typed", "labels"),
    [
        ("casablanca 1942", ["Casablanca (1942)"]),
        ("casablanca (1942)", ["Casablanca (1942)"]),
        ("casablanca 1943", ["Casablanca (1942)"]),  # a year off
        ("heat, 1995", ["Heat (1995)"]),
        ("rear window 1954 heat 1995", ["Rear Window (1954)", "Heat (1995)"]),
        ("'rear window' 1954", ["Rear Window (1954)"]),
        ("dune 1984", ["Dune (1984)"]),
        ("psycho 1998 psycho 1960", ["Psycho (1998)", "Psycho (1960)"]),
        ("death race 2000 1975", ["Death Race 2000 (1975)"]),
        ("'death race 2000' 1975", ["Death Race 2000 (1975)"]),
        ("romeo & juliet 1996", ["William Shakespeare's Romeo and Juliet (1996)"]),
        ("casablanca 1984", ["Casablanca (1942)", "Nineteen Eighty-Four (1984)"]),  # a title
        ("1 1954 45", ["The Matrix (1999)", "Other 1954 (1999)", MORE[45].label]),  # ids
        ("1984", ["Nineteen Eighty-Four (1984)"]),
        ("the godfather, part iii", ["The Godfather: Part III (1990)"]),
    ],
)
def test_a_year_behind_a_title_belongs_to_it(typed, labels):
    for texts in [shlex.split(typed)] + [[typed]] * ("," in typed):
        assert [film.label for film in named(texts, WIDE).films] == labels


@pytest.mark.parametrize("texts", [["casablanca", "1950"], ["rear window", "1970"],
                                   ["father", "of", "the", "bride", "1991"]])  # fmt: skip
def test_a_wrong_year_is_no_film(texts):
    found = named(texts, WIDE)
    assert not found.films
    assert [match.text for match in found.problems] == [" ".join(texts)]
    assert found.problems[0].choices


@pytest.mark.parametrize(
    ("typed", "beside"),
    [("romeo + juliet", "not for William Shakespeare's Romeo and Juliet (1996)"),
     ("father of the bride", "not for that of 1991, which is not in this data set")],
)  # fmt: skip
def test_a_namesake_is_said(typed, beside):
    assert beside in find(typed, WIDE).note


def test_a_part_of_a_name_that_is_better_known_is_said():
    war = Film(99, "Solo: A Star Wars Story", "Solo: A Star Wars Story", 2018, ())
    index = TitleIndex(MORE | {99: war}, {53: 3, 99: 4})
    assert find("solo", index).note.endswith("not for Solo: A Star Wars Story (2018) [id 99]")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Nineteen Eighty-Four", "1984"),
        ("Forty Eight Hrs", "48 hrs"),
        ("twenty twenty", "2020"),
        ("The Twenty", "20"),
        ("around the world in eighty days", "around world in 80 days"),
    ],
)
def test_numbers_in_words_are_numbers(text, words):
    assert " ".join(words_of(text)) == words


def test_many_words_are_put_together():
    typed = (
        "the good the bad and the ugly pulp fiction casablanca 1942 teh matrx saving privat ryan"
    )
    found = named([*typed.split(), "heat"], WIDE)
    assert [film.id for film in found.films] == [47, 48, 40, 1, 10, 42]
    assert not found.problems


def test_a_long_list_is_looked_at_up_to_a_limit(monkeypatch):
    looked = []
    find_alike = INDEX.candidates
    monkeypatch.setattr(INDEX, "candidates", lambda text: looked.append(text) or find_alike(text))
    assert named(["the matrix, " * 3000], INDEX).films == [FILMS[1]]
    assert named(["Saving Private Ryan"] * 3000 + ["1"] * 3000, INDEX).films == [
        FILMS[10],
        FILMS[1],
    ]
    assert not looked
    found = named([f"no film {number}" for number in range(3000)] + ["matrix"], INDEX)
    assert len(looked) <= MANY
    assert found.films == [FILMS[1]]
    assert "2900 more titles" in found.problems[-1].problem
    assert len(titles_in([f"foo{number}" for number in range(1000)], INDEX)) > 700
    assert len(looked) < 1000


def test_a_long_text_is_not_repeated_whole():
    found = find("x" * 100_000, INDEX)
    assert len(found.problem) < 400


def test_a_small_number_behind_a_title_that_is_no_sequel_is_said():
    assert named(["casablanca", "1"], WIDE).notes == [
        "1 is taken for the id of The Matrix (1999) [id 1], not for a part"
    ]
    assert not named(["1", "5", "casablanca"], WIDE).notes


def test_an_id_with_a_comma_in_it_is_one_id():
    films = {i: Film(i, i, i, None, ()) for i in ("a,b", "a", "b")}
    index = TitleIndex(films, {})
    assert named(["id:a,b"], index).films == [films["a,b"]]
    assert named(["id:b,id:a"], index).films == [films["b"], films["a"]]


def test_a_small_number_behind_a_title_names_its_sequel_where_there_is_one():
    filed = {1: ("Toy Story", 1995), 2: ("Jumanji", 1995), 3: ("Terminator, The", 1984)}
    filed |= {4: ("Terminator 2: Judgment Day", 1991), 5: ("Heat", 1995)}
    films = {
        i: Film(i, display_title(title), title, year, ()) for i, (title, year) in filed.items()
    }
    index = TitleIndex(films, {})
    assert named(["heat", "terminator", "2"], index).films == [films[5], films[4]]
    found = named(["heat", "2"], index)  # nobody names Jumanji so
    assert not found.films
    assert found.problems[0].choices == [films[5]]
    assert "(Jumanji (1995) [id 2] is named by id:2)" in found.problems[0].problem
    assert named(["heat", "id:2"], index).films == [films[5], films[2]]
    assert named(["heat", "2", "3"], index).films == [films[5], films[2], films[3]]
    assert named(["2", "1"], index).films == [films[2], films[1]]


# ------------------------------------------------------------------------- what a second list found

LATER = [(1979, "Alien"), (1986, "Aliens"), (1937, "Snow White and the Seven Dwarfs"),
         (1995, "Snow Falling on Cedars"), (1994, "Three Colors: White"), (1995, "Casino"),
         (1989, "Batman"), (1986, "Top Gun"), (1970, "Five Easy Pieces"),
         (1961, "101 Dalmatians"), (1996, "101 Dalmatians"), (1995, "Braveheart"),
         (1982, "First Blood"), (1996, "Everything Relative"),
         (1974, "The Castaway Cowboy"), (2000, "Beautiful"),
         (1959, "Some Like It Hot"), (1982, "48 Hrs."),
         (1983, "Star Wars: Episode VI - Return of the Jedi"),
         (1977, "Star Wars: Episode IV - A New Hope")]  # fmt: skip
SECOND = {i: Film(i, title, title, year, ()) for i, (year, title) in enumerate(LATER, start=40)}
LOW = {i: Film(i, f"Other {i}", f"Other {i}", 1999, ()) for i in (2, 3, 95, 101)}
LIST = TitleIndex(SECOND | LOW | {1: FILMS[1]}, dict.fromkeys(SECOND, 100) | {1: 120})


@pytest.mark.parametrize(
    ("typed", "label"),
    [
        ("alien 2", "Aliens (1986)"),
        ("rambo", "First Blood (1982)"),
        ("48 hours", "48 Hrs. (1982)"),
        ("star wars return of the jedi", "Star Wars: Episode VI - Return of the Jedi (1983)"),
        ("snow white", "Snow White and the Seven Dwarfs (1937)"),  # seven is no part's number
        ("braveheart 95", "Braveheart (1995)"),
    ],
)
def test_quotes_or_not_it_is_the_film_that_is_meant(typed, label):
    for texts in [[typed], typed.split()]:
        assert [film.label for film in named(texts, LIST).films] == [label]


@pytest.mark.parametrize(
    "typed",
    ["the batman", "top gun 2", "castaway", "snow white 2025", "casino royal 2006", "shrek 3",
     "a beautifull mind", "101 dalmations", "episode 5", "-5",
     "bend it like beckhem", "101 furst dates"],
)  # fmt: skip
def test_quotes_or_not_it_is_no_other_film(typed):
    for texts in [[typed], typed.split()]:
        found = named(texts, LIST)
        assert not found.films
        assert found.problems


def test_slashes_between_blanks_part_titles():
    assert titles_in(["the matrix / alien / face/off"], LIST) == ["the matrix", "alien", "face/off"]


def test_an_id_that_is_none_is_called_an_id():
    assert find("id:777", LIST).problem == (
        "no film has the id 'id:777'; check it, or give a title"
    )


# -------------------------------------------------------------------------- what a third list found

THIRD_LIST = [(2001, "Harry Potter and the Sorcerer's Stone"),
              (2004, "Harry Potter and the Prisoner of Azkaban"), (1972, "Godfather, The"),
              (1987, "Vie est belle, La (Life is Rosey)"), (1946, "It's a Wonderful Life"),
              (1997, "Life Is Beautiful"), (1997, "Titanic"), (1953, "Rats"),
              (1960, "Psycho"), (1995, "It Takes Two"), (1986, "Two Friends"), (1997, "Game, The"),
              (1957, "Throne of Blood"), (2009, "Inglourious Basterds"),
              (1978, "Inglorious Bastards"), (2003, "Pirates of the Caribbean: The Curse of the "
              "Black Pearl"), (1998, "X-Files, The"), (1995, "Heat"), (1940, "Pinocchio"),
              (1997, "Commandments"),
              (2003, "Lord of the Rings: The Return of the King, The")]  # fmt: skip
THIRD = TitleIndex(
    {
        i: Film(i, display_title(title), title, year, ())
        for i, (year, title) in enumerate(THIRD_LIST, start=400)
    },
    {404: 500, 405: 400, 413: 300},
)


@pytest.mark.parametrize(
    ("typed", "label"),
    [
        ("harry potter 3", "Harry Potter and the Prisoner of Azkaban (2004)"),
        (
            "pirates of the caribean",
            "Pirates of the Caribbean: The Curse of the Black Pearl (2003)",
        ),
        ("der pate", "The Godfather (1972)"),
        ("le parain", "The Godfather (1972)"),
        ("titanic leonardo di caprio", "Titanic (1997)"),
        ("hitchcock's psycho", "Psycho (1960)"),
        ("xfiles movie", "The X-Files (1998)"),
        ("lotr return of the king", "The Lord of the Rings: The Return of the King (2003)"),
    ],
)
def test_other_names_and_people_beside_a_film_name_it_with_a_note(typed, label):
    for texts in [[typed], typed.split()]:
        found = named(texts, THIRD)
        assert [film.label for film in found.films] == [label]
        assert found.notes
        assert not found.problems


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("la vie est belle", "It's a Wonderful Life (1946)"),
        ("inglorious bastards", "Inglourious Basterds (2009)"),
        ("titanic the musical", "Titanic (1997)"),
        ("heat 2", "Heat (1995)"),
    ],
)
def test_what_may_be_a_better_known_film_is_only_offered(typed, offered):
    found = named([typed], THIRD)
    assert not found.films
    assert offered in [film.label for film in found.problems[0].choices]


@pytest.mark.parametrize(
    "typed",
    [
        "it chapter two",
        "friends",
        "game of thrones",
        "james bond",
        "heat season 2",
        "ten commandments",
    ],
)
def test_a_series_a_person_and_another_part_are_no_film(typed):
    for texts in [[typed], typed.split()]:
        assert not named(texts, THIRD).films


def test_a_remake_that_is_less_known_is_said_beside_the_older_film():
    match = find("pinocchio", INDEX_OF_2000)
    assert match.film.label == "Pinocchio (1940)"
    assert f"not for that of 2020, which is {NEWER}" in match.note
    assert NEWER in find("pinocchio 2020", INDEX_OF_2000).problem


INDEX_OF_2000 = TitleIndex({i: f for i, f in THIRD.films.items() if f.year < 2001}, {})


def test_numbers_in_a_row_behind_a_title_are_its_parts_or_are_said_to_be_ids():
    filed = {2: ("Jumanji", 1995), 3: ("Grumpier Old Men", 1995), 20: ("Rocky", 1976)}
    filed |= {21: ("Rocky II", 1979), 22: ("Rocky III", 1982), 23: ("Heat", 1995)}
    filed |= {24: ("Toy Story", 1995), 25: ("Toy Story 2", 1999), 1: ("Cats", 1998)}
    films = {i: Film(i, title, title, year, ()) for i, (title, year) in filed.items()}
    index = TitleIndex(films, dict.fromkeys(films, 50))

    def ids(*texts):
        return [film.id for film in named(texts, index).films]

    assert ids("rocky", "2", "3") == [21, 22]
    assert ids("rocky", "1", "2") == [20, 21]
    assert ids("toy", "story", "1", "2") == [24, 25]
    assert ids("toy", "story", "1,2") == [24, 25]
    assert ids("rocky", "2", "3", "24") == [21, 22, 24]
    found = named(["heat", "1", "2"], index)
    assert [film.id for film in found.films] == [23, 1, 2]
    assert found.notes == [
        "1 is taken for the id of Cats (1998) [id 1], not for a part",
        "2 is taken for the id of Jumanji (1995) [id 2], not for a part",
    ]


def test_a_comma_ends_a_title_whatever_is_behind_it():
    found = named(["Rear Windov, Casablanka"], WIDE)
    assert [film.title for film in found.films] == ["Rear Window", "Casablanca"]
    assert titles_in([","], WIDE) == [","]


@pytest.mark.parametrize(
    "typed",
    [
        "girl, interrupted",
        "the good, the bad and the ugly",
        "good morning, vietnam",
        "lock, stock & two smoking barrels",
    ],
)
def test_a_comma_may_stand_in_a_title(typed):
    index = index_of("ml-1m")
    whole, words = named([typed], index), named(typed.split(), index)
    assert len(whole.films) == len(words.films) == 1
    assert whole.films == words.films
    assert not words.problems


def test_a_series_and_the_rest_of_a_title_are_one_film():
    (film,) = named(["star", "wars,", "return", "of", "the", "jedi"], index_of("ml-1m")).films
    assert film.label == "Star Wars: Episode VI - Return of the Jedi (1983)"


def test_a_comma_in_a_title_that_is_not_there_parts_nothing():
    for typed in ("bend, it, like, beckham", "50, first dates"):
        found = named(typed.split(), index_of("ml-1m"))
        assert not found.films


def test_an_article_tells_an_older_film_from_a_newer_one():
    index = TitleIndex({1: Film(1, "Heat", "Heat", 1995, ()), 2: FILMS[8]}, {1: 900})
    assert find("heat", index) == Match("heat", index.films[1])
    assert "not for that of 2013, which is newer" in find("the heat", index).note


def test_a_small_number_beside_words_is_said_to_be_an_id():
    assert named(["3", "casablanca"], WIDE).notes == [
        "3 is taken for the id of 187 (1997) [id 3], not for a part"
    ]
    assert "22 is taken for the id" in named(["casablanca", "22"], WIDE).notes[-1]
    assert not named(["24", "5", "casablanca"], WIDE).notes
    assert not named(["3", "rear window"], WIDE).notes


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("aladin", "Aladdin (1992)"),
        ("lion kng", "The Lion King (1994)"),
        ("robocopp", "Robocop (1987)"),
        ("cinderela", "Cinderella (1950)"),
        ("batmn", "Batman (1989)"),
    ],
)
def test_a_slip_in_the_name_of_a_newer_film_finds_the_older(typed, meant):
    found = find(typed, index_of("ml-1m"))
    if found.film is None:
        assert meant in [film.label for film in found.choices]
        assert NEWER in found.problem
    else:
        assert found.film.label == meant
        assert NEWER in found.note


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("tarantino pulp fiction reservoir dogs", ["Pulp Fiction", "Reservoir Dogs"]),
        ("spielberg jaws jurassic park", ["Jaws", "Jurassic Park"]),
        ("tom hanks forrest gump big", ["Forrest Gump", "Big"]),
        ("malcolm x heat", ["Malcolm X", "Heat"]),
        ("jaws, clueless spielberg, toy story", ["Jaws", "Clueless", "Toy Story"]),
        ("casablanca hitchcock vertigo heat", ["Casablanca", "Vertigo", "Heat"]),
        ("fargo, heat zzqq, alien", ["Fargo", "Heat", "Alien"]),
        ("rocky 1", ["Rocky"]),
    ],
)
def test_people_and_first_parts_beside_films(typed, meant):
    found = named(typed.split(), index_of("ml-1m"))
    assert [film.title for film in found.films] == meant
