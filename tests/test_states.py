"""States against plain loops, and the PMF against formulas and a matrix whose rank is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from toys import log_of, random_log

from recsys_rl.baselines.ials import IALS
from recsys_rl.data.interactions import IdMap, Interactions
from recsys_rl.data.histories import Histories
from recsys_rl.data.observation import Observation
from recsys_rl.embeddings.als import ALS
from recsys_rl.embeddings.pmf import PMF
from recsys_rl.states.base import State
from recsys_rl.data.histories import latest
from recsys_rl.states.registry import STATES

N_USERS, N_ITEMS, K = 4, 9, 4
PAPER = ("p", "u", "ave", "att")


def state_of(name: str, n: int = 4, seed: int = 0) -> State:
    """A state whose every number is random; its scalar weights differ from 1."""
    generator = torch.Generator().manual_seed(seed)
    state = STATES[name](N_USERS, N_ITEMS, K, n)
    state.initialise(generator)
    with torch.no_grad():
        for parameter in state.parameters():
            parameter += torch.randn(parameter.shape, generator=generator)
        state.item_vectors.weight[N_ITEMS] = 0
    return state.eval()


def observation_of(user: list[int], memory: list[list[int]], n: int = 4) -> Observation:
    padded = [[N_ITEMS] * (n - len(films)) + films for films in memory]
    return Observation(torch.tensor(user), torch.tensor(padded))


def plus(a: list[float], b: list[float]) -> list[float]:
    return [x + y for x, y in zip(a, b, strict=True)]


def times(a: list[float], b: list[float]) -> list[float]:
    return [x * y for x, y in zip(a, b, strict=True)]


def by_loops(name: str, state: State, user: int, films: list[int]) -> list[float]:
    """The paper's formulas, one number at a time. `films` holds no padding: shorter than n."""
    person = state.user_vectors.weight[user].tolist()
    vectors = [state.item_vectors.weight[film].tolist() for film in films]
    weights = state.weight.tolist()[state.n - len(films) :]
    weighted = [[w * x for x in vector] for w, vector in zip(weights, vectors, strict=True)]
    pairs = [
        times(weighted[a], weighted[b]) for a in range(len(films)) for b in range(a + 1, len(films))
    ]
    if name == "p":
        return sum(vectors + pairs, [])
    if name == "u":
        return sum([times(person, film) for film in weighted] + pairs, [])
    share = [1 / len(films)] * len(films)
    if name == "att":
        hidden, bias = state.hidden.weight.tolist(), state.hidden.bias.tolist()
        out, out_bias = state.score.weight[0].tolist(), state.score.bias.item()
        scores = []
        for film in weighted:
            inner = [
                max(0.0, sum(times(row, person + film)) + b)
                for row, b in zip(hidden, bias, strict=True)
            ]
            scores.append(math.exp(sum(times(out, inner)) + out_bias))
        share = [score / sum(scores) for score in scores]
    summary = [0.0] * K
    for part, film in zip(share, weighted, strict=True):
        summary = plus(summary, [part * x for x in film])
    return person + times(person, summary) + summary


# ------------------------------------------------------------------------------ the formulas


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("name", PAPER)
def test_full_memory_against_loops(name: str, n: int) -> None:
    state = state_of(name, n)
    films = [[(3 * a + b) % N_ITEMS for b in range(n)] for a in range(3)]
    users = [0, 2, N_USERS]
    out = state(observation_of(users, films, n))
    wanted = [by_loops(name, state, u, f) for u, f in zip(users, films, strict=True)]
    assert out.shape == (3, state.size)
    torch.testing.assert_close(out, torch.tensor(wanted))


@pytest.mark.parametrize("films", [[5], [5, 0], [5, 0, 8]])
@pytest.mark.parametrize("name", ["ave", "att"])
def test_padded_memory_is_the_formula_on_the_shorter_list(name: str, films: list[int]) -> None:
    state = state_of(name)
    out = state(observation_of([1], [films]))[0]
    torch.testing.assert_close(out, torch.tensor(by_loops(name, state, 1, films)))


