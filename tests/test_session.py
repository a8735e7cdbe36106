"""Sessions and what a terminal sees: the real command, in a pseudo-terminal and by pipes.

The films and the model are those of `test_recommendation`: whatever is liked, Film ids 5, 14, 8,
20 are suggested first.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from synthetic import write_movielens
from terminals import ROOT, Terminal
from test_recommendation import BEST, DATASET, TITLES, listed, save_model, titles_in

from recsys_rl.command import answering
from recsys_rl.command.cells import session, suggest
from recsys_rl.command.errors import CommandError
from recsys_rl.command.matching import Match
from recsys_rl.command.profiles import Answer, write_profile
from recsys_rl.command.session import QUESTIONS, Session, meaning
from recsys_rl.command.sources import open_source
from recsys_rl.command.suggesting import Suggester
from recsys_rl.command.suggestions import Wishes
from recsys_rl.command.taste import Taste
from recsys_rl.data.films import Film
from recsys_rl.serving import Recommender

if not hasattr(os, "fork"):
    pytest.skip("no pseudo-terminal", allow_module_level=True)

ASKED = [2, 5, 8, 11, 14]  # where every answer says as little, it goes by the ids


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options that name a small data set and its model."""
    world = tmp_path_factory.mktemp("world")
    write_movielens(world / "data" / DATASET, "csv")
    ids = list(listed(world))
    scores = [float(10 - BEST.index(i) if i in BEST else -i / 100) for i in ids]
    save_model(world / "models" / DATASET, ids, scores)
    links = "movieId,imdbId,tmdbId\n5,0114709,862\n14,,\n"
    (world / "data" / DATASET / "links.csv").write_text(links)
    return ["--root", str(world / "data"), "--models", str(world / "models"), "--dataset", DATASET]


@pytest.fixture
def terminal(given: list[str]) -> Iterator:
    """terminal(*arguments, columns=..., NAME=value) -> a running command."""
    running: list[Terminal] = []

    def start(*arguments: str, **options) -> Terminal:
        running.append(Terminal(*arguments, *given, **options))
        return running[-1]

    yield start
    for each in running:
        if each.process.poll() is None:
            each.kill()
        os.close(each.leader)


def piped(given: list[str], text: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(ROOT / "recommendation.py"), *arguments, *given],
        input=text, capture_output=True, text=True, encoding="utf-8", timeout=120, check=False,
    )  # fmt: skip


def kept(path: Path) -> list[tuple[int, str]]:
    saved = json.loads(path.read_text(encoding="utf-8"))
    assert (saved["format"], saved["dataset"]) == (1, DATASET)
    return [(row["id"], row["answer"]) for row in saved["answers"]]


# ------------------------------------------------------------------------- in a terminal


def test_one_key_an_answer_and_suggestions_at_the_end(terminal, tmp_path):
    me = tmp_path / "me.json"
    run = terminal("--session", "--profile", str(me))
    for key, item in zip("lnsdk", ASKED, strict=True):
        assert TITLES[item] in run.until("more [m]? ")
        run.type(key)
    run.until("? ")
    run.type("q")
    assert run.end() == 0
    assert "You might like" in run.plain
    answers = ["like", "no", "seen, liked", "seen, not", "skip"]
    assert kept(me) == list(zip(ASKED, answers, strict=True))
    suggested = titles_in(run.plain.split("You might like")[1])
    assert len(suggested) == 3
    assert not any(TITLES[item] in film for item in ASKED for film in suggested)


def test_killed_at_any_moment_and_gone_on_with(terminal, tmp_path):
    me = tmp_path / "me.json"
    for count, item in enumerate(ASKED[:3]):
        run = terminal("--session", "--profile", str(me))
        assert f"{count + 1}. {TITLES[item]}" in run.until("more [m]? ")
        run.type("l")
        run.until(f"{count + 2}. ")
        run.kill()
        assert [each for each, _ in kept(me)] == ASKED[: count + 1]
    assert not list(tmp_path.glob(".*.tmp"))


def test_an_interrupt_is_quiet_and_the_terminal_is_as_before(terminal, tmp_path):
    run = terminal("--session", "--profile", str(tmp_path / "me.json"))
    run.until("more [m]? ")
    run.type("\x03")
    assert run.end() == 130
    assert "Traceback" not in run.shown


