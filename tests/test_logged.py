"""Sessions of a log against plain Python: what the log allows, and nothing else of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toys import log_of, random_log

from recsys_rl.data.histories import POSITIVE
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.rewards import Reward, liked_reward, paper_reward
from recsys_rl.data.splits import leave_one_out, random_split
from recsys_rl.envs.base import best_item
from recsys_rl.envs.logged import LoggedEnv, RerankingEnv

Pairs = list[tuple[int, float]]  # (item, stars), oldest first


def env_of(log: Interactions, **settings) -> LoggedEnv:
    settings = {"sessions": 8, "n": 3, "horizon": 6} | settings
    settings.setdefault("generator", torch.Generator().manual_seed(1))
    return LoggedEnv(log, **settings)


def begin(env: LoggedEnv, users: list[int], start: int | list[int]) -> None:
    """Starts the users' sessions `start` rows after the first."""
    user = torch.tensor(users)
    rows = env.log.offsets[user] + torch.as_tensor(start)
    env.reset(options={"users": user, "rows": rows})


def history_by_loop(log: Interactions, user: int, row: int, n: int, least: float) -> Pairs:
    """The n latest rows of the user before `row` with `least` stars, padded on the left."""
    rows = range(int(log.offsets[user]), row)
    read = [(int(log.item[r]), float(log.rating[r])) for r in rows if log.rating[r] >= least][-n:]
    return [(log.n_items, 0.0)] * (n - len(read)) + read


def pairs_of(item: torch.Tensor, rating: torch.Tensor) -> Pairs:
    return list(zip(item.tolist(), rating.tolist(), strict=True))


def stingy(stars: torch.Tensor) -> torch.Tensor:
    """A reward that an item without stars has, too."""
    return torch.where(stars > 0, stars, -0.25)


class OneSession:
    """The rules in plain Python, for one session of n = 3."""

    def __init__(self, log: Interactions, user: int, row: int, horizon: int) -> None:
        first, end = log.offsets[user : user + 2].tolist()
        self.seen = set(log.item[first:row].tolist())
        ahead = slice(row, end)
        self.answers = dict(zip(log.item[ahead].tolist(), log.rating[ahead].tolist(), strict=True))
        self.history = history_by_loop(log, user, row, 3, POSITIVE)
        self.horizon, self.steps, self.over = horizon, 0, False

    def step(self, scores: list[float]) -> tuple[int, float, bool, bool]:
        item = max(set(range(len(scores))) - self.seen, key=lambda i: scores[i])
        self.seen.add(item)
        self.steps += 1
        rating = self.answers.pop(item, 0.0)
        if rating >= POSITIVE:
            self.history = [*self.history[1:], (item, rating)]
        terminated, truncated = not self.answers, self.steps >= self.horizon
        self.over = terminated or truncated
        return item, rating, terminated, truncated

    @property
    def relevant(self) -> set[int]:
        return {item for item, rating in self.answers.items() if rating >= POSITIVE}


@pytest.mark.parametrize("reward", [paper_reward, stingy])
def test_every_session_of_a_log_against_plain_python(reward: Reward) -> None:
    """From every moment of the log, past the end of all sessions."""
    log, horizon = random_log(), 6
    rows = torch.arange(len(log))
    rows = rows[rows != log.offsets[log.user]]
    users = log.user[rows]
    env = env_of(log, horizon=horizon, reward=reward, anonymous_share=0.0)
    histories, _ = env.reset(options={"users": users, "rows": rows})
    assert torch.equal(histories.user, users)
    plain = [
        OneSession(log, user, row, horizon)
        for user, row in zip(users.tolist(), rows.tolist(), strict=True)
    ]
    generator = torch.Generator().manual_seed(0)
    for _ in range(horizon + 1):
        scores = torch.randn(len(rows), log.n_items, generator=generator)
        item = best_item(scores, env.excluded)
        running = [place for place, one in enumerate(plain) if not one.over]
        for place in running:
            one = plain[place]
            assert pairs_of(histories.item[place], histories.rating[place]) == one.history
            assert set(env.excluded[place].nonzero().flatten().tolist()) == one.seen
            assert set(env.relevant[place].nonzero().flatten().tolist()) == one.relevant
        histories, earned, terminated, truncated, info = env.step(item)
        assert torch.nonzero(info["active"]).squeeze(1).tolist() == running
        for place in running:
            shown, rating, end, limit = plain[place].step(scores[place].tolist())
            assert int(item[place]) == shown
            assert float(info["rating"][place]) == rating
            assert float(earned[place]) == float(reward(torch.tensor(rating)))
            assert (bool(terminated[place]), bool(truncated[place])) == (end, limit)
    assert env.over


