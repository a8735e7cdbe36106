"""Folders of releases: two writers, a reader beside them, writers that are killed, files that were
tampered with, processes that are forked."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_serving import agent_of, edited, ids_of, released, sha256, with_fields

from recsys_rl import release_files
from recsys_rl.data.atomic_files import FolderInUse, locked, write_atomically
from recsys_rl.release_files import refuse_foreign
from recsys_rl.releasing import release
from recsys_rl.serving import Recommender
from recsys_rl.states.layers import PooledDropout

SECONDS = 1.0  # of two savers and a reader side by side
ROOT = Path(__file__).parent.parent
WHOLE = ["README.md", "config.json", "training.csv", "weights.safetensors"]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")


@pytest.fixture(autouse=True)
def _limits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A small pool, and nothing may hang."""

    def too_long(*_: object) -> None:
        raise AssertionError("it hangs")

    monkeypatch.setattr(PooledDropout, "SIZE", 2**12)
    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    released(tmp_path / "toys")
    return tmp_path / "toys"


def child(work: Callable[[], Any]) -> int:
    """Runs `work` in a forked process -> its id; exit code 0 if nothing was raised."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.alarm(0)
        work()
        code = 0
    finally:
        os._exit(code)


def ended(pid: int) -> int:
    """The exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for the disk: no power fails here, and there are more races in a second."""
    monkeypatch.setattr(os, "fsync", lambda number: None)


class Version:
    """A release that can be told from another one by each of its files."""

    def __init__(self, seed: int) -> None:
        self.agent, self.log = agent_of(seed=seed)
        self.name = f"version {seed}"
        self.scores = self.agent.score(self.log.histories(torch.arange(5)))

    def release(self, folder: Path) -> None:
        texts = {"dataset": self.name, "command": "", "protocol": ""}
        release(self.agent, self.log, folder, metrics={}, **texts)

    def is_in(self, folder: Path) -> bool:
        """Loads what is there; an assertion if it is a mixture."""
        loaded = Recommender.load(folder)
        same = torch.equal(loaded.score(self.log.histories(torch.arange(5))), self.scores)
        assert same == (loaded.config["dataset"] == self.name)
        return same


# ------------------------------------------------------------------------------ writers and readers


def test_two_savers_killed_at_random_and_a_reader(quick: None, tmp_path: Path) -> None:
    versions = [Version(0), Version(1)]
    versions[0].release(tmp_path)
    rng = random.Random(0)

    def saver(version: Version) -> Callable[[], None]:
        def work() -> None:
            while True:
                version.release(tmp_path)

        return work

    savers: list[tuple[int, float]] = []
    seen, end, kills = {True: 0, False: 0}, time.monotonic() + SECONDS, 0
    try:
        # longer on a busy machine, until the alarm ends it
        while time.monotonic() < end or kills <= 5 or not min(seen.values()):
            while len(savers) < 2:
                pid = child(saver(versions[(kills + len(savers)) % 2]))
                savers.append((pid, time.monotonic() + rng.uniform(0.01, 0.1)))
            seen[versions[0].is_in(tmp_path)] += 1
            assert versions[1].is_in(tmp_path) in (True, False)
            for pid, deadline in list(savers):
                if time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)
                    assert ended(pid) == -signal.SIGKILL, "a saver failed by itself"
                    savers.remove((pid, deadline))
                    kills += 1
    finally:
        for pid, _ in savers:
            os.kill(pid, signal.SIGKILL)
            ended(pid)
    versions[0].release(tmp_path)
    assert versions[0].is_in(tmp_path)
    assert names_in(tmp_path) == [name for name in WHOLE if name != "training.csv"]


def test_two_savers_wait_for_each_other(quick: None, tmp_path: Path) -> None:
    versions = [Version(0), Version(1)]

    def save_often(version: Version) -> None:
        for _ in range(20):
            version.release(tmp_path)

    pids = [child(lambda v=version: save_often(v)) for version in versions]
    assert [ended(pid) for pid in pids] == [0, 0]
    assert versions[0].is_in(tmp_path) != versions[1].is_in(tmp_path)


def kill_at(step: int, kinds: tuple[str, ...] = ("fsync", "replace", "unlink")) -> None:
    """From now on this process dies just before its step-th call that changes a folder."""
    count = 0

    def counted(call: Callable) -> Callable:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return wrapped

    for kind in kinds:
        setattr(os, kind, counted(getattr(os, kind)))


def test_a_saver_killed_at_any_step_leaves_a_whole_release(quick: None, tmp_path: Path) -> None:
    """Whole: README.md and training.csv belong to the config after the next save, too."""
    old, new, last = Version(0), Version(1), Version(2)
    found = []
    for step in range(1, 100):
        folder = tmp_path / "toys"
        old.release(folder)

        def work(step: int = step, folder: Path = folder) -> None:
            kill_at(step)
            new.release(folder)

        code = ended(child(work))
        assert code in (0, -signal.SIGKILL)
        found.append(new.is_in(folder))
        assert found[-1] != old.is_in(folder)
        last.release(folder)
        assert last.is_in(folder)
        assert names_in(folder) == ["README.md", "config.json", "weights.safetensors"]
        if code == 0:
            break
    assert found == sorted(found)
    assert found.count(False) > 2
    assert found.count(True) > 2


def test_what_a_killed_saver_had_decided_is_finished_by_the_next(quick: None, folder: Path) -> None:
    """Its card and its curve, which no reader looks at, do not stay those of another release."""
    new = Version(1)

    def work() -> None:
        replace = os.replace

        def cut(source: Path, target: Path) -> None:
            replace(source, target)
            if Path(target).name == "config.json":
                os.kill(os.getpid(), signal.SIGKILL)

        os.replace = cut
        new.release(folder)

    assert ended(child(work)) == -signal.SIGKILL
    assert (folder / "training.csv").exists(), "the old curve"
    Recommender.load(folder).save(folder)
    assert new.is_in(folder)
    assert names_in(folder) == ["README.md", "config.json", "weights.safetensors"]
    assert "version 1" in (folder / "README.md").read_text()


def test_a_folder_that_stays_held_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys_rl.release_files.WAIT", 0.1)
    with locked(tmp_path), pytest.raises(FolderInUse, match="another training is writing"):
        Version(0).release(tmp_path)
    Version(0).release(tmp_path)
    assert ".lock" not in names_in(tmp_path)


def test_a_full_disk_leaves_the_old_release(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            Version(1).release(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_files_have_the_permissions_of_the_umask(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        released(tmp_path)
        write_atomically(tmp_path / "other", b"")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys([*WHOLE, "other"], 0o666 & ~mask)


def test_writing_never_changes_the_umask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the whole process's: files that another thread makes meanwhile would be open to all."""

    def never(mask: int) -> int:
        raise AssertionError("the umask is changed")

    monkeypatch.setattr(os, "umask", never)
    write_atomically(tmp_path / "file", b"1")


