"""On-policy demonstrations: moments that the agent reaches itself, answered in hindsight."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from toys import SMALL_SET, changed, learn, mixed_log, pretrain, weights_of

from recsys_rl.agent.build import Training, build
from recsys_rl.agent.demonstrations import HindsightBatch, OnPolicyDemonstrations
from recsys_rl.data.histories import POSITIVE, Histories
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.splits import split_holdout_users, split_users
from recsys_rl.envs.base import best_item
from recsys_rl.envs.cold_start import ColdStartEnv
from recsys_rl.states.layers import PooledDropout

N_ITEMS = 24


@pytest.fixture(autouse=True)
def small_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state draws four million numbers for its dropout; fewer do here."""
    monkeypatch.setattr(PooledDropout, "SIZE", 2**12)


def env_of(seed: int = 1, horizon: int = 5) -> ColdStartEnv:
    generator = torch.Generator().manual_seed(seed)
    return ColdStartEnv(mixed_log(), sessions=8, horizon=horizon, generator=generator)


def by_history(histories: Histories, excluded: torch.Tensor) -> torch.Tensor:
    """A choice that depends on every answer so far."""
    told = (histories.item * (1 + histories.rating)).sum(1, keepdim=True)  # (B, 1)
    return best_item((told * torch.arange(1.0, N_ITEMS + 1)).sin(), excluded)


def assert_same(ours: HindsightBatch, theirs: HindsightBatch) -> None:
    for one, other in zip(parts_of(ours), parts_of(theirs), strict=True):
        assert torch.equal(one, other)


def parts_of(batch: HindsightBatch) -> list[torch.Tensor]:
    histories, relevant, excluded = batch
    return [histories.item, histories.rating, histories.elapsed, relevant, excluded]


def test_moments_are_from_before_the_step_and_stay_as_they_were() -> None:
    """The same sessions played by hand say what each moment was; sessions start anew."""
    stream, by_hand = OnPolicyDemonstrations(env_of(horizon=16), by_history), env_of(horizon=16)
    batches, expected, steps = [], [], []
    for _ in range(40):
        if by_hand.over:
            by_hand.reset()
        before = by_hand.observation(), by_hand.relevant.clone(), by_hand.excluded.clone()
        expected.append(HindsightBatch(*before))
        batches.append(next(stream))
        steps.append(by_hand.step(by_history(before[0], by_hand.excluded)))
    for batch, moment, (_, reward, _, _, info) in zip(batches, expected, steps, strict=True):
        assert_same(batch, moment)
        hit = batch.relevant.gather(1, info["item"].unsqueeze(1)).squeeze(1)
        assert torch.equal(hit.float(), reward)
        assert torch.equal(batch.relevant.any(1), info["active"]), "nothing is left in the others"
    assert not all(step[4]["active"].all() for step in steps)


@pytest.mark.parametrize("drawn", [0, 2, 9])
def test_a_stream_goes_on_where_it_stopped(drawn: int) -> None:
    whole = OnPolicyDemonstrations(env_of(), by_history)
    for _ in range(drawn):
        next(whole)
    resumed = OnPolicyDemonstrations(env_of(seed=9), by_history)
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    for _ in range(10):
        assert_same(next(resumed), next(whole))


def test_later_sessions_take_the_place_of_the_first_when_told() -> None:
    """Both are saved."""
    now = {"switched": False}

    def stream_of(*seeds: int) -> OnPolicyDemonstrations:
        first, later = map(env_of, seeds)
        return OnPolicyDemonstrations(first, by_history, later, lambda: now["switched"])

    stream = stream_of(1, 2)
    alone = [OnPolicyDemonstrations(env_of(seed), by_history) for seed in (1, 2)]
    assert_same(next(stream), next(alone[0]))
    now["switched"] = True
    assert_same(next(stream), next(alone[1]))
    resumed = stream_of(8, 9)
    resumed.load_state_dict(stream.state_dict())
    assert_same(next(resumed), next(alone[1]))
    now["switched"] = False
    assert_same(next(resumed), next(alone[0]))


# ---------------------------------------------------------------------------- of an agent


def training_of(changes: dict | None = None, log: Interactions | None = None) -> Training:
    return build(changed(SMALL_SET, changes), log or mixed_log())


@pytest.mark.parametrize("linear", ["", "gaussian"])
def test_the_loss_is_that_of_hindsight_on_the_actors_scores(linear: str) -> None:
    """-mean log pi(i) - 3 log sum pi(i), i among what the user likes."""
    training = training_of({"state.linear": linear})
    batch, losses = next(training.demonstrations), []
    scores = training.agent.score(batch.histories)
    for row, relevant, excluded in zip(scores, batch.relevant, batch.excluded, strict=True):
        log_pi = row[~excluded].log_softmax(0)[relevant[~excluded]]
        losses.append(-log_pi.mean() - 3 * log_pi.logsumexp(0))
    loss = batch.loss(training.agent.actor)
    torch.testing.assert_close(loss, torch.stack(losses).mean())


