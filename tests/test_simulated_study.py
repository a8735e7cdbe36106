"""The paper's online evaluation in small: who learns where, and who judges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from toys import two_tastes

from benchmarks.simulated import REWARD, SimulatedAgent, World, agents, among, learn
from recsys_rl.evaluation.statistics import Evaluation

N_USERS = 80


@pytest.fixture(scope="module")
def world() -> World:
    """People like odd films or even ones, and nothing else is to be known about them."""
    return World(two_tastes(N_USERS, 40), k=4)


def small(**changes: object) -> dict:
    settings = agents((60, 60, 6), seed=0)
    changes = {"k": 6, "sessions": 32, "batch_size": 32} | changes
    return {name: replace(each, **changes) for name, each in settings.items()}


def test_agents_of_a_seed_leave_from_one_warm_start(world):
    """They learn the taste in A, show it in B, and leave the warm start as it was."""
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


def test_an_agent_plays_in_a_simulator_with_the_streak(world):
    agent = SimulatedAgent(replace(small()["DRR-set"], vectors="random"), N_USERS, 40)
    agent.streak = 0.5
    played, imitated = agent.play(world.trained_in)
    moment = next(imitated)
    assert not (moment.wanted & moment.barred).any()
    played.reset()
    film = played.wanted.byte().argmax(1)  # something that is liked
    _, first, *_ = played.execute(film)
    _, second, _, _, info = played.execute(played.wanted.byte().argmax(1))
    assert torch.allclose(second, (info["rating"] - 3) / 2 + 0.5)
    assert torch.allclose(first, (world.trained_in.rating[played._person, film] - 3) / 2)


def test_the_oracle_is_each_judges_own(world):
    """Nobody earns more; in A it is greedy on A."""
    beside = world.baselines(0.0)
    for judge in "AB":
        rows = {name: found[judge].mean()[REWARD] for name, found in beside.items()}
        assert rows["oracle"] == max(rows.values())
    assert beside["oracle"]["A"].mean()[REWARD] == beside["greedy on A"]["A"].mean()[REWARD]


def test_among_keeps_the_people_that_were_asked_for():
    whole = Evaluation("p", {"m": np.arange(5.0)}, torch.arange(5), torch.arange(10).view(5, 2))
    some = among(whole, torch.tensor([1, 4]))
    assert some.metrics["m"].tolist() == [1, 4]
    assert some.users.tolist() == [1, 4]
    assert some.top.tolist() == [[2, 3], [8, 9]]
