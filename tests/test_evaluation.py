"""Every protocol against a closed form, and against plain Python loops on small data with ties."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from recsys_rl.data.histories import Histories
from recsys_rl.data.interactions import IdMap, Interactions
from recsys_rl.data.splits import Split, leave_one_out, random_split, split_by_time
from recsys_rl.envs.simulated import Simulator
from recsys_rl.evaluation import metrics, protocols, statistics
from recsys_rl.evaluation.reranking import offline_reranking
from recsys_rl.evaluation.scores import top_k
from recsys_rl.evaluation.sessions import (
    cold_start_oracle,
    cold_start_sessions,
    seed_and_suggest,
    simulated_sessions,
)
from recsys_rl.evaluation.statistics import resampled_means

N_USERS, N_ITEMS, K = 23, 40, 5


def log(n_users=N_USERS, n_items=N_ITEMS, rows=(3, 17), seed=0) -> Interactions:
    """A random log, every user with a random number of rows, every item rated by somebody."""
    rng = np.random.default_rng(seed)
    users, items = [], []
    for user in range(n_users):
        chosen = rng.permutation(n_items)[: rng.integers(*rows)]
        users += [user + 1] * len(chosen)
        items += list(chosen + 1)
    missing = sorted(set(range(1, n_items + 1)) - set(items))
    users, items = users + [n_users] * len(missing), items + missing
    ratings = pd.DataFrame({"user": users, "item": items}).drop_duplicates()
    n = len(ratings)
    return Interactions.from_ratings(
        ratings.assign(
            rating=rng.integers(1, 6, n).astype("float32"), timestamp=rng.integers(1, 60, n)
        )
    )


class Tied:
    """Few different scores, and they depend on the user, on the history and on its ratings."""

    def __init__(self, n_users=N_USERS, n_items=N_ITEMS, levels=4, seed=1):
        generator = torch.Generator().manual_seed(seed)
        self.table = torch.randint(levels, (n_users + 1, n_items), generator=generator)
        self.levels, self.n_items = levels, n_items

    def __call__(self, histories: Histories) -> torch.Tensor:
        real = histories.item < self.n_items
        moved = ((histories.item + 1) * histories.rating.long() * real).sum(1) % self.levels
        return (self.table[histories.user] * (1 + moved[:, None]) % self.levels).float()

    def row(self, user: int, items: list[int], ratings: list[float]) -> list[float]:
        """The same for one user, item by item."""
        moved = sum((i + 1) * int(r) for i, r in zip(items, ratings, strict=True)) % self.levels
        return [float(int(s) * (1 + moved) % self.levels) for s in self.table[user]]


def constant(histories: Histories) -> torch.Tensor:
    return torch.zeros(len(histories), N_ITEMS)


def rows(interactions: Interactions) -> dict[int, list[tuple[int, float]]]:
    """user -> [(item, rating), ...] in order."""
    result = {user: [] for user in range(interactions.n_users)}
    columns = (interactions.user, interactions.item, interactions.rating)
    for user, item, rating in zip(*(c.tolist() for c in columns), strict=True):
        result[user].append((item, rating))
    return result


def expected(scores: list[float], target: int, candidates: list[int], k: int):
    """(hit, ndcg) of one target, averaged over the places that ties may give it."""
    greater = sum(scores[c] > scores[target] for c in candidates if c != target)
    ties = sum(scores[c] == scores[target] for c in candidates if c != target)
    places = [p for p in range(greater, greater + ties + 1) if p < k]
    return len(places) / (ties + 1), sum(1 / math.log2(p + 2) for p in places) / (ties + 1)


# ------------------------------------------------------------------------------ rank metrics


def test_one_target_without_ties():
    greater, ties = torch.tensor([0, 1, 9, 10]), torch.zeros(4, dtype=torch.int64)
    assert metrics.hit_rate(greater, ties, 10).tolist() == [1, 1, 1, 0]
    values = [1, 1 / math.log2(3), 1 / math.log2(11), 0]
    assert metrics.ndcg(greater, ties, 10).tolist() == pytest.approx(values)


def test_ties_are_the_mean_over_all_orders():
    scores, target, k = [2.0, 1.0, 1.0, 1.0, 0.0], 1, 2
    places = []
    for order in itertools.permutations(range(5)):
        ranked = sorted(order, key=lambda item: -scores[item])  # stable: order decides ties
        places.append(ranked.index(target))
    hit = np.mean([p < k for p in places])
    gain = np.mean([1 / math.log2(p + 2) if p < k else 0 for p in places])
    counts = metrics.rank_counts(
        torch.tensor([scores]), torch.tensor([target]), torch.ones(1, 5, dtype=torch.bool)
    )
    assert [c.item() for c in counts] == [1, 2]
    assert metrics.hit_rate(*counts, k).item() == pytest.approx(hit)
    assert metrics.ndcg(*counts, k).item() == pytest.approx(gain)


@pytest.mark.parametrize(("k", "n"), [(1, 7), (10, 100), (10, 10), (10, 4)])
def test_a_constant_scorer_gets_k_of_n(k, n):
    greater, ties = torch.tensor([0]), torch.tensor([n - 1])
    assert metrics.hit_rate(greater, ties, k).item() == min(1, k / n)
    best = sum(1 / math.log2(p + 2) for p in range(min(k, n)))
    assert metrics.ndcg(greater, ties, k).item() == pytest.approx(best / n)


def test_masked_items_never_count():
    scores = torch.tensor([[1.0, 1.0, 3.0, -torch.inf]])
    candidates = torch.tensor([[True, True, False, False]])
    greater, ties = metrics.rank_counts(scores, torch.tensor([0]), candidates)
    assert (greater.item(), ties.item()) == (0, 1)


@pytest.mark.parametrize("k", [1, 4, 10, 1000])
def test_a_target_at_minus_infinity_is_never_shown(k):
    """Whatever ties with it, and in lists longer than the catalogue."""
    scores = torch.tensor([[-torch.inf, -torch.inf, 3.0, -torch.inf], [-torch.inf] * 4])
    candidates = torch.tensor([[True, True, False, False], [True] * 4])
    counts = metrics.rank_counts(scores, torch.tensor([0, 1]), candidates)
    assert counts[1].tolist() == [0, 0]
    assert metrics.hit_rate(*counts, k).tolist() == metrics.ndcg(*counts, k).tolist() == [0, 0]


def test_top_k_is_ordered_and_draws_ties_evenly():
    scores = torch.tensor([[5.0, 1.0, 1.0, 1.0, 1.0, 9.0, 0.0]]).expand(4000, -1)
    candidates = torch.ones_like(scores, dtype=torch.bool)
    candidates[:, 5] = False
    top = top_k(scores, candidates, 3, torch.Generator().manual_seed(0))
    assert (top[:, 0] == 0).all()
    assert (top[:, 1] != top[:, 2]).all()
    for place in (1, 2):  # every tied item as often in every place
        share = top[:, place].bincount(minlength=7)[1:5] / 4000
        assert share.numpy() == pytest.approx(0.25, abs=0.03)


def test_top_k_pads_what_it_must_not_show():
    scores = torch.tensor([[1.0, -torch.inf, 2.0], [3.0, 2.0, 1.0]])
    candidates = torch.tensor([[True, True, True], [False, True, False]])
    top = top_k(scores, candidates, 4, torch.Generator())
    assert top.tolist() == [[2, 0, 3, 3], [1, 3, 3, 3]]


def test_top_k_without_ties_equals_a_sort():
    scores = torch.rand(50, N_ITEMS, generator=torch.Generator().manual_seed(3))
    candidates = scores.roll(7, 0) > 0.3
    top = top_k(scores, candidates, K, torch.Generator())
    best = scores.masked_fill(~candidates, -1).argsort(1, descending=True)[:, :K]
    assert torch.equal(top, best)


# -------------------------------------------------------------------------------- negatives


def test_negatives_are_distinct_unknown_and_uniform():
    known = log()
    users = torch.tensor([4, 0, 4, 7]).repeat(500)
    drawn = protocols.sample_negatives(
        known, users, 9, torch.Generator().manual_seed(0), batch_size=64
    )
    assert drawn.shape == (2000, 9)
    seen = {user: {item for item, _ in items} for user, items in rows(known).items()}
    for user, items in zip(users.tolist(), drawn.tolist(), strict=True):
        assert len(set(items)) == 9
        assert not seen[user] & set(items)
    counts = drawn[users == 0].flatten().bincount(minlength=N_ITEMS)
    free = [item for item in range(N_ITEMS) if item not in seen[0]]
    share = counts[free] / counts.sum()
    assert share.numpy() == pytest.approx(1 / len(free), abs=0.012)
    # every place in the row is uniform as well: no order by item index
    assert drawn[users == 0][:, 0].unique().numel() == len(free)


def test_negatives_are_repeatable_and_refuse_what_cannot_be_drawn():
    known, users = log(), torch.arange(N_USERS)
    one, two = (
        protocols.sample_negatives(known, users, 5, torch.Generator().manual_seed(8))
        for _ in range(2)
    )
    assert torch.equal(one, two)
    with pytest.raises(ValueError, match="fewer than 39"):
        protocols.sample_negatives(known, users, 39)
    assert protocols.sample_negatives(known, users[:0], 5).shape == (0, 5)


# ---------------------------------------------------------------------------- leave one out


@pytest.fixture
def split() -> Split:
    return leave_one_out(log())


def negatives_of(split: Split, target: Interactions, n=8) -> torch.Tensor:
    known = split.train.concat(split.validation).concat(split.test)
    return protocols.sample_negatives(known, target.user, n, torch.Generator().manual_seed(5))


@pytest.mark.parametrize("part", ["validation", "test"])
@pytest.mark.parametrize("batch_size", [1, 4, 512])
def test_leave_one_out_against_loops(split, part, batch_size):
    score = Tied()
    train, validation, test = map(rows, (split.train, split.validation, split.test))
    history, target = protocols.ranking_task(split, part)
    negatives = negatives_of(split, target)
    result = protocols.leave_one_out_metrics(score, history, target, negatives, K, batch_size)
    assert result.users.tolist() == sorted(user for user in test if test[user])
    for place, user in enumerate(result.users.tolist()):
        past = train[user] + (validation[user] if part == "test" else [])
        [(item, _)] = (test if part == "test" else validation)[user]
        scores = score.row(user, *zip(*past, strict=True))
        unseen = [i for i in range(N_ITEMS) if i not in {i for i, _ in past}]
        full = expected(scores, item, unseen, K)
        sampled = expected(scores, item, negatives[place].tolist(), K)
        found = [float(values[place]) for values in result.metrics.values()]
        assert list(result.metrics) == ["hr@5", "ndcg@5", "sampled_hr@5", "sampled_ndcg@5"]
        assert found == pytest.approx([*full, *sampled], abs=1e-6)
        best = sorted((scores[i] for i in unseen), reverse=True)[:K]
        assert [scores[i] for i in result.top[place].tolist()] == best
        assert set(result.top[place].tolist()) <= set(unseen)


def test_test_items_are_ranked_with_the_validation_item_in_the_history(split):
    seen = []

    def score(histories):
        seen.append(histories)
        return constant(histories)

    protocols.leave_one_out_metrics(score, *protocols.ranking_task(split, "test"))
    last = seen[0].item[:, -1]
    assert torch.equal(last, split.validation.item)
    for part, held_out in (("validation", split.validation), ("test", split.test)):
        assert rows(protocols.ranking_task(split, part)[1]) == rows(held_out)
    assert rows(protocols.ranking_task(split, "validation")[0]) == rows(split.train)
    with pytest.raises(ValueError, match="part"):
        protocols.ranking_task(split, "train")


def test_a_constant_scorer_has_the_odds_of_the_unseen_catalogue(split):
    history, target = protocols.ranking_task(split, "test")
    negatives = negatives_of(split, target, 9)
    result = protocols.leave_one_out_metrics(constant, history, target, negatives, K)
    n_seen = history.offsets.diff()[target.user].numpy()
    assert result.metrics["hr@5"] == pytest.approx(K / (N_ITEMS - n_seen))
    assert result.metrics["sampled_hr@5"] == pytest.approx(np.full(len(target), 0.5))


def test_an_oracle_gets_one_and_its_opposite_nothing(split):
    history, target = protocols.ranking_task(split, "test")
    relevant = torch.zeros(N_USERS, N_ITEMS)
    relevant[target.user, target.item] = 1
    negatives = negatives_of(split, target)
    for sign in (1, -1):
        result = protocols.leave_one_out_metrics(
            lambda h, sign=sign: sign * relevant[h.user], history, target, negatives, K
        )
        assert set(result.mean().values()) == {float(sign == 1)}


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_scores_that_cannot_be_ranked_are_refused(split, bad):
    history, target = protocols.ranking_task(split, "test")

    def score(histories):
        scores = constant(histories)
        scores[-1, 3] = bad
        return scores

    with pytest.raises(ValueError, match="NaN or"):
        protocols.leave_one_out_metrics(score, history, target)


@pytest.mark.parametrize("kind", [torch.int64, torch.float64])
def test_scores_of_64_bits_are_ranked_as_they_are(split, kind):
    """Moments in seconds differ by less than float32 can say."""
    order = torch.randperm(N_ITEMS, generator=torch.Generator().manual_seed(0))
    small, large = order.float(), (978_300_760 + order).to(kind)
    small[3] = -torch.inf
    if kind is torch.float64:
        large[3] = -torch.inf
    else:
        small[3] = order[3]

    def hits(scores):
        history, target = split.train, split.validation
        found = protocols.leave_one_out_metrics(
            lambda histories: scores.expand(len(histories), -1), history, target
        )
        return found.metrics["ndcg@10"]

    assert (hits(large) == hits(small)).all()


def test_scores_of_the_wrong_shape_are_refused(split):
    history, target = protocols.ranking_task(split, "test")
    with pytest.raises(ValueError, match="expected"):
        protocols.leave_one_out_metrics(lambda h: constant(h)[:1], history, target)
    with pytest.raises(ValueError, match="expected"):
        protocols.leave_one_out_metrics(lambda h: constant(h)[:, 1:], history, target)


def test_leaks_are_refused(split):
    history, target = protocols.ranking_task(split, "test")
    negatives = negatives_of(split, target)
    with pytest.raises(ValueError, match="history"):
        protocols.leave_one_out_metrics(constant, history.concat(target), target)
    with pytest.raises(ValueError, match="history"):
        protocols.leave_one_out_metrics(constant, history, split.validation)
    for item in (
        target.item,
        split.validation.item,
        split.train.histories(target.user).item[:, -1],
    ):
        wrong = negatives.clone()
        wrong[2, 3] = item[2]
        with pytest.raises(ValueError, match="negatives"):
            protocols.leave_one_out_metrics(constant, history, target, wrong)
    with pytest.raises(ValueError, match="rows of negatives"):
        protocols.leave_one_out_metrics(constant, history, target, negatives[1:])
    with pytest.raises(ValueError, match="one target row"):
        protocols.leave_one_out_metrics(constant, split.validation, split.train)
    nobody = torch.zeros(len(target), dtype=torch.bool)
    with pytest.raises(ValueError, match="no user"):
        protocols.leave_one_out_metrics(constant, history, target.select(nobody))


# ------------------------------------------------------------------------- random positives


def protocols_of(split: Split) -> dict:
    """Every protocol that ranks, asked for lists of k."""
    history, target = protocols.ranking_task(split, "test")
    negatives = protocols.sample_negatives(
        split.train.concat(split.validation).concat(target), target.user, 8
    )
    return {
        "leave-one-out": lambda **told: protocols.leave_one_out_metrics(
            **{"score": constant, "history": history, "target": target, "negatives": negatives}
            | told
        ),
        "random positives": lambda **told: protocols.random_positive_metrics(
            **{"score": constant, "train": history, "test": target, "negatives": negatives} | told
        ),
        "temporal": lambda **told: protocols.temporal_metrics(
            **{"score": constant, "history": history, "target": target} | told
        ),
        "seed-and-suggest": lambda **told: seed_and_suggest(
            **{"score": constant, "users": history, "n_seed": 1, "draws": 1} | told
        ),
        "re-ranking": lambda **told: (
            offline_reranking(
                **{"score": constant, "history": history, "test": target}
                | {
                    name if name != "k" else "ks": v if name != "k" else [v]
                    for name, v in told.items()
                }
            ).model
        ),
    }


EVERY = "leave-one-out", "random positives", "temporal", "seed-and-suggest", "re-ranking"


@pytest.mark.parametrize("protocol", EVERY)
@pytest.mark.parametrize("option", ["k", "batch_size"])
@pytest.mark.parametrize("count", [0, -1, 1.5, True, None, "3"])
def test_counts_are_whole_numbers_of_at_least_1(split, protocol, option, count):
    with pytest.raises(ValueError, match="is a whole number of at least 1"):
        protocols_of(split)[protocol](**{option: count})


@pytest.mark.parametrize("protocol", EVERY)
def test_a_batch_may_be_counted_by_numpy_and_a_seed_is_a_whole_number(split, protocol):
    asked = protocols_of(split)[protocol]
    assert asked(batch_size=np.int64(2)).mean().keys() == asked().mean().keys()
    for seed in (1.5, None, -1, "1"):
        with pytest.raises(ValueError, match="seed is a whole number of at least 0"):
            asked(seed=seed)


@pytest.mark.parametrize("ks", [3, None, (), (3, 0), "35"])
def test_lists_of_counts_are_lists(split, ks):
    with pytest.raises(ValueError, match="is a list of whole|is a whole number"):
        offline_reranking(constant, split.train, split.test, ks)
    for sessions in (
        lambda: cold_start_oracle(split.train, ks, 1),
        lambda: cold_start_sessions(constant, split.train, ks, n_seed=1),
    ):
        with pytest.raises(ValueError, match="is a list of whole|is a whole number"):
            sessions()


@pytest.mark.parametrize("draws", [0, -1, 1.5, True, None, "3"])
def test_draws_are_counted(split, draws):
    with pytest.raises(ValueError, match="draws is a whole number of at least 1"):
        cold_start_sessions(constant, split.train, (3,), draws, n_seed=1)


@pytest.mark.parametrize("users", [[0], None, torch.tensor([0.5]), torch.tensor([[0]])])
def test_negatives_are_drawn_for_indices_of_users(split, users):
    with pytest.raises(ValueError, match="users are a tensor int64"):
        protocols.sample_negatives(split.train, users, 2)


def test_a_metric_that_is_not_there_is_named(split):
    found = protocols_of(split)["temporal"]()
    with pytest.raises(ValueError, match="there is no metric 'hr', only hr@10, ndcg@10"):
        found.compare(found, "hr")
    with pytest.raises(ValueError, match="there is no metric 'hr'"):
        found.share_of_way(found, found, "hr")
    with pytest.raises(ValueError, match="there is no way"):
        found.share_of_way(found, found, "hr@10")


@pytest.mark.parametrize("count", [0, -1, 1.5, True])
def test_as_many_negatives_are_drawn_as_a_whole_number_says(split, count):
    with pytest.raises(ValueError, match="n is a whole number"):
        protocols.sample_negatives(split.train, split.test.user, count)


@pytest.mark.parametrize("protocol", ["leave-one-out", "random positives", "temporal"])
@pytest.mark.parametrize(
    "scores",
    [np.zeros((1, 2)), None, [[0.0]], torch.zeros(1, 2) + 1j, torch.zeros(1, 2).to_sparse()],
)
def test_scores_are_a_tensor_of_real_numbers(split, protocol, scores):
    with pytest.raises(ValueError, match="a dense tensor of real numbers, not"):
        protocols_of(split)[protocol](score=lambda histories: scores)


@pytest.mark.parametrize("protocol", ["leave-one-out", "random positives", "temporal"])
@pytest.mark.parametrize("whose", ["user_ids", "item_ids"])
def test_a_target_of_other_data_is_refused(split, protocol, whose):
    target = split.test
    other = replace(target, **{whose: IdMap(getattr(target, whose).ids + 1)})
    name = "test" if protocol == "random positives" else "target"
    with pytest.raises(ValueError, match="same id maps"):
        protocols_of(split)[protocol](**{name: other})


def test_a_test_part_of_other_data_is_not_put_in_order(split):
    other = replace(split.test, item_ids=IdMap(split.test.item_ids.ids + 1))
    with pytest.raises(ValueError, match="same id maps"):
        offline_reranking(constant, split.train, other)


@pytest.mark.parametrize("protocol", ["leave-one-out", "random positives"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda drawn: drawn[:, :1].expand(-1, 8).clone(), "twice"),
        (lambda drawn: torch.full_like(drawn, -2), "or a row of -1"),
        (lambda drawn: drawn.index_fill(1, torch.tensor([0]), -1), "or a row of -1"),
        (lambda drawn: drawn.index_fill(1, torch.tensor([7]), -1), "or a row of -1"),
        (lambda drawn: drawn + N_ITEMS, "or a row of -1"),
        (lambda drawn: drawn.float(), "are a tensor int64"),
        (lambda drawn: drawn[:, :0], "are a tensor int64"),
        (lambda drawn: drawn[:, 0], "are a tensor int64"),
        (lambda drawn: drawn.tolist(), "are a tensor int64"),
    ],
)
def test_negatives_are_different_items(split, protocol, change, words):
    drawn = negatives_of(split, split.test)
    with pytest.raises(ValueError, match=words):
        protocols_of(split)[protocol](negatives=change(drawn))


@pytest.mark.parametrize("batch_size", [2, 512])
def test_random_positives_against_loops(batch_size):
    split, score = protocols.random_positive_split(log(), 0.3, seed=2), Tied()
    train, test = rows(split.train), rows(split.test)
    assert min(split.train.rating.min(), split.test.rating.min()) > 3
    assert len(split.test) == round(0.3 * (log().rating > 3).sum().item())
    known = split.train.concat(split.test)
    generator = torch.Generator().manual_seed(6)
    negatives = protocols.sample_negatives(known, split.test.user, 9, generator)
    result = protocols.random_positive_metrics(
        score, split.train, split.test, negatives, K, batch_size
    )
    row, hits, gains = 0, {}, {}
    for user in range(N_USERS):
        positives = {i for i, _ in train[user] + test[user]}
        for item, _ in test[user]:
            others = negatives[row].tolist()
            assert not positives & set(others)
            scores = score.row(user, [i for i, _ in train[user]], [r for _, r in train[user]])
            hit, gain = expected(scores, item, others, K)
            hits.setdefault(user, []).append(hit)
            gains.setdefault(user, []).append(gain)
            row += 1
    assert row == len(split.test)
    assert result.users.tolist() == list(hits)
    all_rows = [sum(per_user.values(), []) for per_user in (hits, gains)]
    assert list(result.mean().values()) == pytest.approx([np.mean(r) for r in all_rows], abs=1e-6)
    by_user = [np.mean(values) for values in hits.values()]
    assert result.metrics["sampled_hr@5"] == pytest.approx(by_user, abs=1e-6)
    assert result.weights.tolist() == [len(values) for values in hits.values()]


def test_random_positives_refuse_a_positive_as_negative():
    split = protocols.random_positive_split(log(), 0.3, seed=2)
    known = split.train.concat(split.test)
    negatives = protocols.sample_negatives(known, split.test.user, 9)
    user = split.test.user[4]
    for part in (split.train, split.test):
        wrong = negatives.clone()
        wrong[4, 0] = part.item[part.user == user][0]
        with pytest.raises(ValueError, match="positive of the user"):
            protocols.random_positive_metrics(constant, split.train, split.test, wrong)


# ----------------------------------------------------------------------- offline re-ranking


def session_figures(ratings: list[float], logged: list[float], k: int) -> list[float]:
    """precision, ndcg, binary ndcg of one session whose rows were taken in the order `ratings`."""

    def dcg(gains):
        return sum(g / math.log2(p + 2) for p, g in enumerate(gains[:k]))

    graded, binary = (lambda r: 2**r - 1), (lambda r: float(r >= 4))
    best = sorted(logged, reverse=True)
    figures = [sum(map(binary, ratings[:k])) / k]
    for gain in (graded, binary):
        ideal = dcg(list(map(gain, best)))
        figures.append(dcg(list(map(gain, ratings))) / ideal if ideal else math.nan)
    return figures


@pytest.mark.parametrize("batch_size", [3, 512])
def test_reranking_against_loops(batch_size):
    split = random_split(log(), 0.4, seed=1)
    train, test = rows(split.train), rows(split.test)

    class Untied(Tied):  # ties have their own test: here every order must be the only one
        def __call__(self, histories):
            return super().__call__(histories) + torch.arange(N_ITEMS) / 1000

        def row(self, user, items, ratings):
            base = super().row(user, items, ratings)
            return [s + i / 1000 for i, s in enumerate(base)]

    score, ks = Untied(), (3, 6)
    result = offline_reranking(score, split.train, split.test, ks, batch_size)
    assert result.model.users.tolist() == [user for user in test if test[user]]
    for place, user in enumerate(result.model.users.tolist()):
        left, past, taken = list(test[user]), list(train[user]), []
        while left and len(taken) < max(ks):
            scores = score.row(user, [i for i, _ in past], [r for _, r in past])
            best = max(left, key=lambda row: scores[row[0]])
            left.remove(best)
            past.append(best)
            taken.append(best)
        shown = [i for i, _ in taken] + [N_ITEMS] * (max(ks) - len(taken))
        assert result.model.top[place].tolist() == shown
        logged = [r for _, r in test[user]]
        for k in ks:
            best = sorted(logged, reverse=True)
            random = np.mean([session_figures(o, logged, k) for o in orders(logged)], axis=0)
            for row, figures in (
                (result.model, session_figures([r for _, r in taken], logged, k)),
                (result.oracle, session_figures(best, logged, k)),
                (result.random, random),
            ):
                names = [f"precision@{k}", f"ndcg@{k}", f"binary_ndcg@{k}"]
                tolerance = 0.12 if row is result.random else 1e-6
                found = [row.metrics[name][place] for name in names]
                assert found == pytest.approx(figures, abs=tolerance, nan_ok=True)
                long = [row.metrics["long_" + name][place] for name in names]
                nothing = [math.nan] * 3
                assert long == pytest.approx(found if len(logged) >= k else nothing, nan_ok=True)


def orders(ratings: list[float]) -> list[list[float]]:
    """All orders of a short session, some hundred random ones of a longer one."""
    if len(ratings) <= 5:
        return list(map(list, itertools.permutations(ratings)))
    rng = np.random.default_rng(0)
    return [list(rng.permutation(ratings)) for _ in range(400)]


def test_reranking_of_a_constant_scorer_is_random_and_an_oracle_is_the_oracle():
    split = random_split(log(200, rows=(3, 39), seed=4), 0.4, seed=1)
    truth = torch.zeros(200, N_ITEMS)
    truth[split.test.user, split.test.item] = split.test.rating
    blind = offline_reranking(constant, split.train, split.test)
    model, low, high = (row.mean() for row in blind)
    for name in model:
        assert abs(model[name] - low[name]) < 0.12 * (high[name] - low[name]), name
    best = offline_reranking(lambda h: truth[h.user], split.train, split.test)
    assert best.model.mean() == pytest.approx(best.oracle.mean())
    assert list(best.oracle.mean()) == list(best.random.mean()) == list(best.model.mean())
    assert best.oracle.mean()["binary_ndcg@5"] == best.oracle.mean()["ndcg@10"] == 1


def test_reranking_feeds_back_ratings_and_stays_left_padded():
    split = random_split(log(), 0.4, seed=1)
    calls = []

    def score(histories):
        calls.append(histories)
        return constant(histories)

    result = offline_reranking(score, split.train, split.test, (4,))
    assert len(calls) == 4
    test = rows(split.test)
    for step, histories in enumerate(calls):
        padding = histories.item == N_ITEMS
        assert (padding[:, :-1] >= padding[:, 1:]).all()  # padding on the left only
        assert torch.equal(padding, histories.rating == 0)
        for place, user in enumerate(histories.user.tolist()):
            done = min(step, len(test[user]))
            past = list(
                zip(histories.item[place].tolist(), histories.rating[place].tolist(), strict=True)
            )
            new = past[len(past) - done :]
            assert [i for i, _ in new] == result.model.top[place, :done].tolist()
            assert set(new) <= set(test[user])
            before = [row for row in past[: len(past) - done] if row[0] < N_ITEMS]
            assert before == rows(split.train)[user]


# ------------------------------------------------------------ seed-and-suggest, and temporal


def test_seed_and_suggest_against_loops():
    cold = log(12, rows=(3, 30), seed=9)
    score, seen = Tied(12), []

    def spy(histories):
        seen.append((histories, score(histories)))
        return seen[-1][1]

    result = seed_and_suggest(spy, cold, draws=7)
    liked = {user: {i for i, r in items if r >= 4} for user, items in rows(cold).items()}
    assert result.users.tolist() == [user for user in liked if len(liked[user]) >= 6]
    assert len(seen) == 7
    assert result.top.shape == (len(result.users), 7, 3)
    for place, user in enumerate(result.users.tolist()):
        found = []
        for draw, (histories, scores) in enumerate(seen):
            seeds, top = histories.item[place].tolist(), result.top[place, draw].tolist()
            assert histories.user[place] == cold.n_users
            assert len(set(seeds) & liked[user]) == 3
            assert not set(seeds) & set(top)
            assert len(set(top)) == 3
            rest = sorted((s for i, s in enumerate(scores[place].tolist()) if i not in seeds))
            assert sorted(scores[place, top].tolist()) == rest[-3:]
            found.append(len(set(top) & liked[user]))
        values = [float(result.metrics[name][place]) for name in ("precision@3", "hit@3")]
        assert values == pytest.approx([np.mean(found) / 3, np.mean(np.array(found) > 0)])
    assert len({tuple(h.item[0].tolist()) for h, _ in seen}) > 3  # the draws differ


def test_every_model_meets_the_same_seed_items():
    cold, seeds = log(12, rows=(8, 30), seed=9), ([], [])
    for store, model in zip(seeds, (Tied(12, levels=1), Tied(12, levels=999)), strict=True):
        seed_and_suggest(lambda h, s=store, m=model: s.append(h.item) or m(h), cold, 4)
    assert torch.equal(torch.stack(seeds[0]), torch.stack(seeds[1]))


def test_seed_and_suggest_of_an_oracle_and_of_nobody():
    cold = log(12, rows=(8, 30), seed=9)
    liked = rows(cold)
    likes = torch.zeros(12, N_ITEMS)
    likes[cold.user, cold.item] = (cold.rating >= 4).float()
    users = [user for user in liked if sum(r >= 4 for _, r in liked[user]) >= 6]
    result = seed_and_suggest(lambda h: likes[users], cold)
    assert set(result.mean().values()) == {1.0}
    with pytest.raises(ValueError, match="no user"):
        seed_and_suggest(constant, cold.select(cold.rating < 4))


def test_temporal_against_loops():
    split = split_by_time(log(), 0.3, 0.1)

    def score(histories):  # untied: the order is the only one
        return Tied()(histories) + torch.arange(N_ITEMS) / 1000

    history, target = protocols.ranking_task(split, "test")
    no_past = int(target.user[0])  # has something to find, but no past to rank from
    history = history.select(history.user != no_past)
    past, future = rows(history), rows(target)
    assert future[no_past]
    result = protocols.temporal_metrics(score, history, target, K, batch_size=4)
    assert result.users.tolist() == [u for u in past if past[u] and future[u]]
    for place, user in enumerate(result.users.tolist()):
        items, ratings = zip(*past[user], strict=True)
        scores = [s + i / 1000 for i, s in enumerate(Tied().row(user, items, ratings))]
        unseen = [i for i in range(N_ITEMS) if i not in items]
        top = sorted(unseen, key=lambda i: -scores[i])[:K]
        assert result.top[place].tolist() == top
        relevant = {i for i, _ in future[user]}
        gain = sum(1 / math.log2(p + 2) for p, i in enumerate(top) if i in relevant)
        ideal = sum(1 / math.log2(p + 2) for p in range(min(K, len(relevant))))
        found = [float(result.metrics[name][place]) for name in ("hr@5", "ndcg@5")]
        assert found == pytest.approx([float(bool(relevant & set(top))), gain / ideal])
    with pytest.raises(ValueError, match="history"):
        protocols.temporal_metrics(constant, history.concat(target), target)


# ------------------------------------------------------------------- what a model never shows

EVERY = "full and sampled leave-one-out", "random positives", "temporal", "re-ranking"
EVERY = (*EVERY, "seed-and-suggest", "cold-start sessions", "simulated sessions")


def relevant_and_evaluate(protocol):
    """Users' relevant items, bool [users + 1, N_ITEMS], and the protocol, a function of a score."""
    whole = log()
    if protocol == "full and sampled leave-one-out":
        history, held_out = protocols.ranking_task(leave_one_out(whole), "test")
        negatives = protocols.sample_negatives(whole, held_out.user, 8, torch.Generator())

        def evaluate(score):
            return protocols.leave_one_out_metrics(score, history, held_out, negatives, K)

    elif protocol == "random positives":
        split = protocols.random_positive_split(whole, 0.3)
        train, held_out = split.train, split.test
        known = train.concat(held_out)
        negatives = protocols.sample_negatives(known, held_out.user, 9, torch.Generator())

        def evaluate(score):
            return protocols.random_positive_metrics(score, train, held_out, negatives, K)

    elif protocol == "temporal":
        history, held_out = protocols.ranking_task(split_by_time(whole, 0.3, 0.1), "test")

        def evaluate(score):
            return protocols.temporal_metrics(score, history, held_out, K)

    elif protocol == "re-ranking":
        split = random_split(whole, 0.4)
        held_out = split.test

        def evaluate(score):
            return offline_reranking(score, split.train, held_out, (K,)).model

    else:
        held_out = whole.select(whole.rating >= 4)
        play = {
            "seed-and-suggest": lambda score: seed_and_suggest(score, whole, draws=2),
            "cold-start sessions": lambda score: cold_start_sessions(score, whole, (3, 6), 2),
            "simulated sessions": lambda score: simulated_sessions(
                score, Simulator(torch.full((N_USERS, N_ITEMS), 5.0)), steps=6
            ),
        }
        evaluate = play[protocol]
    relevant = torch.zeros(N_USERS + 1, N_ITEMS, dtype=torch.bool)
    relevant[held_out.user, held_out.item] = True
    relevant[-1] = relevant.any(0)  # of somebody unknown it might be any of them
    return relevant, evaluate


