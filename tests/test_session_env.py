"""What holds in every environment: sessions step together, take items, and can be saved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from toys import random_log

from recsys_rl.data.histories import POSITIVE, Histories
from recsys_rl.data.rewards import Reward, paper_reward
from recsys_rl.data.splits import random_split
from recsys_rl.envs.base import SessionEnv, best_item
from recsys_rl.envs.cold_start import ColdStartEnv
from recsys_rl.envs.logged import LoggedEnv, RerankingEnv
from recsys_rl.envs.simulated import SimulatedEnv, Simulator

B, N_ITEMS, HORIZON, N_SEED = 6, 30, 7, 2
DRAWN = "logged", "cold-start", "simulated"  # sessions that start at random

Make = Callable[..., SessionEnv]


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_env(name: str, reward: Reward = paper_reward, **options) -> SessionEnv:
    log = random_log(40, N_ITEMS)
    options = {"horizon": HORIZON, "reward": reward} | options
    if name == "re-ranking":
        split = random_split(log, test_share=0.5)
        return RerankingEnv(split.train, split.test, **options)
    options = {"sessions": B, "generator": gen(1)} | options
    if name == "logged":
        return LoggedEnv(log, n=3, **options)
    if name == "cold-start":
        return ColdStartEnv(log, n_seed=N_SEED, **options)
    stars = 1 + 4 * torch.rand(40, N_ITEMS, generator=gen(2))
    return SimulatedEnv(Simulator(stars), n_seed=N_SEED, **({"series": 0.5} | options))


def options_of(env: SessionEnv) -> dict[str, torch.Tensor]:
    """B fixed starts: reset's options."""
    if isinstance(env, RerankingEnv):
        users = torch.nonzero(env.test.offsets.diff() > HORIZON).squeeze(1)[:B]
        return {"users": users}
    if isinstance(env, LoggedEnv):
        users = env.eligible[:B]
        return {"users": users, "rows": env.log.offsets[users] + 1}
    users, seed_items = env.starts(1, seed=0)
    return {"users": users[:B], "seed_items": seed_items[:B]}


@pytest.fixture(params=[*DRAWN, "re-ranking"])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def begun(name: str) -> Make:
    """Makes the environment and starts its B fixed sessions."""

    def make(**options) -> SessionEnv:
        env = make_env(name, **options)
        env.reset(options=options_of(env))
        return env

    return make


def random_items(env: SessionEnv, generator: torch.Generator) -> torch.Tensor:
    """Items that can be shown, each of them as likely as the others."""
    return best_item(torch.rand(env.excluded.shape, generator=generator), env.excluded)


def pairs_of(histories: Histories) -> list[list[tuple[int, float]]]:
    """(item, stars) in order, without the padding."""
    rows = zip(histories.item.tolist(), histories.rating.tolist(), strict=True)
    return [[pair for pair in zip(*row, strict=True) if pair[0] < N_ITEMS] for row in rows]


def flat(step: tuple) -> list[torch.Tensor]:
    histories, *rest, info = step
    parts = histories.user, histories.item, histories.rating, histories.clock
    return [*parts, *rest, *info.values()]


def assert_same(ours: tuple, theirs: tuple) -> None:
    for a, b in zip(flat(ours), flat(theirs), strict=True):
        assert torch.equal(a, b)


# -------------------------------------------------------------------------------------- one step


def test_a_step_shows_one_item_and_excludes_it(begun: Make) -> None:
    env, generator = begun(), gen()
    for step in range(1, HORIZON + 1):
        before, item = env.excluded.clone(), random_items(env, generator)
        histories, reward, terminated, truncated, info = env.step(item)
        assert torch.equal(env.excluded, before.scatter(1, item.unsqueeze(1), True))
        assert torch.equal(info["item"], item)
        if env.finite:
            torch.testing.assert_close(histories.elapsed, torch.full((B,), step / HORIZON))
        else:
            assert histories.elapsed is None
        assert reward.dtype == info["rating"].dtype == torch.float32
        assert terminated.dtype == truncated.dtype == info["active"].dtype == torch.bool


def test_the_best_item_is_the_best_of_those_that_can_be_shown() -> None:
    scores = torch.tensor([[3.0, 2.0, 1.0], [-1.0, -2.0, -3.0]])
    excluded = torch.tensor([[True, False, False], [True, False, True]])
    assert best_item(scores, excluded).tolist() == [1, 1]


