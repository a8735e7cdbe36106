"""Checkpoints whose checksum is right and whose content is not: refused, or harmless."""

from __future__ import annotations

import copy
import hashlib
import io
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import SMALL, SMALL_SET, changed, random_log, two_tastes

from recsys_rl.agent.build import build
from recsys_rl.agent.checkpoint import MAGIC, BadCheckpoint, Checkpoints
from recsys_rl.agent.ddpg import Diverged
from recsys_rl.agent.replay import PrioritizedReplayBuffer
from recsys_rl.agent.saved_states import (
    load_optimizer,
    refuse_foreign_moments,
    refuse_non_finite,
    refuse_unlike,
)
from recsys_rl.agent.training import Interrupted, train
from recsys_rl.envs.cold_start import ColdStartEnv
from recsys_rl.states.layers import PooledDropout

BRIEF = {"pretrain.updates": 2, "ddpg.updates": 6, "validate_every": 3}
LOGGED, COLD = random_log(), two_tastes(16, 24)
SHORT = {"ddpg.replay": "uniform", "ddpg.ou_sigma": 0.1}
AGENTS = {
    "DRR-ave": (changed(SMALL, BRIEF), LOGGED),
    "DRR-u": (changed(SMALL, BRIEF | SHORT | {"state.name": "DRR-u"}), LOGGED),
    "DRR-set": (changed(SMALL_SET, BRIEF | {"pretrain.holdout_share": 0.4}), COLD),
}
EACH = int(os.environ.get("SPOILED", "12"))  # spoiled checkpoints of each agent


@pytest.fixture(autouse=True)
def _small_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PooledDropout, "SIZE", 2**12)


def checkpoints_in(folder: Path, name: str) -> Checkpoints:
    return Checkpoints(folder, name, *AGENTS[name], every=0)


def stopped(folder: Path, name: str) -> dict[str, Any]:
    """The content of a checkpoint in the middle of sessions, from which the training goes on."""

    def stop(progress: Any) -> None:
        if progress.update == 5:
            raise Interrupted("enough", 2)

    checkpoints = checkpoints_in(folder, name)
    with pytest.raises(Interrupted):
        train(build(*AGENTS[name]), checkpoints=checkpoints, callbacks=(stop,))
    payload = checkpoints.latest.read_bytes().split(b"\n", 2)[2]
    return torch.load(io.BytesIO(payload), weights_only=True)


def write(content: dict[str, Any], checkpoints: Checkpoints) -> None:
    file = io.BytesIO()
    torch.save(content, file)
    payload = file.getvalue()
    checkpoints.folder.mkdir(exist_ok=True)
    for path in (checkpoints.latest, checkpoints.previous):
        path.unlink(missing_ok=True)
    head = MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n"
    checkpoints.latest.write_bytes(head + payload)


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Where numbers, texts and tensors stand, however deep."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from places(part, (*path, key))
    elif isinstance(value, (list, tuple)):
        for key, part in enumerate(value):
            yield from places(part, (*path, key))
    else:
        yield path


def at(content: Any, path: tuple) -> Any:
    for key in path:
        content = content[key]
    return content


def spoiled_with(value: Any, draw: random.Random) -> Any:
    """Another value, of the same type or of another one."""
    if not isinstance(value, torch.Tensor):
        return draw.choice([None, -1, 10**9, -1.5, float("nan"), "text", [], torch.ones(2)])
    ways = [value[:-1] if value.dim() else value.unsqueeze(0), value.unsqueeze(0), value.double()]
    if value.dtype not in (torch.bool, torch.uint8) and value.numel():
        one_off = value.clone(memory_format=torch.contiguous_format)
        whole = [-1, 2**30] if not value.is_floating_point() else [float("nan"), float("inf")]
        one_off.view(-1)[draw.randrange(value.numel())] = draw.choice(whole)
        ways += 3 * [one_off]
    return draw.choice([*ways, "text"])


def put(content: dict[str, Any], path: tuple, value: Any) -> bool:
    """Whether the value could be put there; a tuple holds what it holds."""
    holder = at(content, path[:-1])
    if isinstance(holder, tuple):
        return False
    holder[path[-1]] = value
    return True


