"""DRR-seq-clock: no position sees beyond its own request, and what is hidden is not read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from toys import SMALL, changed, pretrain, random_log, weights_of

from recsys_rl.agent.build import build
from recsys_rl.data.histories import UNKNOWN_TIME, Histories, Times
from recsys_rl.data.interactions import Interactions
from recsys_rl.evaluation.protocols import histories_before, leave_one_out_metrics
from recsys_rl.releasing import release
from recsys_rl.serving import Recommender
from recsys_rl.states import drr_seq_clock
from recsys_rl.states.drr_seq import DRRseq
from recsys_rl.states.drr_seq_clock import BUCKETS, DRRseqClock, PairBias, bucket
from recsys_rl.states.layers import PooledDropout
from recsys_rl.tasks.registry import task_of

N_ITEMS, K, N = 13, 8, 6


@pytest.fixture(autouse=True)
def _small_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PooledDropout, "SIZE", 2**12)


def clock(seed: int = 0) -> DRRseqClock:
    """A state whose every number is random, so that no part of it is idle."""
    generator = torch.Generator().manual_seed(seed)
    state = DRRseqClock(3, N_ITEMS, K, N)
    state.initialise(generator)
    with torch.no_grad():
        for parameter in state.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
        state.item_vectors.weight[N_ITEMS] = 0
    return state.eval()


def some(size: int, length: int) -> tuple[torch.Tensor, Times]:
    """Items, and times with gaps of nothing to years; the request is what follows."""
    generator = torch.Generator().manual_seed(1)
    items = torch.randint(N_ITEMS, (size, length), generator=generator)
    gaps = (torch.rand(size, length + 1, generator=generator) * 18).exp().long() - 1
    moments = 978_300_000 + gaps.cumsum(1)
    return items, Times(moments[:, :-1], moments[:, 1:])


def histories_of(state: DRRseqClock, items: torch.Tensor, times: Times) -> Histories:
    """Left-padded by two places, the request that of the last item."""
    pad = torch.nn.functional.pad
    return Histories(
        torch.full((len(items),), 3),
        pad(items, (2, 0), value=N_ITEMS),
        pad(torch.full(items.shape, 2.0), (2, 0)),
        time=pad(times.rated, (2, 0), value=UNKNOWN_TIME),
        request=times.request[:, -1],
    )


def test_buckets_tell_a_page_a_sitting_and_a_week_apart() -> None:
    moments = torch.tensor([0, 1, 30, 3600, 86_400, 604_800, 10**15])
    found = bucket(moments, torch.zeros_like(moments))
    assert (found[1:] > found[:-1]).all()
    assert (found[0], found[-1]) == (1, BUCKETS)
    assert bucket(moments, torch.full_like(moments, UNKNOWN_TIME)).eq(0).all()
    assert bucket(torch.tensor(UNKNOWN_TIME), torch.tensor(5)) == 0
    assert bucket(torch.tensor(3), torch.tensor(5)) == 1, "time that runs backwards is no time"


@pytest.mark.parametrize("moved", range(N))
def test_a_position_sees_no_later_item_and_no_request_beyond_its_own(moved: int) -> None:
    """A rating's own time is the request of the position before: it may be seen from there on."""
    state, (items, times) = clock(), some(4, N)
    later = times.rated.clone()
    later[:, moved:] += 10**9
    request = times.request.clone()
    request[:, max(0, moved - 1) :] += 10**9
    other = items.clone()
    other[:, moved] = (items[:, moved] + 1) % N_ITEMS
    first = max(0, moved - 1)
    before, after = state.sequence(items, times), state.sequence(other, Times(later, request))
    torch.testing.assert_close(after[:, :first], before[:, :first])
    asked = request.clone()
    asked[:, :moved] = times.request[:, :moved]
    only_request = state.sequence(items, Times(times.rated, asked))
    torch.testing.assert_close(only_request[:, :moved], before[:, :moved])
    assert ((only_request - before)[:, moved].abs().amax(1) > 1e-5).all(), "its own is read"


def test_a_history_gives_the_sequence_at_its_last_item() -> None:
    state, (items, times) = clock(), some(5, 4)
    histories = histories_of(state, items, times)
    torch.testing.assert_close(state(histories), state.sequence(items, times)[:, -1])
    past = Times(times.rated, torch.full_like(times.request, UNKNOWN_TIME))
    told_less = state(replace(histories, request=None))
    torch.testing.assert_close(told_less, state.sequence(items, past)[:, -1])
    assert ((told_less - state(histories)).abs().amax(1) > 1e-5).all()


