"""Cold-start sessions in Gymnasium: its checker, who is met, what is seen, and SB3's DDPG."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env, data_equivalence
from synthetic import write_movielens
from toys import log_of, random_log

import recsys_rl
from benchmarks import results
from recsys_rl.data.histories import POSITIVE, SHOWN, Histories
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.rewards import Reward, liked_reward, paper_reward
from recsys_rl.envs import gym_common
from recsys_rl.envs.gym_common import direction, whole_number
from recsys_rl.envs.registration import (
    ID,
    GymColdStartEnv,
    flat_observation,
    item_vectors,
    load_users,
    score_function,
)
from recsys_rl.evaluation.sessions import cold_start_sessions

ROOT = Path(__file__).parents[1]
K = 5
OBSERVE = "items", "vectors"


def vectors_of(log: Interactions, seed: int = 0) -> torch.Tensor:
    return torch.randn(log.n_items, K, generator=torch.Generator().manual_seed(seed))


def users_of(seed: int = 0) -> Interactions:
    """Users with 2 to 26 items each; most like too few of them to be met."""
    return random_log(40, 30, seed)


def env_of(users: Interactions | None = None, **settings) -> GymColdStartEnv:
    users = users or users_of()
    return GymColdStartEnv(users, vectors_of(users), **({"horizon": 6} | settings))


def actions_of(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, K)).astype(np.float32)


def play(env: gymnasium.Env, seed: int | None, **options) -> list:
    """One session with random actions -> [(observation, reward, terminated, truncated, info)]."""
    observation, info = env.reset(seed=seed, options=options)
    steps = [(observation, 0.0, False, False, info)]
    for action in actions_of(99, seed=5):
        steps.append(env.step(action))
        if steps[-1][2] or steps[-1][3]:
            return steps
    raise AssertionError("a session that does not end")


def items_of(row: np.ndarray, n_items: int) -> list[int]:
    """Without the padding."""
    return [int(item) for item in row if item < n_items]


def ratings_of(users: Interactions, user: int) -> dict[int, float]:
    rows = users.user == user
    return dict(zip(users.item[rows].tolist(), users.rating[rows].tolist(), strict=True))


# ----------------------------------------------------------------------------------- the package


def run_elsewhere(code: str, folder: Path) -> str:
    """What a new Python prints that was started in another folder."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_an_import_of_the_package_loads_neither_torch_nor_pandas(tmp_path: Path) -> None:
    code = "import recsys_rl, sys; print({'torch', 'pandas', 'matplotlib'} & {*sys.modules})"
    assert run_elsewhere(code, tmp_path).strip() == "set()"


def test_names_of_the_package_are_imported_when_they_are_used() -> None:
    assert recsys_rl.Interactions is Interactions
    for name in recsys_rl.__all__:
        assert callable(getattr(recsys_rl, name))
    with pytest.raises(AttributeError, match="no attribute 'Nobody'"):
        _ = recsys_rl.Nobody


def test_an_import_is_enough_to_make_the_environment_in_any_folder(tmp_path: Path) -> None:
    """Without a root it looks into the project's own data folder, whatever folder this is."""
    write_movielens(tmp_path / "tiny", "csv")
    code = f"""
import gymnasium, recsys_rl
env = gymnasium.make("{ID}", root=".", dataset="tiny", k=4)
env.reset(seed=0)
print(env.step(env.action_space.sample())[1] in (0.0, 1.0))
try:
    gymnasium.make("{ID}", dataset="no-such-set")
except FileNotFoundError as error:
    print(error)
"""
    stepped, error = run_elsewhere(code, tmp_path).splitlines()
    assert stepped == "True"
    assert error.startswith(f"no-such-set is not in {ROOT / 'data'}, ")


def test_the_order_of_the_imports_does_not_matter(tmp_path: Path) -> None:
    code = "import recsys_rl, sys; print('gymnasium' in sys.modules); import gymnasium\n"
    code += f"print({ID!r} in gymnasium.registry, gymnasium.__name__)"
    assert run_elsewhere(code, tmp_path).splitlines() == ["False", "True gymnasium"]


