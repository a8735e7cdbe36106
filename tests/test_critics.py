"""Q of items and its expectation under a policy, in both forms of the critic."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from toys import histories_of, mixed_log

from recsys_rl.agent.networks import CRITICS, Actor, BilinearCritic, Critic, JointCritic
from recsys_rl.baselines.gaussian import GaussianLikes
from recsys_rl.data.histories import SHOWN
from recsys_rl.states.drr_set import DRRset
from recsys_rl.states.layers import PooledDropout
from recsys_rl.states.linear import GatedLinear

N_ITEMS, K, N = 24, 5, 6
USERS = histories_of([(1, 5.0), (2, 5.0), (4, SHOWN)], [(5, SHOWN)], [(7, 4.0)], n_items=N_ITEMS)


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


def critic_of(form: str, linear: bool = False) -> Critic:
    beside = GatedLinear(gaussian(), N, gen()) if linear else None
    critic = CRITICS[form](state_of(), beside)
    critic.initialise(gen(2))
    return critic.eval()


def all_q(critic: Critic) -> Tensor:
    """Q of every item, one after another -> [B, V]."""
    items = [torch.full((len(USERS),), item) for item in range(N_ITEMS)]
    return torch.stack([critic(USERS, item) for item in items], 1)


def some_policy() -> Tensor:
    return torch.rand(len(USERS), N_ITEMS, generator=gen()).mul(3).softmax(1)


CASES = [("joint", False), ("bilinear", False), ("bilinear", True)]


@torch.no_grad()
@pytest.mark.parametrize(("form", "linear"), CASES)
def test_q_differs_between_items_and_between_users(form: str, linear: bool) -> None:
    each = all_q(critic_of(form, linear))
    assert each.shape == (3, N_ITEMS)
    assert (each.std(1) > 1e-3).all()
    assert (each.std(0) > 1e-3).all()


@torch.no_grad()
@pytest.mark.parametrize("linear", [False, True])
def test_the_bilinear_expectation_is_the_mean_of_q(linear: bool) -> None:
    critic, policy = critic_of("bilinear", linear), some_policy()
    expected = (policy * all_q(critic)).sum(1)
    torch.testing.assert_close(critic.expected(USERS, policy), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_joint_expectation_is_q_of_the_mean_vector() -> None:
    critic, policy = critic_of("joint"), some_policy()
    features = F.relu(critic.read(critic.state(USERS)))
    joined = torch.cat([features, policy @ critic.item_vectors], 1)
    expected = critic.value(F.relu(critic.join(joined))).squeeze(1)
    torch.testing.assert_close(critic.expected(USERS, policy), expected)
    certain = F.one_hot(torch.tensor([3, 9, 11]), N_ITEMS).float()
    of_items = critic(USERS, torch.tensor([3, 9, 11]))
    torch.testing.assert_close(critic.expected(USERS, certain), of_items)


@pytest.mark.parametrize(("form", "linear"), CASES)
def test_in_the_expectation_only_the_policy_learns(form: str, linear: bool) -> None:
    critic, logits = critic_of(form, linear), torch.zeros(3, N_ITEMS, requires_grad=True)
    critic.expected(USERS, logits.softmax(1)).sum().backward()
    assert logits.grad.any()
    assert critic.state.item_vectors.weight.grad is None
    assert critic.read.weight.grad is None


@torch.no_grad()
def test_the_bilinear_critic_against_its_formula() -> None:
    critic = critic_of("bilinear")
    for row in range(len(USERS)):
        hidden = F.relu(critic.read(critic.state(USERS.at(slice(row, row + 1)))[0]))
        for item in (0, 9):
            expected = critic.value(hidden) + critic.join(hidden) @ critic.item_vectors[item]
            found = critic(USERS, torch.full((3,), item))[row]
            torch.testing.assert_close(found, expected[0])


@torch.no_grad()
def test_with_a_linear_model_q_starts_from_the_reward_that_it_expects() -> None:
    critic = critic_of("bilinear", linear=True)
    critic.value.weight.zero_()
    critic.value.bias.zero_()
    critic.join.weight.zero_()
    critic.join.bias.zero_()
    torch.testing.assert_close(all_q(critic), gaussian().score(USERS), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_bilinear_critic_reads_the_user_vector() -> None:
    """Beside what it expects: without the model's part of the features V(s) and w(s) differ."""
    critic = critic_of("bilinear", linear=True)
    before = all_q(critic)
    critic.linear.gate.zero_()
    assert not torch.allclose(all_q(critic), before, atol=1e-3)


def test_the_critics_have_names() -> None:
    assert {"joint": JointCritic, "bilinear": BilinearCritic} == CRITICS


def test_a_policy_shows_nothing_twice() -> None:
    state = state_of()
    state.item_vectors.weight.data /= 50  # scores near each other: every item has a chance
    policy = Actor(state, GatedLinear(gaussian(), N, gen())).eval().policy(USERS)
    torch.testing.assert_close(policy.sum(1), torch.ones(3))
    assert (policy == 0).nonzero().tolist() == [[0, 1], [0, 2], [0, 4], [1, 5], [2, 7]]
