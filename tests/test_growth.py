"""How time and memory grow: the table is written whole, a stage that fails is a sentence."""

from __future__ import annotations

import sys

import pandas as pd
import pytest

from benchmarks import growth
from benchmarks.options import exit_with
from recsys_rl.baselines.registry import LINEAR_MODELS

LINEAR_MODELS.pop("random", None)  # what growth adds is for its own processes


@pytest.fixture(autouse=True)
def _table(tmp_path, monkeypatch):
    monkeypatch.setattr(growth, "TABLE", tmp_path / "results" / "growth.csv")
    growth.TABLE.parent.mkdir()


def row(stage: str, seconds: float) -> dict[str, object]:
    shape = growth.SHAPES["ml-1m"]._asdict()
    return shape | {"shape": "ml-1m", "stage": stage, "seconds": seconds, "gib": 0.5}


def test_a_stage_that_is_measured_again_replaces_its_row():
    for stage, seconds in (("read", 1.0), ("split", 2.0), ("read", 3.0)):
        growth.keep(row(stage, seconds))
    table = pd.read_csv(growth.TABLE)
    assert table[["stage", "seconds"]].to_numpy().tolist() == [["split", 2.0], ["read", 3.0]]


def test_a_full_disk_leaves_the_old_table(monkeypatch):
    growth.keep(row("read", 1.0))
    before = growth.TABLE.read_bytes()

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("recsys_rl.data.atomic_files.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        growth.keep(row("split", 2.0))
    assert growth.TABLE.read_bytes() == before


class Child:
    """A process that prints nothing and ends."""

    def __init__(self, code: int) -> None:
        self.code = code
        self.pid, self.stdout = 0, self

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self) -> str:
        return ""

    def wait(self) -> int:
        return self.code


@pytest.mark.parametrize(
    ("made", "ended", "words"),
    [
        (1, 0, "the log of ml-1m was not made, since its process ended with 1: what was"),
        (0, 9, "read was not measured, since its process was stopped by signal 9: what was"),
        (0, 2 << 8, "read was not measured, since its process ended with 2: what was"),
    ],
)
def test_a_process_that_fails_is_a_sentence(monkeypatch, capsys, made, ended, words):
    monkeypatch.setattr(growth, "child", lambda *_: Child(made))
    monkeypatch.setattr(growth.os, "wait4", lambda *_: (0, ended, None))
    monkeypatch.setattr(sys, "argv", ["growth", "--shapes", "ml-1m", "--stages", "read"])
    with pytest.raises(SystemExit) as stopped:
        exit_with(growth.main)
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err


def test_where_the_table_cannot_be_written_nothing_is_measured(monkeypatch):
    growth.TABLE.parent.rmdir()
    growth.TABLE.parent.write_text("")
    monkeypatch.setattr(growth, "measure", lambda *_: pytest.fail("it measures"))
    with pytest.raises(OSError, match="results cannot be written"):
        growth.main(["--shapes", "ml-1m"])
