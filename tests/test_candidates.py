"""A sample of the items that stands for the catalogue in a round of cold-start sessions."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from toys import SMALL_SET, changed, learn, log_of, mixed_log, pretrain, two_tastes, weights_of

from recsys_rl.agent.build import Training, build
from recsys_rl.agent.training import play
from recsys_rl.data.candidates import columns_of, drawn, items_at, rows_of
from recsys_rl.data.histories import POSITIVE, exclusion_mask
from recsys_rl.envs import cold_start
from recsys_rl.envs.base import best_item
from recsys_rl.envs.cold_start import ColdStartEnv
from recsys_rl.evaluation.sessions import cold_start_sessions
from recsys_rl.states.layers import PooledDropout

N_ITEMS, M, STEPS = 24, 10, 6
SAMPLED = changed(SMALL_SET, {"pretrain.negatives": M, "ddpg.epsilon": 0.5})


@pytest.fixture(autouse=True)
def _small_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout draws four million numbers for every agent otherwise."""
    monkeypatch.setattr(PooledDropout, "SIZE", 2**12)


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def env_of(**options) -> ColdStartEnv:
    options = {"sessions": 8, "horizon": STEPS, "generator": gen(1), "n_candidates": M} | options
    return ColdStartEnv(mixed_log(), **options)


# ------------------------------------------------------------------------ items and their columns


def test_an_item_has_a_column_among_the_candidates_and_others_have_none() -> None:
    candidates, item = torch.tensor([2, 5, 9]), torch.tensor([[9, 0, 2], [N_ITEMS, 5, 6]])
    assert columns_of(candidates, item).tolist() == [[2, 3, 0], [3, 1, 3]]
    assert items_at(candidates, torch.tensor([2, 0])).tolist() == [9, 2]
    table = torch.rand(N_ITEMS, 4)
    assert torch.equal(rows_of(candidates, table), table[candidates])
    assert columns_of(None, item) is items_at(None, item) is item
    assert rows_of(None, table) is table


def test_heavy_items_are_drawn_more_often_and_none_twice() -> None:
    weight, generator = torch.tensor([1.0, 2.0, 3.0, 4.0]), gen()
    first = torch.cat([drawn(weight, 1, generator) for _ in range(2000)])
    torch.testing.assert_close(first.bincount() / 2000, weight / 10, atol=0.03, rtol=0)
    for _ in range(20):
        three = drawn(weight, 3, generator)
        assert (three.diff() > 0).all(), "ascending, none twice"
    assert drawn(weight, 4, generator).tolist() == [0, 1, 2, 3]


# ----------------------------------------------------------------------------------- the sessions


def test_sessions_show_candidates_and_pay_for_likes_among_them() -> None:
    log, env = mixed_log(), env_of()
    met = env.eligible[:8]
    seeds = env.starts(1, seed=0)[1][:8]
    start, _ = env.reset(options={"users": met, "seed_items": seeds})
    assert torch.equal(start.item, seeds), "whatever is named is known"
    assert not torch.isin(seeds, env.candidates).all()
    likes = torch.zeros(log.n_users, N_ITEMS, dtype=torch.bool)
    likes[log.user, log.item] = log.rating >= POSITIVE
    likes = likes[met].scatter(1, seeds, False)
    candidates, generator = env.candidates, gen(2)
    named = [set(row) for row in seeds.tolist()]
    while not env.over:
        assert torch.equal(env.relevant, likes[:, candidates])
        mask = exclusion_mask(env.observation(), N_ITEMS)
        assert torch.equal(mask, env.excluded)
        for row, names in enumerate(named):
            assert set(candidates[mask[row]].tolist()) == names & set(candidates.tolist())
        column = best_item(torch.rand(env.excluded.shape, generator=generator), env.excluded)
        item = candidates[column]
        after, reward, *_ = env.step(item)
        assert torch.equal(reward, likes.gather(1, item.unsqueeze(1)).squeeze(1).float())
        assert torch.equal(after.item[:, -1], item), "histories hold ids"
        likes.scatter_(1, item.unsqueeze(1), False)
        for names, each in zip(named, item.tolist(), strict=True):
            names.add(each)
        assert env.candidates is candidates, "the same to the end"
    env.reset()
    assert not torch.equal(env.candidates, candidates)


def test_what_is_no_candidate_shows_nothing() -> None:
    env = env_of()
    before, _ = env.reset()
    others = torch.ones(N_ITEMS, dtype=torch.bool)
    others[env.candidates] = False
    excluded = env.excluded.clone()
    after, reward, _, _, info = env.step(others.nonzero()[:8, 0])
    assert not reward.any()
    assert not info["rating"].any()
    assert torch.equal(env.excluded, excluded)
    assert torch.equal(after.item[:, 1:], before.item)