def test_the_reward_is_the_function_of_the_stars_that_was_asked_for(name: str, begun: Make) -> None:
    def reward(stars: torch.Tensor) -> torch.Tensor:
        return 10 * stars - 1

    env, generator = begun(reward=reward, **({"series": 0.0} if name == "simulated" else {})), gen()
    answers = []
    for _ in range(HORIZON):
        _, earned, _, _, info = env.step(random_items(env, generator))
        assert torch.equal(earned, reward(info["rating"]))
        answers.append(info["rating"])
    assert len(torch.cat(answers).unique()) > 3


def test_padding_shows_nothing_and_earns_nothing(begun: Make) -> None:
    """Half of the sessions wait for two steps, and then go on as if they had not."""

    def reward(stars: torch.Tensor) -> torch.Tensor:
        return stars - 1  # -1 for an item without stars

    env, other = begun(reward=reward, horizon=99), begun(reward=reward, horizon=99)
    waits, nothing = torch.arange(B) % 2 == 0, torch.full((B,), N_ITEMS)
    for step in range(2):
        item = random_items(env, gen(step))
        for each in (env, other):
            each.step(item)
    before, excluded = pairs_of(env.observation()), env.excluded.clone()
    for step in range(2):
        item = torch.where(waits, nothing, random_items(env, gen(10 + step)))
        histories, earned, terminated, truncated, info = env.step(item)
        assert (earned[waits] == 0).all()
        assert (info["rating"][waits] == 0).all()
        assert not (terminated | truncated)[waits].any()
        for row in torch.nonzero(waits).squeeze(1).tolist():
            assert pairs_of(histories)[row] == before[row]
            assert torch.equal(env.excluded[row], excluded[row])
    for step in range(4):
        item = random_items(other, gen(20 + step))
        _, earned, terminated, _, info = env.step(item)
        _, expected, ended, _, wanted = other.step(item)
        assert torch.equal(info["rating"][waits], wanted["rating"][waits])
        assert torch.equal(earned[waits], expected[waits])
        assert torch.equal(terminated[waits], ended[waits])


def test_an_item_answers_once(begun: Make) -> None:
    """`step` may be told to show an item again: it has no stars any more."""
    env = begun()
    rated = ~env.excluded if isinstance(env, RerankingEnv) else env.relevant
    assert rated.any(1).all()
    item = rated.byte().argmax(1)
    first, second = env.step(item), env.step(item)
    assert (first[4]["rating"] > 0).all()
    assert (second[4]["rating"] == 0).all()
    assert (second[1] == 0).all()


def test_a_history_handed_out_does_not_change_later(begun: Make) -> None:
    """The replay buffer keeps the one from before the step."""
    env, generator = begun(), gen()
    before = env.observation()
    kept = before.item.clone(), before.rating.clone(), before.clock.clone()
    for _ in range(4):
        env.step(random_items(env, generator))
    for part, copy in zip((before.item, before.rating, before.clock), kept, strict=True):
        assert torch.equal(part, copy)
    assert pairs_of(env.observation()) != pairs_of(before)


def test_sessions_of_a_batch_do_not_touch_one_another(name: str) -> None:
    """B sessions together and each alone, with the same items."""
    options = {"anonymous_share": 0.0} if name == "logged" else {}
    together = make_env(name, **options)
    starts = options_of(together)
    together.reset(options=starts)
    items, steps = [], []
    for step in range(HORIZON):
        items.append(random_items(together, gen(step)))
        steps.append(together.step(items[-1]))
    for row in range(B):
        alone = make_env(name, **options)
        alone.reset(options={key: value[row : row + 1] for key, value in starts.items()})
        for item, (histories, *others, info) in zip(items, steps, strict=True):
            ours, *rest, our_info = alone.step(item[row : row + 1])
            assert torch.equal(ours.user[0], histories.user[row])
            assert pairs_of(ours)[0] == pairs_of(histories)[row]
            for mine, theirs in zip(rest, others, strict=True):
                assert torch.equal(mine[0], theirs[row])
            for key, value in our_info.items():
                assert torch.equal(value[0], info[key][row])


# ------------------------------------------------------------------------------------ how it ends


@pytest.mark.parametrize(
    ("name", "finite"),
    [("logged", False), ("re-ranking", False), ("cold-start", True), ("simulated", True)],
)
def test_a_limit_ends_a_session_or_only_its_collecting(finite: bool, begun: Make) -> None:
    """Where evaluations end at it, it terminates; where data could go on, it truncates."""
    env, generator, running = begun(horizon=3), gen(), torch.ones(B, dtype=torch.bool)
    assert env.finite == finite
    for step in range(1, 5):  # the batch can step on
        assert env.over == (step == 4)
        _, _, terminated, truncated, info = env.step(random_items(env, generator))
        assert torch.equal(info["active"], running)
        limit = step >= 3
        assert (truncated == (limit and not finite)).all()
        assert bool(terminated.all()) == (limit and finite)
        running = running & ~terminated & ~truncated


