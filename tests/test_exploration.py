"""How an agent explores: items sampled from its policy, and noise on its action."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from toys import SMALL, SMALL_SET, changed, mixed_log

from recsys_rl.agent.build import build
from recsys_rl.agent.ddpg import DDPG
from recsys_rl.agent.exploration import (
    OUNoise,
    epsilon_sampled,
    sampled_items,
    session_epsilons,
)
from recsys_rl.agent.vector import VectorDDPG
from recsys_rl.data.histories import Histories
from recsys_rl.states.layers import PooledDropout

N_USERS, N_ITEMS = 14, 24
LOG = mixed_log(N_USERS, N_ITEMS)


@pytest.fixture(autouse=True)
def _small_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four million numbers are drawn for every DRR-seq otherwise."""
    monkeypatch.setattr(PooledDropout, "SIZE", 2**12)


def generator_of(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def agent_of(epsilon: float, sigma: float, **changes: Any) -> DDPG:
    config = changed(SMALL, {"ddpg.epsilon": epsilon, "ddpg.ou_sigma": sigma} | changes)
    return DDPG(config, N_USERS, N_ITEMS)


def alike(size: int) -> Histories:
    """The same history for everybody."""
    item = torch.tensor([1, 2, 3]).expand(size, -1)
    return Histories(torch.zeros(size, dtype=torch.int64), item, torch.full((size, 3), 5.0))


def nothing_excluded(size: int) -> Tensor:
    return torch.zeros(size, N_ITEMS, dtype=torch.bool)


# ------------------------------------------------------------------------------ sampled items


def test_without_epsilon_and_noise_the_best_item_is_shown() -> None:
    agent = agent_of(epsilon=0.0, sigma=0.0)
    histories, excluded = alike(8), nothing_excluded(8)
    choice = agent.explore(histories, excluded)
    assert torch.equal(choice.item, agent.act(histories, excluded))
    assert choice.greedy.all()
    assert choice.action is None


def test_items_are_sampled_by_the_softmax_of_the_scores() -> None:
    scores = torch.tensor([0.0, 1.0, 2.0, -1.0, 5.0]).log1p().expand(20_000, -1).clone()
    scores[:, 3] = 0.5
    excluded = torch.zeros(scores.shape, dtype=torch.bool)
    excluded[:, 4] = True
    shown = sampled_items(scores, excluded, generator_of())
    share = shown.bincount(minlength=5) / len(shown)
    weights = torch.tensor([1.0, 2.0, 3.0, torch.e**0.5, 0.0])
    torch.testing.assert_close(share, weights / weights.sum(), atol=0.01, rtol=0)
    assert (shown != 4).all()


def test_the_agent_samples_from_its_own_policy() -> None:
    """With an epsilon of 1 always, in every session."""
    agent = agent_of(epsilon=1.0, sigma=0.0)
    histories, excluded = alike(12_000), nothing_excluded(12_000)
    with torch.no_grad():
        policy = agent.actor.policy(histories.at(slice(0, 1)))[0]
    excluded.scatter_(1, histories.item, True)
    share = agent.explore(histories, excluded).item.bincount(minlength=N_ITEMS) / 12_000
    torch.testing.assert_close(share, policy, atol=0.015, rtol=0)


@pytest.mark.parametrize(
    ("mean", "ladder"),
    [(0.1, [0, 0.05, 0.1, 0.15, 0.2]), (0.0, [0.0] * 5), (0.8, [0.6, 0.7, 0.8, 0.9, 1])],
)
def test_every_session_has_its_own_share_of_exploring_steps(
    mean: float, ladder: list[float]
) -> None:
    """From 0 to twice the mean, or up to 1 from as far below it; a session alone has the mean."""
    torch.testing.assert_close(session_epsilons(5, mean), torch.tensor(ladder))
    torch.testing.assert_close(session_epsilons(1, mean), torch.tensor([mean]))


def test_each_session_explores_as_often_as_its_share_says() -> None:
    best, scores = torch.zeros(4000).long(), torch.zeros(4000, 9)
    scores[:, 0] = -torch.inf  # what is sampled is never the best one
    epsilon = torch.tensor([0.0, 0.25, 0.5, 1.0]).repeat(1000)
    shown = epsilon_sampled(best, scores, scores > 0, epsilon, generator_of())
    share = (shown != 0).float().view(1000, 4).mean(0)
    torch.testing.assert_close(share, epsilon[:4], atol=0.05, rtol=0)
    assert share[0] == 0
    assert share[3] == 1


def test_a_choice_says_whether_the_policy_would_have_made_it() -> None:
    """What is sampled may be the best item: then nothing is cut off behind it."""
    agent = agent_of(epsilon=0.5, sigma=0.0)
    histories, excluded = alike(2000), nothing_excluded(2000)
    choice = agent.explore(histories, excluded)
    assert torch.equal(choice.greedy, choice.item == agent.act(histories, excluded))
    assert choice.greedy[:20].float().mean() > 0.9
    assert not choice.greedy[1000:].all()


@pytest.mark.parametrize("sigma", [0.0, 3.0])
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 1.0])
def test_an_excluded_item_is_never_shown(epsilon: float, sigma: float) -> None:
    """From one item left to all of them."""
    size = 24 * 20
    agent, generator = agent_of(epsilon, sigma), generator_of(1)
    left = torch.arange(size) % N_ITEMS + 1
    noise = agent.new_noise(size)
    for _ in range(5):
        excluded = torch.rand(size, N_ITEMS, generator=generator).argsort(1) >= left.unsqueeze(1)
        item = agent.explore(alike(size), excluded, noise).item
        assert not excluded.gather(1, item.unsqueeze(1)).any()