# ----------------------------------------------------------------------------------- the rewards


def test_reward_table() -> None:
    stars = torch.tensor([5.0, 4.5, 4.0, 3.0, 2.0, 1.0, 0.5, 0.0])
    assert paper_reward(stars).tolist() == [1.0, 0.75, 0.5, 0.0, -0.5, -1.0, -1.25, 0.0]
    assert liked_reward(stars).tolist() == [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(("reward", "unrated"), [(paper_reward, 0.0), (stingy, -0.25)])
def test_every_item_earns_the_reward_of_its_logged_rating(reward: Reward, unrated: float) -> None:
    log = log_of([(0, item, float(item)) for item in range(1, 6)] + [(1, 0, 5.0)], 2, 8)
    for item in range(1, 8):
        env = env_of(log, reward=reward)
        begin(env, [0], 0)
        _, earned, _, _, info = env.step(torch.tensor([item]))
        stars = float(item) if item <= 5 else 0.0
        assert info["rating"].tolist() == [stars]
        assert earned.tolist() == [float(reward(torch.tensor(stars))) if stars else unrated]


def test_what_was_rated_before_the_start_earns_nothing_again() -> None:
    """The agent knows its stars; only ratings from the start on count."""
    log = log_of([(0, 1, 5.0), (0, 2, 5.0), (0, 3, 4.0)], 1, 5)
    env = env_of(log, reward=stingy)
    begin(env, [0], 2)
    assert env.excluded.tolist() == [[False, True, True, False, False]]
    assert env.step(torch.tensor([1]))[1].tolist() == [-0.25]


def test_an_item_shown_again_is_not_read_again() -> None:
    log = log_of([(0, 1, 5.0), (0, 2, 5.0), (0, 3, 4.0)], 1, 5)
    env = env_of(log)
    begin(env, [0], 1)
    for reward in (1.0, 0.0):
        histories, earned, terminated, _, _ = env.step(torch.tensor([2]))
        assert earned.tolist() == [reward]
        assert histories.item.tolist() == [[5, 1, 2]]
        assert not terminated


# ----------------------------------------------------------------------------------- the history


@pytest.mark.parametrize("least", [4.0, 0.5, 3.0])
def test_the_history_moves_on_only_at_ratings_that_are_read(least: float) -> None:
    log = log_of([(0, item, item / 2) for item in range(1, 11)], 1, 13)
    env = env_of(log, reads_from=least, horizon=99)
    begin(env, [0], 0)
    history = [(13, 0.0)] * 3
    for item in (12, 8, 2, 10, 13, 11, 7, 6, 9, 1):  # 13 is padding
        histories = env.step(torch.tensor([item]))[0]
        if 1 <= item <= 10 and item / 2 >= least:
            history = [*history[1:], (item, item / 2)]
        assert pairs_of(histories.item[0], histories.rating[0]) == history


@pytest.mark.parametrize("least", [4.0, 0.5])
@pytest.mark.parametrize("n", [1, 3, 30])
def test_histories_at_against_a_loop(n: int, least: float) -> None:
    log = random_log()
    found = env_of(log, n=n, reads_from=least).histories_at(log.user, torch.arange(len(log)))
    assert torch.equal(found.user, log.user)
    for row, user in enumerate(log.user.tolist()):
        wanted = history_by_loop(log, user, row, n, least)
        assert pairs_of(found.item[row], found.rating[row]) == wanted


def test_a_log_without_positives_starts_with_empty_histories() -> None:
    log = log_of([(0, 1, 3.0), (0, 2, 1.0), (1, 0, 2.0), (1, 2, 2.0)], 2, 3)
    histories, _ = env_of(log).reset()
    assert (histories.item == 3).all()
    assert (histories.rating == 0).all()


# ----------------------------------------------------------------------------- starts and ends


def test_a_session_terminates_when_the_log_is_used_up() -> None:
    """One of two rated items is left for user 0, both for user 1, who is shown others as well."""
    log = log_of([(0, 0, 5.0), (0, 1, 1.0), (1, 2, 5.0), (1, 3, 4.0)], 2, 9)
    env = env_of(log, horizon=99)
    begin(env, [0, 1], [1, 0])
    steps = [([1, 7], [True, False], [True, True]), ([7, 3], [True, False], [False, True])]
    steps.append(([8, 2], [True, True], [False, True]))
    for items, wanted, active in steps:
        _, _, terminated, truncated, info = env.step(torch.tensor(items))
        assert terminated.tolist() == wanted
        assert not truncated.any()
        assert info["active"].tolist() == active
    assert env.over


@pytest.mark.parametrize("options", [{"users": [1]}, {"users": [3]}, {"users": [0], "rows": [3]}])
def test_a_start_that_is_not_in_the_users_log_is_an_error(options: dict) -> None:
    """Users 1 and 3 have no row; row 3 is user 2's, whose items would be in user 0's history."""
    log = log_of([(0, 0, 5.0), (0, 1, 5.0), (2, 2, 5.0), (2, 3, 5.0)], 4, 6)
    with pytest.raises(ValueError, match="a session starts at a row of its own user"):
        env_of(log).reset(options={name: torch.tensor(x) for name, x in options.items()})


def test_a_log_without_a_session_is_an_error() -> None:
    with pytest.raises(ValueError, match="nobody in the log has two ratings"):
        env_of(log_of([(0, 1, 5.0), (1, 1, 5.0)], 2, 3))


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (1.0, 1, 1), (0.3, 0.25, 0.35)])
def test_anonymous_share(share: float, low: float, high: float) -> None:
    log = random_log()
    env = env_of(log, sessions=2000, anonymous_share=share)
    histories, _ = env.reset()
    moments, _ = env.moments(2000)
    for user in (histories.user, moments.user):
        assert low <= float((user == log.n_users).float().mean()) <= high
    after = env.step(torch.zeros(2000, dtype=torch.int64))[0]
    assert torch.equal(after.user, histories.user), "within a session nobody changes"


