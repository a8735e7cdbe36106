"""The training command: a release that the other command reads, and trainings that survive."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from synthetic import write_movielens

from recsys_rl import train, train_command
from recsys_rl.agent.ddpg import DDPG
from recsys_rl.command.main import main
from recsys_rl.release_config import refuse_wide
from recsys_rl.serving import Recommender

DATASET = "ml-latest-small"  # csv files, and no published number of rows to be held against
SHORT = {"pretrain.updates": 30, "ddpg.updates": 20, "env.sessions": 16}
SETS = [part for path, value in SHORT.items() for part in ("--set", f"{path}={value}")]
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_movielens(root / DATASET, "csv", 60, 220)
    return root


def arguments(data: Path, *more: str) -> list[str]:
    given = ["--dataset", DATASET, "--root", str(data), "--threads", "1"]
    return [*given, *SETS, *more]


def started(data: Path, *more: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "recsys_rl.train", *arguments(data, *more)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, **pipes)


def until(there, process: subprocess.Popen, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.01)


def written(folder: Path, seen: set[int], count: int) -> bool:
    """Whether `count` checkpoints were written since `seen` was empty."""
    for path in folder.glob("*.ckpt"):
        with contextlib.suppress(FileNotFoundError):  # it was renamed meanwhile
            seen.add(path.stat().st_mtime_ns)
    return len(seen) >= count


def mark_of(folder: Path) -> list[str]:
    names = "weights.safetensors", "training.csv"
    return [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names]


def refused(capsys, argv: list[str]) -> str:
    """Holds for every refusal: exit code 2, nothing on stdout, one sentence on stderr."""
    assert train.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    err = re.sub(r"\Anote: .*\n", "", err)
    assert err.startswith("recsys_rl.train: ")
    assert err.count("\n") == 1
    return err


def test_a_release_is_read_by_the_other_command(data, tmp_path, capsys):
    assert train.main(arguments(data, "--out", str(tmp_path / "mine"))) == 0
    assert "reward@40" in capsys.readouterr().out
    model = Recommender.load(tmp_path / "mine")
    assert model.config["config"]["pretrain"]["updates"] == 30
    assert "--set pretrain.updates=30" in model.config["command"]
    history = pd.read_csv(tmp_path / "mine" / "training.csv")
    assert history["update"].tolist() == list(range(51))
    assert history["stage"].value_counts().to_dict() == {"pretrain": 30, "ddpg": 20, "start": 1}
    assert history["reward@40"].notna().sum() == 3  # at the start, and after each stage
    argv = ["--model", str(tmp_path / "mine"), "--root", str(data), "--movies", "5", "--json"]
    assert main(argv) == 0


def test_a_training_that_was_killed_ends_bit_identical(data, tmp_path, capsys):
    def run(name: str) -> list[str]:
        folders = "--checkpoints", str(tmp_path / name), "--out", str(tmp_path / f"{name}-out")
        return [*folders, "--resume"]

    killed, seen = started(data, *run("killed"), "--checkpoint-every", "0"), set()
    until(lambda: written(tmp_path / "killed", seen, 4), killed)
    killed.kill()
    killed.wait()
    for name in ("whole", "killed"):
        assert train.main(arguments(data, *run(name))) == 0
        assert ("it starts anew" in capsys.readouterr().err) == (name == "whole")
    assert mark_of(tmp_path / "killed-out") == mark_of(tmp_path / "whole-out")
    assert not list((tmp_path / "killed").glob("*.ckpt"))


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no such signal here")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_writes_a_checkpoint_and_says_where(data, tmp_path, name):
    number = getattr(signal, name)
    where = "--checkpoints", str(tmp_path), "--set", "pretrain.updates=100000"
    process = started(data, *where)
    until(lambda: list(tmp_path.glob("*.ckpt")), process)
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    assert "the checkpoint is" in process.stderr.read()


def test_a_second_training_in_one_folder_is_refused(data, tmp_path, capsys):
    where = "--checkpoints", str(tmp_path), "--set", "pretrain.updates=100000"
    first = started(data, *where)
    try:
        until(lambda: list(tmp_path.glob("*.ckpt")), first)
        other = arguments(data, "--checkpoints", str(tmp_path), "--seed", "1")
        assert "another training is writing to" in refused(capsys, other)
    finally:
        first.kill()
        first.wait()
    assert "resume it, or remove it" in refused(capsys, arguments(data, *where))


def interrupted(score):
    raise KeyboardInterrupt


def test_after_the_training_nothing_is_trained_again(data, tmp_path, monkeypatch, capsys):
    """Not after an interrupt while it is evaluated, nor where the release cannot be written."""
    argv = arguments(data, "--checkpoints", str(tmp_path / "kept"), "--out", str(tmp_path / "out"))
    tasks = train_command.task_of
    with monkeypatch.context() as patch:
        patch.setattr(
            train_command, "task_of", lambda *names: replace(tasks(*names), test=interrupted)
        )
        assert train.main(argv) == 128 + signal.SIGINT
    told = capsys.readouterr().err.splitlines()[-1]
    (kept,) = (tmp_path / "kept").glob("*[!s].ckpt")
    assert told == (
        f"recsys_rl.train: stopped after the training: {kept} holds it, the same call with "
        "--resume evaluates it"
    )
    for method in ("pretrain", "update"):
        monkeypatch.setattr(DDPG, method, interrupted)  # were it called, it would stop again

    def full(*_, **__):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(train_command, "release", full)
        assert train.main([*argv, "--resume"]) == 2
    told = capsys.readouterr().err
    assert "/out cannot be written (no space left on device)" in told
    assert "holds the training: mend that, and the same call with --resume releases it" in told
    assert train.main([*argv, "--resume"]) == 0
    assert Recommender.load(tmp_path / "out").config["metrics"]
    assert not list((tmp_path / "kept").glob("*.ckpt"))


def test_without_checkpoints_an_interrupted_evaluation_says_that_nothing_is_kept(
    data, monkeypatch, capsys
):
    tasks = train_command.task_of
    monkeypatch.setattr(
        train_command, "task_of", lambda *names: replace(tasks(*names), test=interrupted)
    )
    assert train.main(arguments(data)) == 128 + signal.SIGINT
    assert "nothing was kept, since no folder for checkpoints" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--agent", "DRR-sat"], "invalid choice: 'DRR-sat'"),
        (["--set", "ddpg.gama=0"], "there is no field 'ddpg.gama': choose among"),
        (["--set", "ddpg.gamma"], "--set takes FIELD=VALUE"),
        (["--set", "ddpg.gamma=1.5"], "ddpg.gamma must be in 0 .. 1, not 1.5"),
        (["--set", "ddpg.warmup=20"], "there is no field 'ddpg.warmup': choose among"),
        (["--set", "ddpg.gradient=deterministic"], "state.linear adds scores of its own"),
        (["--agent", "DRR-ave", "--set", "ddpg.gamma=1"], "ddpg.gamma must be below 1"),
        (["--set", "pretrain.lr=nan"], "pretrain.lr must be at least 0, not nan"),
        (["--set", "state.n=10"], "it must be at least 43"),
        (["--set", "env.sessions=100000000000"], "too little memory"),
        (["--split", "mine"], "there is no split 'mine'"),
        (["--split", "after-a-pause", "--order", "file"], "needs times, and --order file has none"),
        (["--order", "file", "--set", "state.name=nothing"], "there is no state 'nothing'"),
        (["--split", "simulated"], "this one makes simulated"),
        (["--threads", "0"], "must be a whole number, 1 to 256, not '0'"),
        (["--checkpoint-every", "nan"], "must be a number of seconds"),
        (["--resume"], "--resume needs --checkpoints"),
        (["--seed", str(10**30)], "seed must be below"),
        (["--seed", "-1"], "--seed: must be a whole number, 0 or more, not '-1'"),
        (["--out", "/dev/null/mine"], "Not a directory"),
        (["--split", ""], "there is no split ''"),
        (["--set", "ddpg.gradient=soft"], "reads what a state believes of the ratings"),
        (["--set", "state.name=affected"], 'needs env.name="consequences"'),
        *(
            (
                ["--agent", "consequences", "--set", "ddpg.gradient=expected"]
                + ["--set", f"state.name={name}"],
                "starts from items that are rated together",
            )
            for name in ("DRR-set", "DRR-seq")
        ),
        (
            ["--agent", "DRR-ave", "--set", "ddpg.gradient=soft", "--set", "state.name=belief"],
            "the next items of a log teach one",
        ),
        (["--set", "state.k=10000"], "have no more directions than that"),
        (["--set", "state.noise=1e308"], "state.noise must be at most 1000"),
        (["--set", f"env.horizon={2**63 - 1}"], "env.horizon must be at most"),
        (["--set", f"env.sessions={2**63 - 1}"], "env.sessions must be at most"),
        (["--set", f"pretrain.batch_size={2**63 - 1}"], "pretrain.batch_size must be at most"),
        (["--set", f"pretrain.negatives={2**63 - 1}"], "pretrain.negatives must be at most"),
    ],
)
def test_what_cannot_be_is_said_before_any_training(data, capsys, more, sentence):
    assert sentence in refused(capsys, arguments(data, *more))


@pytest.mark.parametrize("format_of_theirs", [1, 2, 3, "2"])
def test_a_config_with_a_format_of_its_own_is_no_release(data, tmp_path, capsys, format_of_theirs):
    mine = json.dumps({"format": format_of_theirs, "name": "mine"})
    (tmp_path / "config.json").write_text(mine)
    said = refused(capsys, arguments(data, "--out", str(tmp_path)))
    assert "has a config.json and holds no release" in said
    assert (tmp_path / "config.json").read_text() == mine


def test_what_is_no_release_is_not_written_over(data, tmp_path, capsys):
    for name in ("README.md", "config.json", "training.csv", "weights.safetensors"):
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        (folder / name).write_text("mine")
        said = refused(capsys, arguments(data, "--out", str(folder)))
        assert f"has a {name} and holds no release" in said
        assert [path.read_text() for path in folder.iterdir()] == ["mine"]


@pytest.mark.parametrize("option", ["--out", "--checkpoints", "--tensorboard"])
def test_an_empty_text_is_no_folder(data, capsys, option):
    assert "must be a folder, not an empty text" in refused(capsys, arguments(data, option, ""))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
@pytest.mark.parametrize("named", [["--device", "cuda"], ["--set", "device=cuda"]])
def test_a_device_that_is_not_there_is_refused(data, capsys, named):
    assert 'device is "cuda", which PyTorch' in refused(capsys, arguments(data, *named))


def test_the_figures_of_a_training_go_to_tensorboard(data, tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    where = "--out", str(tmp_path / "out"), "--tensorboard", str(tmp_path / "board")
    few = [f"--set={path}=6" for path in ("pretrain.updates", "ddpg.updates")]
    assert train.main(arguments(data, *few, *where)) == 0
    history = pd.read_csv(tmp_path / "out" / "training.csv").set_index("update")
    found = events.EventAccumulator(str(tmp_path / "board")).Reload()
    figures = history.drop(columns="stage")
    assert set(found.Tags()["scalars"]) == set(figures)
    for name in figures:
        told = {event.step: event.value for event in found.Scalars(name)}
        assert told == pytest.approx(figures[name].dropna().to_dict(), rel=1e-4)


def test_a_full_disk_of_tensorboard_does_not_end_a_training(data, tmp_path, monkeypatch, capsys):
    class Full:
        def add_scalar(self, *_):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("recsys_rl.agent.tracking._writer_class", lambda: lambda *a, **o: Full())
    board, out = str(tmp_path / "board"), str(tmp_path / "out")
    assert train.main(arguments(data, "--tensorboard", board, "--out", out)) == 0
    told = capsys.readouterr().err
    assert told.count(f"are written to {board} (No space left on device); training.csv has") == 1
    assert (tmp_path / "out" / "training.csv").exists()


def test_without_tensorboard_a_sentence_says_so_before_any_training(
    data, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setattr(DDPG, "pretrain", interrupted)
    where = "--tensorboard", str(tmp_path)
    assert "TensorBoard is not installed: pip" in refused(capsys, arguments(data, *where))


def test_a_folder_whose_name_is_no_text_gets_its_release(data, tmp_path):
    out = tmp_path / "mod\udce9les"
    assert train.main(arguments(data, "--out", str(out))) == 0
    model = Recommender.load(out)
    assert model.recommend(model.item_ids[:1].tolist(), k=2)


def test_ids_that_no_release_has_room_for_are_told_before_the_training(
    data, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("recsys_rl.release_files.LARGEST_CONFIG", 1000)
    monkeypatch.setattr("recsys_rl.tasks.base.Task.build", None)
    assert train.main(arguments(data, "--out", str(tmp_path / "out"))) == 2
    assert "give the items shorter ids" in capsys.readouterr().err


def test_weights_and_ids_that_no_reader_takes_are_told_before_the_training(
    data, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("recsys_rl.tasks.base.Task.fit", None)
    with monkeypatch.context() as patch:
        patch.setattr("recsys_rl.release_files.LARGEST_WEIGHTS", 1000)
        assert train.main(arguments(data, "--out", str(tmp_path / "out"))) == 2
    assert "and a release has room for 1,000: make state.k smaller" in capsys.readouterr().err
    monkeypatch.setattr("recsys_rl.release_config.MOST_CHARACTERS", 1)
    with pytest.raises(ValueError, match="2 item ids of up to 3 characters make too wide a table"):
        refuse_wide(["a", "bcd"])


def test_an_interrupt_while_pytorch_is_imported_is_quiet(tmp_path: Path) -> None:
    """An import that takes for ever stands for one that takes seconds."""
    slow = tmp_path / "torch"
    slow.mkdir()
    begun = tmp_path / "begun"
    wait = f"open({str(begun)!r}, 'w').close()\nimport time\ntime.sleep(60)\n"
    (slow / "__init__.py").write_text(wait)
    places = os.pathsep.join([str(tmp_path), str(ROOT)])
    running = subprocess.Popen(
        [sys.executable, "-m", "recsys_rl.train"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": places},
    )
    while not begun.exists():
        assert running.poll() is None, running.communicate()[1]
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert (running.returncode, said) == (130, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device")
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_stream_that_cannot_be_written_loses_no_training(
    stream: str, data: Path, tmp_path: Path
) -> None:
    brief = ["--set", "pretrain.updates=2", "--set", "ddpg.updates=0"]
    command = [sys.executable, "-m", "recsys_rl.train", *arguments(data)]
    command += ["--out", str(tmp_path / "out"), *brief]
    with open("/dev/full", "w") as full:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | {stream: full}
        done = subprocess.run(command, cwd=ROOT, text=True, check=False, **pipes)
    assert Recommender.load(tmp_path / "out").item_ids.size
    if stream == "stdout":
        assert done.returncode == 2
        assert "the figures cannot be written to stdout (No space left on device)" in done.stderr
        assert f"the release in {tmp_path / 'out'} has them" in done.stderr
    else:
        assert done.returncode == 0


def test_a_folder_that_steers_a_terminal_is_only_marked(capsys) -> None:
    train_command._tell(["released to a\x1b[31mb"], None)
    assert capsys.readouterr().out == "released to a\N{REPLACEMENT CHARACTER}[31mb\n"