def test_what_is_hidden_is_the_bucket_of_the_unknown_and_no_times_are_all_hidden() -> None:
    state, (items, times) = clock(), some(5, 4)
    unknown = torch.full_like(times.rated, UNKNOWN_TIME)
    nothing = state.sequence(items)
    torch.testing.assert_close(state.sequence(items, Times(unknown, unknown)), nothing)
    alone = state(histories_of(state, items, times).without_clock())
    torch.testing.assert_close(alone, nothing[:, -1])


def test_with_what_the_clock_is_worth_at_nothing_it_is_drr_seq() -> None:
    state, plain = (cls(3, N_ITEMS, K, N).eval() for cls in (DRRseqClock, DRRseq))
    for each in (state, plain):
        each.initialise(torch.Generator().manual_seed(0))
    items, times = some(5, N)
    torch.testing.assert_close(state.sequence(items, times), plain.sequence(items))


def test_training_hides_the_request_in_some_rows_and_all_times_in_others() -> None:
    state, (_, times) = clock(), some(400, 3)
    found = state._hidden(times)
    no_times = (found.rated == UNKNOWN_TIME).all(1)
    no_request = (found.request == UNKNOWN_TIME).all(1)
    assert not (no_times & ~no_request).any()
    assert no_times.float().mean() == pytest.approx(drr_seq_clock.NO_TIMES, abs=0.1)
    hidden = drr_seq_clock.NO_TIMES + drr_seq_clock.NO_REQUEST
    assert no_request.float().mean() == pytest.approx(hidden, abs=0.1)
    assert torch.equal(found.rated[~no_times], times.rated[~no_times])
    assert torch.equal(found.request[~no_request], times.request[~no_request])


def test_the_gathered_bias_has_the_gradient_of_the_plain_one() -> None:
    generator = torch.Generator().manual_seed(0)
    tables = [torch.randn(2, n, generator=generator).requires_grad_() for n in (N, BUCKETS + 1)]
    items, times = some(3, N)
    _, pairs = clock()._read(items, times)
    weights = torch.rand(6, N, N, generator=generator)
    gathered = PairBias.apply(*tables, pairs)
    ago = pairs // (BUCKETS + 1)
    later = ago == N
    plain = tables[0][:, ago.clamp(max=N - 1)] + tables[1][:, pairs % (BUCKETS + 1)]
    plain = plain.masked_fill(later, -torch.inf).flatten(0, 1)
    assert torch.equal(gathered, plain)
    for out in (gathered, plain):
        out.softmax(2).mul(weights).sum().backward()
    ours = [t.grad.clone() for t in tables]
    for table in tables:
        table.grad = None
    PairBias.apply(*tables, pairs).softmax(2).mul(weights).sum().backward()
    for table, both in zip(tables, ours, strict=True):
        torch.testing.assert_close(2 * table.grad, both)


# ------------------------------------------------------------------- log, training, release


