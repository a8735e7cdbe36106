"""The command line, end to end: what is typed against what is printed, on a tiny data set.

The ids of its films leave gaps (2, 5, 8, ...), so a title looked up by index is seen as the wrong
film. `chosen` is a model whose ranking is written down here by hand; `learned` has random weights.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from synthetic import write_movielens

from recsys_rl.agent.config import Config, EnvConfig, StateConfig
from recsys_rl.agent.networks import Actor
from recsys_rl.baselines.gaussian import GaussianLikes
from recsys_rl.command import arguments as command_arguments
from recsys_rl.command import output, title_cache
from recsys_rl.command.main import main
from recsys_rl.command.sources import Source
from recsys_rl.command.suggestions import Suggestion
from recsys_rl.command.taste import Taste
from recsys_rl.data import download, movie_files
from recsys_rl.data.films import Film, without_duplicates
from recsys_rl.data.interactions import IdMap
from recsys_rl.serving import FORMAT, Recommender
from recsys_rl.states.linear import GatedLinear
from recsys_rl.states.registry import STATES

REPOSITORY = Path(__file__).parent.parent
DATASET = "ml-latest-small"  # csv files, and no published number of rows to be held against
UNKNOWN = 236  # in the movie file, but not in the model
DUPLICATES = 20, 23  # both are "Twice Told (1990)"
BEST = [5, 14, 8, *DUPLICATES, 26, 11]  # what `chosen` likes best; all others come after them
TITLES = {
    2: "Alien Dawn: The Return (1979)",
    5: "La Séance à Orly (1988)",
    8: 'The Best "Worst" Day (1991)',
    11: "Red, White & Blue (1960)",
    14: "1984 (1984)",
    20: "Twice Told (1990)",
    26: "Nameless",
    62: "Film 20 (1970)",
    65: "Film 21 (1971)",
}


def save_model(folder: Path, ids: list[int], scores: list[float] | None, n: int = 2) -> Recommender:
    """A tiny released agent: films get `scores` whatever was liked, or random weights learn it.

    The former is answered with by numpy alone, as most releases are.
    """
    if scores is None:
        actor, config = random_actor(len(ids), n), Config(StateConfig("DRR-ave", k=4, n=n))
    else:
        state = StateConfig("DRR-set", k=4, n=n, linear="gaussian")
        world = EnvConfig("cold-start", horizon=1, n_seed=n - 1)
        actor, config = constant_actor(scores, n), Config(state, env=world)
    saved = {
        "format": FORMAT,
        "dataset": folder.name,
        "n_users": 3,
        "config": config.to_dict(),
        "item_ids": ids,
        "positive_counts": [10_000 - i for i in ids],  # the smaller the id, the more it is liked
    }
    model = Recommender(actor, IdMap(np.array(ids)), saved)
    model.save(folder)
    return model


def random_actor(n_items: int, n: int) -> Actor:
    actor = Actor(STATES["DRR-ave"](3, n_items, 4, n))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2)
    return actor


def constant_actor(scores: list[float], n: int) -> Actor:
    """The scores are the items' biases, and all else is 0."""
    state = STATES["DRR-set"](3, len(scores), 4, n)
    zeros = torch.zeros(len(scores), 2)
    gaussian = GaussianLikes(zeros[:, 0], zeros[:, :1], torch.ones(len(scores)), n)
    actor = Actor(state, GatedLinear(gaussian, n, torch.Generator()))
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.zero_()
        state.item_vectors.weight[:-1, -1] = torch.tensor(scores)
    return actor


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data/, chosen/ and learned/: read-only for the tests."""
    world = tmp_path_factory.mktemp("world")
    write_movielens(world / "data" / DATASET, "csv")
    ids = [item for item in listed(world) if item != UNKNOWN]
    scores = [float(10 - BEST.index(i) if i in BEST else -i / 100) for i in ids]
    save_model(world / "chosen" / DATASET, ids, scores)
    save_model(world / "learned" / DATASET, ids, None)
    (world / "none").mkdir()
    return world


def listed(world: Path) -> dict[int, str]:
    """The movie file, read here without the project's own code."""
    with (world / "data" / DATASET / "movies.csv").open(encoding="utf-8", newline="") as file:
        return {int(row["movieId"]): row["title"] for row in csv.DictReader(file)}


