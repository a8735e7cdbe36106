"""Variety, series, filters and chances, and what the command loads."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from synthetic import write_movielens
from test_serving import ids_of, released

from benchmarks import variety
from recsys_rl.command import calibration, title_cache
from recsys_rl.command.calibration import TABLES, Calibration
from recsys_rl.command.errors import CommandError, NothingLeft
from recsys_rl.command.filters import fitting, years_of
from recsys_rl.command.series import series_of
from recsys_rl.command.sources import Source, open_source
from recsys_rl.command.suggesting import Suggester, apart, fading
from recsys_rl.command.suggestions import Wishes
from recsys_rl.command.taste import Taste
from recsys_rl.data.films import Film

ROOT = Path(__file__).parent.parent
DATASET = "ml-latest-small"  # csv files, and no published number of rows to be held against


def film(title: str, year: int | None = 1990, *genres: str) -> Film:
    return Film(1, title, title, year, genres)


# ------------------------------------------------------------------------- series and filters


@pytest.mark.parametrize(
    ("titles", "together"),
    [
        (["The Terminator", "Terminator 2: Judgment Day"], True),
        (["The Godfather", "The Godfather: Part II", "The Godfather: Part III"], True),
        (["Rocky", "Rocky II", "Rocky V"], True),
        (["Star Wars: Episode IV - A New Hope", "Star Wars: Episode V - The Empire ..."], True),
        (["Star Wars", "The Empire Strikes Back"], True),
        (["Alien", "Aliens", "Alien³"], True),
        (["Raiders of the Lost Ark", "Indiana Jones and the Last Crusade"], True),
        (["Rocky", "The Rocky Horror Picture Show"], False),
        (["Big", "The Big Lebowski"], False),
        (["1984", "2001: A Space Odyssey"], False),
        (["Heat", "Heathers"], False),
    ],
)
def test_films_of_one_series(titles, together):
    assert (len({series_of(film(title)) for title in titles}) == 1) == together


def test_of_three_in_a_row_no_two_are_of_one_series_while_there_are_others():
    first = str.lower
    assert apart(["a", "A", "b", "B", "c"], 3, first) == ["a", "b", "c"]
    assert apart(["a", "A", "b", "B", "c"], 5, first) == ["a", "b", "c", "A", "B"]
    assert apart(["a", "A", "A"], 3, first) == ["a", "A", "A"]


def test_variety_fades_with_the_number_of_answers():
    assert [fading(n) for n in (0, 1, 3, 6, 30)] == [1, 1, 1, 0.5, 0.1]


@pytest.mark.parametrize(
    ("text", "years"),
    [("1994", (1994, 1994)), ("1990-2000", (1990, 2000)), ("1990-", (1990, 9999)),
     ("-1980", (0, 1980)), (" 1990 - 1995 ", (1990, 1995)), ("1990..1995", (1990, 1995)),
     ("1990–2000", (1990, 2000))],
)  # fmt: skip
def test_years(text, years):
    assert years_of(text) == years


@pytest.mark.parametrize("text", ["", "-", "94", "1990-80", "nineties", "2000-1990", "1990 1995"])
def test_what_is_no_year(text):
    with pytest.raises(ValueError, match="must"):
        years_of(text)


def test_genres_are_found_as_people_write_them():
    films = [film("a", 1990, "Sci-Fi"), film("b", 2000, "Film-Noir", "Drama"), film("c", None)]
    for typed in ("sci-fi", "scifi", "Science Fiction", "sci"):
        fits = fitting([typed], [], None, films)
        assert [fits(each) for each in films] == [True, False, False], typed
    fits = fitting([], ["noir"], (1980, 1999), films)
    assert [fits(each) for each in films] == [True, False, False]
    assert fitting(["noir", "sci-fi"], [], None, films)(films[1])
    with pytest.raises(CommandError, match="no film has the genre 'Opera': choose among Drama, "):
        fitting(["Opera"], [], None, films)


# ------------------------------------------------------------------------- tables


@pytest.mark.parametrize("path", sorted(TABLES.glob("*.json")), ids=lambda path: path.stem)
def test_a_table_is_of_the_weights_that_are_released(path):
    table = json.loads(path.read_text(encoding="utf-8"))
    config = json.loads((ROOT / "models" / path.stem / "config.json").read_text(encoding="utf-8"))
    assert table["weights_sha256"] == config["weights_sha256"], f"run {table['made_by']}"
    assert len(table["mean_scores"]) == len(config["item_ids"])
    for row in table["chances"]:
        assert row["scores"] == sorted(row["scores"])
        assert row["shares"] == sorted(row["shares"])


def test_shares_do_not_fall():
    assert variety.rising([1, 3, 2, 2, 5, 4]) == [1, 7 / 3, 7 / 3, 7 / 3, 4.5, 4.5]
    assert variety.rising([]) == []


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """A small DRR-set beside its Gaussian, and films with the same ids."""
    write_movielens(tmp_path / "data" / "toys", "csv")
    released(tmp_path / "toys", "DRR-set")
    return open_source("toys", tmp_path / "data", tmp_path, tmp_path / "toys")


def test_without_a_table_there_are_no_chances_and_no_variety(source):
    found = Calibration(source.model)
    assert found.adventure == 0
    assert found.chance(3.0, 3) is None
    assert found.mean_scores.shape == (20,)


def test_chances_lie_between_those_that_were_measured(source, tmp_path, monkeypatch):
    chances = [
        {"answers": 1, "scores": [0.0, 10.0], "shares": [0.0, 0.5]},
        {"answers": 3, "scores": [0.0, 10.0], "shares": [0.0, 1.0]},
    ]
    model, monkeypatched = source.model, tmp_path / "tables"
    monkeypatched.mkdir()
    monkeypatch.setattr(calibration, "TABLES", monkeypatched)
    table = {"weights_sha256": model.config["weights_sha256"], "adventure": 0.5}
    text = json.dumps(table | {"chances": chances, "mean_scores": [0.0] * 20})
    (monkeypatched / "toys.json").write_text(text)
    found = Calibration(model)
    assert found.adventure == 0.5
    assert found.chance(5.0, 1) == 0.25
    assert found.chance(99.0, 40) == 1.0
    assert 0.25 < found.chance(5.0, 2) < 0.5
    (monkeypatched / "toys.json").write_text(text.replace(table["weights_sha256"], "another"))
    assert Calibration(model).chance(5.0, 1) is None


NUMBERS = [0.0] * 20
ROW = {"answers": 1, "scores": [0.0, 1.0], "shares": [0.0, 1.0]}


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda _: "",
        lambda _: "[]",
        lambda _: "[" * 100_000,
        lambda text: text.replace('"adventure": 0.5', '"adventure": "much"'),
        lambda text: text.replace('"adventure": 0.5', '"adventure": NaN'),
        lambda text: text.replace("chances", "chance"),
        lambda text: text.replace(json.dumps([ROW]), "[]"),
        lambda text: text.replace(json.dumps(ROW), "7"),
        lambda text: text.replace('"scores": [0.0, 1.0]', '"scores": [0.0]'),
        lambda text: text.replace(json.dumps(NUMBERS), "[0.0]"),
        lambda text: text.replace(json.dumps(NUMBERS), json.dumps(["0.0"] * 20)),
    ],
)
def test_a_table_that_cannot_be_read_is_none_and_a_note_says_so(
    tmp_path, monkeypatch, capsys, damage
):
    monkeypatch.setattr(calibration, "TABLES", tmp_path)
    table = {"weights_sha256": "these", "adventure": 0.5}
    model = SimpleNamespace(config=table | {"dataset": "toys"}, item_ids=range(20))
    text = json.dumps(table | {"chances": [ROW], "mean_scores": NUMBERS})
    (tmp_path / "toys.json").write_text(text)
    assert Calibration(model).adventure == 0.5
    assert not capsys.readouterr().err
    assert damage(text) != text
    (tmp_path / "toys.json").write_text(damage(text))
    found = Calibration(model)
    assert (found.adventure, found.chance(3.0, 3)) == (0, None)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"since {tmp_path / 'toys.json'} cannot be read" in said
    assert said.endswith("get it again, or run python -m benchmarks.variety --dataset toys\n")


def written_by_variety(tmp_path: Path, monkeypatch) -> dict[str, Path]:
    """The command on toys, without what takes long -> the folders that it writes into."""
    folders = {name: tmp_path / name for name in ("TABLES", "DOCS")}
    for name, folder in folders.items():
        monkeypatch.setattr(variety, name, folder)
    monkeypatch.setattr(variety, "ROOT", tmp_path)
    monkeypatch.setattr(variety, "TRIPLES", 2)
    monkeypatch.setattr(variety, "AMONG", 10)
    monkeypatch.setattr(variety, "GRID", (0.0, 0.5))
    monkeypatch.setattr(variety, "ANSWERS", (1, 3))
    monkeypatch.setattr(variety, "EDGES", np.array([0, 0.5, 1]))
    return folders


def test_a_full_disk_leaves_the_old_table(source, tmp_path, monkeypatch):
    folders = written_by_variety(tmp_path, monkeypatch)
    (tmp_path / "models").mkdir()
    (tmp_path / "toys").rename(tmp_path / "models" / "toys")
    arguments = ["--dataset", "toys", "--root", str(tmp_path / "data"), "--seeds", "100"]
    variety.main([*arguments, "--draws", "1"])
    there = {path.name: path.read_bytes() for each in folders.values() for path in each.iterdir()}
    assert set(there) == {"toys.json", "variety-toys.md", "variety-toys.png"}
    json.loads(there["toys.json"])

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("recsys_rl.data.atomic_files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        variety.main([*arguments, "--draws", "2"])
    assert there == {p.name: p.read_bytes() for each in folders.values() for p in each.iterdir()}


def test_where_the_table_cannot_be_written_nothing_is_measured(tmp_path, monkeypatch):
    folders = written_by_variety(tmp_path, monkeypatch)
    folders["DOCS"].write_text("")
    monkeypatch.setattr(variety, "different", lambda *_: pytest.fail("it measures"))
    with pytest.raises(OSError, match="DOCS cannot be written"):
        variety.main(["--dataset", "toys"])


@pytest.mark.parametrize("seeds", ["50", "150", "0"])
def test_seeds_come_in_blocks(seeds, capsys):
    with pytest.raises(SystemExit):
        variety.main(["--seeds", seeds])
    assert "--seeds: must be a" in capsys.readouterr().err


# ------------------------------------------------------------------------- suggestions


def films_of(source: Source, *places: int) -> list[Film]:
    return [source.films[item] for item in ids_of(*places)]


def test_variety_is_the_score_less_a_share_of_the_mean(source):
    suggester, liked = Suggester(source), films_of(source, 9, 10, 11)
    scores = source.model.scores([ids_of(9, 10, 11)])[0]
    for adventure in (0.0, 0.7):
        wishes = Wishes(5, adventure, series=True)
        found = [each.film.id for each in suggester.suggest(Taste(liked), wishes)]
        expected = scores - adventure * suggester.calibration.mean_scores
        expected[[9, 10, 11]] = -np.inf
        ranked = [source.items[place] for place in np.argsort(-expected)]
        labels = list(dict.fromkeys(source.films[item].label for item in ranked))[:5]
        assert [source.films[item].label for item in found] == labels


def test_because_of_the_film_without_which_the_score_would_be_lowest(source):
    liked = films_of(source, 9, 10, 11)
    for each in Suggester(source).suggest(Taste(liked, films_of(source, 12)), Wishes(4)):
        place = source.items.index(each.film.id)
        rest = [[other for other in (9, 10, 11) if other != left] for left in (9, 10, 11)]
        parts = [source.model.scores_of([(places, [12])])[0][place] for places in rest]
        assert each.because == liked[int(np.argmin(parts))]


def test_where_no_film_has_a_year_none_is_to_be_asked_for(source):
    films = {item: replace(film, year=None) for item, film in source.films.items()}
    nothing = Wishes(fits=lambda film: False)
    for there, words in ((source, r"genres or years .*end in \d{4}"), (films, "for no years: no ")):
        asked = there if there is source else replace(source, films=there)
        with pytest.raises(NothingLeft, match=words):
            Suggester(asked).suggest(Taste(films_of(source, 9)), nothing)


def test_one_taste_after_another():
    a, b, c = (Film(i, str(i), str(i), None, ()) for i in range(3))
    assert Taste([a, b], [c]) | Taste([c], [a]) == Taste([b, c], [a], [])
    assert Taste([a], [b]) | Taste([c], [], [a]) == Taste([c], [b], [a])


# ------------------------------------------------------------------------- what is loaded


def loaded(source: Source, *arguments: str) -> str:
    """Which of the heavy packages a call imports."""
    argv = [*arguments, "--root", str(source.data.parent), "--model", str(source.folder)]
    code = (
        "import sys\nfrom recsys_rl.command.main import main\n"
        f"code = main({[*argv, '--dataset', source.dataset]})\n"
        "print(code, *sorted({'torch', 'pandas', 'numpy', 'gymnasium', 'tqdm'} & {*sys.modules}))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    return done.stdout.splitlines()[-1]


def test_an_answer_needs_numpy_alone_and_an_error_not_even_that(source):
    assert loaded(source, "Film 12", "alien dawn") == "0 numpy"
    assert loaded(source, "No such film") == "2"
    assert loaded(source, "--search", "film") == "0"
    assert loaded(source, "--k", "0") == "2"


# ------------------------------------------------------------------------- the cache of titles


def test_titles_are_read_again_when_the_data_or_the_program_change(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place = write_movielens(tmp_path / "films", "csv")
    first = title_cache.films_of(place)
    kept = list((tmp_path / "cache" / "recsys_rl").iterdir())
    assert len(kept) == 1
    with monkeypatch.context() as patch:
        patch.setattr(title_cache, "read_films", lambda path: pytest.fail("read again"))
        assert title_cache.films_of(place) == first
    for damaged in (b"", b"[", b"[[1]]", b"[1]", b"{}"):
        kept[0].write_bytes(damaged)
        assert title_cache.films_of(place)[0] == first[0]
    path = place / "movies.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("Nameless", "Named"), encoding="utf-8")
    assert title_cache.films_of(place)[0][26].title == "Named"
    program = tmp_path / "program.py"
    program.write_text("another")
    monkeypatch.setattr(title_cache, "_PROGRAM", (str(program),))
    read = []
    monkeypatch.setattr(title_cache, "read_films", lambda path: read.append(path) or first[0])
    title_cache.films_of(place)
    assert read == [place]
    assert len(list((tmp_path / "cache" / "recsys_rl").iterdir())) == 1


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    place = write_movielens(tmp_path / "films", "csv")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(title_cache.films_of(place)[0]) == 80


@pytest.mark.parametrize("value", ["cache", "./cache", ""])
def test_a_cache_home_that_is_relative_is_none(tmp_path, monkeypatch, value):
    place = write_movielens(tmp_path / "films", "csv")
    monkeypatch.chdir(place)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    there = {*place.iterdir()}
    title_cache.films_of(place)
    assert {*place.iterdir()} == there
    assert len(list((tmp_path / "home" / ".cache" / "recsys_rl").iterdir())) == 1


@pytest.mark.parametrize("damage", [lambda _: b"[" * 200_000, lambda raw: raw[:-9], lambda _: b""])
def test_a_damaged_cache_is_made_again(tmp_path, monkeypatch, damage):
    place = write_movielens(tmp_path / "films", "csv")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    films = title_cache.films_of(place)
    (kept,) = (tmp_path / "cache" / "recsys_rl").iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(damage(whole))
    assert title_cache.films_of(place) == films
    assert kept.read_bytes() == whole


@pytest.mark.parametrize(
    "rows", [5, None, [5], [[1, None, "a", 2, [], [], []]], [[{}, "a", "a", 2, [], [], []]],
             [[1, "a", "a", "2", [], [], []]], [[1, "a", "a", 2, 7, [], []]],
             [[1, "a", "a", 2, [], [[1, "a"]], []]]]
)  # fmt: skip
def test_a_cache_of_another_form_is_made_again(tmp_path, monkeypatch, rows):
    place = write_movielens(tmp_path / "films", "csv")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    films = title_cache.films_of(place)
    (kept,) = (tmp_path / "cache" / "recsys_rl").iterdir()
    text = json.dumps(rows).encode()
    kept.write_bytes(hashlib.sha256(text).hexdigest().encode() + b"\n" + text)
    assert title_cache.films_of(place) == films


def test_the_default_costs_nothing_and_is_varied_where_that_is_to_be_had():
    def chosen(*rows: tuple[float, float]) -> float:
        names = "adventure", "precision@3", "films"
        return variety.default_of(
            [dict(zip(names, (i / 10, *row), strict=True)) for i, row in enumerate(rows)]
        )

    assert chosen((0.5, 30), (0.52, 45), (0.51, 51), (0.505, 60), (0.49, 70)) == 0.2
    assert chosen((0.5, 30), (0.52, 40), (0.51, 45), (0.49, 70)) == 0.2
    assert chosen((0.5, 30), (0.49, 60)) == 0.0
