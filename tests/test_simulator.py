"""Simulated people, the sessions with them and the protocol, against brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from toys import log_of, random_log

from recsys_rl.agent.demonstrations import OwnSessions
from recsys_rl.baselines.popularity import Random
from recsys_rl.data.histories import Histories
from recsys_rl.data.observation import Observation
from recsys_rl.envs import simulated
from recsys_rl.envs.simulated import (
    LONGEST_RUN,
    NeighbourRatings,
    SimulatedSessions,
    Simulator,
    answer,
    simulated_reward,
    some_likes,
    total_reward,
    two_halves,
)
from recsys_rl.evaluation import scores

N_USERS, N_ITEMS = 9, 14


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def people() -> Simulator:
    """Stars in 1..5, all different; person 0 likes nothing, person 1 a single film."""
    rating = 1 + 4 * torch.rand(N_USERS, N_ITEMS, generator=gen())
    rating[:2] = rating[:2].clamp(max=3.9)
    rating[1, 3] = 4.0
    return Simulator(rating)


def alone(ratings: list[float]) -> Simulator:
    return Simulator(torch.tensor([ratings]))


# ---------------------------------------------------------------------------- rating models


def test_two_halves_share_no_row_and_miss_none():
    log = random_log(40, 30)
    rows = [set(zip(*(t.tolist() for t in (h.user, h.item)), strict=True)) for h in two_halves(log)]
    assert abs(len(rows[0]) - len(rows[1])) <= 1
    assert not rows[0] & rows[1]
    assert len(rows[0] | rows[1]) == len(log)


def test_two_halves_depend_on_the_seed_only():
    log = random_log(40, 30)
    first, again, other = (two_halves(log, seed)[0].item for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert len(first) != len(other) or not torch.equal(first, other)


def slow_neighbours(log, user: int, item: int, model: NeighbourRatings, **how) -> float:
    """The prediction of one pair, by the formula."""
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
        return max(
            0.0, both.sum() / (both.sum() + how["shrinkage"]) * e[both, i] @ e[both, j] / length
        )

    w = np.array([alike(item, j) for j in range(log.n_items)]) ** how["power"]
    w[np.argsort(-w)[how["neighbours"] :]] = 0
    around = (w * e[user]).sum() / (w[there[user]].sum() + how["damping"])
    return mean + b_u[user] + b_i[item] + around


def test_neighbour_ratings_are_those_of_the_formula():
    log, how = random_log(25, 12), {"neighbours": 4, "shrinkage": 3.0, "power": 2.0, "damping": 0.3}
    model = NeighbourRatings(log, batch_size=7, **how)
    found = model.score(log.histories(torch.arange(log.n_users)))
    for user, item in [(0, 0), (3, 5), (7, 11), (24, 2), (12, 7)]:
        assert float(found[user, item]) == pytest.approx(
            slow_neighbours(log, user, item, model, **how), abs=1e-4
        )


def test_neighbour_ratings_read_neither_user_nor_films_without_stars():
    log = random_log(25, 12)
    model = NeighbourRatings(log)
    seen = log.histories(torch.arange(5))
    extra = torch.nn.functional.pad(seen.item, (0, 1), value=11)  # nobody rated the last film
    shown = Histories(seen.user + 3, extra, torch.nn.functional.pad(seen.rating, (0, 1)))
    assert torch.allclose(model.score(seen), model.score(shown))


def test_rating_error_is_that_of_the_pairs_held_out():
    log = random_log()
    known, held_out = two_halves(log)
    table = 6 * torch.rand(log.n_users, log.n_items, generator=gen())
    found = simulated.rating_error(lambda h: table[h.user], known, held_out, batch_size=5)
    errors = table[held_out.user, held_out.item].clamp(1, 5) - held_out.rating
    assert found == pytest.approx(float(errors.square().mean().sqrt()), rel=1e-5)


# ---------------------------------------------------------------------------- the people


def test_a_simulator_clips_predictions_and_keeps_logged_stars():
    log = log_of([(0, 1, 2.0), (2, 0, 0.5)], 3, 3)
    table = torch.tensor([[0.0, 5.0, 9.0], [3.0, 4.0, -2.0], [1.5, 2.5, 5.5]])
    people = Simulator.of(lambda h: table[h.user], log, batch_size=2)
    assert people.rating.tolist() == [[1, 2, 5], [3, 4, 1], [0.5, 2.5, 5]]


def test_a_simulator_predicts_from_each_persons_own_rows():
    log = random_log()

    def mean_stars(histories: Histories) -> torch.Tensor:
        there = (histories.rating > 0).sum(1, keepdim=True)
        return (histories.rating.sum(1, keepdim=True) / there).expand(-1, log.n_items)

    people = Simulator.of(mean_stars, log, batch_size=5)
    for user in range(log.n_users):
        own = log.rating[log.user == user]
        assert float(people.rating[user, -1]) == pytest.approx(max(1, float(own.mean())))


def test_some_likes_are_different_and_uniform_and_padded_on_the_left():
    likes = torch.tensor([[1, 1, 0, 1, 1], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]]).bool()
    drawn = some_likes(likes.repeat(4000, 1), 2, gen()).view(4000, 3, 2)
    assert (drawn[:, 1] == torch.tensor([5, 2])).all()
    assert (drawn[:, 2] == 5).all()
    assert (drawn[:, 0, 0] != drawn[:, 0, 1]).all()
    for place in range(2):
        counts = torch.bincount(drawn[:, 0, place], minlength=5) / 4000
        assert counts.tolist() == pytest.approx([0.25, 0.25, 0, 0.25, 0.25], abs=0.04)


def runs_by_hand(likes: list[bool]) -> list[int]:
    """Length of the series that ends just before each step, with its sign."""
    runs, run = [], 0
    for like in likes:
        runs.append(run)
        run = (max(run, 0) + 1) if like else (min(run, 0) - 1)
        run = max(-LONGEST_RUN, min(LONGEST_RUN, run))
    return runs


@pytest.mark.parametrize(
    ("stars", "run", "reward", "after"),
    [
        (4.0, 0, 0.5, 1),  # exactly 4 is a like
        (3.9, 0, 0.45, -1),
        (5.0, 2, 1.4, 3),
        (1.0, 2, -0.6, -1),  # what came before still counts, then the series starts anew
        (5.0, -3, 0.4, 1),
        (1.0, -LONGEST_RUN, -1 - 0.2 * LONGEST_RUN, -LONGEST_RUN),
    ],
)
def test_an_answer_is_worth_stars_and_series(stars, run, reward, after):
    worth, longer = answer(torch.tensor([stars]), torch.tensor([float(run)]), 0.2)
    assert float(worth) == pytest.approx(reward)
    assert float(longer) == after


# ---------------------------------------------------------------------------- the environment


def sessions_of(people: Simulator, **settings) -> SimulatedSessions:
    vectors = torch.randn(people.n_items, 4, generator=gen(1))
    return SimulatedSessions(people, vectors, **({"sessions": 6, "n": 5} | settings))


def test_a_session_starts_from_liked_films_of_somebody_unknown(people):
    sessions = sessions_of(people, given=2)
    seen, info = sessions.reset(options={"users": torch.tensor([0, 1, 5])})
    assert (seen.user == people.n_users).all()
    assert (seen.memory[:, :3] == N_ITEMS).all()
    assert seen.memory[0].tolist() == [N_ITEMS] * 5
    assert seen.memory[1].tolist() == [N_ITEMS] * 4 + [3]
    assert (people.rating[5, seen.memory[2, 3:]] >= 4).all()
    assert (seen.rejected == N_ITEMS).all()
    assert info["active"].all()
    barred = torch.zeros(3, N_ITEMS, dtype=torch.bool)
    barred[1, 3] = True
    barred[2, seen.memory[2, 3:]] = True
    assert torch.equal(sessions.barred, barred)
    assert torch.equal(sessions.wanted, people.likes(torch.tensor([0, 1, 5])) & ~barred)


def test_the_memory_may_be_shorter_than_what_is_named(people):
    seen, _ = sessions_of(people, given=3, n=2).reset(options={"users": torch.tensor([5])})
    assert seen.memory.shape == (1, 2)
    assert (people.rating[5, seen.memory[0]] >= 4).all()


@pytest.mark.parametrize("streak", [0.0, 0.25])
def test_sessions_against_a_loop(people, streak):
    """Every step of every session, played again with lists and by the definitions."""
    sessions = sessions_of(people, horizon=7, given=2, n=4, streak=streak)
    users = torch.tensor([0, 1, 4, 5, 8, 5])
    seen, _ = sessions.reset(seed=2, options={"users": users})
    memory, rejected = ([[f for f in m if f < N_ITEMS] for m in t.tolist()] for t in seen[1:3])
    used = [set(m) for m in memory]
    history: list[list[bool]] = [[] for _ in users]
    for step in range(7):
        action = torch.randn(6, 4, generator=gen(10 + step))
        seen, reward, terminated, truncated, info = sessions.step(action)
        scores = action @ sessions.item_vectors.T
        for b, user in enumerate(users.tolist()):
            free = [i for i in range(N_ITEMS) if i not in used[b]]
            film = max(free, key=lambda i, b=b: float(scores[b, i]))
            stars = float(people.rating[user, film])
            history[b].append(stars >= 4)
            used[b].add(film)
            (memory if stars >= 4 else rejected)[b].append(film)
            assert int(info["item"][b]) == film
            assert float(info["rating"][b]) == pytest.approx(stars)
            expected = (stars - 3) / 2 + streak * runs_by_hand(history[b])[-1]
            assert float(reward[b]) == pytest.approx(expected, abs=1e-6)
            for found, films in ((seen.memory, memory), (seen.rejected, rejected)):
                last = films[b][-4:]
                assert found[b].tolist() == [N_ITEMS] * (4 - len(last)) + last
            left = {i for i in range(N_ITEMS) if people.rating[user, i] >= 4} - used[b]
            assert set(sessions.wanted[b].nonzero().flatten().tolist()) == left
        assert not terminated.any()
        assert truncated.all() == (step == 6)
        assert sessions.over == (step == 6)


def test_the_longest_run_is_what_a_series_counts_for():
    people = alone([5.0] * 10 + [1.0] * 10)
    sessions = SimulatedSessions(people, torch.zeros(20, 1), given=0, n=2, horizon=20, streak=1.0)
    sessions.reset(options={"users": torch.tensor([0])})
    rewards = [float(sessions.execute(torch.tensor([i]))[1]) for i in range(20)]
    assert rewards == [1 + min(i, 5) for i in range(10)] + [4] + [
        -1 - min(i, 5) for i in range(1, 10)
    ]


def test_a_session_terminates_when_every_film_was_shown():
    people = alone([5.0, 4.5, 1.0])
    sessions = SimulatedSessions(people, torch.ones(3, 1), given=1, n=2, horizon=9)
    sessions.reset(options={"users": torch.tensor([0])})
    ends = [sessions.step(torch.ones(1, 1))[2:4] for _ in range(2)]
    assert [(bool(t), bool(u)) for t, u in ends] == [(False, False), (True, False)]
    assert sessions.over


def test_only_the_people_named_are_met(people):
    sessions = sessions_of(people, users=torch.tensor([1]), sessions=4, given=1)
    assert (sessions.reset()[0].memory[:, -1] == 3).all()


def test_the_same_seed_plays_the_same_and_a_saved_session_goes_on(people):
    first, other = sessions_of(people, streak=0.5), sessions_of(people, streak=0.5)
    first.reset(seed=4)
    for step in range(2):
        first.step(torch.randn(6, 4, generator=gen(step)))
    other.load_state_dict(first.state_dict())
    for step in range(30):  # into the next sessions
        ours, theirs = (s.step(torch.randn(6, 4, generator=gen(step))) for s in (first, other))
        assert torch.equal(ours[1], theirs[1])
        if first.over:
            assert all(map(torch.equal, first.reset()[0], other.reset()[0]))


def test_own_sessions_run_on_simulated_ones(people):
    def act(observation: Observation) -> torch.Tensor:
        return torch.ones(len(observation.user), 4)

    sessions = sessions_of(people, horizon=3)
    stream = OwnSessions(sessions, act)
    moments = [next(stream) for _ in range(7)]
    for before, after in zip(moments[:2], moments[1:3], strict=True):
        assert ((after.barred.int() - before.barred.int()).sum(1) == 1).all()
        assert not (after.wanted & ~before.wanted).any()
    assert all(not (m.wanted & m.barred).any() for m in moments)


# ---------------------------------------------------------------------------- the protocol


def by_hand(score, people: Simulator, start: torch.Tensor, user: int, steps: int, streak: float):
    """One person's films and rewards."""
    films = [f for f in start.tolist() if f < people.n_items]
    n_given, likes, rewards = len(films), [], []
    for _ in range(steps):
        item = torch.tensor([films], dtype=torch.int64)
        stars = people.rating[user][item]
        scores = score(Histories(torch.tensor([people.n_users]), item, stars))[0]
        film = max((i for i in range(people.n_items) if i not in films), key=lambda i: scores[i])
        films.append(film)
        likes.append(bool(people.rating[user, film] >= 4))
        bonus = streak * runs_by_hand(likes)[-1]
        rewards.append(float((people.rating[user, film] - 3) / 2) + bonus)
    return films[n_given:], rewards


