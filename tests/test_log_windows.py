"""Windows of logs: no row is lost or doubled, and none is taken for another user's."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from toys import log_of, random_log

from recsys_rl.agent.demonstrations import LogWindows, Window
from recsys_rl.data.interactions import Interactions

N = 6


def uneven_log() -> Interactions:
    """Users with 0, 1, 2, 6, 7, 8 and 40 rows; every (user, place) has an item of its own."""
    rows, item = [], 0
    for user, count in enumerate([2, 0, 6, 1, 7, 40, 8]):
        for _ in range(count):
            rows.append((user, item, 3.0))
            item += 1
    return log_of(rows, 7, item)


def windows_of(log: Interactions, n: int = N, tokens: int = 12, seed: int = 0) -> LogWindows:
    return LogWindows(log, n, tokens, torch.Generator().manual_seed(seed))


def epoch_of(windows: LogWindows) -> list[Window]:
    batches = [next(windows)]
    while windows.position < len(windows.plan):
        batches.append(next(windows))
    return batches


@pytest.mark.parametrize("tokens", [1, 12, 1000])
@pytest.mark.parametrize("n", [1, 3, N, 100])
def test_in_an_epoch_every_row_but_a_users_first_is_a_target_once(n: int, tokens: int) -> None:
    log = uneven_log()
    windows = windows_of(log, n, tokens)
    first = set(log.item[log.offsets[:-1][log.offsets.diff() > 0]].tolist())
    for _ in range(3):
        targets: Counter[int] = Counter()
        for batch in epoch_of(windows):
            there = batch.following < log.n_items
            assert torch.equal(there, batch.items < log.n_items)
            assert batch.items.shape[1] <= n
            assert there[:, 0].all(), "a row without an item"
            assert not (there[:, 1:] & ~there[:, :-1]).any(), "padding must be on the right"
            targets.update(batch.following[there].tolist())
        assert targets == Counter({item: 1 for item in range(log.n_items) if item not in first})


def test_inputs_are_the_rows_right_before_their_target() -> None:
    """With one item for every row, item i + 1 must follow item i, of one user."""
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
        starts.append(frozenset(item for item in first if log.user[item] == 5))
        assert {int(log.offsets[user]) for user in (0, 2, 4)} <= first
        assert sum(int(log.user[item]) in (0, 2, 4) for item in first) == 3
    assert len(set(starts)) > 1


def test_batches_hold_about_as_many_items_as_asked() -> None:
    log = random_log(200, 60)
    windows = windows_of(log, n=20, tokens=100)
    sizes = [int((batch.items < log.n_items).sum()) for batch in epoch_of(windows)]
    assert len(sizes) == pytest.approx(sum(sizes) / 100, abs=2)
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
