"""Several processes train one agent: they follow one with the whole batch, and may be killed."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import psutil
import pytest
import torch
from synthetic import write_movielens
from torch import Tensor, multiprocessing
from toys import SMALL, SMALL_SET, changed, mixed_log

from recsys_rl import train as command_line
from recsys_rl.agent import rank_states
from recsys_rl.agent.build import Training, build
from recsys_rl.agent.checkpoint import Checkpoints
from recsys_rl.agent.config import Config
from recsys_rl.agent.ddpg import DDPG
from recsys_rl.agent.replay import PrioritizedReplayBuffer, ReplayBuffer, Transitions
from recsys_rl.agent.training import Callback, Interrupted, Progress, ddpg_update, train
from recsys_rl.data import ranks
from recsys_rl.data.histories import Histories
from recsys_rl.data.splits import leave_one_out
from recsys_rl.evaluation.protocols import (
    leave_one_out_metrics,
    random_positive_metrics,
    random_positive_split,
    ranking_task,
    sample_negatives,
    temporal_metrics,
)
from recsys_rl.evaluation.sessions import cold_start_sessions
from recsys_rl.states.layers import PooledDropout
from recsys_rl.states.linear import GatedLinear

UPDATES = 25  # of each stage
FEW = {"pretrain.updates": UPDATES, "ddpg.updates": UPDATES}
AGENTS = {
    "DRR-set": changed(SMALL_SET, FEW | {"ddpg.bc_weight": 0.5}),
    "DRR-seq": changed(SMALL, FEW | {"state.name": "DRR-seq", "pretrain.batch_size": 64}),
    "paper": changed(SMALL, FEW | {"ddpg.gradient": "deterministic", "ddpg.ou_sigma": 0.2}),
}
ROOT = Path(__file__).parent.parent


# ------------------------------------------------------------------ two halves, and the whole batch


Rows = Callable[[int], Tensor]
WHOLE: Rows = torch.arange
HALVES: list[Rows] = [  # of two sizes, so that an average without weights is seen
    lambda count: torch.arange(count)[torch.arange(count) % 3 > 0],
    lambda count: torch.arange(0, count, 3),
]


def part_of(batch: NamedTuple, some: Tensor) -> NamedTuple:
    """Some rows of a demonstration: of its tensors [B, ...], its histories and what is nested."""

    def taken(part: object) -> object:
        if isinstance(part, tuple):
            return part_of(part, some)
        if part is None:
            return None
        return part.at(some) if isinstance(part, Histories) else part[some]

    return type(batch)(*map(taken, batch))


def demonstrated(stream: Iterator[NamedTuple], rows: Rows) -> NamedTuple:
    batch = next(stream)
    return part_of(batch, rows(len(batch[1])))


def weights_of(agent: DDPG) -> Tensor:
    """All but a bias that a softmax does not see: its gradient is rounding errors alone, and Adam
    makes steps of them that are as long as others."""
    named = [each for pair in agent.pairs().values() for each in pair[0].named_parameters()]
    seen = [p for name, p in named if not name.endswith("query_key_value.bias")]
    return torch.cat([p.detach().reshape(-1) for p in seen])


def followed(config: Config, rows: Rows) -> Tensor:
    """The weights after every update, from the same batches, of which `rows` are learned from.

    The batches are those of another agent, which does not learn: a choice between two items that
    tip over by a rounding error would change what is learned from.
    """
    log = mixed_log()
    player, learner = build(config, log), build(config, log).agent
    chance, seen = torch.Generator().manual_seed(0), []
    for _ in range(UPDATES):
        learner.pretrain(demonstrated(player.demonstrations, rows))
        seen.append(weights_of(learner))
    learner.start_ddpg()
    ddpg_update(*player)  # it fills the replay
    for _ in range(UPDATES):
        batch, weights, _ = player.replay.sample(16, chance)
        demonstration = demonstrated(player.demonstrations, rows)
        learner.update(batch.at(rows(16)), weights[rows(16)], demonstration)
        seen.append(weights_of(learner))
    return torch.stack(seen)


def without_chance(patch: pytest.MonkeyPatch) -> None:
    """Nothing is masked at random: two halves would draw other masks than the whole."""
    patch.setattr(PooledDropout, "forward", lambda self, x: x)
    patch.setattr(PooledDropout, "SIZE", 1)
    patch.setattr(GatedLinear, "MASKED", 0.0)


def surroundings(rank: int, port: int) -> dict[str, str]:
    """What torchrun tells a process."""
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": port}
    return {name: str(value) for name, value in numbers.items()} | {"MASTER_ADDR": "127.0.0.1"}


def one_of_two(rank: int, port: int, folder: Path) -> None:
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in surroundings(rank, port).items():
            patch.setenv(name, value)
        with ranks.joined():
            patch.setattr(PooledDropout, "SIZE", 2**12)
            found = stopped_and_gone_on(folder) | begun_by_one(folder) | judged()
            without_chance(patch)
            patch.setattr(ranks, "own_streams", lambda *_: None)  # both make the same batches
            patch.setattr(ranks, "share", lambda total, _: total)
            found |= {name: followed(config, HALVES[rank]) for name, config in AGENTS.items()}
    torch.save(found, folder / f"{rank}.pt")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def of_two(tmp_path_factory) -> list[dict[str, Tensor]]:
    """What two processes found, by rank."""
    folder = tmp_path_factory.mktemp("two")
    with pytest.raises(Interrupted):
        train_toy(checkpoints_in(folder / "one"), stop_at(7))
    multiprocessing.spawn(one_of_two, (free_port(), folder), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


def test_two_ranks_with_half_of_each_batch_follow_one_with_the_whole(of_two, monkeypatch):
    without_chance(monkeypatch)
    first, second = of_two
    for name, config in AGENTS.items():
        assert torch.equal(first[name], second[name]), "the ranks stay together, to the last bit"
        whole = followed(config, WHOLE)
        assert float((first[name] - whole).abs().max()) < 1e-5, name
        assert float((whole[-1] - whole[0]).abs().max()) > 1e-3, "it has learned"


# -------------------------------------------------------------------------- users are shared out


def judged() -> dict[str, Tensor]:
    """What the protocols find, three users at a time, and how many users were scored."""
    log, scored = mixed_log(), []
    table = torch.rand(log.n_users + 1, log.n_items, generator=torch.Generator().manual_seed(0))

    def score(histories: Histories) -> Tensor:
        scored.append(len(histories))
        return table[histories.user] + table[histories.item[:, 0].clamp(max=9)]

    split = leave_one_out(log)
    history, target = ranking_task(split, "test")
    positives = random_positive_split(log)
    few = {"batch_size": 3}
    negatives = sample_negatives(log, positives.test.user, 2, torch.Generator().manual_seed(0))
    found = [
        leave_one_out_metrics(score, history, target, **few),
        random_positive_metrics(score, positives.train, positives.test, negatives, **few),
        temporal_metrics(score, history, target, **few),
        cold_start_sessions(score, log, horizons=(2, 4), **few),
    ]
    parts = [torch.from_numpy(v).double() for each in found for v in each.metrics.values()]
    parts += [each.top.double().reshape(-1) for each in found]
    return {"judged": torch.cat(parts), "scored": torch.tensor(sum(scored))}


def test_every_rank_scores_a_share_of_the_users_and_all_know_the_figures(of_two):
    alone = judged()
    for found in of_two:
        assert torch.equal(found["judged"].nan_to_num(-1), alone["judged"].nan_to_num(-1))
    shares = [int(found["scored"]) for found in of_two]
    assert sum(shares) == alone["scored"]
    assert min(shares) > 0.3 * alone["scored"]


# ------------------------------------------------------- stopped, and gone on with two and with one

BRIEF = changed(SMALL_SET, {"pretrain.updates": 4, "ddpg.updates": 6, "validate_every": 3})


def checkpoints_in(folder: Path) -> Checkpoints:
    return Checkpoints(folder, "toy", BRIEF, mixed_log(), every=3600)


def train_toy(
    checkpoints: Checkpoints | None, *callbacks: Callback
) -> tuple[Training, pd.DataFrame]:
    """A short training in this process, or of this rank."""
    training = build(BRIEF, mixed_log())
    how = {"validate": lambda agent: {"score": float(agent.updated)}, "metric": "score"}
    trained = train(training, checkpoints=checkpoints, callbacks=callbacks, **how)
    return training, trained.history


def stop_at(update: int) -> Callback:
    def callback(progress: Progress) -> None:
        if progress.update == update:
            signal.raise_signal(signal.SIGTERM)

    return callback


def end_of(training: Training) -> Tensor:
    """Weights, what was played, and where the streams are."""
    replay = training.replay.columns
    streams = [training.agent.generator.get_state(), training.environment.generator.get_state()]
    parts = [weights_of(training.agent), replay["items_after"], replay["reward"], *streams]
    return torch.cat([part.double().reshape(-1) for part in parts])


def stopped_and_gone_on(folder: Path) -> dict[str, Tensor]:
    """In either stage, by a signal to one of the two."""
    checkpoints = checkpoints_in(folder / "two")
    for update in (3, 7):
        with pytest.raises(Interrupted, match=f"stopped after update {update} of 10"):
            train_toy(checkpoints, *[stop_at(update)] * ranks.rank())
    whole, in_pieces = (train_toy(where)[0] for where in (None, checkpoints))
    return {"whole": end_of(whole), "in pieces": end_of(in_pieces)}


def begun_by_one(folder: Path) -> dict[str, Tensor]:
    training, history = train_toy(checkpoints_in(folder / "one"))
    assert history["update"].tolist() == list(range(11))
    return {"begun by one": weights_of(training.agent), "its end": end_of(training)}


def test_two_ranks_that_were_stopped_end_as_those_that_were_not(of_two):
    for found in of_two:
        assert torch.equal(found["whole"], found["in pieces"])
    assert not torch.equal(of_two[0]["whole"], of_two[1]["whole"]), "sessions are a rank's own"


def test_two_ranks_go_on_with_what_one_process_began(of_two):
    first, second = of_two
    assert torch.equal(first["begun by one"], second["begun by one"])
    assert not torch.equal(first["its end"], second["its end"])


# ------------------------------------------------------------------------- streams, shares, replays


def test_a_process_alone_shares_with_nobody():
    value, generator = torch.tensor(2.0), torch.Generator().manual_seed(3)
    before = generator.get_state()
    ranks.own_streams([generator], 0)
    assert torch.equal(generator.get_state(), before)
    assert ranks.share(7, "sessions") == 7
    assert ranks.weighted(value, lambda: 0) is ranks.mean(value, 1) is value
    assert ranks.averaged([], value) is value
    assert ranks.largest(0.5) == ranks.from_first(lambda: 0.5) == 0.5
    assert ranks.gathered("mine") == ranks.own(["mine"]) == ranks.together(["mine"]) == ["mine"]


def test_every_rank_has_a_share_and_a_stream_of_its_own(monkeypatch):
    monkeypatch.setattr(ranks, "count", lambda: 3)
    shares, drawn = [], []
    for rank in range(3):
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        shares.append(ranks.share(8, "env.sessions"))
        generators = [torch.Generator().manual_seed(0) for _ in range(2)]
        ranks.own_streams(generators, 0)
        drawn.append([float(torch.rand((), generator=each)) for each in generators])
    assert shares == [3, 3, 2]
    assert drawn[0][0] == drawn[0][1], "rank 0 goes on with what it would draw alone"
    assert len({*drawn[0], *drawn[1], *drawn[2]}) == 5
    with pytest.raises(ValueError, match="env.sessions is 2: 3 processes cannot share that"):
        ranks.share(2, "env.sessions")


def test_all_sessions_of_a_rank_are_its_share(monkeypatch):
    monkeypatch.setattr(ranks, "count", lambda: 2)
    monkeypatch.setattr(ranks, "from_first", lambda make: make())
    config = changed(SMALL_SET, {"pretrain.holdout_share": 0.5, "env.sessions": 8})
    training = build(config, mixed_log(n_users=24))
    demonstrations = training.demonstrations
    assert training.environment.sessions == demonstrations.later.sessions == 4


def test_only_rank_0_says_that_a_checkpoint_is_due(monkeypatch, tmp_path):
    config = changed(SMALL, {"pretrain.updates": 3, "ddpg.updates": 0})
    training = build(config, mixed_log())
    monkeypatch.setattr(ranks, "rank", lambda: 1)
    saved = []
    monkeypatch.setattr(rank_states, "save", lambda *parts: saved.append(1))
    late = Checkpoints(tmp_path, "toy", config, mixed_log(), every=1e-9)
    monkeypatch.setattr(rank_states, "load", lambda *parts: None)
    train(training, checkpoints=late)
    assert len(saved) == 2, "before the first update and after the last, as every rank"


def filled(kind: type[ReplayBuffer], capacity: int, first: int, count: int) -> ReplayBuffer:
    """A buffer to which items first, first + 1, ... were added."""
    replay = kind(2, 99, capacity)
    for item in range(first, first + count):
        told = Histories(torch.tensor([0]), torch.tensor([[99, 1]]), torch.tensor([[0.0, 5.0]]))
        one = torch.ones(1)
        replay.add(Transitions(told, torch.tensor([item]), one, told, one))
    return replay


@pytest.mark.parametrize("kind", [ReplayBuffer, PrioritizedReplayBuffer])
def test_replays_are_dealt_out_to_another_number_of_ranks(kind):
    states = [filled(kind, 4, 10, 6).state_dict(), filled(kind, 4, 50, 3).state_dict()]
    ours = []
    for rank in range(3):
        replay = kind(2, 99, 3)
        replay.deal(states, rank, 3)
        ours += replay.columns["item"][: len(replay)].tolist()
        batch, _, _ = replay.sample(8, torch.Generator().manual_seed(0))
        assert set(batch.item.tolist()) <= set(ours)
    assert sorted(ours) == [12, 13, 14, 15, 50, 51, 52], "each once"
    alone = kind(2, 99, 5)
    alone.deal(states, 0, 1)
    assert set(alone.columns["item"].tolist()) == {51, 52, 13, 14, 15}, "the newest stay"
    assert alone.position == 0, "the oldest is the first to be overwritten"


# --------------------------------------------------------------------------------- a killed process

SHORT = {"pretrain.updates": 80, "ddpg.updates": 10, "env.sessions": 8, "pretrain.batch_size": 16}
SETS = [part for path, value in SHORT.items() for part in ("--set", f"{path}={value}")]


def arguments(root: Path, folder: Path) -> list[str]:
    given = ["--dataset", "ml-latest-small", "--root", str(root), "--threads", "1", *SETS]
    return [*given, "--checkpoints", str(folder), "--checkpoint-every", "0", "--resume"]


def of_rank(number: int, launcher: subprocess.Popen) -> psutil.Process:
    (found,) = [
        child
        for child in psutil.Process(launcher.pid).children()
        if child.environ().get("RANK") == str(number)
    ]
    return found


def test_a_killed_rank_ends_the_job_and_one_process_goes_on(tmp_path, monkeypatch, capsys):
    """By torchrun, as documented. The checkpoint of two processes is one that one can use."""
    root, folder = tmp_path / "data", tmp_path / "kept"
    write_movielens(root / "ml-latest-small", "csv", 60, 220)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*torchrun, "--nproc-per-node", "2", "-m", "recsys_rl.train"]
    with open(tmp_path / "err", "w") as err:
        launcher = subprocess.Popen(
            [*command, *arguments(root, folder)], cwd=ROOT, stderr=err, stdout=err
        )
        try:
            end = time.monotonic() + 120
            while not list(folder.glob("*.previous.ckpt")):
                assert launcher.poll() is None, (tmp_path / "err").read_text()
                assert time.monotonic() < end
                time.sleep(0.01)
            of_rank(1, launcher).kill()
            assert launcher.wait(60) != 0
        finally:
            launcher.terminate()
            launcher.wait(60)
    told = (tmp_path / "err").read_text()
    (latest,) = folder.glob("*[!s].ckpt")
    found = re.search(r"recsys_rl.train: update (\d+): another process .* has ended .*", told)
    if found:
        assert found[0].endswith(f"the last good state is {latest}")
    else:  # torchrun may stop the other rank before it has said so
        assert "closing signal SIGTERM" in told, told
    made, pretrain = [], DDPG.pretrain
    monkeypatch.setattr(DDPG, "pretrain", lambda *parts: made.append(1) or pretrain(*parts))
    assert command_line.main(arguments(root, folder)) == 0
    assert "reward@40" in capsys.readouterr().out
    assert len(made) < SHORT["pretrain.updates"], "it goes on where the two were"