@pytest.mark.parametrize("streak", [0.0, 0.2])
def test_the_protocol_against_a_loop(people, streak):
    weights = torch.randn(N_ITEMS + 1, N_ITEMS, generator=gen(3))
    weights[-1] = 0

    def score(histories: Histories) -> torch.Tensor:  # reads films and stars
        return torch.einsum("bh,bhv->bv", histories.rating, weights[histories.item])

    users = torch.tensor([0, 1, 3, 8])
    found = simulated_reward(score, people, users, steps=4, given=2, streak=streak, batch_size=3)
    starts = some_likes(people.likes(users), 2, own_stream(0, "simulated starts"))
    for row in range(1, 4):  # person 0 has no history: all films tie
        user = int(users[row])
        films, rewards = by_hand(score, people, starts[row], user, 4, streak)
        assert found.top[row].tolist() == films
        steps = [float(found.metrics[f"step@{t}"][row]) for t in (1, 2, 3, 4)]
        assert steps == pytest.approx(rewards, abs=1e-5)
        assert found.metrics["total@4"][row] == pytest.approx(sum(rewards), abs=1e-5)
        assert found.metrics["reward@4"][row] == pytest.approx(sum(rewards) / 4, abs=1e-5)
    assert total_reward(found, 4) == pytest.approx(found.metrics["total@4"].sum(), abs=1e-4)
    assert total_reward(found, 1) == pytest.approx(found.metrics["step@1"].sum(), abs=1e-4)


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_the_batch_size_changes_nothing(people, batch_size):
    def score(histories: Histories) -> torch.Tensor:
        return torch.arange(N_ITEMS).float().expand(len(histories), -1)

    whole = simulated_reward(score, people, steps=5)
    found = simulated_reward(score, people, steps=5, batch_size=batch_size)
    assert torch.equal(found.top, whole.top)
    assert (found.metrics["total@5"] == whole.metrics["total@5"]).all()


