"""Arguments of both commands that argparse, the file system or a terminal would take amiss."""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import recommendation
from benchmarks import fuzz
from recsys_rl import train
from recsys_rl.command.arguments import parse
from recsys_rl.data import download
from recsys_rl.data.arguments import number_of
from recsys_rl.data.films import read_films, with_all

COMMANDS = {"recommendation.py": recommendation.main, "recsys_rl.train": train.main}


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """refusal(command, *arguments) -> the sentence, in a folder without data, offline."""

    def offline(*_: object) -> None:
        raise OSError("there is no network")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(download, "fetch", offline)
    monkeypatch.setattr(download, "_from_wheel", offline)

    def refusal(name: str, *arguments: str) -> str:
        assert COMMANDS[name](list(arguments)) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"{name}: ")
        assert err.count("\n") == 1
        assert err.removesuffix("\n").isprintable()
        return err

    return refusal


@pytest.mark.parametrize(
    ("name", "option"),
    [(name, option) for name in COMMANDS for option in ("--seed", "--dataset", "--root")]
    + [("recommendation.py", "--k"), ("recommendation.py", "--movies")]
    + [("recsys_rl.train", "--out"), ("recsys_rl.train", "--set"), ("recsys_rl.train", "--split")],
)
def test_two_dashes_are_no_value(refusal, name: str, option: str) -> None:
    said = refusal(name, "--root", ".", f"{option}=--")
    assert f"argument {option}: expected a value" in said


@pytest.mark.parametrize("text", ["-k=--", "-k--"])
def test_two_dashes_are_no_value_of_a_short_option_either(refusal, text: str) -> None:
    said = refusal("recommendation.py", "--root", ".", text)
    assert "argument -k: expected a value" in said


@pytest.mark.parametrize("option", ["--root", "--models", "--model"])
@pytest.mark.parametrize("folder", ["n" * 300, "a\0b", "a" * 5000])
def test_a_folder_of_an_impossible_name_is_not_there(refusal, option: str, folder: str) -> None:
    assert f"argument {option}: there is no folder" in refusal("recommendation.py", option, folder)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("text", ["\x1b[2J", "a\nb", "\x07", "\u2028", "\ud800", "\x9b1m"])
def test_no_argument_steers_the_terminal(refusal, name: str, text: str) -> None:
    for arguments in ([f"--{text}"], ["--dataset", text], ["--root", ".", text], ["--seed", text]):
        refusal(name, *arguments)


@pytest.mark.parametrize("option", ["--k", "--seed", "--year", "--adventure", "--root"])
def test_an_argument_is_not_echoed_at_any_length(refusal, option: str) -> None:
    assert len(refusal("recommendation.py", option, "9" * 50_000 + "x")) < 700


@pytest.mark.parametrize("option", ["--genre", "--not-genre", "--search"])
def test_nor_is_what_is_looked_for(world: fuzz.World, option: str, capsys) -> None:
    with world.inside():
        assert COMMANDS["recommendation.py"]([*fuzz.GOOD, option, "x" * 50_000]) == 2
    assert len(capsys.readouterr().err) < 700


def test_no_title_steers_the_terminal(tmp_path: Path) -> None:
    rows = "movieId,title,genres\n1,\x1b[2JHeat &#27;[1m(1995),Ac\x07tion\n"
    (tmp_path / "movies.csv").write_text(rows)
    film = read_films(tmp_path)[1]
    assert "Heat" in film.title
    assert all(text.isprintable() for text in (film.title, film.filed, *film.genres))
    assert with_all({}, ["a\x1b[2J"])["a\x1b[2J"].title.isprintable()


def test_without_data_training_says_one_sentence(refusal) -> None:
    said = refusal("recsys_rl.train", "--root", "data")
    assert "could not be had" in said
    assert "there is no network" in said
    assert "put it into" in said


