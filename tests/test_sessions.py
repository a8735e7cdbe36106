"""Whole sessions against plain loops, and against what can be had at best."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from toys import log_of, mixed_log, random_log

from recsys_rl.data.histories import POSITIVE, SHOWN, Histories
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.rewards import paper_reward
from recsys_rl.data.splits import random_split
from recsys_rl.envs.base import SessionEnv
from recsys_rl.envs.cold_start import ColdStartEnv
from recsys_rl.envs.logged import LoggedEnv, RerankingEnv
from recsys_rl.envs.simulated import SimulatedEnv, Simulator
from recsys_rl.evaluation.sessions import cold_start_oracle, cold_start_sessions, roll_out
from recsys_rl.evaluation.statistics import Evaluation

N_ITEMS = 24
Score = Callable[[Histories], Tensor]
Plain = Callable[[list[int], list[float]], list[float]]  # a history -> scores of all items


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batched(plain: Plain) -> Score:
    """The plain model, row by row; padding is not handed to it."""

    def score(histories: Histories) -> Tensor:
        scores = []
        for items, ratings in zip(histories.item.tolist(), histories.rating.tolist(), strict=True):
            there = [place for place, item in enumerate(items) if item < N_ITEMS]
            scores.append(plain([items[p] for p in there], [ratings[p] for p in there]))
        return torch.tensor(scores)

    return score


def tied(items: list[int], ratings: list[float]) -> list[float]:
    """Three different scores; they depend on all items, their ratings and their order."""
    pairs = enumerate(zip(items, ratings, strict=True))
    moved = int(sum((p + 2) * (i + 1) * (r + 1) for p, (i, r) in pairs))
    return [float((i * 7 + moved * (i + 3)) % 5 // 2) for i in range(N_ITEMS)]


def untied(items: list[int], ratings: list[float]) -> list[float]:
    return [score + i / 1000 for i, score in enumerate(tied(items, ratings))]


def constant(histories: Histories) -> Tensor:
    return torch.zeros(len(histories), N_ITEMS)


class Recorded:
    """A score function that keeps what it was asked and what it answered."""

    def __init__(self, score: Score) -> None:
        self.score, self.asked, self.answers = score, [], []

    def __call__(self, histories: Histories) -> Tensor:
        self.asked.append(histories)
        self.answers.append(self.score(histories))
        return self.answers[-1]


def likes_of(users: Interactions) -> list[set[int]]:
    liked = users.select(users.rating >= POSITIVE)
    return [set(liked.item[liked.user == user].tolist()) for user in range(users.n_users)]


def values(result: Evaluation, name: str) -> list[float]:
    return result.metrics[name].tolist()


def equal(one: Evaluation, two: Evaluation) -> bool:
    same = one.metrics.keys() == two.metrics.keys() and torch.equal(one.users, two.users)
    return same and all(np.array_equal(one.metrics[n], two.metrics[n]) for n in one.metrics)


# ---------------------------------------------------------------------------- roll_out


class Minimal:
    """The least that `roll_out` needs; the reward is the item's index."""

    n_items = 4

    def __init__(self) -> None:
        self.excluded = torch.zeros(2, 4, dtype=torch.bool)
        self.items = torch.zeros(2, 0, dtype=torch.int64)

    def observation(self) -> Histories:
        elapsed = torch.full((2,), self.items.shape[1] / 4)
        return Histories(torch.zeros(2).long(), self.items, torch.ones(self.items.shape), elapsed)

    def step(self, item: Tensor) -> tuple:
        self.excluded = self.excluded.scatter(1, item.unsqueeze(1), True)
        self.items = torch.cat([self.items, item.unsqueeze(1)], 1)
        return self.observation(), item.float(), None, None, {}


def test_an_environment_needs_no_more_than_reset_and_step() -> None:
    score = Recorded(lambda histories: torch.tensor([[0.0, 1, 2, 3], [3.0, 2, 1, 0]]))
    items, rewards = roll_out(score, Minimal(), 3, gen())
    assert items.tolist() == [[3, 2, 1], [0, 1, 2]]
    assert torch.equal(rewards, items.float())
    assert [call.elapsed.tolist() for call in score.asked] == [[0, 0], [0.25, 0.25], [0.5, 0.5]]
    assert [call.item.shape[1] for call in score.asked] == [0, 1, 2]


def logged() -> SessionEnv:
    env = LoggedEnv(random_log(40, N_ITEMS), sessions=6, n=3, generator=gen())
    env.reset()
    return env


