"""Simulated users, their sessions and the protocol, against brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from toys import log_of, random_log

from recsys_rl.agent.demonstrations import OnPolicyDemonstrations
from recsys_rl.baselines.popularity import Random
from recsys_rl.data.histories import Histories, likes_and_rejections
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.rewards import liked_reward
from recsys_rl.envs.base import best_item
from recsys_rl.envs.rating_models import NeighbourRatings, two_halves
from recsys_rl.envs.simulated import LONGEST_SERIES, SimulatedEnv, Simulator, some_likes
from recsys_rl.evaluation.sessions import simulated_sessions

N_USERS, N_ITEMS = 9, 14


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def simulator() -> Simulator:
    """Stars in 1..5, all different; user 0 likes nothing, user 1 a single item."""
    rating = 1 + 4 * torch.rand(N_USERS, N_ITEMS, generator=gen())
    rating[:2] = rating[:2].clamp(max=3.9)
    rating[1, 3] = 4.0
    return Simulator(rating)


def alone(ratings: list[float]) -> Simulator:
    return Simulator(torch.tensor([ratings]))


def series_by_hand(likes: list[bool]) -> list[int]:
    """Length of the series that ends just before each step, with its sign."""
    lengths, length = [], 0
    for like in likes:
        lengths.append(length)
        length = (max(length, 0) + 1) if like else (min(length, 0) - 1)
        length = max(-LONGEST_SERIES, min(LONGEST_SERIES, length))
    return lengths


def items_of(row: torch.Tensor) -> list[int]:
    """Without the padding."""
    return [item for item in row.tolist() if item < N_ITEMS]


# --------------------------------------------------------------------------------- rating models


def test_two_halves_share_no_row_and_miss_none() -> None:
    log = random_log(40, 30)
    rows = [set(zip(*(t.tolist() for t in (h.user, h.item)), strict=True)) for h in two_halves(log)]
    assert abs(len(rows[0]) - len(rows[1])) <= 1
    assert not rows[0] & rows[1]
    assert len(rows[0] | rows[1]) == len(log)


def test_two_halves_depend_on_the_seed_only() -> None:
    log = random_log(40, 30)
    first, again, other = (two_halves(log, seed)[0].item for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def slow_neighbours(
    log: Interactions, neighbours: int, shrinkage: float, power: float, damping: float
) -> np.ndarray:
    """The predictions of all pairs, by the formula."""
    stars = np.full((log.n_users, log.n_items), np.nan)
    stars[log.user, log.item] = log.rating
    there, mean = ~np.isnan(stars), float(log.rating.mean())
    b_i = np.nansum(stars - mean, 0) / (there.sum(0) + 5)
    b_u = np.nansum(stars - mean - b_i, 1) / (there.sum(1) + 10)
    e = np.nan_to_num(stars - mean - b_i - b_u[:, None])

    def alike(i: int, j: int) -> float:
        both = there[:, i] & there[:, j]
        length = math.sqrt((e[both, i] ** 2).sum() * (e[both, j] ** 2).sum())
        if i == j or not length:
            return 0.0
        return max(0.0, both.sum() / (both.sum() + shrinkage) * e[both, i] @ e[both, j] / length)

    found = mean + b_u[:, None] + b_i
    for item in range(log.n_items):
        w = np.array([alike(item, j) for j in range(log.n_items)]) ** power
        w[np.argsort(-w)[neighbours:]] = 0
        found[:, item] += e @ w / (there @ w + damping)
    return found


def test_neighbour_ratings_are_those_of_the_formula() -> None:
    log, how = random_log(25, 12), {"neighbours": 4, "shrinkage": 3.0, "power": 2.0, "damping": 0.3}
    model = NeighbourRatings(log, batch_size=7, **how)
    found = model.score(log.histories(torch.arange(log.n_users)))
    np.testing.assert_allclose(found, slow_neighbours(log, **how), atol=1e-4)


def test_neighbour_ratings_read_neither_the_user_nor_items_without_stars() -> None:
    log = random_log(25, 12)
    model = NeighbourRatings(log)
    seen = log.histories(torch.arange(5))
    extra = torch.nn.functional.pad(seen.item, (0, 1), value=11)  # nobody rated the last item
    shown = Histories(seen.user + 3, extra, torch.nn.functional.pad(seen.rating, (0, 1)))
    assert torch.allclose(model.score(seen), model.score(shown))


# ------------------------------------------------------------------------------------- the users


@pytest.mark.parametrize(
    "rating", [torch.full((2, 3), math.nan), torch.full((2, 3), 99.0), torch.ones(3)]
)
def test_a_simulator_has_stars(rating: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"stars within 0\.5 \.\. 5"):
        Simulator(rating)


def test_a_simulator_clips_predictions_and_keeps_logged_stars() -> None:
    log = log_of([(0, 1, 2.0), (2, 0, 0.5)], 3, 3)
    table = torch.tensor([[0.0, 5.0, 9.0], [3.0, 4.0, -2.0], [1.5, 2.5, 5.5]])
    simulator = Simulator.of(lambda h: table[h.user], log, batch_size=2)
    assert simulator.rating.tolist() == [[1, 2, 5], [3, 4, 1], [0.5, 2.5, 5]]


def test_a_simulator_predicts_from_each_users_own_rows() -> None:
    log = random_log()

    def mean_stars(histories: Histories) -> torch.Tensor:
        there = (histories.rating > 0).sum(1, keepdim=True)
        return (histories.rating.sum(1, keepdim=True) / there).expand(-1, log.n_items)

    simulator = Simulator.of(mean_stars, log, batch_size=5)
    for user in range(log.n_users):
        own = log.rating[log.user == user]
        assert float(simulator.rating[user, -1]) == pytest.approx(max(1, float(own.mean())))


def test_some_likes_are_different_and_uniform_and_padded_on_the_left() -> None:
    likes = torch.tensor([[1, 1, 0, 1, 1], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]]).bool()
    drawn = some_likes(likes.repeat(4000, 1), 2, gen()).view(4000, 3, 2)
    assert (drawn[:, 1] == torch.tensor([5, 2])).all()
    assert (drawn[:, 2] == 5).all()
    assert (drawn[:, 0, 0] != drawn[:, 0, 1]).all()
    for place in range(2):
        counts = torch.bincount(drawn[:, 0, place], minlength=5) / 4000
        assert counts.tolist() == pytest.approx([0.25, 0.25, 0, 0.25, 0.25], abs=0.04)


# ------------------------------------------------------------------------------- the environment


def env_of(simulator: Simulator, **settings) -> SimulatedEnv:
    return SimulatedEnv(simulator, **({"sessions": 6} | settings))


def test_a_session_starts_from_liked_items_of_an_unknown_user(simulator: Simulator) -> None:
    env, met = env_of(simulator, n_seed=2), torch.tensor([0, 1, 5])
    seen, info = env.reset(options={"users": met})
    assert (seen.user == N_USERS).all()
    assert seen.item[0].tolist() == [N_ITEMS] * 2, "who likes nothing names nothing"
    assert seen.item[1].tolist() == [N_ITEMS, 3]
    assert (simulator.rating[5, seen.item[2]] >= 4).all()
    assert torch.equal(seen.rating[2], simulator.rating[5, seen.item[2]])
    assert seen.rating[:2].tolist() == [[0, 0], [0, 4]]
    assert info["active"].all()
    excluded = torch.zeros(3, N_ITEMS, dtype=torch.bool)
    excluded[1, 3] = True
    excluded[2, seen.item[2]] = True
    assert torch.equal(env.excluded, excluded)
    assert torch.equal(env.relevant, simulator.likes(met) & ~excluded)
    assert torch.equal(env_of(simulator, known=True).reset(options={"users": met})[0].user, met)


@pytest.mark.parametrize("series", [0.0, 0.25])
def test_sessions_against_a_loop(simulator: Simulator, series: float) -> None:
    """Every step of every session, played again with lists and by the definitions."""
    env = env_of(simulator, horizon=7, n_seed=2, series=series)
    met = torch.tensor([0, 1, 4, 5, 8, 5])
    seen, _ = env.reset(seed=2, options={"users": met})
    shown = [items_of(row) for row in seen.item]
    history: list[list[bool]] = [[] for _ in met]
    for step in range(7):
        scores = torch.randn(6, N_ITEMS, generator=gen(10 + step))
        seen, reward, terminated, truncated, info = env.step(best_item(scores, env.excluded))
        for b, user in enumerate(met.tolist()):
            free = [i for i in range(N_ITEMS) if i not in shown[b]]
            item = max(free, key=lambda i, b=b: float(scores[b, i]))
            stars = float(simulator.rating[user, item])
            shown[b].append(item)
            history[b].append(stars >= 4)
            assert int(info["item"][b]) == item
            assert float(info["rating"][b]) == pytest.approx(stars)
            expected = (stars - 3) / 2 + series * series_by_hand(history[b])[-1]
            assert float(reward[b]) == pytest.approx(expected, abs=1e-6)
            assert items_of(seen.item[b]) == shown[b]
            there = seen.item[b] < N_ITEMS
            assert torch.equal(seen.rating[b, there], simulator.rating[user, shown[b]])
            left = {i for i in range(N_ITEMS) if simulator.rating[user, i] >= 4} - set(shown[b])
            assert set(env.relevant[b].nonzero().flatten().tolist()) == left
        assert not truncated.any()
        assert terminated.all() == terminated.any() == (step == 6)
        assert env.over == (step == 6)


@pytest.mark.parametrize(
    ("stars", "rewards"),
    [
        ([4.0, 3.9, 5.0, 5.0], [0.5, 0.65, 0.8, 1.2]),  # exactly 4 is a like
        ([5.0, 5.0, 1.0, 1.0], [1.0, 1.2, -0.6, -1.2]),  # what came before still counts
        ([1.0, 1.0, 1.0, 5.0, 5.0], [-1.0, -1.2, -1.4, 0.4, 1.2]),  # then a series starts anew
    ],
)
def test_an_answer_is_worth_stars_and_series(stars: list[float], rewards: list[float]) -> None:
    env = env_of(alone(stars), n_seed=0, series=0.2)
    env.reset(options={"users": torch.tensor([0])})
    earned = [float(env.step(torch.tensor([i]))[1]) for i in range(len(stars))]
    assert earned == pytest.approx(rewards, abs=1e-6)


def test_a_series_counts_up_to_the_longest() -> None:
    env = env_of(alone([5.0] * 10 + [1.0] * 10), n_seed=0, horizon=20, series=1.0)
    env.reset(options={"users": torch.tensor([0])})
    rewards = [float(env.step(torch.tensor([i]))[1]) for i in range(20)]
    assert rewards == [1 + min(i, 5) for i in range(10)] + [4] + [
        -1 - min(i, 5) for i in range(1, 10)
    ]


def test_a_step_that_shows_nothing_is_no_part_of_a_series() -> None:
    env = env_of(alone([5.0] * 4), n_seed=0, series=0.5)
    env.reset(options={"users": torch.tensor([0])})
    rewards = [float(env.step(torch.tensor([i]))[1]) for i in (0, 1, 4, 2, 3)]
    assert rewards == [1, 1.5, 0, 2, 2.5]


def test_a_series_is_added_to_any_reward() -> None:
    env = env_of(alone([5.0, 4.0, 1.0]), n_seed=0, series=0.5, reward=liked_reward)
    env.reset(options={"users": torch.tensor([0])})
    assert [float(env.step(torch.tensor([i]))[1]) for i in range(3)] == [1, 1.5, 1]


def test_a_session_terminates_when_every_item_was_shown() -> None:
    env = env_of(alone([5.0, 4.5, 1.0]), n_seed=1, horizon=9)
    env.reset(options={"users": torch.tensor([0])})
    ends = [env.step(best_item(torch.ones(1, 3), env.excluded))[2:4] for _ in range(2)]
    assert [(bool(t), bool(u)) for t, u in ends] == [(False, False), (True, False)]
    assert env.over


def test_only_the_users_named_are_met(simulator: Simulator) -> None:
    env = env_of(simulator, users=torch.tensor([1]), sessions=4, n_seed=1)
    assert env.reset()[0].item.tolist() == [[3]] * 4
    assert env.starts(2, seed=0)[0].tolist() == [1, 1]


def test_on_policy_demonstrations_run_on_simulated_sessions(simulator: Simulator) -> None:
    def first_free(histories: Histories, excluded: torch.Tensor) -> torch.Tensor:
        return (~excluded).byte().argmax(1)

    stream = OnPolicyDemonstrations(env_of(simulator, horizon=3), first_free)
    batches = [next(stream) for _ in range(7)]
    for before, after in zip(batches[:2], batches[1:3], strict=True):
        assert ((after.excluded.int() - before.excluded.int()).sum(1) == 1).all()
        assert not (after.relevant & ~before.relevant).any()
    assert all(not (batch.relevant & batch.excluded).any() for batch in batches)
    likes, rejections = likes_and_rejections(batches[2].histories, 5, N_ITEMS)
    assert ((likes < N_ITEMS).sum(1) + (rejections < N_ITEMS).sum(1) >= 2).all()


# ---------------------------------------------------------------------------------- the protocol


def by_hand(
    score, simulator: Simulator, named: list[int], user: int, steps: int, series: float
) -> tuple[list[int], list[float]]:
    """One user's items and rewards."""
    items, likes, rewards = list(named), [], []
    for _ in range(steps):
        item = torch.tensor([items], dtype=torch.int64)
        scores = score(
            Histories(torch.tensor([simulator.n_users]), item, simulator.rating[user][item])
        )[0]
        shown = max(
            (i for i in range(simulator.n_items) if i not in items), key=lambda i: scores[i]
        )
        items.append(shown)
        likes.append(bool(simulator.rating[user, shown] >= 4))
        bonus = series * series_by_hand(likes)[-1]
        rewards.append(float((simulator.rating[user, shown] - 3) / 2) + bonus)
    return items[len(named) :], rewards


