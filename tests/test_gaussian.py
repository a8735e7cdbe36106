"""The Gaussian of likes against closed forms written out in NumPy."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from toys import histories_of, log_of, random_log

from recsys_rl.baselines.gaussian import GaussianLikes
from recsys_rl.data.histories import POSITIVE, SHOWN, Histories
from recsys_rl.data.interactions import Interactions

N_ITEMS = 11
Pairs = list[tuple[int, float]]
USERS: list[Pairs] = [[(2, 5.0), (7, SHOWN), (3, 4.0)], [(10, 3.5)], [(1, SHOWN), (0, 4.5)], []]


def fitted(k: int = 4, **options) -> GaussianLikes:
    return GaussianLikes.fit(
        random_log(40, N_ITEMS), k, torch.Generator().manual_seed(0), **options
    )


def likes_of(log: Interactions) -> np.ndarray:
    """[U, V] of 1 and 0."""
    likes = np.zeros((log.n_users, log.n_items))
    likes[log.user, log.item] = log.rating >= POSITIVE
    return likes


def score(model: GaussianLikes, *users: Pairs) -> torch.Tensor:
    return model.score(histories_of(*users, n_items=N_ITEMS))


def conditioned(
    mean: np.ndarray, covariance: np.ndarray, s: np.ndarray, pairs: Pairs
) -> np.ndarray:
    """E[likes | answers] of a normal distribution, answers with noise of variance s."""
    items = [item for item, _ in pairs]
    liked = np.array([stars >= POSITIVE for _, stars in pairs], dtype=float)
    within = covariance[np.ix_(items, items)] + np.diag(s[items])
    return mean + covariance[:, items] @ np.linalg.solve(within, liked - mean[items])


def test_with_all_components_it_is_conditioned_on_the_answers() -> None:
    likes = likes_of(random_log(40, N_ITEMS))
    mean, covariance = likes.mean(0), np.cov(likes.T, bias=True)
    found = score(fitted(N_ITEMS, noise=0.05), *USERS)
    for row, pairs in zip(found, USERS, strict=True):
        expected = conditioned(mean, covariance, np.full(N_ITEMS, 0.05), pairs)
        assert row.tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def test_the_posterior_mean_is_a_ridge_regression_on_the_components() -> None:
    """Answers weighted by 1 / s, prior N(0, I)."""
    model = fitted(3, noise=0.05)
    x, mean = (
        model.item_vectors[:, :-1].double().numpy(),
        model.item_vectors[:, -1].double().numpy(),
    )
    s = model.noise.double().numpy()
    found = model.user_vector(histories_of(*USERS, n_items=N_ITEMS))
    for row, pairs in zip(found, USERS, strict=True):
        items = [item for item, _ in pairs]
        surprise = np.array([stars >= POSITIVE for _, stars in pairs], dtype=float) - mean[items]
        gram = x[items].T @ (x[items] / s[items, None]) + np.eye(3)
        z = np.linalg.solve(gram, x[items].T @ (surprise / s[items]))
        assert row.tolist() == pytest.approx([*z, 1.0], abs=1e-5)


def test_what_the_components_leave_of_an_items_variance_is_noise() -> None:
    model, log = fitted(3, noise=0.05), random_log(40, N_ITEMS)
    explained = model.item_vectors[:, :-1].square().sum(1)
    variance = torch.tensor(likes_of(log).var(0)).float()
    torch.testing.assert_close(explained + model.noise, variance + 0.05, atol=1e-5, rtol=0)
    assert (model.noise > 0.06).any()


def test_it_reads_neither_padding_nor_order_nor_user_nor_neighbours() -> None:
    model, pairs = fitted(), USERS[0]
    together = score(model, pairs, [(N_ITEMS, 0.0), *pairs], pairs[::-1], [(1, 4.0)])
    for row in together[:3]:
        torch.testing.assert_close(row, score(model, pairs)[0])
    histories = histories_of(pairs, n_items=N_ITEMS)
    known = Histories(torch.tensor([0]), histories.item, histories.rating)
    assert torch.equal(model.score(known), model.score(histories))
    low = [(item, stars or 2.0) for item, stars in pairs]  # a low rating is no like, either
    assert torch.equal(score(model, low), score(model, pairs))


def test_who_has_answered_nothing_is_the_mean_and_nobody_is_no_error() -> None:
    model = fitted()
    for nothing in ([], [(N_ITEMS, 0.0)] * 3):
        torch.testing.assert_close(score(model, nothing)[0], model.item_vectors[:, -1])
    nobody = Histories(torch.zeros(0).long(), torch.zeros(0, 4).long(), torch.zeros(0, 4))
    assert model.user_vector(nobody).shape == (0, 5)


def test_the_latest_likes_and_rejections_count() -> None:
    """As many of each as the memory holds; all of them without one."""
    old, late = [(0, 5.0), (9, SHOWN)], [(2, 5.0), (7, SHOWN), (3, 4.0), (8, SHOWN)]
    short, whole = fitted(memory=2), fitted()
    torch.testing.assert_close(score(short, old + late), score(whole, late))
    assert not torch.allclose(score(whole, old + late), score(whole, late), atol=1e-3)


def test_an_answer_does_not_change_the_next_one() -> None:
    model = fitted()
    alone = [score(fitted(), pairs) for pairs in USERS]
    for _ in range(2):
        for pairs, expected in zip(USERS, alone, strict=True):
            assert torch.equal(score(model, pairs), expected)


def test_less_noise_gives_the_answers_more_weight() -> None:
    liked = [(2, 5.0)]
    means, careful, bold = (score(fitted(noise=n), liked)[0, 2] for n in (1e6, 0.5, 0.01))
    assert means < careful < bold <= 1


def test_users_without_rows_do_not_count() -> None:
    few = log_of([(0, 0, 5.0), (2, 0, 4.0), (2, 1, 3.0), (0, 2, 4.0)], 5, 14)
    model = GaussianLikes.fit(few, 2, torch.Generator().manual_seed(0))
    assert model.item_vectors[:3, -1].tolist() == [1, 0, 0.5]


def test_noise_must_be_there() -> None:
    """An item that all like, or none, has no variance; without noise nothing can be solved."""
    with pytest.raises(ValueError, match="noise must be at least"):
        fitted(noise=0.0)


def test_a_saved_model_comes_back() -> None:
    model, other = fitted(), fitted(noise=0.3)
    assert not torch.allclose(score(other, *USERS), score(model, *USERS))
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    assert torch.equal(score(other, *USERS), score(model, *USERS))
