"""How an agent explores: random items, and noise on its action."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from toys import SMALL, SMALL_SET, changed, mixed_log

from recsys_rl.agent.build import build
from recsys_rl.agent.ddpg import DDPG
from recsys_rl.agent.exploration import OUNoise, epsilon_greedy
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


def agent_of(sessions: int, epsilon: float, sigma: float, **changes: Any) -> DDPG:
    """An agent for so many sessions that step together."""
    config = changed(SMALL, {"ddpg.epsilon": epsilon, "ddpg.ou_sigma": sigma} | changes)
    return DDPG(config.with_field("env.sessions", sessions), N_USERS, N_ITEMS)


def alike(size: int) -> Histories:
    """The same history for everybody."""
    item = torch.tensor([1, 2, 3]).expand(size, -1)
    return Histories(torch.zeros(size, dtype=torch.int64), item, torch.full((size, 3), 5.0))


def nothing_excluded(size: int) -> Tensor:
    return torch.zeros(size, N_ITEMS, dtype=torch.bool)


# ------------------------------------------------------------------------------- random items


def test_without_epsilon_and_noise_the_best_item_is_shown() -> None:
    agent = agent_of(8, epsilon=0.0, sigma=0.0)
    histories, excluded = alike(8), nothing_excluded(8)
    assert torch.equal(agent.explore(histories, excluded), agent.act(histories, excluded))


def test_with_epsilon_one_every_item_is_as_likely() -> None:
    agent = agent_of(6000, epsilon=1.0, sigma=0.0)
    excluded = nothing_excluded(6000)
    excluded[:, [0, 5, 7, 23]] = True
    share = agent.explore(alike(6000), excluded).bincount(minlength=N_ITEMS) / 6000
    expected = (~excluded[0]).float() / 20
    torch.testing.assert_close(share, expected, atol=0.012, rtol=0)
    assert (share[excluded[0]] == 0).all()


def test_epsilon_is_the_share_of_random_items() -> None:
    agent = agent_of(4000, epsilon=0.25, sigma=0.0)
    histories, excluded = alike(4000), nothing_excluded(4000)
    other = agent.explore(histories, excluded) != agent.act(histories, excluded)
    share = 0.25 * (1 - 1 / N_ITEMS)  # a random item may be the best one
    assert float(other.float().mean()) == pytest.approx(share, abs=0.025)


@pytest.mark.parametrize("sigma", [0.0, 3.0])
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 1.0])
def test_an_excluded_item_is_never_shown(epsilon: float, sigma: float) -> None:
    """From one item left to all of them."""
    size = 24 * 20
    agent, generator = agent_of(size, epsilon, sigma), generator_of(1)
    left = torch.arange(size) % N_ITEMS + 1
    for _ in range(5):
        excluded = torch.rand(size, N_ITEMS, generator=generator).argsort(1) >= left.unsqueeze(1)
        item = agent.explore(alike(size), excluded)
        assert not excluded.gather(1, item.unsqueeze(1)).any()


def test_a_session_with_nothing_left_does_not_stop_the_others() -> None:
    excluded = nothing_excluded(3)
    excluded[1] = True
    excluded[2, 1:] = True
    for seed in range(20):
        item = epsilon_greedy(torch.zeros(3).long(), excluded, 1.0, generator_of(seed))
        assert ((item >= 0) & (item < N_ITEMS)).all()
        assert int(item[2]) == 0


def test_exploring_draws_from_the_agents_own_generator() -> None:
    agents = [agent_of(50, epsilon=0.5, sigma=0.3, seed=seed) for seed in (0, 0, 1)]
    torch.manual_seed(0)
    ours, theirs, others = (a.explore(alike(50), nothing_excluded(50)) for a in agents)
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, others)


# -------------------------------------------------------------------------------------- noise


def test_noise_changes_what_is_shown_and_each_session_has_its_own() -> None:
    agent = agent_of(200, epsilon=0.0, sigma=1.0)
    first, second = (agent.explore(alike(200), nothing_excluded(200)) for _ in range(2))
    for shown in (first, second):
        assert len(shown.unique()) > 5
    assert not torch.equal(first, second)


@pytest.mark.parametrize("name", ["DRR-seq", "DRR-set"])
def test_noise_does_not_touch_the_bias(name: str) -> None:
    """Where all items differ by their bias alone, no noise can change the order."""
    config = SMALL_SET if name == "DRR-set" else changed(SMALL, {"state.name": name})
    sigma = {"ddpg.ou_sigma": 100.0, "ddpg.epsilon": 0.0, "env.sessions": 50}
    agent = build(changed(config, sigma), LOG).agent
    agent.actor.linear = None
    vectors = agent.actor.state.item_vectors.weight.data
    vectors[:, :-1] = 0
    vectors[:-1, -1] = torch.linspace(1, 2, N_ITEMS)
    histories, excluded = alike(50), nothing_excluded(50)
    shown = agent.explore(histories, excluded)
    assert shown.tolist() == [N_ITEMS - 1] * 50
    vectors[:-1, :-1] = torch.randn(N_ITEMS, 6, generator=generator_of())
    assert len(agent.explore(histories, excluded).unique()) > 5, "the rest of the action moves"


def test_ornstein_uhlenbeck_statistics() -> None:
    """x' = (1 - theta) x + sigma e: its correlation is 1 - theta, its variance known too."""
    noise, generator = OUNoise(500, 4, sigma=0.2, theta=0.15), generator_of()
    walk = torch.stack([noise.sample(generator) for _ in range(200)])[50:]
    assert float(walk.mean()) == pytest.approx(0, abs=0.02)
    assert float(walk.var()) == pytest.approx(0.04 / (0.3 - 0.0225), rel=0.05)
    correlation = torch.corrcoef(torch.stack([walk[1:].flatten(), walk[:-1].flatten()]))[0, 1]
    assert float(correlation) == pytest.approx(0.85, abs=0.01)


def test_a_reset_starts_the_noise_from_zero() -> None:
    noise, generator = OUNoise(500, 4, sigma=0.2), generator_of()
    for _ in range(100):
        noise.sample(generator)
    noise.reset()
    assert float(noise.sample(generator).std()) == pytest.approx(0.2, rel=0.1)
