"""Critics against their formulas, and what each of them reads."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from toys import SMALL, histories_of, mixed_log

from recsys_rl.agent.networks import Actor, Critic, ItemCritic, VectorCritic, steps_left
from recsys_rl.baselines.gaussian import GaussianLikes
from recsys_rl.data.histories import SHOWN, Histories
from recsys_rl.states.drr import DRRave
from recsys_rl.states.drr_set import DRRset
from recsys_rl.states.layers import PooledDropout
from recsys_rl.states.linear import GatedLinear

N_ITEMS, K, N, HORIZON, GAMMA = 24, 5, 6, 4, 0.9
ELAPSED = torch.tensor([0.0, 0.5, 0.75])  # 4, 2 and 1 of 4 steps are left
USERS = replace(
    histories_of([(1, 5.0), (2, 5.0), (4, SHOWN)], [(5, SHOWN)], [(7, 4.0)], n_items=N_ITEMS),
    elapsed=ELAPSED,
)
LEFT = torch.tensor([1 + 0.9 + 0.81 + 0.729, 1 + 0.9, 1])


@pytest.fixture(autouse=True)
def small_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state draws four million numbers for its dropout; fewer do here."""
    monkeypatch.setattr(PooledDropout, "SIZE", 2**12)


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def state_of() -> DRRset:
    state = DRRset(3, N_ITEMS, K, N)
    state.initialise(gen())
    with torch.no_grad():
        state.item_vectors.weight[:-1] += torch.randn(N_ITEMS, K + 1, generator=gen(1))
    return state


def gaussian() -> GaussianLikes:
    return GaussianLikes.fit(mixed_log(), 3, gen(), 0.1, N)


def item_critic(linear: bool = False, gamma: float = GAMMA) -> ItemCritic:
    beside = GatedLinear(gaussian(), N, gen()) if linear else None
    return initialised(ItemCritic(state_of(), beside, HORIZON, gamma))


def vector_critic() -> VectorCritic:
    return initialised(VectorCritic(state_of(), HORIZON, GAMMA))


def initialised(critic: Critic) -> Critic:
    critic.initialise(gen(2))
    return critic.eval()


def all_q(critic: ItemCritic, histories: Histories = USERS) -> Tensor:
    """Q of every item, one after another -> [B, V]."""
    items = [torch.full((len(histories),), item) for item in range(N_ITEMS)]
    return torch.stack([critic(histories, item) for item in items], 1)


def silence(layer: torch.nn.Linear) -> None:
    layer.weight.data.zero_()
    layer.bias.data.zero_()


# ------------------------------------------------------------------------------ what is left


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("step", range(5))
def test_steps_that_are_left_are_counted_with_the_discount(gamma: float, step: int) -> None:
    expected = sum(gamma**later for later in range(5 - step))
    found = steps_left(torch.tensor([step / 5]), 5, gamma)
    assert float(found) == pytest.approx(expected, rel=1e-3)


def test_where_no_limit_counts_all_steps_are_left_at_any_time() -> None:
    critic = item_critic()
    torch.testing.assert_close(critic.left(USERS), LEFT)
    endless = replace(USERS, elapsed=None)
    torch.testing.assert_close(critic.left(endless), LEFT[:1].expand(3))


# ------------------------------------------------------------------------------ Q of an item


@torch.no_grad()
@pytest.mark.parametrize("linear", [False, True])
def test_q_differs_between_items_between_users_and_with_the_time(linear: bool) -> None:
    critic = item_critic(linear)
    each = all_q(critic)
    assert each.shape == (3, N_ITEMS)
    assert (each.std(1) > 1e-3).all()
    assert (each.std(0) > 1e-3).all()
    sooner = all_q(critic, replace(USERS, elapsed=ELAPSED / 2 + 0.1))
    assert ((each - sooner).abs() > 1e-4).all()


@torch.no_grad()
def test_q_of_an_item_against_its_formula() -> None:
    """w(s) . v_i + now(s) + (n - 1) later(s), row by row."""
    critic = item_critic()
    for row in range(len(USERS)):
        told = torch.cat([critic.state(USERS.at(slice(row, row + 1)))[0], ELAPSED[row : row + 1]])
        hidden = F.relu(critic.read(told))
        now, later = critic.value(hidden)
        for item in (0, 9):
            expected = critic.weight(hidden) @ critic.item_vectors[item]
            expected = expected + now + (LEFT[row] - 1) * later
            found = critic(USERS, torch.full((3,), item))[row]
            torch.testing.assert_close(found, expected)


@torch.no_grad()
@pytest.mark.parametrize("linear", [False, True])
def test_preferences_are_what_differs_between_items(linear: bool) -> None:
    critic = item_critic(linear)
    differences = all_q(critic) - critic.preferences(USERS)
    expected = differences.mean(1, keepdim=True).expand_as(differences)
    torch.testing.assert_close(differences, expected, rtol=1e-4, atol=1e-4)
    assert not critic.preferences(USERS).requires_grad


