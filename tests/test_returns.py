"""Returns of several steps, by hand: where they end, and what is bootstrapped from."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from recsys_rl.agent.returns import Played, multi_step, transitions_of
from recsys_rl.data.histories import Histories

N_ITEMS = 50


def column(values: list) -> Tensor:
    """One session, [T, 1]."""
    return torch.tensor(values).unsqueeze(1)


def played(
    reward: list[float],
    greedy: list[bool] | None = None,
    terminated: bool = False,
    length: int | None = None,
    finite: bool = True,
) -> Played:
    """One session whose step t shows item 10 + t; length: how many steps it was running for.

    The observation before step t names items 10 .. 10 + t - 1, and item 1 before them.
    """
    steps = len(reward)
    length = length or steps
    observations = []
    for step in range(steps + 1):
        item = torch.tensor([[1, *range(10, 10 + step)]])
        elapsed = torch.tensor([step / steps]) if finite else None
        observations.append(Histories(torch.tensor([7]), item, item / 10, elapsed))
    running = torch.arange(steps) < length
    ends = torch.arange(steps) == length - 1
    return Played(
        observations,
        column(list(range(10, 10 + steps))),
        column([float(value) for value in reward]),
        (ends & terminated).unsqueeze(1),
        running.unsqueeze(1),
        column(greedy or [True] * steps),
    )


def found(session: Played, gamma: float, n_steps: int) -> tuple[list, list, list]:
    returns = multi_step(session, gamma, n_steps)
    return tuple(part[:, 0].tolist() for part in returns)


# ------------------------------------------------------------------------------------- by hand


def test_one_step_is_the_reward_and_gamma() -> None:
    total, discount, end = found(played([1, 2, 4]), 0.5, 1)
    assert total == [1, 2, 4]
    assert discount == [0.5, 0.5, 0.5]
    assert end == [0, 1, 2]


def test_two_steps() -> None:
    total, discount, end = found(played([1, 2, 4, 8]), 0.5, 2)
    assert total == [1 + 1, 2 + 2, 4 + 4, 8]
    assert discount == [0.25, 0.25, 0.25, 0.5]
    assert end == [1, 2, 3, 3]


@pytest.mark.parametrize("n_steps", [4, 99])
def test_more_steps_than_there_are_reach_to_the_end(n_steps: int) -> None:
    total, discount, end = found(played([1, 2, 4, 8]), 0.5, n_steps)
    assert total == [1 + 1 + 1 + 1, 2 + 2 + 2, 4 + 4, 8]
    assert discount == [0.0625, 0.125, 0.25, 0.5]
    assert end == [3, 3, 3, 3]


def test_nothing_follows_a_session_that_terminated() -> None:
    """Every return that reaches its end is not bootstrapped, and no other."""
    total, discount, end = found(played([1, 2, 4, 8], terminated=True), 0.5, 2)
    assert total == [2, 4, 8, 8]
    assert discount == [0.25, 0.25, 0, 0]
    assert end == [1, 2, 3, 3]


def test_a_return_is_cut_before_an_exploring_step_and_may_begin_with_one() -> None:
    greedy = [True, True, False, True, True]
    total, discount, end = found(played([1, 2, 4, 8, 16], greedy, terminated=True), 0.5, 5)
    assert total == [1 + 1, 2, 4 + 4 + 4, 8 + 8, 16]
    assert discount == [0.25, 0.5, 0, 0, 0]
    assert end == [1, 1, 4, 4, 4]


def test_who_always_explores_has_returns_of_one_step() -> None:
    every = played([1, 2, 4], [False] * 3, terminated=True)
    assert found(every, 0.5, 3) == found(every, 0.5, 1) == ([1, 2, 4], [0.5, 0.5, 0], [0, 1, 2])


def test_what_a_session_earns_after_its_end_counts_nowhere() -> None:
    total, discount, end = found(played([1, 2, 4, 8], terminated=True, length=2), 0.5, 4)
    assert total[:2] == [2, 2]
    assert discount[:2] == [0, 0]
    assert end[:2] == [1, 1]


def test_without_a_discount_a_return_is_a_sum() -> None:
    total, discount, _ = found(played([1, 2, 4], terminated=True), 1.0, 3)
    assert (total, discount) == ([7, 6, 4], [0, 0, 0])
    assert found(played([1, 2, 4]), 1.0, 2)[1] == [1, 1, 1]


def test_with_gamma_zero_a_return_is_the_reward() -> None:
    total, discount, _ = found(played([1, 2, 4]), 0.0, 3)
    assert (total, discount) == ([1, 2, 4], [0, 0, 0])


# --------------------------------------------------------------------------- against plain Python


def by_hand(session: Played, gamma: float, n_steps: int, b: int, t: int) -> tuple[float, float]:
    """The definition, for one step of one session -> (return, discount)."""
    total, m = 0.0, 0
    while True:
        total += gamma**m * float(session.reward[t + m, b])
        m += 1
        if session.terminated[t + m - 1, b]:
            return total, 0.0
        if m == n_steps or t + m == len(session.reward):
            return total, gamma**m
        if not session.greedy[t + m, b] or not session.active[t + m, b]:
            return total, gamma**m


@pytest.mark.parametrize("n_steps", [1, 2, 3, 7, 20])
def test_many_sessions_against_the_definition(n_steps: int) -> None:
    steps, sessions, gamma = 7, 200, 0.8
    generator = torch.Generator().manual_seed(n_steps)
    length = torch.randint(1, steps + 1, (sessions,), generator=generator)
    step = torch.arange(steps).unsqueeze(1)
    ends = (step == length - 1) & (torch.rand(sessions, generator=generator) < 0.7)
    session = Played(
        [],
        torch.zeros(steps, sessions, dtype=torch.int64),
        torch.randn(steps, sessions, generator=generator),
        ends,
        step < length,
        torch.rand(steps, sessions, generator=generator) < 0.7,
    )
    returns = multi_step(session, gamma, n_steps)
    for t, b in session.active.nonzero().tolist():
        total, discount = by_hand(session, gamma, n_steps, b, t)
        assert float(returns.total[t, b]) == pytest.approx(total, abs=1e-5)
        assert float(returns.discount[t, b]) == pytest.approx(discount, abs=1e-6)


# ------------------------------------------------------------------------------ as transitions


def test_a_transition_joins_what_was_seen_with_what_is_bootstrapped_from() -> None:
    session = played([1, 2, 4, 8], [True, True, False, True], terminated=True)
    told = transitions_of(session, 0.5, 3, 3, N_ITEMS)
    pad = N_ITEMS
    assert told.histories.item.tolist() == [[pad, pad, 1], [pad, 1, 10], [1, 10, 11], [10, 11, 12]]
    assert told.item.tolist() == [10, 11, 12, 13]
    assert told.reward.tolist() == [2, 2, 8, 8]
    assert told.discount.tolist() == [0.25, 0.5, 0, 0]
    after = [[1, 10, 11], [1, 10, 11], [11, 12, 13], [11, 12, 13]]
    assert told.next_histories.item.tolist() == after
    assert told.histories.elapsed.tolist() == [0, 0.25, 0.5, 0.75]
    assert told.next_histories.elapsed.tolist() == [0.5, 0.5, 1, 1]
    assert told.action is None


def test_steps_after_the_end_are_no_transitions() -> None:
    told = transitions_of(played([1, 2, 4], terminated=True, length=2), 0.5, 1, 3, N_ITEMS)
    assert told.item.tolist() == [10, 11]
    assert told.discount.tolist() == [0.5, 0]


def test_where_no_limit_counts_the_clock_stands_still_and_the_last_step_is_bootstrapped() -> None:
    session = played([1, 2, 4], finite=False)
    told = transitions_of(session, 0.5, 2, 4, N_ITEMS)
    assert (session.finite, played([1]).finite) == (False, True)
    assert told.discount.tolist() == [0.25, 0.25, 0.5]
    assert told.next_histories.item[-1].tolist() == [1, 10, 11, 12]
    assert told.histories.clock.tolist() == told.next_histories.clock.tolist() == [[0]] * 3


def test_emitted_vectors_go_with_their_steps() -> None:
    action = torch.arange(6.0).view(3, 1, 2)
    session = played([1, 2, 4], terminated=True, length=2)._replace(action=action)
    told = transitions_of(session, 0.5, 1, 3, N_ITEMS)
    assert told.action.tolist() == [[0, 1], [2, 3]]
