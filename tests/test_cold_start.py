"""Sessions with cold-start users: the rules in plain Python."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from toys import log_of, mixed_log

from recsys_rl.data.histories import POSITIVE, SHOWN
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.rewards import liked_reward, paper_reward
from recsys_rl.envs.base import Step, best_item
from recsys_rl.envs.cold_start import ColdStartEnv

N_ITEMS = 24


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def env_of(users: Interactions, **options) -> ColdStartEnv:
    options = {"sessions": 8, "horizon": 6, "generator": gen(1)} | options
    return ColdStartEnv(users, **options)


def ratings_of(users: Interactions, user: int) -> dict[int, float]:
    rows = users.user == user
    return dict(zip(users.item[rows].tolist(), users.rating[rows].tolist(), strict=True))


def random_steps(env: ColdStartEnv, steps: int, seed: int = 2) -> Iterator[Step]:
    """Show random items that are not excluded."""
    generator = gen(seed)
    for _ in range(steps):
        scores = torch.rand(env.excluded.shape, generator=generator)
        yield env.step(best_item(scores, env.excluded))


class PlainSession:
    """The rules for one session."""

    def __init__(self, ratings: dict[int, float], seed_items: list[int], horizon: int) -> None:
        self.ratings, self.horizon, self.steps = ratings, horizon, 0
        self.history = [(item, POSITIVE) for item in seed_items]
        self.relevant = {i for i, stars in ratings.items() if stars >= POSITIVE} - set(seed_items)
        self.excluded = set(seed_items)
        self.over = False

    def step(self, item: int) -> tuple[float, float, bool, bool]:
        """-> reward, stars, terminated, truncated."""
        liked, stars = item in self.relevant, self.ratings.get(item, 0.0)
        self.history.append((item, POSITIVE if liked else SHOWN))
        self.excluded.add(item)
        self.relevant.discard(item)
        self.steps += 1
        self.over = not self.relevant or self.steps >= self.horizon
        return float(liked), stars, self.over, False


@pytest.mark.parametrize("n_seed", [1, 3])
def test_every_session_against_plain_python(n_seed: int) -> None:
    """Until all sessions have ended, some for lack of likes and some by the time limit."""
    users, horizon = mixed_log(30), 16
    env = env_of(users, horizon=horizon, n_seed=n_seed)
    met = env.eligible.repeat(3)
    start, info = env.reset(options={"users": met})
    assert info["active"].all()
    assert (start.rating == POSITIVE).all()
    plain = []
    for user, seeds in zip(met.tolist(), start.item.tolist(), strict=True):
        ratings = ratings_of(users, user)
        assert len(set(seeds)) == n_seed
        assert all(ratings[item] >= POSITIVE for item in seeds)
        plain.append(PlainSession(ratings, seeds, horizon))
    for after, reward, terminated, truncated, info in random_steps(env, horizon):
        running = [row for row, session in enumerate(plain) if not session.over]
        assert info["active"].nonzero().squeeze(1).tolist() == running
        for row in running:
            session, item = plain[row], int(info["item"][row])
            assert item not in session.excluded
            told = (float(part[row]) for part in (reward, info["rating"], terminated, truncated))
            assert tuple(told) == session.step(item)
            history = zip(after.item[row].tolist(), after.rating[row].tolist(), strict=True)
            assert list(history) == session.history
            assert float(after.elapsed[row]) == session.steps / horizon
            assert set(env.excluded[row].nonzero().squeeze(1).tolist()) == session.excluded
            assert set(env.relevant[row].nonzero().squeeze(1).tolist()) == session.relevant
    assert env.over
    lengths = [session.steps for session in plain]
    assert min(lengths) < max(lengths) == horizon


def test_the_user_is_always_unknown() -> None:
    users = mixed_log()
    env = env_of(users)
    assert (env.reset()[0].user == users.n_users).all()
    assert all((step[0].user == users.n_users).all() for step in random_steps(env, 3))


def one_user(**options) -> ColdStartEnv:
    """A session with a user who likes items 0 to 5, not 6, of whom 0, 1 and 2 are known."""
    rows = [(0, item, 5.0) for item in range(6)] + [(0, 6, 1.0)]
    env = env_of(log_of(rows, 1, N_ITEMS), **options)
    env.reset(options={"users": torch.tensor([0]), "seed_items": torch.tensor([[2, 0, 1]])})
    return env


def test_a_session_terminates_when_nothing_is_left_to_like() -> None:
    env = one_user(horizon=99)
    for item in (6, 3, 20, 4, 5):
        after, reward, terminated, truncated, _ = env.step(torch.tensor([item]))
        assert float(reward) == (item < 6)
        assert bool(terminated) == (item == 5)
        assert not truncated
    assert env.over
    assert after.item.tolist() == [[2, 0, 1, 6, 3, 20, 4, 5]]
    assert after.rating.tolist() == [[4, 4, 4, 0, 4, 0, 4, 4]]


def test_a_seed_item_earns_nothing() -> None:
    env = one_user()
    _, reward, _, _, info = env.step(torch.tensor([0]))
    assert float(reward) == float(info["rating"]) == 0
    assert env.relevant.nonzero().tolist() == [[0, 3], [0, 4], [0, 5]]


@pytest.mark.parametrize(
    ("reward", "expected"), [(liked_reward, [1, 0, 0]), (paper_reward, [1, -1, 0])]
)
def test_the_reward_is_made_from_the_stars(reward, expected: list[float]) -> None:
    """Of a liked item, of one rated 1, and of one that is not rated; the history has no stars."""
    env = one_user(reward=reward)
    steps = [env.step(torch.tensor([item])) for item in (3, 6, 20)]
    assert [float(step[1]) for step in steps] == expected
    assert [float(step[4]["rating"]) for step in steps] == [5, 1, 0]
    assert steps[-1][0].rating.tolist() == [[4, 4, 4, 4, 0, 0]]


# ---------------------------------------------------------------------------- who and what


@pytest.mark.parametrize("n_seed", [1, 3])
def test_who_is_met(n_seed: int) -> None:
    """n_seed + 3 likes are enough and one less is not; 4 stars are a like and 3.5 are not."""
    least = n_seed + 3
    enough = [(0, item, 4.0) for item in range(least)]
    less = [(1, item, 5.0) for item in range(least - 1)] + [(1, 9, 3.5), (1, 10, 3.5)]
    more = [(3, item, 4.5) for item in range(least + 1)]
    env = env_of(log_of(enough + less + more, 5, N_ITEMS), n_seed=n_seed)
    assert env.eligible.tolist() == [0, 3]
    with pytest.raises(ValueError, match=f"nobody liked {least} items"):
        env_of(log_of(less, 5, N_ITEMS), n_seed=n_seed)
    with pytest.raises(ValueError, match="a session needs a user who likes"):
        env.reset(options={"users": torch.tensor([0, 1])})


@pytest.mark.parametrize("wrong", [{"n_seed": 0}, {"horizon": 0}])
def test_a_session_has_a_seed_item_and_a_step(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        env_of(mixed_log(), **wrong)


def test_users_and_seed_items_are_drawn_evenly() -> None:
    rows = [(0, item, 4.0) for item in range(6)] + [(0, 20, 1.0)]
    rows += [(1, item, 5.0) for item in range(10, 16)] + [(2, 9, 5.0)]
    env = env_of(log_of(rows, 3, N_ITEMS), sessions=6000)
    share = torch.bincount(env.reset()[0].item.flatten(), minlength=N_ITEMS) / 6000
    expected = [0.25 if item in (*range(6), *range(10, 16)) else 0 for item in range(N_ITEMS)]
    np.testing.assert_allclose(share, expected, atol=0.025)


def test_starts_are_every_users_draws_side_by_side() -> None:
    users = mixed_log()
    env = env_of(users)
    met, seed_items = env.starts(5, seed=0)
    assert torch.equal(met, env.eligible.repeat_interleave(5))
    for user, items in zip(met.tolist(), seed_items.tolist(), strict=True):
        assert len(set(items)) == 3
        assert all(ratings_of(users, user)[item] >= POSITIVE for item in items)
    again = env_of(users, generator=gen(9)).starts(7, seed=0)[1]
    assert torch.equal(again.view(-1, 7, 3)[:, :5].flatten(0, 1), seed_items)
    assert not torch.equal(env.starts(5, seed=1)[1], seed_items)
    assert (seed_items.view(-1, 5, 3).diff(dim=1) != 0).any()


def test_starts_are_even_in_items_and_in_order() -> None:
    rows = [(0, item, 4.0) for item in range(2, 10)] + [(0, 20, 1.0)]
    seed_items = env_of(log_of(rows, 1, N_ITEMS)).starts(4000, seed=0)[1]
    expected = [1 / 8 if 2 <= item < 10 else 0 for item in range(N_ITEMS)]
    for place in seed_items.unbind(1):
        share = torch.bincount(place, minlength=N_ITEMS) / 4000
        np.testing.assert_allclose(share, expected, atol=0.025)


@pytest.mark.parametrize("steps", [0, 2, 6])
def test_running_sessions_give_way_to_loaded_ones(steps: int) -> None:
    """Saved before any session, in the middle of some, and after their end."""
    saved, used = env_of(mixed_log()), env_of(mixed_log(), generator=gen(9))
    if steps:
        saved.reset()
    list(random_steps(saved, steps))
    used.reset()
    used.load_state_dict(saved.state_dict())
    assert used.over == saved.over
    if saved.over:
        saved.reset()
        used.reset()
    for ours, theirs in zip(random_steps(used, 4), random_steps(saved, 4), strict=True):
        assert torch.equal(ours[0].item, theirs[0].item)
        assert torch.equal(ours[0].rating, theirs[0].rating)
        assert torch.equal(ours[4]["active"], theirs[4]["active"])
