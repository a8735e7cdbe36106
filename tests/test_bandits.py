"""The linear bandits against closed forms and against regressions written out."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from toys import log_of, random_log, two_tastes

from recsys_rl.baselines import linucb
from recsys_rl.baselines.gaussian import GaussianLikes
from recsys_rl.baselines.linucb import HLinUCB, LinUCB
from recsys_rl.data.histories import SHOWN, Histories
from recsys_rl.data.observation import Observation
from recsys_rl.data.rewards import paper_reward
from recsys_rl.embeddings.cooccurrence import like_vectors, liked
from recsys_rl.embeddings.pmf import PMF, pmf_vectors

N_ITEMS, D = 11, 4


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def histories(*people: list[tuple[int, float]], n_items: int = N_ITEMS) -> Histories:
    """People as lists of (film, stars), left-padded."""
    width = max(map(len, people))
    rows = [[(n_items, 0.0)] * (width - len(p)) + p for p in people]
    item = torch.tensor([[film for film, _ in row] for row in rows], dtype=torch.int64)
    stars = torch.tensor([[stars for _, stars in row] for row in rows])
    return Histories(torch.full((len(people),), 99), item.view(len(people), width), stars)


@pytest.fixture
def vectors() -> torch.Tensor:
    return torch.randn(N_ITEMS, D, generator=gen())


def ridge_by_hand(x: np.ndarray, r: np.ndarray, ridge: float, prior: np.ndarray):
    """Minimises |r - x theta|^2 + ridge |theta - prior|^2: rows added for the prior, lstsq."""
    rows = np.concatenate([x, np.sqrt(ridge) * np.eye(x.shape[1])])
    theta = np.linalg.lstsq(rows, np.concatenate([r, np.sqrt(ridge) * prior]), rcond=None)[0]
    return theta, np.linalg.inv(rows.T @ rows)


# ---------------------------------------------------------------------------- LinUCB


@pytest.mark.parametrize("reward", [liked, paper_reward])
def test_bounds_are_those_of_a_ridge_regression_written_out(vectors, reward):
    seen = [[(2, 5.0), (7, 1.0), (3, 4.0)], [(10, 3.5)], [(1, SHOWN), (0, 4.5)]]
    prior = torch.tensor([0.5, -1.0, 0.0, 2.0])
    model = LinUCB(vectors, alpha=0.7, ridge=0.3, prior=prior, reward=reward)
    found = model(histories(*seen))
    assert found.shape == (3, N_ITEMS)
    assert found.dtype == torch.float32
    for row, rated in zip(found, seen, strict=True):
        x = vectors[[film for film, _ in rated]].double().numpy()
        r = reward(torch.tensor([stars for _, stars in rated])).double().numpy()
        theta, inverse = ridge_by_hand(x, r, 0.3, prior.double().numpy())
        v = vectors.double().numpy()
        bound = v @ theta + 0.7 * np.sqrt(np.einsum("id,de,ie->i", v, inverse, v))
        assert row.numpy() == pytest.approx(bound, abs=1e-4)


@pytest.mark.parametrize("films", [0, 1, D - 1, D, D + 3])
def test_the_short_way_to_the_bounds_is_the_long_one(vectors, films):
    """Histories shorter and longer than the vectors are wide, padded ones among them."""
    people = [[(film, 4.0) for film in range(films)], [(5, 2.0)] if films else []]
    model, seen = LinUCB(vectors, ridge=0.3), histories(*people)
    _, inverse = model.person(seen)
    expected = torch.einsum("vi,bij,vj->bv", vectors, inverse, vectors).sqrt()
    torch.testing.assert_close(model.width(seen, inverse), expected, rtol=1e-4, atol=1e-5)


def test_who_has_no_history_is_the_prior(vectors):
    prior = torch.tensor([0.5, -1.0, 0.0, 2.0])
    model = LinUCB(vectors, alpha=2.0, ridge=4.0, prior=prior)
    nobody = Histories(torch.tensor([99]), torch.empty(1, 0, dtype=torch.int64), torch.empty(1, 0))
    expected = vectors @ prior + 2.0 * vectors.norm(dim=1) / 2
    for empty in (nobody, histories([(N_ITEMS, 0.0), (N_ITEMS, 0.0)])):
        assert model(empty)[0].tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def test_one_film_and_one_feature_in_closed_form():
    """x = 1, n likes among m films shown: theta = n / (m + ridge), width = 1 / sqrt(m + ridge)."""
    model = LinUCB(torch.ones(N_ITEMS, 1), alpha=1.5, ridge=2.0)
    seen = [(0, 5.0), (1, SHOWN), (2, 4.0), (3, 2.0)]
    assert model(histories(seen))[0].tolist() == pytest.approx([2 / 6 + 1.5 / 6**0.5] * N_ITEMS)


def test_padding_order_and_user_change_nothing_and_a_batch_is_its_people(vectors):
    model = LinUCB(vectors)
    seen = [(2, 5.0), (7, 1.0), (3, 4.0)]
    batch = histories(seen, seen[::-1], [(1, 4.0), *seen, (5, SHOWN)])
    found = model(batch)
    assert torch.allclose(found[0], found[1], atol=1e-6)
    single = model(histories(seen))
    assert torch.allclose(found[0], single[0], atol=1e-6)
    batch.user.fill_(3)
    assert torch.equal(model(batch), found)


def test_what_was_shown_is_less_uncertain_and_what_was_not_liked_scores_less(vectors):
    wide, plain = LinUCB(vectors, alpha=1.0), LinUCB(vectors, alpha=0.0)
    start, shown = histories([(1, 5.0)]), histories([(1, 5.0), (6, SHOWN)])
    width = [(wide(h) - plain(h))[0] for h in (start, shown)]
    assert (width[1] <= width[0] + 1e-6).all()
    assert width[1][6] < 0.8 * width[0][6]
    assert abs(plain(shown)[0, 6]) < abs(plain(start)[0, 6])  # drawn towards 0


# ---------------------------------------------------------------------------- films' vectors


def test_like_vectors_are_the_principal_components_of_the_likes():
    log = random_log(30, 12)
    vectors, prior = like_vectors(log, 5, gen())
    likes = torch.zeros(log.n_users, log.n_items, dtype=torch.float64)
    likes[log.user, log.item] = (log.rating >= 4).double()
    share = likes.mean(0)
    _, spread, turn = torch.linalg.svd((likes - share) / log.n_users**0.5, full_matrices=False)
    best = turn[:5].T * spread[:5]
    assert prior.tolist() == [1, 0, 0, 0, 0, 0, 0]
    assert (vectors @ prior).tolist() == pytest.approx(share.tolist(), abs=1e-6)
    assert (vectors[:, -1] == 1).all()
    components = vectors[:, 1:-1].double()
    # the sign of a component is free, the products are not
    assert torch.allclose(components @ components.T, best @ best.T, atol=1e-5)
    coordinates = (likes - share) @ torch.linalg.pinv(components).T
    assert (coordinates.square().mean(0)).tolist() == pytest.approx([1] * 5, abs=1e-3)


def likes_of(log) -> np.ndarray:
    likes = np.zeros((log.n_users, log.n_items))
    likes[log.user, log.item] = log.rating >= 4
    return likes


def test_with_all_components_the_gaussian_is_conditioned_on_the_answers():
    """E[y | y_S] of a normal with the mean and the covariance of the likes, answers with noise."""
    log = random_log(40, N_ITEMS)
    model = GaussianLikes.fit(log, N_ITEMS, gen(), noise=0.05)
    likes = likes_of(log)
    mean, covariance = likes.mean(0), np.cov(likes.T, bias=True)
    seen = [[(2, 5.0), (7, SHOWN), (3, 4.0)], [(10, 3.5)], [(1, SHOWN), (0, 4.5)], []]
    for found, rated in zip(model.score(histories(*seen)), seen, strict=True):
        films = [film for film, _ in rated]
        answers = np.array([stars >= 4 for _, stars in rated], dtype=float)
        within = covariance[np.ix_(films, films)] + 0.05 * np.eye(len(films))
        weight = np.linalg.solve(within, answers - mean[films])
        expected = mean + covariance[:, films] @ weight
        assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def test_what_the_components_leave_of_a_films_variance_is_noise():
    log = random_log(40, N_ITEMS)
    model = GaussianLikes.fit(log, 3, gen(), noise=0.05)
    explained = model.film_vectors[:, :3].square().sum(1)
    variance = torch.tensor(likes_of(log).var(0)).float()
    torch.testing.assert_close(explained + model.noise, variance + 0.05, atol=1e-5, rtol=0)
    assert (model.noise > 0.06).any()
    x, s = model.film_vectors.double().numpy(), model.noise.double().numpy()
    films, answers = [4, 1, 9], np.array([1.0, 0.0, 1.0])
    # the same as a regression of the answers on x: rows divided by their noise, prior N(0, I)
    rows = x[films, :3] / np.sqrt(s[films])[:, None]
    z, _ = ridge_by_hand(rows, (answers - x[films, 3]) / np.sqrt(s[films]), 1.0, np.zeros(3))
    found = model.score(histories([(4, 5.0), (1, 2.0), (9, 4.0)]))
    assert found[0].tolist() == pytest.approx((x[:, :3] @ z + x[:, 3]).tolist(), abs=1e-5)


def test_the_gaussian_neither_reads_padding_nor_order_nor_its_neighbours():
    model = GaussianLikes.fit(random_log(40, N_ITEMS), 4, gen())
    rated = [(2, 5.0), (7, SHOWN), (3, 4.0)]
    together = model.score(histories(rated, [(1, 4.0)], rated[::-1], []))
    torch.testing.assert_close(together[:1], model.score(histories(rated)))
    torch.testing.assert_close(together[0], together[2])
    torch.testing.assert_close(together[3], model.film_vectors[:, -1])
    assert model.score(histories([])).shape == (1, N_ITEMS)


def test_the_gaussian_answers_what_it_is_asked_whatever_it_was_asked_before():
    model = GaussianLikes.fit(random_log(40, 12), 4, torch.Generator().manual_seed(0), 0.1)
    memory, empty = torch.tensor([[1, 2, 3]]), torch.full((1, 3), 12)
    questions = [(memory, empty), (empty, memory), (memory, memory + 3), (memory + 3, memory)]
    fresh = [copy.copy(model).person(Observation(None, *asked)) for asked in questions]
    for asked, wants in [*zip(questions, fresh, strict=True)] * 2:
        assert torch.equal(model.person(Observation(None, *asked)), wants)
        assert torch.equal(model.person(Observation(None, *asked)), wants)
    assert len({tuple(person.flatten().tolist()) for person in fresh}) == 4
    model.become(model.film_vectors * 2)
    assert not torch.equal(model.person(Observation(None, *questions[-1])), fresh[-1])


def test_people_without_rows_are_no_training_people():
    few = log_of([(0, 0, 5.0), (2, 0, 4.0), (2, 1, 3.0), (0, 2, 4.0)], 5, 14)
    assert like_vectors(few, 2, gen())[0][:3, 0].tolist() == [1, 0, 0.5]
    table = linucb._table(few, liked, unrated_is_0=True)
    assert table[0].shape == (2, 14)
    assert table[0].all()
    assert table[1][:, :3].tolist() == [[1, 0, 1], [1, 0, 0]]


def test_pmf_vectors_start_from_the_average_person():
    pmf = PMF(50, 9, 3, generator=gen(), std=0.4)
    pmf.mean.data.fill_(3.4)
    pmf.user_bias.data.normal_(generator=gen(1))
    pmf.item_bias.data.normal_(generator=gen(2))
    vectors, prior = pmf_vectors(pmf)
    average = (3.4 + pmf.user_bias.mean() + pmf.item_bias - 3) / 2
    assert (vectors @ prior).tolist() == pytest.approx(average.tolist(), abs=1e-5)
    # somebody's PMF rating, as a reward, is linear in the vectors, and theta has variance 1
    theta = pmf.user / pmf.user.square().mean().sqrt()
    everybody = vectors @ prior + theta @ vectors[:, 1:-1].T
    everybody = everybody + (pmf.user_bias - pmf.user_bias.mean()).unsqueeze(1) / 2 * vectors[:, -1]
    user, item = torch.meshgrid(torch.arange(50), torch.arange(9), indexing="ij")
    assert torch.allclose(everybody, paper_reward(pmf(user, item)), atol=1e-5)


# ---------------------------------------------------------------------------- HLinUCB


@pytest.mark.parametrize("unrated_is_0", [False, True])
def test_regressions_are_ridge_regressions_on_what_is_there(unrated_is_0):
    log = random_log(15, N_ITEMS)
    features, prior = torch.randn(N_ITEMS, 3, generator=gen()), torch.tensor([1.0, 0.0, -1.0])
    there, gain = linucb._table(log, paper_reward, unrated_is_0)
    theta, inverse = linucb._regressions(there, gain, features, 0.6, prior)
    for user in range(log.n_users):
        stars = dict(
            zip(
                log.item[log.user == user].tolist(),
                log.rating[log.user == user].tolist(),
                strict=True,
            )
        )
        films = list(range(N_ITEMS)) if unrated_is_0 else sorted(stars)
        r = np.array([(stars[f] - 3) / 2 if f in stars else 0.0 for f in films])
        by_hand, covariance = ridge_by_hand(features[films].double().numpy(), r, 0.6, prior.numpy())
        assert theta[user].numpy() == pytest.approx(by_hand, abs=1e-4)
        assert inverse[user].numpy() == pytest.approx(covariance, abs=1e-4)


@pytest.mark.parametrize("unrated_is_0", [False, True])
def test_rounds_alternate_and_never_raise_the_penalised_error(unrated_is_0):
    log, x = random_log(15, N_ITEMS), torch.randn(N_ITEMS, 2, generator=gen())
    prior = torch.tensor([0.3, -0.2])
    there, gain = linucb._table(log, liked, unrated_is_0)
    errors = []
    for rounds in (1, 2, 5, 20):
        model = HLinUCB(
            x,
            log,
            generator=gen(7),
            hidden=2,
            rounds=rounds,
            ridge=0.5,
            item_ridge=0.8,
            prior=prior,
            unrated_is_0=unrated_is_0,
        )
        full = torch.nn.functional.pad(prior, (0, 2))
        theta, _ = linucb._regressions(there, gain, model.vectors, 0.5, full)
        miss = (there * (gain - theta @ model.vectors.T)).square().sum()
        penalty = 0.5 * (theta - full).square().sum()
        errors.append(float(miss + penalty + 0.8 * model.vectors[:, 2:].square().sum()))
        assert torch.equal(model.vectors[:, :2], x)
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > errors[-1] + 0.01


def test_the_last_hidden_features_are_the_regression_of_what_is_left():
    """One round, written out for one film."""
    log, x = random_log(15, N_ITEMS), torch.randn(N_ITEMS, 2, generator=gen())
    model = HLinUCB(x, log, generator=gen(7), hidden=2, rounds=1, ridge=0.5, item_ridge=0.8)
    v = 0.1 * torch.randn(N_ITEMS, 2, generator=gen(7))
    there, gain = linucb._table(log, liked, False)
    theta, _ = linucb._regressions(there, gain, torch.cat([x, v], 1), 0.5, torch.zeros(4))
    for film in range(N_ITEMS):
        who = log.user[log.item == film]
        rest = (log.rating[log.item == film] >= 4).float() - theta[who, :2] @ x[film]
        by_hand, inverse = ridge_by_hand(theta[who, 2:].numpy(), rest.numpy(), 0.8, np.zeros(2))
        assert model.vectors[film, 2:].numpy() == pytest.approx(by_hand, abs=1e-4)
        assert model._item_inverse[film].numpy() == pytest.approx(inverse, abs=1e-4)


def test_both_confidence_terms_written_out():
    log, x = random_log(15, N_ITEMS), torch.randn(N_ITEMS, 2, generator=gen())
    common = {"hidden": 2, "rounds": 3, "ridge": 0.5, "prior": torch.tensor([1.0, 0.5])}
    model = HLinUCB(x, log, generator=gen(7), alpha=0.4, item_alpha=0.9, **common)
    seen = [(2, 5.0), (7, SHOWN)]
    prior = np.array([1.0, 0.5, 0, 0])
    z = model.vectors.double().numpy()
    theta, inverse = ridge_by_hand(z[[2, 7]], np.array([1.0, 0.0]), 0.5, prior)
    person = np.sqrt(np.einsum("id,de,ie->i", z, inverse, z))
    cov = model._item_inverse.double().numpy()
    film = np.sqrt(np.einsum("d,ide,e->i", theta[2:], cov, theta[2:]))
    found = model(histories(seen, [(1, 4.0)]))
    assert found.shape == (2, N_ITEMS)
    assert found[0].numpy() == pytest.approx(z @ theta + 0.4 * person + 0.9 * film, abs=1e-4)


def test_hidden_features_find_the_two_tastes():
    """The films' only known feature is 1; odd and even films are told apart by the hidden one."""
    log = two_tastes(40, 16)
    model = HLinUCB(
        torch.ones(16, 1), log, generator=gen(), hidden=1, alpha=0.0, reward=paper_reward
    )
    found = model(histories([(3, 5.0)], [(4, 5.0)], [(4, 1.0)], n_items=16))
    odd, even = found[:, 1::2], found[:, ::2]
    assert (odd[[0, 2]].min(1).values > even[[0, 2]].max(1).values).all()
    assert even[1].min() > odd[1].max()


def test_the_same_seed_learns_the_same():
    log, x = random_log(15, N_ITEMS), torch.randn(N_ITEMS, 2, generator=gen())
    first, again, other = (HLinUCB(x, log, generator=gen(s)).vectors for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
