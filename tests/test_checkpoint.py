"""Checkpoints: written whole or not at all, and no file taken for what it is not."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import SMALL, random_log

from recsys_rl.agent.checkpoint import MAGIC, BadCheckpoint, Checkpoints
from recsys_rl.agent.config import Config
from recsys_rl.data.atomic_files import FolderInUse
from recsys_rl.data.interactions import Interactions

LOG = random_log()


class Part:
    """Something with a state."""

    def __init__(self, value: float = 0.0) -> None:
        self.weight = torch.full((50,), value)

    def state_dict(self) -> dict[str, Any]:
        return {"weight": self.weight}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weight = state["weight"].clone()


def checkpoints_in(
    folder: Path, config: Config = SMALL, log: Interactions = LOG, **options
) -> Checkpoints:
    return Checkpoints(folder, "toy", config, log, **options)


def save(checkpoints: Checkpoints, value: int) -> None:
    checkpoints.save({"part": Part(float(value))}, {"update": value})


def loaded(checkpoints: Checkpoints) -> int | None:
    """The number of the generation that is found; its progress and its parts agree."""
    part = Part(-1.0)
    progress = checkpoints.load({"part": part})
    assert (part.weight == (progress["update"] if progress else -1)).all()
    return progress and progress["update"]


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Checkpoints]:
    """A training with two generations, 1 and 2."""
    checkpoints = checkpoints_in(tmp_path / "deep" / "down")
    with checkpoints.open():
        for value in (1, 2):
            save(checkpoints, value)
        yield checkpoints


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".lock"}


# ------------------------------------------------------------------------------ two generations


def test_nothing_is_found_in_an_empty_folder(tmp_path: Path) -> None:
    checkpoints = checkpoints_in(tmp_path)
    with checkpoints.open():
        assert loaded(checkpoints) is None


def test_progress_comes_back_as_it_was(tmp_path: Path) -> None:
    checkpoints = checkpoints_in(tmp_path)
    progress = {
        "update": 3,
        "rows": [{"update": 0, "stage": "start", "ndcg@10": 0.25}],
        "best": {"final": 0.5},
        "weights": {"final": {"layer": torch.rand(3, 2)}},
    }
    with checkpoints.open():
        checkpoints.save({}, progress)
        back = checkpoints.load({})
    kept = back.pop("weights")["final"]["layer"]
    assert torch.equal(kept, progress.pop("weights")["final"]["layer"])
    assert back == progress


def test_the_latest_two_generations_are_kept_and_nothing_else(two: Checkpoints) -> None:
    for value in (3, 4):
        save(two, value)
        assert files_in(two.folder) == {two.latest.name, two.previous.name}
        assert loaded(two) == value
    two.latest.unlink()
    assert loaded(two) == 3


def test_a_crash_between_the_two_renames_costs_one_generation(two: Checkpoints) -> None:
    os.replace(two.latest, two.previous)
    assert loaded(two) == 2
    save(two, 3)
    assert loaded(two) == 3
    two.latest.unlink()
    assert loaded(two) == 2


def test_a_finished_training_removes_its_files_and_no_others(two: Checkpoints) -> None:
    other = checkpoints_in(two.folder, SMALL.with_field("seed", 1))
    save(other, 5)
    two.remove()
    assert files_in(two.folder) == {other.latest.name}
    two.remove()  # once more does no harm


def test_a_generation_is_due_after_so_many_seconds(tmp_path: Path) -> None:
    always, never = (checkpoints_in(tmp_path / str(s), every=s) for s in (0, 3600))
    for checkpoints in (always, never):
        with checkpoints.open():
            save(checkpoints, 1)
            assert checkpoints.due == (checkpoints is always)


# -------------------------------------------------------------------------- files that are not good


def sealed(payload: bytes) -> bytes:
    """A file whose checksum is right, whatever is in it."""
    return MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload


def packed(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def one_bit_off(good: bytes) -> bytes:
    place = len(good) - 200
    return good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :]


def with_content(good: bytes, **changes: Any) -> bytes:
    """The same file with other content, and a checksum that is right."""
    payload = good.split(b"\n", 2)[2]
    content = torch.load(io.BytesIO(payload), weights_only=True)
    return sealed(packed(content | changes))


FAULTS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "half": (lambda good: good[: len(good) // 2], "damaged"),
    "one bit": (one_bit_off, "damaged"),
    "too long": (lambda good: good + b"\0", "damaged"),
    "only a head": (lambda good: MAGIC, "damaged"),
    "empty": (lambda good: b"", "no checkpoint of this project"),
    "text": (lambda good: b"update,loss\n1,0.5\n", "no checkpoint of this project"),
    "weights alone": (lambda good: packed({"weight": torch.ones(3)}), "no checkpoint of this"),
    "older": (lambda good: good.replace(b"checkpoint 2", b"checkpoint 1", 1), "another version"),
    "no archive": (lambda good: sealed(b"nothing"), "something else than tensors"),
    "no state": (lambda good: with_content(good, parts={"part": {"weight": None}}), "does not fit"),
    "no table": (lambda good: with_content(good, parts={"part": []}), "does not fit"),
    "no progress": (lambda good: with_content(good, progress=3), "how far its training was"),
    "data of a tensor": (lambda good: with_content(good, data=torch.ones(3)), "other data"),
    "a list": (lambda good: sealed(packed([1, 2])), "another configuration or other data"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_instead_of_a_bad_file_the_generation_before_it_is_taken(
    fault: str, two: Checkpoints, capsys: pytest.CaptureFixture
) -> None:
    spoil, _ = FAULTS[fault]
    two.latest.write_bytes(spoil(two.latest.read_bytes()))
    assert loaded(two) == 1
    said = rf"note: \S*{two.latest.name} .*; going on from {two.previous.name}\n"
    assert re.fullmatch(said, capsys.readouterr().err)
    save(two, 3)  # must not push the good generation out
    two.latest.unlink()
    assert loaded(two) == 1


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_says_what_is_wrong_with_it_where_there_is_no_good_one(
    fault: str, two: Checkpoints
) -> None:
    spoil, message = FAULTS[fault]
    two.previous.unlink()
    two.latest.write_bytes(spoil(two.latest.read_bytes()))
    before = files_in(two.folder)
    with pytest.raises(BadCheckpoint, match=f"({message}).*remove .* to start anew") as caught:
        loaded(two)
    assert str(two.latest) in str(caught.value)
    assert files_in(two.folder) == before, "nothing is removed on its own"


def test_two_bad_files_are_both_named(two: Checkpoints) -> None:
    two.latest.write_bytes(b"")
    two.previous.write_bytes(two.previous.read_bytes()[:-1])
    with pytest.raises(BadCheckpoint, match="no checkpoint .*damaged.* to start anew") as caught:
        loaded(two)
    assert str(two.latest) in str(caught.value)
    assert str(two.previous) in str(caught.value)


def test_a_file_that_cannot_be_read(two: Checkpoints, capsys: pytest.CaptureFixture) -> None:
    two.latest.unlink()
    two.latest.mkdir()
    assert loaded(two) == 1
    assert "is a pipe, a device or a folder" in capsys.readouterr().err


def test_a_folder_in_the_place_of_what_is_set_aside_is_said(two: Checkpoints) -> None:
    two.latest.write_bytes(b"")
    aside = two.latest.with_suffix(".bad")
    aside.mkdir()
    with pytest.raises(BadCheckpoint, match=rf"renamed to {aside.name} .*remove both "):
        loaded(two)
    assert two.previous.exists()


def test_a_folder_in_the_place_of_the_lock_is_said(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    with (
        pytest.raises(OSError, match=r"\.lock is a folder, and must be a file or nothing: remove"),
        checkpoints_in(tmp_path).open(),
    ):
        pass


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_a_pipe_is_not_waited_for(two: Checkpoints, capsys: pytest.CaptureFixture) -> None:
    two.latest.unlink()
    os.mkfifo(two.latest)
    assert loaded(two) == 1
    assert "is a pipe, a device or a folder, and no checkpoint" in capsys.readouterr().err


def test_what_is_in_the_place_of_the_next_checkpoint_is_found_at_once(tmp_path: Path) -> None:
    checkpoints = checkpoints_in(tmp_path)
    checkpoints.latest.with_suffix(".new").mkdir()
    with pytest.raises(BadCheckpoint, match=r"\.new is in the place"), checkpoints.open():
        pass


@pytest.mark.parametrize("other", ["configuration", "data"])
def test_the_renamed_file_of_another_training_is_told(other: str, two: Checkpoints) -> None:
    theirs = (
        checkpoints_in(two.folder, SMALL.with_field("ddpg.gamma", 0.5))
        if other == "configuration"
        else checkpoints_in(two.folder, log=random_log(seed=1))
    )
    os.replace(two.latest, theirs.latest)
    with pytest.raises(BadCheckpoint, match="another configuration or other data"):
        loaded(theirs)


def test_a_file_without_a_part_does_not_fit(two: Checkpoints) -> None:
    two.previous.unlink()
    with pytest.raises(BadCheckpoint, match="does not fit this training"):
        two.load({"another": Part()})


class Malice:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return open, (str(self.path), "w")


def test_a_file_runs_no_code(
    two: Checkpoints, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    two.latest.write_bytes(sealed(packed({"progress": Malice(tmp_path / "ran")})))
    assert loaded(two) == 1
    assert "something else than tensors" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


# ------------------------------------------------------------------------------------ a full disk


def test_a_full_disk_leaves_the_last_good_generation(
    two: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = files_in(two.folder)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(BadCheckpoint, match="cannot be written .No space left.*make room"):
            save(two, 3)
    assert files_in(two.folder) == before
    assert loaded(two) == 2
    save(two, 4)
    assert loaded(two) == 4


def test_a_folder_that_is_gone_is_said(two: Checkpoints) -> None:
    for path in (*two.folder.glob("*"), two.folder / ".lock"):
        path.unlink(missing_ok=True)
    two.folder.rmdir()
    with pytest.raises(BadCheckpoint, match="cannot be written"):
        save(two, 3)


# ------------------------------------------------------------------------- one training at a time


def test_a_second_training_on_one_folder_is_refused(tmp_path: Path) -> None:
    first, second = checkpoints_in(tmp_path), checkpoints_in(tmp_path, SMALL.with_field("seed", 1))
    with first.open():
        with pytest.raises(FolderInUse, match="another training is writing"), second.open():
            pass
        save(first, 1)
    with second.open():
        assert loaded(second) is None


def test_a_training_that_fails_lets_go_of_its_folder(tmp_path: Path) -> None:
    checkpoints = checkpoints_in(tmp_path)
    with pytest.raises(AttributeError), checkpoints.open():
        checkpoints.save({"part": None}, {})
    with checkpoints.open():
        save(checkpoints, 1)
    with checkpoints.open():
        assert loaded(checkpoints) == 1


@pytest.mark.parametrize("generation", ["latest", "previous"])
def test_nothing_is_overwritten_where_nobody_asked_to_resume(
    generation: str, tmp_path: Path
) -> None:
    fresh = checkpoints_in(tmp_path / "fresh", resume=False)
    with fresh.open():
        for value in (1, 2):
            save(fresh, value)
    for path in {fresh.latest, fresh.previous} - {getattr(fresh, generation)}:
        path.unlink()
    before = getattr(fresh, generation).read_bytes()
    again = checkpoints_in(tmp_path / "fresh", resume=False)
    with pytest.raises(BadCheckpoint, match="resume it, or remove it"), again.open():
        pass
    assert getattr(fresh, generation).read_bytes() == before
    other = checkpoints_in(tmp_path / "fresh", SMALL.with_field("seed", 1), resume=False)
    with other.open():  # another training may use the folder
        assert loaded(other) is None


def test_configuration_and_data_both_name_the_file(tmp_path: Path) -> None:
    names = {
        checkpoints_in(tmp_path, config, log).latest.name
        for config in (SMALL, SMALL.with_field("seed", 1), SMALL.with_field("ddpg.tau", 0.5))
        for log in (LOG, random_log(seed=1), LOG.select(torch.arange(len(LOG)) > 0))
    }
    assert len(names) == 9
    assert all(name.startswith("toy-") for name in names)
    assert checkpoints_in(tmp_path).latest == checkpoints_in(tmp_path, log=random_log()).latest
    later = replace(LOG, timestamp=50 * LOG.timestamp)  # which some agents read
    assert checkpoints_in(tmp_path, log=later).latest.name not in names