def cold_start() -> SessionEnv:
    env = ColdStartEnv(mixed_log(), sessions=6, generator=gen())
    env.reset()
    return env


def simulated() -> SessionEnv:
    stars = 1 + 4 * torch.rand(6, N_ITEMS, generator=gen())
    env = SimulatedEnv(Simulator(stars), sessions=6, series=0.5, generator=gen())
    env.reset()
    return env


def reranking() -> SessionEnv:
    split = random_split(random_log(6, N_ITEMS), 0.5)
    env = RerankingEnv(split.train, split.test, paper_reward, 10)
    env.reset(options={"users": split.test.user.unique()})
    return env


@pytest.mark.parametrize("make", [logged, cold_start, simulated, reranking])
def test_roll_out_shows_the_best_item_until_none_is_left(make: Callable[[], SessionEnv]) -> None:
    env, by_hand = make(), make()
    items, rewards = roll_out(batched(untied), env, 8, gen())
    histories = by_hand.observation()
    for step in range(8):
        scores, best = batched(untied)(histories), []
        for row, excluded in enumerate(by_hand.excluded.tolist()):
            left = [item for item in range(N_ITEMS) if not excluded[item]]
            best.append(max(left, key=scores[row].tolist().__getitem__, default=N_ITEMS))
        best = torch.tensor(best)
        histories, reward, *_, info = by_hand.step(best)
        assert torch.equal(items[:, step], best)
        assert torch.equal(rewards[:, step], reward * info["active"])
    assert (rewards != 0).any()


def test_nothing_is_earned_after_the_end_of_a_session() -> None:
    short, long = (ColdStartEnv(mixed_log(), horizon=h, generator=gen()) for h in (3, 8))
    users, seed_items = short.starts(1, 0)
    earned = []
    for env in (short, long):
        env.reset(options={"users": users, "seed_items": seed_items})
        earned.append(roll_out(batched(untied), env, 8, gen()))
    assert torch.equal(earned[0][1][:, :3], earned[1][1][:, :3])
    assert not earned[0][1][:, 3:].any()


@pytest.mark.parametrize("steps", [0, -1, 2.5, True])
def test_a_roll_out_has_a_step(steps: object) -> None:
    with pytest.raises(ValueError, match="steps is a whole number of at least 1"):
        roll_out(batched(untied), cold_start(), steps, gen())


# ---------------------------------------------------------------------------- plain Python


@pytest.mark.parametrize("batch_size", [4, 7, 512])
@pytest.mark.parametrize(("draws", "n_seed"), [(3, 3), (1, 1)])
def test_every_session_against_plain_python(batch_size: int, draws: int, n_seed: int) -> None:
    """The model ties often: the item shown must be one of the best, whichever."""
    users, steps = mixed_log(), 9
    liked, score = likes_of(users), Recorded(batched(tied))
    result = cold_start_sessions(score, users, (2, steps), draws, n_seed, batch_size)
    met = [user for user, items in enumerate(liked) if len(items) >= n_seed + 3]
    assert result.users.tolist() == met
    assert 4 < len(met) < users.n_users, "some take part, some do not"
    assert result.top.shape == (len(met), draws, steps)
    assert result.weights is None
    names = ["reward@2", f"reward@{steps}", *(f"step@{t}" for t in range(1, steps + 1))]
    assert list(result.metrics) == names
    rewards = np.zeros((len(met), draws, steps))
    for session in range(len(met) * draws):
        user, draw = divmod(session, draws)
        batch, row = divmod(session, batch_size)
        items = score.asked[batch * steps].item[row].tolist()
        ratings = [POSITIVE] * n_seed
        assert len(set(items)) == n_seed
        assert set(items) <= liked[met[user]]
        for step in range(steps):
            asked, scores = score.asked[batch * steps + step], score.answers[batch * steps + step]
            assert int(asked.user[row]) == users.n_users
            assert float(asked.elapsed[row]) == pytest.approx(step / steps)
            assert asked.item[row].tolist() == items
            assert asked.rating[row].tolist() == ratings
            item = int(result.top[user, draw, step])
            assert item not in items
            best = max(float(scores[row, i]) for i in range(N_ITEMS) if i not in items)
            assert float(scores[row, item]) == best
            rewards[user, draw, step] = hit = item in liked[met[user]]
            items, ratings = [*items, item], [*ratings, POSITIVE if hit else SHOWN]
    for step in range(steps):
        expected = rewards[:, :, step].mean(1)
        assert values(result, f"step@{step + 1}") == pytest.approx(expected, abs=1e-6)
    for horizon in (2, steps):
        expected = rewards[:, :, :horizon].mean((1, 2))
        assert values(result, f"reward@{horizon}") == pytest.approx(expected, abs=1e-6)