# ----------------------------------------------------------------------------- weights of no number


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_no_numbers_are_neither_saved_nor_loaded(bad: float, folder: Path) -> None:
    before = (folder / "config.json").read_bytes()
    agent, log = agent_of()
    agent.actor.state.item_vectors.weight.data[3, 1] = bad
    texts = {"dataset": "", "command": "", "protocol": ""}
    with pytest.raises(ValueError, match=r"cannot be saved: state.item_vectors.weight holds"):
        release(agent, log, folder, metrics={}, **texts)
    recommender = Recommender.load(folder)
    recommender.actor.body[0].bias.data[0] = bad
    with pytest.raises(
        ValueError, match=r"cannot be saved: body.0.bias holds numbers that are NaN"
    ):
        recommender.save(folder)
    assert (folder / "config.json").read_bytes() == before
    with_weights(
        folder, **{"body.0.bias": load_file(folder / "weights.safetensors")["body.0.bias"] * bad}
    )
    with pytest.raises(ValueError, match=r"is damaged: .*body.0.bias holds numbers that are NaN"):
        Recommender.load(folder)


def with_weights(folder: Path, **changes: torch.Tensor) -> None:
    """Other weights, with the hash that they have."""
    path = folder / "weights.safetensors"
    save_file(load_file(path) | changes, path)
    edited(folder, weights_sha256=sha256(path))


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.int64, torch.bool])
def test_weights_of_another_type_are_refused(kind: torch.dtype, folder: Path) -> None:
    with_weights(folder, **{"state.weight": torch.ones(4).to(kind)})
    with pytest.raises(ValueError, match="do not fit its config: 'state.weight' is .* F32"):
        Recommender.load(folder)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_linear_model_that_cannot_be_computed_is_refused(value: float, tmp_path: Path) -> None:
    released(tmp_path, "DRR-set")
    with_weights(tmp_path, **{"linear.model.noise": torch.full((20,), value)})
    with pytest.raises(ValueError, match=r"linear.model.noise holds numbers that are not above 0"):
        Recommender.load(tmp_path)


