"""One run of the study: its stages, its rows, and that it goes on where it was stopped."""

import pytest
import torch
from synthetic import write_movielens
from toys import random_log

from benchmarks import study
from recsys_rl.agent.training import Interrupted
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.movielens import load_ratings
from recsys_rl.experiments import config_of
from recsys_rl.tasks import task_of

SHORT = {"pretrain.updates": 6, "ddpg.updates": 4, "ddpg.warmup": 1, "env.sessions": 8}


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
    found, kept = study.run(task, "ml-100k", "cold-start", "DRR-set", 0, tmp_path)
    assert set(found["stage"]) == {"final", "pretrained", "pretrained, gate reset"}
    assert set(found["protocol"]) == {"training", "seed-and-suggest", "cold-start-sessions"}
    one = found[(found["stage"] == "final") & (found["metric"] == "reward@3")]
    assert one["user"].notna().sum() == len(one) - 1  # every user, and the mean
    assert list(tmp_path.glob("*.ckpt"))  # until the rows are in the table
    kept.remove()
    assert not list(tmp_path.glob("*.ckpt"))


def test_the_agent_of_the_paper_is_evaluated_with_parts_taken_away(data, tmp_path):
    task = task_of(data, "leave-one-out")
    found, kept = study.run(task, "ml-100k", "leave-one-out", "DRR-ave", 0, tmp_path)
    probes = {"untrained", "no history", "history shuffled", "one user's action for all"}
    assert set(found["stage"]) == {"final", "pretrained"} | probes
    means = found[found["user"].isna() & (found["metric"] == "ndcg@10")].set_index("stage")["value"]
    assert means["untrained"] != means["final"]


def test_what_is_taken_away():
    log = random_log(8, 30)
    seen = []

    def score(histories):
        seen.append(histories)
        return torch.zeros(len(histories), 30)

    histories = log.histories(torch.arange(4))
    probes = dict(study.probes(score, log, 0))
    probes["no history"](histories)
    assert (seen[-1].item == 30).all()
    probes["history shuffled"](histories)
    assert not torch.equal(seen[-1].item, histories.item)
    assert torch.equal(seen[-1].item.sort(1).values, histories.item.sort(1).values)
    assert torch.equal(seen[-1].item == 30, histories.item == 30)
    asked = len(seen)
    assert probes["one user's action for all"](histories).shape == (4, 30)
    assert len(seen) == asked  # one answer for everybody


def test_a_stopped_run_goes_on(data, tmp_path, monkeypatch):
    task = task_of(data, "cold-start")
    where = "ml-100k", "cold-start", "DRR-set", 0, tmp_path
    whole, kept = study.run(task, *where)
    kept.remove()
    saved = study.Checkpoints.save

    def once(self, parts, progress):
        saved(self, parts, progress)
        if progress["update"] == 6:  # after pretraining
            raise Interrupted("stopped", 15)

    monkeypatch.setattr(study.Checkpoints, "save", once)
    with pytest.raises(Interrupted):
        study.run(task, *where)
    monkeypatch.setattr(study.Checkpoints, "save", saved)
    again, _ = study.run(task, *where)
    measured = [each[each["protocol"] != "training"]["value"].tolist() for each in (whole, again)]
    assert measured[0] == measured[1]
