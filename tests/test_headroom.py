"""Headroom by roll-outs, where the best plan is known."""

import pytest
import torch

from recsys_rl.data.effects import WIDTH
from recsys_rl.envs.consequences import Consequence, ConsequencesEnv
from recsys_rl.envs.simulated import Simulator
from recsys_rl.evaluation.headroom import headroom

N_ITEMS, STEPS, SESSIONS = 12, 4, 5


class SeedsLater(ConsequencesEnv):
    """Item 0 earns .1 and makes every later step worth 1 more; the others earn 1."""

    running = (*ConsequencesEnv.running, "_planted")

    def reset(self, **options):
        told = super().reset(**options)
        self._planted = torch.zeros(len(self.excluded))
        return told

    def rewards(self):
        earned = (1 + self._planted).unsqueeze(1).expand(-1, N_ITEMS).clone()
        earned[:, 0] = 0.1
        return earned

    def _reward(self, item, rating):
        earned = self.rewards().gather(1, item.clamp(max=N_ITEMS - 1).unsqueeze(1)).squeeze(1)
        self._planted += (item == 0).float()
        return earned


def env_of(kind=SeedsLater, dial=0.0):
    simulator = Simulator(torch.full((SESSIONS, N_ITEMS), 3.0))
    consequence = Consequence(torch.zeros(N_ITEMS, WIDTH), "satiation", dial)
    return kind(simulator, consequence, horizon=STEPS, sessions=SESSIONS)


def rewards(environment):
    return environment.rewards()


def test_the_best_plan_is_found():
    env = env_of()
    env.reset(seed=0)
    found = headroom(env, rewards, candidates=N_ITEMS, depth=STEPS)
    assert found.greedy.tolist() == [4.0] * SESSIONS
    torch.testing.assert_close(found.planned, torch.full((SESSIONS,), 0.1 + 3 * 2))
    torch.testing.assert_close(found.gain, found.planned - found.greedy)


def test_who_looks_one_step_ahead_is_greedy():
    env = env_of()
    env.reset(seed=0)
    assert headroom(env, rewards, candidates=N_ITEMS, depth=1).gain.tolist() == [0.0] * SESSIONS


@pytest.mark.parametrize("candidates", [1, 5, 100])
def test_without_consequences_there_is_nothing_to_win(candidates):
    simulator = Simulator(1 + 4 * torch.rand(SESSIONS, N_ITEMS, generator=torch.manual_seed(0)))
    consequence = Consequence(torch.zeros(N_ITEMS, WIDTH), "satisfaction", 0.0)
    env = ConsequencesEnv(simulator, consequence, horizon=STEPS, sessions=SESSIONS)
    env.reset(seed=0)
    found = headroom(env, rewards, candidates)
    torch.testing.assert_close(found.planned, found.greedy)
