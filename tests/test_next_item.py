"""What the next-item task is worth: gaps, ties, probes, and tables that say what is read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from synthetic import write_movielens
from toys import log_of

from benchmarks import next_item, report_next_item, report_sections, results, study
from benchmarks.peers import curve
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.movielens import load_ratings
from recsys_rl.evaluation.next_item import GAPS, PROBES, by_gap, gap_classes, ties_shuffled, told
from recsys_rl.evaluation.statistics import Evaluation
from recsys_rl.experiments import config_of
from recsys_rl.releasing import release
from recsys_rl.states.layers import PooledDropout
from recsys_rl.tasks.registry import task_of

SHORT = {"pretrain.updates": 6, "ddpg.updates": 4, "env.sessions": 8, "state.k": 8}


def dated(times: list[list[int]]) -> Interactions:
    rows = [(user, item, 4.0) for user, row in enumerate(times) for item in range(len(row))]
    log = log_of(rows, len(times), max(map(len, times)))
    return replace(log, timestamp=torch.tensor([t for row in times for t in row]))


def test_the_gap_is_that_between_the_target_and_the_rating_before_it():
    log = dated([[0, 9, 9], [0, 5, 86_404], [3, 10, 86_410], [0, 0, 1]])
    last = torch.arange(len(log)) % 3 == 2
    classes = gap_classes(log.select(~last), log.select(last))
    assert [GAPS[c] for c in classes] == [
        "same time stamp",
        "same day",
        "a day or more later",
        "same day",
    ]
    found = Evaluation("x", {"hr@10": np.array([1.0, 0.5, 0.25, 0.0])}, torch.arange(4))
    mean = by_gap(found, classes).mean()
    assert mean["hr@10, same day"] == 0.25
    assert [mean[f"share, {gap}"] for gap in GAPS] == [0.25, 0.5, 0.25]


def test_a_gap_needs_a_rating_before_the_target():
    log = dated([[0, 9, 9], [4, 5, 6]])
    last = torch.arange(len(log)) % 3 == 2
    with pytest.raises(ValueError, match="has no history"):
        gap_classes(log.select((log.user == 0) & ~last), log.select(last))
    with pytest.raises(ValueError, match="later than the target"):
        gap_classes(log.select(last), log.select(~last))


def test_only_ties_change_places():
    log = dated([[0, 7, 7, 7, 7, 8], [1, 1, 1, 1, 2, 2]])
    generator = torch.Generator().manual_seed(0)
    drawn = [ties_shuffled(log, generator) for _ in range(20)]
    for each in drawn:
        assert torch.equal(each.user, log.user)
        assert torch.equal(each.timestamp, log.timestamp)
        assert each.item[[0, 5]].tolist() == [0, 5]
        assert sorted(each.item[1:5].tolist()) == [1, 2, 3, 4]
    assert len({tuple(each.item.tolist()) for each in drawn}) > 15


def test_a_probe_changes_the_request_alone():
    log = dated([[0, 100], [0, 100], [0, 100]])
    histories = replace(
        log.histories(torch.arange(3), times=True), request=torch.tensor([100, 130, 900_000])
    )
    heard = []
    for request in PROBES.values():
        told(lambda h: heard.append(h) or torch.zeros(3, 2), request)(histories)
    assert [h.request.tolist() for h in heard] == [
        [100, 160, 604_900],
        [100, 100, 100],
        [604_900] * 3,
    ]
    assert all(torch.equal(h.time, histories.time) for h in heard)


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """A table with the agent trained for a moment, on both splits, and what they are worth."""
    monkeypatch.setattr(PooledDropout, "SIZE", 2**14)
    monkeypatch.setattr(results, "PATH", tmp_path / "results.csv.xz")
    monkeypatch.setattr(study, "config_of", lambda *names: config_of(*names).with_fields(SHORT))
    folder = write_movielens(tmp_path / "tiny", "csv", 40, 240)
    data = Interactions.from_ratings(load_ratings(folder))
    place = torch.arange(len(data)) - data.offsets[data.user]
    last = data.offsets[data.user + 1] - data.offsets[data.user] == place + 1
    days = (place >= 18).long() + (last & (data.user % 3 == 0))
    data = replace(data, timestamp=data.timestamp + 86_400 * days)
    for split in ("leave-one-out", "after-a-pause"):
        task = task_of(data, split)
        study.run(task, "ml-1m", split, "DRR-seq-clock", 0, tmp_path / "ckpt", results.record)
    task = task_of(data, "leave-one-out")
    for name in ("DRR-seq", "DRR-seq-clock"):
        agent = task.build(config_of(name).with_fields(SHORT)).agent
        words = {"dataset": "ml-1m", "command": "make", "protocol": task.about, "metrics": {}}
        release(agent, task.train, tmp_path / name, **words)
        results.record(
            next_item.of_release(next_item.released(tmp_path / name, data), data, orders=2)
        )
    results.record(next_item.of_baselines("ml-1m", data))
    return tmp_path


def test_every_table_says_what_is_read(recorded):
    tables = (
        report_next_item.next_item(),
        report_next_item.worth(),
        report_next_item.after_a_pause(),
    )
    for table in tables:
        assert table.columns[0] == "reads"
        assert table.index.is_unique
        assert (table["reads"] != "").all()
        read = {text for name, text in table["reads"].items() if "clock" in name}
        assert read == set(report_next_item.SAID.values())
    assert {"popularity", "EASE"} <= set(tables[2].index)
    assert sum("told" in name or "classes" in name for name in tables[1].index) == len(PROBES)
    figure = report_next_item.gap_picture()
    assert len(figure.axes[0].containers) == 4


def test_without_runs_there_is_no_section_and_no_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "PATH", tmp_path / "results.csv.xz")
    monkeypatch.setattr(curve, "PATH", tmp_path / "next_item_peer.csv")
    assert report_next_item.gap_picture() is None
    assert not any(len(section.table) for section in report_sections.of_the_next_item())
