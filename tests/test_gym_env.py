"""Sessions with strangers in Gymnasium: its checker, who is met, what is seen, and SB3's DDPG."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from types import ModuleType

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from synthetic import write_movielens
from toys import log_of, random_log

from benchmarks import results
from recsys_rl.data.interactions import POSITIVE, Histories, Interactions
from recsys_rl.envs.registration import (
    ID,
    StrangerEnv,
    film_vectors,
    flat_observation,
    load_people,
    score_function,
)
from recsys_rl.evaluation.sessions import sessions_with_strangers

K = 5
OBSERVE = "films", "vectors"


def vectors_of(log: Interactions, seed: int = 0) -> torch.Tensor:
    return torch.randn(log.n_items, K, generator=torch.Generator().manual_seed(seed))


def people_of(seed: int = 0) -> Interactions:
    """Users with 2 to 26 films each; most like too few of them to be met."""
    return random_log(40, 30, seed)


def env_of(people: Interactions | None = None, **settings) -> StrangerEnv:
    people = people or people_of()
    return StrangerEnv(people, vectors_of(people), **({"horizon": 6} | settings))


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


def films_of(row: np.ndarray, n_items: int) -> list[int]:
    return [int(film) for film in row if film < n_items]


def ratings_of(people: Interactions, user: int) -> dict[int, float]:
    rows = people.user == user
    return dict(zip(people.item[rows].tolist(), people.rating[rows].tolist(), strict=True))


@pytest.fixture(scope="module")
def example() -> ModuleType:
    pytest.importorskip("stable_baselines3", reason="a development dependency")
    return loaded("benchmarks/stable_baselines3_ddpg.py")


def loaded(file: str) -> ModuleType:
    """A file of the project as a module of its own, whatever was imported before."""
    spec = importlib.util.spec_from_file_location(
        "loaded_by_test", Path(__file__).parents[1] / file
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ------------------------------------------------------------------------------------ Gymnasium


@pytest.mark.parametrize("observe", OBSERVE)
def test_gymnasium_accepts_the_environment(observe: str, tiny_movielens: dict[str, Path]) -> None:
    folder = tiny_movielens["ml-100k"]
    settings = {"root": folder.parent, "dataset": folder.name, "observe": observe, "k": K}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*Not able to test alternative render modes.*")
        check_env(env_of(observe=observe))
        check_env(env_of(observe=observe, horizon=2, given=1))
        made = gymnasium.make(ID, **settings)
        check_env(made.unwrapped)
        play(made, 0)


@pytest.mark.parametrize("observe", OBSERVE)
def test_stable_baselines3_accepts_the_environment(observe: str) -> None:
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    checker.check_env(env_of(observe=observe))


def test_the_registered_environment_has_no_time_limit_of_its_own() -> None:
    people = people_of()
    env = gymnasium.make(ID, people=people, item_vectors=vectors_of(people), horizon=4)
    assert isinstance(env.unwrapped, StrangerEnv)
    assert env.spec.max_episode_steps is None
    assert not any("TimeLimit" in wrapper.name for wrapper in env.spec.additional_wrappers)
    assert "TimeLimit" not in str(env)
    assert env.unwrapped.sessions.horizon == 4


@pytest.mark.parametrize("observe", OBSERVE)
def test_a_seed_decides_everything_and_without_one_sessions_differ(observe: str) -> None:
    env, other = env_of(observe=observe), env_of(observe=observe)
    for seed in range(4):
        env.reset()  # whatever came before
        first, second = play(env, seed), play(other, seed)
        assert gymnasium.utils.env_checker.data_equivalence(first, second, exact=True)
        following = [env.reset() for _ in range(3)]
        same = [other.reset() for _ in range(3)]
        assert gymnasium.utils.env_checker.data_equivalence(following, same, exact=True)
    starts = [env_of().reset() for _ in range(8)]  # never seeded: Gymnasium asks the system
    named = [(info["user"], tuple(seen["memory"])) for seen, info in starts]
    assert len(set(named)) > 1


def test_the_global_generators_are_left_alone() -> None:
    state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    play(env_of(), 3)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002


# ---------------------------------------------------------------------------------- who and what


def test_only_the_people_of_the_part_are_met(tiny_movielens: dict[str, Path]) -> None:
    """And of those everybody who likes six films, under their MovieLens ids."""
    folder = tiny_movielens["csv"]
    groups = load_people(folder.parent, folder.name)
    met = {}
    for part in ("train", "validation", "test"):
        env = StrangerEnv(root=folder.parent, dataset=folder.name, part=part, k=4)
        env.reset(seed=0)
        met[part] = {env.reset()[1]["user"] for _ in range(400)}
        people = getattr(groups, part)
        likes = torch.bincount(people.user[people.rating >= POSITIVE], minlength=people.n_users)
        assert met[part] == set(people.user_ids.id(torch.nonzero(likes >= 6).squeeze(1)).tolist())
        vectors = film_vectors(groups.train, 4)
        assert torch.equal(env.item_vectors, vectors), "of those held out nothing is learnt"
    assert met["train"].isdisjoint(met["validation"] | met["test"])
    assert met["validation"].isdisjoint(met["test"])


def test_vectors_come_from_likes_alone_and_suit_a_network() -> None:
    people = people_of()
    vectors = film_vectors(people, 6)
    worse = torch.where(people.rating < POSITIVE, 1.0, people.rating)
    same = Interactions(people.user, people.item, worse, people.timestamp, people.user_ids,
                        people.item_ids)  # fmt: skip
    assert torch.equal(film_vectors(same, 6), vectors)
    assert vectors.shape == (people.n_items, 6)
    np.testing.assert_allclose(vectors.norm(dim=1), 6**0.5, rtol=1e-5)
    likes = torch.bincount(people.item[people.rating >= POSITIVE], minlength=people.n_items)
    assert np.corrcoef(vectors[:, -1], likes.float().add(1).log())[0, 1] > 0.8


def test_every_session_against_the_table_of_ratings() -> None:
    """Best film that was neither named nor shown, its reward, both memories, both ends."""
    people = people_of()
    env, vectors = env_of(people), vectors_of(people)
    ends = set()
    for user in env.sessions.fans.tolist():
        table = ratings_of(people, user)
        (start, _, _, _, info), *steps = play(env, user, user=user)
        assert info["user"] == 10 * user + 7
        named = films_of(start["memory"], people.n_items)
        assert len(named) == 3
        assert min(table[film] for film in named) >= POSITIVE
        wanted = {film for film, rating in table.items() if rating >= POSITIVE} - set(named)
        shown, liked, disliked = set(named), list(named), []
        for action, step in zip(actions_of(99, seed=5), steps, strict=False):
            observation, reward, terminated, truncated, info = step
            scores = (vectors @ torch.from_numpy(action)).tolist()
            film = max(set(range(people.n_items)) - shown, key=lambda i: scores[i])  # noqa: B023
            shown.add(film)
            (liked if film in wanted else disliked).append(film)
            assert info == {"item": 3 * film + 2, "liked": film in wanted}
            assert reward == float(table.get(film, 0) >= POSITIVE)
            assert films_of(observation["memory"], people.n_items) == liked
            assert films_of(observation["rejected"], people.n_items) == disliked
            assert terminated == (wanted <= shown)
            assert truncated == (len(liked) + len(disliked) - 3 == 6)
            ends.add((terminated, truncated))
    assert (False, True) in ends


def test_it_is_over_when_nothing_is_left_to_like() -> None:
    rows = [(0, film, 5.0) for film in range(6)] + [(0, 6, 1.0)]
    env = env_of(log_of(rows, 1, 8), horizon=99)
    steps = play(env, 0)
    assert steps[-1][2:4] == (True, False)
    assert sum(reward for _, reward, *_ in steps) == 3
    assert all(step[2:4] == (False, False) for step in steps[:-1])


def test_vectors_are_what_a_loop_makes_of_the_films() -> None:
    people = people_of()
    vectors = vectors_of(people).double().numpy()
    films, flat = env_of(people), env_of(people, observe="vectors")
    for seed in range(10):
        for (seen, *_), (ours, *_) in zip(play(films, seed), play(flat, seed), strict=True):
            memories = [films_of(seen[name], people.n_items) for name in ("memory", "rejected")]
            means = [np.mean(vectors[m], 0) if m else np.zeros(K) for m in memories]
            counts = [np.log(1 + len(memory)) for memory in memories]
            np.testing.assert_allclose(ours, np.concatenate([*means, counts]), atol=1e-6)
            assert flat.observation_space.contains(ours)


def test_the_space_holds_the_longest_sessions_and_the_longest_vectors() -> None:
    """The same film's vector in all places, where rounding could leave the box."""
    rows = [(0, film, 5.0) for film in range(30)]
    people = log_of(rows, 1, 40)
    vectors = torch.full((40, 3), 0.1) * torch.tensor([1.0, -3.0, 0.0])
    env = StrangerEnv(people, vectors, horizon=20, observe="vectors")
    observation, _ = env.reset(seed=0)
    over = False
    while not over:
        assert env.observation_space.contains(observation)
        observation, _, terminated, over, _ = env.step(np.ones(3, np.float32))
        over = over or terminated
    assert env.observation_space.contains(observation)