def test_a_longer_horizon_goes_on_with_the_same_sessions() -> None:
    """And horizons may come in any order."""
    short, long, reverse = (
        cold_start_sessions(batched(untied), mixed_log(), horizons)
        for horizons in ((4,), (4, 11), (11, 4))
    )
    assert torch.equal(short.top, long.top[:, :, :4])
    assert torch.equal(reverse.top, long.top)
    assert values(short, "reward@4") == values(long, "reward@4") == values(reverse, "reward@4")


# ---------------------------------------------------------------------------- the oracle


def test_a_perfect_scorer_equals_the_oracle() -> None:
    """It is told who each session is with; 40 steps are more than there are items."""
    users, draws = mixed_log(), 4
    options = {"horizons": (3, 10, 40)}
    oracle = cold_start_oracle(users, **options)
    likes = torch.zeros(users.n_users, N_ITEMS)
    for user, items in enumerate(likes_of(users)):
        likes[user, list(items)] = 1
    known = likes[oracle.users].repeat_interleave(draws, 0)
    best, worst = (
        cold_start_sessions(lambda _, s=scores: s, users, draws=draws, **options)
        for scores in (known, -known)
    )
    assert equal(best, oracle)
    assert worst.mean()["reward@3"] == 0
    assert values(worst, "reward@40") == values(oracle, "reward@40"), "in the end all are shown"
    assert oracle.compare(worst, "reward@10").mean > 0, "the same users and protocol"
    some = cold_start_sessions(batched(tied), users, **options)
    assert all(
        (some.metrics[f"reward@{t}"] <= oracle.metrics[f"reward@{t}"]).all() for t in (3, 10)
    )


@pytest.mark.parametrize("n_seed", [1, 3])
def test_the_oracle_in_closed_form(n_seed: int) -> None:
    users, horizons = mixed_log(), (3, 5, 20)
    oracle = cold_start_oracle(users, horizons, n_seed=n_seed)
    left = [len(items) - n_seed for items in likes_of(users) if len(items) >= n_seed + 3]
    assert len(oracle.users) == len(left)
    assert set(values(oracle, "reward@3")) == {1.0}, "every user has three left"
    for horizon in horizons:
        expected = [min(horizon, count) / horizon for count in left]
        assert values(oracle, f"reward@{horizon}") == pytest.approx(expected)
    for step in range(1, 21):
        assert values(oracle, f"step@{step}") == [float(step <= count) for count in left]


def test_who_takes_part() -> None:
    """n_seed + 3 likes are enough and one less is not; the oracle says the same."""
    rows = [(0, item, 4.0) for item in range(6)]
    rows += [(1, item, 5.0) for item in range(5)] + [(1, 6, 3.5), (1, 7, 3.5)]
    rows += [(3, item, 4.5) for item in range(7)]
    users = log_of(rows, 5, N_ITEMS)
    for n_seed, expected in ((2, [0, 1, 3]), (3, [0, 3]), (4, [3])):
        assert cold_start_oracle(users, (3,), n_seed).users.tolist() == expected
        played = cold_start_sessions(constant, users, (3,), n_seed=n_seed)
        assert played.users.tolist() == expected
    for refused in (cold_start_oracle, lambda u, **how: cold_start_sessions(constant, u, **how)):
        with pytest.raises(ValueError, match="nobody liked 8 items"):
            refused(users, n_seed=5)


# ---------------------------------------------------------------------------- what is drawn


def seed_items_of(score: Score, **options) -> Tensor:
    """The seed items of all sessions, int64 [S, 3]."""
    recorded = Recorded(score)
    cold_start_sessions(recorded, mixed_log(), **({"horizons": (2,)} | options))
    return torch.cat([asked.item for asked in recorded.asked if asked.item.shape[1] == 3])


@pytest.mark.parametrize("same", [{}, {"horizons": (9,)}, {"batch_size": 3}, {"draws": 7}])
def test_seed_items_are_the_same_whatever_is_evaluated(same: dict) -> None:
    """Another model, a longer horizon, smaller batches; more draws begin with the same."""
    seed_items = seed_items_of(batched(untied)).view(-1, 5, 3)
    found = seed_items_of(constant, **same)
    assert torch.equal(found.view(len(seed_items), -1, 3)[:, :5], seed_items)