def test_models_are_told_who_it_is_only_if_it_is_known(people):
    told = []

    def score(histories: Histories) -> torch.Tensor:
        told.append(histories.user.tolist())
        return torch.zeros(len(histories), N_ITEMS)

    simulated_reward(score, people, torch.tensor([4, 2]), steps=1)
    simulated_reward(score, people, torch.tensor([4, 2]), steps=1, known=True)
    assert told == [[N_USERS, N_USERS], [4, 2]]


def test_its_own_simulator_is_the_oracle(people):
    """The best T stars that were not named, each person; nobody does better."""
    found = simulated_reward(people.score, people, steps=4, given=1, known=True)
    named = some_likes(
        people.likes(torch.arange(N_USERS)), 1, own_stream(0, "simulated starts")
    )
    for user in range(N_USERS):
        left = [i for i in range(N_ITEMS) if i != int(named[user])]
        best = sorted(((float(people.rating[user, i]) - 3) / 2 for i in left), reverse=True)[:4]
        assert found.metrics["total@4"][user] == pytest.approx(sum(best), abs=1e-5)
    other = Simulator(1 + 4 * torch.rand(N_USERS, N_ITEMS, generator=gen(9)))
    gap = found.compare(
        simulated_reward(other.score, people, steps=4, given=1, known=True), "total@4"
    )
    assert gap.mean > 0