# -------------------------------------------------------------------------------- what is refused


def test_a_data_set_that_is_not_there_is_an_error_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="ml-100k is not in .* downloads nothing"):
        gymnasium.make(ID, root=tmp_path)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"observe": "stars"}, "observe is"),
        ({"part": "dev"}, "part is"),
        ({"given": 0}, "at least 1"),
        ({"horizon": 0}, "at least 1"),
        ({"item_vectors": torch.ones(3, K)}, "3 item_vectors for 30 films"),
        ({"item_vectors": None}, "people come with item_vectors"),
    ],
)
def test_settings_that_cannot_be_right_are_errors(settings: dict, words: str) -> None:
    people = people_of()
    with pytest.raises(ValueError, match=words):
        StrangerEnv(**({"people": people, "item_vectors": vectors_of(people)} | settings))


def test_who_likes_too_little_is_not_met() -> None:
    env = env_of()
    (nobody, *_) = sorted(set(range(40)) - set(env.sessions.fans.tolist()))
    with pytest.raises(ValueError, match="likes too few"):
        env.reset(options={"user": nobody})


# ------------------------------------------------------------------------------------ SB3's DDPG


def test_a_policy_scores_as_it_steps() -> None:
    """From the judges' histories, which hold films in the order in which they came."""
    people = people_of()
    vectors, weights = vectors_of(people), torch.from_numpy(actions_of(2 * K + 2, seed=1))
    env = env_of(people, observe="vectors")
    films = env_of(people)

    def act(seen: np.ndarray) -> np.ndarray:
        return np.tanh(seen @ weights.numpy())

    agree_with_judge(env, films, act, vectors)