def test_over_before_the_first_reset_and_not_after(name: str) -> None:
    env = make_env(name)
    assert env.over
    _, info = env.reset(options=options_of(env))
    assert not env.over
    assert info["active"].all()


# ---------------------------------------------------------------------------------------- chance


@pytest.mark.parametrize("name", DRAWN)
def test_reset_with_a_seed_repeats_and_another_seed_differs(name: str) -> None:
    env = make_env(name, sessions=64)

    def opening(seed: int | None) -> list:
        return pairs_of(env.reset(seed=seed)[0])

    first = opening(3)
    assert opening(None) != opening(None), "without a seed the sessions move on"
    assert opening(3) == first
    assert opening(4) != first


@pytest.mark.parametrize("name", DRAWN)
def test_the_global_generators_are_left_alone(name: str) -> None:
    state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    env = make_env(name)
    env.reset()
    env.step(torch.zeros(B, dtype=torch.int64))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002


# -------------------------------------------------------------------------------------- resuming


@pytest.mark.parametrize("steps", [0, 2, HORIZON])
@pytest.mark.parametrize("name", DRAWN)
def test_a_loaded_environment_goes_on_as_the_saved_one(
    name: str, steps: int, tmp_path: Path
) -> None:
    """Before any session, in the middle of some, and after their end."""
    whole, resumed = make_env(name), make_env(name, generator=torch.Generator())
    if steps:
        whole.reset()
    for step in range(steps):
        whole.step(random_items(whole, gen(step)))
    torch.save(whole.state_dict(), tmp_path / "sessions.pt")
    resumed.load_state_dict(torch.load(tmp_path / "sessions.pt", weights_only=True))
    assert resumed.over == whole.over
    for step in range(2 * HORIZON):
        if whole.over:
            assert pairs_of(whole.reset()[0]) == pairs_of(resumed.reset()[0])
        assert torch.equal(resumed.excluded, whole.excluded)
        assert torch.equal(resumed.relevant, whole.relevant)
        item = random_items(whole, gen(100 + step))
        assert_same(resumed.step(item), whole.step(item))


def test_sessions_of_a_loaded_reranking_go_on(tmp_path: Path) -> None:
    whole, resumed = make_env("re-ranking"), make_env("re-ranking")
    whole.reset(options=options_of(whole))
    whole.step(random_items(whole, gen()))
    torch.save(whole.state_dict(), tmp_path / "sessions.pt")
    resumed.load_state_dict(torch.load(tmp_path / "sessions.pt", weights_only=True))
    while not whole.over:
        item = random_items(whole, gen(1))
        assert_same(resumed.step(item), whole.step(item))


def test_a_loaded_environment_shares_no_memory_with_the_saved_one(begun: Make) -> None:
    whole, other = begun(), begun()
    other.load_state_dict(whole.state_dict())
    excluded = whole.excluded.clone()
    other.step(random_items(other, gen()))
    assert torch.equal(whole.excluded, excluded)


def test_a_state_from_before_any_session_ends_those_that_run(name: str, begun: Make) -> None:
    env = begun()
    env.load_state_dict(make_env(name).state_dict())
    assert env.over


def test_unknown_names_are_refused_and_change_nothing(begun: Make) -> None:
    env, other = begun(), begun()
    other.generator.manual_seed(9)
    other.step(random_items(other, gen()))
    with pytest.raises(ValueError, match=r"no parts of a session: \['horizon', 'memory'\]"):
        env.load_state_dict(other.state_dict() | {"memory": torch.zeros(2), "horizon": 99})
    assert env.horizon == HORIZON
    assert torch.equal(env.generator.get_state(), begun().generator.get_state())
    item = random_items(env, gen(1))
    assert_same(env.step(item), begun().step(item))


# -------------------------------------------------------------------------------- what is refused

NO_ITEMS = {
    "short": torch.zeros(B - 1).long(),
    "one": torch.tensor(0),
    "column": torch.zeros(B, 1).long(),
    "empty": torch.zeros(0).long(),
    "float": torch.zeros(B),
    "NaN": torch.full((B,), torch.nan),
    "complex": torch.zeros(B, dtype=torch.complex64),
    "bool": torch.zeros(B, dtype=torch.bool),
    "uint8": torch.zeros(B, dtype=torch.uint8),
    "array": np.zeros(B, np.int64),
    "list": [0] * B,
    "None": None,
    "negative": torch.tensor([-1] + [0] * (B - 1)),
    "beyond": torch.tensor([0] * (B - 1) + [N_ITEMS + 1]),
    "huge": torch.full((B,), 2**62),
}


