"""Users who leave, in Gymnasium's form: its checkers, what is seen, shown and refused."""

import pickle

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env, data_equivalence
from synthetic import write_movielens
from test_gym import run_elsewhere
from test_user_leaves import N_ITEMS, N_USERS, K, belief_of, gen, world_of

from recsys_rl.data.histories import Histories
from recsys_rl.embeddings.rating_factors import RatingFactors
from recsys_rl.envs import gym_common, gym_user_leaves
from recsys_rl.envs.gym_user_leaves import ACTIONS, ID, Features, GymUserLeavesEnv
from recsys_rl.envs.user_leaves import WINDOW, LeavingWorld, UserLeavesEnv, leaving_users

BOTH = pytest.mark.parametrize("action", ACTIONS)


def factors_of(world: LeavingWorld) -> RatingFactors:
    return RatingFactors(world.user, world.item)


def made(**options) -> gymnasium.Env:
    world = world_of()
    return gymnasium.make(ID, world=world, factors=factors_of(world), **options)


def actions_of(count: int, action: str = "item", seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    if action == "item":
        return draw.integers(N_ITEMS, size=count)
    return draw.uniform(-1, 1, (count, K)).astype(np.float32)


def play(env: gymnasium.Env, seed: int | None, action: str = "item", **options) -> list:
    """One session with random actions -> [(observation, reward, terminated, truncated, info)]."""
    observation, info = env.reset(seed=seed, options=options)
    steps = [(observation, 0.0, False, False, info)]
    for each in actions_of(30, action, seed=5):
        steps.append(env.step(each))
        if steps[-1][2]:
            return steps
    raise AssertionError("a session that does not end")


# ------------------------------------------------------------------------------------- Gymnasium


def test_it_can_be_sent_to_another_process():
    there = pickle.loads(pickle.dumps(made().unwrapped))
    there.reset(seed=0)


@BOTH
@pytest.mark.filterwarnings("ignore:.*Box observation space .*infinity")
def test_the_checkers_have_nothing_to_say(action):
    env = made(action=action).unwrapped
    check_env(env, skip_render_check=True)
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    checker.check_env(env)


@BOTH
def test_a_vector_of_environments_steps_like_its_parts(action):
    world = world_of()
    settings = {"world": world, "factors": factors_of(world), "action": action}
    together = gymnasium.make_vec(ID, num_envs=3, vectorization_mode="sync", **settings)
    alone = [GymUserLeavesEnv(**settings) for _ in range(3)]
    seen, info = together.reset(seed=5)
    starts = [env.reset(seed=5 + place) for place, env in enumerate(alone)]
    assert np.array_equal(seen, np.stack([start for start, _ in starts]))
    assert info["user"].tolist() == [info["user"] for _, info in starts]
    assert info["mask"].shape == (3, N_ITEMS)
    running = np.ones(3, dtype=bool)
    for step in range(30):
        actions = actions_of(3, action, seed=step)
        seen, reward, terminated, truncated, _ = together.step(actions)
        for place in np.flatnonzero(running):
            ours, *rest, _ = alone[place].step(actions[place])
            assert np.array_equal(ours, seen[place])
            assert rest == [reward[place], terminated[place], truncated[place]]
        running &= ~terminated
    assert not running.any()
    together.close()


def test_it_is_made_in_any_folder(tmp_path):
    write_movielens(tmp_path / "tiny", "csv", 80, 240)
    code = f"""
import gymnasium, recsys_rl
env = gymnasium.make("{ID}", root=".", dataset="tiny")
env.reset(seed=0)
print(env.step(env.action_space.sample())[1] >= 0)
try:
    gymnasium.make("{ID}", dataset="no-such-set")
except FileNotFoundError as error:
    print(error)
"""
    stepped, error = run_elsewhere(code, tmp_path).splitlines()
    assert stepped == "True"
    assert error.startswith(f"no-such-set is not in {gym_common.DATA_FOLDER}, and an environment")


@pytest.mark.parametrize("trained_in", ["truth", "model"])
def test_it_is_made_from_a_data_set(trained_in, tmp_path):
    write_movielens(tmp_path / "tiny", "csv", 80, 240)
    data = gym_common.interactions_of(tmp_path, "tiny")
    groups = [set(data.user_ids.id(users).tolist()) for users in leaving_users(data.n_users)]
    factors = []
    for part, expected in zip(gym_common.PARTS, groups, strict=True):
        settings = {"root": tmp_path, "dataset": "tiny", "part": part, "trained_in": trained_in}
        env = GymUserLeavesEnv(**settings)
        factors.append(env.factors.item)
        assert {env.reset(seed=seed)[1]["user"] for seed in range(200)} <= expected
        user = max(expected)
        assert env.reset(options={"user": user})[1]["user"] == user
        seen, *_, info = env.step(3)
        assert seen.shape == env.observation_space.shape
        assert info["item"] == data.item_ids.id(env.world.items)[3]
    assert torch.equal(factors[0], factors[1])
    assert torch.equal(factors[0], factors[2]), "of those held out nothing is learnt"


# --------------------------------------------------------------------------- what is seen and shown


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


def test_what_a_loop_makes_of_a_session_is_seen():
    world = world_of()
    item = factors_of(world).rotated().item
    places = (item - item.mean(0)) / item.std(0)
    env, belief = made(), belief_of(world)
    for seed in range(10):
        seen, _ = env.reset(seed=seed)
        assert not seen[K:].any(), "nothing was shown"
        shown, terminated = [], False
        for action in actions_of(30, seed=seed):
            if terminated:
                break
            seen, _, terminated, _, info = env.step(action)
            shown.append((places[info["item"]].numpy(), info["rating"]))
            last = [(np.zeros(K), 0.0)] * WINDOW + shown
            vectors, ratings = zip(*last[-WINDOW:], strict=True)
            expected = np.concatenate([*vectors, ratings, [len(shown) / 30]])
            np.testing.assert_allclose(seen[K:], expected, atol=1e-5)
            mean = belief.user(env.unwrapped.sessions.observation())[0]
            np.testing.assert_allclose(seen[:K], mean, atol=1e-5)


def test_padding_changes_no_observation():
    features = Features.of(factors_of(world_of()))
    item, rating = torch.tensor([[4, 7, 9], [1, 2, 3]]), torch.rand(2, 3, generator=gen()) * 5
    users, elapsed = torch.tensor([N_USERS] * 2), torch.tensor([0.1, 0.1])
    wide = torch.full((2, 9), N_ITEMS), torch.zeros(2, 9)
    padded = torch.cat([wide[0], item], 1), torch.cat([wide[1], rating], 1)
    seen = [
        features.observation(Histories(users, *rows, elapsed)) for rows in ((item, rating), padded)
    ]
    assert torch.allclose(*seen, atol=1e-5)


def test_a_vector_shows_the_nearest_item():
    env = made(action="vector")
    item = factors_of(world_of()).rotated().item
    points = ((item - item.mean(0)) / item.std(0)).numpy()
    for seed in range(20):
        env.reset(seed=seed)
        action = env.action_space.sample()
        nearest = np.linalg.norm(points - 2 * action, axis=1).argmin()
        assert env.step(action)[-1]["item"] == nearest


def test_a_constant_column_gives_no_nan():
    item = torch.cat([torch.ones(N_ITEMS, 1), torch.randn(N_ITEMS, 1, generator=gen())], 1)
    users = torch.eye(2).repeat(20, 1)
    assert torch.isfinite(Features.of(RatingFactors(users, item)).places).all()


# ---------------------------------------------------------------------------------------- chance


@BOTH
def test_a_seed_decides_everything(action):
    env, other = made(action=action), made(action=action)
    starts = set()
    for seed in range(4):
        env.reset()  # whatever came before
        first = play(env, seed, action)
        assert data_equivalence(first, play(other, seed, action), exact=True)
        following = [env.reset() for _ in range(3)]
        assert data_equivalence(following, [other.reset() for _ in range(3)], exact=True)
        starts.add(first[0][-1]["user"])
    assert len(starts) > 1
    env.reset(seed=0)
    following = env.reset()
    env.reset(seed=0, options={"user": 3})
    assert data_equivalence(env.reset(), following), "a named user moves no later session"


def test_all_chance_is_the_environments_own_np_random():
    state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    env, other = made().unwrapped, made().unwrapped
    play(env, 3)
    for each in (env, other):
        each.np_random = np.random.default_rng(7)
    starts = [[each.reset() for _ in range(5)] for each in (env, other)]
    assert data_equivalence(*starts, exact=True)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002


# -------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"action": "word"}, "action is one of"),
        ({"part": "all"}, "part is one of"),
        ({"trained_in": "dream"}, "trained_in is one of"),
        ({"factors": None}, "come together"),
        ({"world": None}, "come together"),
        ({"factors": RatingFactors(torch.ones(4, 2), torch.ones(3, 2))}, "3 vectors for 30 items"),
        ({"users": torch.tensor([N_USERS])}, "users are within"),
        ({"users": [0]}, r"users are a tensor int64 \[U\], not list"),
        ({"users": torch.tensor(0)}, r"users are a tensor int64 \[U\], not int64 \[\]"),
        ({"users": torch.tensor([], dtype=torch.int64)}, r"users are a tensor int64 \[U\]"),
        ({"world": 3, "factors": 3}, "world: LeavingWorld is needed"),
        ({"factors": 3}, "factors: RatingFactors is needed"),
        ({"render_mode": "human"}, "no render mode"),
    ],
)
def test_options_are_refused_in_a_sentence(options, words):
    world = world_of()
    known = {"world": world, "factors": factors_of(world)}
    with pytest.raises(ValueError, match=words):
        GymUserLeavesEnv(**known | options)


