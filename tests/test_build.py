"""From a configuration and train rows to a training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from toys import SMALL, SMALL_SET, changed, learn, mixed_log, pretrain, random_log, weights_of

from recsys_rl.agent.build import Training, build
from recsys_rl.agent.config import Config
from recsys_rl.agent.ddpg import DDPG
from recsys_rl.agent.demonstrations import LogMoments, LogWindows, OnPolicyDemonstrations
from recsys_rl.agent.replay import PrioritizedReplayBuffer, ReplayBuffer
from recsys_rl.agent.training import train
from recsys_rl.agent.vector import VectorDDPG
from recsys_rl.data.rewards import liked_reward
from recsys_rl.envs.cold_start import ColdStartEnv
from recsys_rl.envs.logged import LoggedEnv
from recsys_rl.states.layers import PooledDropout

LOG = random_log()
CONFIGS = {
    "DRR-ave": changed(SMALL, {"state.embeddings": "pretrained", "ddpg.ou_sigma": 0.1}),
    "DRR-seq": changed(SMALL, {"state.name": "DRR-seq", "state.embeddings": "pretrained"}),
    "DRR-set": changed(SMALL_SET, {"pretrain.holdout_share": 0.4}),
}


@pytest.fixture(autouse=True)
def _small_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four million numbers are drawn for every DRR-seq otherwise."""
    monkeypatch.setattr(PooledDropout, "SIZE", 2**12)


def training_of(config: Config) -> Training:
    return build(config, LOG if config.env.name == "logged" else mixed_log())


# ---------------------------------------------------------------- what the configuration decides


@pytest.mark.parametrize(
    ("name", "environment", "stream", "replay"),
    [
        ("DRR-ave", LoggedEnv, LogMoments, PrioritizedReplayBuffer),
        ("DRR-seq", LoggedEnv, LogWindows, PrioritizedReplayBuffer),
        ("DRR-set", ColdStartEnv, OnPolicyDemonstrations, ReplayBuffer),
    ],
)
def test_environment_demonstrations_and_replay_are_those_that_are_named(
    name: str, environment: type, stream: type, replay: type
) -> None:
    training = training_of(CONFIGS[name])
    assert type(training.agent) is DDPG
    assert type(training.environment) is environment
    assert type(training.demonstrations) is stream
    assert type(training.replay) is replay


def test_sessions_are_as_many_and_as_long_as_they_should_be() -> None:
    environment = build(changed(SMALL, {"env.sessions": 5, "env.horizon": 2}), LOG).environment
    histories, _ = environment.reset()
    assert histories.item.shape == (5, SMALL.state.n)
    cut = [environment.step(torch.full((5,), 19))[3].all() for _ in range(2)]
    assert cut == [False, True]


@pytest.mark.parametrize(("name", "smallest"), [("DRR-ave", 4.0), ("DRR-seq", 0.5)])
def test_sessions_remember_what_the_state_reads(name: str, smallest: float) -> None:
    environment = training_of(changed(CONFIGS[name], {"env.sessions": 200})).environment
    rating = environment.reset()[0].rating
    assert float(rating[rating > 0].min()) == smallest


def test_seed_items_are_as_many_as_they_should_be() -> None:
    for n_seed in (1, 2):
        config = changed(SMALL_SET, {"env.n_seed": n_seed})
        assert training_of(config).environment.reset()[0].item.shape == (16, n_seed)


def test_a_reward_and_an_environment_can_be_given() -> None:
    liked = build(SMALL, LOG, reward=liked_reward).environment
    liked.reset()
    rewards = torch.cat([liked.step(torch.full((16,), item))[1] for item in range(4)])
    assert set(rewards.tolist()) == {0.0, 1.0}

    def make(log, generator):
        return LoggedEnv(log, sessions=3, n=2, horizon=horizon, generator=generator)

    horizon = SMALL.env.horizon
    config = changed(SMALL, {"state.n": 7, "env.name": "simulated"})
    training = build(config, LOG, make_env=make)
    assert training.environment.reset()[0].item.shape == (3, 2)
    with pytest.raises(ValueError, match='env.name="simulated" needs make_env'):
        build(config, LOG)
    horizon += 1
    with pytest.raises(ValueError, match="env.horizon is 4, and the environment has 5 steps"):
        build(config, LOG, make_env=make)
    horizon -= 1
    with pytest.raises(ValueError, match="ddpg.gamma must be below 1: these sessions have no end"):
        build(config.with_field("ddpg.gamma", 1.0), LOG, make_env=make)


@pytest.mark.parametrize(
    "reward", [lambda stars: stars >= 4, lambda stars: stars.round().long(), torch.Tensor.double]
)
def test_a_reward_may_be_a_truth_or_a_whole_number(reward: Callable[[Tensor], Tensor]) -> None:
    training = build(SMALL, LOG, reward=reward)
    train(training)
    training.environment.reset()
    assert training.environment.step(torch.full((16,), 0))[1].dtype == torch.float32


