"""Baselines against independent references on toy data, and what they all have to promise."""

import importlib.util
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from synthetic import write_movielens
from toys import random_log

from benchmarks import results
from benchmarks import tune_baselines as driver
from recsys_rl.baselines import ease, ials, popularity
from recsys_rl.baselines.neighbours import ItemKNN
from recsys_rl.baselines.registry import BASELINES
from recsys_rl.data.histories import Histories
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.movielens import load_ratings
from recsys_rl.data.splits import leave_one_out, split_users
from recsys_rl.evaluation import protocols, reranking, statistics, tuning
from recsys_rl.evaluation.sessions import cold_start_oracle, cold_start_sessions, seed_and_suggest
from recsys_rl.tasks.registry import task_of

N_USERS, N_ITEMS = 30, 25
HAS_IMPLICIT = importlib.util.find_spec("implicit") is not None
needs_implicit = pytest.mark.skipif(not HAS_IMPLICIT, reason="a development dependency")


def interactions(users, items, ratings=4.0, times=1) -> Interactions:
    table = pd.DataFrame({"user": users, "item": items, "rating": ratings, "timestamp": times})
    return Interactions.from_ratings(table.astype({"rating": "float32"}))


@pytest.fixture(scope="module")
def train() -> Interactions:
    rng = np.random.default_rng(0)
    user, item = (rng.random((N_USERS, N_ITEMS)) < 0.4).nonzero()
    n = len(user)
    return interactions(user, item, rng.integers(1, 6, n), rng.integers(1, 50, n))


def matrix(data: Interactions, min_rating=0.0) -> np.ndarray:
    """The binary user-item matrix, float64 [n_users, n_items]."""
    x = np.zeros((data.n_users, data.n_items))
    x[data.user, data.item] = data.rating >= min_rating
    return x


def history(*items: list[int], ratings=None, n_items=N_ITEMS, user=N_USERS) -> Histories:
    width = max(map(len, items))
    padded = torch.tensor([[n_items] * (width - len(row)) + list(row) for row in items])
    stars = torch.full(padded.shape, 5.0) if ratings is None else torch.tensor(ratings)
    stars = stars.masked_fill(padded == n_items, 0)
    return Histories(torch.full((len(items),), user), padded.long(), stars)


MODELS = {
    "popularity": lambda train: popularity.Popularity(train),
    "recent": lambda train: popularity.RecentPopularity(train, 0.3),
    "knn": lambda train: ItemKNN(train, 5, 3.0),
    "ease": lambda train: ease.EASE(train, 4.0),
    "ials": lambda train: ials.IALS(train, 2, 0.5, 2.0),  # a board has two factors
}
model_names = [pytest.param(n, marks=needs_implicit if n == "ials" else ()) for n in MODELS]


@pytest.fixture(scope="module")
def fitted(train):
    return {n: make(train) for n, make in MODELS.items() if n != "ials" or HAS_IMPLICIT}


# ------------------------------------------------------------------- what all have to promise


@pytest.mark.parametrize("name", model_names)
def test_a_batch_equals_single_histories(fitted, train, name):
    histories = train.histories(torch.arange(N_USERS))
    together = fitted[name](histories)
    assert together.shape == (N_USERS, N_ITEMS)
    assert together.dtype == torch.float32
    alone = [fitted[name](train.histories(torch.tensor([user]))) for user in range(N_USERS)]
    assert together.numpy() == pytest.approx(torch.cat(alone).numpy(), abs=1e-5)


@pytest.mark.parametrize("name", model_names)
def test_users_order_padding_and_repeats_change_nothing(fitted, name):
    plain = fitted[name](history([3, 7, 11]))
    for same in (
        history([3, 7, 11], user=0),
        history([11, 3, 7]),
        history([3, 3, 7, 11, 7]),
        history([3, 7, 11], range(20)),
    ):
        assert fitted[name](same)[0].numpy() == pytest.approx(plain[0].numpy(), abs=1e-5)


@pytest.mark.parametrize("name", model_names)
def test_nothing_known_is_no_error(fitted, name):
    for nothing in (history([N_ITEMS]), history([])):
        scores = fitted[name](nothing)
        assert scores.shape == (1, N_ITEMS)
        assert scores.isfinite().all()
        if name in ("knn", "ease", "ials"):
            assert (scores == 0).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda train, least: ItemKNN(train, 5, 3.0, least),
        lambda train, least: ease.EASE(train, 4.0, least),
        pytest.param(
            lambda train, least: ials.IALS(train, 4, 0.5, 2.0, min_rating=least),
            marks=needs_implicit,
        ),
    ],
)
def test_min_rating_drops_rows_from_train_and_from_histories(train, make):
    strict, liked = make(train, 4.0), make(train.select(train.rating >= 4), None)
    mixed = history([3, 7, 11], ratings=[[5.0, 3.5, 4.0]])
    found, expected = strict(mixed), liked(history([3, 11]))
    assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-5)