def test_the_data_folder_of_the_project_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ROOT / "data" == gym_common.DATA_FOLDER
    write_movielens(tmp_path / "ml-tiny", "ml-100k")
    monkeypatch.setattr(gym_common, "DATA_FOLDER", tmp_path)
    assert load_users(dataset="ml-tiny").train.n_items == 80
    assert GymColdStartEnv(dataset="ml-tiny", k=4).users.n_users == 60


def test_missing_data_is_an_error_in_one_sentence_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        gymnasium.make(ID, root=tmp_path)
    words = str(caught.value)
    assert words.startswith(f"ml-100k is not in {tmp_path}, and an environment downloads nothing")
    assert f'recsys_rl.data.download.open_movielens("ml-100k", "{tmp_path}")' in words
    assert "\n" not in words
    assert ". " not in words


# ------------------------------------------------------------------------------------- Gymnasium


@pytest.mark.parametrize("observe", OBSERVE)
def test_gymnasium_accepts_the_environment_without_a_warning(
    observe: str, tiny_movielens: dict[str, Path]
) -> None:
    folder, users = tiny_movielens["ml-100k"], users_of()
    ours = {"users": users, "vectors": vectors_of(users), "observe": observe}
    found = {"root": folder.parent, "dataset": folder.name, "observe": observe, "k": K}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for settings in (ours, ours | {"horizon": 2, "n_seed": 1}, found):
            env = gymnasium.make(ID, **settings)
            check_env(env.unwrapped)
            play(env, 0)


@pytest.mark.parametrize("observe", OBSERVE)
def test_stable_baselines3_accepts_the_environment(observe: str) -> None:
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    checker.check_env(env_of(observe=observe))


def test_the_registered_environment_has_no_time_limit_of_its_own() -> None:
    users = users_of()
    env = gymnasium.make(ID, users=users, vectors=vectors_of(users), horizon=4)
    assert isinstance(env.unwrapped, GymColdStartEnv)
    assert env.spec.max_episode_steps is None
    assert not any("TimeLimit" in wrapper.name for wrapper in env.spec.additional_wrappers)
    assert "TimeLimit" not in str(env)
    assert env.unwrapped.sessions.horizon == 4


@pytest.mark.parametrize("observe", OBSERVE)
def test_a_vector_of_environments_steps_like_its_parts(observe: str) -> None:
    users = users_of()
    settings = {"users": users, "vectors": vectors_of(users), "horizon": 4, "observe": observe}
    together = gymnasium.make_vec(ID, num_envs=3, vectorization_mode="sync", **settings)
    alone = [GymColdStartEnv(**settings) for _ in range(3)]

    def stacked(parts: list) -> object:
        if observe == "vectors":
            return np.stack(parts)
        return {name: np.stack([part[name] for part in parts]) for name in parts[0]}

    seen, info = together.reset(seed=5)
    starts = [env.reset(seed=5 + place) for place, env in enumerate(alone)]
    assert data_equivalence(seen, stacked([start for start, _ in starts]))
    assert info["user"].tolist() == [info["user"] for _, info in starts]
    running = np.ones(3, dtype=bool)
    for step in range(4):
        actions = actions_of(3, seed=step)
        seen, reward, terminated, truncated, _ = together.step(actions)
        assert together.observation_space.contains(seen)
        for place in np.flatnonzero(running):
            ours, *rest, _ = alone[place].step(actions[place])
            theirs = seen[place] if observe == "vectors" else {n: seen[n][place] for n in seen}
            assert data_equivalence(ours, theirs)
            assert rest == [reward[place], terminated[place], truncated[place]]
        running &= ~(terminated | truncated)
    assert not running.any()
    together.close()


# ---------------------------------------------------------------------------------------- chance


@pytest.mark.parametrize("observe", OBSERVE)
def test_a_seed_decides_everything_and_without_one_sessions_differ(observe: str) -> None:
    env, other = env_of(observe=observe), env_of(observe=observe)
    for seed in range(4):
        env.reset()  # whatever came before
        first, second = play(env, seed), play(other, seed)
        assert data_equivalence(first, second, exact=True)
        following = [env.reset() for _ in range(3)]
        same = [other.reset() for _ in range(3)]
        assert data_equivalence(following, same, exact=True)
    starts = [env_of().reset() for _ in range(8)]  # never seeded: Gymnasium asks the system
    named = [(info["user"], tuple(seen["memory"])) for seen, info in starts]
    assert len(set(named)) > 1


