"""The paper's online evaluation in small: who learns where, and who judges."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toys import two_tastes

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from simulated import REWARD, World, agents, among, learn  # noqa: E402

from evaluation import Evaluation  # noqa: E402

N_USERS = 80


@pytest.fixture(scope="module")
def world() -> World:
    """People like odd films or even ones, and nothing else is to be known about them."""
    return World(two_tastes(N_USERS, 40), k=4)


def small(**changes: object) -> dict:
    settings = agents((60, 60), seed=0)
    changes = {"k": 6, "sessions": 32, "batch_size": 32} | changes
    return {name: replace(each, **changes) for name, each in settings.items()}


def test_agents_of_a_seed_share_a_warm_start_and_beat_greedy_elsewhere(world):
    """In B a film of A's half is a prediction: only who learns in the session knows the taste."""
    warm: dict = {}
    found, seconds = learn(world, small(), 0.0, warm)
    assert set(found) == {"DRR-set", "gamma 0", "no critic", "warm start"}
    assert all(spent >= seconds["warm start"] for spent in seconds.values())
    rows = world.figures(found["DRR-set"], world.baselines(0.0) | found)
    assert rows["B"]["minus"]["random"]["low"] > 0
    assert rows["B"]["minus"]["popularity"]["low"] > 0
    assert "DRR-set" not in rows["B"]["minus"]
    assert rows["gap"] == pytest.approx(rows["A"]["reward"] - rows["B"]["reward"])
    before = {name: weight.clone() for name, weight in warm["agent"]["actor"].items()}
    again, _ = learn(world, small(), 0.0, warm)
    for name, results in found.items():  # a second call leaves from the same place
        assert np.array_equal(results["B"].metrics[REWARD], again[name]["B"].metrics[REWARD])
    assert all(torch.equal(before[name], weight) for name, weight in warm["agent"]["actor"].items())


def test_the_streak_changes_rewards_and_not_the_warm_start(world):
    """The same films are shown, and what they are worth depends on those before."""
    options = {"DRR-set": replace(small()["DRR-set"], ddpg_updates=0)}
    warm: dict = {}
    plain, streak = (learn(world, options, streak, warm)[0] for streak in (0.0, 0.5))
    for judge in "AB":
        first, second = (found["warm start"][judge] for found in (plain, streak))
        assert torch.equal(first.top, second.top)
        assert second.mean()[REWARD] != pytest.approx(first.mean()[REWARD], abs=1e-3)


def test_the_judges_never_share_a_row_and_the_oracle_is_each_ones_own(world):
    beside = world.baselines(0.0)
    for judge in "AB":
        rows = {name: found[judge].mean()[REWARD] for name, found in beside.items()}
        assert max(rows, key=rows.get) in ("oracle", "greedy on A")
        assert rows["oracle"] == max(rows.values())
    assert beside["oracle"]["A"].mean()[REWARD] == beside["greedy on A"]["A"].mean()[REWARD]


def test_among_keeps_the_people_that_were_asked_for():
    whole = Evaluation("p", {"m": np.arange(5.0)}, torch.arange(5), torch.arange(10).view(5, 2))
    some = among(whole, torch.tensor([1, 4]))
    assert some.metrics["m"].tolist() == [1, 4]
    assert some.users.tolist() == [1, 4]
    assert some.top.tolist() == [[2, 3], [8, 9]]
