"""Item vectors: principal components of likes, PMF's, and co-occurrence without order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toys import log_of, mixed_log, random_log

from recsys_rl.data.interactions import Interactions
from recsys_rl.embeddings.cooccurrence import (
    EMBEDDING_STD,
    Cooccurrence,
    like_components,
    like_vectors,
)
from recsys_rl.embeddings.pmf import PMF, pmf_vectors


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------------------- components


def test_components_are_the_principal_ones_of_the_likes() -> None:
    log = random_log(30, 12)
    likes = torch.zeros(log.n_users, log.n_items, dtype=torch.float64)
    likes[log.user, log.item] = (log.rating >= 4).double()
    share, components = like_components(log, 5, gen())
    torch.testing.assert_close(share, likes.mean(0).float())
    centred = likes - likes.mean(0)
    _, spread, turn = torch.linalg.svd(centred / log.n_users**0.5, full_matrices=False)
    best = turn[:5].T * spread[:5]
    components = components.double()
    # the sign of a component is free, the products are not
    torch.testing.assert_close(components @ components.T, best @ best.T, atol=1e-5, rtol=0)
    coordinates = centred @ torch.linalg.pinv(components).T
    assert coordinates.square().mean(0).tolist() == pytest.approx([1] * 5, abs=1e-3)


def test_like_vectors_are_share_components_and_one() -> None:
    log = random_log(30, 12)
    share, components = like_components(log, 5, gen())
    vectors, prior = like_vectors(log, 5, gen())
    columns = [share.unsqueeze(1), components, torch.ones(12, 1)]
    torch.testing.assert_close(vectors, torch.cat(columns, 1))
    assert prior.tolist() == [1, 0, 0, 0, 0, 0, 0]


def test_users_without_rows_do_not_count() -> None:
    few = log_of([(0, 0, 5.0), (2, 0, 4.0), (2, 1, 3.0), (0, 2, 4.0)], 5, 14)
    assert like_components(few, 2, gen())[0][:3].tolist() == [1, 0, 0.5]


def test_pmf_vectors_start_from_the_average_user() -> None:
    pmf = PMF(50, 9, 3, generator=gen(), std=0.4)
    pmf.mean.data.fill_(3.4)
    pmf.user_bias.data.normal_(generator=gen(1))
    pmf.item_bias.data.normal_(generator=gen(2))
    vectors, prior = pmf_vectors(pmf)
    average = (3.4 + pmf.user_bias.mean() + pmf.item_bias - 3) / 2
    torch.testing.assert_close(vectors @ prior, average)
    # a user's PMF rating, as a reward, is linear in the vectors, and theta has variance 1
    theta = pmf.user / pmf.user.square().mean().sqrt()
    everybody = vectors @ prior + theta @ vectors[:, 1:-1].T
    everybody = everybody + (pmf.user_bias - pmf.user_bias.mean()).unsqueeze(1) / 2 * vectors[:, -1]
    user, item = torch.meshgrid(torch.arange(50), torch.arange(9), indexing="ij")
    torch.testing.assert_close(everybody, (pmf(user, item) - 3) / 2, atol=1e-5, rtol=1e-5)


# ---------------------------------------------------------------------------- co-occurrence


def shared_information(log: Interactions) -> np.ndarray:
    """max(0, log(pairs x users / (margins with one row more))) of all pairs of items, in a loop."""
    owners = [set(log.user[log.item == item].tolist()) for item in range(log.n_items)]
    users = len(log.user.unique())
    table = np.zeros((log.n_items, log.n_items))
    for one in range(log.n_items):
        for two in set(range(log.n_items)) - {one}:
            both = len(owners[one] & owners[two])
            ratio = both * users / ((len(owners[one]) + 1) * (len(owners[two]) + 1))
            table[one, two] = np.log(max(1.0, ratio))
    return table


def test_without_reach_products_are_the_information_of_having_both() -> None:
    """With all directions, v_i . v_j is the centred absolute value of the matrix, scaled."""
    log = mixed_log(20)
    n = log.n_items
    start = Cooccurrence(log, n, gen(), reach=None)
    strength, directions = np.linalg.eigh(shared_information(log))
    assert (strength < 0).any()
    product = directions * np.abs(strength) @ directions.T
    centre = np.eye(n) - 1 / n
    product = centre @ product @ centre
    variance = product.trace() / (n**2 - 1)  # of all numbers, their mean being 0
    expected = torch.tensor(product / variance * EMBEDDING_STD**2).float()
    torch.testing.assert_close(start.item @ start.item.T, expected, rtol=1e-3, atol=1e-5)


def test_without_reach_the_order_does_not_matter() -> None:
    log = mixed_log(20)
    rows = list(zip(log.user.tolist(), log.item.tolist(), log.rating.tolist(), strict=True))
    order = np.random.default_rng(1).permutation(len(rows))
    logs = log, log_of([rows[place] for place in order], 20, log.n_items)
    one, two = (Cooccurrence(part, 4, gen(), reach=None) for part in logs)
    torch.testing.assert_close(one.item, two.item)
    near, other = (Cooccurrence(part, 4, gen()) for part in logs)
    assert not torch.allclose(near.item, other.item)
