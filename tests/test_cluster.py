"""A study in many jobs or on a Ray cluster gives the rows of the study in one process."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from synthetic import write_movielens

from benchmarks import results, study
from benchmarks.cluster import Run
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.movielens import load_ratings
from recsys_rl.experiments import config_of

SHORT = {"pretrain.updates": 3, "ddpg.updates": 2, "env.sessions": 8, "state.k": 8}
SPLIT = "ratings"  # quick to evaluate
RUNS = [Run("ml-100k", SPLIT, "DRR-ave", seed) for seed in range(3)]


def shortened(*names):
    return config_of(*names).with_fields(SHORT)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_movielens(folder / "ml-100k", "ml-100k", 40, 60)
    return folder


@pytest.fixture(autouse=True)
def _short(monkeypatch, tmp_path):
    monkeypatch.setattr(study, "config_of", shortened)
    monkeypatch.setattr(study, "load_ratings", partial(load_ratings, check_counts=False))
    monkeypatch.setattr(study, "PROBED", ())
    monkeypatch.setattr(results, "PATH", tmp_path / "results.csv.xz")


def command(monkeypatch, root: Path, folder: Path, *more: str) -> None:
    given = ["--dataset", "ml-100k", "--root", str(root), "--agents", "DRR-ave"]
    given += ["--splits", SPLIT, "--seeds", "0", "1", "2", "--checkpoints", str(folder)]
    monkeypatch.setattr("sys.argv", ["study", *given, *more])
    study.main()


def measured() -> pd.DataFrame:
    """The table without the seconds."""
    table = results.load().astype(dict.fromkeys(results.TEXT, str))
    return table[table["protocol"] != "training"].reset_index(drop=True)


@pytest.fixture
def in_one_process(monkeypatch, root, tmp_path) -> pd.DataFrame:
    with monkeypatch.context() as patch:
        patch.setattr(results, "PATH", tmp_path / "one.csv.xz")
        command(patch, root, tmp_path / "one")
        return measured()


def test_an_array_of_jobs_gives_the_rows_of_one_process(
    monkeypatch, root, tmp_path, in_one_process, capsys
):
    folder, made = tmp_path / "kept", []
    run = study.run
    monkeypatch.setattr(study, "run", lambda *parts: made.append(parts[4]) or run(*parts))
    command(monkeypatch, root, folder, "--task", "0", "--of", "2")
    assert made == [0, 2]
    assert not results.PATH.exists(), "a job writes beside the table"
    command(monkeypatch, root, folder, "--task", "0", "--of", "2")
    command(monkeypatch, root, folder, "--task", "1", "--of", "2")
    assert made == [0, 2, 1], "what is there is not made again"
    command(monkeypatch, root, folder, "--merge")
    assert capsys.readouterr().out.endswith("3 runs put into the table\n")
    pd.testing.assert_frame_equal(measured(), in_one_process)
    assert not list((folder / "rows").iterdir())
    command(monkeypatch, root, folder, "--task", "0", "--of", "1")
    assert len(made) == 3, "nor what is in the table"


@pytest.mark.parametrize("task", ["2", "-1"])
def test_a_task_that_is_none_is_refused(monkeypatch, root, tmp_path, capsys, task):
    with pytest.raises(SystemExit):
        command(monkeypatch, root, tmp_path, "--task", task, "--of", "2")
    err = capsys.readouterr().err
    assert "--task is within 0 .. 1" in err or "--task: must be a whole number, 0 or more" in err


def test_without_ray_a_sentence_says_so(monkeypatch, root, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SystemExit, match="Ray is not installed: pip install"):
        command(monkeypatch, root, tmp_path, "--ray", "auto")


@pytest.fixture
def two_workers() -> Iterator[None]:
    """A Ray cluster of this machine alone, which is given 30 seconds to start by Ray."""
    ray = pytest.importorskip("ray")
    try:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    except Exception as error:  # Ray has no class of its own for it
        if "timed out during startup" in str(error):
            pytest.skip("this machine is too busy for Ray to start")
        raise
    yield
    ray.shutdown()


@pytest.mark.usefixtures("two_workers")
def test_ray_gives_the_rows_of_one_process_and_survives_a_lost_worker(
    monkeypatch, root, tmp_path, in_one_process
):
    died, one_run = tmp_path / "died", study.one_run

    def dying(data: Interactions, where: Run, **options) -> pd.DataFrame:
        """In a worker: its process is killed once."""
        from benchmarks import study

        study.config_of = lambda *names: config_of(*names).with_fields(SHORT)
        study.PROBED = ()
        if where.seed == 1 and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if where.seed == 0 and not died.with_suffix(".once").exists():
            died.with_suffix(".once").touch()
            raise ValueError("this run fails")
        return one_run(data, where, **options)

    monkeypatch.setattr(study, "one_run", dying)
    with pytest.raises(SystemExit):  # one failed, and the others are in the table
        command(monkeypatch, root, tmp_path / "ray", "--ray", "auto")
    assert died.exists()
    assert [study.is_there(*where) for where in RUNS] == [False, True, True]
    command(monkeypatch, root, tmp_path / "ray", "--ray", "auto")
    pd.testing.assert_frame_equal(measured(), in_one_process)