@pytest.mark.parametrize("name", AGENTS)
@pytest.mark.filterwarnings("ignore")
def test_a_training_refuses_a_spoiled_state_or_runs_to_its_end(name: str, tmp_path: Path) -> None:
    """Whatever else it would be is a traceback. A plausible number is another training."""
    whole, draw = stopped(tmp_path / "whole", name), random.Random(0)
    checkpoints, refused = checkpoints_in(tmp_path / "spoiled", name), 0
    everywhere = [p for p in places(whole) if p[0] in ("parts", "progress")]
    for path in draw.choices(everywhere, k=EACH):
        content = copy.deepcopy(whole)
        value = spoiled_with(at(content, path), draw)
        if not put(content, path, value):
            continue
        write(content, checkpoints)
        try:
            train(build(*AGENTS[name]), checkpoints=checkpoints)
        except (BadCheckpoint, Diverged) as error:
            refused += isinstance(error, BadCheckpoint)
        except Exception as error:
            error.add_note(f"{path} was {value!r}")
            raise
    assert refused > EACH / 3


WRONG = {
    "an item that is not there": (("parts", "replay", "columns", "item"), 10**6),
    "a user who is not there": (("parts", "replay", "columns", "user"), 10**6),
    "an item below 0": (("parts", "replay", "columns", "items_before"), -1),
    "a reward that is no number": (("parts", "replay", "columns", "reward"), float("nan")),
    "a weight that is no number": (("parts", "agent", "critic"), float("nan")),
    "an item in a session": (("parts", "environment", "item"), 10**6),
}


@pytest.mark.parametrize("what", WRONG)
def test_indices_and_numbers_that_cannot_be_are_refused(what: str, tmp_path: Path) -> None:
    path, value = WRONG[what]
    content = stopped(tmp_path / "whole", "DRR-ave")
    part = at(content, path)
    if isinstance(part, dict):
        part = next(iter(part.values()))
    part[(0,) * part.dim()] = value
    checkpoints = checkpoints_in(tmp_path / "spoiled", "DRR-ave")
    write(content, checkpoints)
    with pytest.raises(BadCheckpoint, match=r"does not fit this training \(.*to start anew"):
        train(build(*AGENTS["DRR-ave"]), checkpoints=checkpoints)


def test_replays_of_other_ranks_are_looked_at_too() -> None:
    """Where another number of processes goes on, what they hold is dealt out."""
    replay = PrioritizedReplayBuffer(3, 9, 8, n_users=4)
    state = replay.state_dict()
    good = {name: column[:2] for name, column in replay.columns.items()}
    state |= {"size": 2, "position": 2, "columns": good}
    state["tree"] = torch.ones_like(state["tree"])
    replay.deal([state], 0, 1)
    for spoiled in (
        {"columns": good | {"user": good["user"] - 5}},
        {"columns": good | {"item": good["item"] + 9}},
        {"largest": -1.0},
        {"draws": -7},
    ):
        for load in (replay.load_state_dict, lambda each: replay.deal([each], 0, 1)):
            with pytest.raises(ValueError, match=r"^its "):
                load(state | spoiled)
    with pytest.raises(ValueError, match="^its priorities"):
        replay.load_state_dict(state | {"tree": torch.zeros_like(state["tree"])})


@pytest.mark.parametrize(
    "kind", [torch.optim.SGD, torch.optim.RMSprop, torch.optim.AdamW, torch.optim.Adagrad]
)
def test_moments_of_any_optimizer_are_gone_on_from(kind: type[torch.optim.Optimizer]) -> None:
    weight = torch.nn.Parameter(torch.ones(3, 2))
    options = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    optimizer = kind([weight], lr=0.1, **options)
    weight.sum().backward()
    optimizer.step()
    refuse_foreign_moments(optimizer)


@pytest.mark.parametrize(
    "spoiled", [{"step": torch.tensor(-1.0)}, {"exp_avg": torch.ones(2)}, {"exp_avg_sq": None}]
)
def test_moments_that_adam_could_not_use_are_refused(spoiled: dict[str, Any]) -> None:
    weight = torch.nn.Parameter(torch.ones(3, 2))
    optimizer = torch.optim.AdamW([weight])
    weight.sum().backward()
    optimizer.step()
    for name, value in spoiled.items():
        if value is None:
            del optimizer.state[weight][name]
        else:
            optimizer.state[weight][name] = value
    with pytest.raises(ValueError, match="moments"):
        refuse_foreign_moments(optimizer)