def test_help_undo_and_suggestions_in_between(terminal):
    run = terminal("--session")
    assert "Answers are not kept: --profile FILE keeps them" in run.until("more [m]? ")
    run.type("m")
    assert "undo the last answer" in run.until("more [m]? ")
    run.type("u")
    assert "there is no answer to take back" in run.until("more [m]? ")
    run.type("l")
    run.until(f"2. {TITLES[ASKED[1]]}")
    run.until("? ")
    run.type("u")
    assert f"1. {TITLES[ASKED[0]]}" in run.until("more [m]? ")
    run.type("r")
    assert "You might like" in run.until("more [m]? ")
    run.type("\x04")
    assert run.end() == 0


def test_one_of_several_films_is_picked(terminal):
    run = terminal("Told", "id:2", "--json")
    assert "Which film is 'Told'?" in run.until("none of them: ")
    run.type("1\n")
    assert run.end() == 0
    answer = json.loads(run.plain[run.plain.index("{") :])
    assert [film["id"] for film in answer["liked"]] == [20, 2]


@pytest.mark.parametrize("columns", [40, 60, 100, 200])
def test_the_answer_fits_the_terminal(terminal, columns):
    run = terminal("2", "--k", "12", columns=columns)
    assert run.end() == 0
    assert max(map(len, run.plain.splitlines())) < columns
    assert "The Best" in run.plain


