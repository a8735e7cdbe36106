"""The table of results: what is recorded is read back, replaced as a whole, and named as agreed."""

from __future__ import annotations

import json
from itertools import product
from multiprocessing import get_context

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks import elicitation, results
from benchmarks.elicitation import RANKERS
from benchmarks.report_elicitation import ASKERS
from recsys_rl.baselines.registry import BASELINES
from recsys_rl.evaluation.next_item import PROBES
from recsys_rl.evaluation.protocols import READS
from recsys_rl.evaluation.statistics import Evaluation
from recsys_rl.experiments import NAMES

KEY = {
    "dataset": "tiny",
    "split": "cold-start",
    "agent": "DRR-set",
    "seed": 1,
    "stage": "final",
    "protocol": "cold-start-sessions",
}
SESSIONS = {name: value for name, value in KEY.items() if name != "seed"}
SPLITS = {
    *("leave-one-out", "random-positives", "ratings", "temporal", "cold-start", "cross-dataset"),
    *(f"cold-start-eighth-{number}" for number in range(1, 9)),
    *("simulated", "simulated-series", "user-leaves", "user-leaves-model", "sardine"),
    *("elicitation", "elicitation-5", "elicitation-10", "after-a-pause"),
    *(f"simulated-satisfaction-{dial}" for dial in ("0", "0.25", "0.5", "1")),
    *(f"simulated-satiation-{dial}" for dial in ("0.25", "0.5", "1")),
}
TIES = "ties shuffled", "ties before the test item shuffled"
PROTOCOLS = {
    *("leave-one-out", "random-positives", "re-ranking", "seed-and-suggest", "temporal"),
    *("cold-start-sessions", "simulated-A", "simulated-B", "training"),
    *("calibration, users of the critic", "calibration, test users"),
    *("calibration, simulator A", "calibration, simulator B"),
    *("user-leaves", "user-leaves, another's ratings", "sardine"),
    *(
        f"{name}{ending}"
        for name in ("leave-one-out", "after-a-pause")
        for ending in READS.values()
    ),
    *(f"leave-one-out, {n}{end}" for n in ("by gap", *TIES) for end in READS.values()),
    *(f"leave-one-out, {probe}" for probe in PROBES),
    *(elicitation.protocol(*kind) for kind in product((3, 5, 10, 20), (0, 3), RANKERS)),
    "calibration, test users, simulator B",
}
STAGES = {
    *("final", "pretrained", "pretrained, gate reset", "untrained", "no history", "calibration"),
    *("history shuffled", "one user's action for all", "published", "reproduced"),
}


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """A table without rows, in a folder that is not there yet."""
    monkeypatch.setattr(results, "PATH", tmp_path / "results" / "results.csv.xz")
    monkeypatch.setattr(results, "TUNED", tmp_path / "tuned.json")


def evaluation(values, **options) -> Evaluation:
    values = np.asarray(values, dtype=np.float32)
    metrics = {"reward@3": values, "step@1": values / 2}
    return Evaluation("any", metrics, torch.arange(len(values)), **options)


def test_an_evaluation_is_read_back(empty):
    assert len(results.load()) == 0
    results.record(results.rows_of(evaluation([0.5, np.nan, 1.0]), by_user=["reward@3"], **KEY))
    assert list(results.load().columns) == results.COLUMNS
    found = results.means(**SESSIONS)
    assert found.to_dict("index") == {1: {"reward@3": 0.75, "step@1": 0.375}}
    kept = results.by_user("reward@3", **SESSIONS)
    assert kept.loc[1].to_dict() == {0.0: 0.5, 2.0: 1.0}  # who does not count has no row
    assert results.by_user("step@1", **SESSIONS).empty


def test_lists_and_plain_numbers_are_rows(empty):
    shown = evaluation([0.5, 1.0], top=torch.tensor([[0, 1], [0, 2]]))
    counts = torch.tensor([9, 5, 1])
    rows = results.rows_of(shown, counts=counts, prefix="validation_", **KEY)
    assert {"validation_distinct", "validation_popularity_percentile"} < set(rows["metric"])
    results.record(rows)
    results.record(results.rows({"training_seconds": 3.0}, **KEY | {"protocol": "training"}))
    assert results.means(**SESSIONS).loc[1, "validation_distinct"] == 3
    training = results.select(protocol="training")
    assert training[["metric", "value"]].to_numpy().tolist() == [["training_seconds", 3.0]]


def test_a_run_is_replaced_as_a_whole_and_the_others_stay(empty):
    for seed in (1, 2):
        results.record(
            results.rows_of(evaluation([0.1, 0.2]), ["reward@3"], **KEY | {"seed": seed})
        )
    before = results.PATH.read_bytes()
    results.record(results.rows({"reward@3": 0.9}, **KEY))
    assert results.means(**SESSIONS)["reward@3"].to_dict() == {1: 0.9, 2: 0.15}
    assert results.by_user("reward@3", **SESSIONS).index.tolist() == [2]
    results.record(results.rows_of(evaluation([0.1, 0.2]), ["reward@3"], **KEY))
    assert results.PATH.read_bytes() == before
    assert [path.name for path in results.PATH.parent.iterdir()] == ["results.csv.xz"]


def test_the_order_of_recording_does_not_show(empty):
    written = []
    for order in ((1, 2), (2, 1)):
        results.PATH.unlink(missing_ok=True)
        for seed in order:
            results.record(results.rows({"b": 1 / 3, "a": 0.1}, **KEY | {"seed": seed}))
        written.append(results.PATH.read_bytes())
    assert written[0] == written[1]
    assert results.load()["value"].tolist() == [0.1, 0.33333] * 2
    assert results.load()["metric"].tolist() == ["a", "b"] * 2


