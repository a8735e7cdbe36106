"""Simulated users with consequences, in Gymnasium's form: its checker, what is seen and refused."""

import pickle

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from synthetic import write_movielens
from test_consequences import N_ITEMS, N_USERS, films_of, simulator_of

from recsys_rl.data.effects import WIDTH
from recsys_rl.embeddings.rating_factors import RatingFactors
from recsys_rl.envs.consequences import Consequence, ConsequencesEnv
from recsys_rl.envs.gym_simulated import ID, K, score_function
from recsys_rl.evaluation.sessions import whole_sessions

STEPS = 6


def factors_of() -> RatingFactors:
    draw = torch.Generator().manual_seed(0)
    return RatingFactors(*(torch.randn(n, 2, generator=draw) for n in (N_USERS, N_ITEMS)))


def made(dial: float = 0.5, **options) -> gymnasium.Env:
    consequence = Consequence(films_of(), "satisfaction", dial)
    parts = {"simulator": simulator_of(), "consequence": consequence, "factors": factors_of()}
    return gymnasium.make(ID, **{"horizon": STEPS} | parts | options)


@pytest.mark.filterwarnings("ignore:.*Box observation space .*infinity")
def test_the_checker_has_nothing_to_say():
    check_env(made().unwrapped, skip_render_check=True)


def test_it_can_be_sent_to_another_process():
    there = pickle.loads(pickle.dumps(made().unwrapped))
    there.reset(seed=0)


def test_a_session_shows_films_once_and_ends_with_the_time():
    env = made()
    _, info = env.reset(seed=1)
    shown, known = [], N_ITEMS - info["mask"].sum()
    assert 0 <= known <= 3
    for step in range(STEPS):
        assert info["mask"].sum() == N_ITEMS - known - step
        seen, reward, terminated, truncated, info = env.step(0)
        shown.append(info["item"])
        assert reward > 0
        assert (terminated, truncated) == (step == STEPS - 1, False)
    assert len(set(shown)) == STEPS
    assert seen[2] > 0.2  # films of few ratings made the user content
    with pytest.raises(ResetNeeded):
        env.step(0)


@pytest.mark.parametrize("action", [-1, N_ITEMS, 0.5, "film"])
def test_what_is_no_film_is_refused(action):
    env = made()
    env.reset(seed=0)
    with pytest.raises(ValueError, match="an action is an item"):
        env.unwrapped.step(action)


def test_a_policy_is_judged_as_others_are():
    consequence = Consequence(films_of(), "satisfaction", 0.5)
    env = ConsequencesEnv(simulator_of(), consequence, horizon=STEPS)

    def rare(observations: np.ndarray) -> np.ndarray:
        assert observations.shape[1] == 2 + WIDTH + 1
        return np.tile(-np.arange(N_ITEMS, dtype=np.float32), (len(observations), 1))

    score = score_function(rare, factors_of(), films_of(), STEPS)
    found = whole_sessions(score, env)
    assert found.mean()["length"] == STEPS
    assert found.top.max() < STEPS + 3


def test_it_is_made_of_a_data_set(tmp_path):
    write_movielens(tmp_path / "tiny", "ml-1m", 80, 240)
    env = gymnasium.make(ID, root=tmp_path, dataset="tiny", dial=0.25, judged_in="B", part="test")
    seen, info = env.reset(seed=0)
    assert seen.shape == (K + WIDTH + 1,)
    again, same = env.reset(seed=3, options={"user": info["user"]})
    assert same["user"] == info["user"]
    assert np.isfinite(again).all()


@pytest.mark.parametrize("dial", ["a", None, True, [1], torch.tensor([0.1, 0.2]), float("nan"), 2])
def test_a_dial_is_a_number_within_0_and_1(dial):
    with pytest.raises(ValueError, match="dial is within 0 .. 1, not"):
        Consequence(torch.zeros(3, WIDTH), dial=dial)


@pytest.mark.parametrize(
    "users", [[0], 0, torch.tensor(0), torch.tensor([0.0]), torch.tensor([], dtype=torch.int64)]
)
def test_users_are_indices(users):
    with pytest.raises(ValueError, match=r"users are a tensor int64 \[(U|1)\], not"):
        made(users=users)


@pytest.mark.parametrize("part", ["simulator", "consequence", "factors"])
def test_parts_are_of_their_types(part):
    with pytest.raises(ValueError, match=f"{part}: .* is needed, not 3"):
        made(**{part: 3})