@torch.no_grad()
def test_with_a_linear_model_the_preferences_start_from_the_reward_that_it_expects() -> None:
    critic = item_critic(linear=True)
    silence(critic.weight)
    expected = gaussian().score(USERS)
    torch.testing.assert_close(critic.preferences(USERS), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_with_a_linear_model_the_level_of_q_reads_two_numbers_alone() -> None:
    """What the model expects of its best items, and the time."""
    critic = item_critic(linear=True)
    young = 1 / (1 + ELAPSED * critic.horizon)
    outlook = torch.stack([critic.expected_reward(USERS), ELAPSED, young], 1)
    now, later = critic.value(outlook).unbind(1)
    level = all_q(critic) - critic.preferences(USERS)
    torch.testing.assert_close(level[:, 0], now + (LEFT - 1) * later, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_weights_of_items_read_the_user_vector() -> None:
    """Beside what it expects: without the model's part of the features w(s) differs."""
    critic = item_critic(linear=True)
    before = critic.preferences(USERS)
    critic.linear.gate.zero_()
    assert not torch.allclose(critic.preferences(USERS), before, atol=1e-3)


@torch.no_grad()
def test_what_was_read_is_not_needed_again() -> None:
    critic = item_critic(linear=True)
    torch.testing.assert_close(all_q(critic, critic.linear.read(USERS)), all_q(critic))


@torch.no_grad()
@pytest.mark.parametrize("gamma", [0.0, 0.9, 1.0])
def test_the_expected_reward_by_hand(gamma: float) -> None:
    """The best items that were not shown, as many as steps are left, discounted in this order."""
    critic = item_critic(linear=True, gamma=gamma)
    expected = []
    for row, count in enumerate((4, 2, 1)):
        means = gaussian().score(USERS.at(slice(row, row + 1)))[0]
        means[[i for i in USERS.item[row].tolist() if i < N_ITEMS]] = 0
        best = sorted(means.tolist(), reverse=True)[:count]
        total = sum(gamma**step * mean for step, mean in enumerate(best))
        expected.append(total / sum(gamma**step for step in range(count)))
    torch.testing.assert_close(critic.expected_reward(USERS), torch.tensor(expected))


@torch.no_grad()
def test_more_steps_than_items_expect_what_there_is() -> None:
    critic = ItemCritic(state_of(), GatedLinear(gaussian(), N, gen()), 2 * N_ITEMS, 1.0)
    start = replace(USERS, elapsed=torch.zeros(3))
    means = gaussian().score(start)
    for row in range(3):
        means[row, [i for i in USERS.item[row].tolist() if i < N_ITEMS]] = 0
    torch.testing.assert_close(critic.expected_reward(start), means.sum(1) / (2 * N_ITEMS))


def test_the_item_critics_gradient_reaches_state_weights_and_level() -> None:
    critic = item_critic()
    critic(USERS, torch.tensor([3, 9, 11])).sum().backward()
    layers = [critic.read, critic.weight, critic.value[0], critic.value[2]]
    assert all(layer.weight.grad.any() for layer in layers)
    gradient = critic.state.item_vectors.weight.grad
    assert {3, 9, 11} <= set(gradient.any(1).nonzero().squeeze(1).tolist())


def test_beside_a_linear_model_most_features_are_dropped_in_training() -> None:
    critic = item_critic(linear=True)
    assert critic.dropout.p == 0.8
    features = critic.dropout.train()(torch.ones(400, 256))
    assert float((features == 0).float().mean()) == pytest.approx(0.8, abs=0.02)
    assert item_critic().dropout.p == 0


# ---------------------------------------------------------------------------- Q of a vector


def some_vectors() -> Tensor:
    return torch.randn(3, K + 1, generator=gen(5))


@torch.no_grad()
def test_q_of_a_vector_against_its_formula() -> None:
    """The steps left times f([ReLU(W s), a])."""
    critic, action = vector_critic(), some_vectors()
    hidden = F.relu(critic.read(torch.cat([critic.state(USERS), ELAPSED.unsqueeze(1)], 1)))
    each = critic.value(F.relu(critic.join(torch.cat([hidden, action], 1)))).squeeze(1)
    torch.testing.assert_close(critic(USERS, action), LEFT * each)


def test_q_of_a_vector_has_a_slope() -> None:
    critic, action = vector_critic(), some_vectors().requires_grad_()
    critic(USERS, action).sum().backward()
    assert action.grad.any(1).all()


# ------------------------------------------------------------------------------- the policy


def actor_of() -> Actor:
    state = state_of()
    state.item_vectors.weight.data /= 50  # scores near each other: every item has a chance
    return Actor(state, GatedLinear(gaussian(), N, gen())).eval()


def test_a_policy_shows_nothing_twice() -> None:
    policy = actor_of().policy(USERS)
    torch.testing.assert_close(policy.sum(1), torch.ones(3))
    assert (policy == 0).nonzero().tolist() == [[0, 1], [0, 2], [0, 4], [1, 5], [2, 7]]


def test_the_item_that_is_shown_is_the_most_likely_one() -> None:
    actor = actor_of()
    assert torch.equal(actor.best(USERS), actor.policy(USERS).argmax(1))
    scores = actor.score(USERS)
    for row in range(3):
        named = torch.cat([USERS.item[row], scores[row].topk(3).indices])
        shown = actor.best(Histories(USERS.user[:1], named.unsqueeze(0), torch.ones(1, len(named))))
        assert int(shown) not in named.tolist()


def paper_actor() -> Actor:
    state = DRRave(3, N_ITEMS, K, SMALL.state.n)
    state.initialise(gen())
    actor = Actor(state)
    actor.initialise(gen(1))
    return actor.eval()


def at(share: float | None) -> Histories:
    return replace(USERS, user=torch.arange(3), elapsed=share and torch.full((3,), share))


@torch.no_grad()
def test_an_actor_that_never_saw_the_time_change_does_not_answer_to_it() -> None:
    """An agent of logged sessions may meet sessions that have an end."""
    actor = paper_actor()
    assert torch.equal(actor.score(at(None)), actor.score(at(0.75)))


def test_an_actor_learns_to_answer_to_the_time() -> None:
    actor = paper_actor()
    actor(at(0.75)).sum().backward()
    assert actor.body[0].weight.grad[:, -1].any()
    with torch.no_grad():
        actor.body[0].weight -= actor.body[0].weight.grad
        assert not torch.allclose(actor.score(at(None)), actor.score(at(0.75)))