def test_two_processes_may_record_at_the_same_time(empty):
    context = get_context("fork")
    parts = [results.rows({"m": float(seed)}, **KEY | {"seed": seed}) for seed in range(4)]
    processes = [context.Process(target=results.record, args=(part,)) for part in parts]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert results.means(**SESSIONS)["m"].to_dict() == {0: 0.0, 1: 1.0, 2: 2.0, 3: 3.0}


def test_what_cannot_be_a_row_is_refused(empty):
    rows = results.rows({"m": 0.5}, **KEY)
    with pytest.raises(ValueError, match="rows have the columns dataset, split"):
        results.record(rows.drop(columns="user"))
    with pytest.raises(ValueError, match="a number is there twice"):
        results.record(pd.concat([rows, rows]))
    with pytest.raises(ValueError, match="a row needs dataset, split, agent, seed"):
        results.rows({"m": 0.5}, dataset="tiny")
    weighted = evaluation([0.1, 0.2], weights=np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match="every user counts the same"):
        results.rows_of(weighted, by_user=["reward@3"], **KEY)
    assert not results.PATH.exists()


def test_a_number_that_is_not_the_only_one_is_refused(empty):
    for stage in ("final", "pretrained"):
        results.record(results.rows_of(evaluation([0.5]), ["reward@3"], **KEY | {"stage": stage}))
    for read in (results.means, lambda **key: results.by_user("reward@3", **key)):
        with pytest.raises(ValueError, match="more than one evaluation has these names"):
            read(dataset="tiny", agent="DRR-set")
    with pytest.raises(ValueError, match="no column 'task'"):
        results.select(task="cold-start")
    assert len(results.select(stage=["final", "pretrained"], user=None)) == 4


@pytest.mark.parametrize("damage", [lambda whole: whole[:-20], lambda _: b"", lambda _: b"user\n1"])
def test_a_table_that_cannot_be_used_is_said_before_long_work(empty, damage):
    results.ready()
    results.record(results.rows({"m": 0.5}, **KEY))
    results.ready()
    whole = results.PATH.read_bytes()
    results.PATH.write_bytes(damage(whole))
    with pytest.raises(ValueError, match=r"results.csv.xz cannot be read \(.*get it again"):
        results.ready()
    results.PATH.write_bytes(whole)
    results.TUNED.write_text("{")
    for use in (results.ready, lambda: results.record_tuned("tiny", "ratings", {"EASE": {}})):
        with pytest.raises(ValueError, match=r"tuned.json cannot be read \(.*get it again"):
            use()
    results.TUNED.unlink()
    results.PATH.unlink()
    results.PATH.parent.rmdir()
    results.PATH.parent.write_text("")
    with pytest.raises(OSError, match="results cannot be written"):
        results.ready()


def test_settings_are_read_back_and_others_stay(empty):
    assert results.tuned("tiny", "cold-start") == {}
    results.record_tuned("tiny", "cold-start", {"EASE": {"regularization": 100}, "random": {}})
    results.record_tuned("tiny", "cold-start", {"EASE": {"regularization": 200}})
    results.record_tuned("tiny", "ratings", {"PMF": {"k": 8, "l2": 0.2}})
    expected = {"EASE": {"regularization": 200}, "random": {}}
    assert results.tuned("tiny", "cold-start") == expected
    assert results.tuned("tiny", "ratings") == {"PMF": {"k": 8, "l2": 0.2}}


def test_the_committed_table_keeps_to_its_names():
    table = results.load()
    assert results.PATH.stat().st_size < 6_000_000
    assert set(table["dataset"]) == {"ml-100k", "ml-1m", "sardine"}
    for column, known in (("split", SPLITS), ("protocol", PROTOCOLS), ("stage", STAGES)):
        assert set(table[column]) <= known
    agents = set(table["agent"])
    beside = {f"SB3 {name}" for name in ("A2C", "PPO", "DQN", "TD3", "DDPG")}
    beside |= {"greedy on simulator A", "PMF, user known", "PMF folded in"}
    beside |= {f"ridge regression ({name}, alpha = 0)" for name in ("LinUCB", "HLinUCB")}
    beside |= {"greedy", "greedy-model", "list", "list-model"}  # of users who leave
    beside |= {"sardine", "sardine-gamma-0", "rule"}  # of users who get bored
    beside |= {agent.name for agent in ASKERS}
    beside |= {"rollout", "linucb"}  # of simulated users with consequences
    agents = {name for name in agents if not name.endswith(" (a5157ef)")}
    assert agents - set(NAMES) <= beside | {*BASELINES, "oracle"}
    assert np.isfinite(table["value"]).all()
    assert not table.duplicated([*results.KEY, "metric", "user"]).any()


def test_committed_means_are_those_of_the_committed_users():
    table = results.select(split="cold-start", protocol="cold-start-sessions")
    same = [*results.KEY, "metric"]
    means = table[table["user"].isna()].set_index(same)["value"]
    users = table[table["user"].notna()].groupby(same, observed=True)["value"].mean()
    assert len(users) > 200
    np.testing.assert_allclose(means.loc[users.index], users, atol=5e-5)


def test_the_committed_settings_are_of_baselines_that_there_are():
    for splits in json.loads(results.TUNED.read_text()).values():
        for chosen in splits.values():
            assert set(chosen) <= {*BASELINES, "oracle"}


def test_settings_of_a_ridge_regression_do_not_explore():
    assert results.tuned("ml-1m", "cold-start")["LinUCB"]["alpha"] == 0
    assert results.tuned("ml-100k", "cold-start")["LinUCB"]["alpha"] > 0
    assert results.baseline_name("LinUCB", {"alpha": 0.05}) == "LinUCB"
    assert results.baseline_name("HLinUCB", {"alpha": 0.0}).startswith("ridge regression (HLinUCB")
