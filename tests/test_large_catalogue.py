"""Large catalogues: no table of all pairs, and forms that agree with the exact ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from toys import SMALL, SMALL_SET, changed, learn, log_of, mixed_log, pretrain, random_log

from recsys_rl.agent.build import build, pretrained_embeddings
from recsys_rl.agent.config import Config
from recsys_rl.agent.demonstrations import LogMoments, LogWindows
from recsys_rl.agent.losses import Catalogue, FullSoftmax, Sample, sampled_softmax
from recsys_rl.baselines.counts import refuse_gram
from recsys_rl.baselines.registry import BASELINES, check_baselines
from recsys_rl.data import memory_limit
from recsys_rl.data.ids import IdMap
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.splits import rows_of_users
from recsys_rl.embeddings import contexts
from recsys_rl.embeddings.cooccurrence import (
    Cooccurrence,
    like_components,
    refuse_likes,
    refuse_pairs,
)
from recsys_rl.embeddings.sparse import CentredOnes, Ones
from recsys_rl.envs.logged import LoggedEnv
from recsys_rl.evaluation.protocols import leave_one_out_metrics, sample_negatives
from recsys_rl.evaluation.sessions import cold_start_sessions

N_USERS, N_ITEMS = 4000, 30_000
LIMIT = 2e7  # dropout keeps 1.7e7 random numbers; users x items are 1.2e8, pairs of items 9e8


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def large_log() -> Interactions:
    """Users with 12 ratings each, all of them likes."""
    item = torch.rand(N_USERS, N_ITEMS // 100, generator=gen()).topk(12).indices
    item = (item * 100 + torch.arange(N_USERS).unsqueeze(1) % 100).flatten()
    user = torch.arange(N_USERS).repeat_interleave(12)
    ids = IdMap(np.arange(N_USERS)), IdMap(np.arange(N_ITEMS))
    return Interactions(user, item, torch.full((len(user),), 4.5), torch.arange(len(user)), *ids)


class Largest(TorchDispatchMode):
    """The most numbers that any tensor had."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        sizes = [part.numel() for part in tree_leaves(made) if isinstance(part, Tensor)]
        self.numbers = max(self.numbers, *sizes, 0)
        return made


@pytest.fixture
def few_contexts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Largest]:
    monkeypatch.setattr(contexts, "CONTEXTS", 32)
    with Largest() as largest:
        yield largest


SET = changed(SMALL_SET, {"pretrain.batch_size": 16})
SEQ = changed(
    SMALL,
    {"state.name": "DRR-seq", "state.embeddings": "pretrained", "pretrain.negatives": 16},
)


SAMPLED = changed(SET, {"pretrain.negatives": 64})


@pytest.mark.parametrize("config", [SET, SAMPLED, SEQ], ids=["DRR-set", "sampled", "DRR-seq"])
def test_no_table_of_all_pairs_is_made(
    few_contexts: Largest, monkeypatch: pytest.MonkeyPatch, config: Config
) -> None:
    monkeypatch.setattr("recsys_rl.agent.build.LINEAR_WIDTH", 8)
    log = large_log()
    training = build(config, log)
    pretrain(training, 2)
    training.agent.start_ddpg()
    list(learn(training, 2))
    some = torch.arange(log.n_users) < 20
    cold_start_sessions(training.agent.score, log.select(some[log.user]), (2,), draws=1)
    assert few_contexts.numbers < LIMIT


def test_baselines_that_run_on_large_catalogues_make_no_such_table(few_contexts: Largest) -> None:
    log = large_log()
    last = torch.zeros(len(log), dtype=torch.bool)
    last[torch.arange(20) * 12 + 11] = True
    for name, settings in (
        ("popularity", {}),
        ("PMF", {"k": 4}),
        ("Gaussian of likes", {"k": 8}),
    ):
        score = BASELINES[name](log.select(~last), **settings)
        leave_one_out_metrics(score, log.select(~last), log.select(last))
    assert few_contexts.numbers < LIMIT


# ---------------------------------------------------------------------------- against exact forms


def test_columns_are_those_of_the_exact_tables() -> None:
    log = mixed_log(20)
    items = contexts.most_frequent(log, 7)
    exact = Cooccurrence._information(log, 3)[:, items]
    torch.testing.assert_close(contexts.near(log, 3, items), exact, atol=1e-5, rtol=0)
    exact = Cooccurrence._shared(log)[:, items]
    torch.testing.assert_close(contexts.shared(log, items), exact, atol=1e-5, rtol=0)