def test_all_chance_is_the_environments_own_np_random() -> None:
    state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    env, other = env_of(), env_of()
    play(env, 3)
    for each in (env, other):
        each.np_random = np.random.default_rng(7)
    starts = [[each.reset() for _ in range(5)] for each in (env, other)]
    assert data_equivalence(*starts, exact=True)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002


def test_the_user_can_be_named_and_the_seed_items_stay_random() -> None:
    env = env_of(random_log(40, 60))
    user = 10 * int(env.sessions.eligible[-1]) + 7
    starts = [env.reset(seed=seed, options={"user": user}) for seed in range(6)]
    assert {info["user"] for _, info in starts} == {user}
    assert len({tuple(sorted(items_of(seen["memory"], 60))) for seen, _ in starts}) > 1
    env.reset(seed=0)
    following = env.reset()
    env.reset(seed=0, options={"user": user})
    assert data_equivalence(env.reset(), following), "a named user moves no later session"


# ---------------------------------------------------------------------------------- who and what


def test_only_the_users_of_the_part_are_met(tiny_movielens: dict[str, Path]) -> None:
    """And of those everybody who likes six items, under their MovieLens ids."""
    folder = tiny_movielens["csv"]
    groups = load_users(folder.parent, folder.name)
    vectors, met = item_vectors(groups.train, 4), {}
    for part in ("train", "validation", "test"):
        env = GymColdStartEnv(root=folder.parent, dataset=folder.name, part=part, k=4)
        env.reset(seed=0)
        met[part] = {env.reset()[1]["user"] for _ in range(400)}
        users = getattr(groups, part)
        likes = torch.bincount(users.user[users.rating >= POSITIVE], minlength=users.n_users)
        assert met[part] == set(users.user_ids.id(torch.nonzero(likes >= 6).squeeze(1)).tolist())
        assert torch.equal(env.vectors, vectors), "of those held out nothing is learnt"
    assert met["train"].isdisjoint(met["validation"] | met["test"])
    assert met["validation"].isdisjoint(met["test"])


def test_vectors_come_from_likes_alone_and_suit_a_network() -> None:
    users = users_of()
    vectors = item_vectors(users, 6)
    worse = torch.where(users.rating < POSITIVE, 1.0, users.rating)
    same = Interactions(users.user, users.item, worse, users.timestamp, users.user_ids,
                        users.item_ids)  # fmt: skip
    assert torch.equal(item_vectors(same, 6), vectors)
    assert vectors.shape == (users.n_items, 6)
    np.testing.assert_allclose(vectors.norm(dim=1), 6**0.5, rtol=1e-5)
    likes = torch.bincount(users.item[users.rating >= POSITIVE], minlength=users.n_items)
    assert np.corrcoef(vectors[:, -1], likes.float().add(1).log())[0, 1] > 0.8


@pytest.mark.parametrize("reward", [liked_reward, paper_reward])
def test_every_session_against_the_table_of_ratings(reward: Reward) -> None:
    """Best item that was neither named nor shown, its reward, both memories, both ends."""
    users = users_of()
    env, vectors = env_of(users, reward=reward), vectors_of(users)
    lengths = []
    for user in env.sessions.eligible.tolist():
        table = ratings_of(users, user)
        (start, _, _, _, info), *steps = play(env, user, user=10 * user + 7)
        assert info["user"] == 10 * user + 7
        assert info["mask"].sum() == users.n_items - 3
        named = items_of(start["memory"], users.n_items)
        assert len(set(named)) == 3
        assert min(table[item] for item in named) >= POSITIVE
        relevant = {item for item, rating in table.items() if rating >= POSITIVE} - set(named)
        shown, liked, rejected = set(named), list(named), []
        for action, step in zip(actions_of(99, seed=5), steps, strict=False):
            observation, earned, terminated, truncated, info = step
            scores = (vectors @ torch.from_numpy(action)).tolist()
            item = max(set(range(users.n_items)) - shown, key=lambda i: scores[i])  # noqa: B023
            shown.add(item)
            (liked if item in relevant else rejected).append(item)
            assert (info["item"], info["liked"]) == (3 * item + 2, item in relevant)
            assert set(np.flatnonzero(~info["mask"])) == shown
            assert type(earned) is float
            assert earned == float(reward(torch.tensor(table.get(item, 0.0))))
            assert items_of(observation["memory"], users.n_items) == liked
            assert items_of(observation["rejected"], users.n_items) == rejected
            count = len(liked) + len(rejected) - 3
            np.testing.assert_allclose(observation["elapsed"], [count / 6])
            assert terminated == (relevant <= shown or count == 6)
            assert not truncated, "evaluations end there, too"
            lengths.append(count)
    assert max(lengths) == 6