def test_a_reward_is_no_complex_number() -> None:
    with pytest.raises(ValueError, match="a reward makes one finite number"):
        build(SMALL, LOG, reward=lambda stars: stars + 0j)


def test_the_gradient_names_the_agent_and_what_the_replay_keeps() -> None:
    ours, papers = (
        build(changed(SMALL, {"ddpg.gradient": name, "ddpg.ou_sigma": 0.1}), LOG)
        for name in ("expected", "deterministic")
    )
    assert (type(ours.agent), type(papers.agent)) == (DDPG, VectorDDPG)
    assert "action" not in ours.replay.columns
    assert papers.replay.columns["action"].shape[1] == SMALL.state.k


@pytest.mark.parametrize("changes", [{}, {"ddpg.replay": "uniform"}])
def test_the_replay_keeps_the_latest_rounds_of_sessions(changes: dict) -> None:
    replay = build(changed(SMALL, changes), LOG).replay
    assert replay.capacity == 20 * SMALL.env.sessions * SMALL.env.horizon
    many = {"env.sessions": 500, "env.horizon": 40}
    assert build(changed(SMALL, changes | many), LOG).replay.capacity == 200_000
    more = {"env.sessions": 6000, "env.horizon": 40}
    assert build(changed(SMALL, changes | more), LOG).replay.capacity == 240_000, "a round fits"


def test_another_algorithm_takes_the_agents_place() -> None:
    class Mine(DDPG):
        pass

    assert type(build(SMALL, LOG, agent_class=Mine).agent) is Mine


# --------------------------------------------------------------------------------- train rows alone


def test_users_without_a_row_learn_nothing() -> None:
    """Users and items without a row in the train part are met nowhere."""
    train = LOG.select((LOG.user != 3) & (LOG.item != 5))
    training = build(changed(SMALL, {"weight_decay": 0.0, "pretrain.batch_size": 200}), train)
    key = "actor.state.user_vectors.weight"
    before = weights_of(training.agent)[key]
    for _ in range(5):
        demonstration = next(training.demonstrations)
        assert 3 not in demonstration.histories.user
        assert 5 not in demonstration.item
        assert 5 not in demonstration.histories.item
        training.agent.pretrain(demonstration)
        histories, _ = training.environment.reset()
        assert 3 not in histories.user
        assert 5 not in histories.item
    moved = (weights_of(training.agent)[key] != before).any(1)
    assert not moved[3]
    assert moved.any()


def test_embeddings_and_linear_model_know_no_holdout_user() -> None:
    """Whatever DDPG alone may read of them, the start of the agent is the same."""
    log = mixed_log()
    agent = build(CONFIGS["DRR-set"], log).agent
    later = build(CONFIGS["DRR-set"], log).environment.users
    swapped = log.rating.clone()
    swapped[torch.isin(log.user, later.user)] = 5.0
    other = build(CONFIGS["DRR-set"], replace(log, rating=swapped)).agent
    ours, theirs = weights_of(agent), weights_of(other)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


# ----------------------------------------------------------------------------------------- seeds


def trained(config: Config) -> dict[str, Tensor]:
    training = training_of(config)
    pretrain(training, 4)
    training.agent.start_ddpg()
    list(learn(training, 5))
    return weights_of(training.agent)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_seed_gives_the_same_weights_to_the_last_bit(name: str) -> None:
    torch.manual_seed(1)
    first = trained(CONFIGS[name])
    torch.manual_seed(2)  # nobody draws from the global generator
    again = trained(CONFIGS[name])
    assert all(torch.equal(again[key], value) for key, value in first.items())
    other = trained(CONFIGS[name].with_field("seed", 1))
    for key in ("actor.state.item_vectors.weight", "critic.weight.weight"):
        assert not torch.equal(other[key], first[key])


@pytest.mark.parametrize("name", CONFIGS)
def test_the_seed_decides_weights_sessions_demonstrations_and_exploration(name: str) -> None:
    def drawn(seed: int) -> list[Any]:
        config = changed(CONFIGS[name], {"seed": seed, "ddpg.epsilon": 1.0, "env.sessions": 40})
        training = training_of(config)
        demonstration = next(training.demonstrations)
        histories, _ = training.environment.reset()
        return [
            training.agent.critic.weight.weight,
            demonstration[0] if name == "DRR-seq" else demonstration.histories.item,
            histories.item,
            training.agent.explore(histories, training.environment.excluded).item,
        ]

    one, again, other = drawn(0), drawn(0), drawn(1)
    for ours, same_seed, another in zip(one, again, other, strict=True):
        assert torch.equal(ours, same_seed)
        assert not torch.equal(ours, another)