def test_the_candidates_do_not_depend_on_who_is_met() -> None:
    found = []
    for users in (slice(0, 4), slice(4, 8)):
        env = env_of()
        options = {name: part[users] for name, part in starts_of(env).items()}
        env.reset(seed=3, options=options)
        found.append(env.candidates)
    assert torch.equal(*found)


def starts_of(env: ColdStartEnv) -> dict[str, torch.Tensor]:
    return dict(zip(("users", "seed_items"), env.starts(1, seed=0), strict=True))


def test_more_candidates_than_items_are_all_items() -> None:
    env = env_of(n_candidates=99)
    env.reset()
    assert env.candidates.tolist() == list(range(N_ITEMS))
    assert env.relevant.shape == (8, N_ITEMS)


# -------------------------------------------------------------------------------------- the agent


def test_candidates_have_the_scores_and_values_that_they_have_among_all() -> None:
    training = build(SAMPLED, mixed_log())
    agent = training.agent
    pretrain(training, 5)
    histories = play(agent, training.environment).observations[-1]
    candidates, everything = histories.candidates, replace(histories, candidates=None)
    same = torch.testing.assert_close
    for ask in (agent.score, agent.actor.scores, agent.critic.preferences):
        same(ask(histories), ask(everything)[:, candidates])
    policy = agent.actor.policy(everything)[:, candidates]
    same(agent.actor.policy(histories), policy / policy.sum(1, keepdim=True))
    assert torch.equal(agent.actor.best(histories), candidates[policy.argmax(1)])
    agent.critic.gamma = 0.0  # the outlook is that of the best candidate
    model = agent.actor.linear.model
    means = model.score(everything).masked_fill(exclusion_mask(everything, N_ITEMS), 0)
    earlier = replace(histories, elapsed=histories.elapsed * 0)
    same(agent.critic.expected_reward(earlier), means[:, candidates].amax(1))


def test_the_agent_shows_candidates_and_replays_ids() -> None:
    training = build(SAMPLED, mixed_log())
    agent, environment = training.agent, training.environment
    played = play(agent, environment)
    assert torch.isin(played.item, environment.candidates).all()
    best = agent.act(played.observations[0], environment.excluded)
    assert torch.isin(best, environment.candidates).all()
    list(learn(training, 2 * SAMPLED.env.horizon))
    replayed = training.replay.take(torch.arange(len(training.replay)))
    assert replayed.histories.candidates is None
    assert not torch.isin(replayed.item, environment.candidates).all(), "they are of two rounds"
    among = replayed.among(environment.candidates)
    shown = agent.target_actor.best(among.next_histories)
    assert torch.isin(shown, environment.candidates).all()


def test_a_sample_of_all_items_trains_as_no_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where drawing it takes no random numbers from the sessions."""
    monkeypatch.setattr(cold_start, "drawn", lambda weight, *_: torch.arange(len(weight)))

    def trained(negatives: int) -> Training:
        changes = {"pretrain.negatives": negatives, "pretrain.holdout_share": 0.4}
        training = build(changed(SAMPLED, changes), mixed_log(20))
        pretrain(training, 6)
        training.agent.start_ddpg()
        list(learn(training, 10))
        return training

    ours, theirs = trained(N_ITEMS), trained(0)
    assert theirs.environment.candidates is None
    torch.testing.assert_close(weights_of(ours.agent), weights_of(theirs.agent))


def test_a_sample_of_half_the_items_teaches_about_all() -> None:
    """Users like odd items or even ones, and name three of them; vectors start at random."""
    random = {"state.embeddings": "random", "state.linear": "", "pretrain.lr": 1e-2}
    changes = random | {"pretrain.negatives": N_ITEMS // 2, "pretrain.batch_size": 32}
    log, found = two_tastes(), []
    training = build(changed(SMALL_SET, changes | {"pretrain.updates": 80}), log)
    for updates in (0, 80):
        pretrain(training, updates)
        metrics = cold_start_sessions(training.agent.score, log, (4,), draws=1).mean()
        found.append(metrics["reward@4"])
    assert found[0] < 0.6, found
    assert found[1] > 0.85, found


def test_an_unrated_item_may_be_drawn() -> None:
    rows = [(0, item, 5.0) for item in range(8)]
    env = ColdStartEnv(log_of(rows, 1, N_ITEMS), n_candidates=12, generator=gen())
    assert (env.candidates >= 8).any()