@pytest.mark.parametrize("shown", ["nothing", "the rest tied", "the rest in order"])
@pytest.mark.parametrize("protocol", EVERY)
def test_an_item_at_minus_infinity_earns_nothing(protocol, shown):
    relevant, evaluate = relevant_and_evaluate(protocol)

    def score(histories):
        scores = torch.zeros(len(histories), N_ITEMS)
        if shown == "the rest in order":
            scores += torch.arange(N_ITEMS)
        never = relevant[histories.user]
        if shown == "nothing" or protocol == "simulated sessions":  # everything is liked there
            never = torch.ones_like(never)
        return scores.masked_fill(never, -torch.inf)

    result = evaluate(score)
    assert len(result.users)
    for name, values in result.metrics.items():
        assert (np.nan_to_num(values) == 0).all(), name
    if shown == "nothing":
        assert (result.top == N_ITEMS).all()


@pytest.mark.parametrize("protocol", EVERY[:3])
def test_others_at_minus_infinity_are_no_rivals(protocol):
    """Who shows relevant items alone earns all that there is."""
    relevant, evaluate = relevant_and_evaluate(protocol)

    def score(histories):
        return torch.zeros(len(histories), N_ITEMS).masked_fill(
            ~relevant[histories.user], -torch.inf
        )

    result = evaluate(score)
    best = {name: values.max() for name, values in result.metrics.items()}
    assert set(best.values()) == {1.0}, best