@pytest.mark.parametrize("films", [[5], [5, 0], [5, 0, 8]])
@pytest.mark.parametrize("name", ["p", "u"])
def test_padded_places_are_zero_and_the_others_as_in_the_shorter_list(
    name: str, films: list[int]
) -> None:
    n, m = 4, len(films)
    state = state_of(name, n)
    out = state(observation_of([1], [films]))[0].view(-1, K)
    pairs = [(a, b) for a in range(n) for b in range(a + 1, n)]
    there = [place >= n - m for place in range(n)] + [a >= n - m for a, _ in pairs]
    shorter = torch.tensor(by_loops(name, state, 1, films)).view(-1, K)
    torch.testing.assert_close(out[torch.tensor(there)], shorter)
    assert (out[~torch.tensor(there)] == 0).all()


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8])
def test_sizes(n: int) -> None:
    for name in ("p", "u"):
        assert state_of(name, n).size == K * (n + n * (n - 1) // 2)
    for name in ("ave", "att"):
        assert state_of(name, n).size == 3 * K
    assert state_of("seq", n).size == K + 1
    for name in STATES:
        assert state_of(name, n)(observation_of([0], [[1]], n)).shape == (1, state_of(name, n).size)


@pytest.mark.parametrize("name", list(STATES))
def test_a_batch_gives_what_each_gives_alone(name: str) -> None:
    """Whoever else is in the batch, and however much of it is padding, must not matter."""
    state = state_of(name)
    users = [0, 1, N_USERS, 3, 2]
    films = [[], [7], [1, 2], [3, 4, 5], [8, 0, 2, 6]]
    batch = state(observation_of(users, films))
    for row, (user, memory) in enumerate(zip(users, films, strict=True)):
        alone = state(observation_of([user], [memory]))
        torch.testing.assert_close(batch[row], alone[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", list(STATES))
def test_an_empty_memory_is_finite_and_so_is_its_gradient(name: str) -> None:
    state = state_of(name)
    out = state(observation_of([1, N_USERS], [[], []]))
    out.square().sum().backward()
    assert out.isfinite().all()
    for parameter in state.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()
    if name in ("ave", "att"):  # nothing is known but the person
        assert (out[:, K:] == 0).all()
        torch.testing.assert_close(out[0, :K], state.user_vectors.weight[1])


@pytest.mark.parametrize("name", list(STATES))
def test_no_gradient_reaches_the_padding_row(name: str) -> None:
    state = state_of(name)
    out = state(observation_of([0, 1, 2], [[], [4], [5, 6, 7]]))
    (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(1))).sum().backward()
    gradient = state.item_vectors.weight.grad
    assert (gradient[N_ITEMS] == 0).all()
    assert (gradient[[5, 6, 7]] != 0).any(1).all()


@pytest.mark.parametrize("name", list(STATES))
def test_only_films_of_the_memory_matter(name: str) -> None:
    state = state_of(name)
    observation = observation_of([1], [[5, 2]])
    before = state(observation)
    with torch.no_grad():
        others = [film for film in range(N_ITEMS) if film not in (5, 2)]
        state.item_vectors.weight[others] += 1
    assert torch.equal(state(observation), before)
    with torch.no_grad():
        state.item_vectors.weight[2, 0] += 1
    assert not torch.equal(state(observation), before)


@pytest.mark.parametrize("name", ["u", "ave", "att"])
def test_the_anonymous_user_is_a_row_of_its_own_and_is_learned(name: str) -> None:
    state = state_of(name)
    stranger = observation_of([N_USERS], [[5, 2, 1]])
    torch.testing.assert_close(
        state(observation_of([N_USERS], [[5, 2, 1, 0]]))[0],
        torch.tensor(by_loops(name, state, N_USERS, [5, 2, 1, 0])),
    )
    state(stranger).sum().backward()
    moved = (state.user_vectors.weight.grad != 0).any(1)
    assert moved.tolist() == [False] * N_USERS + [True]


def test_drr_p_does_not_read_the_user() -> None:
    state = state_of("p")
    out = state(observation_of([0, 3, N_USERS], [[5, 2, 1]] * 3))
    assert torch.equal(out[0], out[1])
    assert torch.equal(out[0], out[2])


@pytest.mark.parametrize("name", list(STATES))
def test_initialise_depends_on_the_generator_alone_and_keeps_padding_zero(name: str) -> None:
    def fresh(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed + 100)  # must not matter
        state = STATES[name](N_USERS, N_ITEMS, K, 4)
        state.initialise(torch.Generator().manual_seed(seed))
        return state.state_dict()

    first, again = fresh(0), fresh(0)
    torch.manual_seed(5)
    other = fresh(1)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["item_vectors.weight"], other["item_vectors.weight"])
    assert (first["item_vectors.weight"][N_ITEMS] == 0).all()


def test_start_from_a_pmf() -> None:
    pmf = PMF(N_USERS, N_ITEMS, K, generator=torch.Generator().manual_seed(3))
    state = state_of("ave")
    state.start_from(pmf)
    assert torch.equal(state.user_vectors.weight[:N_USERS], pmf.user)
    assert torch.equal(state.item_vectors.weight[:N_ITEMS], pmf.item)
    torch.testing.assert_close(state.user_vectors.weight[N_USERS], pmf.user.mean(0))
    assert (state.item_vectors.weight[N_ITEMS] == 0).all()
    before = pmf.item.detach().clone()
    with torch.no_grad():
        state.item_vectors.weight += 1
    assert torch.equal(pmf.item, before), "the state learns in the memory of the PMF"


# ---------------------------------------------------------------------------- from history to H


def latest_by_loops(histories: Histories, n: int, n_items: int, least: float) -> list[list[int]]:
    memories = []
    for items, ratings in zip(histories.item.tolist(), histories.rating.tolist(), strict=True):
        read = [
            item for item, rating in zip(items, ratings, strict=True)
            if item < n_items and rating >= least
        ]  # fmt: skip
        read = read[-n:]
        memories.append([n_items] * (n - len(read)) + read)
    return memories


@pytest.mark.parametrize("least", [4.0, 0.5])
@pytest.mark.parametrize("length", [0, 1, 3, 5, 12])
@pytest.mark.parametrize("n", [1, 3, 5])
def test_latest_against_a_loop(n: int, length: int, least: float) -> None:
    rng = np.random.default_rng(n * 100 + length)
    size = 40
    item = torch.from_numpy(rng.integers(0, N_ITEMS, (size, length)))
    rating = torch.from_numpy(rng.integers(1, 11, (size, length)) / 2).float()
    padding = torch.arange(length) < torch.from_numpy(rng.integers(0, length + 1, (size, 1)))
    histories = Histories(
        torch.zeros(size, dtype=torch.int64),
        torch.where(padding, N_ITEMS, item),
        torch.where(padding, 0.0, rating),
    )
    memory = latest(histories, n, N_ITEMS, least)
    assert memory.dtype == torch.int64
    assert memory.shape == (size, n)
    assert memory.tolist() == latest_by_loops(histories, n, N_ITEMS, least)


def test_a_positive_starts_at_four_stars() -> None:
    histories = Histories(
        torch.tensor([0]), torch.tensor([[1, 2, 3, 4]]), torch.tensor([[3.5, 4.0, 3.0, 4.5]])
    )
    assert latest(histories, 3, N_ITEMS, State.reads_from).tolist() == [[N_ITEMS, 2, 4]]


# ------------------------------------------------------------------------------------- PMF


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


def test_pmf_recovers_a_low_rank_matrix_where_it_saw_nothing(
    toy: tuple[Interactions, np.ndarray, PMF],
) -> None:
    log, matrix, pmf = toy
    everybody = torch.arange(log.n_users)
    predicted = pmf.score(log.histories(everybody)).numpy()
    unseen = ~log.mask_of(everybody).numpy()
    error = np.sqrt(np.mean((predicted - matrix)[unseen] ** 2))
    assert error < 0.2 * matrix[unseen].std()


def test_pmf_errors_fall() -> None:
    log, _ = low_rank()
    generator = torch.Generator().manual_seed(0)
    pmf = PMF(log.n_users, log.n_items, 4, generator=generator)
    errors = pmf.fit(log, generator=generator, epochs=5, batch_size=100)
    assert len(errors) == 5
    assert errors[-1] < errors[0]
    assert errors[0] == pytest.approx(float(log.rating.std()), rel=0.1)  # starts from the mean


def test_pmf_prediction_formula() -> None:
    pmf = randomised(PMF(N_USERS, N_ITEMS, K, generator=torch.Generator())).requires_grad_(False)
    for user in range(N_USERS):
        for item in range(N_ITEMS):
            product = sum(
                p * q for p, q in zip(pmf.user[user].tolist(), pmf.item[item].tolist(), strict=True)
            )
            wanted = float(pmf.mean + pmf.user_bias[user] + pmf.item_bias[item]) + product
            got = pmf(torch.tensor([user]), torch.tensor([item]))
            assert got.shape == (1,)
            assert float(got) == pytest.approx(wanted, abs=1e-5)


def test_pmf_scores_of_people_it_met_are_its_predictions(
    toy: tuple[Interactions, np.ndarray, PMF],
) -> None:
    """Also beside a stranger in the same batch, and whatever their history says."""
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
    person = pmf.fold_in(Histories(torch.tensor([N_USERS] * 2), padded, ratings)).detach().numpy()
    for row, (films, stars) in enumerate([(history, rating), ([3], [2.0])]):
        features = np.hstack([pmf.item.detach().numpy()[films], np.ones((len(films), 1))])
        error = np.array(stars) - float(pmf.mean) - pmf.item_bias.detach().numpy()[films]
        ridge = 0.3 * len(films) * np.eye(K + 1)
        wanted = np.linalg.solve(features.T @ features + ridge, features.T @ error)
        np.testing.assert_allclose(person[row], wanted, atol=1e-4)


def test_a_stranger_with_the_history_of_somebody_known_gets_their_predictions(
    toy: tuple[Interactions, np.ndarray, PMF],
) -> None:
    log, matrix, pmf = toy
    everybody = torch.arange(log.n_users)
    known = pmf.score(log.histories(everybody))
    histories = log.histories(everybody)
    stranger = Histories(torch.full_like(everybody, log.n_users), histories.item, histories.rating)
    apart = (pmf.score(stranger) - known).square().mean().sqrt()
    assert float(apart) < 0.1 * matrix.std()


def test_a_stranger_without_history_gets_the_mean_and_the_films_biases(
    toy: tuple[Interactions, np.ndarray, PMF],
) -> None:
    log, _, pmf = toy
    nothing = Histories(
        torch.tensor([log.n_users]), torch.full((1, 2), log.n_items), torch.zeros(1, 2)
    )
    torch.testing.assert_close(pmf.score(nothing)[0], (pmf.mean + pmf.item_bias).detach())


def test_pmf_learns_from_nothing_but_what_it_is_handed() -> None:
    """Users and films without a row keep what they started with; the mean is that of the rows."""
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


def test_pmf_repeats_with_its_seed_and_leaves_the_global_generator_alone() -> None:
    log = random_log()
    state = torch.random.get_rng_state()
    first, again, other = (fitted(log, seed, epochs=2) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first.item, again.item)
    assert not torch.equal(first.item, other.item)


def test_pmf_gives_the_same_vectors_with_two_threads() -> None:
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
        pmf.fit(log, generator=generator, epochs=3)
        return pmf.item.detach()

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first = fitted()
        assert all(torch.equal(first, fitted()) for _ in range(3))
    finally:
        torch.set_num_threads(threads)


# ------------------------------------------------------------------------------------- ALS


def als_of(log: Interactions, sweeps: int = 12) -> ALS:
    generator = torch.Generator().manual_seed(0)
    return ALS(log, 3, generator=generator, regularization=2.0, confidence=5.0, sweeps=sweeps)


def test_als_profile_is_the_weighted_ridge_regression() -> None:
    """Of 0 and 1 for ALL films, in numpy: what was rated weighs 5, the rest 1."""
    log = random_log(40, 12)
    als, films = als_of(log), np.arange(12)
    item = torch.tensor([[1, 4, 7, 12], [12, 12, 3, 9]])
    rating = torch.tensor([[3.0, 1.0, 5.0, 0.0], [0.0, 0.0, 4.0, 0.0]])  # film 9: shown, not rated
    ours = als.profile(Histories(torch.tensor([0, 1]), item, rating))
    vectors = als.film_vectors.numpy().astype(float)
    for row, rated in enumerate([{1, 4, 7}, {3}]):
        answer = np.isin(films, list(rated)).astype(float)
        weight = np.diag(1 + 4 * answer)
        gram = vectors.T @ weight @ vectors + 2 * np.eye(3)
        expected = np.linalg.solve(gram, vectors.T @ weight @ answer)
        np.testing.assert_allclose(ours[row], expected, rtol=1e-4, atol=1e-5)
    unknown = als.profile(Histories(torch.tensor([9]), torch.full((1, 1), 12), torch.zeros(1, 1)))
    assert torch.equal(unknown, torch.zeros(1, 3))


def test_als_lowers_its_own_loss_with_every_sweep() -> None:
    """Vectors of people and of films are each the best for the other: the loss cannot rise."""
    log = random_log(40, 12)
    answer = torch.zeros(40, 12).index_put_((log.user, log.item), torch.ones(len(log)))
    losses = []
    for sweeps in (0, 1, 2, 5, 20):
        als = als_of(log, sweeps)
        people = als.profile(log.histories(torch.arange(40)))
        error = (answer - people @ als.film_vectors.T).square() * (1 + 4 * answer)
        prior = people.square().sum() + als.film_vectors.square().sum()
        losses.append(float(error.sum() + 2 * prior))
    assert all(late <= early * 1.0001 for early, late in zip(losses, losses[1:], strict=False))
    assert losses[-1] < 0.8 * losses[0]


def test_als_ranks_as_the_library_does() -> None:
    log = random_log(80, 25)
    ours = ALS(
        log, 8, generator=torch.Generator().manual_seed(0), regularization=1.0, confidence=6.0,
        sweeps=60,
    )  # fmt: skip
    theirs = IALS(log, 8, 1.0, 6.0, iterations=60)
    histories = log.histories(torch.arange(80))
    a, b = ours.score(histories), theirs(histories)
    assert torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] > 0.98


def test_the_profile_of_a_pmf_ranks_like_its_folded_in_stars() -> None:
    log = random_log(30, 12)
    generator = torch.Generator().manual_seed(0)
    pmf = PMF(30, 12, 4, generator=generator, l2=0.05)
    pmf.fit(log, generator=generator, epochs=3)
    pmf.requires_grad_(False)
    strangers = replace(log.histories(torch.arange(5)), user=torch.full((5,), 30))
    stars, ours = pmf.score(strangers), pmf.profile(strangers) @ pmf.film_vectors.T
    difference = stars - ours  # the mean and the bias of the person
    torch.testing.assert_close(difference, difference[:, :1].expand(-1, 12))
