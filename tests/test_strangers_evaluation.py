"""Sessions with strangers against plain Python, and against what can be had at best."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from toys import log_of

# strangers_evaluation
from recsys_rl.baselines.ease import EASE
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.histories import POSITIVE, SHOWN, Histories
from recsys_rl.data.histories import likes_and_rejections
from recsys_rl.embeddings.pmf import PMF
from recsys_rl.evaluation import sessions
from recsys_rl.evaluation.sessions import oracle_sessions, sessions_with_strangers
from recsys_rl.evaluation.statistics import Evaluation

N_ITEMS = 24
STARS = (1.0, 3.5, 4.0, 5.0)  # two of them are likes, two are not

Plain = Callable[[list[int], list[float]], list[float]]  # a history -> scores of all films


def crowd(n_users: int = 14, seed: int = 0) -> Interactions:
    """People with 3 to 20 films of 24; about half of what they rated is liked."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(n_users):
        films = rng.permutation(N_ITEMS)[: rng.integers(3, 21)]
        rows += [(user, int(film), float(rng.choice(STARS))) for film in films]
    return log_of(rows, n_users, N_ITEMS)


def likes_of(people: Interactions) -> list[set[int]]:
    columns = people.user.tolist(), people.item.tolist(), people.rating.tolist()
    rows = list(zip(*columns, strict=True))
    return [{i for u, i, r in rows if u == user and r >= 4} for user in range(people.n_users)]


def batched(plain: Plain) -> Callable[[Histories], torch.Tensor]:
    """The plain model, row by row; padding is not handed to it."""

    def score(histories: Histories) -> torch.Tensor:
        scores = []
        for items, ratings in zip(histories.item.tolist(), histories.rating.tolist(), strict=True):
            there = [place for place, item in enumerate(items) if item < N_ITEMS]
            scores.append(plain([items[p] for p in there], [ratings[p] for p in there]))
        return torch.tensor(scores)

    return score


