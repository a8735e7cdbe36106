"""DRR-set against its formula, what it reads, and what it can learn."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from toys import SMALL_SET, changed, histories_of, learn, log_of, mixed_log, pretrain, weights_of

from recsys_rl.agent.build import build
from recsys_rl.data.histories import SHOWN, Histories
from recsys_rl.data.interactions import Interactions
from recsys_rl.embeddings.cooccurrence import EMBEDDING_STD, Cooccurrence
from recsys_rl.states.drr_set import DRRset
from recsys_rl.states.layers import PooledDropout
from recsys_rl.states.registry import STATES

N_ITEMS, K = 24, 5
ALONE = changed(SMALL_SET, {"state.linear": "", "state.embeddings": "random"})


@pytest.fixture(autouse=True)
def small_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state draws four million numbers for its dropout; fewer do here."""
    monkeypatch.setattr(PooledDropout, "SIZE", 2**12)


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drr_set(n: int = 6, seed: int = 0) -> DRRset:
    """A state whose every number is random, so that no part of it is idle."""
    state = DRRset(3, N_ITEMS, K, n)
    state.initialise(gen(seed))
    with torch.no_grad():
        for parameter in state.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=gen(seed))
        state.item_vectors.weight[N_ITEMS] = 0
    return state.eval()


def seen(*users: tuple[list[int], list[int]], elapsed: float | None = None) -> Histories:
    """Users as (liked items, rejected items); elapsed: the share of the session that is over."""
    pairs = [
        [(i, 5.0) for i in liked] + [(i, SHOWN) for i in rejected] for liked, rejected in users
    ]
    histories = histories_of(*pairs, n_items=N_ITEMS)
    time = None if elapsed is None else torch.full((len(users),), elapsed)
    return replace(histories, elapsed=time)


@pytest.mark.parametrize("elapsed", [None, 0.0, 0.75])
def test_the_state_against_its_formula(elapsed: float | None) -> None:
    state = drr_set()
    users = [([1, 2, 3], [4, 5]), ([], [6]), ([7], []), ([], []), ([0, 23, 9, 8, 2, 1], [3])]
    out = state(seen(*users, elapsed=elapsed))
    vectors = state.item_vectors.weight[:, :K]
    for row, sets in enumerate(users):
        sums, counts = [], []
        for items in sets:
            total = vectors[items].sum(0) / max(1, len(items)) ** 0.5
            sums.append(total * 0.5 / EMBEDDING_STD)
            counts.append((torch.tensor([len(items) + 1.0]).log() - 2) / 2)
        x = state.read(torch.cat([*sums, *counts, torch.tensor([elapsed or 0.0])]))
        x = x + state.narrow(F.silu(state.widen(state.inner_norm(x))))
        expected = state.out(state.norm(x)) + state.skip_weight * sums[0]
        torch.testing.assert_close(out[row, :K], expected, rtol=1e-4, atol=1e-4)
        assert out[row, K] == 1
    assert out.shape[1] == state.size == K + 1


@pytest.mark.parametrize(
    "same",
    [
        [(3, 5.0), (1, 5.0), (2, 5.0), (5, SHOWN), (4, SHOWN)],
        [(4, SHOWN), (1, 5.0), (5, SHOWN), (2, 5.0), (3, 5.0)],
        [(1, 4.0), (2, 5.0), (3, 4.5), (4, 1.0), (5, 3.5)],
        [(N_ITEMS, 0.0), (1, 5.0), (2, 5.0), (N_ITEMS, 0.0), (3, 5.0), (4, SHOWN), (5, SHOWN)],
    ],
    ids=["order of each", "order of both", "stars", "padding"],
)
def test_neither_order_nor_padding_nor_stars_are_read(same: list[tuple[int, float]]) -> None:
    """A low rating is a rejection, as an item that was shown in vain."""
    state, first = drr_set(), seen(([1, 2, 3], [4, 5]))
    again = histories_of(same, n_items=N_ITEMS)
    torch.testing.assert_close(state(again), state(first), rtol=1e-4, atol=1e-4)


def test_the_latest_n_likes_and_rejections_are_read() -> None:
    state = drr_set(n=2)
    both = seen(([1, 2], [4, 5]), ([0, 9, 1, 2], [7, 4, 5]))
    torch.testing.assert_close(*state(both), rtol=1e-4, atol=1e-4)


def test_the_time_is_read_and_is_never_dropped() -> None:
    """Two moments of a session that differ in it alone, and in training, too."""
    state, users = drr_set(), [([1, 2, 3], [4, 5])] * 2
    early, late = (state(seen(*users, elapsed=share)) for share in (0.0, 0.5))
    assert (early - late).abs().max() > 1e-2
    state.train()
    state.dropout.pool = torch.zeros_like(state.dropout.pool)  # everything else is
    early, late = (state(seen(*users, elapsed=share)) for share in (0.0, 0.5))
    assert (early - late).abs().max() > 1e-2


