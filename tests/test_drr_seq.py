"""DRR-seq: nothing looks ahead, padding is silent, order counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from toys import random_log

from recsys_rl.data.histories import Histories
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


def some_items(size: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(N_ITEMS, (size, length), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True)
def _small_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PooledDropout, "SIZE", 2**12)


def histories_of(*memories: list[int], width: int = N) -> Histories:
    """Anonymous users who rated these items, oldest first; a low rating is read, too."""
    item = torch.tensor([[N_ITEMS] * (width - len(items)) + items for items in memories])
    rating = torch.where(item < N_ITEMS, 2.0, 0.0)
    return Histories(torch.full((len(memories),), 3), item, rating)


@pytest.mark.parametrize("changed", range(N))
def test_a_later_item_changes_no_earlier_action(changed: int) -> None:
    state, items = drr_seq(), some_items(4, N)
    other = items.clone()
    other[:, changed] = (items[:, changed] + 1) % N_ITEMS
    before, after = state.sequence(items), state.sequence(other)
    torch.testing.assert_close(after[:, :changed], before[:, :changed])
    moved = (after[:, changed:] - before[:, changed:]).abs().amax(2)
    assert (moved > 1e-4).all(), "an item must reach every action from its own place on"


def test_no_gradient_flows_back_from_the_future() -> None:
    state, items = drr_seq(), torch.arange(N).unsqueeze(0)
    state.sequence(items)[0, 2].square().sum().backward()
    touched = (state.item_vectors.weight.grad != 0).any(1)
    assert torch.nonzero(touched).squeeze(1).tolist() == [0, 1, 2]


def test_padding_on_the_right_changes_nothing() -> None:
    state, items = drr_seq(), some_items(3, 4)
    padded = F.pad(items, (0, 2), value=N_ITEMS)
    torch.testing.assert_close(state.sequence(padded)[:, :4], state.sequence(items))


def test_a_history_gives_the_sequence_at_its_last_item() -> None:
    """Left-padded memories of every length in one batch, against each alone without padding."""
    state = drr_seq()
    memories = [some_items(1, length, seed=length)[0].tolist() for length in range(1, N + 1)]
    out = state(histories_of(*memories))
    assert out.shape == (N, state.size)
    for row, items in enumerate(memories):
        alone = state.sequence(torch.tensor([items]))[0, -1]
        torch.testing.assert_close(out[row], alone, rtol=1e-4, atol=1e-5)


def test_a_memory_longer_than_n_is_cut_to_the_latest() -> None:
    state, items = drr_seq(), some_items(1, N + 4)[0].tolist()
    torch.testing.assert_close(
        state(histories_of(items, width=N + 4)), state(histories_of(items[-N:]))
    )


def test_a_memory_narrower_than_n_works_too() -> None:
    state = drr_seq()
    narrow = state(histories_of([3, 1], [4, 5, 6], width=3))
    torch.testing.assert_close(narrow, state(histories_of([3, 1], [4, 5, 6])))


def test_an_empty_memory_gives_one_finite_action_for_all() -> None:
    out = drr_seq()(histories_of([], [4], []))
    assert out.isfinite().all()
    torch.testing.assert_close(out[0], out[2])
    torch.testing.assert_close(drr_seq()(histories_of([]))[0], out[0])


def test_order_matters_and_so_does_distance() -> None:
    state = drr_seq()
    out = state(histories_of([1, 2, 3], [2, 1, 3], [1, 3], [1, 1, 3]))
    apart = torch.cdist(out, out) + torch.eye(4)
    assert (apart > 1e-4).all()


def test_the_action_ends_in_a_one_so_that_the_last_column_is_a_bias() -> None:
    state = drr_seq()
    assert state.size == K + 1
    assert state.item_vectors.weight.shape == (N_ITEMS + 1, K + 1)
    out = state(histories_of([1], [2, 3]))
    assert (out[:, -1] == 1).all()
    before = out.clone()
    with torch.no_grad():
        state.item_vectors.weight[:-1, -1] += 5
    assert torch.equal(state(histories_of([1], [2, 3])), before), "the bias is no input"


def test_the_user_is_not_read() -> None:
    state = drr_seq()
    out = state(replace(histories_of([1, 2], [1, 2]), user=torch.tensor([0, 3])))
    torch.testing.assert_close(out[0], out[1])


def test_k_must_be_a_multiple_of_the_heads() -> None:
    with pytest.raises(ValueError, match="multiple of the 3 attention heads"):
        DRRseq(3, N_ITEMS, 8, N, heads=3)


def test_the_state_is_deterministic_in_eval_and_not_in_training() -> None:
    state, items = drr_seq(), some_items(2, N)
    assert torch.equal(state.sequence(items), state.sequence(items))
    state.train()
    assert not torch.equal(state.sequence(items), state.sequence(items))


def test_it_starts_from_cooccurrence() -> None:
    log = random_log()
    start = Cooccurrence(log, K, torch.Generator().manual_seed(0))
    state = DRRseq(log.n_users, log.n_items, K, N)
    state.initialise(torch.Generator().manual_seed(0))
    state.start_from(start)
    assert torch.equal(state.item_vectors.weight[:-1, :K], start.item)
    assert torch.equal(state.item_vectors.weight[:-1, K], start.bias)
    assert (state.item_vectors.weight[-1] == 0).all()
