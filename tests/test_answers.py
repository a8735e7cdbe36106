"""What was liked and what was not: read off histories, against a loop."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from toys import histories_of, mixed_log

from recsys_rl.baselines.ease import EASE
from recsys_rl.data.histories import (
    POSITIVE,
    SHOWN,
    Histories,
    answers,
    likes_and_rejections,
)
from recsys_rl.data.interactions import Interactions
from recsys_rl.embeddings.pmf import PMF

N_ITEMS = 24
Pairs = list[tuple[int, float]]


def of_every_length() -> tuple[list[Pairs], Histories]:
    """Users with 0 to 12 answers, items that were only shown among those rated."""
    rng = np.random.default_rng(0)
    users = []
    for length in range(13):
        stars = rng.choice([SHOWN, 1.0, 3.5, 4.0, 5.0], length).tolist()
        users.append(list(zip(rng.permutation(N_ITEMS)[:length].tolist(), stars, strict=True)))
    return users, histories_of(*users, n_items=N_ITEMS)


def liked_and_not(pairs: Pairs, n: int) -> tuple[list[int], list[int]]:
    """The latest n of each."""
    liked = [item for item, stars in pairs if stars >= POSITIVE]
    rejected = [item for item, stars in pairs if stars < POSITIVE]
    return liked[-n:], rejected[-n:]


@pytest.mark.parametrize("n", [1, 3, 30])
def test_likes_and_rejections_against_a_loop(n: int) -> None:
    users, histories = of_every_length()
    found = likes_and_rejections(histories, n, N_ITEMS)
    for row, pairs in enumerate(users):
        for memory, expected in zip(found, liked_and_not(pairs, n), strict=True):
            assert memory[row].tolist() == [N_ITEMS] * (n - len(expected)) + expected


@pytest.mark.parametrize("n", [1, 3, 30])
def test_answers_are_the_same_in_one_row(n: int) -> None:
    users, histories = of_every_length()
    item, liked = answers(histories, n, N_ITEMS)
    longest = 0
    for row, pairs in enumerate(users):
        likes, rejections = liked_and_not(pairs, n)
        count = len(likes) + len(rejections)
        longest = max(longest, count)
        assert item[row, :count].tolist() == likes + rejections
        assert liked[row, :count].tolist() == [1.0] * len(likes) + [0.0] * len(rejections)
        assert (item[row, count:] == N_ITEMS).all()
    assert item.shape[1] == longest, "no column is empty"


@pytest.mark.parametrize(("size", "width"), [(0, 4), (3, 0)])
def test_nobody_and_nothing(size: int, width: int) -> None:
    empty = torch.zeros(size, width)
    histories = Histories(torch.zeros(size, dtype=torch.int64), empty.long() + N_ITEMS, empty)
    for memory in likes_and_rejections(histories, 2, N_ITEMS):
        assert memory.shape == (size, 2)
        assert (memory == N_ITEMS).all()
    item, liked = answers(histories, 2, N_ITEMS)
    assert item.shape == liked.shape == (size, 1)
    assert (item == N_ITEMS).all()


def all_ratings(log: Interactions) -> Callable[[Histories], torch.Tensor]:
    return EASE(log)


def likes_alone(log: Interactions) -> Callable[[Histories], torch.Tensor]:
    return EASE(log, min_rating=POSITIVE)


def pmf(log: Interactions) -> Callable[[Histories], torch.Tensor]:
    return PMF(log.n_users, log.n_items, 4, generator=torch.Generator().manual_seed(0)).score


@pytest.mark.parametrize("fit", [all_ratings, likes_alone, pmf])
def test_what_was_only_shown_is_no_rating_for_baselines(fit: Callable) -> None:
    score = fit(mixed_log(40))
    likes = [(3, 4.0), (7, 4.0), (11, 4.0), (5, 4.0)]
    shown = histories_of([*likes[:3], (2, SHOWN), likes[3], (8, SHOWN)], n_items=N_ITEMS)
    torch.testing.assert_close(score(shown), score(histories_of(likes, n_items=N_ITEMS)))
