"""The agent: the faults of earlier re-implementations, each with a test, and the released form."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from classes import (
    DDPG,
    PMF,
    Recommender,
    Settings,
    Transitions,
    load_checkpoint,
    release,
    save_checkpoint,
)
from tests.toys import random_log

LOG = random_log(n_users=30, n_items=25)
SMALL = Settings(
    k=8,
    n=3,
    hidden=16,
    imitation_updates=4,
    ddpg_updates=8,
    demonstrations=16,
    batch_size=16,
    sessions=16,
    horizon=3,
    critic_warmup=0,
    capacity=256,
)
SEQ = replace(SMALL, state="seq", vectors="random", n=6, critic_reads="actor")


def agent_of(settings=SMALL):
    start = None
    if settings.state != "seq":
        start = PMF(LOG.n_users, LOG.n_items, 8, generator=torch.Generator().manual_seed(1))
    return DDPG(settings, LOG.n_users, LOG.n_items, start)


def play(agent, sessions, demonstrations, replay, updates):
    for _ in range(updates):
        if sessions.over:
            sessions.reset()
        before = sessions.observation()
        after, reward, terminated, _, info = sessions.step(agent.explore(agent.act(before)))
        live = info["active"]
        replay.add(Transitions.of(before, info["item"], reward, after, terminated, live))
        batch, weights, places = replay.sample(agent.settings.batch_size, agent.generator)
        _, td_error = agent.update(batch, weights, next(demonstrations))
        replay.update_priorities(places, td_error)


def trained(settings):
    agent = agent_of(settings)
    sessions, demonstrations = agent.play(LOG)
    replay = agent.memory()
    for _ in range(settings.imitation_updates):
        agent.imitate(next(demonstrations))
    agent.start_ddpg()
    play(agent, sessions, demonstrations, replay, settings.ddpg_updates)
    return agent, sessions, demonstrations, replay


def weights_of(agent):
    networks = agent.actor, agent.critic, agent.target_actor, agent.target_critic
    return torch.cat([p.detach().flatten() for n in networks for p in n.parameters()])


def a_batch(agent):
    sessions, _ = agent.play(LOG)
    before, _ = sessions.reset()
    after, reward, terminated, _, info = sessions.step(agent.act(before))
    return Transitions(before, info["item"], reward, after, terminated)


def test_a_time_limit_does_not_stop_the_bootstrap_and_an_end_does():
    agent = agent_of()
    batch = a_batch(agent)
    going = batch._replace(terminated=torch.zeros_like(batch.terminated))
    ended = batch._replace(terminated=torch.ones_like(batch.terminated))
    assert torch.equal(agent.targets(ended), batch.reward)
    assert not torch.allclose(agent.targets(going), batch.reward)


def test_sessions_at_their_time_limit_are_stored_as_not_terminated():
    agent = agent_of()
    sessions, _ = agent.play(LOG)
    sessions.reset()
    for _ in range(SMALL.horizon):
        _, reward, terminated, truncated, _ = sessions.step(agent.act(sessions.observation()))
    assert truncated.all()
    assert not terminated.all()
    assert not torch.equal(terminated, reward > 0)


def test_gamma_zero_learns_the_reward_alone():
    agent = agent_of(replace(SMALL, gamma=0.0))
    batch = a_batch(agent)
    assert torch.equal(agent.targets(batch), batch.reward)


def test_everybody_gets_an_action_of_their_own():
    agent, *_ = trained(SMALL)
    users = torch.arange(10)
    together = agent.score(LOG.histories(users))
    alone = torch.cat([agent.score(LOG.histories(u[None])) for u in users])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert len(together.unique(dim=0)) > 5


def test_the_actor_climbs_q():
    agent = agent_of(replace(SMALL, cloning=0.0, actor_lr=1e-3))
    agent.start_ddpg()
    batch = a_batch(agent)
    before = float(agent.q_of_policy(batch.observation).detach().mean())
    for _ in range(5):
        agent._improve_actor(batch.observation, None)
    assert float(agent.q_of_policy(batch.observation).detach().mean()) > before


def test_targets_move_by_tau_and_take_no_gradient():
    agent = agent_of(replace(SMALL, tau=0.25))
    old = [p.clone() for p in agent.target_critic.parameters()]
    _, demonstrations = agent.play(LOG)
    agent.update(a_batch(agent), torch.ones(16), next(demonstrations))
    pairs = zip(old, agent.critic.parameters(), agent.target_critic.parameters(), strict=True)
    for was, source, now in pairs:
        torch.testing.assert_close(now, was + 0.25 * (source - was))
        assert now.grad is None


def test_importance_weights_and_priorities_are_used():
    agent = agent_of()
    _, demonstrations = agent.play(LOG)
    batch, none = a_batch(agent), torch.zeros(16)
    losses, td_error = agent.update(batch, none, next(demonstrations))
    assert losses["critic"] == 0
    assert td_error.abs().max() > 0
    _, _, _, replay = trained(SMALL)
    assert len(replay.tree.get(torch.arange(len(replay))).unique()) > 10


def test_the_critic_learns_from_the_film_executed():
    agent = agent_of()
    batch = a_batch(agent)
    other = batch._replace(item=(batch.item + 1) % LOG.n_items)
    _, demonstrations = agent.play(LOG)
    twin = agent_of()
    demonstration = next(demonstrations)
    _, one = agent.update(batch, torch.ones(16), demonstration)
    _, two = twin.update(other, torch.ones(16), demonstration)
    assert not torch.allclose(one, two)


def test_exploration_is_off_on_demand():
    agent = agent_of(replace(SMALL, epsilon=0.0))
    action = agent.act(a_batch(agent).observation)
    assert torch.equal(agent.explore(action), action)
    wild = agent_of(replace(SMALL, epsilon=1.0))
    assert not torch.isclose(wild.explore(action), action).all(1).any()
    noisy = agent_of(replace(SMALL, epsilon=0.0, ou_sigma=0.3))
    assert not torch.equal(noisy.explore(action), action)


@pytest.mark.parametrize("settings", [SMALL, SEQ], ids=["ave", "seq"])
def test_same_seed_same_weights(settings):
    one, two = weights_of(trained(settings)[0]), weights_of(trained(settings)[0])
    assert torch.equal(one, two)
    assert not torch.equal(one, weights_of(trained(replace(settings, seed=1))[0]))


@pytest.mark.parametrize("settings", [SMALL, SEQ], ids=["ave", "seq"])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(settings, tmp_path):
    agent, sessions, demonstrations, replay = trained(settings)
    parts = {"agent": agent, "environment": sessions, "replay": replay}
    if settings.state == "seq":
        parts["demonstrations"] = demonstrations
    save_checkpoint(tmp_path / "c.pt", parts, {"update": 12})
    play(agent, sessions, demonstrations, replay, 4)
    fresh = agent_of(settings)
    sessions, demonstrations = fresh.play(LOG)
    replay = fresh.memory()
    parts = {"agent": fresh, "environment": sessions, "replay": replay}
    if settings.state == "seq":
        parts["demonstrations"] = demonstrations
    assert load_checkpoint(tmp_path / "c.pt", parts) == {"update": 12}
    play(fresh, sessions, demonstrations, replay, 4)
    assert torch.equal(weights_of(agent), weights_of(fresh))


@pytest.fixture
def folder(tmp_path):
    agent, *_ = trained(SMALL)
    about = {"dataset": "toy", "command": "none", "protocol": "none", "metrics": {"hr@10": "1"}}
    release(agent, LOG, tmp_path / "toy", **about)
    return tmp_path / "toy", agent


def test_released_weights_give_the_same_scores_by_movielens_id(folder):
    path, agent = folder
    recommender = Recommender.load(path)
    assert np.array_equal(recommender.item_ids, LOG.item_ids.ids)
    ids = recommender.item_ids[[3, 5]].tolist()
    both = recommender.scores([ids, ids[:1]])
    assert np.allclose(both[1], recommender.scores([ids[:1]])[0], atol=1e-5)
    assert sorted(p.name for p in path.iterdir()) == [
        "README.md",
        "config.json",
        "weights.safetensors",
    ]
    config = json.loads((path / "config.json").read_text())
    assert len(config["positive_counts"]) == len(config["item_ids"]) == LOG.n_items


def test_recommend_never_repeats_and_refuses_nonsense(folder):
    recommender = Recommender.load(folder[0])
    seeds = recommender.item_ids[:3].tolist()
    films = [film for film, _ in recommender.recommend(seeds, k=22)]
    assert len(set(films)) == 22
    assert not set(films) & set(seeds)
    with pytest.warns(UserWarning, match="ignored"):
        recommender.recommend([*seeds, 10**6])
    with (
        pytest.raises(ValueError, match="knows none"),
        pytest.warns(UserWarning, match="ignored"),
    ):
        recommender.recommend([10**6])
    for k in (0, 23):
        with pytest.raises(ValueError, match="k must be"):
            recommender.recommend(seeds, k=k)


def test_damaged_folders_are_refused_in_a_sentence(folder, tmp_path):
    with pytest.raises(ValueError, match="no released agent"):
        Recommender.load(tmp_path / "nowhere")
    (folder[0] / "weights.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match="damaged"):
        Recommender.load(folder[0])
