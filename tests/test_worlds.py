"""The command that judges policies in worlds, on a tiny data set."""

import json
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from synthetic import write_movielens

from benchmarks import elicitation, results, worlds
from benchmarks.elicitation import Elicitation, load_asker, save_asker
from benchmarks.policy_files import WEIGHTS, metadata_of
from recsys_rl.agent.asking import Asker
from recsys_rl.data.atomic_files import write_atomically
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
    assert tuple(mean) == worlds.UNTRAINED["user-leaves"]
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
    assert tuple(mean) == worlds.UNTRAINED["elicitation"]
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
        assert Elicitation(data, seed=7, dataset="tiny").asker("ddpg", 3).questions == 3
    assert seeds == [7]
    (folder,) = tmp_path.iterdir()
    assert folder.name == "elicitation-tiny-ddpg-7"
    assert {path.name for path in folder.iterdir()} == {WEIGHTS, "README.md", "training.csv"}


@pytest.fixture
def world(root, tmp_path, monkeypatch):
    """Of a seed, whose askers are trained in no time."""
    monkeypatch.setattr(elicitation, "CHECKPOINTS", tmp_path)
    monkeypatch.setattr(elicitation, "fit_asker", lambda *_, **__: [{"reward": 0.5}])
    data = Interactions.from_ratings(load_ratings(root / "tiny"))
    return Elicitation(data, seed=7, dataset="tiny")


@pytest.mark.parametrize("name", [WEIGHTS, "training.csv"])
def test_a_save_that_is_stopped_leaves_no_asker(world, tmp_path, monkeypatch, name):
    def stopped(path, content):
        if path.name == name:
            raise KeyboardInterrupt
        write_atomically(path, content)

    with monkeypatch.context() as patch:
        patch.setattr("benchmarks.policy_files.write_atomically", stopped)
        with pytest.raises(KeyboardInterrupt):
            world.asker("ddpg", 3)
    assert (tmp_path / "elicitation-tiny-ddpg-7").is_dir()
    world.check(["ddpg"])
    assert world.asker("ddpg", 3).questions == 3


def test_an_asker_that_cannot_be_read_is_named(world, tmp_path):
    world.asker("ddpg", 3)
    weights = tmp_path / "elicitation-tiny-ddpg-7" / WEIGHTS
    data, others = metadata_of(weights.parent), {"no": torch.zeros(1)}
    for damage in (
        lambda: weights.write_bytes(weights.read_bytes()[:-5]),
        lambda: weights.write_bytes(b""),
        lambda: save_file(others, weights, metadata=data),
        lambda: (weights.unlink(), weights.mkdir()),
    ):
        damage()
        with pytest.raises(ValueError, match="ddpg-7 cannot be read .*: remove that folder, and"):
            world.asker("ddpg", 3)


def test_where_a_policy_cannot_be_written_nothing_is_trained(world, tmp_path, monkeypatch):
    monkeypatch.setattr(elicitation, "fit_asker", lambda *_, **__: pytest.fail("it trains"))
    (tmp_path / "elicitation-tiny-ddpg-7").write_text("")
    with pytest.raises(OSError, match="elicitation-tiny-ddpg-7 cannot be written"):
        world.asker("ddpg", 3)


def ask(root, *arguments):
    elicitation.main([*THERE, str(root), "--questions", "3", "--named", "0", *arguments])


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "PATH", tmp_path / "table" / "results.csv.xz")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--askers", "random", "knowlege"], "invalid choice: 'knowlege'"),
        (["--askers", "random", "ddpg"], "not those of the data here: .*elicitation-ddpg was"),
        (["--seeds", "0", "1", "--askers", "random"], "only learned askers have seeds"),
        (["--rank", "DRR-set", "--askers", "all answers known"], "leave --rank out"),
        (["--askers", "random", "--questions", "3", "4000"], "items are too few for 4000"),
        (["--askers", "random", "--questions", "3", "0"], "a whole number, 1 or more, not '0'"),
    ],
)
def test_what_cannot_be_judged_is_said_before_the_first_is(
    root, table, arguments, words, monkeypatch, capsys
):
    monkeypatch.setattr(elicitation, "judged", lambda *_: pytest.fail("it is judged"))
    with pytest.raises((SystemExit, ValueError)) as stopped:
        ask(root, *arguments)
    assert re.search(words, f"{stopped.value}{capsys.readouterr().err}")


def test_what_was_judged_is_recorded_whatever_ends_the_rest(root, table, monkeypatch):
    judge, asked = elicitation.judged, []

    def stopped(world, name, *rest):
        asked.append(name)
        if name == "random":
            raise KeyboardInterrupt
        return judge(world, name, *rest)

    monkeypatch.setattr(elicitation, "judged", stopped)
    with pytest.raises(KeyboardInterrupt):
        ask(root, "--askers", "popular", "popular", "random")
    assert asked == ["popular", "random"]
    assert set(results.load()["agent"]) == {"popular"}


def test_the_names_of_askers_are_all_there_are(world):
    assert set(elicitation.ASKERS) == {*world.askers(3), elicitation.CEILING}


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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["user-leaves", "--policy", "list", "--train"], "trained here: ddpg, ddpg-gamma-0"),
        (["user-leaves", "--train"], "--train needs a --policy"),
        (["cold-start", "--policy", "ddpg", "--train"], "none is trained here"),
        (["user-leaves", "--policy", "ddpg", "--train", "--dataset", "ml-100k"], "is for ml-1m"),
        (["cold-start", "--record"], "--record is for user-leaves, sardine and simulated"),
        (["user-leaves", "--policy", "clairvoyant"], "--policy is one of random, greedy, greedy-"),
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
            assert (folder / WEIGHTS).stat().st_size < 300_000
            assert metadata_of(folder)["data"]
    size = sum(path.stat().st_size for path in worlds.POLICIES.rglob("*") if path.is_file())
    assert size < 5_000_000


def test_a_world_without_an_exact_oracle_names_the_best_that_is_known(monkeypatch, capsys):
    found = Evaluation("p", {"return": np.ones(3), "length": np.ones(3)}, torch.arange(3))
    best = worlds.World({"rule": lambda: found}, "return")
    monkeypatch.setattr(worlds, "world_of", lambda options: best)
    (line,) = judged(capsys, "sardine", "--policy", "oracle")
    assert line["policy"] == "rule"
