"""The critic on problems whose Q is known by enumeration, and the policy that it leads to.

`tabular.py` has the problems; agent, replay and loop are the project's own.
"""

from __future__ import annotations

import pytest
import torch
from tabular import Problem, training_of

from recsys_rl.agent.build import Training
from recsys_rl.agent.ddpg import DDPG
from recsys_rl.agent.training import ddpg_update

UPDATES = 2000


def random_problem(gamma: float, finite: bool) -> Problem:
    """5 situations, 6 items; the best item is ahead by 2 % of the largest Q or more."""
    generator = torch.Generator().manual_seed(646)
    leads_to = torch.randint(5, (5, 6), generator=generator)
    return Problem(leads_to, torch.rand(5, 6, generator=generator), 5, gamma, finite)


def trained(problem: Problem, updates: int = UPDATES, **ddpg) -> DDPG:
    settings = {"epsilon": 0.9, "actor_lr": 3e-3, "tau": 0.05, "replay": "uniform"} | ddpg
    training: Training = training_of(problem, updates=updates, **settings)
    training.agent.start_ddpg()
    for _ in range(updates):
        ddpg_update(*training)
    return training.agent


def q_of(agent: DDPG, problem: Problem, step: int) -> torch.Tensor:
    """Q of every item in every situation -> [S, V]."""
    histories, items = problem.observed(step), range(problem.shape[1])
    return torch.stack(
        [agent.q(histories, torch.full((len(histories),), item)) for item in items], 1
    )


@pytest.mark.parametrize(
    ("gamma", "finite", "n_steps", "replay"),
    [
        (1.0, True, 1, "uniform"),
        (0.9, False, 1, "prioritized"),
        (0.9, False, 5, "prioritized"),
    ],
)
def test_tabular_q_is_known_by_enumeration(gamma, finite, n_steps, replay) -> None:
    problem = random_problem(gamma, finite)
    epsilon = 0.9 if n_steps == 1 else 0.5  # longer returns need steps without exploration
    agent = trained(problem, n_steps=n_steps, replay=replay, epsilon=epsilon)
    for step in range(problem.horizon if finite else 1):
        error = (q_of(agent, problem, step) - problem.q[step]).abs()[problem.allowed].max()
        assert float(error / problem.q.abs().max()) < 0.02
        best = problem.q[step].masked_fill(~problem.allowed, -torch.inf).argmax(1)
        assert torch.equal(agent.act(problem.observed(step), ~problem.allowed), best)


@pytest.mark.parametrize(("gamma", "first"), [(0.0, 1), (1.0, 2)])
def test_tabular_the_myopic_choice_is_wrong(gamma: float, first: int) -> None:
    """Two steps: item 1 earns .3 now and nothing later, item 2 nothing now and 1 later."""
    leads_to = torch.tensor([[0, 1, 2, 0], [1, 1, 1, 1], [2, 2, 2, 2]])
    reward = torch.tensor([[0, 0.3, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1.0]])
    problem = Problem(leads_to, reward, 2, gamma, finite=True)
    agent = trained(problem, updates=300, n_steps=1)
    assert int(agent.act(problem.observed(0), ~problem.allowed)[0]) == first


def test_tabular_enumeration_itself() -> None:
    """Two situations, by hand: the last step is worth its reward, the one before both."""
    leads_to, reward = torch.tensor([[0, 1], [0, 1]]), torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    finite = Problem(leads_to, reward, 2, 1.0, finite=True)
    assert finite.q[1].tolist() == reward.tolist()
    assert finite.q[0][finite.allowed].tolist() == [3.0, 3.0]  # 0 -> 1 and back, 1 -> 0 and on
    endless = Problem(leads_to, reward, 2, 0.5, finite=False)
    there, back = endless.q[0][endless.allowed].tolist()
    assert there == pytest.approx(1 + 0.5 * back)
    assert back == pytest.approx(2 + 0.5 * there)
