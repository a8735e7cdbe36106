"""The command that judges policies in worlds, on a tiny data set."""

import json

import numpy as np
import pytest
import torch
from synthetic import write_movielens

from benchmarks import elicitation, worlds
from benchmarks.elicitation import WEIGHTS, Elicitation, load_asker, recorded_data, save_asker
from recsys_rl.agent.asking import Asker
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.movielens import load_ratings
from recsys_rl.envs.elicitation import ElicitationEnv
from recsys_rl.evaluation.statistics import Evaluation
from recsys_rl.serving import Recommender

THERE = "--dataset", "tiny", "--root"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("worlds")
    write_movielens(folder / "tiny", "ml-1m", 80, 240)
    return folder


def judged(capsys, *arguments):
    worlds.main(list(arguments))
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if line[:1] == "{"]


def test_policies_that_know_more_earn_more(root, capsys, monkeypatch):
    monkeypatch.setattr(worlds, "AGENTS", {"user-leaves": {}})
    found = judged(capsys, "user-leaves", *THERE, str(root))
    assert all(line["low"] <= line["mean"] <= line["high"] for line in found)
    mean = {line["policy"]: line["mean"] for line in found}
    assert list(mean) == ["random", "greedy", "greedy-model", "list", "list-model", "oracle"]
    assert mean["greedy"] < mean["list"] < mean["oracle"]
    length = {line["policy"]: line["length"] for line in found}
    assert length["oracle"] == 30


def test_cold_start_sessions_are_judged_too(root, capsys):
    (line,) = judged(capsys, "cold-start", "--policy", "oracle", *THERE, str(root))
    assert line["world"] == "cold-start"
    assert 0 < line["mean"] <= 1
    assert line["length"] == 40


def test_questions_are_judged_by_what_is_recommended(root, capsys, monkeypatch):
    monkeypatch.setattr(worlds, "AGENTS", {"elicitation": {}})
    found = judged(capsys, "elicitation", *THERE, str(root))
    mean = {line["policy"]: line["mean"] for line in found}
    assert list(mean) == ["random", "greedy", "tree", "knowledge-gradient", "oracle"]
    assert all(0 <= line["low"] <= line["mean"] <= line["high"] <= 1 for line in found)
    assert mean["random"] < mean["oracle"]
    assert {line["length"] for line in found} == {5}


def test_an_asker_is_saved_and_comes_back(root, tmp_path):
    data = Interactions.from_ratings(load_ratings(root / "tiny"))
    world = Elicitation(data)
    asker = Asker(world.gaussian, torch.Generator().manual_seed(3))
    torch.nn.init.ones_(asker.actor[-1].weight)
    save_asker(tmp_path, asker, data, "about")
    again = load_asker(tmp_path, world.gaussian, data)
    env = ElicitationEnv(data, world.gaussian.score, half=0)
    histories, _ = env.reset(seed=0)
    assert torch.equal(again.score(histories), asker.score(histories))
    with pytest.raises(ValueError, match="the films of this policy are not those of the data"):
        load_asker(tmp_path, world.gaussian, data.select(data.rating > 3))


def test_an_asker_of_another_seed_is_trained_once_and_released_nowhere(root, tmp_path, monkeypatch):
    seeds = []
    monkeypatch.setattr(elicitation, "CHECKPOINTS", tmp_path)
    monkeypatch.setattr(elicitation, "fit_asker", lambda *given, **_: seeds.append(given[2]) or [])
    data = Interactions.from_ratings(load_ratings(root / "tiny"))
    for _ in range(2):
        assert elicitation.Elicitation(data, seed=7).asker("ddpg", 3).questions == 3
    assert seeds == [7]
    assert [folder.name for folder in tmp_path.iterdir()] == ["elicitation-ddpg-7"]


def test_simulated_users_have_a_form_and_a_dial(root, capsys):
    def mean(*arguments):
        (line,) = judged(capsys, "simulated", *arguments, *THERE, str(root))
        assert line["length"] == 30
        return line["mean"]

    plain, worn = (mean("--policy", "greedy", "--dial", dial) for dial in ("0", "0.5"))
    assert mean("--policy", "random", "--dial", "0") < plain
    assert mean("--policy", "linucb", "--form", "satiation") < plain
    assert worn != plain


def test_a_released_policy_is_for_the_films_of_the_data(root):
    with pytest.raises(ValueError, match="the films of this policy are not those of the data"):
        worlds.released("user-leaves", "ddpg", [1, 2])
    with pytest.raises(SystemExit):
        worlds.main(["user-leaves", "--policy", "clairvoyant", *THERE, str(root)])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["user-leaves", "--policy", "list", "--train"], "trained here: ddpg, ddpg-gamma-0"),
        (["user-leaves", "--train"], "--train needs a --policy"),
        (["cold-start", "--policy", "ddpg", "--train"], "none is trained here"),
        (["user-leaves", "--policy", "ddpg", "--train", "--dataset", "ml-100k"], "is for ml-1m"),
        (["cold-start", "--record"], "--record is for user-leaves, sardine and simulated"),
        (["user-leaves", "--dial", "1"], "--form and --dial are for simulated"),
    ],
)
def test_what_cannot_be_is_said_at_once(arguments, words, capsys):
    with pytest.raises(SystemExit) as stopped:
        worlds.main(arguments)
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err


def test_committed_policies_load_and_are_small():
    folders = sorted(worlds.POLICIES.iterdir())
    names = {f"{world}-{policy}" for world, agents in worlds.AGENTS.items() for policy in agents}
    assert {folder.name for folder in folders} == names
    for folder in folders:
        if folder.name.startswith("user-leaves"):
            assert len(Recommender.load(folder).item_ids) == 1000
        elif folder.name.startswith("simulated"):
            assert len(Recommender.load(folder).item_ids) == 300
        elif folder.name.startswith("elicitation"):
            weights = folder / WEIGHTS
            assert weights.stat().st_size < 300_000
            assert recorded_data(weights)
    size = sum(path.stat().st_size for path in worlds.POLICIES.rglob("*") if path.is_file())
    assert size < 5_000_000


def test_a_world_without_an_exact_oracle_names_the_best_that_is_known(monkeypatch, capsys):
    found = Evaluation("p", {"return": np.ones(3), "length": np.ones(3)}, torch.arange(3))
    best = worlds.World({"rule": lambda: found}, "return")
    monkeypatch.setattr(worlds, "world_of", lambda options: best)
    (line,) = judged(capsys, "sardine", "--policy", "oracle")
    assert line["policy"] == "rule"