# ------------------------------------------------------------------------------- uncertainty


def interval_of(values, **options):
    found = statistics.Evaluation("x", {"m": values}, torch.arange(len(values)))
    return found.interval(**options)["m"]


def test_an_interval_is_the_normal_one_for_many_users():
    values = np.random.default_rng(0).normal(0.3, 1, 4000).astype(np.float32)
    low, high = interval_of(values, n_boot=4000)
    half = 1.96 * values.std() / math.sqrt(4000)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.004)
    narrow = interval_of(values, level=0.5)
    assert low < narrow[0] < values.mean() < narrow[1] < high
    assert interval_of(np.full(9, 2.0)) == (2.0, 2.0)


def test_bootstrap_resamples_whole_users_with_their_weights():
    values = np.array([0.0, 1.0], dtype=np.float32)
    weights = np.array([1.0, 3.0], dtype=np.float32)
    means = resampled_means([values], weights, 2000, 0)[:, 0]
    assert set(means) == {0.0, 0.75, 1.0}
    assert (means == 0.75).mean() == pytest.approx(0.5, abs=0.05)
    result = statistics.Evaluation("x", {"m": values}, torch.arange(2), weights=weights)
    assert result.mean() == {"m": 0.75}
    assert result.interval() == {"m": (0.0, 1.0)}


