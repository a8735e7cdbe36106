"""Toy problems that an agent must solve."""

from __future__ import annotations

import pytest
import torch
from toys import SMALL, changed, learn, log_of, mean_reward, pretrain, two_tastes

from recsys_rl.agent import ddpg
from recsys_rl.agent.build import Training, build
from recsys_rl.data.interactions import Interactions
from recsys_rl.envs.logged import LoggedEnv
from recsys_rl.states.layers import PooledDropout

# with these, reward alone solved two tastes for each of six seeds
CRITIC_LR = 1e-2  # random vectors start near each other, and budgets are small here
TASTES = {
    "state.k": 8,
    "ddpg.updates": 200,
    "ddpg.actor_lr": 3e-3,
    "ddpg.gamma": 0.5,
    "ddpg.epsilon": 0.5,
    "ddpg.bc_weight": 0.0,
    "env.sessions": 64,
    "env.horizon": 5,
}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four million numbers are drawn for every DRR-seq otherwise."""
    monkeypatch.setattr(PooledDropout, "SIZE", 2**12)
    monkeypatch.setattr(ddpg.DDPG, "critic_lr", CRITIC_LR)


def tastes_training(log: Interactions, changes: dict) -> Training:
    """Half of the users are hidden, so that only the memory can tell who it is."""

    def make(rows: Interactions, generator: torch.Generator) -> LoggedEnv:
        options = {"sessions": 64, "n": 3, "horizon": 5, "anonymous_share": 0.5}
        return LoggedEnv(rows, **options, generator=generator)

    return build(changed(SMALL, TASTES | changes), log, make_env=make)


@pytest.mark.parametrize("seed", range(2))
def test_reward_alone_solves_two_tastes(seed: int) -> None:
    """No pretraining, no given vectors: whoever shows the same to everybody earns 0 a step, as does
    a random order; what is measured is earned with unknown users."""
    log = two_tastes(seed=seed)
    training = tastes_training(log, {"seed": seed})
    assert abs(mean_reward(training.agent, log, 10)) < 0.3
    training.agent.start_ddpg()
    list(learn(training, 200))
    assert mean_reward(training.agent, log, 10) > 0.9


def test_ddpg_raises_the_reward_of_a_pretrained_agent() -> None:
    """Users rate bad items too: pretraining copies that, only the reward tells them apart."""
    log = two_tastes()
    training = tastes_training(log, {"pretrain.updates": 50, "ddpg.bc_weight": 0.1})
    pretrain(training, 50)
    assert abs(mean_reward(training.agent, log, 10)) < 0.3
    training.agent.start_ddpg()
    list(learn(training, 200))
    assert mean_reward(training.agent, log, 10) > 0.9


def rings(n_items: int = 12, n_users: int = 40) -> Interactions:
    """Everybody goes round the items in order, from a place of their own."""
    return log_of(
        [
            (user, (user * 5 + step) % n_items, 4.0 + step % 2)
            for user in range(n_users)
            for step in range(9)
        ],
        n_users,
        n_items,
    )


@pytest.mark.parametrize(("name", "n"), [("DRR-ave", 1), ("DRR-seq", 4)])
def test_pretraining_learns_the_order_of_a_log(name: str, n: int) -> None:
    """DRR-ave reads which items, not in which order; a memory of one item is enough here."""
    log = rings()
    changes = {"state.name": name, "state.n": n, "state.k": 8}
    changes |= {"pretrain.updates": 120, "pretrain.lr": 2e-2, "pretrain.batch_size": 64}
    training = build(changed(SMALL, changes), log)
    pretrain(training, 120)
    users = torch.arange(log.n_users)
    best = training.agent.score(log.histories(users)).argmax(1)
    last = log.item[log.offsets[1:] - 1]
    assert float((best == (last + 1) % 12).float().mean()) > 0.9


@pytest.mark.parametrize("seed", range(2))
def test_hindsight_solves_two_tastes(seed: int) -> None:
    """Sessions with cold-start users; random vectors know nothing of the tastes before."""
    changes = {"state.name": "DRR-set", "state.n": 8, "state.embeddings": "random", "state.k": 8}
    changes |= {"env.name": "cold-start", "env.horizon": 5, "env.sessions": 32, "seed": seed}
    changes |= {"pretrain.updates": 100, "pretrain.lr": 1e-2}
    training = build(changed(SMALL, changes), two_tastes(seed=seed))

    def share_of_likes() -> float:
        environment = training.environment
        environment.reset()
        rewards = []
        while not environment.over:
            item = training.agent.act(environment.observation(), environment.excluded)
            rewards.append(environment.step(item)[1])
        return float(torch.stack(rewards).mean())

    assert share_of_likes() < 0.8
    pretrain(training, 100)
    assert share_of_likes() > 0.95