def test_colours_are_for_terminals_that_want_them(terminal, given):
    for environment, coloured in (
        ({}, True),
        ({"NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ):
        run = terminal("2", **environment)
        assert run.end() == 0
        assert ("\x1b[" in run.shown) == coloured
    assert "\x1b" not in piped(given, "", "2").stdout


def test_a_dumb_terminal_asks_for_lines(terminal, tmp_path):
    run = terminal("--session", "--profile", str(tmp_path / "me.json"), TERM="dumb")
    run.until("more [m]? ")
    run.type("like\n")
    run.until("more [m]? ")
    run.type("stop\n")
    assert run.end() == 0
    assert kept(tmp_path / "me.json") == [(ASKED[0], "like")]


# ------------------------------------------------------------------------- by pipes


def test_of_many_films_the_latest_are_shown_again(given):
    films = [str(item) for item in range(32, 92, 3)]
    done = piped(given, "", *films, "--k", "1")
    assert done.stdout.startswith("Because you liked\n  (8 films before these)\n   9. ")
    assert len(titles_in(done.stdout)) == 12 + 1


def test_one_answer_a_line(given, tmp_path):
    me = tmp_path / "me.json"
    done = piped(given, "like\nseen it, not\n\nnonsense\nn\n", "--session", "--profile", str(me))
    assert (done.returncode, done.stderr) == (0, "")
    assert [kind for _, kind in kept(me)] == ["like", "seen, not", "skip", "no"]
    assert "You might like" in done.stdout
    assert "[l]" not in done.stdout


def test_a_session_starts_from_films_that_are_named(given):
    done = piped(given, "stop\n", "--session", "La Séance à Orly", "--dislike", "1984")
    assert done.returncode == 0
    assert f"1. {TITLES[8]}" in done.stdout


def test_a_session_from_nothing_opens_with_the_films_that_tell_most(given, monkeypatch):
    def last(model, answers, askable):
        return int(askable.nonzero()[0][-1])

    monkeypatch.setattr(Recommender, "next_question", last)
    root, models, dataset = given[1::2]
    source = open_source(dataset, Path(root), Path(models), None)
    suggester = Suggester(source)
    opening = Session(suggester, Wishes())
    asked = []
    for _ in range(QUESTIONS):
        film = opening.next_film().film
        assert film == suggester.question(opening.taste, Wishes()).film
        opening.answer(film, "no")
        asked.append(film)
    assert len({film.label for film in asked}) == QUESTIONS
    best = suggester.suggest(opening.taste, Wishes(k=1))[0].film
    assert opening.next_film().film == best
    named = Session(suggester, Wishes(), start=Taste(asked[:1]))
    assert named.next_film().film == suggester.suggest(named.taste, Wishes(k=1))[0].film
    seen = Session(suggester, Wishes(), start=Taste(seen=asked[:1]))
    assert seen.next_film().film == suggester.question(seen.taste, Wishes()).film
    none = suggester.question(Taste(), Wishes(fits=lambda film: False))
    assert none is None


def test_an_agent_without_questions_shows_what_it_would_suggest(given, tmp_path):
    root, _, dataset = given[1::2]
    world = Path(root).parent
    save_model(tmp_path / dataset, list(listed(world)), None)
    suggester = Suggester(open_source(dataset, Path(root), tmp_path, None))
    opening = Session(suggester, Wishes())
    for answer in ("like", "no"):
        film = opening.next_film().film
        assert film == suggester.suggest(opening.taste, Wishes(k=1))[0].film
        opening.answer(film, answer)


def test_the_answer_to_a_session_may_be_json(given):
    done = piped(given, "l\nn\n", "--session", "--json")
    answer = json.loads(done.stdout)
    assert [film["id"] for film in answer["liked"]] == ASKED[:1]
    assert [film["id"] for film in answer["disliked"]] == ASKED[1:2]
    assert [film["id"] for film in answer["suggestions"]] == [14, 8, 20]


def test_a_profile_is_read_by_the_one_shot_form(given, tmp_path):
    me = tmp_path / "me.json"
    piped(given, "l\nn\nk\n", "--session", "--profile", str(me))
    answer = json.loads(piped(given, "", "Nameless", "--profile", str(me), "--json").stdout)
    assert [film["id"] for film in answer["liked"]] == [ASKED[0], 26]
    assert [film["id"] for film in answer["disliked"]] == ASKED[1:2]
    assert [film["id"] for film in answer["seen"]] == ASKED[2:3]
    assert not {*ASKED[:3], 26} & {film["id"] for film in answer["suggestions"]}


def test_a_profile_of_another_data_set_is_read_by_title_and_year(given, tmp_path):
    rows = [
        {"id": 7, "title": "La Séance à Orly", "year": 1988, "answer": "like"},
        {"id": 8, "title": "Somewhere Else", "year": 1990, "answer": "like"},
    ]
    saved = {"format": 1, "dataset": "another", "answers": rows}
    (tmp_path / "me.json").write_text(json.dumps(saved))
    done = piped(given, "", "--profile", str(tmp_path / "me.json"), "--json")
    assert [film["id"] for film in json.loads(done.stdout)["liked"]] == [5]
    assert "that are not in this data set: 1, as Somewhere Else" in done.stderr
    piped(given, "n\n", "--session", "--profile", str(tmp_path / "me.json"))
    assert kept(tmp_path / "me.json") == [(None, "like"), (5, "like"), (2, "no")]


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '{"format": 2, "answers": []}', '{"format": 1, "answers": [{}]}',
     '{"format": 1, "answers": [{"id": 1, "title": "x", "year": 1, "answer": "perhaps"}]}',
     "[" * 100_000],
)  # fmt: skip
def test_a_file_that_is_no_profile_is_one_sentence_and_stays(given, tmp_path, content):
    me = tmp_path / "me.json"
    me.write_text(content)
    done = piped(given, "l\n", "--session", "--profile", str(me))
    assert (done.returncode, done.stdout) == (2, "")
    assert "is not a profile that a session has kept" in done.stderr
    assert done.stderr.count("\n") == 1
    assert me.read_text() == content


def test_a_profile_that_cannot_be_written_is_one_sentence(given, tmp_path):
    done = piped(given, "l\n", "--session", "--profile", str(tmp_path / "no" / "me.json"))
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_session_ends_where_the_films_end(given):
    done = piped(given, "n\n" * 100, "--session", "--year", "1950-1961", "--k", "1")
    assert done.returncode == 0
    assert "No film is left to ask about." in done.stdout


def test_more_suggestions_than_films_are_those_that_are_left(given):
    asked = "--session", "--year", "1950-1961", "--k"
    few, many = (piped(given, "q\n", *asked, str(k)) for k in (100, 10**9))
    assert (many.returncode, many.stderr) == (0, "")
    assert many.stdout == few.stdout


# ------------------------------------------------------------------------- links, keys, notebook


def test_links_are_shown_where_the_set_has_them(given):
    answer = json.loads(piped(given, "", "2", "--json").stdout)["suggestions"]
    imdb, tmdb = "https://www.imdb.com/title/tt0114709/", "https://www.themoviedb.org/movie/862"
    assert [film["links"] for film in answer] == [{"imdb": imdb, "tmdb": tmdb}, None, None]
    text = piped(given, "", "2").stdout
    assert imdb in text
    assert tmdb in text


@pytest.mark.parametrize(
    ("typed", "kind"),
    [("l", "like"), ("Y", "like"), ("no", "no"), (" ", "skip"), ("", "skip"), ("\x04", "stop"),
     ("Seen it,  liked", "seen, liked"), ("seen not", "seen, not"), ("\x1b[A", None), ("7", None)],
)  # fmt: skip
def test_what_keys_and_words_mean(typed, kind):
    assert meaning(typed) == kind


def test_the_same_in_a_notebook(given, tmp_path):
    root, models, dataset = given[1::2]
    options = {"root": root, "models": models, "dataset": dataset}
    text = suggest("Film 20", 2, dislike=["1984"], seen=["La Séance à Orly"], k=2, **options)
    assert "You might like\n  1. The Best" in text
    with pytest.raises(CommandError, match="'-30-'"):
        suggest("-30-", **options)
    answers, shown = iter(["like", "stop"]), []
    session(
        ask=lambda prompt: next(answers),
        show=shown.append,
        profile=tmp_path / "me.json",
        **options,
    )
    assert kept(tmp_path / "me.json") == [(ASKED[0], "like")]
    assert "You might like" in shown[-1]
    with pytest.raises(CommandError, match="no film has the title"):
        suggest("No such film", **options)


def test_a_second_session_on_one_profile_is_refused_and_nothing_is_lost(given, tmp_path):
    root, models, dataset = given[1::2]
    options = {"root": root, "models": models, "dataset": dataset, "profile": tmp_path / "me.json"}
    answers = iter(["like", "no", "stop"])

    def ask(prompt: str) -> str:
        with pytest.raises(CommandError, match="another session is writing to"):
            session(ask=lambda prompt: "like", show=list, **options)
        return next(answers)

    session(ask=ask, show=list, **options)
    session(ask=lambda prompt: "stop", show=list, **options)
    assert kept(tmp_path / "me.json") == list(zip(ASKED, ["like", "no"], strict=False))
    assert [path.name for path in tmp_path.iterdir()] == ["me.json"]


def test_a_profile_keeps_the_titles_that_it_has(given, tmp_path):
    films = [Film(1, "Raiders (Indiana Jones and the Raiders)", "Raiders", 1981, ())]
    row = {"id": 7, "title": "Raiders", "year": 1981, "answer": "like", "mine": 2}
    write_profile(tmp_path / "me.json", "other", [Answer(films[0], "no", row)])
    (kept_row,) = json.loads((tmp_path / "me.json").read_text())["answers"]
    assert kept_row == row | {"id": 1, "answer": "no"}


def test_a_year_in_a_profile_may_be_text(given, tmp_path):
    root, models, dataset = given[1::2]
    options = {"root": root, "models": models, "dataset": dataset, "profile": tmp_path / "me.json"}
    answers = iter(["like", "stop"])
    session(ask=lambda prompt: next(answers), show=list, **options)
    saved = json.loads((tmp_path / "me.json").read_text())
    saved["answers"][0]["year"] = str(saved["answers"][0]["year"])
    (tmp_path / "me.json").write_text(json.dumps(saved))
    assert "not in this data set" not in suggest("Film 20", **options)
    session(ask=lambda prompt: "stop", show=list, **options)
    assert kept(tmp_path / "me.json") == [(ASKED[0], "like")]


def test_an_unknown_title_does_not_end_what_a_file_answers(given, tmp_path, capsys):
    root, models, dataset = given[1::2]
    options = {"root": root, "models": models, "dataset": dataset}
    me = {"profile": tmp_path / "me.json"} | options
    answers = iter(["like", "stop"])
    session(ask=lambda prompt: next(answers), show=list, **me)
    for named in ({"like": ["-30-"]}, {"dislike": ["-30-"]}, {"seen": ["-30-"]}):
        assert "You might like" in suggest(**named, **me)
        assert "'-30-'" in capsys.readouterr().err
        with pytest.raises(CommandError, match="'-30-'"):
            suggest(**named, **options)
    session("-30-", ask=lambda prompt: "stop", show=list, **me)
    with pytest.raises(CommandError, match="'-30-'"):
        suggest("-30-", seen=["Film 20"], **options)  # nothing that is liked is left


def test_what_another_program_writes_into_a_profile_meanwhile_stays(given, tmp_path):
    root, models, dataset = given[1::2]
    options = {"root": root, "models": models, "dataset": dataset, "profile": tmp_path / "me.json"}
    answers = iter(["like", "no"])

    def ask(prompt: str) -> str:
        said = next(answers)
        if said == "no":
            saved = json.loads((tmp_path / "me.json").read_text())
            (tmp_path / "me.json").write_text(json.dumps(saved | {"mine": 1}))
        return said

    with pytest.raises(CommandError, match="was changed by another program while the session was"):
        session(ask=ask, show=list, **options)
    session(ask=lambda prompt: "stop", show=list, **options)
    assert kept(tmp_path / "me.json") == [(ASKED[0], "like")]
    assert json.loads((tmp_path / "me.json").read_text())["mine"] == 1


def test_what_a_cell_cannot_be_told_is_one_sentence(given):
    root, models, dataset = given[1::2]
    options = {"root": root, "models": models, "dataset": dataset}
    for odd, words in (
        ({"year": (1990, 2000)}, "year is one value, and not"),
        ({"k": [2, 3]}, "k is one value, and not"),
        ({"help": True}, "help is for the command line"),
    ):
        with pytest.raises(CommandError, match=words):
            suggest("Film 20", **odd, **options)
    for ask in (lambda prompt: None, lambda prompt: 1, lambda prompt: b"l"):
        with pytest.raises(CommandError, match="ask gives an answer as text, and not"):
            session(ask=ask, show=list, **options)
    for odd in ({"ask": "l"}, {"show": None}):
        with pytest.raises(CommandError, match="ask is a function from a prompt to an answer"):
            session(**odd, **options)


def test_a_model_that_does_not_read_dislikes_says_so(given, tmp_path, capsys):
    root, _, dataset = given[1::2]
    save_model(tmp_path / dataset, list(listed(Path(root).parent)), None)
    options = {"root": root, "models": tmp_path, "dataset": dataset}
    suggest("Film 20", dislike=["1984"], **options)
    assert "note: this model does not read dislikes" in capsys.readouterr().err
    session("Film 20", ask=lambda prompt: "stop", show=list, **options)
    assert "note: this model does not read dislikes" in capsys.readouterr().err
    suggest("Film 20", **options)
    assert "dislikes" not in capsys.readouterr().err


def test_a_termination_leaves_the_terminal_as_before(terminal, tmp_path):
    run = terminal("--session", "--profile", str(tmp_path / "me.json"))
    run.until("more [m]? ")
    run.process.terminate()
    assert run.end() == 128 + signal.SIGTERM
    assert termios.tcgetattr(run.leader)[3] & termios.ECHO


def test_files_that_say_nothing_of_a_taste_are_not_answered_with_random_films(given, tmp_path):
    root, models, dataset = given[1::2]
    options = {"root": root, "models": models, "dataset": dataset}
    me, rated = tmp_path / "me.json", tmp_path / "rated.csv"
    skipped = {"id": 8, "title": 'The Best "Worst" Day', "year": 1991, "answer": "skip"}
    other = {"id": 1, "title": "x" * 900, "year": 1990, "answer": "like"}
    for rows in ([], [skipped], [other]):
        me.write_text(json.dumps({"format": 1, "dataset": dataset, "answers": rows}))
        with pytest.raises(CommandError, match="holds no film that you liked or disliked"):
            suggest(profile=me, **options)
        assert "You might like" in suggest(2, profile=me, **options)
    rated.write_text("movieId,rating\n5,3.5\n")
    with pytest.raises(CommandError, match="holds no film that you liked or disliked"):
        suggest(ratings=rated, **options)


def test_a_title_in_a_profile_is_not_shown_at_any_length(given, tmp_path, capsys):
    root, models, dataset = given[1::2]
    rows = [{"id": 1, "title": "x" * 900, "year": 1990, "answer": "like"}]
    me = tmp_path / "me.json"
    me.write_text(json.dumps({"format": 1, "dataset": dataset, "answers": rows}))
    suggest(2, profile=me, root=root, models=models, dataset=dataset)
    assert "that are not in this data set: 1, as xxx" in (said := capsys.readouterr().err)
    assert len(said) < 400


@pytest.mark.parametrize(
    ("typed", "picked"),
    [("1", 0), ("2", 1), ("3", None), ("0", None), ("", None), ("9" * 5000, None)],
)
def test_a_number_that_is_picked(monkeypatch, typed, picked):
    films = [Film(1, "Psycho", "Psycho", 1960, ()), Film(2, "Psycho", "Psycho", 1998, ())]
    monkeypatch.setattr(answering, "pick_line", lambda prompt: typed)
    expected = None if picked is None else films[picked]
    assert answering._pick(Match("psycho", choices=films)) == expected
