"""The PMF against formulas and a matrix whose rank is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toys import log_of, random_log

from recsys_rl.data.histories import Histories
from recsys_rl.data.interactions import IdMap, Interactions
from recsys_rl.embeddings.pmf import PMF

N_USERS, N_ITEMS, K = 4, 9, 4


def low_rank(
    n_users: int = 40, n_items: int = 30, rank: int = 2
) -> tuple[Interactions, np.ndarray]:
    """Two thirds of a matrix mean + b_u + b_i + p_u . q_i without noise, and the whole matrix."""
    rng = np.random.default_rng(0)
    matrix = 3 + 0.3 * rng.normal(size=(n_users, 1)) + 0.3 * rng.normal(size=(1, n_items))
    matrix = matrix + rng.normal(size=(n_users, 2)) @ rng.normal(size=(n_items, 2)).T * 0.7
    rows = [
        (u, i, float(matrix[u, i]))
        for u in range(n_users)
        for i in rng.permutation(n_items)[: 2 * n_items // 3]
    ]
    return log_of(rows, n_users, n_items), matrix


def fitted(log: Interactions, seed: int = 0, **settings: float) -> PMF:
    generator = torch.Generator().manual_seed(seed)
    pmf = PMF(log.n_users, log.n_items, 4, generator=generator, l2=settings.pop("l2", 0.005))
    pmf.fit(log, generator=generator, **({"epochs": 200, "batch_size": 400, "lr": 0.03} | settings))
    return pmf


def randomised(pmf: PMF, seed: int = 1) -> PMF:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in pmf.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return pmf


@pytest.fixture(scope="module")
def toy() -> tuple[Interactions, np.ndarray, PMF]:
    log, matrix = low_rank()
    return log, matrix, fitted(log)


def test_recovers_a_low_rank_matrix_where_it_saw_nothing(
    toy: tuple[Interactions, np.ndarray, PMF],
) -> None:
    log, matrix, pmf = toy
    everybody = torch.arange(log.n_users)
    predicted = pmf.score(log.histories(everybody)).numpy()
    unseen = ~log.mask_of(everybody).numpy()
    error = np.sqrt(np.mean((predicted - matrix)[unseen] ** 2))
    assert error < 0.2 * matrix[unseen].std()


def test_errors_fall() -> None:
    log, _ = low_rank()
    generator = torch.Generator().manual_seed(0)
    pmf = PMF(log.n_users, log.n_items, 4, generator=generator)
    errors = pmf.fit(log, generator=generator, epochs=5, batch_size=100)
    assert len(errors) == 5
    assert errors[-1] < errors[0]
    assert errors[0] == pytest.approx(float(log.rating.std()), rel=0.1)  # starts from the mean


def test_prediction_formula() -> None:
    pmf = randomised(PMF(N_USERS, N_ITEMS, K, generator=torch.Generator())).requires_grad_(False)
    for user in range(N_USERS):
        for item in range(N_ITEMS):
            product = sum(
                p * q for p, q in zip(pmf.user[user].tolist(), pmf.item[item].tolist(), strict=True)
            )
            expected = float(pmf.mean + pmf.user_bias[user] + pmf.item_bias[item]) + product
            got = pmf(torch.tensor([user]), torch.tensor([item]))
            assert got.shape == (1,)
            assert float(got) == pytest.approx(expected, abs=1e-5)


def test_scores_of_train_users_are_its_predictions(
    toy: tuple[Interactions, np.ndarray, PMF],
) -> None:
    """Also beside an unknown user in the same batch, and whatever their history says."""
    log, _, pmf = toy
    users = torch.tensor([3, log.n_users, 0])
    histories = Histories(users, torch.tensor([[1], [2], [4]]), torch.tensor([[5.0], [1.0], [2.0]]))
    scores = pmf.score(histories)
    assert scores.shape == (3, log.n_items)
    assert not scores.requires_grad
    every = torch.arange(log.n_items)
    for row in (0, 2):
        torch.testing.assert_close(scores[row], pmf(users[row].expand(log.n_items), every).detach())


def test_fold_in_is_the_ridge_regression_it_claims_to_be() -> None:
    pmf = randomised(PMF(N_USERS, N_ITEMS, K, generator=torch.Generator(), l2=0.3))
    history, rating = [4, 0, 7, 2], [5.0, 1.0, 3.0, 4.5]
    padded = torch.tensor([[N_ITEMS, N_ITEMS, *history], [N_ITEMS] * 5 + [3]])
    ratings = torch.tensor([[0.0, 0.0, *rating], [0.0] * 5 + [2.0]])
    folded = pmf.fold_in(Histories(torch.tensor([N_USERS] * 2), padded, ratings)).detach().numpy()
    for row, (items, stars) in enumerate([(history, rating), ([3], [2.0])]):
        features = np.hstack([pmf.item.detach().numpy()[items], np.ones((len(items), 1))])
        error = np.array(stars) - float(pmf.mean) - pmf.item_bias.detach().numpy()[items]
        ridge = 0.3 * len(items) * np.eye(K + 1)
        expected = np.linalg.solve(features.T @ features + ridge, features.T @ error)
        np.testing.assert_allclose(folded[row], expected, atol=1e-4)


def test_an_unknown_user_with_the_history_of_a_train_user_gets_their_predictions(
    toy: tuple[Interactions, np.ndarray, PMF],
) -> None:
    log, matrix, pmf = toy
    everybody = torch.arange(log.n_users)
    known = pmf.score(log.histories(everybody))
    histories = log.histories(everybody)
    unknown = Histories(torch.full_like(everybody, log.n_users), histories.item, histories.rating)
    apart = (pmf.score(unknown) - known).square().mean().sqrt()
    assert float(apart) < 0.1 * matrix.std()


def test_an_unknown_user_without_history_gets_the_mean_and_the_items_biases(
    toy: tuple[Interactions, np.ndarray, PMF],
) -> None:
    log, _, pmf = toy
    nothing = Histories(
        torch.tensor([log.n_users]), torch.full((1, 2), log.n_items), torch.zeros(1, 2)
    )
    torch.testing.assert_close(pmf.score(nothing)[0], (pmf.mean + pmf.item_bias).detach())


def test_it_learns_from_the_rows_it_is_given_alone() -> None:
    """Users and items without a row keep what they started with; the mean is that of the rows."""
    log = random_log()
    train = log.select((log.user != 3) & (log.item != 5))
    generator = torch.Generator().manual_seed(0)
    pmf = PMF(log.n_users, log.n_items, K, generator=generator)
    before = {name: value.clone() for name, value in pmf.state_dict().items()}
    pmf.fit(train, generator=generator, epochs=3, batch_size=16)
    after = pmf.state_dict()
    assert float(pmf.mean) == pytest.approx(float(train.rating.mean()))
    for kind, absent in (("user", [3]), ("item", [5, log.n_items - 1])):
        for name in (kind, f"{kind}_bias"):
            same = (after[name] == before[name]).view(len(before[name]), -1).all(1)
            assert torch.nonzero(same).squeeze(1).tolist() == absent


def test_repeats_with_its_seed_and_leaves_the_global_generator_alone() -> None:
    log = random_log()
    state = torch.random.get_rng_state()
    first, again, other = (fitted(log, seed, epochs=2) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first.item, again.item)
    assert not torch.equal(first.item, other.item)


def test_gives_the_same_vectors_with_two_threads() -> None:
    """Gradients of plain indexing are added in the order in which threads come."""
    rng = np.random.default_rng(0)
    pairs = rng.permutation(400 * 60)[:16_000]
    rating = torch.from_numpy(rng.integers(1, 6, len(pairs))).float()
    user, item = torch.from_numpy(np.sort(pairs) // 60), torch.from_numpy(np.sort(pairs) % 60)
    ids = IdMap(np.arange(400)), IdMap(np.arange(60))
    log = Interactions(user, item, rating, torch.arange(len(pairs)), *ids)

    def fitted() -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        pmf = PMF(400, 60, 100, generator=generator)
        pmf.fit(log, generator=generator, epochs=2)
        return pmf.item.detach()

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first = fitted()
        assert all(torch.equal(first, fitted()) for _ in range(2))
    finally:
        torch.set_num_threads(threads)