@pytest.mark.parametrize("name", ["DRR-ave", "DRR-seq", "DRR-set"])
def test_numbers_that_overflow_are_a_clear_error(name: str, tmp_path: Path) -> None:
    released(tmp_path, name)
    weights = load_file(tmp_path / "weights.safetensors")
    with_weights(
        tmp_path,
        **{key: value.sign() * 1e38 for key, value in weights.items() if "noise" not in key},
    )
    with pytest.raises(ValueError, match="its scores are no numbers"):
        Recommender.load(tmp_path).recommend(ids_of(1, 2))


# --------------------------------------------------------------------------------- tampered configs

DEEP = "[" * 100_000
HUGE = [10**6, 2**31, 2**63, 10**30, 10**400]
WRONG = [None, "6", "wide", [], {}, [6], True, 6.0, float("nan"), float("inf"), -1, 0, *HUGE]


def refusal(folder: Path) -> str:
    """The sentence with which it is not loaded."""
    with pytest.raises(ValueError, match="[a-z]") as refused:
        Recommender.load(folder)
    text = str(refused.value)
    assert "\n" not in text
    assert len(text) < 600
    return text


@pytest.mark.parametrize("field", ["k", "n"])
@pytest.mark.parametrize("value", WRONG, ids=lambda value: str(value)[:12])
def test_a_state_of_absurd_numbers_is_refused(field: str, value: Any, folder: Path) -> None:
    changed = with_fields(folder, **{field: value})
    edited(folder, config=changed)
    assert "config in" in refusal(folder)


@pytest.mark.parametrize(
    "changes",
    [{"n_users": value} for value in (*WRONG[1:10], -1, 2**63, 10**400)]
    + [{"item_ids": value} for value in ({}, "abc", [], [True, 2], [1.0, 2.0], [[1], [2]], [2**63])]
    + [{"item_ids": ["a" * 10**6, *map(str, range(10**5))]}, {"item_ids": ["b", "a"]}]
    + [{"item_ids": [None] * 20}, {"positive_counts": ["1"] * 20}, {"positive_counts": {}}]
    + [{"dataset": 5}, {"metrics": "good"}, {"versions": []}, {"fingerprint": 7}],
    ids=lambda value: str(value)[:40],
)
def test_a_config_of_wrong_types_is_refused(changes: dict, folder: Path) -> None:
    edited(folder, **changes)
    assert "config in" in refusal(folder)


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("ddpg", "gamma", "0.9"),
        ("ddpg", "gamma", float("nan")),
        ("ddpg", "updates", 10**400),
        ("ddpg", "actor_lr", 10**400),
        ("pretrain", "lr", float("inf")),
        ("env", "horizon", 10**30),
        ("env", "name", ["logged"] * 10**5),
        ("state", "name", ["x"] * 10**5),
        ("state", "name", None),
        ("state", "noise", "nan"),
    ],
)
def test_a_configuration_of_wrong_values_is_refused(
    part: str, field: str, value: Any, folder: Path
) -> None:
    config = json.loads((folder / "config.json").read_text())["config"]
    edited(folder, config=config | {part: config[part] | {field: value}})
    assert "config in" in refusal(folder)