def dated_log(n_users: int = 12) -> Interactions:
    """Users who pause for a day after their sixth rating; some rate two items at once."""
    log = random_log(n_users)
    place = torch.arange(len(log)) - log.offsets[log.user]
    return replace(log, timestamp=10**9 + 100 * (place // 2) + 100_000 * (place >= 6))


CONFIG = changed(SMALL, {"state.name": "DRR-seq-clock", "state.n": 6, "pretrain.batch_size": 64})


def test_the_whole_path_and_the_same_seed_gives_the_same_agent(tmp_path) -> None:
    task = task_of(dated_log(), "leave-one-out")
    trainings = [task.build(CONFIG) for _ in range(2)]
    histories = [task.fit(training).history for training in trainings]
    ours, theirs = (weights_of(training.agent) for training in trainings)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert {"ndcg@10", "ndcg@10, time of the request", "mean ndcg@10"} <= set(histories[0])
    state = trainings[0].agent.actor.state
    for vectors in (state.past_vectors, state.request_vectors):
        assert vectors.weight.abs().sum() > 0, "pretraining reads the clock"
    found = task.tested(trainings[0].agent)
    assert list(found) == [
        "leave-one-out",
        "leave-one-out, times of past ratings",
        "leave-one-out, time of the request",
    ]
    plain = task.build(changed(CONFIG, {"state.name": "DRR-seq"})).agent
    assert list(task.tested(plain)) == ["leave-one-out"]


def test_rows_without_times_are_learned_in_their_order() -> None:
    task = task_of(dated_log(), "leave-one-out")
    trained = []
    for each in (task, task.without_clock()):
        training = each.build(CONFIG)
        pretrain(training, 6)
        trained.append((each, training.agent))
    (_, dated), (undated, agent) = trained
    assert list(undated.tested(agent)) == ["leave-one-out"]
    request = agent.actor.state.request_vectors.weight
    assert request[0].abs().sum() > 0 == request[1:].abs().sum()
    assert dated.actor.state.request_vectors.weight[1:].abs().sum() > 0


@pytest.fixture(scope="module")
def trained() -> tuple[Interactions, object]:
    log = dated_log()
    training = build(changed(CONFIG, {"pretrain.updates": 30, "pretrain.lr": 0.02}), log)
    pretrain(training, 30)
    return log, training.agent


@pytest.fixture
def recommender(trained, tmp_path) -> Recommender:
    log, agent = trained
    words = {"dataset": "toys", "command": "make toys", "protocol": "none", "metrics": {}}
    release(agent, log, tmp_path / "toys", **words)
    return Recommender.load(tmp_path / "toys")


def test_serving_scores_as_the_evaluation_does(trained, recommender) -> None:
    log, _ = trained
    last = log.offsets[1:] - 1
    history, target = log.select(~_rows(log, last)), log.select(_rows(log, last))
    rows = torch.arange(len(target))
    ids, times = [], []
    for user in target.user:
        mine = history.user == user
        ids.append(log.item_ids.ids[history.item[mine].numpy()].tolist())
        times.append(history.timestamp[mine].tolist())
    at = target.timestamp.tolist()
    for reads, told in {
        "order": (None, None),
        "past": (times, None),
        "request": (times, at),
    }.items():
        expected = recommender.score(histories_before(history, target, rows, reads))
        found = torch.from_numpy(recommender.scores(ids, *told))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    one, other = (leave_one_out_metrics(recommender.score, history, target, reads=r) for r in
                  ("order", "request"))  # fmt: skip
    assert not torch.equal(one.top, other.top)


def _rows(log: Interactions, rows: torch.Tensor) -> torch.Tensor:
    mask = torch.zeros(len(log), dtype=torch.bool)
    mask[rows] = True
    return mask


def test_without_times_it_says_once_that_it_reads_the_order_alone(recommender, capsys) -> None:
    recommender.scores([[2, 5]])
    recommender.recommend([2, 5])
    assert capsys.readouterr().err.count("reads the order alone") == 1
    recommender.scores([[2, 5]], times=[[1, 2]])
    assert capsys.readouterr().err == ""


def test_times_go_with_the_items_that_are_known_and_with_the_latest_of_repeats(recommender) -> None:
    with pytest.warns(UserWarning, match="ignored"):
        found = recommender.scores([[2, 5, 1, 2]], [[1000, 2000, 3000, 4000.7]], [4100])
    expected = recommender.scores([[5, 2]], [[2000, 4000]], [4100])
    assert (found == expected).all()
    batch = recommender.scores([[5, 2], [8]], [[2000, 4000], [7]], [4100, 9])
    torch.testing.assert_close(torch.tensor(batch[0]), torch.tensor(expected[0]))


@pytest.mark.parametrize(
    ("times", "at", "sentence"),
    [
        ([[1]], None, r"times\[0\] has 1 times for 2 items"),
        ([[1, 2], [3]], None, "2 lists of times for 1 histories"),
        ([[2, 1]], None, r"times\[0\] runs backwards"),
        ([[1, float("nan")]], None, "below 2\\*\\*53, not nan"),
        ([["1", "2"]], None, "must be a list of numbers of seconds"),
        ([[True, 2]], None, "must be a list of numbers of seconds"),
        ([[np.True_, 2]], None, "must be a list of numbers of seconds"),
        ([[1, 2]], [1], r"at\[0\] is 1, before the last rating"),
        ([[1, 2]], [3, 4], "`at` has 2 moments for 1 histories"),
        ([[1, 2]], [float("inf")], "at must be numbers of seconds"),
        (None, [3], "needs `times`"),
    ],
)
def test_times_that_cannot_be_are_refused(recommender, times, at, sentence) -> None:
    with pytest.raises(ValueError, match=sentence) as error:
        recommender.scores([[2, 5]], times=times, at=at)
    assert "\n" not in str(error.value)