def test_it_is_over_when_nothing_is_left_to_like() -> None:
    rows = [(0, item, 5.0) for item in range(6)] + [(0, 6, 1.0)]
    env = env_of(log_of(rows, 1, 8), horizon=99)
    steps = play(env, 0)
    assert steps[-1][2:4] == (True, False)
    assert sum(reward for _, reward, *_ in steps) == 3
    assert all(step[2:4] == (False, False) for step in steps[:-1])


def test_flat_observations_are_what_a_loop_makes_of_the_items() -> None:
    users = users_of()
    vectors = vectors_of(users).double().numpy()
    items, flat = env_of(users), env_of(users, observe="vectors")
    for seed in range(10):
        for (seen, *_), (ours, *_) in zip(play(items, seed), play(flat, seed), strict=True):
            memories = [items_of(seen[name], users.n_items) for name in ("memory", "rejected")]
            means = [np.mean(vectors[m], 0) if m else np.zeros(K) for m in memories]
            counts = [np.log(1 + len(memory)) for memory in memories]
            expected = np.concatenate([*means, counts, seen["elapsed"]])
            np.testing.assert_allclose(ours, expected, atol=1e-6)
            assert flat.observation_space.contains(ours)


def test_a_flat_observation_of_nothing_is_zero() -> None:
    nothing = Histories(torch.zeros(2).long(), torch.full((2, 4), 7), torch.zeros(2, 4))
    assert torch.equal(flat_observation(nothing, torch.randn(7, 3)), torch.zeros(2, 9))


def test_the_space_holds_the_longest_sessions_and_the_longest_vectors() -> None:
    """The same vector for every item, where rounding could leave the box."""
    rows = [(0, item, 5.0) for item in range(30)]
    users = log_of(rows, 1, 40)
    vectors = torch.full((40, 3), 0.1) * torch.tensor([1.0, -3.0, 0.0])
    env = GymColdStartEnv(users, vectors, horizon=20, observe="vectors")
    observation, _ = env.reset(seed=0)
    over = False
    while not over:
        assert env.observation_space.contains(observation)
        observation, _, terminated, over, _ = env.step(np.ones(3, np.float32))
        over = over or terminated
    assert env.observation_space.contains(observation)


# -------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"observe": "stars"}, 'observe is "items" or "vectors"'),
        ({"part": "dev"}, "part is one of"),
        ({"n_seed": 0}, "at least 1"),
        ({"horizon": 0}, "at least 1"),
        ({"vectors": torch.ones(3, K)}, "3 vectors for 30 items"),
        ({"vectors": None}, "users come with vectors"),
        ({"vectors": [[1.0]] * 30}, "vectors: Tensor is needed"),
        ({"vectors": 3}, "vectors: Tensor is needed"),
        ({"vectors": torch.ones(30, 0)}, "vectors are finite numbers"),
        ({"n_seed": None}, "at least 1"),
        ({"reward": lambda stars: None}, "a reward makes one finite number of each"),
        ({"reward": lambda stars: 1.0}, "a reward makes one finite number of each"),
        ({"reward": lambda stars: stars.unsqueeze(0)}, "a reward makes one finite number of each"),
        ({"reward": lambda stars: stars / 0}, "a reward makes one finite number of each"),
        ({"users": [0]}, "users: Interactions is needed"),
        ({"users": torch.tensor([0])}, "users: Interactions is needed"),
        ({"reward": 3}, "a reward is a function of the stars"),
        ({"users": None, "opening": 3}, "opening is a dict of columns, positive"),
        ({"users": None, "opening": {"x": 1}}, "opening is a dict of columns, positive"),
        ({"users": None, "opening": {"fetch": True}}, "opening is a dict of columns, positive"),
        ({"users": None, "dataset": 3}, "dataset is a name or a path, not 3"),
        ({"users": None, "dataset": ""}, "dataset is a name or a path, not ''"),
        ({"users": None, "root": 3}, "root is a name or a path, not 3"),
        ({"users": None, "root": ""}, "root is a name or a path, not ''"),
    ],
)
def test_settings_that_cannot_be_right_are_errors(settings: dict, words: str) -> None:
    users = users_of()
    with pytest.raises(ValueError, match=words):
        GymColdStartEnv(**({"users": users, "vectors": vectors_of(users)} | settings))


