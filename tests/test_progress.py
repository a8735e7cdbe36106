"""Checkpoints that are whole, and whose content cannot be right: refused as damaged ones."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import SMALL, changed, random_log

from recsys_rl.agent.build import build
from recsys_rl.agent.checkpoint import MAGIC, BadCheckpoint, Checkpoints
from recsys_rl.agent.training import Progress, train

CONFIG = changed(SMALL, {"pretrain.updates": 2, "ddpg.updates": 8})
LOG, STOP = random_log(), 6
Content = dict[str, Any]


class Stopped(Exception):
    """Where a training is cut off."""


def stop(progress: Progress) -> None:
    if progress.update == STOP:
        raise Stopped


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """Two generations, of updates 4 and 5."""
    checkpoints = Checkpoints(tmp_path_factory.mktemp("whole"), "toy", CONFIG, LOG, every=0)
    with pytest.raises(Stopped):
        train(build(CONFIG, LOG), checkpoints=checkpoints, callbacks=(stop,))
    return checkpoints.latest.read_bytes(), checkpoints.previous.read_bytes()


def other(**values: Any) -> Callable[[Content], None]:
    """Another progress record."""
    return lambda content: content["progress"].update(values)


def without(name: str) -> Callable[[Content], None]:
    return lambda content: content["progress"].pop(name)


def part(name: str, **values: Any) -> Callable[[Content], None]:
    return lambda content: content["parts"][name].update(values)


def in_rows(**values: Any) -> Callable[[Content], None]:
    return lambda content: content["progress"]["rows"][-1].update(values)


def in_weights(change: Callable[[Content], object]) -> Callable[[Content], None]:
    return lambda content: change(content["progress"]["weights"]["pretrained"])


FAULTS = {
    **{f"no {name}": without(name) for name in ("update", "rows", "best", "weights", "seconds")},
    "update as text": other(update="5"),
    "update of a fraction": other(update=5.0),
    "update that is true": other(update=True),
    "negative update": other(update=-1),
    "huge update": other(update=10**30),
    "later update": other(update=7),
    "rows of none": other(rows=[]),
    "rows of text": other(rows="rows"),
    "rows of numbers": other(rows=[1, 2, 3, 4, 5, 6]),
    "row with a list": in_rows(loss=[1.0]),
    "best of none": other(best=None),
    "best of NaN": other(best={"pretrained": float("nan")}),
    "best of another stage": other(best={"middle": 1.0}, weights={"middle": {}}),
    "weights of none": other(weights=None),
    "no weights": other(weights={}),
    "weights of numbers": in_weights(lambda found: found.update(dict.fromkeys(found, 1.0))),
    "weights of another shape": in_weights(
        lambda found: found.update({name: w[..., None] for name, w in found.items()})
    ),
    "weights left out": in_weights(lambda found: found.popitem()),
    "seconds of one": other(seconds=[1.0]),
    "seconds of text": other(seconds=["1", "2"]),
    "other ranks of text": other(others="all"),
    "other ranks without parts": other(others=[{}]),
    "counts of text": part("agent", counts=["2", "3"]),
    "negative counts": part("agent", counts=[2, -1]),
    "one count": part("agent", counts=[2]),
    "replay of a huge size": part("replay", size=10**15),
    "replay of a fraction": part("replay", size=0.5),
    "replay with another place": part("replay", position=10**15),
    "replay without columns": part("replay", columns={}),
    "priorities of NaN": part("replay", tree=torch.full((4,), torch.nan)),
    "huge step": part("environment", _steps=10**12),
    "negative step": part("environment", _steps=-5),
}


def spoilt(good: bytes, fault: Callable[[Content], object]) -> bytes:
    content = torch.load(io.BytesIO(good.split(b"\n", 2)[2]), weights_only=True)
    fault(content)
    file = io.BytesIO()
    torch.save(content, file)
    payload = file.getvalue()
    return MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_right_is_refused_and_the_generation_before_it_taken(
    fault: str, tmp_path: Path, whole: tuple[bytes, bytes], capsys: pytest.CaptureFixture
) -> None:
    latest, previous = whole
    checkpoints = Checkpoints(tmp_path, "toy", CONFIG, LOG)
    checkpoints.latest.write_bytes(spoilt(latest, FAULTS[fault]))
    with pytest.raises(BadCheckpoint, match=r"does not fit .* to start anew") as caught:
        train(build(CONFIG, LOG), checkpoints=checkpoints)
    sentence = str(caught.value)
    assert str(checkpoints.latest) in sentence
    assert "\n" not in sentence
    assert len(sentence) < 500
    checkpoints.previous.write_bytes(previous)
    history = train(build(CONFIG, LOG), checkpoints=checkpoints).history
    assert re.search("does not fit .* going on from .*previous", capsys.readouterr().err)
    assert history["update"].tolist() == list(range(11))


def test_a_record_with_other_numbers_of_updates_changes_nothing(
    tmp_path: Path, whole: tuple[bytes, bytes]
) -> None:
    """How many there are the configuration says."""
    checkpoints = Checkpoints(tmp_path, "toy", CONFIG, LOG)
    checkpoints.latest.write_bytes(spoilt(whole[0], other(total=10**12, extra=1)))
    assert len(train(build(CONFIG, LOG), checkpoints=checkpoints).history) == 11