@pytest.mark.parametrize(
    "text", [DEEP, '{"a":' * 100_000, '{"format": 2, "metrics": ' + "[" * 300 + "]" * 300 + "}"]
)
def test_nesting_is_refused(text: str, folder: Path) -> None:
    (folder / "config.json").write_text(text)
    assert "nested too deeply" in refusal(folder)


def test_an_endless_config_is_refused(folder: Path) -> None:
    with open(folder / "config.json", "r+b") as file:
        file.truncate(2**40)
    assert "more than" in refusal(folder)


@pytest.mark.parametrize("value", [2.0, True, "2", None, [2], 1, 0, -2, 10**400])
def test_a_format_that_is_none_is_refused(value: Any, folder: Path) -> None:
    edited(folder, format=value)
    assert "this code reads 2" in refusal(folder)


def test_what_is_merely_unknown_is_not_called_damaged(tmp_path: Path) -> None:
    released(tmp_path, "DRR-set")
    for changes in (
        {"format": 3},
        {"config": with_fields(tmp_path, name="DRR-mine")},
        {"config": with_fields(tmp_path, linear="mine")},
        {"config": with_fields(tmp_path, name="x\x1b[2J" * 1000)},
    ):
        before = (tmp_path / "config.json").read_bytes()
        edited(tmp_path, **changes)
        text = refusal(tmp_path)
        assert "damaged" not in text
        assert "\x1b" not in text
        (tmp_path / "config.json").write_bytes(before)


# --------------------------------------------------------------------------------- tampered weights


def with_header(folder: Path, header: Any, numbers: int = 0) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = folder / "weights.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    with open(path, "r+b") as file:
        file.truncate(8 + len(text) + numbers)
    edited(folder, weights_sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def header_of(folder: Path) -> dict[str, Any]:
    content = (folder / "weights.safetensors").read_bytes()
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])


@pytest.mark.parametrize(
    "entry",
    [
        None,
        7,
        {"dtype": "F32"},
        {"dtype": ["F32"], "shape": [4], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": 4, "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [True], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [4.0], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [10**30], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [4], "data_offsets": [0, 10**30]},
        {"dtype": "F32", "shape": [4], "data_offsets": [16, 0]},
        {"dtype": "F32", "shape": [4], "data_offsets": "all\n" * 10_000},
        {"dtype": "F32", "shape": [4]},
    ],
    ids=lambda entry: str(entry)[:80],
)
def test_a_header_of_nonsense_is_refused(entry: Any, folder: Path) -> None:
    size = (folder / "weights.safetensors").stat().st_size - 8
    header = header_of(folder)
    numbers = size - len(json.dumps(header, separators=(",", ":")).encode())
    with_header(folder, header | {"state.weight": entry}, numbers // 8 * 8)
    assert "weights" in refusal(folder)


@pytest.mark.parametrize("header", [b"[" * 100_000, b"\xff", b"[]", b"7", b"{", b"{}"])
def test_a_header_that_is_no_object_is_refused(header: bytes, folder: Path) -> None:
    with_header(folder, header)
    assert "weights" in refusal(folder)


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 2**27])
def test_a_header_of_absurd_length_is_refused(length: int, folder: Path) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + path.read_bytes()[8:])
    assert "is damaged" in refusal(folder)


def kibibytes(work: Callable[[], Any]) -> int:
    """By how much the memory of a process grows, at its peak."""
    reading, writing = os.pipe()

    def measured() -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with contextlib.suppress(ValueError):
            work()
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        os.write(writing, str(grown).encode())

    pid = child(measured)
    os.close(writing)
    with os.fdopen(reading) as file:
        found = file.read()
    assert ended(pid) == 0
    return int(found)