def agree_with_judge(env: StrangerEnv, films: StrangerEnv, act, vectors: torch.Tensor) -> None:
    score = score_function(act, vectors)
    people = env.people
    for seed in range(8):
        seen, _ = env.reset(seed=seed)
        start, _ = films.reset(seed=seed)
        came = films_of(start["memory"], people.n_items)[::-1]  # named in any order
        rating, over = [POSITIVE] * 3, False
        while not over:
            histories = Histories(
                torch.tensor([people.n_users] * 2),
                torch.tensor([came, came]),
                torch.tensor([rating, rating]),
            )
            scores = score(histories)
            assert scores.shape == (2, people.n_items)
            action = act(seen[None])[0]
            np.testing.assert_allclose(scores[1], vectors.numpy() @ action, atol=1e-4)
            best = int(scores[0].index_fill(0, torch.tensor(came), -torch.inf).argmax())
            seen, reward, terminated, truncated, info = env.step(action)
            assert people.item_ids.id([best]) == info["item"]
            came, rating = [*came, best], [*rating, POSITIVE * reward]
            over = terminated or truncated


def test_stable_baselines3_learns_here_and_is_judged_as_it_steps(
    example: ModuleType, tiny_movielens: dict[str, Path]
) -> None:
    folder = tiny_movielens["ml-1m"]
    groups = load_people(folder.parent, folder.name)
    vectors = film_vectors(groups.train, K)
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

    env, films = (
        StrangerEnv(groups.validation, vectors, horizon=6, observe=observe)
        for observe in ("vectors", "films")
    )
    agree_with_judge(env, films, act, vectors)
    judged = sessions_with_strangers(example.scores_of(model, vectors), groups.validation, (3, 6))
    assert 0 <= judged.mean()["reward@6"] <= 1


def test_the_example_records_test_users_only(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "PATH", tmp_path / "results.csv.gz")
    write_movielens(tmp_path / "tiny", "csv")
    arguments = f"--dataset tiny --root {tmp_path} --seed 3 --steps 120"
    arguments += " --k 4 --envs 2 --learning_starts 40 --net_arch [8] --users"
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


def test_flat_observation_of_nothing_is_zero() -> None:
    nothing = torch.full((2, 4), 7)
    assert torch.equal(flat_observation(nothing, nothing, torch.randn(7, 3)), torch.zeros(2, 8))