@pytest.mark.parametrize("observe", ["items", "vectors"])
def test_a_session_is_no_longer_than_the_catalogue(observe: str) -> None:
    """Whatever the horizon, which may be a number of NumPy."""
    long, short = (env_of(observe=observe, horizon=each) for each in (10**12, np.int64(3)))
    check_env(long, skip_render_check=True)
    assert len(play(short, seed=0)) == len(play(env_of(observe=observe, horizon=3), seed=0))
    assert len(play(long, seed=0)) > 3


@pytest.mark.parametrize("kind", [torch.float64, torch.float16])
def test_vectors_of_another_type_are_the_same_directions(kind: torch.dtype) -> None:
    users = users_of()
    vectors = vectors_of(users).half().to(kind).requires_grad_()
    env = GymColdStartEnv(users, vectors, observe="vectors")
    assert env.reset(seed=0)[0].dtype == np.float32
    env.step(np.zeros(vectors.shape[1]))


NO_NUMBERS = {
    "sparse": torch.zeros(8).to_sparse(),
    "of no device": torch.zeros(8, device="meta"),
    "masked": np.ma.masked_array(np.zeros(8), [True] + 7 * [False]),
    "complex": torch.zeros(8, dtype=torch.complex64),
    "with a truth": [0.0] * 7 + [True],
}


@pytest.mark.parametrize("kind", NO_NUMBERS)
def test_a_vector_without_its_numbers_is_no_action(kind: str) -> None:
    with pytest.raises(ValueError, match="^an action is real numbers"):
        direction(NO_NUMBERS[kind], (8,))


def test_an_index_without_its_number_is_no_action() -> None:
    nothing = torch.zeros((), dtype=torch.int64, device="meta")
    for index in (nothing, np.ma.masked_array(3, True), np.ma.masked):
        assert whole_number(index) is None
    assert whole_number(np.ma.masked_array(3, False)) == 3


def test_who_likes_too_little_is_not_met() -> None:
    env = env_of()
    (index, *_) = env.sessions.eligible.tolist()
    (nobody, *_) = sorted(set(range(40)) - set(env.sessions.eligible.tolist()))
    for user in (10 * nobody + 7, index, -1, 40, 10**30):
        with pytest.raises(ValueError, match=f"user {user} is not here or likes too few"):
            env.reset(options={"user": user})


def test_the_id_of_info_names_the_same_user_again() -> None:
    """As a number of Python or NumPy, and as the array that vectors of environments give."""
    env = env_of()
    for seed in range(5):
        user = env.reset(seed=seed)[1]["user"]
        for same in (user, np.int64(user), np.array([user])[0], torch.tensor(user)):
            assert env.reset(options={"user": same})[1]["user"] == user
        assert env.reset(seed=seed, options={"user": None})[1]["user"] == user


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"users": 7}, r"unknown options \['users'\]"),
        ({"user": 7, "seed": 1}, r"unknown options \['seed'\]"),
        ({"user": "7"}, "whole number, not by '7'"),
        ({"user": 7.0}, "whole number"),
        ({"user": np.nan}, "whole number"),
        ({"user": True}, "whole number"),
        ({"user": [7, 17]}, "whole number"),
        (["user"], "options are a dict, not list"),
    ],
)
def test_options_that_are_refused_change_nothing(options: object, words: str) -> None:
    env, other = env_of(), env_of()
    for each in (env, other):
        each.reset(seed=1)
    with pytest.raises(ValueError, match=words):
        env.reset(seed=2, options=options)
    assert data_equivalence(env.step(np.ones(K)), other.step(np.ones(K)))
    assert data_equivalence(env.reset(), other.reset())


