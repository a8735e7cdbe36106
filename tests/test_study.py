"""One run of the study: its stages, its rows, and that it goes on where it was stopped."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from synthetic import write_movielens
from toys import random_log

from benchmarks import study
from benchmarks.options import exit_with
from recsys_rl.agent.ddpg import DDPG
from recsys_rl.agent.training import Interrupted
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.movielens import load_ratings
from recsys_rl.experiments import config_of
from recsys_rl.tasks.registry import task_of

SHORT = {"pretrain.updates": 6, "ddpg.updates": 4, "env.sessions": 8}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = write_movielens(tmp_path_factory.mktemp("tiny") / "tiny", "csv", 60, 240)
    return Interactions.from_ratings(load_ratings(folder))


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(
        study, "config_of", lambda *names: config_of(*names).with_fields(SHORT | {"state.k": 8})
    )


def test_an_agent_with_a_linear_model_is_evaluated_as_pretrained_and_with_its_gate_reset(
    data, tmp_path
):
    task = task_of(data, "cold-start")
    found = study.run(task, "ml-100k", "cold-start", "DRR-set", 0, tmp_path)
    assert set(found["stage"]) == {"final", "pretrained", "pretrained, gate reset", "calibration"}
    calibrated = {"calibration, users of the critic", "calibration, test users"}
    played = {"seed-and-suggest", "cold-start-sessions"}
    assert set(found["protocol"]) == {"training"} | calibrated | played
    one = found[(found["stage"] == "final") & (found["metric"] == "reward@3")]
    assert one["user"].notna().sum() == len(one) - 1  # every user, and the mean
    assert not list(tmp_path.glob("*.ckpt"))


def test_the_agent_of_the_paper_is_evaluated_with_parts_taken_away(data, tmp_path):
    task = task_of(data, "leave-one-out")
    found = study.run(task, "ml-100k", "leave-one-out", "DRR-ave", 0, tmp_path)
    probes = {"untrained", "no history", "history shuffled", "one user's action for all"}
    assert set(found["stage"]) == {"final", "pretrained"} | probes
    means = found[found["user"].isna() & (found["metric"] == "ndcg@10")].set_index("stage")["value"]
    assert means["untrained"] != means["final"]


def test_where_rows_are_averaged_no_values_by_user_are_kept(data, tmp_path):
    task = task_of(data, "random-positives")
    found = study.run(task, "ml-100k", "random-positives", "DRR-ave", 0, tmp_path)
    assert found["user"].isna().all()
    assert "sampled_hr@10" in set(found["metric"])


def test_what_is_taken_away():
    log = random_log(8, 30)
    seen = []

    def score(histories):
        seen.append(histories)
        return torch.zeros(len(histories), 30)

    histories = replace(log.histories(torch.arange(4)), elapsed=torch.arange(4) / 4)
    probes = dict(study.probes(score, log, 0))
    probes["no history"](histories)
    assert (seen[-1].item == 30).all()
    probes["history shuffled"](histories)
    assert not torch.equal(seen[-1].item, histories.item)
    assert torch.equal(seen[-1].item.sort(1).values, histories.item.sort(1).values)
    assert torch.equal(seen[-1].item == 30, histories.item == 30)
    assert all(torch.equal(told.elapsed, histories.elapsed) for told in seen[-2:])
    asked = len(seen)
    assert probes["one user's action for all"](histories).shape == (4, 30)
    assert len(seen) == asked  # one answer for everybody


def test_a_stopped_run_goes_on(data, tmp_path, monkeypatch):
    task = task_of(data, "cold-start")
    where = "ml-100k", "cold-start", "DRR-set", 0, tmp_path
    whole = study.run(task, *where)
    saved = study.Checkpoints.save

    def once(self, parts, progress):
        saved(self, parts, progress)
        if progress["update"] == 6:  # after pretraining
            raise Interrupted("stopped", 15)

    monkeypatch.setattr(study.Checkpoints, "save", once)
    with pytest.raises(Interrupted):
        study.run(task, *where)
    monkeypatch.setattr(study.Checkpoints, "save", saved)
    again = study.run(task, *where)
    measured = [each[each["protocol"] != "training"]["value"].tolist() for each in (whole, again)]
    assert measured[0] == measured[1]


class Interrupting:
    """The evaluations of a task, of which one is interrupted."""

    def __init__(self, test, at=None):
        self.test, self.at, self.calls = test, at, 0

    def __call__(self, score):
        self.calls += 1
        if self.calls == self.at:
            raise KeyboardInterrupt
        return self.test(score)


def never(*_):
    raise AssertionError("it trains again")


def no_training(monkeypatch):
    for method in ("pretrain", "update"):
        monkeypatch.setattr(DDPG, method, never)


def test_an_interrupted_evaluation_loses_no_training_and_no_stage(data, tmp_path, monkeypatch):
    task = task_of(data, "cold-start")
    where = "ml-100k", "cold-start", "DRR-set", 0
    whole = study.run(task, *where, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        study.run(replace(task, test=Interrupting(task.test, 2)), *where, tmp_path)
    assert list(tmp_path.glob("*.ckpt"))
    no_training(monkeypatch)
    rest, recorded = Interrupting(task.test), []
    again = study.run(replace(task, test=rest), *where, tmp_path, recorded.append)
    assert rest.calls == 2, "a stage that was evaluated is not evaluated again"
    timed = again["protocol"] == "training"
    pd.testing.assert_frame_equal(again[~timed], whole[~timed])
    assert timed.sum() == 3
    assert recorded[0] is again
    assert not [path for path in tmp_path.glob("*") if path.suffix in (".ckpt", ".csv")]


def test_rows_that_cannot_be_recorded_stay(data, tmp_path, monkeypatch):
    task = task_of(data, "cold-start")
    where = "ml-100k", "cold-start", "DRR-set", 0, tmp_path

    def full(rows):
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        study.run(task, *where, full)
    no_training(monkeypatch)
    rest, recorded = Interrupting(task.test), []
    study.run(replace(task, test=rest), *where, recorded.append)
    assert rest.calls == 0
    assert {"final", "pretrained", "pretrained, gate reset"} < set(recorded[0]["stage"])


def test_rows_without_their_checkpoint_are_of_another_training(data, tmp_path):
    task = task_of(data, "cold-start")
    where = "ml-100k", "cold-start", "DRR-set", 0, tmp_path
    with pytest.raises(KeyboardInterrupt):
        study.run(replace(task, test=Interrupting(task.test, 2)), *where)
    for path in tmp_path.glob("*.ckpt"):
        path.unlink()
    anew = Interrupting(task.test)
    study.run(replace(task, test=anew), *where)
    assert anew.calls == 3


def test_the_study_records_before_a_checkpoint_goes(data, tmp_path, monkeypatch):
    """The command as a whole: interrupted while it evaluates, then called again."""
    root = write_movielens(tmp_path / "data" / "ml-100k", "ml-100k", 60, 240).parent
    monkeypatch.setattr(study.results, "PATH", tmp_path / "results.csv.xz")
    monkeypatch.setattr(study, "load_ratings", lambda f: load_ratings(f, check_counts=False))
    monkeypatch.setattr("sys.argv", ["study", "--dataset", "ml-100k", "--root", str(root)]
        + ["--agents", "DRR-set", "--seeds", "0", "--checkpoints", str(tmp_path / "kept")]
    )  # fmt: skip
    tasks = study.task_of
    monkeypatch.setattr(
        study,
        "task_of",
        lambda *names: replace(tasks(*names), test=Interrupting(tasks(*names).test, 2)),
    )
    with pytest.raises(KeyboardInterrupt):
        study.main()
    assert not study.results.PATH.exists()
    monkeypatch.setattr(study, "task_of", tasks)
    no_training(monkeypatch)
    study.main()
    assert study.is_there("ml-100k", "cold-start", "DRR-set", 0)
    assert not list((tmp_path / "kept").glob("*.c*"))


@pytest.fixture
def command(tmp_path, monkeypatch):
    """The command on tiny data, with one argument after another; it may not train."""
    root = write_movielens(tmp_path / "data" / "tiny", "csv", 60, 240).parent
    monkeypatch.setattr(study.results, "PATH", tmp_path / "table" / "results.csv.xz")
    monkeypatch.setattr(study, "run", never)

    def call(*arguments):
        given = ["--dataset", "tiny", "--root", str(root), "--seeds", "0"]
        given += ["--checkpoints", str(tmp_path / "kept"), *arguments]
        monkeypatch.setattr("sys.argv", ["study", *given])
        with pytest.raises(SystemExit) as ended:
            exit_with(study.main)
        assert ended.value.code == 2

    return call


@pytest.mark.parametrize(
    ("agents", "splits", "words"),
    [
        (["DRR-set"], ["cold-start", "colt-start"], "there is no split 'colt-start': choose among"),
        (["DRR-set"], ["cold-start", "cold-start-eighth-9"], "there is no split 'cold-start-eig"),
        (["DRR-set", "user-leaves"], ["cold-start"], "user-leaves on the split cold-start: env.n"),
        (["DRR-set"], ["cold-start", "user-leaves"], "DRR-set on the split user-leaves: env.name"),
    ],
)
def test_what_cannot_be_trained_is_said_before_the_first_training(
    command, capsys, agents, splits, words
):
    command("--agents", *agents, "--splits", *splits)
    assert words in capsys.readouterr().err
    command("--agents", *agents, "--splits", *splits, "--ray", "local")
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("place", "more"), [("kept", []), ("table", []), ("kept/rows", ["--task", "0"])]
)
def test_what_cannot_be_written_is_said_before_the_first_training(
    command, tmp_path, capsys, place, more
):
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("")
    command("--agents", "DRR-set", *more)
    assert f"{tmp_path / place} cannot be written" in capsys.readouterr().err.replace("/task-0", "")


def test_a_run_is_made_once_however_often_it_is_asked_for():
    given = ["--agents", "DRR-set", "DRR-set", "--seeds", "1", "0", "1", "--splits"]
    options = study._parser().parse_args([*given, "cold-start", "cold-start"])
    assert [where.seed for where in study.runs_of(options)] == [1, 0]


def test_values_by_user_are_kept_once():
    among_all = ["hr@10", "ndcg@10", "sampled_hr@10", "sampled_ndcg@10"]
    assert study.kept_by_user(among_all) == ["hr@10", "ndcg@10"]
    assert study.kept_by_user(["sampled_hr@10", "step@3", "total@10"]) == ["sampled_hr@10"]
    reranked = ["precision@5", "long_precision@5", "precision@10", "ndcg@5", "ndcg@10"]
    assert study.kept_by_user(reranked) == ["precision@5", "precision@10"]


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (ValueError("there is no split"), 2, "there is no split"),
        (FileNotFoundError(2, "No such file", "x"), 2, "No such file"),
        (Interrupted("stopped after update 3", 15), 143, "stopped after update 3"),
        (MemoryError(), 2, "too little memory"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_benchmarks_end_in_a_sentence_and_a_code(error, code, told, capsys):
    def main():
        raise error

    with pytest.raises(SystemExit) as ended:
        exit_with(main)
    assert ended.value.code == code
    err = capsys.readouterr().err
    assert told in err
    assert err.count("\n") == bool(told)


def test_every_benchmark_ends_so():
    for path in Path(study.__file__).parent.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        ended = "exit_with(main)" in text or "sys.exit(main())" in text
        assert ended == ('__name__ == "__main__"' in text), path


def test_no_benchmark_writes_a_page_or_a_picture_in_place():
    for path in Path(study.__file__).parent.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        inputs = path.name == "fuzz.py"  # writes what it tries, and nothing that is kept
        assert inputs or not any(name in text for name in (".write_text(", ".write_bytes(")), path
        assert (".savefig(" in text) == (path.name == "pictures.py"), path


@pytest.mark.parametrize("given", ["0", "-1", "1_0", "1.5", "", "٣", "9" * 5000])
def test_options_that_are_no_counts_are_refused(given, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["study", f"--threads={given}"])
    with pytest.raises(SystemExit):
        study.main()
    assert "--threads: must be a whole number, 1 to 256, not" in capsys.readouterr().err
