"""States against plain loops: the formulas of the papers, padding, memories, the anonymous user."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from toys import LEARNED

from recsys_rl.data.histories import POSITIVE, Histories, latest
from recsys_rl.embeddings.pmf import PMF
from recsys_rl.states.base import State
from recsys_rl.states.layers import PooledDropout
from recsys_rl.states.registry import STATES

N_USERS, N_ITEMS, K = 4, 9, 4
PAPER = ("DRR-p", "DRR-u", "DRR-ave", "DRR-att")


@pytest.fixture(autouse=True)
def _small_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PooledDropout, "SIZE", 2**12)


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


def histories_of(user: list[int], memory: list[list[int]], n: int = 4) -> Histories:
    """Users who liked the items of their memories, oldest first."""
    item = torch.tensor([[N_ITEMS] * (n - len(items)) + items for items in memory])
    return Histories(torch.tensor(user), item, torch.where(item < N_ITEMS, 5.0, 0.0))


def plus(a: list[float], b: list[float]) -> list[float]:
    return [x + y for x, y in zip(a, b, strict=True)]


def times(a: list[float], b: list[float]) -> list[float]:
    return [x * y for x, y in zip(a, b, strict=True)]


def by_loops(name: str, state: State, user: int, items: list[int]) -> list[float]:
    """The paper's formulas, one number at a time. `items` holds no padding: shorter than n."""
    own = state.user_vectors.weight[user].tolist()
    vectors = [state.item_vectors.weight[item].tolist() for item in items]
    weights = state.weight.tolist()[state.n - len(items) :]
    weighted = [[w * x for x in vector] for w, vector in zip(weights, vectors, strict=True)]
    pairs = [
        times(weighted[a], weighted[b]) for a in range(len(items)) for b in range(a + 1, len(items))
    ]
    if name == "DRR-p":
        return sum(vectors + pairs, [])
    if name == "DRR-u":
        return sum([times(own, vector) for vector in weighted] + pairs, [])
    share = [1 / len(items)] * len(items)
    if name == "DRR-att":
        hidden, bias = state.hidden.weight.tolist(), state.hidden.bias.tolist()
        out, out_bias = state.score.weight[0].tolist(), state.score.bias.item()
        scores = []
        for vector in weighted:
            inner = [
                max(0.0, sum(times(row, own + vector)) + b)
                for row, b in zip(hidden, bias, strict=True)
            ]
            scores.append(math.exp(sum(times(out, inner)) + out_bias))
        share = [score / sum(scores) for score in scores]
    summary = [0.0] * K
    for part, vector in zip(share, weighted, strict=True):
        summary = plus(summary, [part * x for x in vector])
    return own + times(own, summary) + summary


# ------------------------------------------------------------------------------ the formulas


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("name", PAPER)
def test_full_memory_against_loops(name: str, n: int) -> None:
    state = state_of(name, n)
    items = [[(3 * a + b) % N_ITEMS for b in range(n)] for a in range(3)]
    users = [0, 2, N_USERS]
    out = state(histories_of(users, items, n))
    expected = [by_loops(name, state, u, i) for u, i in zip(users, items, strict=True)]
    assert out.shape == (3, state.size)
    torch.testing.assert_close(out, torch.tensor(expected))


@pytest.mark.parametrize("items", [[5], [5, 0], [5, 0, 8]])
@pytest.mark.parametrize("name", ["DRR-ave", "DRR-att"])
def test_padded_memory_is_the_formula_on_the_shorter_list(name: str, items: list[int]) -> None:
    state = state_of(name)
    out = state(histories_of([1], [items]))[0]
    torch.testing.assert_close(out, torch.tensor(by_loops(name, state, 1, items)))


