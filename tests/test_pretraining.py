"""Supervised pretraining: its losses on logs, its schedule, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F
from toys import SMALL, changed, learn, pretrain, random_log, weights_of

from recsys_rl.agent.build import build
from recsys_rl.agent.ddpg import DDPG
from recsys_rl.agent.demonstrations import LogMoments, NextItem, Window
from recsys_rl.data.histories import Histories
from recsys_rl.states.layers import PooledDropout

N_USERS, N_ITEMS = 12, 20


@pytest.fixture(autouse=True)
def _small_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four million numbers are drawn for every DRR-seq otherwise."""
    monkeypatch.setattr(PooledDropout, "SIZE", 2**12)


def agent_of(changes: dict[str, Any] | None = None) -> DDPG:
    return DDPG(changed(SMALL, changes), N_USERS, N_ITEMS)


def some_demonstration(size: int = 16) -> NextItem:
    generator = torch.Generator().manual_seed(9)
    user = torch.randint(N_USERS + 1, (size,), generator=generator)
    item = torch.randint(N_ITEMS, (size, 4), generator=generator)
    return NextItem(Histories(user, item[:, :3], torch.full((size, 3), 4.5)), item[:, 3])


def test_the_loss_of_a_moment_is_the_cross_entropy_of_the_next_item() -> None:
    agent, (histories, item, _) = agent_of(), some_demonstration()
    expected = F.cross_entropy(agent.actor.scores(histories), item)
    torch.testing.assert_close(some_demonstration().loss(agent.actor), expected)


def test_the_loss_of_windows_counts_every_position_and_no_padding() -> None:
    agent, pad = agent_of({"state.name": "DRR-seq", "state.n": 4}), N_ITEMS
    window = Window(
        torch.tensor([[1, 2, 3, 4], [5, 6, pad, pad]]),
        torch.tensor([[2, 3, 4, 9], [6, 8, pad, pad]]),
    )
    action = agent.actor.state.sequence(window.items)
    actions = torch.cat([action[0], action[1, :2]])
    target = torch.tensor([2, 3, 4, 9, 6, 8])
    expected = F.cross_entropy(actions @ agent.actor.item_vectors.T, target)
    torch.testing.assert_close(window.loss(agent.actor), expected)


@pytest.mark.parametrize("name", ["DRR-ave", "DRR-seq"])
def test_pretraining_lowers_the_loss_that_it_reports(name: str) -> None:
    changes = {"state.name": name, "pretrain.updates": 60, "pretrain.lr": 1e-2}
    training = build(changed(SMALL, changes), random_log(N_USERS, N_ITEMS))
    agent, demonstration = training.agent, next(training.demonstrations)
    losses = [agent.pretrain(demonstration)["pretrain_loss"] for _ in range(60)]
    assert losses[-1] < losses[0] - 0.3


def test_pretraining_leaves_critic_and_targets_alone_until_it_ends() -> None:
    agent = agent_of()
    before = weights_of(agent)
    for _ in range(3):
        agent.pretrain(some_demonstration())
    after = weights_of(agent)
    moved = {key.split(".")[0] for key, value in after.items() if not before[key].equal(value)}
    assert moved == {"actor"}
    agent.start_ddpg()
    ended = weights_of(agent)
    for key, value in after.items():
        if key.startswith("actor."):
            assert torch.equal(ended[f"target_{key}"], value)
        elif "critic" in key:
            assert torch.equal(ended[key], value)


def test_the_rate_warms_up_to_its_peak_and_ends_near_nothing() -> None:
    """A step of Adam is about as long as its rate."""
    agent = agent_of({"pretrain.updates": 40, "pretrain.lr": 1e-2, "weight_decay": 0.0})
    steps = []
    for _ in range(40):
        before = agent.actor.body[0].weight.detach().clone()
        agent.pretrain(some_demonstration())
        steps.append(float((agent.actor.body[0].weight.detach() - before).abs().max()))
    assert steps[0] == pytest.approx(1e-4, rel=0.1), "a hundredth of the peak"
    assert 1 <= steps.index(max(steps)) <= 4
    assert max(steps) == pytest.approx(1e-2, rel=0.5)
    assert steps[-1] < 1e-3


def test_ddpg_starts_at_a_rate_of_its_own() -> None:
    changes = {"pretrain.lr": 1e-2, "ddpg.actor_lr": 0.0}
    training = build(changed(SMALL, changes), random_log(N_USERS, N_ITEMS))
    pretrain(training, 3)
    training.agent.start_ddpg()
    before = weights_of(training.agent)
    list(learn(training, 2))
    after = weights_of(training.agent)
    moved = {key.split(".")[0] for key, value in after.items() if not before[key].equal(value)}
    assert moved == {"critic", "target_critic"}


def test_moments_of_a_log_are_what_users_rated_next() -> None:
    """The environment's own moments, so that users are hidden as often as in its sessions."""
    log = random_log(N_USERS, N_ITEMS)
    training = build(SMALL, log)
    stream = LogMoments(training.environment, 400)
    histories, item, _ = next(stream)
    assert not torch.equal(item, next(stream).item)
    assert float((histories.user == N_USERS).float().mean()) == pytest.approx(0.2, abs=0.07)
    for user, known, target in zip(
        histories.user.tolist(), histories.item.tolist(), item.tolist(), strict=True
    ):
        if user == N_USERS:
            continue
        rows = log.item[log.offsets[user] : log.offsets[user + 1]].tolist()
        before = rows[: rows.index(target)]
        stars = log.rating[log.offsets[user] : log.offsets[user + 1]].tolist()
        liked = [i for i, star in zip(before, stars, strict=False) if star >= 4][-3:]
        assert known == [N_ITEMS] * (3 - len(liked)) + liked