def test_random_earns_the_mean_star():
    people = Simulator(1 + 4 * torch.rand(300, 20, generator=gen()))
    found = simulated_reward(Random(random_log(300, 20)), people, steps=6, given=0)
    expected = float((people.rating - 3).mean()) / 2
    assert found.mean()["reward@6"] == pytest.approx(expected, abs=0.05)


def test_whoever_shows_nothing_earns_nothing():
    people = alone([5.0, 5.0, 1.0])

    def score(histories: Histories) -> torch.Tensor:
        return torch.tensor([[1.0, -torch.inf, -torch.inf]])

    found = simulated_reward(score, people, steps=3, given=0)
    assert found.top.tolist() == [[0, 3, 3]]
    assert [float(found.metrics[f"step@{t}"][0]) for t in (1, 2, 3)] == [1, 0, 0]


def test_environment_and_protocol_pay_the_same(people):
    """The same people, the same films named and shown: the same rewards."""
    vectors = torch.randn(N_ITEMS, 3, generator=gen(5))
    direction = torch.tensor([[1.0, -2.0, 0.5]])
    users = torch.arange(N_USERS)
    sessions = SimulatedSessions(people, vectors, given=2, n=4, horizon=5, streak=0.3)
    sessions.generator = own_stream(0, "simulated starts")
    sessions.reset(options={"users": users})
    played = [sessions.step(direction.expand(N_USERS, -1))[1] for _ in range(5)]
    found = simulated_reward(
        lambda h: (direction @ vectors.T).expand(len(h), -1), people, steps=5, given=2, streak=0.3
    )
    for t, reward in enumerate(played, start=1):
        assert found.metrics[f"step@{t}"] == pytest.approx(reward.numpy(), abs=1e-5)
