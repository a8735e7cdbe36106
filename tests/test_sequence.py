"""DRR-seq and what feeds it: nothing looks ahead, padding is silent, no row is lost or doubled."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from toys import log_of, random_log

from recsys_rl.agent.demonstrations import Window, Windows
from recsys_rl.agent.losses import FullSoftmax
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.observation import Observation
from recsys_rl.embeddings import cooccurrence
from recsys_rl.embeddings.cooccurrence import Cooccurrence
from recsys_rl.states.drr_seq import DRRseq
from recsys_rl.states.layers import PooledDropout

N_ITEMS, K, N = 13, 8, 6


def drr_seq(n: int = N, heads: int = 2, seed: int = 0) -> DRRseq:
    """A state whose every number is random, so that no part of it is idle."""
    generator = torch.Generator().manual_seed(seed)
    state = DRRseq(3, N_ITEMS, K, n, heads=heads)
    state.initialise(generator)
    with torch.no_grad():
        for parameter in state.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
        state.item_vectors.weight[N_ITEMS] = 0
    return state.eval()


def some_films(size: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(N_ITEMS, (size, length), generator=torch.Generator().manual_seed(seed))


def observation_of(*memories: list[int], width: int = N) -> Observation:
    padded = [[N_ITEMS] * (width - len(films)) + films for films in memories]
    return Observation(torch.zeros(len(memories), dtype=torch.int64), torch.tensor(padded))


# ----------------------------------------------------------------------------------- the state


@pytest.mark.parametrize("changed", range(N))
def test_a_later_film_changes_no_earlier_action(changed: int) -> None:
    state, films = drr_seq(), some_films(4, N)
    other = films.clone()
    other[:, changed] = (films[:, changed] + 1) % N_ITEMS
    before, after = state.sequence(films), state.sequence(other)
    torch.testing.assert_close(after[:, :changed], before[:, :changed])
    moved = (after[:, changed:] - before[:, changed:]).abs().amax(2)
    assert (moved > 1e-4).all(), "a film must reach every action from its own place on"


def test_no_gradient_flows_back_from_the_future() -> None:
    state, films = drr_seq(), torch.arange(N).unsqueeze(0)
    state.sequence(films)[0, 2].square().sum().backward()
    touched = (state.item_vectors.weight.grad != 0).any(1)
    assert torch.nonzero(touched).squeeze(1).tolist() == [0, 1, 2]


def test_padding_on_the_right_changes_nothing() -> None:
    state, films = drr_seq(), some_films(3, 4)
    padded = F.pad(films, (0, 2), value=N_ITEMS)
    torch.testing.assert_close(state.sequence(padded)[:, :4], state.sequence(films))


def test_an_observation_gives_the_sequence_at_its_last_film() -> None:
    """Left-padded memories of every length in one batch, against each alone without padding."""
    state = drr_seq()
    memories = [some_films(1, length, seed=length)[0].tolist() for length in range(1, N + 1)]
    out = state(observation_of(*memories))
    assert out.shape == (N, state.size)
    for row, films in enumerate(memories):
        alone = state.sequence(torch.tensor([films]))[0, -1]
        torch.testing.assert_close(out[row], alone, rtol=1e-4, atol=1e-5)


def test_a_memory_longer_than_n_is_cut_to_the_latest() -> None:
    state, films = drr_seq(), some_films(1, N + 4)[0].tolist()
    torch.testing.assert_close(
        state(observation_of(films, width=N + 4)), state(observation_of(films[-N:]))
    )


def test_a_memory_narrower_than_n_works_too() -> None:
    state = drr_seq()
    narrow = state(observation_of([3, 1], [4, 5, 6], width=3))
    torch.testing.assert_close(narrow, state(observation_of([3, 1], [4, 5, 6])))


def test_an_empty_memory_gives_one_finite_action_for_everybody() -> None:
    out = drr_seq()(observation_of([], [4], []))
    assert out.isfinite().all()
    torch.testing.assert_close(out[0], out[2])
    torch.testing.assert_close(drr_seq()(observation_of([]))[0], out[0])


def test_order_matters_and_so_does_distance() -> None:
    state = drr_seq()
    out = state(observation_of([1, 2, 3], [2, 1, 3], [1, 3], [1, 1, 3]))
    apart = torch.cdist(out, out) + torch.eye(4)
    assert (apart > 1e-4).all()


def test_the_action_ends_in_a_one_so_that_the_last_column_is_a_bias() -> None:
    state = drr_seq()
    assert state.size == K + 1
    assert state.item_vectors.weight.shape == (N_ITEMS + 1, K + 1)
    out = state(observation_of([1], [2, 3]))
    assert (out[:, -1] == 1).all()
    before = out.clone()
    with torch.no_grad():
        state.item_vectors.weight[:-1, -1] += 5
    assert torch.equal(state(observation_of([1], [2, 3])), before), "the bias is no input"


def test_the_user_is_not_read() -> None:
    state = drr_seq()
    memory = observation_of([1, 2], [1, 2]).memory
    out = state(Observation(torch.tensor([0, 3]), memory))
    torch.testing.assert_close(out[0], out[1])


def test_k_must_be_a_multiple_of_the_heads() -> None:
    with pytest.raises(ValueError, match="multiple of the 3 attention heads"):
        DRRseq(3, N_ITEMS, 8, N, heads=3)


# ------------------------------------------------------------------------------------- dropout


def test_dropout_keeps_the_mean_and_is_off_in_eval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PooledDropout, "SIZE", 2**16)
    dropout = PooledDropout(0.3)
    dropout.refill(torch.Generator().manual_seed(0))
    x = torch.ones(100, 50)
    for size in (x, torch.ones(2**17)):  # from the pool; larger than the pool
        out = dropout.train()(size)
        assert float(out.mean()) == pytest.approx(1, abs=0.03)
        values = out.unique()
        torch.testing.assert_close(values, torch.tensor([0.0, 1 / 0.7]))
        assert float((out == 0).float().mean()) == pytest.approx(0.3, abs=0.02)
    assert not torch.equal(dropout(x), dropout(x)), "another mask at every call"
    assert torch.equal(dropout.eval()(x), x)
    assert torch.equal(PooledDropout(0.0).train()(x), x)


def test_dropout_before_any_refill_and_in_the_gradient() -> None:
    dropout = PooledDropout(0.5).train()
    x = torch.ones(1000, requires_grad=True)
    out = dropout(x)
    out.sum().backward()
    assert torch.equal(x.grad, out.detach()), "what is dropped gets no gradient"
    assert 0.4 < float((out == 0).float().mean()) < 0.6


def test_the_state_is_deterministic_in_eval_and_not_in_training() -> None:
    state, films = drr_seq(), some_films(2, N)
    assert torch.equal(state.sequence(films), state.sequence(films))
    state.train()
    assert not torch.equal(state.sequence(films), state.sequence(films))


# ---------------------------------------------------------------------------------- the loss


@pytest.mark.parametrize("rows", [1, 7, 512, 1100])
def test_full_softmax_is_cross_entropy_in_value_and_gradients(rows: int) -> None:
    """Rows that fill no chunk, one chunk, and several."""
    generator = torch.Generator().manual_seed(rows)
    vectors = torch.randn(rows, 5, generator=generator, requires_grad=True)
    items = torch.randn(17, 5, generator=generator, requires_grad=True)
    target = torch.randint(17, (rows,), generator=generator)
    results = []
    for loss in (
        FullSoftmax.apply(vectors, items, target),
        F.cross_entropy(vectors @ items.T, target),
    ):
        gradients = torch.autograd.grad(3 * loss, (vectors, items))
        results.append((loss, *gradients))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_full_softmax_gradient_by_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    items = torch.randn(6, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 5, 2, 2])
    assert torch.autograd.gradcheck(FullSoftmax.apply, (vectors, items, target))


def test_full_softmax_survives_large_scores() -> None:
    vectors = torch.tensor([[200.0], [200.0]], requires_grad=True)
    items = torch.tensor([[1.0], [-1.0]], requires_grad=True)
    loss = FullSoftmax.apply(vectors, items, torch.tensor([0, 1]))
    loss.backward()
    assert loss.isfinite()
    torch.testing.assert_close(vectors.grad, torch.tensor([[0.0], [1.0]]))


# ------------------------------------------------------------------------------------ windows


def uneven_log() -> Interactions:
    """People with 0, 1, 2, 6, 7, 8 and 40 rows; every (user, place) has a film of its own."""
    rows, film = [], 0
    for user, count in enumerate([2, 0, 6, 1, 7, 40, 8]):
        for _ in range(count):
            rows.append((user, film, 3.0))
            film += 1
    return log_of(rows, 7, film)


def windows_of(log: Interactions, n: int = N, tokens: int = 12, seed: int = 0) -> Windows:
    return Windows(log, n, tokens, torch.Generator().manual_seed(seed))


def epoch_of(windows: Windows) -> list[Window]:
    batches = [next(windows)]
    while windows.position < len(windows.plan):
        batches.append(next(windows))
    return batches


@pytest.mark.parametrize("tokens", [1, 12, 1000])
@pytest.mark.parametrize("n", [1, 3, N, 100])
def test_in_an_epoch_every_row_but_a_persons_first_is_a_target_once(n: int, tokens: int) -> None:
    log = uneven_log()
    windows = windows_of(log, n, tokens)
    first = set(log.item[log.offsets[:-1][log.offsets.diff() > 0]].tolist())
    for _ in range(3):
        targets: Counter[int] = Counter()
        for batch in epoch_of(windows):
            there = batch.following < log.n_items
            assert torch.equal(there, batch.items < log.n_items)
            assert batch.items.shape[1] <= n
            assert there[:, 0].all(), "a row without a film"
            assert not (there[:, 1:] & ~there[:, :-1]).any(), "padding must be on the right"
            targets.update(batch.following[there].tolist())
        assert targets == Counter({film: 1 for film in range(log.n_items) if film not in first})


def test_inputs_are_the_rows_right_before_their_target() -> None:
    """With one film for every row, film f + 1 must follow film f, within one person."""
    log = uneven_log()
    for batch in epoch_of(windows_of(log)):
        there = batch.following < log.n_items
        assert (batch.following == batch.items + 1)[there].all()
        both = there[:, 1:]
        assert (batch.items[:, 1:] == batch.following[:, :-1])[both].all()
        owner = log.user[batch.items.clamp(max=log.n_items - 1)]
        assert (owner == owner[:, :1])[there].all()
        assert (log.user[batch.following[there]] == owner[there]).all()


def test_long_logs_are_cut_elsewhere_in_another_epoch_and_short_ones_stay_whole() -> None:
    log = uneven_log()
    windows = windows_of(log)
    starts = []
    for _ in range(6):
        first = {int(row[0]) for batch in epoch_of(windows) for row in batch.items}
        starts.append(frozenset(film for film in first if log.user[film] == 5))
        assert {int(log.offsets[user]) for user in (0, 2, 4)} <= first
        assert sum(int(log.user[film]) in (0, 2, 4) for film in first) == 3
    assert len(set(starts)) > 1


def test_batches_hold_about_as_many_films_as_asked() -> None:
    log = random_log(200, 60)
    windows = windows_of(log, n=20, tokens=100)
    sizes = [int((batch.items < log.n_items).sum()) for batch in epoch_of(windows)]
    assert abs(len(sizes) - windows.batches) <= 2
    assert max(sizes) <= 100 + 20
    padded = sum(batch.items.numel() for batch in epoch_of(windows))
    assert padded < 1.3 * sum(sizes), "stretches of like length belong together"


@pytest.mark.parametrize("drawn", [0, 1, 3, 25])
def test_windows_go_on_where_they_stopped(drawn: int) -> None:
    """Also across an epoch's end, and into an object that had been used before."""
    log = uneven_log()
    whole = windows_of(log)
    for _ in range(drawn):
        next(whole)
    state = whole.state_dict()
    resumed = windows_of(log, seed=9)
    next(resumed)
    resumed.load_state_dict(state)
    for _ in range(20):
        ours, theirs = next(resumed), next(whole)
        assert torch.equal(ours.items, theirs.items)
        assert torch.equal(ours.following, theirs.following)