def test_a_session_with_nothing_left_does_not_stop_the_others() -> None:
    excluded = nothing_excluded(3)
    excluded[1] = True
    excluded[2, 1:] = True
    for seed in range(20):
        scores = torch.randn(3, N_ITEMS, generator=generator_of(seed))
        item = epsilon_sampled(
            torch.zeros(3).long(), scores, excluded, torch.ones(3), generator_of(seed)
        )
        assert ((item >= 0) & (item < N_ITEMS)).all()
        assert int(item[2]) == 0


def test_exploring_draws_from_the_agents_own_generator() -> None:
    agents = [agent_of(epsilon=0.5, sigma=0.3, seed=seed) for seed in (0, 0, 1)]
    torch.manual_seed(0)
    ours, theirs, others = (
        a.explore(alike(50), nothing_excluded(50), a.new_noise(50)).item for a in agents
    )
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, others)


# -------------------------------------------------------------------------------------- noise


def test_noise_changes_what_is_shown_and_each_session_has_its_own() -> None:
    agent = agent_of(epsilon=0.0, sigma=1.0)
    histories, excluded, noise = alike(200), nothing_excluded(200), agent.new_noise(200)
    first, second = (agent.explore(histories, excluded, noise) for _ in range(2))
    for choice in (first, second):
        assert len(choice.item.unique()) > 5
        assert torch.equal(choice.greedy, choice.item == agent.act(histories, excluded))
    assert not torch.equal(first.item, second.item)


def test_without_a_size_there_is_no_noise_and_with_one_each_round_starts_at_zero() -> None:
    assert agent_of(epsilon=0.1, sigma=0.0).new_noise(9) is None
    agent = agent_of(epsilon=0.1, sigma=0.5)
    first = agent.new_noise(9)
    assert (first.x.shape, first.sigma) == ((9, 6), 0.5)
    first.sample(agent.generator)
    assert first.x.any()
    assert not agent.new_noise(9).x.any()


@pytest.mark.parametrize("sigma", [0.0, 0.5])
def test_the_papers_form_tells_the_vector_that_led_to_the_item(sigma: float) -> None:
    agent = VectorDDPG(
        changed(SMALL, {"ddpg.gradient": "deterministic", "ddpg.epsilon": 0.0}), N_USERS, N_ITEMS
    )
    histories, excluded = alike(50), nothing_excluded(50)
    noise = OUNoise(50, 6, sigma) if sigma else None
    choice = agent.explore(histories, excluded, noise)
    with torch.no_grad():
        own = agent.actor(histories)
        scores = agent.actor.scores(histories, choice.action)
    torch.testing.assert_close(choice.action, own + (noise.x if noise else 0.0))
    assert torch.equal(choice.item, scores.argmax(1))


@pytest.mark.parametrize("name", ["DRR-seq", "DRR-set"])
def test_noise_does_not_touch_the_bias(name: str) -> None:
    """Where all items differ by their bias alone, no noise can change the order."""
    config = SMALL_SET if name == "DRR-set" else changed(SMALL, {"state.name": name})
    sigma = {"ddpg.ou_sigma": 100.0, "ddpg.epsilon": 0.0}
    agent = build(changed(config, sigma), LOG).agent
    agent.actor.linear = None
    vectors = agent.actor.state.item_vectors.weight.data
    vectors[:, :-1] = 0
    vectors[:-1, -1] = torch.linspace(1, 2, N_ITEMS)
    histories, excluded, noise = alike(50), nothing_excluded(50), agent.new_noise(50)
    shown = agent.explore(histories, excluded, noise).item
    assert shown.tolist() == [N_ITEMS - 1] * 50
    vectors[:-1, :-1] = torch.randn(N_ITEMS, 6, generator=generator_of())
    assert len(agent.explore(histories, excluded, noise).item.unique()) > 5, (
        "the rest of the action moves"
    )


def test_ornstein_uhlenbeck_statistics() -> None:
    """x' = (1 - theta) x + sigma e: its correlation is 1 - theta, its variance known too."""
    noise, generator = OUNoise(500, 4, sigma=0.2, theta=0.15), generator_of()
    walk = torch.stack([noise.sample(generator) for _ in range(200)])[50:]
    assert float(walk.mean()) == pytest.approx(0, abs=0.02)
    assert float(walk.var()) == pytest.approx(0.04 / (0.3 - 0.0225), rel=0.05)
    correlation = torch.corrcoef(torch.stack([walk[1:].flatten(), walk[:-1].flatten()]))[0, 1]
    assert float(correlation) == pytest.approx(0.85, abs=0.01)