@pytest.mark.parametrize("series", [0.0, 0.2])
def test_the_protocol_against_a_loop(simulator: Simulator, series: float) -> None:
    weights = torch.randn(N_ITEMS + 1, N_ITEMS, generator=gen(3))
    weights[-1] = 0

    def score(histories: Histories) -> torch.Tensor:  # reads items and stars
        return torch.einsum("bh,bhv->bv", histories.rating, weights[histories.item])

    met = torch.tensor([0, 1, 3, 8])
    found = simulated_sessions(
        score, simulator, met, steps=4, n_seed=2, series=series, batch_size=3
    )
    _, named = SimulatedEnv(simulator, users=met, n_seed=2).starts(1, seed=0)
    assert torch.equal(found.users, met)
    for row in range(1, 4):  # user 0 has no history: all items tie
        items, rewards = by_hand(score, simulator, items_of(named[row]), int(met[row]), 4, series)
        assert found.top[row].tolist() == items
        steps = [float(found.metrics[f"step@{t}"][row]) for t in (1, 2, 3, 4)]
        assert steps == pytest.approx(rewards, abs=1e-5)
        assert found.metrics["total@4"][row] == pytest.approx(sum(rewards), abs=1e-5)
        assert found.metrics["reward@4"][row] == pytest.approx(sum(rewards) / 4, abs=1e-5)


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_the_batch_size_changes_nothing(simulator: Simulator, batch_size: int) -> None:
    def score(histories: Histories) -> torch.Tensor:
        return torch.arange(N_ITEMS).float().expand(len(histories), -1)

    whole = simulated_sessions(score, simulator, steps=5)
    found = simulated_sessions(score, simulator, steps=5, batch_size=batch_size)
    assert torch.equal(found.top, whole.top)
    assert (found.metrics["total@5"] == whole.metrics["total@5"]).all()


