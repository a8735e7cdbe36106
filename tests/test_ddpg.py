"""The DDPG agent: its formulas, and what each update may and may not change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toys import (
    LEARNED,
    SMALL,
    SMALL_SET,
    changed,
    learn,
    mixed_log,
    pretrain,
    random_log,
    weights_of,
)

from recsys_rl.agent import ddpg
from recsys_rl.agent.build import GRADIENTS, Training, build
from recsys_rl.agent.ddpg import DDPG, Diverged
from recsys_rl.agent.demonstrations import NextItem
from recsys_rl.agent.networks import Actor
from recsys_rl.agent.replay import Transitions
from recsys_rl.data.histories import Histories
from recsys_rl.states.layers import PooledDropout
from recsys_rl.states.registry import STATES

N_USERS, N_ITEMS = 14, 24
LOG = mixed_log(N_USERS, N_ITEMS)


@pytest.fixture(autouse=True)
def _small_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four million numbers are drawn for every DRR-seq otherwise."""
    monkeypatch.setattr(PooledDropout, "SIZE", 2**12)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The actor learns from the first update on."""
    monkeypatch.setattr(ddpg.DDPG, "warmup", 0.0)


def agent_of(changes: dict[str, Any] | None = None) -> DDPG:
    """An agent with random vectors."""
    config = changed(SMALL, changes)
    return GRADIENTS[config.ddpg.gradient](config, N_USERS, N_ITEMS)


def set_agent(changes: dict[str, Any] | None = None) -> DDPG:
    """DRR-set beside the Gaussian."""
    return build(changed(SMALL_SET, changes), LOG).agent


def agent_named(name: str, changes: dict[str, Any] | None = None) -> DDPG:
    """By its state, or the paper's own form."""
    if name == "DRR-set":
        return set_agent(changes)
    if name == "paper":
        return agent_of({"ddpg.gradient": "deterministic"} | (changes or {}))
    return agent_of({"state.name": name} | (changes or {}))


def some_histories(size: int, generator: torch.Generator) -> Histories:
    """Histories without padding; 2, 3 or 4 of 4 steps are left."""
    user = torch.randint(N_USERS + 1, (size,), generator=generator)
    item = torch.rand(size, N_ITEMS, generator=generator).argsort(1)[:, :3]
    rating = torch.randint(3, 6, (size, 3), generator=generator).float()
    return Histories(user, item, rating, torch.arange(size) % 3 / 4)


def some_batch(size: int = 16, seed: int = 0, width: int = 6) -> Transitions:
    """A third of the returns are of 1 step, a third of 2, and a third reach the end.

    width: of the emitted vectors.
    """
    generator = torch.Generator().manual_seed(seed)
    return Transitions(
        some_histories(size, generator),
        torch.randint(N_ITEMS, (size,), generator=generator),
        torch.randn(size, generator=generator),
        some_histories(size, generator),
        torch.tensor([0, 0.9, 0.81])[torch.arange(size) % 3],
        torch.rand(size, width, generator=generator) * 2 - 1,
    )


def some_demonstration(seed: int = 9) -> NextItem:
    batch = some_batch(seed=seed)
    return NextItem(batch.histories, batch.item)


def updated(agent: DDPG, batch: Transitions, weights: Tensor | None = None):
    weights = torch.ones(len(batch.item)) if weights is None else weights
    return agent.update(batch, weights, some_demonstration())


def copy_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


# ------------------------------------------------------------------------------ acting and scoring


@pytest.mark.parametrize("name", STATES)
def test_different_users_get_different_scores_and_each_what_it_gets_alone(name: str) -> None:
    agent = agent_named(name)
    item = torch.tensor([[1, 2, 3], [7, 8, 9], [4, 5, 6]])
    histories = Histories(torch.tensor([0, 3, N_USERS]), item, torch.full((3, 3), 5.0))
    scores = agent.score(histories)
    assert scores.shape == (3, N_ITEMS)
    assert (torch.pdist(scores) > 1e-4).all()
    for row in range(3):
        alone = agent.score(histories.at(slice(row, row + 1)))[0]
        torch.testing.assert_close(scores[row], alone, rtol=1e-4, atol=1e-5)