def test_users_who_do_not_count_are_left_out():
    result = statistics.Evaluation("x", {"m": np.float32([1, np.nan, 0, np.nan])}, torch.arange(4))
    assert result.mean() == {"m": 0.5}
    low, high = result.interval()["m"]
    assert (low, high) == (0, 1)
    nobody = replace(result, metrics={"m": np.float32([np.nan] * 4)})
    assert math.isnan(nobody.mean()["m"])


def test_chunks_of_resamples_do_not_change_the_count():
    values = np.random.default_rng(0).normal(size=3_000_000).astype(np.float32)
    assert resampled_means([values], None, 5, 0).shape == (5, 1)  # chunks of 2
    with pytest.raises(ValueError, match="no users"):
        interval_of(values[:0])


def test_pairing_sees_a_small_gap_that_two_intervals_hide():
    rng = np.random.default_rng(1)
    theirs = rng.random(3000).astype(np.float32)
    ours = theirs + 0.005 + 0.02 * rng.normal(size=3000).astype(np.float32)
    assert interval_of(ours)[0] < interval_of(theirs)[1]
    gap = statistics.paired_bootstrap(ours, theirs)
    assert 0 < gap.low < gap.mean == pytest.approx(0.005, abs=0.002)
    assert gap.mean < gap.high < 0.01
    assert statistics.paired_bootstrap(theirs, theirs) == (0, 0, 0)
    with pytest.raises(ValueError, match="same users"):
        statistics.paired_bootstrap(ours, theirs[:1])