def test_the_user_is_not_read() -> None:
    state, first = drr_set(), seen(([1, 2], [4]))
    known = Histories(torch.tensor([0]), first.item, first.rating)
    assert torch.equal(state(known), state(first))


def test_every_item_of_both_sets_is_read() -> None:
    users = [([1, 2, 3], [4, 5]), ([4, 5], [1, 2, 3]), ([1, 2], [4, 5]), ([1, 2, 3], [4])]
    users += [([1, 2, 3], []), ([], [4, 5]), ([0, 2, 3], [4, 5]), ([1, 2, 3], [4, 6]), ([], [])]
    assert (torch.pdist(drr_set()(seen(*users))) > 1e-2).all()


def test_the_last_column_is_a_bias_and_no_input() -> None:
    state, histories = drr_set(), seen(([1, 2], [4]))
    before = state(histories)
    with torch.no_grad():
        state.item_vectors.weight[:, -1] += 5
    assert torch.equal(state(histories), before)


def test_gradients_reach_the_items_of_the_history_and_no_others() -> None:
    state = drr_set()
    state(seen(([1, 2], [4]), ([2], []))).square().sum().backward()
    gradient = state.item_vectors.weight.grad
    assert gradient.any(1).nonzero().squeeze(1).tolist() == [1, 2, 4]
    assert not gradient[:, -1].any()


def test_a_new_state_starts_small_without_biases_and_from_its_generator() -> None:
    first, again, other = (DRRset(3, N_ITEMS, 64, 6) for _ in range(3))
    for state, seed in ((first, 0), (again, 0), (other, 1)):
        state.initialise(gen(seed))
    for one, two, three in zip(*(s.parameters() for s in (first, again, other)), strict=True):
        assert torch.equal(one, two)
        assert one.dim() < 2 or not torch.equal(one, three)  # norms start as constants
    vectors = first.item_vectors.weight.detach()
    assert float(vectors[:-1, :-1].std()) == pytest.approx(EMBEDDING_STD, rel=0.1)
    assert not vectors[:, -1].any()
    assert not vectors[-1].any()


def test_the_state_starts_from_cooccurrence() -> None:
    log = mixed_log()
    start = Cooccurrence(log, K, gen(), reach=None)
    state = DRRset(log.n_users, N_ITEMS, K, 6)
    state.initialise(gen())
    state.start_from(start)
    assert torch.equal(state.item_vectors.weight[:-1, :K], start.item)
    assert torch.equal(state.item_vectors.weight[:-1, K], start.bias)
    assert not state.item_vectors.weight[-1].any()


def test_dropout_only_in_training() -> None:
    state, histories = drr_set(), seen(([1, 2], [4]))
    assert torch.equal(state(histories), state(histories))
    state.train()
    assert not torch.equal(state(histories), state(histories))


def test_the_state_has_a_name() -> None:
    assert STATES["DRR-set"] is DRRset


# ---------------------------------------------------------------------------- learning


def moved(scale: float, ddpg: bool, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """How far one update moves each weight; the first step of Adam is as long as its rate."""
    monkeypatch.setattr(DRRset, "embedding_lr_scale", scale)
    training = build(ALONE, mixed_log())
    before = weights_of(training.agent)
    if ddpg:
        training.agent.start_ddpg()
        list(learn(training, 1))
    else:
        pretrain(training, 1)
    return {name: after - before[name] for name, after in weights_of(training.agent).items()}


@pytest.mark.parametrize("ddpg", [False, True])
def test_the_item_vectors_learn_more_slowly(ddpg: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    network = "critic" if ddpg else "actor"
    vectors = f"{network}.state.item_vectors.weight"
    whole, slow, still = (moved(scale, ddpg, monkeypatch) for scale in (1.0, 0.25, 0.0))
    assert whole[vectors].any()
    torch.testing.assert_close(slow[vectors], whole[vectors] / 4, rtol=1e-3, atol=1e-7)
    assert not still[vectors].any()
    others = [name for name in whole if name.startswith(f"{network}.") and name != vectors]
    assert any(whole[name].any() for name in others)
    assert all(torch.equal(slow[name], whole[name]) for name in others)


def two_groups(n_users: int = 40) -> Interactions:
    """All like items 0 to 3. One half like 4 to 13 and not 14 to 23, the other the reverse."""
    rows = []
    for user in range(n_users):
        liked = range(4, 14) if user % 2 else range(14, 24)
        rows += [(user, item, 5.0) for item in (*range(4), *liked)]
    return log_of(rows, n_users, N_ITEMS)


def test_the_agent_learns_what_rejections_say() -> None:
    """The liked item says nothing about a user's half, the rejected one everything."""
    changes = {"state.embeddings": "pretrained", "pretrain.updates": 100, "pretrain.lr": 1e-2}
    training = build(changed(ALONE, changes | {"env.n_seed": 1, "env.sessions": 32}), two_groups())
    pretrain(training, 100)
    first, second = training.agent.score(seen(([0], [5]), ([0], [15])))
    assert first[14:].min() > first[4:14].max()
    assert second[4:14].min() > second[14:].max()