def test_models_are_told_who_it_is_only_if_it_is_known(simulator: Simulator) -> None:
    told = []

    def score(histories: Histories) -> torch.Tensor:
        told.append(histories.user.tolist())
        return torch.zeros(len(histories), N_ITEMS)

    simulated_sessions(score, simulator, torch.tensor([4, 2]), steps=1)
    simulated_sessions(score, simulator, torch.tensor([4, 2]), steps=1, known=True)
    assert told == [[N_USERS, N_USERS], [4, 2]]


def test_its_own_simulator_is_the_oracle(simulator: Simulator) -> None:
    """The best T stars of the items that were not named, each user; nobody does better."""
    found = simulated_sessions(simulator.score, simulator, steps=4, n_seed=1, known=True)
    _, named = SimulatedEnv(simulator, n_seed=1).starts(1, seed=0)
    for user in range(N_USERS):
        left = [i for i in range(N_ITEMS) if i != int(named[user])]
        best = sorted(((float(simulator.rating[user, i]) - 3) / 2 for i in left), reverse=True)[:4]
        assert found.metrics["total@4"][user] == pytest.approx(sum(best), abs=1e-5)
    other = Simulator(1 + 4 * torch.rand(N_USERS, N_ITEMS, generator=gen(9)))
    theirs = simulated_sessions(other.score, simulator, steps=4, n_seed=1, known=True)
    assert (found.metrics["total@4"] >= theirs.metrics["total@4"] - 1e-6).all()
    assert found.compare(theirs, "total@4").mean > 0


def test_random_earns_the_mean_star() -> None:
    simulator = Simulator(1 + 4 * torch.rand(300, 20, generator=gen()))
    found = simulated_sessions(Random(random_log(300, 20)), simulator, steps=6, n_seed=0)
    expected = float((simulator.rating - 3).mean()) / 2
    assert found.mean()["reward@6"] == pytest.approx(expected, abs=0.05)


def test_whoever_shows_nothing_earns_nothing() -> None:
    simulator = alone([5.0, 5.0, 1.0])

    def score(histories: Histories) -> torch.Tensor:
        return torch.tensor([[1.0, -torch.inf, -torch.inf]])

    found = simulated_sessions(score, simulator, steps=3, n_seed=0)
    assert found.top.tolist() == [[0, 3, 3]]
    assert [float(found.metrics[f"step@{t}"][0]) for t in (1, 2, 3)] == [1, 0, 0]