def test_only_the_same_users_are_compared(split):
    history, target = protocols.ranking_task(split, "test")
    one = protocols.leave_one_out_metrics(Tied(), history, target)
    two = protocols.leave_one_out_metrics(constant, history, target)
    gap = one.compare(two, "ndcg@10", n_boot=50)
    assert gap.mean == pytest.approx(one.mean()["ndcg@10"] - two.mean()["ndcg@10"])
    with pytest.raises(ValueError, match="same users"):
        one.compare(replace(two, users=two.users + 1), "ndcg@10")


def test_seed_spread():
    spread = statistics.seed_spread([0.1, 0.3])
    assert spread == pytest.approx({"mean": 0.2, "sd": math.sqrt(0.02), "min": 0.1, "max": 0.3})
    assert math.isnan(statistics.seed_spread([0.1])["sd"])


@pytest.mark.parametrize(
    ("top", "counts", "words"),
    [
        (torch.tensor([[0]]), torch.tensor([[1, 2]]), "one number for each item"),
        (torch.tensor([[0]]), torch.tensor([]), "one number for each item"),
        (torch.tensor([[0]]), torch.tensor([1.0, torch.nan]), "finite, and 0 or more"),
        (torch.tensor([[0]]), torch.tensor([1, -2]), "finite, and 0 or more"),
        (torch.tensor([[0]]), torch.tensor([1j, 2]), "finite, and 0 or more"),
        (torch.tensor([[0.5]]), torch.tensor([1, 2]), "whole numbers"),
        (torch.tensor([[True]]), torch.tensor([1, 2]), "whole numbers"),
    ],
)
def test_list_statistics_refuses_what_counts_nothing(top, counts, words):
    with pytest.raises(ValueError, match=words):
        metrics.list_statistics(top, counts)