def tied(items: list[int], ratings: list[float]) -> list[float]:
    """Three different scores; they depend on all films, their ratings and their order."""
    moved = sum((p + 2) * (i + 1) * (r + 1) for p, (i, r) in enumerate(zip(items, ratings)))  # noqa: B905
    return [float((i * 7 + int(moved) * (i + 3)) % 5 // 2) for i in range(N_ITEMS)]


def untied(items: list[int], ratings: list[float]) -> list[float]:
    return [score + i / 1000 for i, score in enumerate(tied(items, ratings))]


class Spy:
    """A score function that keeps what it was given and what it answered."""

    def __init__(self, score: Callable[[Histories], torch.Tensor]) -> None:
        self.score, self.calls, self.answers = score, [], []

    def __call__(self, histories: Histories) -> torch.Tensor:
        self.calls.append(histories)
        self.answers.append(self.score(histories))
        return self.answers[-1]


def value(result: Evaluation, name: str) -> list[float]:
    return result.metrics[name].tolist()


def equal(one: Evaluation, two: Evaluation) -> bool:
    same = one.metrics.keys() == two.metrics.keys() and torch.equal(one.users, two.users)
    return same and all(np.array_equal(one.metrics[n], two.metrics[n]) for n in one.metrics)


# ------------------------------------------------------------------------------- plain Python


@pytest.mark.parametrize("batch_size", [4, 7, 512])
@pytest.mark.parametrize(("draws", "given"), [(3, 3), (1, 1)])
def test_every_session_against_plain_python(batch_size: int, draws: int, given: int) -> None:
    """The model ties often: the film shown must be one of the best, whichever."""
    people, steps = crowd(), 9
    liked, spy = likes_of(people), Spy(batched(tied))
    result = sessions_with_strangers(spy, people, (2, steps), draws, given, batch_size)
    users = [user for user, films in enumerate(liked) if len(films) >= given + 3]
    assert result.users.tolist() == users
    assert 4 < len(users) < people.n_users, "some take part, some do not"
    assert result.top.shape == (len(users), draws, steps)
    assert result.top.dtype == torch.int64
    assert result.weights is None
    names = ["reward@2", f"reward@{steps}", *(f"step@{t}" for t in range(1, steps + 1))]
    assert list(result.metrics) == names

    sessions = len(users) * draws
    batches = -(-sessions // batch_size)
    assert len(spy.calls) == batches * steps
    rewards = np.zeros((len(users), draws, steps))
    for session in range(sessions):
        person, draw = divmod(session, draws)
        batch, row = divmod(session, batch_size)
        first = spy.calls[batch * steps]
        items, ratings = first.item[row].tolist(), [POSITIVE] * given
        assert len(set(items)) == given
        assert set(items) <= liked[users[person]]
        for step in range(steps):
            call, answer = (part[batch * steps + step] for part in (spy.calls, spy.answers))
            assert int(call.user[row]) == people.n_users
            assert call.item[row].tolist() == items
            assert call.rating[row].tolist() == ratings
            scores = answer[row].tolist()
            film = int(result.top[person, draw, step])
            assert film not in items
            assert scores[film] == max(scores[i] for i in range(N_ITEMS) if i not in items)
            hit = film in liked[users[person]]
            rewards[person, draw, step] = hit
            items, ratings = [*items, film], [*ratings, POSITIVE if hit else SHOWN]
    for step in range(steps):
        wanted = rewards[:, :, step].mean(1)
        assert value(result, f"step@{step + 1}") == pytest.approx(wanted, abs=1e-6)
    for horizon in (2, steps):
        wanted = rewards[:, :, :horizon].mean((1, 2))
        assert value(result, f"reward@{horizon}") == pytest.approx(wanted, abs=1e-6)


def test_without_ties_the_films_are_those_of_a_plain_loop() -> None:
    people, steps = crowd(), 8
    liked, spy = likes_of(people), Spy(batched(untied))
    result = sessions_with_strangers(spy, people, (steps,), 2)
    for person, user in enumerate(result.users.tolist()):
        for draw in range(2):
            items = spy.calls[0].item[person * 2 + draw].tolist()
            ratings = [POSITIVE] * 3
            for _ in range(steps):
                scores = untied(items, ratings)
                film = max(set(range(N_ITEMS)) - set(items), key=scores.__getitem__)
                items.append(film)
                ratings.append(4.0 if film in liked[user] else 0.0)
            assert result.top[person, draw].tolist() == items[3:]


def test_steps_average_to_rewards() -> None:
    horizons = (1, 4, 9)
    result = sessions_with_strangers(batched(tied), crowd(), horizons)
    steps = np.stack([result.metrics[f"step@{t}"] for t in range(1, 10)], 1)
    for horizon in horizons:
        wanted = steps[:, :horizon].mean(1)
        assert value(result, f"reward@{horizon}") == pytest.approx(wanted, abs=1e-6)
    assert value(result, "reward@1") == value(result, "step@1")
    assert result.mean()["reward@9"] == pytest.approx(steps.mean(), abs=1e-6)


def test_a_longer_horizon_continues_the_same_sessions() -> None:
    short, long = (
        sessions_with_strangers(batched(untied), crowd(), horizons) for horizons in ((4,), (4, 11))
    )
    assert torch.equal(short.top, long.top[:, :, :4])
    assert value(short, "reward@4") == value(long, "reward@4")


def test_the_order_of_horizons_does_not_matter() -> None:
    one, two = (sessions_with_strangers(batched(untied), crowd(), h) for h in ((7, 3), (3, 7)))
    assert torch.equal(one.top, two.top)
    assert value(one, "reward@3") == value(two, "reward@3")


# ---------------------------------------------------------------------------- the best there is


def test_a_perfect_scorer_equals_the_oracle() -> None:
    """It is told who each session is with; 40 steps are more than anybody has films."""
    people, draws = crowd(), 4
    settings = {"horizons": (3, 10, 40), "draws": draws}
    oracle = oracle_sessions(people, **settings)
    likes = torch.zeros(people.n_users, N_ITEMS)
    for user, films in enumerate(likes_of(people)):
        likes[user, list(films)] = 1
    known = likes[oracle.users].repeat_interleave(draws, 0)
    assert equal(sessions_with_strangers(lambda _: known, people, **settings), oracle)
    worst = sessions_with_strangers(lambda _: -known, people, **settings)
    assert worst.mean()["reward@3"] == 0
    assert value(worst, "reward@40") == value(oracle, "reward@40"), "in the end all are shown"
    assert oracle.compare(worst, "reward@10").mean > 0, "the same users and protocol"


@pytest.mark.parametrize("given", [1, 3])
def test_the_oracle_in_closed_form(given: int) -> None:
    people, horizons = crowd(), (3, 5, 20)
    oracle = oracle_sessions(people, horizons, given=given)
    counts = [len(films) - given for films in likes_of(people) if len(films) >= given + 3]
    assert len(oracle.users) == len(counts)
    assert set(value(oracle, "reward@3")) == {1.0}, "everybody has three left"
    for horizon in horizons:
        wanted = [min(horizon, left) / horizon for left in counts]
        assert value(oracle, f"reward@{horizon}") == pytest.approx(wanted)
    for step in range(1, 21):
        assert value(oracle, f"step@{step}") == [float(step <= left) for left in counts]


def test_nobody_is_better_than_the_oracle() -> None:
    oracle = oracle_sessions(crowd())
    result = sessions_with_strangers(batched(tied), crowd())
    for horizon in (3, 10, 20, 40):
        assert (result.metrics[f"reward@{horizon}"] <= oracle.metrics[f"reward@{horizon}"]).all()


# ------------------------------------------------------------------------------- who takes part


def test_who_takes_part() -> None:
    """given + 3 likes are enough and one less is not; 4 stars are a like and 3.5 are not."""
    rows = [(0, film, 4.0) for film in range(6)]
    rows += [(1, film, 5.0) for film in range(5)] + [(1, 6, 3.5), (1, 7, 3.5)]
    rows += [(3, film, 4.5) for film in range(7)]
    people = log_of(rows, 5, N_ITEMS)
    for judged in (sessions_with_strangers(batched(tied), people, (3,)), oracle_sessions(people)):
        assert judged.users.tolist() == [0, 3]
    assert oracle_sessions(people, given=4).users.tolist() == [3]
    assert oracle_sessions(people, given=2).users.tolist() == [0, 1, 3]
    for judge in (oracle_sessions, lambda p, **s: sessions_with_strangers(batched(tied), p, **s)):
        with pytest.raises(ValueError, match="no user"):
            judge(people, given=5)


def test_what_was_rated_low_earns_nothing_and_is_told_as_shown() -> None:
    rows = [(0, film, 5.0) for film in range(8)] + [(0, 8, 3.5), (0, 9, 1.0)]
    spy = Spy(lambda histories: torch.arange(N_ITEMS).eq(8).float().expand(len(histories), -1))
    result = sessions_with_strangers(spy, log_of(rows, 1, N_ITEMS), (2,), 1)
    assert result.top[0, 0, 0] == 8
    assert value(result, "step@1") == [0]
    assert spy.calls[1].item[0, -1] == 8
    assert spy.calls[1].rating[0].tolist() == [4, 4, 4, 0]


# ------------------------------------------------------------------------------ what is drawn


def seeds_of(score: Callable[[Histories], torch.Tensor], **settings) -> torch.Tensor:
    """The named films of all sessions, int64 [S, given]."""
    spy, settings = Spy(score), {"horizons": (2,)} | settings
    sessions_with_strangers(spy, crowd(), **settings)
    return torch.cat([call.item for call in spy.calls if call.item.shape[1] == 3])


def constant(histories: Histories) -> torch.Tensor:
    return torch.zeros(len(histories), N_ITEMS)


def test_the_same_seeds_whatever_the_model_the_batch_and_the_horizon() -> None:
    seeds = seeds_of(batched(untied))
    for same in (
        seeds_of(constant),
        seeds_of(constant, horizons=(9,)),
        seeds_of(constant, batch_size=3),
        seeds_of(constant, draws=7).view(-1, 7, 3)[:, :5].flatten(0, 1),
    ):
        assert torch.equal(same, seeds)
    assert not torch.equal(seeds_of(constant, seed=1), seeds)
    draws = seeds.view(-1, 5, 3)
    assert not (draws[:, :1] == draws[:, 1:]).all(2).all(1).any(), "the draws differ"


def test_seeds_are_even_in_films_and_in_order() -> None:
    people = log_of([(0, film, 4.0) for film in range(2, 10)] + [(0, 20, 1.0)], 1, N_ITEMS)
    spy = Spy(constant)
    sessions_with_strangers(spy, people, (1,), draws=4000, batch_size=4000)
    for place in range(3):
        share = torch.bincount(spy.calls[0].item[:, place], minlength=N_ITEMS) / 4000
        wanted = [0.125 if 2 <= film < 10 else 0 for film in range(N_ITEMS)]
        np.testing.assert_allclose(share, wanted, atol=0.025)


def test_ties_are_even_among_what_was_neither_named_nor_shown() -> None:
    """So that a constant scorer earns, at every step, the share of films that are liked."""
    people = log_of([(0, film, 5.0) for film in range(8)], 1, 12)
    score = lambda histories: torch.zeros(len(histories), 12)  # noqa: E731
    result = sessions_with_strangers(score, people, (9,), draws=4000, batch_size=4000)
    for step in range(1, 10):
        assert value(result, f"step@{step}") == pytest.approx([5 / 9], abs=0.03)
    assert (result.top.sort(2).values.diff(dim=2) > 0).all(), "nothing is shown twice"


def test_seeds_and_ties_have_streams_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn from the same numbers, they would be correlated."""
    asked = {}

    def stream(seed: int, name: str) -> torch.Generator:
        asked[name] = (seed, torch.Generator().manual_seed(len(asked)))
        return asked[name][1]

    monkeypatch.setattr(sessions, "own_stream", stream)
    sessions_with_strangers(constant, crowd(), (2,), seed=7)
    assert asked.keys() == {"seeds", "ties"}
    for name, (seed, generator) in asked.items():
        fresh = torch.Generator().manual_seed(list(asked).index(name))
        assert seed == 7
        assert not torch.equal(generator.get_state(), fresh.get_state()), f"{name} was not used"


def test_a_run_repeats_and_leaves_the_global_generator_alone() -> None:
    state = torch.random.get_rng_state()
    one, two = (sessions_with_strangers(batched(tied), crowd(), (6,)) for _ in range(2))
    assert torch.equal(one.top, two.top)
    assert equal(one, two)
    assert torch.equal(torch.random.get_rng_state(), state)


# --------------------------------------------------------------------------- films that run out


def test_who_has_nothing_left_to_like_earns_nothing_more() -> None:
    people = log_of([(0, film, 5.0) for film in range(6)], 1, N_ITEMS)
    order = torch.arange(N_ITEMS, 0, -1.0)
    result = sessions_with_strangers(lambda h: order.expand(len(h), -1), people, (3, 12), 2)
    steps = [value(result, f"step@{step}")[0] for step in range(1, 13)]
    assert steps == [1.0] * 3 + [0.0] * 9
    assert value(result, "reward@12") == [0.25]


def test_a_catalogue_that_is_used_up_is_padded() -> None:
    """Ten films, three named: seven steps. Histories stay LEFT-padded and hold no film twice."""
    people = log_of([(0, film, 5.0) for film in range(6)], 1, 10)
    spy = Spy(lambda histories: torch.arange(10.0).expand(len(histories), -1))
    result = sessions_with_strangers(spy, people, (9,), 2)
    for draw in range(2):
        shown = result.top[0, draw].tolist()
        assert shown[7:] == [10, 10]
        assert sorted(shown[:7] + spy.calls[0].item[draw].tolist()) == list(range(10))
    assert value(result, "reward@9") == pytest.approx([3 / 9])
    last = spy.calls[-1]
    assert last.item[:, 0].tolist() == [10, 10]
    assert last.rating[:, 0].tolist() == [0, 0]
    assert (last.item[:, 1:] < 10).all()


def test_a_film_at_minus_infinity_is_shown_when_the_model_changes_its_mind() -> None:
    """While no film may be shown nothing happens, to none of the films."""
    people = log_of([(0, film, 5.0) for film in range(6)], 1, 7)

    class Late:
        calls = 0

        def __call__(self, histories: Histories) -> torch.Tensor:
            self.calls += 1
            scores = torch.full((len(histories), 7), -torch.inf)
            scores[:, 6] = 1.0 if self.calls == 3 else -torch.inf
            return scores

    result = sessions_with_strangers(Late(), people, (4,), 1)
    assert result.top[0, 0].tolist() == [7, 7, 6, 7]
    assert value(result, "reward@4") == [0]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_scores_that_cannot_be_ranked_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="NaN or"):
        sessions_with_strangers(lambda h: constant(h).fill_(bad), crowd(), (1,))


# --------------------------------------------------------------------- what models make of SHOWN


def test_who_reads_what_was_not_liked_does_better_than_who_does_not() -> None:
    """Films come in groups of four, and a person likes all of a group or nothing of it. Whoever
    goes through the films in order and learns loses one step for each group, not four."""
    groups, first_liked = 6, 4
    rows = [(0, film, 5.0) for film in range(4 * first_liked, 4 * groups)]
    people = log_of(rows, 1, N_ITEMS)

    def model(read: Callable[[float], bool]) -> Plain:
        def plain(items: list[int], ratings: list[float]) -> list[float]:
            bad = {i // 4 for i, r in zip(items, ratings, strict=True) if r < 4 and read(r)}
            return [-film - 100.0 * (film // 4 in bad) for film in range(N_ITEMS)]

        return plain

    settings = {"horizons": (9, 21), "draws": 3}
    seeing, blind = (
        sessions_with_strangers(batched(model(read)), people, **settings)
        for read in (lambda rating: True, lambda rating: rating > 0)
    )
    for result, wrong in ((seeing, first_liked), (blind, 4 * first_liked)):
        steps = [value(result, f"step@{t}")[0] for t in range(1, 22)]
        assert steps == [0.0] * wrong + [1.0] * 5 + [0.0] * (16 - wrong)
    assert value(seeing, "reward@9")[0] > value(blind, "reward@9")[0] == 0
    assert value(seeing, "reward@21") == value(blind, "reward@21")


def test_shown_is_no_rating_for_baselines_and_a_rejection_for_our_states() -> None:
    people = crowd(40)
    item = torch.tensor([[3, 7, 11, 2, 5], [9, 4, 1, 8, 0]])
    rating = torch.tensor([[4, 4, 4, SHOWN, 4], [4, 4, 4, SHOWN, SHOWN]])
    told = Histories(torch.full((2,), people.n_users), item, rating)
    padded = item.masked_fill(rating == SHOWN, N_ITEMS)
    untold = Histories(told.user, padded, rating)
    for score in (
        EASE(people),
        EASE(people, min_rating=POSITIVE),
        PMF(people.n_users, N_ITEMS, 4, generator=torch.Generator().manual_seed(0)).score,
    ):
        torch.testing.assert_close(score(told), score(untold))
    liked, rejected = likes_and_rejections(told, 4, N_ITEMS)
    assert liked.tolist() == [[3, 7, 11, 5], [24, 9, 4, 1]]
    assert rejected.tolist() == [[24, 24, 24, 2], [24, 24, 8, 0]]
