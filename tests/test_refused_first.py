"""What a benchmark cannot do is said before it begins, and not after hours."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest
from synthetic import write_movielens

from benchmarks import approximations, next_item, next_item_peer, results, tune_baselines


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_movielens(tmp_path / "data" / "tiny", "csv", n_items=200).parent


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("cross_dataset", []),
        ("next_item", ["--baselines"]),
        ("simulated", []),
        ("stable_baselines3_ddpg", []),
        ("tune_baselines", []),
        ("user_leaves_rivals", ["--agent", "A2C"]),
    ],
)
def test_a_table_that_cannot_be_written(module, arguments, tmp_path, monkeypatch):
    if "stable" in module or "rivals" in module:
        pytest.importorskip("stable_baselines3", reason="a development dependency")
    benchmark = importlib.import_module(f"benchmarks.{module}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(results, "PATH", tmp_path / "file" / "results.csv.xz")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file cannot be written"):
        benchmark.main([*arguments, "--root", str(tmp_path / "nowhere")])


def test_settings_of_baselines(tmp_path, monkeypatch, capsys):
    """No search at all; a library that is not there; a folder that cannot be written."""
    monkeypatch.setattr(results, "PATH", tmp_path / "results.csv.xz")
    monkeypatch.setattr(results, "TUNED", tmp_path / "tuned.json")
    with pytest.raises(SystemExit):
        tune_baselines.main(["--models", "LinUCB", "--tasks", "temporal"])
    assert "none of these --models has settings to search" in capsys.readouterr().err
    monkeypatch.setattr(tune_baselines, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        tune_baselines.main(["--models", "iALS", "--root", str(tmp_path)])
    assert "iALS needs the library implicit: install it, or name" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file cannot be written"):
        tune_baselines.main(["--models", "EASE", "--checkpoints", str(tmp_path / "file")])


def test_a_search_is_made_once_however_often_it_is_asked_for(root, tmp_path, monkeypatch):
    made = []

    def measured(parts, grids, names, kept, **key):
        made.extend(names)
        key |= {"agent": names[0], "seed": 0, "stage": "final"}
        return {names[0]: {}}, results.rows({"m": 0.5}, **key)

    monkeypatch.setattr(results, "PATH", tmp_path / "results.csv.xz")
    monkeypatch.setattr(results, "TUNED", tmp_path / "tuned.json")
    monkeypatch.setattr(tune_baselines, "measure", measured)
    asked = ["--models", "random", "random", "popularity", "--tasks", "temporal", "temporal"]
    places = ["--root", str(root), "--checkpoints", str(tmp_path / "kept")]
    tune_baselines.main(["--dataset", "tiny", *places, *asked])
    assert made == ["random", "popularity"]


def test_releases_of_the_next_item(root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(results, "PATH", tmp_path / "results.csv.xz")
    monkeypatch.setattr(next_item, "of_release", lambda *_: pytest.fail("it is judged"))
    with pytest.raises(SystemExit):
        next_item.main([])
    assert "give --releases or --baselines" in capsys.readouterr().err

    def load(folder: Path) -> SimpleNamespace:
        protocol = f"{folder} one out on tiny"
        return SimpleNamespace(config={"protocol": protocol}, item_ids=range(n_items))

    n_items = len({line.split(",")[1] for line in _ratings(root)})
    monkeypatch.setattr(next_item, "Recommender", SimpleNamespace(load=load))
    with pytest.raises(ValueError, match="lose was not trained on the split leave-one-out"):
        next_item.main(["--dataset", "tiny", "--root", str(root), "--releases", "leave", "lose"])


def _ratings(root: Path) -> list[str]:
    return (root / "tiny" / "ratings.csv").read_text().splitlines()[1:]


def test_forms_for_large_catalogues(root, monkeypatch):
    monkeypatch.setattr(approximations, "figures", lambda *_: pytest.fail("it trains"))
    with pytest.raises(ValueError, match=r"state.contexts is 2, and vectors of"):
        approximations.main(["--dataset", "tiny", "--root", str(root), "--contexts", "0", "2"])


def test_settings_of_stable_baselines3(capsys):
    pytest.importorskip("stable_baselines3", reason="a development dependency")
    from benchmarks import stable_baselines3_ddpg

    for option, given in (("noise", "much"), ("k", "0"), ("net_arch", "[8")):
        with pytest.raises(SystemExit):
            stable_baselines3_ddpg.main([f"--{option}", given])
        assert f"--{option}: must be a " in capsys.readouterr().err


def test_a_peer_that_fails_is_a_sentence(monkeypatch):
    failed = SimpleNamespace(returncode=1)
    monkeypatch.setattr(next_item_peer.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(OSError, match="the training of the peer ended with 1: mend what"):
        next_item_peer.theirs(Path("python"), 1, seed=0)
