"""The linear bandits against closed forms and against regressions written out."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from toys import histories_of, log_of, random_log, two_tastes

from recsys_rl.baselines import linucb
from recsys_rl.baselines.linucb import HLinUCB, LinUCB
from recsys_rl.data.histories import SHOWN, Histories
from recsys_rl.data.rewards import liked_reward, paper_reward

N_ITEMS, D = 11, 4
histories = partial(histories_of, n_items=N_ITEMS)


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def vectors() -> torch.Tensor:
    return torch.randn(N_ITEMS, D, generator=gen())


def ridge_by_hand(x: np.ndarray, r: np.ndarray, ridge: float, prior: np.ndarray):
    """Minimises |r - x theta|^2 + ridge |theta - prior|^2: rows added for the prior, lstsq."""
    rows = np.concatenate([x, np.sqrt(ridge) * np.eye(x.shape[1])])
    theta = np.linalg.lstsq(rows, np.concatenate([r, np.sqrt(ridge) * prior]), rcond=None)[0]
    return theta, np.linalg.inv(rows.T @ rows)


# ---------------------------------------------------------------------------- LinUCB


@pytest.mark.parametrize("reward", [liked_reward, paper_reward])
def test_bounds_are_those_of_a_ridge_regression_written_out(vectors: torch.Tensor, reward) -> None:
    seen = [[(2, 5.0), (7, 1.0), (3, 4.0)], [(10, 3.5)], [(1, SHOWN), (0, 4.5)]]
    prior = torch.tensor([0.5, -1.0, 0.0, 2.0])
    model = LinUCB(vectors, alpha=0.7, ridge=0.3, prior=prior, reward=reward)
    found = model(histories(*seen))
    assert found.shape == (3, N_ITEMS)
    assert found.dtype == torch.float32
    for row, rated in zip(found, seen, strict=True):
        x = vectors[[item for item, _ in rated]].double().numpy()
        r = reward(torch.tensor([stars for _, stars in rated])).double().numpy()
        theta, inverse = ridge_by_hand(x, r, 0.3, prior.double().numpy())
        v = vectors.double().numpy()
        bound = v @ theta + 0.7 * np.sqrt(np.einsum("id,de,ie->i", v, inverse, v))
        assert row.numpy() == pytest.approx(bound, abs=1e-4)


@pytest.mark.parametrize("items", [0, 1, D - 1, D, D + 3])
def test_the_short_way_to_the_bounds_is_the_long_one(vectors: torch.Tensor, items: int) -> None:
    """Histories shorter and longer than the vectors are wide, padded ones among them."""
    users = [[(item, 4.0) for item in range(items)], [(5, 2.0)] if items else []]
    model, seen = LinUCB(vectors, ridge=0.3), histories(*users)
    _, inverse = model.regression(seen)
    expected = torch.einsum("vi,bij,vj->bv", vectors, inverse, vectors).sqrt()
    torch.testing.assert_close(model.width(seen, inverse), expected, rtol=1e-4, atol=1e-5)


def test_who_has_no_history_is_the_prior(vectors: torch.Tensor) -> None:
    prior = torch.tensor([0.5, -1.0, 0.0, 2.0])
    model = LinUCB(vectors, alpha=2.0, ridge=4.0, prior=prior)
    nobody = Histories(torch.tensor([99]), torch.empty(1, 0, dtype=torch.int64), torch.empty(1, 0))
    expected = vectors @ prior + 2.0 * vectors.norm(dim=1) / 2
    for empty in (nobody, histories([(N_ITEMS, 0.0), (N_ITEMS, 0.0)])):
        assert model(empty)[0].tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def test_one_feature_in_closed_form() -> None:
    """x = 1, n likes among m items shown: theta = n / (m + ridge), width = 1 / sqrt(m + ridge)."""
    model = LinUCB(torch.ones(N_ITEMS, 1), alpha=1.5, ridge=2.0)
    seen = [(0, 5.0), (1, SHOWN), (2, 4.0), (3, 2.0)]
    assert model(histories(seen))[0].tolist() == pytest.approx([2 / 6 + 1.5 / 6**0.5] * N_ITEMS)


def test_padding_order_user_and_batch_change_nothing(vectors: torch.Tensor) -> None:
    model = LinUCB(vectors)
    seen = [(2, 5.0), (7, 1.0), (3, 4.0)]
    batch = histories(seen, seen[::-1], [(1, 4.0), *seen, (5, SHOWN)])
    found = model(batch)
    assert torch.allclose(found[0], found[1], atol=1e-6)
    single = model(histories(seen))
    assert torch.allclose(found[0], single[0], atol=1e-6)
    batch.user.fill_(3)
    assert torch.equal(model(batch), found)


def test_an_item_shown_in_vain_is_less_uncertain_and_scores_less(vectors: torch.Tensor) -> None:
    wide, plain = LinUCB(vectors, alpha=1.0), LinUCB(vectors, alpha=0.0)
    start, shown = histories([(1, 5.0)]), histories([(1, 5.0), (6, SHOWN)])
    width = [(wide(h) - plain(h))[0] for h in (start, shown)]
    assert (width[1] <= width[0] + 1e-6).all()
    assert width[1][6] < 0.8 * width[0][6]
    assert abs(plain(shown)[0, 6]) < abs(plain(start)[0, 6])  # drawn towards 0


# ---------------------------------------------------------------------------- HLinUCB


@pytest.mark.parametrize("unrated_is_0", [False, True])
def test_regressions_are_ridge_regressions_on_what_is_there(unrated_is_0: bool) -> None:
    log = random_log(15, N_ITEMS)
    features, prior = torch.randn(N_ITEMS, 3, generator=gen()), torch.tensor([1.0, 0.0, -1.0])
    there, gain = linucb._table(log, paper_reward, unrated_is_0)
    theta, inverse = linucb._regressions(there, gain, features, 0.6, prior)
    for user in range(log.n_users):
        mine = log.user == user
        stars = dict(zip(log.item[mine].tolist(), log.rating[mine].tolist(), strict=True))
        items = list(range(N_ITEMS)) if unrated_is_0 else sorted(stars)
        r = np.array([(stars[i] - 3) / 2 if i in stars else 0.0 for i in items])
        by_hand, covariance = ridge_by_hand(features[items].double().numpy(), r, 0.6, prior.numpy())
        assert theta[user].numpy() == pytest.approx(by_hand, abs=1e-4)
        assert inverse[user].numpy() == pytest.approx(covariance, abs=1e-4)


@pytest.mark.parametrize("unrated_is_0", [False, True])
def test_rounds_alternate_and_never_raise_the_penalised_error(unrated_is_0: bool) -> None:
    log, x = random_log(15, N_ITEMS), torch.randn(N_ITEMS, 2, generator=gen())
    prior = torch.tensor([0.3, -0.2])
    there, gain = linucb._table(log, liked_reward, unrated_is_0)
    errors = []
    common = {"hidden": 2, "ridge": 0.5, "item_ridge": 0.8, "prior": prior}
    for rounds in (1, 2, 5, 20):
        model = HLinUCB(
            x, log, generator=gen(7), rounds=rounds, unrated_is_0=unrated_is_0, **common
        )
        full = torch.nn.functional.pad(prior, (0, 2))
        theta, _ = linucb._regressions(there, gain, model.vectors, 0.5, full)
        miss = (there * (gain - theta @ model.vectors.T)).square().sum()
        penalty = 0.5 * (theta - full).square().sum()
        errors.append(float(miss + penalty + 0.8 * model.vectors[:, 2:].square().sum()))
        assert torch.equal(model.vectors[:, :2], x)
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > errors[-1] + 0.01


def test_the_last_hidden_features_are_the_regression_of_what_is_left() -> None:
    """One round, written out for each item."""
    log, x = random_log(15, N_ITEMS), torch.randn(N_ITEMS, 2, generator=gen())
    model = HLinUCB(x, log, generator=gen(7), hidden=2, rounds=1, ridge=0.5, item_ridge=0.8)
    v = 0.1 * torch.randn(N_ITEMS, 2, generator=gen(7))
    there, gain = linucb._table(log, liked_reward, False)
    theta, _ = linucb._regressions(there, gain, torch.cat([x, v], 1), 0.5, torch.zeros(4))
    for item in range(N_ITEMS):
        who = log.user[log.item == item]
        rest = (log.rating[log.item == item] >= 4).float() - theta[who, :2] @ x[item]
        by_hand, inverse = ridge_by_hand(theta[who, 2:].numpy(), rest.numpy(), 0.8, np.zeros(2))
        assert model.vectors[item, 2:].numpy() == pytest.approx(by_hand, abs=1e-4)
        assert model._item_inverse[item].numpy() == pytest.approx(inverse, abs=1e-4)


def test_users_without_rows_teach_nothing() -> None:
    few = log_of([(0, 0, 5.0), (2, 0, 4.0), (2, 1, 3.0), (0, 2, 4.0)], 5, N_ITEMS)
    two = log_of([(0, 0, 5.0), (1, 0, 4.0), (1, 1, 3.0), (0, 2, 4.0)], 2, N_ITEMS)
    x = torch.randn(N_ITEMS, 2, generator=gen())
    learned = [HLinUCB(x, log, generator=gen(7), unrated_is_0=True).vectors for log in (few, two)]
    torch.testing.assert_close(*learned)


def test_both_confidence_terms_written_out() -> None:
    log, x = random_log(15, N_ITEMS), torch.randn(N_ITEMS, 2, generator=gen())
    common = {"hidden": 2, "rounds": 3, "ridge": 0.5, "prior": torch.tensor([1.0, 0.5])}
    model = HLinUCB(x, log, generator=gen(7), alpha=0.4, item_alpha=0.9, **common)
    seen = [(2, 5.0), (7, SHOWN)]
    prior = np.array([1.0, 0.5, 0, 0])
    z = model.vectors.double().numpy()
    theta, inverse = ridge_by_hand(z[[2, 7]], np.array([1.0, 0.0]), 0.5, prior)
    of_user = np.sqrt(np.einsum("id,de,ie->i", z, inverse, z))
    cov = model._item_inverse.double().numpy()
    of_item = np.sqrt(np.einsum("d,ide,e->i", theta[2:], cov, theta[2:]))
    found = model(histories(seen, [(1, 4.0)]))
    assert found.shape == (2, N_ITEMS)
    assert found[0].numpy() == pytest.approx(z @ theta + 0.4 * of_user + 0.9 * of_item, abs=1e-4)


def test_hidden_features_find_the_two_tastes() -> None:
    """The items' only known feature is 1; odd and even items are told apart by the hidden one."""
    log = two_tastes(40, 16)
    model = HLinUCB(
        torch.ones(16, 1), log, generator=gen(), hidden=1, alpha=0.0, reward=paper_reward
    )
    found = model(histories([(3, 5.0)], [(4, 5.0)], [(4, 1.0)], n_items=16))
    odd, even = found[:, 1::2], found[:, ::2]
    assert (odd[[0, 2]].min(1).values > even[[0, 2]].max(1).values).all()
    assert even[1].min() > odd[1].max()


def test_the_same_seed_learns_the_same() -> None:
    log, x = random_log(15, N_ITEMS), torch.randn(N_ITEMS, 2, generator=gen())
    first, again, other = (HLinUCB(x, log, generator=gen(s)).vectors for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