@pytest.mark.parametrize(
    "action", [-1, N_ITEMS, 10**30, 1.5, [1, 2], None, "7", True, torch.tensor(True)]
)
def test_what_is_no_item_is_refused(action):
    env = made().unwrapped
    env.reset(seed=0)
    with pytest.raises(ValueError, match="an action is an item"):
        env.step(action)


@pytest.mark.parametrize("action", [[np.nan] * K, [2.0] * K, [0.0], "up", None, [[0.0], [0, 1]]])
def test_what_is_no_vector_is_refused(action):
    env = made(action="vector").unwrapped
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"an action (is real numbers \[3\]|lies in -1 .. 1)"):
        env.step(action)


def test_an_item_may_be_of_any_whole_type():
    for item in (4, np.int32(4), np.array(4), torch.tensor(4)):
        env = made()
        env.reset(seed=0)
        assert env.unwrapped.step(item)[-1]["item"] == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        *(({"user": user}, f"user {user} is not here") for user in (N_USERS, -1, 10**30)),
        *(({"user": user}, "whole number") for user in ("7", 7.0, True, [7])),
        ({"users": 7}, r"unknown options \['users'\]"),
        (["user"], "options are a dict, not list"),
    ],
)
def test_options_of_a_reset_that_are_refused_change_nothing(options, words):
    env, other = made(), made()
    for each in (env, other):
        each.reset(seed=1)
    with pytest.raises(ValueError, match=words):
        env.reset(seed=2, options=options)
    assert data_equivalence(env.step(3), other.step(3))
    assert data_equivalence(env.reset(), other.reset())


def test_a_world_is_made_once_for_the_same_data(tmp_path, monkeypatch):
    write_movielens(tmp_path / "mine", "csv")
    made = []
    monkeypatch.setattr(gym_user_leaves, "_KEPT", {})
    original = gym_user_leaves._made
    monkeypatch.setattr(gym_user_leaves, "_made", lambda *a: made.append(a) or original(*a))
    first, second, other = (
        gymnasium.make(ID, root=tmp_path, dataset="mine", **options)
        for options in ({}, {"part": "test"}, {"trained_in": "model"})
    )
    assert len(made) == 2
    assert first.unwrapped.world is second.unwrapped.world
    assert first.unwrapped.world is not other.unwrapped.world
    runs = [env.reset(seed=0)[1]["user"] for env in (first, second)]
    assert runs[0] != runs[1]
