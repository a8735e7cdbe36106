"""Replay buffers against plain lists, and the sum tree against a cumulative sum."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from recsys_rl.agent.replay import PrioritizedReplayBuffer, ReplayBuffer, Transitions
from recsys_rl.agent.sum_tree import SumTree
from recsys_rl.data.histories import Histories

WIDTH, N_ITEMS = 3, 1000
KINDS = (ReplayBuffer, PrioritizedReplayBuffer)


def numbered(numbers: list[int] | range) -> Transitions:
    """Transitions whose every field follows from a number of their own."""
    x = torch.tensor(list(numbers), dtype=torch.int64)
    item = x.unsqueeze(1) + torch.arange(WIDTH)
    return Transitions(
        Histories(x % 7, item, item.float() / 4, x % 5 / 8),
        x * 10,
        x.float() / 2,
        Histories(x % 7, item + 100, item.float() / 8, x % 5 / 8 + 0.25),
        x % 3 / 4,
    )


def parts(batch: Transitions) -> list[torch.Tensor]:
    before, item, reward, after, discount, action = batch
    read = [part for h in (before, after) for part in (h.user, h.item, h.rating, h.elapsed)]
    return [*read, item, reward, discount, *([] if action is None else [action])]


def assert_same(ours: Transitions, theirs: Transitions) -> None:
    for mine, yours in zip(parts(ours), parts(theirs), strict=True):
        assert mine.dtype == yours.dtype
        assert torch.equal(mine, yours)


def buffer_of(kind: type[ReplayBuffer], capacity: int, **options) -> ReplayBuffer:
    return kind(WIDTH, N_ITEMS, capacity, **options)


def generator_of(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --------------------------------------------------------------------------------- ring buffer


def test_steps_of_sessions_that_are_over_can_be_left_out() -> None:
    live = torch.tensor([True, False, True, True, False, False])
    assert_same(numbered(range(6)).at(live), numbered([0, 2, 3]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [1, 3, 4, 7])
def test_the_ring_holds_the_latest(kind: type[ReplayBuffer], batch: int) -> None:
    """Against a list, for batches that do and do not divide the capacity of 7."""
    buffer, seen = buffer_of(kind, 7), []
    for start in range(0, 40, batch):
        new = list(range(start, start + batch))
        places = buffer.add(numbered(new))
        assert_same(buffer.take(places), numbered(new))
        seen = (seen + new)[-7:]
        assert len(buffer) == len(seen)
        whole = buffer.take(torch.arange(len(buffer)))
        held = (whole.item // 10).tolist()
        assert sorted(held) == seen
        assert_same(whole, numbered(held))


@pytest.mark.parametrize("kind", KINDS)
def test_sampling_reaches_everything_that_is_held_and_nothing_else(
    kind: type[ReplayBuffer],
) -> None:
    buffer = buffer_of(kind, 8)
    for size in (3, 9):  # three places filled; full and one overwritten
        buffer.add(numbered(range(size - len(buffer))))
        batch, weights, places = buffer.sample(200, generator_of())
        assert set(places.tolist()) == set(range(len(buffer)))
        assert_same(batch, buffer.take(places))
        assert weights.shape == (200,)
        assert weights.dtype == torch.float32
        assert (weights == 1).all(), "equal priorities leave no bias to undo"


@pytest.mark.parametrize("kind", KINDS)
def test_clear_errors(kind: type[ReplayBuffer]) -> None:
    with pytest.raises(ValueError, match="empty"):
        buffer_of(kind, 4).sample(1, generator_of())
    with pytest.raises(ValueError, match="5 transitions do not fit into a buffer of 4"):
        buffer_of(kind, 4).add(numbered(range(5)))
    with pytest.raises(ValueError, match="at least 1"):
        buffer_of(kind, 0)


def test_adding_nothing_is_allowed() -> None:
    buffer = buffer_of(PrioritizedReplayBuffer, 4)
    buffer.add(numbered([]))
    assert len(buffer) == 0
    buffer.add(numbered([1, 2]))
    buffer.add(numbered([]))
    assert len(buffer) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_buffer_goes_on_as_the_saved_one(kind: type[ReplayBuffer], tmp_path) -> None:
    buffer = buffer_of(kind, 8)
    buffer.add(numbered(range(6)))
    _, _, places = buffer.sample(4, generator_of())
    buffer.update_priorities(places, torch.tensor([5.0, 0.1, 2.0, 0.3]))
    torch.save(buffer.state_dict(), tmp_path / "buffer.pt")
    other = buffer_of(kind, 8)
    other.load_state_dict(torch.load(tmp_path / "buffer.pt", weights_only=True))
    for held in (buffer, other):
        held.add(numbered(range(20, 25)))  # wraps around
    for seed in range(5):
        ours, theirs = (held.sample(6, generator_of(seed)) for held in (buffer, other))
        assert_same(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])
        assert torch.equal(ours[2], theirs[2])


def test_only_what_is_filled_is_saved(tmp_path) -> None:
    buffer = buffer_of(ReplayBuffer, 100_000)
    buffer.add(numbered(range(6)))
    torch.save(buffer.state_dict(), tmp_path / "buffer.pt")
    assert (tmp_path / "buffer.pt").stat().st_size < 10_000


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_buffer_shares_no_memory_with_the_saved_one(kind: type[ReplayBuffer]) -> None:
    buffer, other = buffer_of(kind, 4), buffer_of(kind, 4)
    buffer.add(numbered([1, 2]))
    other.load_state_dict(buffer.state_dict())
    other.add(numbered([3, 4, 5]))
    assert_same(buffer.take(torch.arange(2)), numbered([1, 2]))
    assert len(buffer) == 2
    if kind is PrioritizedReplayBuffer:
        assert buffer.tree.total == pytest.approx(2)


# ----------------------------------------------------------------------- histories of any length


def transitions_with(items: list[list[int]]) -> Transitions:
    """Transitions whose histories have these items, each rated a tenth of its index."""
    item = torch.tensor(items)
    count = len(item)
    before = Histories(torch.arange(count), item, item / 10)
    zeros = torch.zeros(count)
    return Transitions(before, torch.arange(count), zeros, before, zeros)


@pytest.mark.parametrize("kind", KINDS)
def test_of_a_longer_history_the_latest_items_are_kept(kind: type[ReplayBuffer]) -> None:
    buffer = buffer_of(kind, 4)
    back = buffer.take(buffer.add(transitions_with([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]])))
    for histories in (back.histories, back.next_histories):
        assert histories.item.tolist() == [[3, 4, 5], [8, 9, 10]]
        torch.testing.assert_close(histories.rating, histories.item / 10)


@pytest.mark.parametrize("kind", KINDS)
def test_a_shorter_history_is_padded_on_the_left(kind: type[ReplayBuffer]) -> None:
    buffer = buffer_of(kind, 4)
    buffer.add(numbered(range(4)))  # what was there before must not shine through
    back = buffer.take(buffer.add(transitions_with([[1], [2]])))
    for histories in (back.histories, back.next_histories):
        assert histories.item.tolist() == [[N_ITEMS, N_ITEMS, 1], [N_ITEMS, N_ITEMS, 2]]
        torch.testing.assert_close(histories.rating, torch.tensor([[0, 0, 0.1], [0, 0, 0.2]]))


@pytest.mark.parametrize("kind", KINDS)
def test_where_no_limit_counts_the_clock_stands_at_zero(kind: type[ReplayBuffer]) -> None:
    buffer = buffer_of(kind, 4)
    buffer.add(numbered(range(1, 5)))  # of whom some were there
    back = buffer.take(buffer.add(transitions_with([[1], [2]])))
    for histories in (back.histories, back.next_histories):
        assert histories.elapsed.tolist() == [0, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_emitted_vectors_are_kept_where_they_are_asked_for(
    kind: type[ReplayBuffer], tmp_path
) -> None:
    def with_vectors(numbers: range) -> Transitions:
        batch = numbered(numbers)
        return batch._replace(action=batch.reward.unsqueeze(1) + torch.arange(2.0) / 8)

    buffer, other = (buffer_of(kind, 7, action=2) for _ in range(2))
    for start in (0, 4, 8):  # the last ones overwrite
        places = buffer.add(with_vectors(range(start, start + 4)))
    assert_same(buffer.take(places), with_vectors(range(8, 12)))
    torch.save(buffer.state_dict(), tmp_path / "buffer.pt")
    other.load_state_dict(torch.load(tmp_path / "buffer.pt", weights_only=True))
    assert_same(other.take(torch.arange(7)), buffer.take(torch.arange(7)))
    assert buffer_of(kind, 4).take(torch.zeros(0).long()).action is None


# ------------------------------------------------------------------------------------ sum tree


@pytest.mark.parametrize("capacity", [1, 2, 3, 5, 8, 13, 100, 129])
def test_sum_tree_against_a_cumulative_sum(capacity: int) -> None:
    rng = np.random.default_rng(capacity)
    tree, values = SumTree(capacity), np.zeros(capacity)
    for _ in range(5):
        leaf = rng.permutation(capacity)[: rng.integers(1, capacity + 1)]
        value = rng.random(len(leaf)) * (rng.random(len(leaf)) < 0.8)  # some are zero
        tree.set(torch.from_numpy(leaf), torch.from_numpy(value))
        values[leaf] = value
        assert tree.total == pytest.approx(values.sum())
        np.testing.assert_allclose(tree.get(torch.arange(capacity)).numpy(), values)
        if values.sum() == 0:
            continue
        mass = np.concatenate([rng.random(50) * values.sum(), [0.0]])
        found = tree.find(torch.from_numpy(mass)).numpy()
        wanted = np.searchsorted(values.cumsum(), mass, side="right")
        assert (found == wanted).all()
        assert (values[found] > 0).all()


def test_sum_tree_finds_each_leaf_by_its_share() -> None:
    tree = SumTree(5)
    tree.set(torch.arange(5), torch.tensor([1.0, 0.0, 2.0, 1.0, 4.0]))
    mass = torch.tensor([0.0, 0.99, 1.0, 2.99, 3.0, 3.99, 4.0, 7.99])
    assert tree.find(mass).tolist() == [0, 0, 2, 2, 3, 3, 4, 4]


def test_sum_tree_with_a_leaf_named_twice_keeps_one_value_and_its_sums_right() -> None:
    tree = SumTree(6)
    tree.set(torch.arange(6), torch.ones(6))
    tree.set(torch.tensor([2, 2, 4, 2]), torch.tensor([3.0, 5.0, 7.0, 9.0]))
    leaves = tree.get(torch.arange(6))
    assert float(leaves[2]) in (3, 5, 9)
    assert float(leaves[4]) == 7
    assert tree.total == pytest.approx(float(leaves.sum()))
    inner = tree.nodes[1 : tree.leaves]
    assert torch.equal(inner, tree.nodes[2:].view(-1, 2).sum(1))


# ------------------------------------------------------------------------- prioritized sampling


def with_priorities(td: list[float], alpha: float = 0.6, **options) -> PrioritizedReplayBuffer:
    buffer = buffer_of(PrioritizedReplayBuffer, len(td) + 3, alpha=alpha, **options)
    places = buffer.add(numbered(range(len(td))))
    buffer.update_priorities(places, torch.tensor(td))
    return buffer


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_frequencies_are_proportional_to_the_size_of_the_td_error(alpha: float) -> None:
    td = [0.5, -2.0, 1.0, 0.0, -0.1]  # the sign does not matter
    buffer = with_priorities(td, alpha)
    _, _, places = buffer.sample(40_000, generator_of())
    share = torch.bincount(places, minlength=5) / 40_000
    priority = (np.abs(td) + buffer.eps) ** alpha
    np.testing.assert_allclose(share.numpy(), priority / priority.sum(), atol=2e-3)


def test_a_batch_is_spread_over_the_whole_priority() -> None:
    """Stratified: of 8 equal priorities, 8 draws take each once."""
    buffer = with_priorities([1.0] * 8)
    for seed in range(5):
        assert buffer.sample(8, generator_of(seed))[2].tolist() == list(range(8))


def test_importance_weights_formula() -> None:
    td = [0.5, 2.0, 1.0, 0.25]
    buffer = with_priorities(td, beta=0.4, anneal=100)
    _, weights, places = buffer.sample(64, generator_of())
    priority = (np.array(td) + buffer.eps) ** 0.6
    raw = (len(td) * (priority / priority.sum())[places.numpy()]) ** -0.4
    np.testing.assert_allclose(weights.numpy(), raw / raw.max(), rtol=1e-5)
    assert float(weights.max()) == 1
    assert float(weights.min()) < 0.8


def test_with_beta_one_the_weighted_mean_is_the_plain_mean() -> None:
    """What importance weights are for: the sampling bias is undone."""
    td = [0.1, 3.0, 1.0, 0.5]
    buffer = with_priorities(td, beta=1.0)
    batch, weights, _ = buffer.sample(40_000, generator_of())
    mean = float((weights * batch.reward).sum() / weights.sum())
    assert mean == pytest.approx(np.mean([0.0, 0.5, 1.0, 1.5]), abs=0.02)


def test_beta_anneals_linearly_to_one_and_stays() -> None:
    buffer = with_priorities([1.0, 2.0], beta=0.4, anneal=4)
    betas = []
    for _ in range(6):
        betas.append(buffer.beta)
        buffer.sample(2, generator_of())
    assert betas == pytest.approx([0.4, 0.55, 0.7, 0.85, 1.0, 1.0])


def test_new_transitions_enter_with_the_largest_priority_ever_seen() -> None:
    buffer = buffer_of(PrioritizedReplayBuffer, 4, alpha=0.5)
    first = buffer.add(numbered([1, 2]))
    assert buffer.tree.get(first).tolist() == [1.0, 1.0]
    buffer.update_priorities(first, torch.tensor([-9.0, 0.2]))
    largest = (9 + buffer.eps) ** 0.5
    assert buffer.tree.get(buffer.add(numbered([3]))).tolist() == pytest.approx([largest])
    buffer.update_priorities(first, torch.tensor([0.1, 0.2]))
    assert buffer.tree.get(buffer.add(numbered([4]))).tolist() == pytest.approx([largest])


def test_what_is_overwritten_takes_its_priority_along() -> None:
    buffer = with_priorities([1.0, 1.0, 1.0])  # capacity 6
    buffer.update_priorities(torch.tensor([0]), torch.tensor([1000.0]))
    buffer.largest = 1.0
    buffer.add(numbered([3, 4, 5, 6]))  # the last one takes place 0
    assert buffer.tree.get(torch.tensor([0])).tolist() == [1.0]


def test_a_td_error_of_zero_can_still_be_drawn() -> None:
    buffer = with_priorities([0.0, 0.0])
    assert set(buffer.sample(50, generator_of())[2].tolist()) == {0, 1}


def test_priorities_carry_no_gradient() -> None:
    buffer = with_priorities([1.0, 1.0])
    buffer.update_priorities(torch.arange(2), torch.ones(2, requires_grad=True) * 2)
    assert not buffer.tree.nodes.requires_grad


def test_uniform_replay_ignores_priorities() -> None:
    buffer = buffer_of(ReplayBuffer, 4)
    buffer.add(numbered(range(4)))
    buffer.update_priorities(torch.arange(4), torch.tensor([100.0, 0.0, 0.0, 0.0]))
    _, weights, places = buffer.sample(4000, generator_of())
    assert (weights == 1).all()
    assert (torch.bincount(places) > 800).all()


# ----------------------------------------------------------------------------- what is refused


def goes_on(buffer: PrioritizedReplayBuffer) -> list[list[float]]:
    """All that a refusal must leave alone."""
    generator = generator_of(3)
    batch, weights, places = buffer.sample(6, generator)
    return [
        buffer.tree.nodes.tolist(),
        [buffer.largest, len(buffer), buffer.position],
        places.tolist(),
        weights.tolist(),
        batch.reward.tolist(),
    ]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_a_td_error_that_is_no_number_is_refused(bad: float, dtype: torch.dtype) -> None:
    """And the tree stays as it was: one NaN would be in every sum above it, for good."""
    buffer, same = (buffer_of(PrioritizedReplayBuffer, 8) for _ in range(2))
    for each in (buffer, same):
        places = each.add(numbered(range(5)))
        each.update_priorities(places, torch.arange(5.0))
    for where in range(5):
        td_error = torch.ones(5, dtype=dtype)
        td_error[where] = bad
        with pytest.raises(ValueError, match="a TD error is NaN or infinite"):
            buffer.update_priorities(places, td_error)
    assert goes_on(buffer) == goes_on(same)


def test_td_errors_fit_their_places() -> None:
    buffer = buffer_of(PrioritizedReplayBuffer, 8)
    places = buffer.add(numbered(range(5)))
    for wrong in (torch.ones(4), torch.ones(5, 1), torch.tensor(1.0)):
        with pytest.raises(ValueError, match="TD errors for"):
            buffer.update_priorities(places, wrong)
    buffer.update_priorities(places[:0], torch.ones(0))
    assert buffer.tree.total == 5


def test_huge_td_errors_are_numbers() -> None:
    buffer = buffer_of(PrioritizedReplayBuffer, 8, alpha=1.0)
    places = buffer.add(numbered(range(5)))
    buffer.update_priorities(places, torch.full((5,), 3e38))
    assert 1.4e39 < buffer.tree.total < 1.6e39
    assert torch.isfinite(buffer.sample(4, generator_of())[1]).all()


def test_an_overflowing_priority_is_refused() -> None:
    buffer, same = (buffer_of(PrioritizedReplayBuffer, 8, alpha=2.0) for _ in range(2))
    for each in (buffer, same):
        places = each.add(numbered(range(5)))
    with pytest.raises(ValueError, match="finite numbers"):
        buffer.update_priorities(places, torch.full((5,), 3e38))
    assert goes_on(buffer) == goes_on(same)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_reward_that_is_no_number_is_not_stored(kind: type[ReplayBuffer], bad: float) -> None:
    buffer = buffer_of(kind, 8)
    buffer.add(numbered(range(3)))
    before = {name: column.clone() for name, column in buffer.columns.items()}
    batch = numbered(range(4))
    batch.reward[2] = bad
    with pytest.raises(ValueError, match="reward: NaN or infinite"):
        buffer.add(batch)
    assert (len(buffer), buffer.position) == (3, 3)
    assert all(torch.equal(buffer.columns[name], column) for name, column in before.items())


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -1.0])
def test_a_sum_tree_takes_numbers_that_can_be_summed(bad: float) -> None:
    tree = SumTree(4)
    tree.set(torch.arange(4), torch.ones(4))
    huge = torch.full((2,), 1.7e308, dtype=torch.float64)  # finite, and their sum is not
    with pytest.raises(ValueError, match="finite numbers of at least 0, whose sum is finite"):
        tree.set(torch.arange(2), huge)
    with pytest.raises(ValueError, match="finite numbers of at least 0"):
        tree.set(torch.tensor([1, 2]), torch.tensor([2.0, bad]))
    assert tree.nodes[1:].tolist() == [4, 2, 2, 1, 1, 1, 1]


def test_priorities_that_were_saved_are_no_longer_those_of_the_replay() -> None:
    replay = buffer_of(PrioritizedReplayBuffer, 8)
    places = replay.add(numbered(range(4)))
    state = replay.state_dict()
    before = state["tree"].clone()
    replay.update_priorities(places, torch.full((4,), 9.0))
    assert torch.equal(state["tree"], before)


def test_what_a_replay_cannot_hold_is_refused() -> None:
    replay, good = buffer_of(PrioritizedReplayBuffer, 8), numbered(range(4))
    for name, value in {
        "reward": torch.full((4,), 1e39, dtype=torch.float64),  # infinite in 32 bits
        "discount": torch.full((4,), float("nan")),
        "item": torch.full((4,), N_ITEMS),
    }.items():
        with pytest.raises(ValueError, match=f"^{name}: (NaN|indices are within 0)"):
            replay.add(good._replace(**{name: value}))
    known = good.histories
    for odd, words in (
        (good._replace(item=good.item + 0.5), "item: indices are int64, not torch.float32"),
        (good._replace(reward=torch.ones(1)), r"reward: real numbers \[4\], not \[1\]"),
        (good._replace(reward=good.reward + 0j), r"reward: real numbers \[4\], not \[4\]"),
        (good._replace(discount=torch.full((4,), 7.0)), "discount: numbers are within 0 .. 1"),
        (good._replace(histories=replace(known, user=known.user + 2**40)), "user: indices are wi"),
        (good._replace(histories=replace(known, item=known.item - 99)), "items_before: indices ar"),
        (
            good._replace(next_histories=replace(known, rating=known.rating / 0)),
            "ratings_after: NaN",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            replay.add(odd)
    assert not len(replay)
    replay.add(good)
    for place in (-1, 4):
        with pytest.raises(ValueError, match=r"^places are within 0 \.\. 3"):
            replay.update_priorities(torch.tensor([place]), torch.tensor([5.0]))
    with pytest.raises(ValueError, match="at least one transition, not 0"):
        replay.sample(0, torch.Generator())


@pytest.mark.parametrize(
    "options", [{"alpha": -1}, {"beta": float("nan")}, {"beta": 2}, {"anneal": 0}, {"eps": 0}]
)
def test_exponents_that_cannot_be_are_refused(options) -> None:
    with pytest.raises(ValueError, match="alpha is 0 or more, beta within 0"):
        buffer_of(PrioritizedReplayBuffer, 8, **options)


@pytest.mark.parametrize("odd", [{"eps": 1e-46}, {"alpha": 200.0}, {"alpha": torch.inf}])
def test_priorities_that_round_to_0_are_refused(odd: dict) -> None:
    with pytest.raises(ValueError, match="is 0 in rounding"):
        PrioritizedReplayBuffer(1, 10, 8, **odd)
    with pytest.raises(ValueError, match="eps above 0"):
        PrioritizedReplayBuffer(1, 10, 8, eps=torch.inf)