def test_demonstrations_and_transitions_come_from_different_sessions_of_the_same_kind() -> None:
    changes = {"env.n_seed": 2, "env.horizon": 5, "pretrain.batch_size": 24}
    training = training_of(changes)
    environment, batch = training.environment, next(training.demonstrations)
    first, _ = environment.reset()
    assert (batch.histories.item.shape, first.item.shape) == ((24, 2), (16, 2))
    assert not torch.equal(batch.histories.item[:16], first.item)
    times = [next(training.demonstrations).histories.elapsed for _ in range(5)]
    assert [float(time.max()) for time in times] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0])
    again = training_of(changes)
    assert_same(next(again.demonstrations), batch)


@pytest.mark.parametrize(("epsilon", "greedy"), [(0.0, True), (1.0, False)])
def test_the_agent_explores_on_its_way(epsilon: float, greedy: bool) -> None:
    training = training_of({"ddpg.epsilon": epsilon, "env.sessions": 64})
    first, second = next(training.demonstrations), next(training.demonstrations)
    shown = (second.excluded & ~first.excluded).byte().argmax(1)
    best = best_item(training.agent.score(first.histories), first.excluded)
    assert torch.equal(shown, best) == greedy


def users_met(batch: HindsightBatch, log: Interactions) -> set[int]:
    """Users with the likes of each session: the seed items, and what is left to like."""
    likes = log.select(log.rating >= POSITIVE).mask_of(torch.arange(log.n_users))
    met = batch.relevant.scatter(1, batch.histories.item, True)
    return set((met.unsqueeze(1) == likes).all(2).nonzero()[:, 1].tolist())


def first_batch(environment: ColdStartEnv) -> HindsightBatch:
    histories, _ = environment.reset()
    return HindsightBatch(histories, environment.relevant, environment.excluded)


def test_a_share_of_the_users_is_held_out() -> None:
    log = mixed_log()
    assert split_holdout_users(log, 0.0, 1) == (log, log)
    first, later = split_holdout_users(log, 0.3, seed=1)
    users, held = (set(part.user.tolist()) for part in (first, later))
    assert users.isdisjoint(held)
    assert users | held == set(log.user.tolist())
    assert len(held) == round(0.3 * 13), "of those who have a row"
    assert len(first) + len(later) == len(log)
    assert set(split_holdout_users(log, 0.3, seed=2)[1].user.tolist()) != held


def test_the_sessions_of_ddpg_are_with_holdout_users_alone() -> None:
    log = mixed_log()
    training = training_of(
        {"pretrain.holdout_share": 0.4, "pretrain.updates": 8, "env.sessions": 64}, log
    )
    first, later = (
        set(part.user.tolist()) for part in split_holdout_users(log, 0.4, SMALL_SET.seed)
    )
    demonstrations, seen = training.demonstrations, []
    for _ in range(8):
        seen.append(next(demonstrations))
        training.agent.pretrain(seen[-1])
    starts = [batch for batch in seen if not batch.histories.elapsed.any()]
    assert len(starts) == 2, "horizon 4: sessions start anew in the stage"
    eligible = set(ColdStartEnv(log).eligible.tolist())
    assert set.union(*(users_met(batch, log) for batch in starts)) == first & eligible
    assert users_met(first_batch(training.environment), log) == later & eligible
    assert users_met(next(demonstrations), log) == eligible  # the supervised term goes on with all


def test_nobody_outside_the_train_rows_is_met() -> None:
    """Whatever the others rated, sessions and demonstrations are the same."""
    log = mixed_log(40)
    train, _, _ = split_users(log.n_users, (0.5, 0.3, 0.2))
    known = torch.isin(log.user, train)
    flipped = replace(log, rating=torch.where(known, log.rating, 6 - log.rating))
    seen = []
    for everybody in (log, flipped):
        training = training_of({"env.sessions": 64}, everybody.select(known))
        batches = [first_batch(training.environment), next(training.demonstrations)]
        assert all(users_met(batch, log) <= set(train.tolist()) for batch in batches)
        seen.append(batches + [next(training.demonstrations) for _ in range(2)])
    for ours, theirs in zip(*seen, strict=True):
        assert_same(ours, theirs)


def test_a_training_goes_on_from_its_saved_parts(tmp_path) -> None:
    """In pretraining and in DDPG, to the last bit, with holdout users; the parts that are loaded
    into have been trained."""
    changes = {"pretrain.updates": 4, "pretrain.holdout_share": 0.3}
    whole = training_of(changes)
    for stage in (pretrain, lambda *how: list(learn(*how))):
        stage(whole, 2)
        states = {name: part.state_dict() for name, part in whole._asdict().items()}
        torch.save(states, tmp_path / "state.pt")
        resumed = training_of(changes)
        pretrain(resumed, 1)
        states = torch.load(tmp_path / "state.pt", weights_only=True)
        for name, part in resumed._asdict().items():
            part.load_state_dict(states[name])
        for training in (whole, resumed):
            stage(training, 2)
        after = weights_of(resumed.agent)
        assert all(torch.equal(after[name], w) for name, w in weights_of(whole.agent).items())
        whole.agent.start_ddpg()