def test_users_and_moments_are_drawn_evenly() -> None:
    """Everybody with two rows, every row but the first; nobody else."""
    log = log_of([(0, i, 5.0) for i in range(5)] + [(1, 0, 5.0), (2, 3, 4.0), (2, 4, 4.0)], 4, 6)
    env = env_of(log, anonymous_share=0.0, sessions=4000)
    histories, _ = env.reset()
    started = log.offsets[histories.user] + env.excluded.sum(1)  # all that was rated before
    moments, item = env.moments(4000)
    row_of = {(u, i): row for row, (u, i) in enumerate(pairs_of(log.user, log.item))}
    drawn = torch.tensor([row_of[pair] for pair in pairs_of(moments.user, item)])
    for rows in (started, drawn):
        counts = torch.bincount(rows, minlength=len(log))
        assert counts[[0, 5, 6]].tolist() == [0, 0, 0]
        np.testing.assert_allclose(counts[1:5] / 4000, 1 / 8, atol=0.02)
        assert float(counts[7]) / 4000 == pytest.approx(0.5, abs=0.03)


# ------------------------------------------------------------------------------ what can be seen


@pytest.mark.parametrize("least", [4.0, 0.5])
def test_moments_are_those_of_the_log(least: float) -> None:
    """The history holds what is read before the row, the item is the row's own."""
    log = random_log()
    histories, item = env_of(log, anonymous_share=0.0, reads_from=least).moments(500)
    assert histories.item.shape == (500, 3)
    row_of = {(u, i): row for row, (u, i) in enumerate(pairs_of(log.user, log.item))}
    for place, (user, shown) in enumerate(pairs_of(histories.user, item)):
        row = row_of[user, shown]
        assert row > int(log.offsets[user]), "a user's first row has nothing before it"
        wanted = history_by_loop(log, user, row, 3, least)
        assert pairs_of(histories.item[place], histories.rating[place]) == wanted


