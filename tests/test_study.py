"""The study's agents differ in what their names say, and nobody is trained on and tested."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from toys import random_log

from benchmarks import study
from recsys_rl.data.splits import split_users

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("dataset", ["ml-1m", "ml-100k"])
def test_the_released_agent_has_the_settings_of_the_study(dataset):
    """It is trained in the notebook, which watches it more often."""
    config = json.loads((ROOT / "models" / dataset / "config.json").read_text())
    ours = study.agents(dataset, "people", per_epoch=0)["DRR-set"]
    seen = {"evaluate_every": config["settings"]["evaluate_every"]}
    assert config["settings"] == asdict(replace(ours, seed=config["settings"]["seed"], **seen))


def test_controls_change_one_thing_and_share_their_warm_start():
    for split in ("people", "positives", "ratings"):
        found = study.agents("ml-1m", split, per_epoch=0)
        ours = found["DRR-set"]
        for name, part in (("set-gamma-0", "gamma"), ("set-no-critic", "guidance")):
            assert found[name] == replace(ours, **{part: 0.0})
            assert study.stage_one(found[name]) == study.stage_one(ours)
        put_back = found["set-put-back"]
        assert put_back == replace(ours, trust_put_back=ours.profile == "gaussian")
        assert study.stage_one(put_back) == study.stage_one(ours)
        assert found["set-held-back"] == replace(found["set-short"], unmet=0.15)
        for other in (replace(ours, seed=1), replace(ours, epsilon=0.0), found["set-no-profile"]):
            assert study.stage_one(other) != study.stage_one(ours)


def test_people_are_trained_on_or_judged(monkeypatch):
    data, met = random_log(80, 20), []
    monkeypatch.setattr(study, "sessions_with_strangers", lambda score, people: met.append(people))
    monkeypatch.setattr(study.protocols, "three_in_three_out", lambda score, people: None)
    for name, seed in (("people", 0), ("people-3", 3)):
        log, *judges = study.task(data, name)
        for judge in judges:
            judge(None)
        groups = split_users(data.n_users, generator=torch.Generator().manual_seed(seed))
        for people, users in zip((log, *met[-2:]), groups, strict=True):
            assert people.user.unique().tolist() == users.tolist()
    first, second, third = split_users(data.n_users, generator=torch.Generator().manual_seed(0))
    half, _, _ = study.task(data, "people-half")
    assert half.user.unique().tolist() == first[::2].tolist()
    more, nobody, judge = study.task(data, "people-more")
    assert more.user.unique().tolist() == sorted([*first.tolist(), *second.tolist()])
    assert nobody is None  # there is nobody left to validate on
    judge(None)
    assert met[-1].user.unique().tolist() == third.tolist()
