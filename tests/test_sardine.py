"""The simulator of others: our adapter shows what its own wrapper shows, and agents learn in it."""

import builtins
import importlib
import json
import sys

import pytest
import torch
from safetensors.torch import save_file

from benchmarks import worlds


def test_a_sentence_where_the_simulator_is_not_installed(monkeypatch, capsys):
    real = builtins.__import__

    def without(name, *args, **options):
        if name.split(".")[0] == "sardine":
            raise ImportError(name)
        return real(name, *args, **options)

    for name in ("benchmarks.sardine", "benchmarks.sardine_world"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.delattr(name, raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SystemExit, match="pip install sardine-rec==1.0.8"):
        worlds.main(["sardine", "--policy", "random"])


@pytest.fixture(scope="module")
def there():
    pytest.importorskip("sardine")
    return importlib.import_module("benchmarks.sardine")


@pytest.fixture(scope="module")
def world():
    pytest.importorskip("sardine")
    return importlib.import_module("benchmarks.sardine_world")


@pytest.fixture
def started(world):
    environment = world.SlateEnv(3, torch.Generator().manual_seed(0))
    environment.reset(options={"users": torch.tensor([5, 6, 7])})
    return environment


def test_a_vector_shows_the_slate_of_the_simulators_own_wrapper(world):
    from sardine.wrappers import TopK

    own = TopK(world.simulator(), min_action=-1, max_action=1)
    vectors = torch.randn(20, world.TOPICS, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(vectors, (0, world.TOPICS))
    for vector, slate in zip(vectors, world.slates_of(padded), strict=True):
        assert own.action(vector.numpy()).tolist() == slate.tolist()


def test_sessions_are_the_simulators(world, started):
    """The same seed and the same slates: the same numbers and clicks."""
    alone, slate = world.simulator(), torch.arange(world.SLATE)
    numbers, _ = alone.reset(seed=6)
    assert started.observation().rating[1].tolist() == numbers.tolist()
    for _ in range(5):
        numbers, clicks, *_ = alone.step(slate.numpy())
        after, reward, terminated, _, _ = started.show(slate.expand(3, -1))
        assert reward[1] == clicks
        assert after.rating[1].tolist() == pytest.approx(numbers.tolist())
        assert not terminated.any()
    assert after.clock.flatten().tolist() == pytest.approx([0.05] * 3)


def test_a_session_ends_after_its_last_slate(world, started):
    for step in range(world.STEPS):
        _, _, terminated, truncated, _ = started.step(world.item_vectors()[:3])
        assert bool(terminated.all()) == (step == world.STEPS - 1)
        assert not truncated.any()
    assert started.over


def test_the_rule_shows_the_best_items_and_two_of_a_topic_at_most(world, started):
    histories = started.observation()
    topic = world.item_vectors()[:, world.TOPICS :].argmax(1)
    scores = histories.rating[:, : world.TOPICS] @ world.item_vectors()[:, : world.TOPICS].T
    slates = world.at_most_two_a_topic(histories)
    for slate, row in zip(slates, scores, strict=True):
        assert topic[slate].bincount().max() == 2
        assert len(set(slate.tolist())) == world.SLATE
        assert slate[0] == row.argmax()
        for one in topic[slate].unique():
            mine = topic[slate] == one
            best = row.masked_fill(topic != one, -1).topk(int(mine.sum())).values
            assert row[slate[mine]].sum() == pytest.approx(float(best.sum()))


@pytest.fixture(scope="module")
def small(there):
    changes = {"ddpg.updates": 3, "env.sessions": 2}
    return there.trained(there.config_of("sardine", 0).with_fields(changes))


def test_vectors_of_one_slate_are_worth_the_same_and_q_has_a_slope(world, small, started):
    histories = started.observation()
    vectors = torch.randn(3, 2 * world.TOPICS, generator=torch.Generator().manual_seed(1))
    vectors.requires_grad_()
    q = small.critic(histories, vectors)
    assert torch.allclose(q, small.critic(histories, 3 * vectors))
    (slope,) = torch.autograd.grad(q.sum(), vectors)
    assert (slope.norm(dim=1) > 0).all()


def test_the_one_loop_trains_and_a_folder_keeps_what_it_learned(there, small, started, tmp_path):
    assert small.updated == 3
    there.save(small, tmp_path)
    loaded = there.load(tmp_path)
    histories = started.observation()
    assert torch.equal(loaded.actor(histories), small.actor(histories))
    assert loaded.config == small.config


def test_weights_of_one_training_and_the_configuration_of_another_are_no_policy(
    there, small, tmp_path
):
    there.save(small, tmp_path)
    config = tmp_path / "config.json"
    text = config.read_text()
    config.write_text(text.replace('"seed": 0', '"seed": 1'))
    with pytest.raises(ValueError, match="mixes the weights of one training"):
        there.load(tmp_path)
    unreadable = "cannot be read .*: remove that folder, and train"
    config.write_text(text)
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"")
    with pytest.raises(ValueError, match=unreadable):
        there.load(tmp_path)
    save_file({"no": torch.zeros(1)}, weights)
    for damaged in (text, text[:-9]):
        config.write_text(damaged)
        with pytest.raises(ValueError, match=unreadable):
            there.load(tmp_path)


def test_where_nothing_can_be_written_nothing_is_trained(there, tmp_path, monkeypatch):
    monkeypatch.setattr(there, "trained", lambda config: pytest.fail("it trains"))
    monkeypatch.setattr(there.results, "PATH", tmp_path / "results.csv.xz")
    (tmp_path / "sardine-ddpg").write_text("")
    with pytest.raises(OSError, match="sardine-ddpg cannot be written"):
        there.main(["--out", str(tmp_path / "sardine-ddpg")])
    monkeypatch.setattr(worlds, "POLICIES", tmp_path)
    with pytest.raises(OSError, match="sardine-ddpg cannot be written"):
        worlds.main(["sardine", "--policy", "ddpg", "--train"])
    monkeypatch.setattr(there.results, "PATH", tmp_path / "sardine-ddpg" / "results.csv.xz")
    with pytest.raises(OSError, match="sardine-ddpg cannot be written"):
        there.main([])
    with pytest.raises(OSError, match="sardine-ddpg cannot be written"):
        worlds.main(["sardine", "--record"])


def test_weights_that_cannot_be_written_cost_no_rows(there, small, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(there.results, "PATH", tmp_path / "results.csv.xz")
    monkeypatch.setattr(there, "trained", lambda config: small)
    monkeypatch.setattr("benchmarks.sardine_world.TEST", 2)
    monkeypatch.setattr(there, "save", full)
    with pytest.raises(OSError, match="No space"):
        there.main(["--out", str(tmp_path / "out")])
    assert "sardine" in set(there.results.load()["protocol"])


def test_noise_is_larger_in_some_sessions_than_in_others(there, small):
    noise = small.new_noise(16).sample(torch.Generator().manual_seed(0)).norm(dim=1)
    assert noise[0] == 0
    assert noise[-4:].mean() > 2 * noise[1:5].mean()


def test_committed_policies_load_and_judge_one_line(there, world, started, capsys, monkeypatch):
    monkeypatch.setattr(world, "TEST", 2)
    for name in worlds.AGENTS["sardine"]:
        folder = worlds.POLICIES / f"sardine-{name}"
        assert there.load(folder).config == there.config_of(f"sardine{name[4:]}", 0)
        assert sum(path.stat().st_size for path in folder.iterdir()) < 250_000
        worlds.main(["sardine", "--policy", name])
        line = json.loads(capsys.readouterr().out)
        assert (line["world"], line["policy"], line["length"]) == ("sardine", name, 100)
        assert line["low"] <= line["mean"] <= line["high"]