def test_nothing_of_validation_or_test_can_be_reached() -> None:
    """With the train part, no held-out item has an answer, is in a history or is an example to
    learn from: whoever shows one is told what they are told about any item without a rating."""
    log = random_log(20, 24, seed=3)
    split = leave_one_out(log)
    held = {
        pair
        for part in (split.validation, split.test)
        for pair in pairs_of(part.user, part.item)
    }  # fmt: skip
    env = env_of(split.train, reads_from=0.5, reward=stingy, anonymous_share=0.0)
    histories, item = env.moments(3000)
    for user, known, shown in zip(
        histories.user.tolist(), histories.item.tolist(), item.tolist(), strict=True
    ):
        assert not held & {(user, i) for i in (*known, shown)}
    rows = split.train.offsets.diff().tolist()
    users, items = map(
        torch.tensor, zip(*sorted(pair for pair in held if rows[pair[0]] > 1), strict=True)
    )
    assert len(users) > 20
    begin(env, users.tolist(), 1)
    histories, reward, _, _, info = env.step(items)
    assert (reward == -0.25).all()
    assert (info["rating"] == 0).all()
    assert not (histories.item == items.unsqueeze(1)).any()


# ------------------------------------------------------------------------------------ re-ranking


def test_reranking_shows_the_rows_of_the_test_part_and_nothing_else() -> None:
    """The history is the other part's, whole; every answer joins it, whatever its stars are."""
    log = random_log(20, 24, seed=3)
    split = random_split(log, test_share=0.5)
    env = RerankingEnv(split.train, split.test, reward=stingy, horizon=99)
    users = split.test.user.unique()
    histories, _ = env.reset(options={"users": users})
    known, left = [], []
    for part, found in ((split.train, known), (split.test, left)):
        rows = list(zip(*(t.tolist() for t in (part.user, part.item, part.rating)), strict=True))
        found += [[(i, r) for u, i, r in rows if u == user] for user in users.tolist()]
    assert torch.equal(histories.user, users)
    generator = torch.Generator().manual_seed(0)
    while not env.over:
        for row, answers in enumerate(left):
            found = pairs_of(histories.item[row], histories.rating[row])
            assert [pair for pair in found if pair[0] < 24] == known[row]
            allowed = (~env.excluded[row]).nonzero().flatten().tolist()
            assert sorted(i for i, _ in answers) == allowed
        item = best_item(torch.rand(env.excluded.shape, generator=generator), env.excluded)
        ended = [not answers for answers in left]
        item[torch.tensor(ended)] = 24
        histories, reward, terminated, _, info = env.step(item)
        for row, shown in enumerate(item.tolist()):
            if ended[row]:
                assert float(reward[row]) == 0
                continue
            (pair,) = (pair for pair in left[row] if pair[0] == shown)
            left[row].remove(pair)
            known[row].append(pair)
            assert float(info["rating"][row]) == float(reward[row]) == pair[1]
            assert bool(terminated[row]) == (not left[row])
    assert not any(left)