def test_the_best_item_that_is_not_excluded_is_shown() -> None:
    agent, histories = agent_of(), some_batch().histories
    scores = agent.score(histories)
    excluded = torch.zeros(scores.shape, dtype=torch.bool)
    assert torch.equal(agent.act(histories, excluded), scores.argmax(1))
    second = scores.topk(2).indices
    excluded.scatter_(1, second[:, :1], True)
    assert torch.equal(agent.act(histories, excluded), second[:, 1])


def test_the_papers_actions_are_bounded() -> None:
    agent = agent_of()
    with torch.no_grad():
        for parameter in agent.actor.body.parameters():
            parameter *= 50
    action = agent.actor(some_batch().histories)
    assert action.shape == (16, 6)
    assert float(action.detach().abs().max()) <= 1


def test_scores_are_made_from_what_the_state_reads() -> None:
    """The paper's states read the latest n likes, DRR-seq whatever was rated."""
    user = torch.tensor([0])
    mixed = Histories(user, torch.tensor([[4, 1, 2, 3]]), torch.tensor([[5.0, 4.0, 1.0, 4.5]]))
    for name, read in {"DRR-ave": [4, 1, 3], "DRR-seq": [1, 2, 3]}.items():
        agent = agent_named(name)
        alone = Histories(user, torch.tensor([read]), torch.full((1, 3), 5.0))
        torch.testing.assert_close(agent.score(mixed), agent.score(alone))


@pytest.mark.parametrize("name", ["DRR-ave", "DRR-seq", "DRR-set"])
def test_acting_and_scoring_draw_nothing_and_learn_nothing(name: str) -> None:
    agent, histories = agent_named(name), some_batch().histories
    before, draws = weights_of(agent), agent.generator.get_state()
    excluded = torch.zeros(len(histories), N_ITEMS, dtype=torch.bool)
    first, second = ((agent.score(histories), agent.act(histories, excluded)) for _ in range(2))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(first, second, strict=True))
    assert not first[0].requires_grad
    assert same(before, weights_of(agent))
    assert torch.equal(draws, agent.generator.get_state())


# ------------------------------------------------------------------------------ critic and targets


def targets_by_hand(agent: DDPG, batch: Transitions) -> Tensor:
    """y = r + gamma^m Q'(s', the item that pi' shows), or Q'(s', pi'(s')) in the paper's form."""
    actor, critic = agent.target_actor, agent.target_critic
    expected = []
    for row in range(len(batch.item)):
        after = batch.next_histories.at(slice(row, row + 1))
        if agent.keeps_action:
            q = critic(after, actor(after))
        else:
            scores = actor.score(after)[0]
            scores[[i for i in after.item[0].tolist() if i < N_ITEMS]] = -torch.inf
            q = critic(after, scores.argmax().unsqueeze(0))
        expected.append(float(batch.reward[row]) + float(batch.discount[row]) * float(q.detach()))
    return torch.tensor(expected)


FORMS = "DRR-ave", "DRR-seq", "DRR-set", "paper"


@pytest.mark.parametrize("name", FORMS)
def test_targets_by_hand(name: str) -> None:
    agent, batch = agent_named(name), some_batch()
    with torch.no_grad():  # the online networks must not matter
        for parameter in (*agent.actor.parameters(), *agent.critic.parameters()):
            parameter += 1
    targets = agent.targets(batch)
    assert not targets.requires_grad
    torch.testing.assert_close(targets, targets_by_hand(agent, batch), rtol=1e-4, atol=1e-4)
    over = batch.discount == 0
    assert torch.equal(targets[over], batch.reward[over])
    assert (targets != batch.reward)[~over].all()


def test_what_follows_an_end_is_never_asked_for() -> None:
    """Not even where it is no number."""
    agent, batch = set_agent(), some_batch()
    ended = batch._replace(discount=torch.zeros(16))
    agent.target_critic.value[2].weight.data.fill_(torch.nan)
    assert torch.equal(agent.targets(ended), batch.reward)