@pytest.mark.parametrize("what", NO_ITEMS)
def test_what_are_no_items_is_refused_and_shows_nothing(begun: Make, what: str) -> None:
    env, other = begun(), begun()
    with pytest.raises(ValueError, match=r"items are (a tensor int64 \[6\]|within 0 \.\. 30), not"):
        env.step(NO_ITEMS[what])
    assert torch.equal(env.excluded, other.excluded)
    item = random_items(other, gen())
    assert_same(env.step(item), other.step(item))


def test_nothing_goes_before_the_first_reset(name: str) -> None:
    env = make_env(name)
    for call in (
        lambda: env.step(torch.zeros(B).long()),
        lambda: env.observation(),
        lambda: env.relevant,
    ):
        with pytest.raises(ResetNeeded, match="call reset"):
            call()


NO_USERS = {
    "float": torch.zeros(2),
    "column": torch.zeros(2, 1).long(),
    "number": torch.tensor(1),
    "nobody": torch.zeros(0).long(),
    "list": [0, 1],
    "negative": torch.tensor([-1, 0]),
    "unknown": torch.tensor([40]),
    "beyond": torch.tensor([0, 10**6]),
}


@pytest.mark.parametrize("what", NO_USERS)
def test_users_who_are_not_there_are_refused(begun: Make, what: str) -> None:
    env = begun()
    with pytest.raises(ValueError, match=r"users are (a tensor int64|within 0 \.\. 39)"):
        env.reset(options={"users": NO_USERS[what]})
    assert_goes_on(env, begun())


def assert_goes_on(env: SessionEnv, other: SessionEnv) -> None:
    """A refusal has touched neither the running sessions nor what is drawn next."""
    assert torch.equal(env.generator.get_state(), other.generator.get_state())
    item = random_items(other, gen())
    assert_same(env.step(item), other.step(item))


def test_unknown_options_are_refused(begun: Make) -> None:
    for options in ({"user": torch.tensor([0])}, {"seeds": 1}, {3: 4}):
        env = begun()
        with pytest.raises(ValueError, match=r"unknown options \[.*\]: there is users"):
            env.reset(seed=5, options=options_of(env) | options)
        assert_goes_on(env, begun())
    with pytest.raises(ValueError, match="options are a dict, not list"):
        env.reset(options=["users"])


@pytest.mark.parametrize("name", DRAWN)
def test_what_belongs_to_users_comes_with_them_and_fits(name: str, begun: Make) -> None:
    env = begun()
    (option,) = set(options_of(env)) - {"users"}
    given = options_of(env)
    values = given[option]
    for wrong in (values[1:], values.float(), values.unsqueeze(-1), values - 10**6, values + 10**6):
        with pytest.raises(ValueError, match=f"{option} are (a tensor int64|within 0)"):
            env.reset(seed=5, options=given | {option: wrong})
    with pytest.raises(ValueError, match=f"the option '{option}' comes with the users"):
        env.reset(seed=5, options={option: values})
    assert_goes_on(env, begun())


def test_a_reranking_names_who_is_met() -> None:
    env = make_env("re-ranking")
    for options in (None, {}, {"users": None}):
        with pytest.raises(ValueError, match="name options"):
            env.reset(options=options)


def test_a_seed_item_is_liked() -> None:
    env = make_env("cold-start")
    given = options_of(env)
    log, user = env.users, int(given["users"][0])
    liked = log.item[(log.user == user) & (log.rating >= POSITIVE)].tolist()
    given["seed_items"][0, 0] = next(item for item in range(N_ITEMS) if item not in liked)
    with pytest.raises(ValueError, match="a seed item is one that its user rated 4 or more"):
        env.reset(options=given)


@pytest.mark.parametrize("name", DRAWN)
def test_without_a_generator_and_a_seed_sessions_differ(name: str) -> None:
    first, second = (make_env(name, sessions=64, generator=None) for _ in range(2))
    assert pairs_of(first.reset()[0]) != pairs_of(second.reset()[0])
    assert pairs_of(first.reset(seed=1)[0]) == pairs_of(second.reset(seed=1)[0])


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("wrong", [0, -1, 2.5, float("nan"), "3", True, None])
def test_sessions_and_their_length_are_counted(name: str, wrong: object) -> None:
    for what in ("horizon", "sessions"):
        with pytest.raises(ValueError, match=f"{what} is a whole number of at least 1"):
            make_env(name, **{what: wrong})