def sessions_of(**spoiled: Any) -> ColdStartEnv:
    """Sessions that have gone on from a state of which some parts are others, or missing."""
    whole, other = (ColdStartEnv(COLD, sessions=4, horizon=4) for _ in range(2))
    whole.reset(seed=0)
    state = whole.state_dict()
    for name, value in spoiled.items():
        if value is None:
            del state[name]
        else:
            state[name] = value(state[name])
    other.load_state_dict(state)
    return other


SPOILED = {
    "no answers": {"_answers": None},
    "no end": {"_active": None},
    "answers of other items": {"_answers": lambda part: part[:, :-1]},
    "a table too many": {"_answers": lambda part: part.unsqueeze(2)},
    "a row of items": {"item": lambda part: part[0], "rating": lambda part: part[0]},
    "half a step": {"_steps": lambda part: part + 0.5},
    "one session less": {"_left": lambda part: part[1:]},
    "users in columns": {"user": lambda part: part.unsqueeze(1)},
}


@pytest.mark.parametrize("what", SPOILED)
def test_sessions_that_could_not_go_on_are_refused(what: str) -> None:
    assert sessions_of().observation().item.shape[0] == 4
    with pytest.raises(ValueError, match="running sessions"):
        sessions_of(**SPOILED[what])


def test_what_only_a_subclass_has_is_its_own_to_look_at() -> None:
    class Timed(ColdStartEnv):
        running = (*ColdStartEnv.running, "when", "prices")

    whole, other = (Timed(COLD, sessions=4, horizon=4) for _ in range(2))
    whole.reset(seed=0)
    whole.when, whole.prices = torch.full((), 1_700_000_000), -torch.ones(3)
    other.load_state_dict(whole.state_dict())
    assert torch.equal(other.prices, whole.prices)


def test_moments_of_other_weights_are_refused(tmp_path: Path) -> None:
    content = stopped(tmp_path / "whole", "DRR-ave")
    moments = content["parts"]["agent"]["actor_optimizer"]["state"][0]
    moments["exp_avg"] = moments["exp_avg"][:-1]
    checkpoints = checkpoints_in(tmp_path / "spoiled", "DRR-ave")
    write(content, checkpoints)
    with pytest.raises(BadCheckpoint, match="moments exp_avg do not fit their weights"):
        train(build(*AGENTS["DRR-ave"]), checkpoints=checkpoints)


def test_sessions_whose_ratings_are_cut_are_refused(tmp_path: Path) -> None:
    content = stopped(tmp_path / "whole", "DRR-set")
    sessions = content["parts"]["demonstrations"]["first"]
    sessions["rating"] = sessions["rating"][:, :-1]
    checkpoints = checkpoints_in(tmp_path / "spoiled", "DRR-set")
    write(content, checkpoints)
    with pytest.raises(BadCheckpoint, match="rating of running sessions is no tensor"):
        train(build(*AGENTS["DRR-set"]), checkpoints=checkpoints)


def test_what_is_found_is_named_by_its_place() -> None:
    with pytest.raises(ValueError, match=r"^agent\.critic\.1 is NaN or infinite$"):
        refuse_non_finite({"critic": [0.0, float("inf")]}, "agent")
    with pytest.raises(ValueError, match=r"^agent\.steps is str, and not as in this training$"):
        refuse_unlike({"steps": "3"}, {"steps": 3}, "agent")


def test_constants_of_another_optimizer_are_refused() -> None:
    weight = torch.zeros(2, requires_grad=True)
    for name, value in {"weight_decay": 0.5, "betas": (0.5, 0.9), "differentiable": True}.items():
        optimizer = torch.optim.AdamW([weight], lr=0.1)
        state = optimizer.state_dict()
        state["param_groups"][0] |= {"lr": 0.01, name: value}
        with pytest.raises(ValueError, match=f"{name} of an optimizer is not that"):
            load_optimizer(optimizer, state)


@pytest.mark.parametrize("name", ["lr", "lr_scale"])
@pytest.mark.parametrize("rate", ["0.1", -0.1, True, None, float("inf"), float("nan"), [0.1]])
def test_rates_that_are_none_are_refused(name: str, rate: Any) -> None:
    weight = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.AdamW([{"params": [weight], "lr_scale": 1.0}], lr=0.1)
    state = optimizer.state_dict()
    state["param_groups"][0][name] = rate
    with pytest.raises(ValueError, match=f"{name} of an optimizer is no rate"):
        load_optimizer(optimizer, state)
