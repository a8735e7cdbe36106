"""Which film somebody means, by id, by title and by words of a title."""

from __future__ import annotations

import pytest

from recsys_rl.data.films import Film, NoSuchFilm, as_words, find_film
from recsys_rl.data.titles import display_title

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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("  The   MATRIX ", "the matrix"),
        ("Misérables, Les", "miserables les"),
        ("Schindler\u2019s List", "schindlers list"),
        ("Thelma & Louise", "thelma and louise"),
        ("L.A. Confidential", "la confidential"),
        ("Dr. Strangelove", "dr strangelove"),
        ("?!", ""),
    ],
)
def test_only_words_count(text, words):
    assert as_words(text) == words


@pytest.mark.parametrize(
    ("text", "film"),
    [
        ("1", 1),
        ("the matrix", 1),
        ("Matrix, The (1999)", 1),
        ("Se7en (1995)", 4),
        ("seven", 4),
        ("Les Miserables", 11),
        ("Mash", 14),
        ("Schindlers List", 15),
        ("Leon: The Professional", 16),
        ("The Professional (1994)", 16),
        ("Beauty and the Beast", 18),
        ("Psycho 1998", 9),
        ("Gojira", 19),
        ("nameless", 17),
        ("187 (1997)", 3),
        ("Der Bewegte Mann (1994)", 23),
    ],
)
def test_an_id_or_a_whole_title_is_found_without_a_note(text, film):
    assert find_film(text, FILMS) == (FILMS[film], "")


@pytest.mark.parametrize(
    ("text", "film"),
    [
        ("Private Ryan", 10),
        ("matrix", 1),
        ("matrix (1999)", 1),
        ("Star Wars: Episode IV", 12),
        ("2001 a space", 7),
        ("10 things", 25),
    ],
)
def test_words_of_one_title_are_taken_for_it_with_a_note(text, film):
    note = f"{text!r} is taken for {FILMS[film].label} [id {film}]"
    assert find_film(text, FILMS) == (FILMS[film], note)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("Beverly Hills Cop", "did you mean Beverly Hills Cop III (1994) [id 2]?"),  # a sequel
        ("Traffic", "did you mean Human Traffic (1999) [id 6]?"),  # one word of another title
        ("Traffic (1999)", "did you mean Human Traffic (1999) [id 6]?"),
        ("The Beach", "did you mean Bhaji on the Beach (1993) [id 26]?"),
        ("The Mighty Ducks", "did you mean D3: The Mighty Ducks (1996) [id 24]?"),
        ("Der Bewegte Mann", "[id 23]: name the one by its id"),
        ("Ryan", "did you mean Saving Private Ryan (1998) [id 10]?"),
        ("Star Wars", "Star Wars: Episode IV - A New Hope (1977) [id 12] or Star Wars: Episode V"),
        ("E.T.", "did you mean E.T. the Extra-Terrestrial (1982) [id 5] or An E.T. Film"),
        ("Empire Star Wars", "did you mean Star Wars: Episode V"),  # its words, in another order
        ("The Matrx (2000)", "did you mean The Matrix (1999) [id 1]"),
        ("Psycho", "(1960) [id 8] or Psycho (1998) [id 9]: add the year, or name the one by its"),
        ("Godzilla", "'Godzilla' may be Godzilla (Gojira) (1954) [id 19] or Godzilla (1998)"),
        ("Avatar", "no film has the title 'Avatar'; check it, or give its id"),
        ("1954", "no film has the id '1954'; did you mean Godzilla (Gojira) (1954) [id 19]"),
        ("?", "no film has the title '?'; check it, or give its id"),
    ],
)
def test_what_is_in_doubt_is_refused_with_a_hint(text, hint):
    with pytest.raises(NoSuchFilm) as refusal:
        find_film(text, FILMS)
    assert hint in str(refusal.value)


def test_a_number_is_an_id_and_a_title_of_that_name_is_noted():
    assert find_film("187", FILMS).film.id == 187
    note = "187 is taken for the id of Party Girl (1995) [id 187], not for 187 (1997) [id 3]"
    assert find_film("187", FILMS).note == note
    assert "not for 2001: A Space Odyssey (1968) [id 7]" in find_film("2001", FILMS).note
    assert find_film("5", FILMS).note == ""
    others = {i: film for i, film in FILMS.items() if i != 2001}
    assert find_film("2001", others).film.id == 7


def test_the_same_film_under_two_ids_asks_for_one_of_them():
    films = {i: Film(i, "Twice Told", "Twice Told", 1990, ()) for i in (1, 2)}
    with pytest.raises(NoSuchFilm, match=r"\[id 2\]: name the one by its id$"):
        find_film("Twice Told", films)