@pytest.mark.parametrize("name", [n for n in model_names if n.values[0] in ("knn", "ease", "ials")])
def test_checkerboard(name):
    """Odd users rate odd items, even ones even items: three items tell which board it is."""
    user, item = np.meshgrid(np.arange(30), np.arange(20), indexing="ij")
    keep = ((user + item) % 2 == 0) & (np.random.default_rng(1).random(user.shape) < 0.7)
    board = interactions(user[keep], item[keep])
    scores = MODELS[name](board)(history([0, 2, 4], [1, 3, 5], n_items=20, user=30))
    scores[0, [0, 2, 4]] = scores[1, [1, 3, 5]] = -1e9
    best = scores.topk(7).indices % 2
    assert (best[0] == 0).all()
    assert (best[1] == 1).all()


# ----------------------------------------------------------------------- one against one each


def test_popularity_counts_rows(train):
    assert popularity.Popularity(train)(history([1]))[0].tolist() == matrix(train).sum(0).tolist()
    liked = popularity.Popularity(train, min_rating=4.0)
    assert liked(history([1]))[0].tolist() == matrix(train, 4.0).sum(0).tolist()


def test_recent_popularity_counts_the_latest_rows():
    data = interactions([1, 1, 2, 2, 3], [1, 2, 1, 3, 3], [4, 4, 4, 2, 4], [10, 20, 30, 40, 50])
    one = history([0], n_items=3)
    assert popularity.RecentPopularity(data, 0.4)(one).tolist() == [[0, 0, 2]]
    assert popularity.RecentPopularity(data, 0.6)(one).tolist() == [[1, 0, 2]]
    assert popularity.RecentPopularity(data, 0.4, min_rating=4.0)(one).tolist() == [[0, 0, 1]]
    assert popularity.RecentPopularity(data, 1e-9)(one).tolist() == [[0, 0, 1]]
    assert (
        popularity.RecentPopularity(data, 1)(one).tolist()
        == popularity.Popularity(data)(one).tolist()
    )
    for share in (0, 1.1):
        with pytest.raises(ValueError, match="share"):
            popularity.RecentPopularity(data, share)


def test_ease_is_the_ridge_regression_of_each_item_on_the_others(train):
    x, penalty = matrix(train), 4.0
    weights = np.zeros((N_ITEMS, N_ITEMS))
    for j in range(N_ITEMS):  # the definition: item j may not explain itself
        others = np.delete(np.arange(N_ITEMS), j)
        z = x[:, others]
        gram = z.T @ z + penalty * np.eye(N_ITEMS - 1)
        weights[others, j] = np.linalg.solve(gram, z.T @ x[:, j])
    model = ease.EASE(train, penalty)
    found = model(train.histories(torch.arange(N_USERS)))
    assert found.numpy() == pytest.approx(x @ weights, abs=1e-5)
    with pytest.raises(ValueError, match="above 0"):
        ease.EASE(train, 0)


@pytest.mark.parametrize(("neighbours", "shrinkage"), [(3, 0.0), (4, 7.0), (99, 2.0)])
def test_item_knn_against_loops(train, neighbours, shrinkage):
    x = matrix(train)
    expected, clear = np.zeros((N_USERS, N_ITEMS)), np.ones(N_ITEMS, dtype=bool)
    for j in range(N_ITEMS):
        cosine = {
            i: x[:, i] @ x[:, j] / (np.sqrt(x[:, i].sum() * x[:, j].sum()) + shrinkage)
            for i in range(N_ITEMS)
            if i != j
        }
        near = sorted(cosine, key=cosine.get, reverse=True)
        if neighbours < len(near):  # which of two equal neighbours is kept is open
            clear[j] = cosine[near[neighbours - 1]] > cosine[near[neighbours]] + 1e-9
        near = near[:neighbours]
        expected[:, j] = sum(cosine[i] * x[:, i] for i in near)
    found = ItemKNN(train, neighbours, shrinkage)(train.histories(torch.arange(N_USERS)))
    assert clear.mean() > 0.5
    assert found.numpy()[:, clear] == pytest.approx(expected[:, clear], abs=1e-5)


