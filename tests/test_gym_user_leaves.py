"""Users who leave, in Gymnasium's form."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_for_sb3
from synthetic import write_movielens
from test_user_leaves import N_ITEMS, N_USERS, K, gen, world_of

import recsys_rl  # noqa: F401 - registers
from recsys_rl.embeddings.rating_factors import RatingFactors
from recsys_rl.envs.user_leaves import UserLeavesEnv

ID = "recsys_rl/UserLeaves-v0"


def made(**options) -> gymnasium.Env:
    world = world_of()
    return gymnasium.make(ID, world=world, factors=RatingFactors(world.user, world.item), **options)


@pytest.mark.parametrize("action", ["item", "vector"])
@pytest.mark.filterwarnings("ignore:.*Box observation space .*infinity")
def test_the_checkers_have_nothing_to_say(action):
    env = made(action=action).unwrapped
    check_env(env, skip_render_check=True)
    check_for_sb3(env)


def test_a_session_is_that_of_the_batched_form():
    env = made()
    _, info = env.reset(seed=3, options={"user": 5})
    assert info["user"] == 5
    first = env.unwrapped.sessions.observation().item
    batched = UserLeavesEnv(world_of(), generator=gen())
    batched.reset(options={"users": torch.tensor([5]), "seed_items": first})
    for item in (3, 9, 14, 3):
        seen, reward, terminated, truncated, info = env.step(item)
        histories, expected, over, _, _ = batched.step(torch.tensor([item]))
        assert reward == pytest.approx(float(expected))
        assert (terminated, truncated) == (bool(over), False)
        assert info["rating"] == reward
        assert seen[-1] == pytest.approx(float(histories.elapsed))
        assert info["mask"].all()
        if terminated:
            break
    assert terminated  # item 3 again, at the latest
    with pytest.raises(ResetNeeded):
        env.step(0)


def test_the_posterior_comes_near_the_user():
    env = made()
    env.reset(seed=0, options={"user": 7})
    for item in range(0, 8):
        seen, *_, terminated, _, _ = env.step(item)
        if terminated:
            break
    rotated = RatingFactors(world_of().user, world_of().item).rotated()
    if not terminated:
        np.testing.assert_allclose(seen[:K], rotated.user[7], atol=0.3)


def test_a_vector_shows_the_nearest_item():
    env = made(action="vector")
    env.reset(seed=0)
    points = env.unwrapped.standardised
    inside = (points.abs() <= 2).all(1).nonzero()[0].item()
    *_, info = env.step((points[inside] / 2).numpy())
    assert info["item"] == inside


def test_seeds_repeat_and_differ():
    seen = [made().reset(seed=seed)[0] for seed in (1, 1, 2)]
    assert np.array_equal(seen[0], seen[1])
    assert not np.array_equal(seen[0], seen[2])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"action": "word"}, "action is one of"),
        ({"part": "all"}, "part is one of"),
        ({"trained_in": "dream"}, "trained_in is one of"),
        ({"factors": None}, "come together"),
        ({"render_mode": "human"}, "no render mode"),
    ],
)
def test_options_are_refused_in_a_sentence(options, words):
    world = world_of()
    known = {"world": world, "factors": RatingFactors(world.user, world.item)}
    from recsys_rl.envs.gym_user_leaves import GymUserLeavesEnv

    with pytest.raises(ValueError, match=words):
        GymUserLeavesEnv(**known | options)


@pytest.mark.parametrize("action", [-1, N_ITEMS, 1.5, [1, 2], None, "7"])
def test_what_is_no_item_is_refused(action):
    env = made().unwrapped
    env.reset(seed=0)
    with pytest.raises(ValueError, match="an action is an item"):
        env.step(action)


@pytest.mark.parametrize("action", [[np.nan] * K, [2.0] * K, [0.0], "up"])
def test_what_is_no_vector_is_refused(action):
    env = made(action="vector").unwrapped
    env.reset(seed=0)
    with pytest.raises(ValueError, match="an action is 3 real numbers"):
        env.step(action)


def test_unknown_users_are_refused():
    env = made()
    for user in (N_USERS, -1, "7"):
        with pytest.raises(ValueError, match="is not here"):
            env.reset(options={"user": user})


def test_it_is_made_from_a_data_set(tmp_path):
    write_movielens(tmp_path / "tiny", "csv", 80, 240)
    env = gymnasium.make(ID, root=tmp_path, dataset="tiny", part="test", trained_in="model")
    _, info = env.reset(seed=0)
    again = env.reset(options={"user": info["user"]})[1]
    assert again["user"] == info["user"]
    assert env.step(0)[0].shape == env.observation_space.shape
