"""DRR-seq beside a peer: the clock, the rows, the limit, the report. The peer itself is not run."""

from __future__ import annotations

from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest
from synthetic import write_movielens

from benchmarks import next_item_peer, report_next_item
from benchmarks.peers import curve
from benchmarks.peers.curve import OURS, PEER, SPLIT, Best, Clock, Curve
from recsys_rl.experiments import config_of

SHORT = {"pretrain.updates": 6, "ddpg.updates": 4, "env.sessions": 8, "state.k": 8}
KEY = {"dataset": "tiny", "split": SPLIT, "seed": 0}
FOUND = {"hr@10": 0.2, "ndcg@10": 0.1, "sampled_hr@10": 0.5}


@pytest.fixture
def times(monkeypatch) -> list[float]:
    """Now, in seconds; the processor is half as fast as the clock."""
    now = [0.0]
    monkeypatch.setattr(curve, "_now", lambda: (now[0], now[0] / 2))
    return now


def test_the_clock_stands_still_while_it_is_paused(times):
    clock = Clock()
    times[0] = 60
    with clock.paused():
        times[0] = 600
    assert clock.minutes == (1, 0.5)
    times[0] += 120
    assert clock.minutes == (3, 1.5)


def test_rows_come_one_by_one_and_an_earlier_training_goes(tmp_path, times):
    path = tmp_path / "new" / "rows.csv"
    Curve(path, 2, **KEY, model=OURS).judge("test", lambda: FOUND)
    for _ in range(2):
        peer = Curve(path, 2, **KEY, model=PEER)
        times[0] += 90

        def evaluate():
            times[0] += 1000
            return FOUND

        assert peer.judge("validation", evaluate) == {"hr@10": 0.2, "ndcg@10": 0.1}
        assert len(curve.table(path)) == 2
    rows = curve.table(path)
    assert rows.columns.tolist() == curve.COLUMNS
    row = curve.of(rows, model=PEER).iloc[0]
    assert (row["part"], row["minutes"], row["cpu_minutes"], row["threads"]) == (
        "validation",
        1.5,
        0.75,
        2,
    )


def test_the_first_of_the_best_is_kept():
    best = Best()
    for number, value in enumerate((0.1, 0.3, 0.2, 0.3)):
        best.offer(value, lambda number=number: number)
    assert (best.value, best.kept) == (0.3, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_movielens(tmp_path_factory.mktemp("root") / "tiny", "csv", 60, 240)


def test_ours_is_judged_at_every_validation_and_the_peer_has_three_times_its_minutes(
    folder, tmp_path, monkeypatch
):
    def short(*names):
        return config_of(*names).with_fields(SHORT | {"validate_every": 4})

    asked = []

    def theirs(python, threads, *, minutes, into, root, **key):
        asked.append((minutes, threads))
        peer = Curve(into, threads, **key, split=SPLIT, model=PEER)
        if len(asked) > 1:  # the first one is stopped
            peer.judge("test", lambda: FOUND)

    monkeypatch.setattr(next_item_peer, "config_of", short)
    monkeypatch.setattr(next_item_peer, "theirs", theirs)
    path = tmp_path / "rows.csv"
    options = ["--dataset", "tiny", "--root", str(folder.parent), "--into", str(path)]
    options += ["--peer-python", str(folder)]
    next_item_peer.main(options)
    rows = curve.table(path)
    # before the first update, after 4, at the end of pretraining (6), after 8, at the end (10)
    assert rows["part"].tolist() == ["validation"] * 5 + ["test"]
    assert rows["minutes"].is_monotonic_increasing
    assert asked == [(pytest.approx(3 * rows["minutes"].iloc[-1]), 1)]
    next_item_peer.main(options)
    next_item_peer.main(options)
    assert len(asked) == 2  # the stopped one again, and nothing that is there
    assert curve.table(path).iloc[:-1].equals(rows)


def test_the_peer_is_started_in_its_own_environment(monkeypatch):
    seen = {}

    def run(*command, **options):
        seen.update(options, command=command)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(next_item_peer.subprocess, "run", run)
    next_item_peer.theirs("python", 2, dataset="tiny", seed=3, minutes=4.5)
    command = "python -m benchmarks.peers.rectools_sasrec --dataset tiny --seed 3 --minutes 4.5"
    assert " ".join(*seen["command"]) == f"{command} --threads 2"
    assert seen["env"]["OMP_NUM_THREADS"] == "2"


def test_without_an_environment_for_the_peer_nothing_is_trained(tmp_path, capsys):
    with pytest.raises(SystemExit):
        next_item_peer.main(["--peer-python", str(tmp_path / "none")])
    assert "benchmarks/peers/README.md" in capsys.readouterr().err


def test_the_report_waits_for_both(tmp_path, monkeypatch, times):
    monkeypatch.setattr(curve, "PATH", tmp_path / "rows.csv")
    assert report_next_item.peers("tiny").empty
    assert report_next_item.peer_picture("tiny") is None
    for model in (OURS, PEER):
        training = Curve(curve.PATH, 2, **KEY, model=model)
        for value in (0.1, 0.3, 0.2):
            times[0] += 60
            training.judge("validation", lambda v=value: {"hr@10": 2 * v, "ndcg@10": v})
        assert report_next_item.peers("tiny").empty
        training.judge("test", lambda: FOUND)
    shown = report_next_item.peers("tiny")
    assert shown.index.tolist()[:2] == [f"{OURS}, seed 0", f"{PEER}, seed 0"]
    assert "published" in shown.index[2]
    assert shown["minutes"].iloc[2] == ""
    assert shown.iloc[0].to_dict() == {
        "minutes": "3.0",
        "CPU minutes": "1.5",
        "threads": "2",
        "best validation nDCG@10": "0.300",
        "minutes to it": "2.0",
        "Hit@10": "0.200",
        "nDCG@10": "0.100",
    }
    figure = report_next_item.peer_picture("tiny")
    assert [len(pane.lines) for pane in figure.axes] == [4, 4]
    plt.close(figure)