def test_list_statistics():
    counts = torch.tensor([10, 0, 5, 5])
    figures = metrics.list_statistics(torch.tensor([[0, 2], [0, 4]]), counts)  # 4 is padding
    assert figures == pytest.approx(
        {"distinct": 2, "coverage": 0.5, "mean_popularity": 25 / 3, "popularity_percentile": 0.75}
    )
    everything = metrics.list_statistics(torch.arange(4)[None], counts)
    assert everything["popularity_percentile"] == 0.5


# ------------------------------------------------------------------------ numbers beyond all sense


HUGE = [10**9, 10**30, np.int64(10**9)]


@pytest.mark.parametrize("huge", HUGE)
def test_lists_and_sessions_longer_than_all_items_take_no_memory(huge):
    few = log()
    split = random_split(few)
    targets = leave_one_out(few)
    history, target = protocols.ranking_task(targets, "test")
    calls = {
        "k": [
            lambda: protocols.leave_one_out_metrics(constant, history, target, k=huge),
            lambda: protocols.temporal_metrics(constant, split.train, split.test, k=huge),
            lambda: seed_and_suggest(constant, few, k=huge),
        ],
        "ks": [lambda: offline_reranking(constant, split.train, split.test, ks=(5, huge))],
        "horizons": [
            lambda: cold_start_sessions(constant, few, horizons=(huge,)),
            lambda: cold_start_oracle(few, horizons=(huge,)),
        ],
        "draws": [lambda: cold_start_sessions(constant, few, draws=huge)],
        "n": [lambda: protocols.sample_negatives(few, target.user, huge, allow_fewer=True)],
        "n_boot": [
            lambda: statistics.hierarchical_bootstrap(np.ones((2, 3)), n_boot=huge),
            lambda: resampled_means([np.ones(3)], None, huge, 0),
        ],
    }
    for name, each in calls.items():
        for call in each:
            with pytest.raises(ValueError, match=f"^{name} is at most [0-9,]+, not {huge}$"):
                call()


@pytest.mark.parametrize("seed", [None, "3", 1.5, True, 2**64, -(2**70)])
def test_a_seed_is_a_whole_number(seed):
    few = log()
    with pytest.raises(ValueError, match="seed is a whole number"):
        random_split(few, seed=seed)
    if seed != 2**64:
        with pytest.raises(ValueError, match="seed is a whole number"):
            statistics.hierarchical_bootstrap(np.ones((2, 3)), seed=seed)
    assert random_split(few, seed=np.int64(3)).test.item.equal(random_split(few, seed=3).test.item)
