"""A moment of `benchmarks.fuzz`: what nobody thought of is used, or refused in a sentence."""

from __future__ import annotations

import os
import signal

import pytest

from benchmarks import fuzz

TRIES = {"data": 300, "release": 100, "command": 150, "training": 40, "environment": 300}
pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no alarm")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> fuzz.World:
    return fuzz.World(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_what_comes_in_wrong_is_refused_in_a_sentence(world: fuzz.World, kind: str) -> None:
    """The same inputs every time in a continuous integration, others everywhere else."""
    settings = fuzz.settings(TRIES[kind], derandomize="CI" in os.environ)
    assert fuzz.tried(world, kind, settings) >= TRIES[kind] // 2


def test_the_last_line_counts_tries_and_failures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(fuzz, "BATCH", 20)
    calls = ["--minutes", "0", "--kinds", "environment", "--seed", "1"]
    assert fuzz.main(calls) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.endswith(" tries, 0 failures")

    def broken(world: fuzz.World, given: object) -> None:
        raise KeyError("no sentence")

    strategy, _ = fuzz.KINDS["environment"]
    monkeypatch.setitem(fuzz.KINDS, "environment", (strategy, broken))
    assert fuzz.main(calls) == 1
    out = capsys.readouterr().out
    assert "environment, seed 1: KeyError" in out
    assert out.splitlines()[-1].endswith(" tries, 1 failures")