def test_item_knn_survives_items_without_rows(train):
    without = train.select(train.item != 4)
    scores = ItemKNN(without, 5, 0.0)(history([4, 5]))
    assert scores.isfinite().all()
    assert scores[0, 4] == 0


@needs_implicit
def test_ials_folds_a_history_in_by_least_squares(train):
    alpha, penalty = 2.0, 0.5
    model = ials.IALS(train, 4, penalty, alpha)
    y = model.model.item_factors.astype(np.float64)
    held = [3, 7, 11]
    # confidence alpha for what is held, 1 for the rest: Hu et al. 2008, equation 4
    a = y.T @ y + (alpha - 1) * y[held].T @ y[held] + penalty * np.eye(4)
    user = np.linalg.solve(a, alpha * y[held].sum(0))
    assert model(history(held))[0].numpy() == pytest.approx(y @ user, abs=1e-4)


@needs_implicit
def test_ials_is_repeatable(train):
    one, two = (ials.IALS(train, 4, seed=3)(history([1, 2])) for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.equal(one, ials.IALS(train, 4, seed=4)(history([1, 2])))


def test_random_shares_no_numbers_with_seeds_or_negatives_of_the_same_seed():
    rng = np.random.default_rng(0)
    user, item = (rng.random((400, 60)) < 0.2).nonzero()
    data = interactions(user, item, 5.0, rng.integers(1, 50, len(user)))
    split = leave_one_out(data)
    history_, target = protocols.ranking_task(split, "test")
    for seed in (0, 7):
        generator = torch.Generator().manual_seed(seed)
        negatives = protocols.sample_negatives(data, target.user, 19, generator)
        result = protocols.leave_one_out_metrics(
            popularity.Random(data, seed), history_, target, negatives, seed=seed
        )
        assert result.mean()["sampled_hr@10"] == pytest.approx(0.5, abs=0.08)
        result = seed_and_suggest(popularity.Random(data, seed), data, seed=seed)
        liked = (data.offsets.diff()[result.users] - 3).float()
        assert result.mean()["precision@3"] == pytest.approx(float(liked.mean()) / 57, abs=0.02)


def test_random_is_repeatable_and_changes_from_call_to_call(train):
    one, two = popularity.Random(train, 5), popularity.Random(train, 5)
    first = one(history([1], [2]))
    assert torch.equal(first, two(history([1], [2])))
    assert not torch.equal(first, one(history([1], [2])))
    assert not torch.equal(first[0], first[1])


def test_a_catalogue_too_large_for_a_dense_matrix_is_refused(train, monkeypatch):
    monkeypatch.setenv("RECSYS_RL_TABLE_GIB", "1e-8")
    for model in (ItemKNN, ease.EASE):
        with pytest.raises(ValueError, match=rf"{N_ITEMS} x {N_ITEMS}, which takes .* min_ratings"):
            model(train)


# ------------------------------------------------------------------------------------ tuning


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_is_fitted_by_its_name_without_settings_and_can_be_repeated(train, name):
    if name == "iALS" and not HAS_IMPLICIT:
        pytest.skip("a development dependency")
    one, two = (BASELINES[name](train)(history([3, 7, 11], [N_ITEMS])) for _ in range(2))
    assert one.shape == (2, N_ITEMS)
    assert one.isfinite().all()
    assert torch.equal(one, two)


def test_grids_are_of_baselines_that_there_are():
    for _, grids, *_ in driver.TASKS.values():
        assert set(grids) <= {*BASELINES, "oracle"}


def test_tune_takes_the_best_on_validation_and_never_sees_the_test_part(train):
    split = leave_one_out(train)
    grid = {"neighbours": [1, 5, 24], "shrinkage": [0.0, 10.0]}
    evaluate = tuning.leave_one_out_evaluator(split)
    table, best = tuning.tune(ItemKNN, grid, split.train, evaluate)
    assert list(table) == ["neighbours", "shrinkage", "hr@10", "ndcg@10", "fit_seconds"]
    assert list(zip(table["neighbours"], table["shrinkage"], strict=True)) == [
        (n, s) for n in (1, 5, 24) for s in (0.0, 10.0)
    ]
    row = table.iloc[table["ndcg@10"].argmax()]
    assert best == {"neighbours": row["neighbours"], "shrinkage": row["shrinkage"]}
    score = ItemKNN(split.train, **best)
    direct = protocols.leave_one_out_metrics(score, split.train, split.validation)
    assert row["ndcg@10"] == pytest.approx(direct.mean()["ndcg@10"])
    only, settings = tuning.tune(popularity.Popularity, {}, split.train, evaluate)
    assert len(only) == 1
    assert settings == {}


def test_tune_takes_nan_for_the_worst_and_says_what_it_cannot_choose(train, tmp_path):
    def evaluate(value):
        values = {"m": np.full(5, value, np.float32)}
        return statistics.Evaluation("toy", values, torch.arange(5))

    def tuned(values, metric="m", kept=None):
        options = {"metric": metric, "kept": kept}
        return tuning.tune(lambda _, x: x, {"x": values}, train, evaluate, **options)[1]

    assert tuned([np.nan, 2, 3]) == {"x": 3}
    with pytest.raises(ValueError, match="no settings to choose"):
        tuned([])
    with pytest.raises(ValueError, match=r"no metric 'ndcg': m$"):
        tuned([1, 2], metric="ndcg")
    kept = tuning.Kept(tmp_path / "kept.jsonl", {})
    assert tuned([1, 2], kept=kept) == {"x": 2}
    with pytest.raises(ValueError, match="no metric 'ndcg': m, fit_seconds$"):
        tuned([1, 2], metric="ndcg", kept=kept)
    with pytest.raises(ValueError, match="m is NaN for all settings"):
        tuned([np.nan])


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """The driver records here and not into the committed files."""
    monkeypatch.setattr(results, "PATH", tmp_path / "results.csv.xz")
    monkeypatch.setattr(results, "TUNED", tmp_path / "tuned.json")
    monkeypatch.chdir(tmp_path)


def test_the_driver_records_its_results_and_keeps_other_models(tmp_path, recorded):
    write_movielens(tmp_path / "tiny", "csv", n_items=200)
    arguments = ["--dataset", "tiny", "--root", str(tmp_path)]
    for models in (["popularity"], ["EASE", "random"]):
        driver.main([*arguments, "--models", *models])
    assert not list(tmp_path.glob("*.tmp*"))
    assert set(results.load()["agent"]) == {"popularity", "EASE", "random"}
    assert list(results.tuned("tiny", "leave-one-out")) == ["popularity", "EASE", "random"]
    for task, (_, grids, split, protocol) in driver.TASKS.items():
        regularization = results.tuned("tiny", task)["EASE"]["regularization"]
        assert regularization in grids["EASE"]["regularization"]
        key = {"dataset": "tiny", "split": split, "protocol": protocol, "stage": "final"}
        assert len(results.means(agent="EASE", **key)) == 1
        kept = results.by_user("reward@40", agent="EASE", **key)
        assert kept.empty == (task != "cold-start")


def test_an_interrupted_search_loses_nothing_that_it_computed(tmp_path, monkeypatch, recorded):
    write_movielens(tmp_path / "tiny", "csv", n_items=200)
    fitted, stops = [], [3, 5, 6]  # fits of all runs together at which one is interrupted
    real = driver.MODELS["EASE"]

    def spy(train, regularization):
        if len(fitted) in stops[:1]:
            stops.pop(0)
            raise KeyboardInterrupt
        fitted.append(regularization)
        return real(train, regularization=regularization)

    grid = [100, 200, 300, 400, 500]
    monkeypatch.setitem(driver.MODELS, "EASE", spy)
    monkeypatch.setitem(driver.TEMPORAL, "EASE", {"regularization": grid})
    arguments = ["--dataset", "tiny", "--root", str(tmp_path), "--tasks", "temporal"]
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            driver.main([*arguments, "--models", "EASE"])
    [file] = (tmp_path / "checkpoints" / "tuning").iterdir()
    file.write_bytes(file.read_bytes()[:-20])  # the last line was cut off by a kill
    with pytest.raises(KeyboardInterrupt):  # before the fit for the test
        driver.main([*arguments, "--models", "EASE"])
    assert fitted == [*grid, grid[-1]]
    driver.main([*arguments, "--models", "EASE"])
    best = results.tuned("tiny", "temporal")["EASE"]["regularization"]
    assert fitted[6:] == [best]
    assert not list(file.parent.iterdir())
    monkeypatch.setitem(driver.MODELS, "EASE", real)
    table = results.load()
    driver.main([*arguments, "--models", "EASE"])
    assert results.tuned("tiny", "temporal")["EASE"]["regularization"] == best
    pd.testing.assert_frame_equal(results.load(), table)


def test_rows_of_other_data_are_not_taken(tmp_path):
    path = tmp_path / "rows.jsonl"
    made = lambda value: lambda: {"m": value}  # noqa: E731
    assert tuning.Kept(path, {"data": "a"}).row({"k": 1}, made(1.0)) == {"m": 1.0}
    assert tuning.Kept(path, {"data": "b"}).row({"k": 1}, made(2.0)) == {"m": 2.0}
    assert tuning.Kept(path, {"data": "a"}).row({"k": 1}, made(3.0)) == {"m": 1.0}
    assert tuning.Kept(path, {"data": "a"}).row({"k": 2}, made(3.0)) == {"m": 3.0}


@pytest.mark.parametrize("split", ["random-positives", "ratings"])
def test_the_driver_fits_on_the_agents_rows_and_searches_on_a_part_of_them(split, monkeypatch):
    data, evaluated = random_log(80, 300), []

    def spy(score, train, held_out, *_):
        evaluated.append((rows_of(train), rows_of(held_out)))
        return SimpleNamespace(model=None)

    monkeypatch.setattr(protocols, "random_positive_metrics", spy)
    monkeypatch.setattr(reranking, "offline_reranking", spy)
    search, on_validation, log, on_test, _ = driver.TASKS[split][0](data, 0)
    on_validation(popularity.Popularity(data))
    on_test(popularity.Popularity(data))
    (first, validation), (second, test) = evaluated
    assert first == rows_of(search)
    assert second == rows_of(log) == first | validation == rows_of(task_of(data, split).train)
    assert not first & validation
    assert not second & test


def test_the_driver_measures_what_was_fitted_anew_on_the_longer_log(monkeypatch):
    short, long = random_log(5), random_log(9)
    fitted = []
    monkeypatch.setitem(driver.MODELS, "EASE", lambda train, size: fitted.append(train) or size)
    made = lambda size: statistics.Evaluation("", {"m": np.full(3, size)}, torch.arange(3))  # noqa: E731
    task = short, made, long, lambda size: made(10 * size), "m"
    key = {"dataset": "tiny", "split": "temporal", "protocol": "temporal"}
    chosen, rows = driver.measure(task, {"EASE": {"size": [1.0, 3.0, 2.0]}}, ["EASE"], **key)
    assert chosen == {"EASE": {"size": 3.0}}
    assert rows[["metric", "value"]].to_numpy().tolist() == [["m", 30.0]]
    assert [len(train) for train in fitted] == [len(short)] * 3 + [len(long)]


def rows_of(log: Interactions) -> set[tuple[int, int]]:
    return set(zip(log.user.tolist(), log.item.tolist(), strict=True))


def test_the_driver_chooses_sessions_on_validation_users(tmp_path, monkeypatch, recorded):
    """What each group likes is a setting: validation users must win the choice, test ones not."""
    folder = write_movielens(tmp_path / "tiny", "csv")
    data = Interactions.from_ratings(load_ratings(folder))
    ids = split_users(data.n_users, (0.8, 0.1, 0.1), torch.Generator().manual_seed(0))
    fitted_on = []

    def spy(train, group):
        fitted_on.append(train)
        return popularity.Popularity(data.select(torch.isin(data.user, ids[group])), min_rating=4.0)

    monkeypatch.setitem(driver.MODELS, "EASE", spy)
    monkeypatch.setitem(driver.COLD_START, "EASE", {"group": [0, 2, 1]})
    for name, grid in (("LinUCB", {"k": [2], "alpha": [0.0]}), ("PMF", {"k": [2]})):
        monkeypatch.setitem(driver.COLD_START, name, grid)
    arguments = ["--dataset", "tiny", "--root", str(tmp_path), "--tasks", "cold-start"]
    driver.main([*arguments, "--models", "EASE", "LinUCB", "PMF", "oracle"])
    assert all(set(train.user.tolist()) == set(ids[0].tolist()) for train in fitted_on)
    assert results.tuned("tiny", "cold-start")["EASE"] == {"group": 1}
    assert "ridge regression (LinUCB, alpha = 0)" in set(results.load()["agent"])
    users = data.select(torch.isin(data.user, ids[2]))
    tested, best = cold_start_sessions(spy(data, 1), users), cold_start_oracle(users)
    for agent, expected in (("EASE", tested), ("oracle", best)):
        found = results.means(agent=agent, split="cold-start").iloc[0]
        assert found[list(expected.mean())].to_dict() == pytest.approx(expected.mean(), abs=1e-5)
        for t in (3, 10, 20, 40):
            kept = results.by_user(f"reward@{t}", agent=agent, split="cold-start").loc[0]
            assert kept.to_numpy() == pytest.approx(expected.metrics[f"reward@{t}"], abs=1e-5)