def test_seed_items_differ_between_draws_and_seeds() -> None:
    first, other = (seed_items_of(constant, seed=seed).view(-1, 5, 3) for seed in (0, 1))
    assert not torch.equal(first, other)
    assert not (first[:, :1] == first[:, 1:]).all(2).all(1).any()


def test_ties_are_even_among_what_was_neither_named_nor_shown() -> None:
    """So a constant scorer earns, at every step, the share of items that are liked."""
    users = log_of([(0, item, 5.0) for item in range(8)], 1, 12)
    result = cold_start_sessions(
        lambda histories: torch.zeros(len(histories), 12), users, (9,), draws=4000, batch_size=4000
    )
    for step in range(1, 10):
        assert values(result, f"step@{step}") == pytest.approx([5 / 9], abs=0.03)
    assert (result.top.sort(2).values.diff(dim=2) > 0).all(), "nothing is shown twice"


def test_a_run_repeats_and_leaves_the_global_generator_alone() -> None:
    state = torch.random.get_rng_state()
    one, two = (cold_start_sessions(batched(tied), mixed_log(), (6,)) for _ in range(2))
    assert torch.equal(one.top, two.top)
    assert equal(one, two)
    assert torch.equal(torch.random.get_rng_state(), state)


# ---------------------------------------------------------------------------- items that run out


def test_who_has_nothing_left_to_like_earns_nothing_more() -> None:
    users = log_of([(0, item, 5.0) for item in range(6)], 1, N_ITEMS)
    order = torch.arange(N_ITEMS, 0, -1.0)
    result = cold_start_sessions(lambda h: order.expand(len(h), -1), users, (3, 12), 2)
    steps = [values(result, f"step@{step}")[0] for step in range(1, 13)]
    assert steps == [1.0] * 3 + [0.0] * 9
    assert values(result, "reward@12") == [0.25]


def test_a_catalogue_that_is_used_up_is_padded() -> None:
    """Ten items, three of them seeds: seven steps. Histories stay LEFT-padded."""
    users = log_of([(0, item, 5.0) for item in range(6)], 1, 10)
    score = Recorded(lambda histories: torch.arange(10.0).expand(len(histories), -1))
    result = cold_start_sessions(score, users, (9,), 2)
    for draw in range(2):
        shown = result.top[0, draw].tolist()
        assert shown[7:] == [10, 10]
        assert sorted(shown[:7] + score.asked[0].item[draw].tolist()) == list(range(10))
    assert values(result, "reward@9") == pytest.approx([3 / 9])
    last = score.asked[-1]
    assert last.item[:, 0].tolist() == [10, 10]
    assert last.rating[:, 0].tolist() == [0, 0]
    assert (last.item[:, 1:] < 10).all()


def test_an_item_at_minus_infinity_is_shown_when_the_model_changes_its_mind() -> None:
    """While no item may be shown nothing happens, to none of the items."""
    users = log_of([(0, item, 5.0) for item in range(6)], 1, 7)

    def late(histories: Histories) -> Tensor:
        scores = torch.full((len(histories), 7), -torch.inf)
        scores[histories.elapsed == 2 / 4, 6] = 1.0
        return scores

    result = cold_start_sessions(late, users, (4,), 1)
    assert result.top[0, 0].tolist() == [7, 7, 6, 7]
    assert values(result, "reward@4") == [0]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_scores_that_cannot_be_ranked_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="NaN or"):
        cold_start_sessions(lambda h: constant(h).fill_(bad), mixed_log(), (1,))


# ---------------------------------------------------------------------------- what SHOWN is for


@pytest.mark.parametrize(("reads_shown", "wrong"), [(True, 4), (False, 16)])
def test_who_reads_what_was_not_liked_loses_fewer_steps(reads_shown: bool, wrong: int) -> None:
    """Items come in groups of four, and the user likes the two last groups and nothing else.

    Whoever goes through the items in order and learns loses one step for each group, not four.
    """
    users = log_of([(0, item, 5.0) for item in range(16, N_ITEMS)], 1, N_ITEMS)

    def model(items: list[int], ratings: list[float]) -> list[float]:
        told = zip(items, ratings, strict=True)
        bad = {item // 4 for item, stars in told if reads_shown and stars == SHOWN}
        return [-item - 100.0 * (item // 4 in bad) for item in range(N_ITEMS)]

    result = cold_start_sessions(batched(model), users, (9, 21), draws=3)
    steps = [values(result, f"step@{t}")[0] for t in range(1, 22)]
    assert steps == [0.0] * wrong + [1.0] * 5 + [0.0] * (16 - wrong)