def test_lists_of_different_lengths_are_no_action(tmp_path: Path) -> None:
    world = fuzz.World(tmp_path)
    environment = fuzz.GymColdStartEnv(users=world.log, vectors=fuzz.vectors_of(world.log))
    environment.reset(seed=0)
    with pytest.raises(ValueError, match=r"an action is real numbers \[3\]"):
        environment.step([[1.0], [0.5, 0.5]])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> fuzz.World:
    return fuzz.World(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize("option", ["--ratings", "--profile"])
@pytest.mark.parametrize(
    "file", ["a\0b", "n" * 300, "a" * 5000, "", "file/x", "nowhere/x", "\ud800"]
)
@pytest.mark.parametrize("more", [[], ["--session"]], ids=["once", "session"])
def test_a_file_that_cannot_be_is_refused_before_any_answer(
    world: fuzz.World, option: str, file: str, more: list[str], capsys: pytest.CaptureFixture
) -> None:
    if (option, file, more) == ("--profile", "\ud800", ["--session"]):
        pytest.skip("some file systems have such files")
    with world.inside():
        code = COMMANDS["recommendation.py"]([*fuzz.GOOD, option, file, *more])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.removesuffix("\n").isprintable()
    said = "cannot be ", "is not a profile", "is no regular file", "must be a file, not an empty"
    assert any(words in err for words in said)


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_an_answer_in_another_encoding_is_asked_again(world: fuzz.World, encoding: str) -> None:
    program = Path(recommendation.__file__).resolve()
    done = subprocess.run(
        [sys.executable, program, *fuzz.GOOD, "--session"],
        input=b"\xff\nq\n",
        capture_output=True,
        cwd=world.folder,
        env=os.environ | {"PYTHONIOENCODING": encoding},
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"You might like" in done.stdout


# ------------------------------------------------------------------------- what is empty


@pytest.mark.parametrize("option", ["--genre", "--not-genre"])
@pytest.mark.parametrize("text", ["", " ", ",", " , "])
def test_an_empty_genre_is_none(refusal, option: str, text: str) -> None:
    assert f"argument {option}: must name a genre" in refusal("recommendation.py", option, text)


@pytest.mark.parametrize("text", ["(", "", " ", "?!", "-"])
def test_a_search_for_no_word_is_refused(world: fuzz.World, text: str, capsys) -> None:
    with world.inside():
        assert recommendation.main([*fuzz.GOOD, f"--search={text}"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "a search needs letters or digits" in err


def test_behind_two_dashes_there_are_films_only() -> None:
    asked = parse(["matrix", "--k", "2", "--like", "heat", "--", "--session", "-k", "--", "alien"])
    assert asked.films == ["matrix", "--session", "-k", "--", "alien", "heat"]
    assert (asked.k, asked.session) == (2, False)
    assert parse(["--", "--json"]).json is False


def test_too_little_memory_is_told(monkeypatch, capsys):
    def greedy(arguments):
        raise MemoryError

    monkeypatch.setattr("recsys_rl.command.answering.answer", greedy)
    assert recommendation.main(["matrix"]) == 2
    assert capsys.readouterr().err.startswith("recommendation.py: too little memory")


@pytest.mark.parametrize(
    "text", ["nan", "inf", "1e999", "-1", "-0.001", "1_0", "\u0661", "", "x", "0x1", "1.01"]
)
def test_a_number_of_an_option_is_finite_and_within_its_bounds(text: str) -> None:
    share = number_of("a number from 0 to 1", 1)
    with pytest.raises(argparse.ArgumentTypeError, match="must be a number from 0 to 1, not"):
        share(text)
    assert (share("0"), share("1"), number_of("a number")("2.5e3")) == (0.0, 1.0, 2500.0)


@pytest.mark.parametrize("module", ["fuzz", "user_leaves_rivals"])
def test_benchmarks_take_no_endless_minutes(module: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"benchmarks.{module}").main(["--minutes", "nan"])
    assert ended.value.code == 2
    assert "must be a number of minutes, not 'nan'" in capsys.readouterr().err