NO_ACTIONS = {
    "NaN": np.array([0, 0, np.nan, 0, 0]),
    "inf": np.array([0, 0, 0, 0, np.inf]),
    "-inf": np.full(K, -np.inf, np.float32),
    "huge": np.full(K, 1e30, np.float32),
    "beyond float32": np.full(K, 1e300),
    "outside": np.full(K, 1.5),
    "huge int": np.full(K, -(2**63)),
    "short": np.zeros(K - 1),
    "long": np.zeros(K + 1),
    "batched": np.zeros((1, K)),
    "number": 0.5,
    "complex": np.zeros(K, complex),
    "bool": np.zeros(K, bool),
    "object": np.array([0.1] * K, object),
    "text": np.array(["0"] * K),
    "None": None,
    "ragged": [[0.0], [0.0, 0.0]],
    "tensor": torch.full((K,), torch.nan),
}


@pytest.mark.parametrize("name", NO_ACTIONS)
@pytest.mark.parametrize("observe", OBSERVE)
def test_what_is_no_action_is_refused_and_shows_nothing(name: str, observe: str) -> None:
    env, other = env_of(observe=observe), env_of(observe=observe)
    for each in (env, other):
        each.reset(seed=1)
    with pytest.raises(ValueError, match=r"an action (is|lies)|inhomogeneous"):
        env.step(NO_ACTIONS[name])
    assert data_equivalence(env.step(np.ones(K)), other.step(np.ones(K)))


def test_an_action_may_be_of_any_real_type_and_rounded() -> None:
    steps = []
    for dtype in (np.float16, np.float32, np.float64, int):
        env = env_of()
        env.reset(seed=1)
        steps.append(env.step(np.array([1, 0, -1, 0, 1], dtype)))
    tensor = torch.tensor([1.0, 0, -1, 0, 1], requires_grad=True)
    for same in ([1, 0, -1, 0, 1], tensor, tensor.bfloat16()):
        env = env_of()
        env.reset(seed=1)
        steps.append(env.step(same))
    assert all(data_equivalence(step, steps[0]) for step in steps[1:])
    env.step(np.full(K, 1 + 1e-6))


def test_a_step_needs_a_session_that_runs() -> None:
    env = env_of()
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset"):
        env.step(np.ones(K))
    for seed in range(3):
        play(env, seed)
        for _ in range(2):
            with pytest.raises(gymnasium.error.ResetNeeded, match="call reset"):
                env.step(np.ones(K))
    env.reset()
    env.step(np.ones(K))


@pytest.mark.filterwarnings("ignore")  # Gymnasium warns before the environment refuses
@pytest.mark.parametrize("seed", [True, 1.5, "1", -1])
def test_a_seed_is_a_whole_number(seed: object) -> None:
    with pytest.raises(ValueError, match="seed is a whole number"):
        env_of().reset(seed=seed)


def test_nothing_is_drawn() -> None:
    assert env_of().render() is None


def test_render_mode_is_none() -> None:
    users = users_of()
    settings = {"users": users, "vectors": vectors_of(users)}
    env = gymnasium.make(ID, render_mode=None, **settings)
    assert env.render_mode is None
    for make in (GymColdStartEnv, lambda **how: gymnasium.make(ID, **how)):
        for mode in ("human", "rgb_array", ""):
            with pytest.raises(ValueError, match="there is no render mode"):
                make(render_mode=mode, **settings)


@pytest.mark.parametrize("k", [0, 1, -1, 81, 10**9, 2.5, None])
def test_there_are_no_more_directions_than_items(
    k: object, tiny_movielens: dict[str, Path]
) -> None:
    folder = tiny_movielens["csv"]
    with pytest.raises(ValueError, match=r"k is (in 2 \.\. 80|a whole number)"):
        GymColdStartEnv(root=folder.parent, dataset=folder.name, k=k)


# ------------------------------------------------------------------------------------- SB3's DDPG

Act = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def example() -> ModuleType:
    pytest.importorskip("stable_baselines3", reason="a development dependency")
    from benchmarks import stable_baselines3_ddpg

    return stable_baselines3_ddpg


def test_a_policy_scores_as_it_steps() -> None:
    """From the histories of evaluations, which hold items in the order in which they came."""
    users = users_of()
    weights = actions_of(2 * K + 3, seed=1)
    assert_scores_as_it_steps(lambda seen: np.tanh(seen @ weights), users, vectors_of(users))


