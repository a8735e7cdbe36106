"""The tables of final figures say what the committed results say, and README repeats them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import tables

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Two seeds of two agents, each with three people's rewards."""
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    (tmp_path / "runs").mkdir()
    for agent, better in (("DRR-set", 0.2), ("set-no-critic", 0.0)):
        for seed in (0, 1):
            stage = figures(np.array([0.1, 0.2, 0.3]) + better + 0.1 * seed)
            worse = figures(np.array([0.1, 0.2, 0.3]) + 0.1 * seed)
            run = {"seed": seed, "test": {"DDPG": stage, "imitation": worse}}
            path = tmp_path / "runs" / f"tiny-people-{agent}-{seed}.json"
            path.write_text(json.dumps(run))


def figures(rewards: np.ndarray) -> dict:
    mean = {f"step@{t}": float(rewards.mean()) for t in range(1, 41)}
    people = {f"reward@{t}": rewards.tolist() for t in tables.HORIZONS}
    return {
        "sessions": {
            "mean": mean,
            "interval": {name: [value - 0.1, value + 0.1] for name, value in mean.items()},
            "people": people,
            "lists": {"distinct": 7.0, "popularity_percentile": 0.5},
        }
    }


def test_sessions_are_means_over_seeds_and_people(results):
    table = tables.sessions("tiny")
    assert list(table.index) == [
        "DRR-set, warm start",
        "DRR-set, more imitation, no critic",
        "DRR-set, + DDPG",
    ]
    assert table.loc["DRR-set, + DDPG", "T = 3"].startswith("0.450 [")
    assert table.loc["DRR-set, warm start", "T = 40"].startswith("0.250 [")
    assert set(table["seeds"]) == {2}


def test_gains_are_paired_and_leave_out_the_agent_itself(results):
    found = tables.gain_figures("tiny")
    assert set(found) == {"DRR-set, warm start", "DRR-set, more imitation, no critic"}
    for difference in found.values():
        assert difference[40] == pytest.approx((0.2, 0.2, 0.2))  # the same for every person


def test_steps_have_a_mean_and_an_interval(results):
    mean, interval = tables.by_step("tiny")["DRR-set, + DDPG"]
    assert mean == pytest.approx(np.full(40, 0.45))
    assert interval == pytest.approx(np.tile([0.35, 0.55], (40, 1)))


def test_a_data_set_without_results_has_no_table(results):
    assert tables.everything("nothing") == {}


def test_readme_repeats_the_committed_results():
    for title in tables.RANKING.values():
        assert tables.leave_one_out("ml-1m").loc["DRR-seq, + DDPG", title] in README
    sessions = tables.sessions("ml-1m")
    for row in set(sessions.index) - {"Random"}:
        for t in tables.HORIZONS:
            assert sessions.loc[row, f"T = {t}"] in README
    for row, found in tables.gain_figures("ml-1m").items():
        if row not in ("ItemKNN", "LinUCB"):
            assert tables.signed(found[40]) in README


@pytest.mark.parametrize(
    ("split", "protocol", "metrics"),
    [
        ("positives", "C", ["sampled_hr@10", "sampled_ndcg@10"]),
        ("ratings", "D", ["precision@5", "precision@10"]),
    ],
)
def test_readme_repeats_the_older_protocols(split, protocol, metrics):
    table = tables.against_rivals("ml-1m", split, protocol, metrics)
    for row in ("EASE", "DRR-set", "DRR-set minus EASE"):
        for metric in metrics:
            assert table.loc[row, metric] in README


def test_readme_repeats_the_simulators():
    table = tables.simulated("ml-1m")
    for row in ("greedy on A", "PMF folded in", "warm start", "gamma 0", "DRR-set", "oracle"):
        for column in ("reward in A", "reward in B", "minus greedy on A, in B"):
            assert table.loc[row, column] in README
