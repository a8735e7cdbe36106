"""Item vectors from co-occurrence: who is near whom, and how often."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from toys import log_of, random_log

from recsys_rl.data.interactions import Interactions
from recsys_rl.embeddings import cooccurrence
from recsys_rl.embeddings.cooccurrence import Cooccurrence


def blocks_log(n_blocks: int = 4, size: int = 6, n_users: int = 200) -> Interactions:
    """Every user rates items of one block only, in random order."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(n_users):
        block = user % n_blocks
        items = block * size + rng.permutation(size)[:4]
        rows += [(user, int(item), 4.0) for item in items]
    return log_of(rows, n_users, n_blocks * size + 1)  # the last item has no rating


def test_items_of_one_block_are_together() -> None:
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


def test_items_of_two_users_are_no_pair() -> None:
    log = log_of([(0, 0, 4.0), (0, 1, 4.0), (1, 2, 4.0), (1, 3, 4.0)], 2, 4)
    information = Cooccurrence._information(log, 10)
    paired = torch.nonzero(information).tolist()
    assert paired == [[0, 1], [1, 0], [2, 3], [3, 2]]
    torch.testing.assert_close(information[0, 1], torch.tensor(4.0).log())  # 1/4 : 1/4 x 1/4


def test_only_items_within_reach_are_a_pair() -> None:
    rows = [(0, item, 4.0) for item in range(5)]
    near = Cooccurrence._information(log_of(rows, 1, 5), 1)
    assert torch.equal(near > 0, (torch.arange(5).unsqueeze(1) - torch.arange(5)).abs() == 1)


def test_the_bias_is_log_popularity() -> None:
    log = random_log()
    start = Cooccurrence(log, 4, torch.Generator().manual_seed(0))
    count = np.bincount(log.item.numpy(), minlength=log.n_items)
    expected = np.log(count + 1) - np.log(count + 1).mean()
    np.testing.assert_allclose(start.bias.numpy(), expected, atol=1e-5)


def test_more_items_than_memory_holds_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RECSYS_RL_TABLE_GIB", "1e-6")
    with pytest.raises(ValueError, match='25 x 25, which takes .*state.embeddings="random"'):
        Cooccurrence(blocks_log(), 4, torch.Generator())


def test_the_same_generator_gives_the_same_vectors() -> None:
    first, again = (
        Cooccurrence(blocks_log(), 4, torch.Generator().manual_seed(3)) for _ in range(2)
    )
    assert torch.equal(first.item, again.item)


def test_users_who_all_rate_the_same_items_give_numbers() -> None:
    log = log_of([(user, item, 5.0) for user in range(9) for item in range(6)], 9, 6)
    start = Cooccurrence(log, 4, torch.Generator().manual_seed(0), reach=None)
    assert start.item.isfinite().all()
