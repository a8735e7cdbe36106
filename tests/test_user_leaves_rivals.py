"""Agents of other libraries among users who leave: they are judged as they step, and recorded."""

from types import ModuleType

import numpy as np
import pytest
import torch
from synthetic import write_movielens
from test_gym_user_leaves import BOTH, factors_of, made
from test_user_leaves import N_ITEMS, K, world_of

from benchmarks import results
from recsys_rl.envs.gym_user_leaves import score_function
from recsys_rl.envs.user_leaves import WINDOW, UserLeavesEnv
from recsys_rl.evaluation.sessions import whole_sessions

ARGUMENTS = "--dataset", "tiny", "--seed", "3"


def policy_of(action: str, seed: int = 0):
    """A policy that shows different items at different observations: float32 [B, n] -> actions."""
    size = K + WINDOW * (K + 1) + 1
    width = N_ITEMS if action == "item" else K
    weights = np.random.default_rng(seed).standard_normal((size, width)).astype(np.float32)

    def act(seen: np.ndarray) -> np.ndarray:
        found = (seen[:, :, None] * weights).sum(1)  # in the same order whatever B is
        return found.argmax(1) if action == "item" else np.tanh(found)

    return act


@BOTH
def test_a_policy_is_judged_as_it_steps(action):
    """One batch of sessions, scored, against as many sessions in Gymnasium's form."""
    world, act = world_of(), policy_of(action)
    score = score_function(act, factors_of(world), action)
    envs = [made(action=action) for _ in range(12)]
    seen = [env.reset(seed=seed, options={"user": 3 * seed})[0] for seed, env in enumerate(envs)]
    first = torch.cat([env.unwrapped.sessions.observation().item for env in envs])
    batched = UserLeavesEnv(world, sessions=12)
    histories, _ = batched.reset(options={"users": torch.arange(0, 36, 3), "seed_items": first})
    running = [True] * 12
    for _ in range(30):
        scores = score(histories)
        assert scores.shape == (12, N_ITEMS)
        histories, reward, terminated, _, _ = batched.step(scores.argmax(1))
        for place in np.flatnonzero(running):
            chosen = act(seen[place][None])[0]
            seen[place], earned, over, _, info = envs[place].step(chosen)
            assert info["item"] == int(scores[place].argmax())
            assert earned == pytest.approx(float(reward[place]))
            assert over == bool(terminated[place])
            running[place] = not over
    assert not any(running)
    found = whole_sessions(score, UserLeavesEnv(world, users=torch.arange(0, 36, 3)), draws=2)
    assert 1 < found.mean()["length"] < 30
    with pytest.raises(ValueError, match="action is one of"):
        score_function(act, factors_of(world), "both")


# --------------------------------------------------------------------------- Stable-Baselines3's


@pytest.fixture(scope="module")
def rivals() -> ModuleType:
    pytest.importorskip("stable_baselines3", reason="a development dependency")
    from benchmarks import user_leaves_rivals

    return user_leaves_rivals


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rivals")
    write_movielens(folder / "tiny", "ml-1m", 80, 240)
    return folder


@pytest.mark.parametrize("agent", ["A2C", "PPO", "DQN", "TD3", "DDPG"])
def test_each_agent_is_trained_and_recorded(agent, rivals, root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(results, "PATH", tmp_path / "results.csv.xz")
    words = *ARGUMENTS, "--root", str(root), "--agent", agent, "--turns", "104"
    with torch.random.fork_rng():
        rivals.main([*words, "--users", "validation"])
        assert not results.PATH.exists()
        assert f"SB3 {agent}" in capsys.readouterr().out
        rivals.main([*words])
    key = {"dataset": "tiny", "split": "user-leaves", "agent": f"SB3 {agent}", "stage": "final"}
    found = results.means(protocol="user-leaves", **key).loc[3]
    assert found["return"] > 0
    assert 1 < found["length"] <= 30
    assert found["distinct"] >= 1
    kept = results.by_user("return", protocol="user-leaves", **key).loc[3]
    assert found["return"] == pytest.approx(kept.mean(), abs=1e-4)
    spent = results.means(protocol="training", **key).loc[3]
    assert spent["turns"] == 104
    assert spent["threads"] == 1
    assert spent["sampled"] in ((0, 1) if agent in ("A2C", "PPO") else (0,))
    assert spent["training_seconds"] > 0


def test_the_clock_stops_a_training(rivals, root):
    world = rivals.world_in(root, "tiny")
    with torch.random.fork_rng():
        model = rivals.train("A2C", world, seed=0, turns=10**9, minutes=0.5 / 60)
    assert 0 < model.num_timesteps < 10**6
    with torch.random.fork_rng():
        same = [rivals.train("DQN", world, 0, 200, 9).policy.state_dict() for _ in range(2)]
    assert all(torch.equal(same[0][name], same[1][name]) for name in same[0])