# ------------------------------------------------------------------------- a start from counts


def blocks_log(n_blocks: int = 4, size: int = 6, n_users: int = 200) -> Interactions:
    """Everybody watches films of one block only, in random order."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(n_users):
        block = user % n_blocks
        films = block * size + rng.permutation(size)[:4]
        rows += [(user, int(film), 4.0) for film in films]
    return log_of(rows, n_users, n_blocks * size + 1)  # the last film has no rating


def test_cooccurrence_puts_films_of_one_block_together() -> None:
    log = blocks_log()
    start = Cooccurrence(log, 4, torch.Generator().manual_seed(0))
    assert start.item.shape == (25, 4)
    vectors = F.normalize(start.item[:24], dim=1)
    alike = vectors @ vectors.T
    block = torch.arange(24) // 6
    same = block.unsqueeze(1) == block
    assert float(alike[same].min()) > 0.8
    assert float(alike[~same].max()) < 0.3
    assert float(start.item.std()) == pytest.approx(cooccurrence.EMBEDDING_STD, rel=0.01)


def test_cooccurrence_does_not_pair_films_of_two_people() -> None:
    log = log_of([(0, 0, 4.0), (0, 1, 4.0), (1, 2, 4.0), (1, 3, 4.0)], 2, 4)
    information = Cooccurrence._information(log, 10)
    paired = torch.nonzero(information).tolist()
    assert paired == [[0, 1], [1, 0], [2, 3], [3, 2]]
    torch.testing.assert_close(information[0, 1], torch.tensor(4.0).log())  # 1/4 : 1/4 x 1/4


def test_cooccurrence_weighs_near_films_more() -> None:
    rows = [(0, film, 4.0) for film in range(5)]
    near = Cooccurrence._information(log_of(rows, 1, 5), 1)
    assert torch.equal(near > 0, (torch.arange(5).unsqueeze(1) - torch.arange(5)).abs() == 1)


def test_cooccurrence_bias_is_log_popularity() -> None:
    log = random_log()
    start = Cooccurrence(log, 4, torch.Generator().manual_seed(0))
    count = np.bincount(log.item.numpy(), minlength=log.n_items)
    wanted = np.log(count + 1) - np.log(count + 1).mean()
    np.testing.assert_allclose(start.bias.numpy(), wanted, atol=1e-5)


def test_drr_seq_starts_from_cooccurrence() -> None:
    log = blocks_log()
    start = Cooccurrence(log, K, torch.Generator().manual_seed(0))
    state = DRRseq(log.n_users, log.n_items, K, N)
    state.initialise(torch.Generator().manual_seed(0))
    state.start_from(start)
    assert torch.equal(state.item_vectors.weight[:-1, :K], start.item)
    assert torch.equal(state.item_vectors.weight[:-1, K], start.bias)
    assert (state.item_vectors.weight[-1] == 0).all()


def test_cooccurrence_refuses_more_films_than_memory_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cooccurrence, "MAX_DENSE", 20)
    with pytest.raises(ValueError, match="25 films are too many"):
        Cooccurrence(blocks_log(), 4, torch.Generator())


def test_cooccurrence_repeats_with_its_generator() -> None:
    first, again = (
        Cooccurrence(blocks_log(), 4, torch.Generator().manual_seed(3)) for _ in range(2)
    )
    assert torch.equal(first.item, again.item)