def assert_scores_as_it_steps(act: Act, users: Interactions, vectors: torch.Tensor) -> None:
    score = score_function(act, vectors)
    env, items = (GymColdStartEnv(users, vectors, horizon=6, observe=o) for o in OBSERVE[::-1])
    for seed in range(8):
        seen, _ = env.reset(seed=seed)
        start, _ = items.reset(seed=seed)
        came = items_of(start["memory"], users.n_items)[::-1]  # named in any order
        rating, over = [POSITIVE] * 3, False
        while not over:
            histories = Histories(
                torch.tensor([users.n_users] * 2),
                torch.tensor([came, came]),
                torch.tensor([rating, rating]),
                torch.full((2,), (len(came) - 3) / 6),
            )
            scores = score(histories)
            assert scores.shape == (2, users.n_items)
            action = act(seen[None])[0]
            np.testing.assert_allclose(scores[1], vectors.numpy() @ action, atol=1e-4)
            best = int(scores[0].index_fill(0, torch.tensor(came), -torch.inf).argmax())
            seen, _, terminated, truncated, info = env.step(action)
            assert users.item_ids.id([best]) == info["item"]
            came, rating = [*came, best], [*rating, POSITIVE if info["liked"] else SHOWN]
            over = terminated or truncated


def test_stable_baselines3_learns_here_and_is_evaluated_as_it_steps(
    example: ModuleType, tiny_movielens: dict[str, Path]
) -> None:
    folder = tiny_movielens["ml-1m"]
    groups = load_users(folder.parent, folder.name)
    vectors = item_vectors(groups.train, K)
    small = {"k": K, "envs": 2, "learning_starts": 50, "batch_size": 16, "net_arch": [16]}
    settings = example.SETTINGS | small | {"gradient_steps": 1}
    with torch.random.fork_rng():
        model = example.train(groups.train, vectors, settings, 240, seed=0, horizon=6)
        same = example.train(groups.train, vectors, settings, 240, seed=0, horizon=6)
    assert model.num_timesteps == 240
    assert model._n_updates >= 90
    for ours, theirs in zip(model.actor.parameters(), same.actor.parameters(), strict=True):
        assert torch.equal(ours, theirs)

    def act(seen: np.ndarray) -> np.ndarray:
        return model.predict(seen, deterministic=True)[0]

    assert_scores_as_it_steps(act, groups.validation, vectors)
    found = cold_start_sessions(example.scores_of(model, vectors), groups.validation, (3, 6))
    assert 0 <= found.mean()["reward@6"] <= 1


def test_the_example_records_test_users_only(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "PATH", tmp_path / "results.csv.xz")
    write_movielens(tmp_path / "tiny", "csv")
    arguments = f"--dataset tiny --root {tmp_path} --seed 3 --steps 120"
    arguments += " --k 4 --envs 2 --learning_starts 40 --net_arch 8 --users"
    with torch.random.fork_rng():
        example.main([*arguments.split(), "validation"])
        assert not results.PATH.exists()
        example.main([*arguments.split(), "test"])
    key = {"dataset": "tiny", "split": "cold-start", "agent": "SB3 DDPG", "stage": "final"}
    found = results.means(protocol="cold-start-sessions", **key)
    for horizon in (3, 10, 20, 40):
        kept = results.by_user(f"reward@{horizon}", **key).loc[3]
        assert found.loc[3, f"reward@{horizon}"] == pytest.approx(kept.mean(), abs=1e-5)
    assert results.means(protocol="training", **key).loc[3, "training_seconds"] > 0


def test_the_doors_open_from_any_folder_once_installed(tmp_path: Path) -> None:
    """The notebook imports them, and may be run from elsewhere."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = "import classes, utils; print(utils.task_of.__name__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "task_of", done.stderr


@pytest.mark.parametrize("odd", ["x" * 3000, "\x1b[2J", np.zeros((9, 9)), [0] * 3000])
def test_what_is_refused_is_shown_on_one_line_and_not_whole(odd):
    env = env_of()
    for call in (
        lambda: env_of(horizon=odd),
        lambda: GymColdStartEnv(part=odd),
        lambda: env_of(render_mode=odd),
        lambda: env.reset(options={"user": odd}),
    ):
        with pytest.raises(ValueError, match=".") as caught:
            call()
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 300