@pytest.fixture
def ask(world: Path, capsys: pytest.CaptureFixture):
    """ask(*arguments) -> exit code, stdout, stderr."""

    def ask(*arguments: str, models: Path | str = "chosen") -> tuple[int, str, str]:
        given = {"--root": world / "data", "--models": world / models, "--dataset": DATASET}
        argv = list(arguments)
        for flag, value in given.items():
            if flag not in arguments:
                argv += [flag, str(value)]
        code = main(argv)
        return code, *capsys.readouterr()

    return ask


def ids_of(answer: str, part: str) -> list[int]:
    return [film["id"] for film in json.loads(answer)[part]]


def titles_in(text: str) -> list[str]:
    """The ranks and films of an answer, less the lines below them."""
    return re.findall(r"^ +(\d+\. .+?)(?:  .*)?$", text, flags=re.MULTILINE)


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below with its size and time of change."""
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


def refused(result: tuple[int, str, str]) -> str:
    """Holds for every refusal: exit code 2, nothing on stdout, one sentence on stderr."""
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.startswith("recommendation.py: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    return err


# ------------------------------------------------------------------------- right films


def test_titles_belong_to_the_ids_the_model_ranks_first(ask):
    code, out, err = ask("--movies", "2", "Film 20", "--k", "4")
    assert (code, err) == (0, "")
    ranked = [(1, 2), (2, 62), (1, 5), (2, 14), (3, 8), (4, 20)]
    assert titles_in(out) == [f"{rank}. {TITLES[item]}" for rank, item in ranked]


def test_text_says_who_answered(ask):
    lines = ask("--movies", "2")[1].splitlines()
    assert lines[0] == "Because you liked"
    assert lines[3] == "You might like"
    assert lines[1] == "  1. Alien Dawn: The Return (1979)  Action, Sci-Fi"
    assert lines[-1] == f"Suggested by the agent in chosen/{DATASET}, data set {DATASET}."


def test_json_is_one_object_with_everything_in_it(ask):
    code, out, err = ask("--movies", "65", "2", "--k", "6", "--json")
    assert (code, err) == (0, "")
    answer = json.loads(out)
    assert answer["liked"][1] == {
        "id": 2,
        "title": "Alien Dawn: The Return",
        "year": 1979,
        "genres": ["Action", "Sci-Fi"],
    }
    assert ids_of(out, "liked") == [65, 2]
    assert ids_of(out, "suggestions") == [5, 14, 8, 20, 26, 11]
    assert answer["suggestions"][0]["title"] == "La Séance à Orly"
    assert answer["suggestions"][0]["score"] == 10
    assert (answer["suggestions"][4]["title"], answer["suggestions"][4]["year"]) == (
        "Nameless",
        None,
    )
    assert {key: answer[key] for key in ("dataset", "model", "seed")} == {
        "dataset": DATASET,
        "model": f"chosen/{DATASET}",
        "seed": None,
    }
    assert (answer["schema"], answer["last_year"]) == (2, 2029)
    assert [answer[part] for part in ("disliked", "seen", "notes", "problems")] == [[]] * 4
    film = {"id", "title", "year", "genres"}
    assert set(answer["liked"][0]) == film
    assert set(answer["suggestions"][0]) == film | {"score", "chance", "because", "links"}
    assert answer["suggestions"][0]["because"]["id"] in (2, 65)
    assert len(answer) == 11


def test_every_title_is_the_one_in_the_file(ask, world):
    titles = listed(world)
    out = ask("--movies", "2", "--k", "77", "--json")[1]
    suggestions = json.loads(out)["suggestions"]
    assert len(suggestions) == 77  # 80 less the liked one, a duplicate and the one nobody rated
    for film in suggestions:
        if film["title"].startswith("Film "):
            assert f"{film['title']} ({film['year']})" == titles[film["id"]]


def test_answers_as_the_model_does_and_keeps_the_order_of_the_films(ask, world):
    model = Recommender.load(world / "learned" / DATASET)
    films = [62, DUPLICATES[0], 8]
    expected = [pair for pair in model.recommend(films, 6) if pair[0] != DUPLICATES[1]][:5]
    assert expected[0] != model.recommend(films[::-1], 1)[0]  # else the order would not matter here
    out = ask("--movies", *map(str, films), "--k", "5", "--json", models="learned")[1]
    found = json.loads(out)["suggestions"]
    assert [(film["id"], film["score"]) for film in found] == expected


def test_a_film_listed_under_two_ids_is_neither_repeated_nor_suggested_to_who_liked_it(ask):
    assert ids_of(ask("--movies", "2", "--k", "5", "--json")[1], "suggestions")[3:] == [20, 26]
    assert ids_of(ask("--movies", "23", "--k", "5", "--json")[1], "suggestions")[3:] == [26, 11]


def test_who_asks_for_a_newer_film_is_told_of_the_set_that_has_newer_ones(ask, world, tmp_path):
    shutil.copytree(world / "data", tmp_path / "old")
    movies = tmp_path / "old" / DATASET / "movies.csv"
    text = re.sub(r"\(20\d\d\)", "(1999)", movies.read_text(encoding="utf-8"))
    movies.write_text(text, encoding="utf-8")
    there = "--root", str(tmp_path / "old")
    hint = "recommendation.py: --dataset ml-latest-small has films to 2018"
    code, _, err = ask("Film 20", "Avengers Endgame", *there)
    assert code == 0
    assert hint in err.splitlines()
    code, _, err = ask("Avengers Endgame", *there)
    assert code == 2
    assert hint in err
    assert hint not in ask("Film 20", "No such film at all", *there)[2]


@pytest.mark.parametrize(
    ("typed", "item"),
    [
        ("62", 62),
        ("Film 20", 62),
        ("Film 20 (1970)", 62),
        ("  film   20 ", 62),
        ('Best "Worst" Day, The', 8),
        ('Best "Worst" Day, The (1991)', 8),
        ('the best "worst" day', 8),
        ('The Best "Worst" Day (1991)', 8),
        ("SÉANCE À ORLY, LA", 5),
        ("la seance a orly", 5),
        (unicodedata.normalize("NFD", "La Séance à Orly"), 5),
        ("1984", 14),
        ("Nameless", 26),
    ],
)
def test_a_film_is_found_by_id_and_by_each_form_of_its_title(ask, typed, item):
    code, out, _ = ask("--movies", typed, "--json")
    assert code == 0
    assert ids_of(out, "liked") == [item]


def test_words_that_one_title_alone_holds_name_it_with_a_note(ask):
    code, out, err = ask("--movies", "alien dawn", "--json")
    assert (code, ids_of(out, "liked")) == (0, [2])
    assert err == "note: 'alien dawn' is taken for Alien Dawn: The Return (1979) [id 2]\n"


def test_repeated_movies_flags_add_up(ask):
    out = ask("--movies", "2", "--movies", "62", "65", "--json")[1]
    assert ids_of(out, "liked") == [2, 62, 65]


# ------------------------------------------------------------------------- random films


def test_three_random_films_in_and_three_out(ask):
    code, out, err = ask()
    assert (code, err) == (0, "")
    assert out.count("  1. ") == out.count("  3. ") == 2
    assert "  4. " not in out
    seed = out.split()[-1]
    assert ask("--seed", seed)[1] == out


def test_a_seed_repeats_the_films_and_another_draws_others(ask):
    draws = [ids_of(ask("--seed", str(seed), "--json")[1], "liked") for seed in (1, 1, 2, 3)]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2] != draws[3]
    assert json.loads(ask("--seed", "3", "--json")[1])["seed"] == 3


def test_without_a_seed_each_run_differs(ask):
    seeds = {json.loads(ask("--json")[1])["seed"] for _ in range(4)}
    assert len(seeds) > 1


def test_random_films_are_different_ones_among_the_most_liked(ask, monkeypatch):
    monkeypatch.setattr(command_arguments, "POOL", 8)
    draws = [ids_of(ask("--seed", str(seed), "--json")[1], "liked") for seed in range(30)]
    assert all(len(set(draw)) == 3 for draw in draws)
    # the eight smallest ids are the most liked ones; of the duplicates among them one can be drawn
    assert {item for draw in draws for item in draw} == {2, 5, 8, 11, 14, 17, 20}


def test_films_that_nobody_liked_are_not_drawn(ask, world, tmp_path):
    models = copy_models(world, tmp_path)
    change_config(
        models, lambda config: config["positive_counts"].__setitem__(slice(2, None), [0] * 77)
    )
    code, out, _ = ask("--json", models=models)
    assert code == 0
    assert sorted(ids_of(out, "liked")) == [2, 5]


# ------------------------------------------------------------------------- notes


def test_films_nobody_rated_are_left_out_with_a_note(ask):
    code, out, err = ask("--movies", "2", str(UNKNOWN), "--json")
    assert code == 0
    assert ids_of(out, "liked") == [2]
    assert err.startswith("note: ")
    assert err.count("\n") == 1
    assert f"Film 78 (2028) [id {UNKNOWN}]" in err


def test_more_films_than_the_model_remembers_are_noted(ask):
    assert ask("--movies", "2", "5")[2] == ""
    code, _, err = ask("--movies", "2", "5", "8")
    assert (code, err) == (0, "note: the model goes by the last 2 of these 3 films\n")


def test_a_seed_beside_movies_is_noted(ask):
    code, out, err = ask("--movies", "2", "--seed", "1", "--json")
    assert code == 0
    assert err.startswith("note: --seed")
    assert json.loads(out)["seed"] is None


# ------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--movies", "999999"], "no film has the id '999999'"),
        (["--movies", "3"], "no film has the id '3'"),  # an index, but no id
        (["--movies", "9" * 5000], "no film has the id"),
        (["--movies", "-5"], "'-5'"),
        (["--movies", "No such film at all"], "no film has the title 'No such film at all'"),
        (["--movies", "Film 20 (1973)"], "Film 20 (1970) [id 62]"),
        (["--movies", "a\nb"], r"'a\nb'"),
        (["--movies", "Dawn"], "did you mean Alien Dawn: The Return (1979) [id 2]"),
        (["--movies", "?"], "no film has the title '?'; check it, or give its id"),
        (["--movies", "Told"], "did you mean Twice Told (1990) [id 20]"),
        (["--movies", "1979"], "no film has the id '1979'"),
        (
            ["--movies", "Inception"],
            "Inception (2010) is not in this data set",
        ),
        (["2", "--dislike", "2"], "Alien Dawn: The Return (1979) [id 2] is named as liked and as"),
        (["--dislike", "No such film"], "no film has the title 'No such film'"),
        (["Film 20", "--genre", "Opera"], "no film has the genre 'Opera': choose among Action, "),
        (["Film 20", "--year", "1800"], "no film is left to suggest: ask for other genres or"),
        (["Film 20", "--year", "19xx"], "--year: must be a year or years, as in 1994, 1990-2000"),
        (["Film 20", "--year", "2000-1990"], "must begin with the earlier year"),
        (["--adventure", "2"], "--adventure: must be a number from 0 to 1, not '2'"),
        (["--profile", "no/such/file"], "the profile cannot be read"),
        (["--ratings", "no/such/file"], "the ratings cannot be read"),
        (["--search", "zzzz"], "no title holds 'zzzz' among the films of ml-latest-small"),
        (["--movies", "2", ""], "is empty"),
        (["--movies", " "], "is empty"),
        (["--movies"], "--movies"),
        (["--movies", str(UNKNOWN)], f"nothing about Film 78 (2028) [id {UNKNOWN}]"),
        (["--k", "0"], "--k/-k: must be a whole number, 1 or more, not '0'"),
        (["--k", "-1"], "1 or more, not '-1'"),
        (["--k", "three"], "not 'three'"),
        (["--k", "2.5"], "not '2.5'"),
        (["--movies", "2", "--k", "78"], "--k 78 is too large: give at most 77"),
        (["--k", "9" * 30], "is too large"),
        (["--seed", "x"], "--seed: must be a whole number, 0 or more, not 'x'"),
        (["--seed", "1.5"], "not '1.5'"),
        (["--seed", "-1"], "not '-1'"),
        (["--dataset", "ml-2m"], f"'ml-2m': choose --dataset {DATASET}"),
        (["--dataset", "ml-20m"], f"'ml-20m': choose --dataset {DATASET}"),
        (["--dataset", ""], f"choose --dataset {DATASET}"),
        (["--dataset", f"../chosen/{DATASET}"], f"choose --dataset {DATASET}"),
        (["--root", "no/such/folder"], "--root: there is no folder 'no/such/folder'"),
        (["--models", "no/such/folder"], "--models: there is no folder"),
        (["--movie", "2"], "unrecognized arguments: --movie: films are named as they are"),
        (["--list"], "--search TEXT lists films"),
        (["--why"], "speaks for it"),
        (["Film 20", "--year", "1800"], "(the films of ml-latest-small end in "),
        (["--genres", "Drama"], "did you mean --genre?"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(
    ask, world, tmp_path, monkeypatch, arguments, words
):
    monkeypatch.chdir(tmp_path)
    before = tree(world)
    assert words in refused(ask(*arguments))
    assert tree(world) == before
    assert tree(tmp_path) == {}


def test_no_model_is_said_before_any_data_is_fetched(ask, world, monkeypatch):
    monkeypatch.setattr(download, "open_movielens", lambda *_: pytest.fail("the data were opened"))
    assert "holds no released model" in refused(ask(models="none"))
    assert f"'ml-1m': choose --dataset {DATASET}" in refused(ask("--dataset", "ml-1m"))


# ------------------------------------------------------------------------- bad data, bad models


def copy_models(world: Path, tmp_path: Path, name: str = "chosen") -> Path:
    return Path(shutil.copytree(world / name, tmp_path / "models"))


def change_config(models: Path, change) -> None:
    path = models / DATASET / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    change(config)
    path.write_text(json.dumps(config), encoding="utf-8")


def cut_short(name: str):
    def damage(models: Path) -> None:
        path = models / DATASET / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return damage


def config_with(**values: object):
    return lambda models: change_config(models, lambda config: config.update(values))


def config_without(name: str):
    return lambda models: change_config(models, lambda config: config.pop(name))


def vectors_of(value: float):
    """Item vectors and an action that are this number, and the hash that goes with them."""

    def damage(models: Path) -> None:
        path = models / DATASET / "weights.safetensors"
        weights = load_file(path)
        weights["state.item_vectors.weight"][5:] = value
        for name in {"body.4.bias", "state.out.bias"} & set(weights):
            weights[name][:] = value
        save_file(weights, path)
        config_with(weights_sha256=hashlib.sha256(path.read_bytes()).hexdigest())(models)

    return damage


def pipe(name: str):
    def damage(models: Path) -> None:
        (models / DATASET / name).unlink()
        os.mkfifo(models / DATASET / name)

    return damage


@pytest.mark.parametrize("name", ["chosen", "learned"])
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(cut_short("weights.safetensors"), id="weights cut short"),
        pytest.param(cut_short("config.json"), id="config cut short"),
        pytest.param(lambda m: (m / DATASET / "weights.safetensors").unlink(), id="no weights"),
        pytest.param(lambda m: (m / DATASET / "weights.safetensors").write_bytes(b""), id="empty"),
        pytest.param(lambda m: (m / DATASET / "config.json").write_bytes(b"\xff"), id="no text"),
        pytest.param(lambda m: (m / DATASET / "config.json").write_text("[]"), id="a list"),
        pytest.param(vectors_of(torch.nan), id="weights that are no numbers"),
        pytest.param(vectors_of(torch.inf), id="infinite weights"),
        pytest.param(vectors_of(3e38), id="weights that overflow"),
        pytest.param(pipe("weights.safetensors"), id="a pipe"),
        pytest.param(
            lambda m: (m / DATASET / "config.json").write_text("[" * 100_000), id="nested"
        ),
        pytest.param(config_with(n_users=10**400), id="an absurd number of users"),
        pytest.param(config_with(n_users="3"), id="text for a number"),
        pytest.param(config_with(format=1), id="another format"),
        pytest.param(config_with(format="2"), id="a format that is none"),
        pytest.param(config_with(config={"width": 3}), id="unknown setting"),
        pytest.param(config_with(item_ids=[2, 5]), id="weights that do not fit"),
        pytest.param(config_with(item_ids=[2, 2]), id="ids repeated"),
        pytest.param(config_with(item_ids=[1] * 50_000), id="one id over and over"),
        pytest.param(config_with(item_ids=[1]), id="ids that are not those of the weights"),
        pytest.param(config_with(item_ids=["a"]), id="ids that are none"),
        pytest.param(config_with(item_ids=[10**30]), id="an id out of range"),
        pytest.param(config_without("n_users"), id="no n_users"),
        pytest.param(config_without("positive_counts"), id="no counts"),
        pytest.param(config_with(positive_counts=[3, 2, 1]), id="too few counts"),
        pytest.param(config_with(positive_counts=[0] * 79), id="nothing liked"),
        pytest.param(config_with(positive_counts=["1"] * 79), id="counts that are none"),
    ],
)
def test_a_damaged_model_is_one_sentence(ask, world, tmp_path, damage, name):
    models = copy_models(world, tmp_path, name)
    assert ask("--seed", "1", models=models)[0] == 0
    damage(models)
    error = refused(ask("--seed", "1", models=models))
    assert str(models / DATASET) in error
    assert error.endswith(": restore the files of this model\n")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(pipe("config.json"), "is no regular file", id="a pipe"),
        pytest.param(config_with(dataset=5), "does not name a data set", id="a number"),
        pytest.param(config_with(dataset="ml-9\x1b[2J"), "no data set 'ml-9", id="unknown"),
        pytest.param(config_with(dataset="../data/ml-1m"), "does not name a data set", id="a path"),
        pytest.param(config_with(dataset=None), "does not name a data set", id="nothing"),
        pytest.param(
            lambda m: (m / DATASET / "config.json").write_text('{"a":' * 100_000),
            "nested too deeply",
            id="nested",
        ),
        pytest.param(config_with(format=3), "this code reads 2", id="a newer format"),
    ],
)
def test_a_named_model_that_was_tampered_with_is_one_sentence(
    world, tmp_path, capsys, damage, said
):
    """Its config says which data set to open, so it is read before anything else."""
    models = copy_models(world, tmp_path)
    damage(models)
    argv = ["--root", str(world / "data"), "--model", str(models / DATASET)]
    error = refused((main(argv), *capsys.readouterr()))
    assert said in error
    assert "\x1b" not in error


def test_a_model_of_a_newer_format_is_not_called_damaged(ask, world, tmp_path):
    models = copy_models(world, tmp_path)
    config_with(format=99)(models)
    error = refused(ask("--seed", "1", models=models))
    assert "has format 99, this code reads 2: read it with the version" in error
    assert "damaged" not in error
    assert "restore" not in error


def test_a_model_with_a_state_of_somebodys_own_is_refused(ask, world, tmp_path):
    models = copy_models(world, tmp_path)
    change_config(models, lambda config: config["config"]["state"].update(name="DRR-mine"))
    error = refused(ask("--seed", "1", models=models))
    assert "the state 'DRR-mine', which is not known here" in error
    assert "damaged" not in error


def test_a_model_of_other_films_is_refused(ask, tmp_path):
    save_model(tmp_path / "models" / DATASET, [2, 5, 7, 8], None)
    assert "for instance id 7" in refused(ask(models=tmp_path / "models"))


def test_a_damaged_movie_file_is_one_sentence(ask, world, tmp_path):
    root = Path(shutil.copytree(world / "data", tmp_path / "data"))
    (root / DATASET / "movies.csv").write_text("movieId,title\n1,x\n")
    assert "movies.csv is not a MovieLens movie file" in refused(ask("--root", str(root)))


def test_data_that_cannot_be_had_is_one_sentence(ask, tmp_path, monkeypatch):
    def unavailable(name: str, root: Path):
        raise download.DataUnavailable(
            name, root, [("one.example", "timed out"), ("two", "HTTP 404")]
        )

    monkeypatch.setattr(download, "open_movielens", unavailable)
    error = refused(ask("--root", str(tmp_path)))
    assert f"{DATASET} could not be had (one.example: timed out; two: HTTP 404)" in error
    assert f"put it into {tmp_path}" in error


def test_a_folder_that_cannot_be_written_is_one_sentence(ask, tmp_path, monkeypatch):
    def full(name: str, root: Path):
        raise PermissionError(13, "Permission denied", str(root))

    monkeypatch.setattr(download, "open_movielens", full)
    assert "Permission denied" in refused(ask("--root", str(tmp_path)))


def test_without_a_name_the_data_set_that_is_there_answers(world, tmp_path, capsys):
    write_movielens(tmp_path / "data" / "ml-100k", "ml-100k", n_users=3, n_items=1682)
    ids = list(range(2, 3 * 1682, 3))
    save_model(tmp_path / "models" / "ml-100k", ids, None)
    argv = ["--root", str(tmp_path / "data"), "--models", str(tmp_path / "models"), "--json"]
    assert main([*argv, "--movies", "Film 1681"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["dataset"] == "ml-100k"
    assert ids_of(out, "liked") == [3 * 1681 + 2]
    assert "ml-100k" in err  # the one sentence about ml-1m
    # a model for the other set only is not used for this one
    (tmp_path / "models" / "ml-100k").rename(tmp_path / "models" / "ml-1m")
    assert main(argv) == 2
    assert "'ml-100k': choose --dataset ml-1m" in capsys.readouterr().err


def test_two_listings_of_one_film_are_one_answer(ask):
    first, second = map(str, DUPLICATES)
    error = refused(ask("--movies", first, "--dislike", second))
    assert "is named as liked and as not liked" in error
    out = ask("--movies", first, second, "--json")[1]
    assert ids_of(out, "liked") == [DUPLICATES[0]]
    out = ask("--movies", first, "--seen", second, "--json")[1]
    assert ids_of(out, "seen") == []


def test_a_missing_package_is_one_sentence(ask, monkeypatch):
    monkeypatch.setitem(sys.modules, "recsys_rl.serving", None)
    assert "pip install -r requirements.txt" in refused(ask())


def test_an_interrupt_is_quiet(ask, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(title_cache, "read_films", interrupt)
    monkeypatch.setattr(title_cache, "_read", lambda path: None)
    assert ask() == (130, "", "")


def test_an_interrupt_while_the_command_is_imported_is_quiet():
    code = """
