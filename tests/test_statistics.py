"""Intervals over training seeds and users: known answers of the hierarchical bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recsys_rl.evaluation.statistics import (
    Evaluation,
    hierarchical_bootstrap,
    paired_bootstrap,
    seed_spread,
)


@pytest.fixture
def users() -> np.ndarray:
    return np.random.default_rng(1).normal(0.4, 0.2, size=500)


def interval_over_users(values: np.ndarray, n_boot: int) -> tuple[float, float]:
    found = Evaluation("any", {"metric": values}, torch.arange(len(values)))
    return found.interval(n_boot)["metric"]


def width(found) -> float:
    return found.high - found.low


def test_seeds_that_agree_give_the_interval_over_users(users):
    found = hierarchical_bootstrap(np.tile(users, (5, 1)))
    low, high = interval_over_users(users, 4000)
    assert found.mean == pytest.approx(users.mean())
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.002)
    assert found.over == "seeds and users"


def test_users_that_agree_give_the_interval_of_the_seed_means():
    means = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    found = hierarchical_bootstrap(np.repeat(means[:, None], 50, axis=1))
    low, high = interval_over_users(means, 20_000)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.011)
    # a normal interval of the mean of five, a little shorter: the bootstrap's sd divides by S
    normal = 2 * 1.96 * seed_spread(means)["sd"] / 5**0.5
    assert width(found) == pytest.approx(normal * (4 / 5) ** 0.5, rel=0.1)


def test_both_uncertainties_add_up(users):
    shift = np.array([-0.02, -0.01, 0.0, 0.01, 0.02])[:, None]
    both = hierarchical_bootstrap(users + shift)
    of_users = hierarchical_bootstrap(np.tile(users, (5, 1)))
    of_seeds = hierarchical_bootstrap(np.repeat(0.4 + shift, 500, axis=1))
    assert width(both) == pytest.approx(np.hypot(width(of_users), width(of_seeds)), rel=0.1)


def test_a_paired_difference_that_is_the_same_for_all_has_no_width(users):
    other = np.stack([users, users + 0.3])
    found = hierarchical_bootstrap(other + 0.01 - other)
    assert found[:3] == pytest.approx((0.01, 0.01, 0.01))


def test_users_without_a_value_do_not_count(users):
    some = np.tile(users, (3, 1))
    some[:, ::2] = np.nan
    some[1, 1] = np.nan
    found = hierarchical_bootstrap(some)
    expected = hierarchical_bootstrap(np.tile(users[1::2], (3, 1)))
    assert found.mean == pytest.approx(np.nanmean(some))
    assert found[:3] == pytest.approx(expected[:3], abs=0.005)
    ours = hierarchical_bootstrap(list(some))
    assert ours.mean == pytest.approx(np.nanmean(some))
    assert np.isfinite(ours[:3]).all()


def test_one_seed_is_an_interval_over_users_and_says_so(users):
    low, high = interval_over_users(users, 2000)
    for values in (users[None], [users]):
        assert hierarchical_bootstrap(values) == pytest.approx(
            (users.mean(), low, high, "users")
        )  # fmt: skip


def test_groups_have_users_of_their_own():
    rng = np.random.default_rng(2)
    level = [0.1, 0.2, 0.3, 0.4, 0.5]
    groups = [
        rng.normal(each, 0.01, size=size)
        for each, size in zip(level, range(40, 90, 10), strict=True)
    ]
    found = hierarchical_bootstrap(groups)
    assert found.mean == pytest.approx(np.concatenate(groups).mean())
    assert width(found) == pytest.approx(2 * 1.96 * np.std(level) / 5**0.5, rel=0.15)
    same = [rng.normal(0.4, 0.2, size=100) for _ in range(5)]  # groups do not differ
    pooled = interval_over_users(np.concatenate(same), 4000)
    assert width(hierarchical_bootstrap(same)) == pytest.approx(pooled[1] - pooled[0], rel=0.4)


def test_the_same_call_gives_the_same_interval(users):
    values = np.stack([users, users[::-1]])
    assert hierarchical_bootstrap(values) == hierarchical_bootstrap(values)
    assert hierarchical_bootstrap(values) != hierarchical_bootstrap(values, seed=7)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (np.zeros(3), r"values must be \[seeds, users\], not of shape \(3,\)"),
        (np.zeros((2, 3, 4)), r"values must be \[seeds, users\]"),
        ([np.zeros((2, 3))], "every group must be one array"),
        ([], "every seed needs the value of one user at least"),
        (np.zeros((0, 4)), "every seed needs the value of one user at least"),
        (np.zeros((2, 0)), "every seed needs the value of one user at least"),
        (np.array([[0.1, 0.2], [np.nan, np.nan]]), "every seed needs the value of one user"),
    ],
)
def test_other_shapes_are_refused(values, sentence):
    with pytest.raises(ValueError, match=sentence):
        hierarchical_bootstrap(values)


def test_share_of_way_from_one_mean_to_another():
    users = torch.arange(4)
    low, mean, high = (
        Evaluation("p", {"m": np.full(4, value, np.float32)}, users) for value in (1.0, 2.5, 3.0)
    )
    assert mean.share_of_way(low, high, "m") == pytest.approx((0.75, 0.75, 0.75))


@pytest.mark.parametrize("level", [-1, 0, 1, 2, "a", None, float("nan")])
def test_a_level_is_a_share(level):
    one = Evaluation("p", {"m": np.arange(3.0)}, torch.arange(3))
    for interval in (
        lambda: one.interval(level=level),
        lambda: one.compare(one, "m", level=level),
        lambda: hierarchical_bootstrap(np.ones((2, 3)), level=level),
    ):
        with pytest.raises(ValueError, match="level is a share between 0 and 1"):
            interval()


@pytest.mark.parametrize("count", [0, -1, 1.5])
def test_resamples_are_counted(count):
    one = Evaluation("p", {"m": np.arange(3.0)}, torch.arange(3))
    with pytest.raises(ValueError, match="n_boot is a whole number"):
        one.interval(n_boot=count)
    with pytest.raises(ValueError, match="n_boot is a whole number"):
        hierarchical_bootstrap(np.ones((2, 3)), n_boot=count)


@pytest.mark.parametrize("weights", [[0.0, 0.0], [1.0], [1.0, np.inf], [1.0, -1.0], [np.nan, 1.0]])
def test_weights_that_can_average_nothing_are_refused(weights):
    values = {"m": np.ones(2, np.float32)}
    with pytest.raises(ValueError, match="^weights are"):
        Evaluation("toy", values, torch.arange(2), weights=np.array(weights, np.float32))


def test_metrics_of_other_users_are_refused():
    with pytest.raises(ValueError, match=r"hit has one value for each user, \[3\]"):
        Evaluation("p", {"hit": np.zeros(2, np.float32)}, torch.arange(3))


def test_weights_of_paired_differences_are_looked_at() -> None:
    ours, theirs = np.array([1.0, 2.0]), np.array([0.0, 0.0])
    for weights in (np.array([-1.0, -1.0]), np.array([np.nan, 1.0]), np.ones(3)):
        with pytest.raises(ValueError, match="weights are"):
            paired_bootstrap(ours, theirs, weights)


def test_users_without_weight_leave_no_mean() -> None:
    metrics = {"m": np.array([np.nan, 1.0], np.float32)}
    found = Evaluation("p", metrics, torch.arange(2), weights=np.array([1.0, 0.0]))
    assert np.isnan(found.mean()["m"])


@pytest.mark.parametrize("kind", [list, torch.tensor, np.array])
def test_lists_and_tensors_become_arrays(kind) -> None:
    found = Evaluation("toy", {"hit": kind([1, 0, 1])}, torch.arange(3), weights=kind([1, 1, 2]))
    other = Evaluation(
        "toy", {"hit": kind([True, False, False])}, torch.arange(3), weights=kind([1, 1, 2])
    )
    assert found.mean() == {"hit": 0.75}
    assert found.interval(20)["hit"][1] <= 1
    assert found.compare(other, "hit", n_boot=20).mean == pytest.approx(0.5)
    unweighted = Evaluation("toy", {"hit": [0, 0, 0]}, torch.arange(3))
    with pytest.raises(ValueError, match="same weights"):
        found.compare(unweighted, "hit")
    values = [[0.0, 1.0, 1.0], [0.0, 0.5, 1.0]]
    crossed = hierarchical_bootstrap(np.array(values), n_boot=50)
    assert hierarchical_bootstrap(torch.tensor(values, dtype=torch.float64), n_boot=50) == crossed


@pytest.mark.parametrize("values", [["a", "b"], [[1], [1, 2]], [None, 1], [1j, 2]])
def test_metrics_and_weights_that_are_no_numbers_are_refused(values) -> None:
    with pytest.raises(ValueError, match="hit must be numbers, not"):
        Evaluation("toy", {"hit": values}, torch.arange(2))
    with pytest.raises(ValueError, match="weights must be numbers, not"):
        Evaluation("toy", {"hit": [1, 0]}, torch.arange(2), weights=values)


def test_a_way_between_other_users_or_protocols_is_none() -> None:
    ours = Evaluation("toy", {"hit": [0.5, 0.5]}, torch.arange(2))
    end = Evaluation("toy", {"hit": [1.0, 1.0]}, torch.arange(2))
    for other in (
        Evaluation("other", {"hit": [0.0, 0.0]}, torch.arange(2)),
        Evaluation("toy", {"hit": [0.0, 0.0]}, torch.tensor([0, 2])),
    ):
        with pytest.raises(ValueError, match="only evaluations of the same users and protocol"):
            ours.share_of_way(other, end, "hit")
    nothing = Evaluation("toy", {"hit": [np.nan, np.nan]}, torch.arange(2))
    with pytest.raises(ValueError, match="there is no way"):
        ours.share_of_way(end, nothing, "hit")


@pytest.mark.parametrize(
    "values",
    [
        np.ones((2, 3)) * 1j,
        np.array([["2000-01-01"]], dtype="datetime64[D]"),
        np.array([["1", "2"]]),
        np.array([[1.0, np.inf]]),
        [np.array([1.0, -np.inf])],
        torch.ones(2, 3) * 1j,
    ],
)
def test_values_are_finite_real_numbers(values):
    with pytest.raises(ValueError, match="must be"):
        hierarchical_bootstrap(values)


@pytest.mark.parametrize("means", [[], [[1.0, 2.0]], ["a"], [1.0, np.inf], None])
def test_a_spread_is_of_numbers(means):
    with pytest.raises(ValueError, match="means"):
        seed_spread(means)


def test_infinite_metrics_are_refused():
    with pytest.raises(ValueError, match="return must be finite"):
        Evaluation("x", {"return": np.array([1.0, np.inf])}, torch.arange(2))