def test_the_log_may_be_counted_and_the_table_made_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = mixed_log(20)
    items = contexts.most_frequent(log, 7)
    whole = contexts.near(log, 3, items), contexts.shared(log, items)
    monkeypatch.setattr(contexts, "_ROWS", 11)
    monkeypatch.setattr(contexts, "_COLUMNS", 3)
    torch.testing.assert_close((contexts.near(log, 3, items), contexts.shared(log, items)), whole)


def test_columns_of_a_matrix_of_low_rank_give_the_whole_of_it() -> None:
    """Of rank 5, and so its 9 columns say all; products of vectors are the matrix itself."""
    factors = torch.randn(40, 5, generator=gen())
    exact, items = factors @ factors.T, torch.arange(3, 30, 3)
    vectors = contexts.extended(exact[:, items], items, 7)
    assert vectors.shape == (40, 5)
    torch.testing.assert_close(vectors @ vectors.T, exact, atol=1e-3, rtol=1e-3)


def test_the_configuration_says_how_many_contexts() -> None:
    """As many as there are items are all of them, as without a number."""
    fields = {"state.name": "DRR-seq", "state.embeddings": "pretrained"}
    log, config = random_log(), changed(SMALL, fields)
    start = {
        n: pretrained_embeddings(config.with_field("state.contexts", n), log, gen()).item
        for n in (0, 7, log.n_items)
    }
    assert torch.equal(start[0], start[log.n_items])
    few = Cooccurrence(log, config.state.k, gen(), contexts=7).item
    assert torch.equal(start[7], few)
    assert not torch.equal(start[7], start[0])


def test_contexts_that_nothing_reads_are_refused() -> None:
    log = random_log()
    for name in ("DRR-ave", "DRR-seq"):  # both with random vectors
        config = changed(SMALL, {"state.name": name, "state.contexts": 7})
        with pytest.raises(ValueError, match=r"^state\.contexts is for vectors that start from co"):
            build(config, log)


def test_vectors_of_few_contexts_keep_blocks_together() -> None:
    """Items of one block are rated together; two thirds of the items are contexts."""
    rng = np.random.default_rng(0)
    rows = [
        (user, user % 4 * 6 + int(item), 4.0)
        for user in range(200)
        for item in rng.permutation(6)[:4]
    ]
    for reach in (10, None):
        start = Cooccurrence(log_of(rows, 200, 24), 4, gen(), reach, contexts=16)
        vectors = F.normalize(start.item, dim=1)
        same = torch.arange(24).unsqueeze(1) // 6 == torch.arange(24) // 6
        alike = vectors @ vectors.T
        assert float(alike[same].mean()) > 0.7
        assert float(alike[~same].mean()) < 0.1


def test_sparse_products_are_those_of_the_matrix() -> None:
    log = mixed_log(20)
    met = log.offsets.diff() > 0
    matrix = log.mask_of(met.nonzero().squeeze(1)).float()
    right, left = torch.randn(log.n_items, 3, generator=gen()), torch.randn(len(matrix), 3)
    ones = Ones(log, met)
    torch.testing.assert_close(ones.times(right), matrix @ right)
    torch.testing.assert_close(ones.transposed_times(left), matrix.T @ left)
    centred = (matrix - matrix.mean(0)) / len(matrix) ** 0.5
    torch.testing.assert_close(CentredOnes(ones) @ right, centred @ right)
    torch.testing.assert_close(CentredOnes(ones).T @ left, centred.T @ left)


def test_components_of_likes_are_the_same_without_the_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = random_log(30, 12)
    share, exact = like_components(log, 5, gen())
    monkeypatch.setattr(memory_limit, "DENSE_CELLS", 1)
    again, found = like_components(log, 5, gen())
    torch.testing.assert_close(again, share)
    torch.testing.assert_close(found @ found.T, exact @ exact.T, atol=1e-5, rtol=0)


# ---------------------------------------------------------------------------- memory