@pytest.mark.parametrize("items", [[5], [5, 0], [5, 0, 8]])
@pytest.mark.parametrize("name", ["DRR-p", "DRR-u"])
def test_padded_places_are_zero_and_the_others_as_in_the_shorter_list(
    name: str, items: list[int]
) -> None:
    n, m = 4, len(items)
    state = state_of(name, n)
    out = state(histories_of([1], [items]))[0].view(-1, K)
    pairs = [(a, b) for a in range(n) for b in range(a + 1, n)]
    there = [place >= n - m for place in range(n)] + [a >= n - m for a, _ in pairs]
    shorter = torch.tensor(by_loops(name, state, 1, items)).view(-1, K)
    torch.testing.assert_close(out[torch.tensor(there)], shorter)
    assert (out[~torch.tensor(there)] == 0).all()


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8])
def test_sizes(n: int) -> None:
    for name in ("DRR-p", "DRR-u"):
        assert state_of(name, n).size == K * (n + n * (n - 1) // 2)
    for name in ("DRR-ave", "DRR-att"):
        assert state_of(name, n).size == 3 * K
    assert state_of("DRR-seq", n).size == K + 1
    for name in STATES:
        assert state_of(name, n)(histories_of([0], [[1]], n)).shape == (1, state_of(name, n).size)


@pytest.mark.parametrize("name", list(STATES))
def test_a_batch_gives_what_each_gives_alone(name: str) -> None:
    """Whoever else is in the batch, and however much of it is padding, must not matter."""
    state = state_of(name)
    users = [0, 1, N_USERS, 3, 2]
    items = [[], [7], [1, 2], [3, 4, 5], [8, 0, 2, 6]]
    batch = state(histories_of(users, items))
    for row, (user, memory) in enumerate(zip(users, items, strict=True)):
        alone = state(histories_of([user], [memory]))
        torch.testing.assert_close(batch[row], alone[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", LEARNED)
def test_an_empty_memory_is_finite_and_so_is_its_gradient(name: str) -> None:
    state = state_of(name)
    out = state(histories_of([1, N_USERS], [[], []]))
    out.square().sum().backward()
    assert out.isfinite().all()
    for parameter in state.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()
    if name in ("DRR-ave", "DRR-att"):  # nothing is known but the user
        assert (out[:, K:] == 0).all()
        torch.testing.assert_close(out[0, :K], state.user_vectors.weight[1])


@pytest.mark.parametrize("name", LEARNED)
def test_no_gradient_reaches_the_padding_row(name: str) -> None:
    state = state_of(name)
    out = state(histories_of([0, 1, 2], [[], [4], [5, 6, 7]]))
    (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(1))).sum().backward()
    gradient = state.item_vectors.weight.grad
    assert (gradient[N_ITEMS] == 0).all()
    assert (gradient[[5, 6, 7]] != 0).any(1).all()


@pytest.mark.parametrize("name", list(STATES))
def test_only_items_of_the_memory_matter(name: str) -> None:
    state = state_of(name)
    histories = histories_of([1], [[5, 2]])
    before = state(histories)
    with torch.no_grad():
        others = [item for item in range(N_ITEMS) if item not in (5, 2)]
        state.item_vectors.weight[others] += 1
    assert torch.equal(state(histories), before)
    with torch.no_grad():
        state.item_vectors.weight[2, 0] += 1
    assert not torch.equal(state(histories), before)


@pytest.mark.parametrize("name", ["DRR-u", "DRR-ave", "DRR-att"])
def test_the_anonymous_user_is_a_row_of_its_own_and_is_learned(name: str) -> None:
    state = state_of(name)
    unknown = histories_of([N_USERS], [[5, 2, 1]])
    torch.testing.assert_close(
        state(histories_of([N_USERS], [[5, 2, 1, 0]]))[0],
        torch.tensor(by_loops(name, state, N_USERS, [5, 2, 1, 0])),
    )
    state(unknown).sum().backward()
    moved = (state.user_vectors.weight.grad != 0).any(1)
    assert moved.tolist() == [False] * N_USERS + [True]


def test_drr_p_does_not_read_the_user() -> None:
    state = state_of("DRR-p")
    out = state(histories_of([0, 3, N_USERS], [[5, 2, 1]] * 3))
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
    state = state_of("DRR-ave")
    state.start_from(pmf)
    assert torch.equal(state.user_vectors.weight[:N_USERS], pmf.user)
    assert torch.equal(state.item_vectors.weight[:N_ITEMS], pmf.item)
    torch.testing.assert_close(state.user_vectors.weight[N_USERS], pmf.user.mean(0))
    assert (state.item_vectors.weight[N_ITEMS] == 0).all()
    before = pmf.item.detach().clone()
    with torch.no_grad():
        state.item_vectors.weight += 1
    assert torch.equal(pmf.item, before), "the state learns in the memory of the PMF"


# ------------------------------------------------------------------------ from history to memory


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
    assert State.reads_from == POSITIVE
    assert latest(histories, 3, N_ITEMS, POSITIVE).tolist() == [[N_ITEMS, 2, 4]]


@pytest.mark.parametrize(
    ("name", "read"), [*((name, [4, 6]) for name in PAPER), ("DRR-seq", [5, 6])]
)
def test_the_papers_states_read_positives_and_drr_seq_all_that_was_rated(
    name: str, read: list[int]
) -> None:
    state = state_of(name, n=2)
    histories = Histories(
        torch.tensor([1]),
        torch.tensor([[1, 2, 3, 4, 5, 6]]),
        torch.tensor([[5.0, 3.0, 0.0, 4.0, 2.0, 4.5]]),  # item 3 was shown and not rated
    )
    assert state.memory(histories).tolist() == [read]
    short = Histories(torch.tensor([1]), torch.tensor([read]), torch.full((1, 2), 5.0))
    assert torch.equal(state(histories), state(short))