@pytest.mark.parametrize("name", ["DRR-p", "DRR-seq", "DRR-set"])
def test_a_refusal_costs_no_memory(name: str, tmp_path: Path) -> None:
    """Wide vectors, many users, a long memory; the weights stay those of a toy."""
    released(tmp_path, name)
    for changes in (
        {"config": with_fields(tmp_path, k=5000)},
        {"config": with_fields(tmp_path, n=10_000, k=10_000)},
        {"n_users": 10**7, "config": with_fields(tmp_path, k=1000)},
    ):
        before = (tmp_path / "config.json").read_bytes()
        edited(tmp_path, **changes)
        refusal(tmp_path)
        assert kibibytes(lambda: Recommender.load(tmp_path)) < 20_000
        (tmp_path / "config.json").write_bytes(before)


def test_a_file_that_claims_to_be_huge_costs_no_memory(folder: Path) -> None:
    """The holes of a sparse file take no disk, but memory once they are read."""
    edited(folder, config=with_fields(folder, k=10_000))
    with open(folder / "weights.safetensors", "r+b") as file:
        file.truncate(2**36)
    assert "more than" in refusal(folder)
    assert kibibytes(lambda: Recommender.load(folder)) < 20_000


def test_a_gaussian_wider_than_its_items_costs_no_memory(tmp_path: Path) -> None:
    released(tmp_path, "DRR-set")
    header, name, width = header_of(tmp_path), "linear.model.item_vectors", 10**6
    items, there = header[name]["shape"]
    more = 4 * items * (width - there)
    header = {
        tensor: about | {"data_offsets": [end + more * (end >= header[name]["data_offsets"][1])
                                          for end in about["data_offsets"]]}
        if tensor != "__metadata__" else about
        for tensor, about in header.items()
    }  # fmt: skip
    header[name] |= {"shape": [items, width]}
    size = max(about["data_offsets"][1] for about in header.values() if "data_offsets" in about)
    with_header(tmp_path, header, size)
    assert name in refusal(tmp_path)
    assert kibibytes(lambda: Recommender.load(tmp_path)) < 20_000


def test_weights_that_no_reader_would_take_are_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recommender, _ = released(tmp_path / "old")
    monkeypatch.setattr(release_files, "LARGEST_WEIGHTS", 1000)
    with pytest.raises(ValueError, match="bytes, and a release has room for 1,000: make state.k"):
        recommender.save(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_nul_is_in_no_name() -> None:
    with pytest.raises(ValueError, match="no folder has a NUL in its name"):
        Recommender.load("models\0")


@pytest.mark.parametrize("name", ["config.json", "weights.safetensors"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "loop"])
def test_what_is_no_file_is_refused_at_once(name: str, kind: str, folder: Path) -> None:
    path = folder / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if kind == "device" else path)
    assert name in refusal(folder)


def test_a_release_may_consist_of_links(folder: Path, tmp_path: Path) -> None:
    """As caches of models keep them."""
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in folder.iterdir():
        (linked / path.name).symlink_to(path)
    assert Recommender.load(linked).recommend(ids_of(1)) == Recommender.load(folder).recommend(
        ids_of(1)
    )


# --------------------------------------------------------------------------------- where it is read