def test_a_hundred_thousand_items_are_allowed_where_pairs_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(memory_limit.SETTING, "4")
    refuse_pairs(100_000)
    log = large_log()
    refuse_likes(log)
    monkeypatch.setenv(memory_limit.SETTING, "0.1")
    with pytest.raises(ValueError, match=r"100,000 x 2,048, which takes .* GiB"):
        refuse_pairs(100_000)
    with pytest.raises(ValueError, match=r"34,000 x 256, which takes .* GiB"):
        refuse_likes(log)
    with pytest.raises(ValueError, match=r"30,000 x 30,000, which takes 23 GiB"):
        refuse_gram(log)
    monkeypatch.setenv(memory_limit.SETTING, "1")
    for name in ("EASE", "item-kNN", "HLinUCB"):
        with pytest.raises(ValueError, match=r"30,000, which takes .* GiB of memory where 1 GiB"):
            check_baselines([name], log)
    check_baselines(["Gaussian of likes", "popularity", "PMF", "iALS"], log)


def test_rows_of_users() -> None:
    log = random_log()
    assert torch.equal(rows_of_users(log, torch.tensor([3, 7])), (log.user == 3) | (log.user == 7))


def test_negatives_of_a_large_catalogue_are_uniform_different_and_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory_limit, "DENSE_CELLS", 1)
    log = random_log()
    users = torch.arange(log.n_users).repeat_interleave(2000)
    free = log.n_items - log.offsets.diff()[users]
    drawn = sample_negatives(log, users, 5, gen(), allow_fewer=True)
    assert torch.equal(drawn[:, 0] < 0, free < 5)
    drawn, users = drawn[free >= 5], users[free >= 5]
    assert not log.mask_of(users).gather(1, drawn).any()
    assert (drawn.sort(1).values.diff(dim=1) > 0).all()
    some = drawn[users == users[0]]
    unknown = (~log.mask_of(users[:1]))[0]
    for column in (some[:, 0], some[:, 4]):
        share = column.bincount(minlength=log.n_items)[unknown] / len(some)
        assert float((share * unknown.sum() - 1).abs().max()) < 0.3


# ---------------------------------------------------------------------------- sampled softmax


def test_a_sample_of_every_item_once_is_the_full_softmax() -> None:
    """Whatever the scale: all counts are 1."""
    vectors = torch.randn(9, 5, generator=gen(1), requires_grad=True)
    items = torch.randn(17, 5, generator=gen(2), requires_grad=True)
    target = torch.randint(17, (9,), generator=gen(3))
    sample = Sample(torch.randperm(17, generator=gen(4)), torch.zeros(17))
    losses = (
        sampled_softmax(vectors, items, target, sample),
        FullSoftmax.apply(vectors, items, target),
    )
    results = [(loss, *torch.autograd.grad(loss, (vectors, items))) for loss in losses]
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-6)


def test_the_sum_over_the_catalogue_is_estimated_without_bias() -> None:
    log = mixed_log(20)
    catalogue, generator = Catalogue(log, 10), gen()
    scores = torch.randn(log.n_items, generator=gen(1))
    draws = [catalogue.sample(generator) for _ in range(4000)]
    sums = torch.stack([(scores[s.item] - s.log_count).exp().sum() for s in draws])
    assert float(sums.mean()) == pytest.approx(float(scores.exp().sum()), rel=0.03)
    found = torch.stack([s.item for s in draws]).flatten().bincount(minlength=log.n_items)
    torch.testing.assert_close(found / 4000, catalogue.log_count.exp(), atol=0.05, rtol=0)


def test_streams_go_on_with_the_same_samples() -> None:
    log = random_log()
    streams = [LogWindows(log, 5, 20, gen(), negatives=6) for _ in range(2)]
    next(streams[0])
    streams[1].load_state_dict(streams[0].state_dict())
    one, two = (next(stream) for stream in streams)
    assert torch.equal(one.items, two.items)
    assert torch.equal(one.sample.item, two.sample.item)
    assert len(next(LogMoments(LoggedEnv(log, generator=gen()), 8, 6)).sample.item) == 6


def test_what_came_later_may_be_missing_in_what_was_saved() -> None:
    saved = SMALL.to_dict()
    del saved["pretrain"]["negatives"]
    assert not {"contexts", "dropout"} & set(saved["state"])
    assert Config.from_dict(saved) == SMALL
    few = SMALL.with_field("state.contexts", 7)
    assert few.to_dict()["state"]["contexts"] == 7
    assert Config.from_dict(few.to_dict()) == few