import runpy, sys
class Finder:
    def find_spec(self, name, *_):
        if name == "recsys_rl.command.main":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Finder())
runpy.run_path("recommendation.py")
"""
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b"")


@pytest.mark.parametrize("kind", ["pipe", "folder", "dead link"])
def test_a_movie_file_that_is_none_is_refused(ask, world, tmp_path, kind):
    folder = tmp_path / "own"
    shutil.copytree(world / "data" / DATASET, folder)
    (folder / "movies.csv").unlink()
    if kind == "pipe":
        os.mkfifo(folder / "movies.csv")
    elif kind == "folder":
        (folder / "movies.csv").mkdir()
    else:
        (folder / "movies.csv").symlink_to("nowhere")
    error = refused(ask("--dataset", str(folder), "--model", str(world / "chosen" / DATASET)))
    assert "movies.csv is a pipe, a device, a folder or a dead link" in error
    assert "fetched again" not in error  # it is somebody's own


def test_a_movie_file_of_any_size_is_not_read(ask, world, tmp_path, monkeypatch):
    monkeypatch.setattr(movie_files, "LARGEST", 100)
    folder = tmp_path / "own"
    shutil.copytree(world / "data" / DATASET, folder)
    error = refused(ask("--dataset", str(folder), "--model", str(world / "chosen" / DATASET)))
    assert "it has more than 100 bytes" in error


# ------------------------------------------------------------------------- the look of it


def test_long_lines_go_on_under_their_title_and_nothing_is_cut():
    title = " ".join("x" * 80)  # fills each line to the last column
    genres = ("Adventure", "Animation", "Children's", "Documentary", "Film-Noir", "Mystery")
    films = [Film(i, title, title, 1999, genres) for i in range(12)]
    source = Source("ml-1m", Path(), Path(), "models/ml-1m", {}, [], {})
    suggestions = [Suggestion(film, 1.0, None, None) for film in films]
    reply = output.Reply(source, Taste(films), suggestions, 999_999)
    text = output.as_text(reply, output.Style())
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("x") == 24 * 80
    assert text.count("Mystery") == 24
    films_lines = [line for line in text.splitlines() if line.startswith("  ")]
    assert len(films_lines) > 24
    assert all(line[:6].strip(" .0123456789") == "" and line[6] != " " for line in films_lines)


def test_genres_stand_in_one_column(ask):
    rows = [line for line in ask("--movies", "2", "--k", "5")[1].splitlines() if line[:2] == "  "]
    assert len({row.rindex("  ") for row in rows}) == 1


# ------------------------------------------------------------------------- as a program


def run(*arguments: str, **options) -> subprocess.CompletedProcess:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    options = {"cwd": REPOSITORY, "text": True, "encoding": "utf-8"} | pipes | options
    environment = os.environ | options.pop("env", {})
    environment.pop("PYTHONUNBUFFERED", None)  # with it argparse meets write errors, and hides them
    command = [sys.executable, *arguments]
    return subprocess.run(command, check=False, timeout=120, env=environment, **options)


def test_the_program_finds_its_data_and_models_from_any_folder(world, tmp_path):
    """A copy of the project, called from elsewhere, on a terminal that knows no accents."""
    project = tmp_path / "project"
    project.mkdir()
    shutil.copy(REPOSITORY / "recommendation.py", project)
    no_cache = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "recsys_rl", project / "recsys_rl", ignore=no_cache)
    shutil.copytree(world / "data", project / "data")
    shutil.copytree(world / "chosen", project / "models")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = run(
        str(project / "recommendation.py"),
        *("--dataset", DATASET, "--movies", "Alien Dawn: The Return"),
        cwd=elsewhere,
        env={"PYTHONIOENCODING": "ascii"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "  1. La S?ance ? Orly (1988)" in done.stdout
    assert f"models/{DATASET}" in done.stdout
    assert tree(elsewhere) == {}


def test_help_and_wrong_flags_do_not_wait_for_pytorch():
    done = run(
        "-c",
        "from recsys_rl.command.main import main\nimport sys\ncode = main(['--k', '0'])\n"
        "sys.exit('torch' in sys.modules or code != 2)",
    )
    assert done.returncode == 0
    done = run("recommendation.py", "--help")
    assert done.returncode == 0
    assert str(command_arguments.POOL) in done.stdout


def test_a_reader_that_went_away_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stdout:
        done = run("recommendation.py", "--help", stdout=stdout)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_note_never_goes_where_the_answer_does(ask, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)  # as it is where the caller has closed it
    _, out, _ = ask("--movies", "alien dawn", "--json")
    assert ids_of(out, "liked") == [2]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_one_sentence():
    with open("/dev/full", "w") as stdout:
        done = run("recommendation.py", "--help", stdout=stdout)
    assert done.returncode == 2
    assert done.stderr.startswith("recommendation.py: the answer cannot be written: ")
    assert done.stderr.count("\n") == 1


# ------------------------------------------------------------------------- one model, duplicates


def test_a_film_listed_twice_stands_at_the_place_of_its_better_ranked_duplicate():
    first, other, second = (Film(i, t, t, 1997, ()) for i, t in ((1, "A"), (2, "B"), (3, "A")))
    assert without_duplicates([first, other, second]) == [first, other]


def test_films_of_one_title_are_told_apart_where_the_data_know_no_years():
    films = [Film(i, "Untitled", "Untitled", None, ()) for i in (1, 2)]
    assert without_duplicates(films) == films


@pytest.mark.parametrize("better", [20, 23])  # the ids of one film: see `synthetic.ODD_TITLES`
def test_the_better_duplicate_decides_the_place_of_a_suggestion(world, tmp_path, better, capsys):
    ids = [item for item in listed(world) if item != UNKNOWN]
    assert listed(world)[20] == listed(world)[23]
    scores = {item: -item / 100 for item in ids} | {better: 9.0, 26: 8.0}
    save_model(tmp_path / DATASET, ids, [scores[item] for item in ids])
    arguments = ["--model", str(tmp_path / DATASET), "--root", str(world / "data"), "--json"]
    assert main([*arguments, "--dataset", DATASET, "--movies", "2"]) == 0
    assert ids_of(capsys.readouterr().out, "suggestions")[:2] == [better, 26]


def test_one_model_is_asked_with_the_data_set_that_it_was_trained_on(world, capsys):
    folder = world / "chosen" / DATASET
    assert main(["--model", str(folder), "--root", str(world / "data"), "--seed", "1"]) == 0
    one = capsys.readouterr().out
    assert f"Suggested by the agent in {folder}, data set {DATASET}." in one


def test_a_model_of_other_data_is_not_answered_with_these_titles(world, tmp_path, capsys):
    """Numbers of one's own data are numbers of other films here."""
    models = copy_models(world, tmp_path)
    config_with(dataset="my-films")(models)
    common = ["--root", str(world / "data"), "--movies", "2", "--dataset", DATASET]
    for given in (["--model", str(models / DATASET)], ["--models", str(models)]):
        error = refused((main([*common, *given]), *capsys.readouterr()))
        assert "was trained on my-films, whose films have other ids" in error


def test_a_folder_without_a_model_is_one_sentence(world, tmp_path, capsys):
    code = main(["--model", str(tmp_path), "--root", str(world / "data")])
    assert "is not the folder of a released model" in refused((code, *capsys.readouterr()))


def test_a_state_that_is_unknown_here_is_said_and_not_called_damaged(world, tmp_path, capsys):
    shutil.copytree(world / "chosen" / DATASET, tmp_path / "mine")
    path = tmp_path / "mine" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["config"]["state"]["name"] = "DRR-mine"
    path.write_text(json.dumps(config), encoding="utf-8")
    code = main(["--model", str(tmp_path / "mine"), "--root", str(world / "data"), "--movies", "2"])
    error = refused((code, *capsys.readouterr()))
    assert "the state 'DRR-mine', which is not known here" in error
    assert "restore" not in error


def test_without_a_standard_output_nothing_is_called_answered(capsys, monkeypatch):
    """It is None where the caller has closed it."""
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", None)
        code = main(["--movies", "3", "4"])
    assert code == 2
    assert "there is no standard output to answer on" in capsys.readouterr().err