@pytest.mark.parametrize("name", FORMS)
def test_td_errors_and_the_weighted_loss_over_the_steps_left(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = {"state.linear": ""} if name == "DRR-set" else {}
    agent, batch = agent_named(name, alone), some_batch()
    monkeypatch.setattr(agent.critic, "train", lambda mode=True: None)  # no dropout
    weights = torch.rand(16, generator=torch.Generator().manual_seed(0))
    done = batch.action if name == "paper" else batch.item
    with torch.no_grad():
        expected = agent.critic(batch.histories, done) - agent.targets(batch)
    left = torch.tensor([1 + 0.9 + 0.81 + 0.729, 1 + 0.9 + 0.81, 1 + 0.9])[torch.arange(16) % 3]
    loss = (weights * expected**2 / left).mean()
    losses, td_error = updated(agent, batch, weights)
    torch.testing.assert_close(td_error, expected)
    assert not td_error.requires_grad
    assert losses["critic_loss"] == pytest.approx(float(loss), rel=1e-5)


def test_a_transition_of_weight_zero_teaches_nothing() -> None:
    results = []
    for shift in (0.0, 100.0):  # added to the reward of the transitions that do not count
        agent, batch = agent_of(), some_batch()
        weights = (torch.arange(16) < 8).float()
        updated(agent, batch._replace(reward=batch.reward + shift * (1 - weights)), weights)
        results.append(copy_of(agent.critic))
    assert same(*results)


@pytest.mark.parametrize("name", ["DRR-ave", "DRR-set"])
def test_the_critic_learns_the_value_of_the_item_that_was_shown(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One state, sixteen items and rewards: only whoever reads the item can tell them apart."""
    monkeypatch.setattr(ddpg.DDPG, "critic_lr", 1e-2)
    agent = agent_named(name, {"weight_decay": 0.0, "ddpg.updates": 2000})
    histories = some_histories(1, torch.Generator().manual_seed(3)).at(torch.zeros(16).long())
    reward = torch.randn(16, generator=torch.Generator().manual_seed(0))
    over = torch.zeros(16)
    batch = Transitions(histories, torch.arange(16), reward, histories, over)
    for _ in range(400):
        updated(agent, batch)
    q = agent.critic(histories, batch.item)
    assert float((q - reward).abs().mean().detach()) < 0.15


# ----------------------------------------------------------------------------------- the targets


def pairs_of(agent: DDPG) -> tuple[tuple[nn.Module, nn.Module], ...]:
    return (agent.target_actor, agent.actor), (agent.target_critic, agent.critic)


def test_the_targets_start_as_copies_that_move_on_their_own() -> None:
    agent = agent_of()
    for target, source in pairs_of(agent):
        assert same(copy_of(target), copy_of(source))
        before = copy_of(target)
        with torch.no_grad():
            for parameter in source.parameters():
                parameter += 1
        assert same(copy_of(target), before)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("name", FORMS)
def test_targets_move_by_exactly_tau(name: str) -> None:
    agent = agent_named(name, {"ddpg.tau": 0.25})
    before = [copy_of(target) for target, _ in pairs_of(agent)]
    updated(agent, some_batch())
    for old, (target, source) in zip(before, pairs_of(agent), strict=True):
        now, moved = source.state_dict(), 0
        for key, value in target.state_dict().items():
            torch.testing.assert_close(value, 0.75 * old[key] + 0.25 * now[key])
            moved += int(not torch.equal(value, old[key]))
        assert moved > 3


def test_target_networks_get_no_gradient() -> None:
    agent = agent_of()
    updated(agent, some_batch())
    for target, _ in pairs_of(agent):
        for parameter in target.parameters():
            assert not parameter.requires_grad
            assert parameter.grad is None


# ------------------------------------------------------------------------------------- the actor


def height(agent: DDPG, histories: Histories) -> float:
    """Mean Q of the policy; of its vector in the paper's form."""
    with torch.no_grad():
        if agent.keeps_action:
            return float(agent.critic(histories, agent.actor(histories)).mean())
        q = agent.critic.preferences(agent.actor.read(histories))
        return float((agent.actor.policy(histories) * q).sum(1).mean())


ALONE = {"ddpg.bc_weight": 0.0, "weight_decay": 0.0, "ddpg.actor_lr": 1e-3, "ddpg.updates": 1000}


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("name", FORMS)
def test_with_a_fixed_critic_the_actor_climbs_q(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its very first step must go up, and so must fifty."""
    monkeypatch.setattr(ddpg.DDPG, "critic_lr", 0.0)
    agent = agent_named(name, ALONE)
    agent.start_ddpg()
    batch, critic = some_batch(), copy_of(agent.critic)
    heights = [height(agent, batch.histories)]
    for _ in range(50):
        updated(agent, batch)
        heights.append(height(agent, batch.histories))
    assert same(critic, copy_of(agent.critic))
    assert heights[1] > heights[0]
    assert heights[-1] > heights[0] + 3 * (heights[1] - heights[0])


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("name", LEARNED)
def test_q_reaches_every_layer_of_the_actor(name: str) -> None:
    """Not only the vectors that score the items."""
    agent = agent_named(name, ALONE)
    agent.start_ddpg()
    before = copy_of(agent.actor)
    for seed in range(2):
        updated(agent, some_batch(seed=seed))
    still = [
        name for name, value in copy_of(agent.actor).items() if torch.equal(value, before[name])
    ]
    unread = {
        "DRR-p": ["state.user_vectors.weight"],  # DRR-p reads no user
        "DRR-seq-clock": [f"state.blocks.{n}.since" for n in range(2)],  # sessions have no clock
    }
    fixed = [f"linear.model.{name}" for name in ("item_vectors", "noise")]
    assert still == (fixed if name == "DRR-set" else unread.get(name, []))


def test_the_policy_loss_by_hand() -> None:
    """-E A / spread: advantages under the softmax, over the mean deviation of Q."""
    agent, histories = agent_of(), some_batch().histories
    policy, q = agent.actor.policy(histories), agent.critic.preferences(histories)
    expected, spreads, entropies = [], [], []
    for share, values in zip(policy.detach(), q, strict=True):
        spreads.append(values.std())
        shown = share[share > 0]
        entropies.append(-(shown * shown.log()).sum())
    advantage = q - (policy.detach() * q).sum(1, keepdim=True)
    expected = -(policy * advantage).sum(1).mean() / torch.stack(spreads).mean()
    loss, figures = agent.policy_loss(histories)
    torch.testing.assert_close(loss, expected)
    assert figures["q_spread"] == pytest.approx(float(torch.stack(spreads).mean()), rel=1e-4)
    assert figures["entropy"] == pytest.approx(float(torch.stack(entropies).mean()), rel=1e-4)
    ours, theirs = (
        torch.autograd.grad(each, list(agent.actor.parameters()), allow_unused=True)
        for each in (loss, expected)
    )
    for one, other in zip(ours, theirs, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_the_policy_loss_of_a_vector_by_hand() -> None:
    """-a . dQ/da, the mean length of the slopes scaled to 1; only the actor learns from it."""
    agent, histories = agent_named("paper"), some_batch().histories
    action = agent.actor(histories).detach().requires_grad_()
    q = agent.critic(histories, action)
    (slope,) = torch.autograd.grad(q.sum(), action)
    expected = -(action * slope).sum(1).mean() / slope.norm(dim=1).mean()
    loss, _ = agent.policy_loss(histories)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert all(parameter.grad is None for parameter in agent.critic.parameters())
    assert agent.actor.body[0].weight.grad.any()


def gradient(agent: DDPG, histories: Histories) -> dict[str, Tensor]:
    agent.actor.zero_grad()
    agent.policy_loss(histories)[0].backward()
    named = agent.actor.named_parameters()
    return {name: p.grad.clone() for name, p in named if p.grad is not None}


def scale_q(agent: DDPG, factor: float) -> None:
    last = agent.critic.value if agent.keeps_action else agent.critic.weight
    last.weight.data *= factor
    last.bias.data *= factor


@pytest.mark.parametrize("name", ["DRR-ave", "paper"])
def test_a_step_is_as_long_whatever_the_scale_of_q_is(name: str) -> None:
    """A larger gamma or reward multiplies Q; a level that all items share adds to it."""
    agent, histories = agent_named(name), some_batch().histories
    before = gradient(agent, histories)
    scale_q(agent, 50.0)
    for key, value in gradient(agent, histories).items():
        torch.testing.assert_close(value, before[key], rtol=1e-3, atol=1e-6)
    layer = agent.critic.value if agent.keeps_action else agent.critic.value[2]
    layer.bias.data += 1000
    for key, value in gradient(agent, histories).items():
        torch.testing.assert_close(value, before[key], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", ["DRR-ave", "paper"])
def test_a_critic_that_knows_no_difference_moves_nothing(name: str) -> None:
    agent, histories = agent_named(name), some_batch().histories
    scale_q(agent, 0.0)
    assert not any(value.any() for value in gradient(agent, histories).values())


def test_the_actors_update_leaves_the_critic_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its gradient passes through the critic but must not be stepped on."""
    for name in ("DRR-ave", "paper"):
        results = []
        for warmup in (0.0, 0.9):
            monkeypatch.setattr(ddpg.DDPG, "warmup", warmup)
            agent = agent_named(name)
            for seed in range(3):  # ended: targets would read the actor
                updated(agent, some_batch(seed=seed)._replace(discount=torch.zeros(16)))
            results.append(copy_of(agent.critic))
        assert same(*results)


@pytest.mark.parametrize(("updates", "alone"), [(12, 3), (10, 3), (2, 1), (1, 1)])
def test_in_a_quarter_of_the_updates_the_critic_learns_alone(updates: int, alone: int) -> None:
    agent = agent_of({"ddpg.updates": updates})
    agent.start_ddpg()
    before, critic = copy_of(agent.actor), copy_of(agent.critic)
    for update in range(updates):
        assert agent.warm == agent.supervised == (update >= alone)
        losses, _ = updated(agent, some_batch(seed=update))
        assert same(before, copy_of(agent.actor)) == (update < alone)
        assert ("actor_loss" in losses) == (update >= alone)
        assert not same(critic, copy_of(agent.critic))
    assert agent_of({"ddpg.bc_weight": 0.0, "ddpg.updates": 0}).supervised is False


@pytest.mark.usefixtures("at_once")
def test_actor_and_critic_come_to_rest_at_the_last_update() -> None:
    """Rates fall linearly, from the first update on, to 0."""
    agent = agent_of({"ddpg.updates": 4, "ddpg.actor_lr": 1e-2, "weight_decay": 0.0})
    agent.start_ddpg()
    for update in range(5):
        before = [
            network.clone() for network in (agent.actor.body[0].weight, agent.critic.read.weight)
        ]
        updated(agent, some_batch(seed=update))
        share = 1 - update / 4
        assert agent.actor_optimizer.param_groups[0]["lr"] == pytest.approx(1e-2 * share)
        assert agent.critic_optimizer.param_groups[0]["lr"] == pytest.approx(1e-3 * share)
        after = agent.actor.body[0].weight, agent.critic.read.weight
        moved = [not torch.equal(one, other) for one, other in zip(before, after, strict=True)]
        assert moved == [update < 4] * 2


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("name", ["DRR-ave", "paper"])
def test_published_ddpg_reads_no_demonstration(name: str) -> None:
    agent = agent_named(name, {"ddpg.bc_weight": 0.0})
    assert not agent.supervised
    losses, _ = agent.update(some_batch(), torch.ones(16), None)
    assert "actor_loss" in losses


@pytest.mark.usefixtures("at_once")
def test_the_supervised_term_pulls_towards_the_demonstrations() -> None:
    losses = []
    for weight in (0.0, 10.0):
        agent = agent_of({"ddpg.bc_weight": weight, "ddpg.actor_lr": 1e-2, "ddpg.updates": 100})
        agent.start_ddpg()
        for seed in range(30):
            updated(agent, some_batch(seed=seed))
        losses.append(float(some_demonstration().loss(agent.actor).detach()))
    assert losses[1] < losses[0] - 0.5


# ----------------------------------------------------------------------------- the critic's state


@pytest.mark.usefixtures("at_once")
def test_the_critic_of_drr_seq_reads_a_frozen_copy_of_the_pretrained_state() -> None:
    changes = {"state.name": "DRR-seq", "ddpg.actor_lr": 1e-2, "ddpg.tau": 0.5}
    training = build(changed(SMALL, changes), random_log(N_USERS, N_ITEMS))
    agent = training.agent
    pretrain(training, 3)
    agent.start_ddpg()
    pretrained, value = copy_of(agent.actor.state), agent.critic.value[0].weight.clone()
    list(learn(training, 3))
    assert same(pretrained, copy_of(agent.critic.state))
    assert same(pretrained, copy_of(agent.target_critic.state))
    assert not same(pretrained, copy_of(agent.actor.state))
    assert not torch.equal(value, agent.critic.value[0].weight)


@pytest.mark.parametrize("name", ["DRR-ave", "DRR-set"])
def test_the_critics_of_the_others_have_a_state_of_their_own(name: str) -> None:
    agent = agent_named(name)
    agent.pretrain(some_demonstration())
    before = copy_of(agent.critic)
    agent.start_ddpg()
    assert same(before, copy_of(agent.critic))
    updated(agent, some_batch())
    vectors = "state.item_vectors.weight"
    assert not torch.equal(before[vectors], agent.critic.state_dict()[vectors])


# ---------------------------------------------------------------------------- vectors and decay


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("name", LEARNED)
def test_padding_stays_zero_and_the_anonymous_user_is_learned(name: str) -> None:
    """Through both stages, decay and the targets' moves."""
    config = changed(SMALL, {"state.name": name, "weight_decay": 0.1, "ddpg.epsilon": 0.5})
    training = build(config, random_log(N_USERS, N_ITEMS))
    before = weights_of(training.agent)
    pretrain(training, 5)
    training.agent.start_ddpg()
    list(learn(training, 5))
    after = weights_of(training.agent)
    for network in ("actor", "critic", "target_actor", "target_critic"):
        key = f"{network}.state.item_vectors.weight"
        assert (after[key][-1] == 0).all()
        assert not torch.equal(after[key], before[key])
        key = f"{network}.state.user_vectors.weight"
        if name in ("DRR-u", "DRR-ave", "DRR-att"):
            assert not torch.equal(after[key][-1], before[key][-1])


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("name", ["DRR-ave", "DRR-seq"])
def test_all_networks_start_from_the_same_vectors_and_move_them(name: str) -> None:
    config = changed(SMALL, {"state.name": name, "state.embeddings": "pretrained"})
    training = build(config, random_log(N_USERS, N_ITEMS))
    before = weights_of(training.agent)
    for network in ("critic", "target_actor", "target_critic"):
        key = "state.item_vectors.weight"
        assert torch.equal(before[f"{network}.{key}"], before[f"actor.{key}"])
    pretrain(training, 3)
    training.agent.start_ddpg()
    list(learn(training, 3))
    for key, value in weights_of(training.agent).items():
        if "vectors" in key or ("weight" in key and "state" not in key):
            assert not torch.equal(before[key], value), key


@pytest.mark.usefixtures("at_once")
def test_layers_decay_and_vectors_do_not() -> None:
    agent = agent_of({"weight_decay": 100.0, "pretrain.lr": 1e-3})
    histories = replace(some_batch().histories, user=torch.zeros(16, dtype=torch.int64))
    batch = some_batch()._replace(histories=histories, next_histories=histories)
    before = weights_of(agent)
    for _ in range(3):
        agent.pretrain(NextItem(histories, batch.item))
    agent.update(batch, torch.ones(16), NextItem(histories, batch.item))
    after = weights_of(agent)
    for network, layer in (("actor", "body.2.weight"), ("critic", "weight.weight")):
        users = f"{network}.state.user_vectors.weight"
        assert torch.equal(before[users][1:], after[users][1:]), "users who were not met"
        assert not torch.equal(before[users][0], after[users][0])
        layer = f"{network}.{layer}"
        assert float(after[layer].norm()) < 0.95 * float(before[layer].norm())


def test_vectors_need_something_to_start_from() -> None:
    with pytest.raises(ValueError, match='state.embeddings="pretrained" needs embeddings'):
        agent_of({"state.embeddings": "pretrained"})


def test_a_state_that_is_not_registered_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no state 'DRR-xyz': choose among .*DRR-ave"):
        agent_of({"state.name": "DRR-xyz"})


# ------------------------------------------------------------------------------------ divergence


class Nonsense:
    """A demonstration whose loss is no number, although it depends on every layer."""

    def loss(self, actor: Actor) -> Tensor:
        return actor.scores(some_batch().histories).sum() * torch.nan


def all_of(agent: DDPG) -> dict[str, Tensor]:
    """Weights, Adam's moments and steps, and counts."""
    found = weights_of(agent) | {"counts": torch.tensor([agent.pretrained, agent.updated])}
    for name in ("actor", "critic"):
        moments = getattr(agent, f"{name}_optimizer").state_dict()["state"]
        found |= {f"{name} {i} {k}": v.clone() for i, m in moments.items() for k, v in m.items()}
    return found


@pytest.mark.parametrize("name", ["DRR-ave", "DRR-seq", "DRR-set"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_critic_that_diverges_changes_nothing(name: str, value: float) -> None:
    agent, batch = agent_named(name), some_batch()
    agent.pretrain(some_demonstration())
    agent.start_ddpg()
    updated(agent, batch)
    before = all_of(agent)
    with pytest.raises(Diverged, match="the loss is (nan|inf)"):
        updated(agent, batch._replace(reward=batch.reward.index_fill(0, torch.tensor(4), value)))
    assert same(before, all_of(agent))
    updated(agent, batch)  # it can go on
    assert all(torch.isfinite(weight).all() for weight in weights_of(agent).values())


@pytest.mark.parametrize("name", ["DRR-ave", "DRR-seq", "DRR-set"])
@pytest.mark.parametrize("stage", ["pretrain", "ddpg"])
@pytest.mark.usefixtures("at_once")
def test_an_actor_that_diverges_stays_as_it_was(name: str, stage: str) -> None:
    agent, batch = agent_named(name), some_batch()
    agent.pretrain(some_demonstration())
    actor, scores = copy_of(agent.actor), agent.actor.scores(batch.histories)
    counts = agent.pretrained, agent.updated
    update = {
        "pretrain": lambda: agent.pretrain(Nonsense()),
        "ddpg": lambda: agent.update(batch, torch.ones(16), Nonsense()),
    }[stage]
    with pytest.raises(Diverged, match="the loss is nan"):
        update()
    assert same(actor, copy_of(agent.actor))
    assert (agent.pretrained, agent.updated) == counts
    again = agent.actor.scores(batch.histories)
    assert torch.equal(scores, again), "it acts without dropout"
    assert all(torch.isfinite(weight).all() for weight in weights_of(agent).values())


# ----------------------------------------------------------------------------- what a save keeps


def state_after(training: Training, updates: int) -> dict[str, Tensor]:
    list(learn(training, updates))
    return weights_of(training.agent)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("form", ["expected", "deterministic"])
def test_a_loaded_agent_shares_no_memory_with_the_saved_one(form: str) -> None:
    config = SMALL.with_fields({"ddpg.gradient": form, "ddpg.ou_sigma": 0.1})
    ours, theirs = (build(config, LOG) for _ in range(2))
    pretrain(ours, 2)
    list(learn(ours, 2))
    for mine, yours in zip(ours, theirs, strict=True):
        yours.load_state_dict(mine.state_dict())
    state_after(theirs, 3)
    expected = build(config, LOG)
    pretrain(expected, 2)
    assert same(state_after(expected, 5), state_after(ours, 3))