@pytest.mark.parametrize("name", ["DRR-ave", "DRR-att", "DRR-seq", "DRR-set"])
def test_neither_the_default_device_nor_the_default_type_matters(name: str, tmp_path: Path) -> None:
    first, _ = released(tmp_path / "a", name)
    lists = [ids_of(1, 2), ids_of(5)]
    expected, best = first.scores(lists), first.recommend(lists[0])
    try:
        torch.set_default_device("meta")
        torch.set_default_dtype(torch.float64)
        loaded = Recommender.load(tmp_path / "a")
        assert np.array_equal(loaded.scores(lists), expected)
        assert loaded.scores(lists).dtype == np.float32
        assert loaded.recommend(lists[0]) == best
        loaded.save(tmp_path / "b")
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)
    files = [tmp_path / part / "weights.safetensors" for part in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()


FORKED = """
import os, sys, time, numpy, torch
torch.set_num_threads(4)
from recsys_rl import Recommender
found = []
for folder in sys.argv[1:]:
    model = Recommender.load(folder)
    liked = model.item_ids[:3].tolist()
    best, scores = model.recommend(liked), model.scores([liked] * 300)
    pid = os.fork()
    if not pid:
        same = model.recommend(liked) == best
        same &= numpy.allclose(model.scores([liked] * 300), scores, atol=1e-4)
        same &= numpy.allclose(Recommender.load(folder).scores([liked] * 300), scores, atol=1e-4)
        os._exit(not same)
    end = time.monotonic() + 20
    while not (ended := os.waitpid(pid, os.WNOHANG))[0] and time.monotonic() < end:
        time.sleep(0.01)
    if not ended[0]:
        os.kill(pid, 9)
    found.append("right" if ended == (pid, 0) else "wrong" if ended[0] else "hangs")
print(*found, torch.get_num_threads())
"""


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_release_of_any_format_may_be_replaced(tmp_path: Path, number: int) -> None:
    config = dict.fromkeys(("config", "item_ids", "weights_sha256")) | {"format": number}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "README.md").write_text("its card")
    refuse_foreign(tmp_path)


def test_files_that_are_no_release_are_not_written_over(folder: Path, tmp_path: Path) -> None:
    recommender = Recommender.load(folder)
    for name in ("README.md", "config.json", "training.csv"):
        other = tmp_path / Path(name).stem
        other.mkdir()
        (other / name).write_text("mine")
        for write in (recommender.save, Version(0).release):
            with pytest.raises(ValueError, match=f"has a {name} and holds no release"):
                write(other)
        assert (other / name).read_text() == "mine"
        assert names_in(other) == [name]


@pytest.mark.parametrize(
    ("part", "count", "said"),
    [
        ("[],", 200_000, "100,000 lists and objects"),
        ("{},", 200_000, "100,000 lists and objects"),
        ("1,", 2_000_000, "1,500,000 values"),
    ],
)
def test_a_configuration_of_too_many_parts_is_refused_unread(
    part: str, count: int, said: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "config.json").write_text("[" + part * count + "0]")
    monkeypatch.setattr("recsys_rl.release_files.json.loads", None)
    assert f"more than {said}" in refusal(folder)


def test_brackets_in_ids_are_no_parts() -> None:
    ids = [f"{{{number:08d}-[4F89]}}" for number in range(60_000)]
    content = json.dumps({"format": 2, "item_ids": ids}).encode()
    assert release_files._parsed(Path("any"), "config.json", content)["item_ids"] == ids


def test_a_dropout_of_a_state_that_has_none_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())["config"]
    state = config["state"] | {"name": "DRR-ave", "dropout": 0.1, "linear": ""}
    edited(folder, config=config | {"state": state})
    assert "state.dropout is for states that have one, and DRR-ave has none" in refusal(folder)


def test_what_is_registered_is_known_without_pytorch(folder: Path) -> None:
    edited(folder, config=with_fields(folder, name="DRR-xyz"))
    code = f"""
import sys
from recsys_rl.serving import Recommender
try:
    Recommender.load({str(folder)!r})
except ValueError as error:
    print(error, "torch" in sys.modules)
from recsys_rl.baselines.registry import LINEAR_MODELS
from recsys_rl.release_config import OWN_LINEAR, OWN_STATES
from recsys_rl.states.registry import STATES
assert (set(STATES), set(LINEAR_MODELS)) == (OWN_STATES, OWN_LINEAR)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "the state 'DRR-xyz', which is not known here: register it in" in told.stdout
    assert told.stdout.endswith("False\n")
