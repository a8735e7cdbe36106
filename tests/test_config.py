"""The configuration: what it refuses, and that it comes back from text whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from toys import SMALL, SMALL_SET, changed

from recsys_rl.agent.config import (
    Config,
    DDPGConfig,
    EnvConfig,
    PretrainConfig,
    StateConfig,
    paths,
)

NAN = float("nan")
INFINITE = float("inf")
RATES = (
    "pretrain.lr",
    "ddpg.actor_lr",
    "ddpg.bc_weight",
    "ddpg.ou_sigma",
    "state.noise",
    "weight_decay",
)
SHARES = ("ddpg.gamma", "ddpg.tau", "ddpg.epsilon")
COUNTS = (  # the smallest value that is allowed
    ("state.k", 1),
    ("state.n", 1),
    ("pretrain.updates", 0),
    ("pretrain.batch_size", 1),
    ("ddpg.updates", 0),
    ("ddpg.n_steps", 1),
    ("env.sessions", 1),
    ("env.horizon", 1),
    ("env.n_seed", 1),
    ("validate_every", 1),
    ("seed", 0),
)
NAMES = ("state.embeddings", "ddpg.replay", "ddpg.gradient", "env.name")


def refusal(path: str, value: Any, config: Config = SMALL) -> str:
    """What is said when a field gets a value: one sentence that begins with the field."""
    with pytest.raises(ValueError, match=rf"^{path} ") as caught:
        config.with_field(path, value)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("value", [-1e-9, -1.0, NAN, INFINITE])
@pytest.mark.parametrize("path", RATES)
def test_rates_are_finite_and_not_negative(path: str, value: float) -> None:
    assert f"at least 0, not {value}" in refusal(path, value)
    assert changed(SMALL, {path: 0}) == changed(SMALL, {path: 0.0})


@pytest.mark.parametrize("value", [-0.01, 1.01, NAN, INFINITE])
@pytest.mark.parametrize("path", SHARES)
def test_shares_lie_between_0_and_1(path: str, value: float) -> None:
    assert f"0 .. 1, not {value}" in refusal(path, value)
    for border in (0.0, 1.0):
        SMALL_SET.with_field(path, border)


@pytest.mark.parametrize("value", [-0.1, 1.0, NAN])
def test_some_users_and_not_all_may_be_held_out(value: float) -> None:
    assert "below 1" in refusal("pretrain.holdout_share", value, SMALL_SET)
    SMALL_SET.with_field("pretrain.holdout_share", 0.5)


@pytest.mark.parametrize(("path", "least"), COUNTS)
def test_counts_have_a_smallest_value(path: str, least: int) -> None:
    assert f"at least {least}, not {least - 1}" in refusal(path, least - 1)
    SMALL.with_field(path, least)


@pytest.mark.parametrize("path", NAMES)
def test_names_are_those_that_are_known(path: str) -> None:
    message = refusal(path, "nonsense")
    assert "must be one of" in message
    assert "'nonsense'" in message


def test_without_an_end_there_is_no_return_without_a_discount() -> None:
    with pytest.raises(ValueError, match=r"^ddpg\.gamma must be below 1: logged sessions have no"):
        SMALL.with_field("ddpg.gamma", 1.0)
    assert SMALL_SET.with_field("ddpg.gamma", 1.0).ddpg.gamma == 1


def test_a_vector_cannot_move_the_scores_of_a_linear_model() -> None:
    with pytest.raises(ValueError, match=r'^ddpg\.gradient="deterministic" moves one vector'):
        SMALL_SET.with_field("ddpg.gradient", "deterministic")
    alone = {"ddpg.gradient": "deterministic", "state.linear": ""}
    assert SMALL_SET.with_fields(alone).ddpg.gradient == "deterministic"


@pytest.mark.parametrize("name", ["cold-start", "simulated"])
def test_the_memory_must_hold_a_whole_session(name: str) -> None:
    env = EnvConfig(name, n_seed=3, horizon=4)
    with pytest.raises(ValueError, match=r"^state\.n is 6, .* at least 7"):
        Config(state=StateConfig(n=6), env=env)
    Config(state=StateConfig(n=7), env=env)
    Config(state=StateConfig(n=1), env=EnvConfig("logged", n_seed=3, horizon=4))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"state": StateConfig(linear="gaussian")}, r'^state\.linear .* env\.name is "logged"'),
        ({"pretrain": PretrainConfig(holdout_share=0.3)}, r"^pretrain\.holdout_share needs"),
    ],
)
def test_what_only_cold_start_users_need_is_refused_where_sessions_are_logged(
    changes, sentence
) -> None:
    with pytest.raises(ValueError, match=sentence):
        Config(**changes)


def test_a_sample_stands_for_the_catalogue_where_sessions_come_from_a_log() -> None:
    for name in ("simulated", "user-leaves", "consequences"):
        with pytest.raises(
            ValueError, match=r"^pretrain\.negatives .* sessions are made from a log"
        ):
            SMALL_SET.with_fields({"env.name": name, "pretrain.negatives": 50})
    with pytest.raises(ValueError, match=r'^ddpg\.gradient="soft" scores all items'):
        SMALL_SET.with_fields({"ddpg.gradient": "soft", "pretrain.negatives": 50})
    with pytest.raises(ValueError, match=r"^pretrain\.negatives is 6, .* at least 7, or 0"):
        SMALL_SET.with_field("pretrain.negatives", 6)
    assert SMALL_SET.with_field("pretrain.negatives", 7).pretrain.negatives == 7
    assert SMALL.with_field("pretrain.negatives", 1).pretrain.negatives == 1


# ------------------------------------------------------------------------------ fields by path


def test_every_field_has_a_path_and_only_fields_have() -> None:
    found = paths()
    assert {*RATES, *SHARES, *NAMES, *(path for path, _ in COUNTS)} <= set(found)
    saved = asdict(SMALL_SET)
    for path in found:
        room, _, name = path.rpartition(".")
        value = (saved[room] if room else saved)[name]
        assert SMALL_SET.with_field(path, value) == SMALL_SET
    for wrong in ("ddpg", "gamma", "ddpg.gama", "ddpg.gamma.x", "nothing.gamma", "", "to_dict"):
        with pytest.raises(ValueError, match="there is no field .* choose among .*ddpg.gamma"):
            SMALL.with_field(wrong, 1)


def test_fields_that_depend_on_each_other_can_change_at_once() -> None:
    with pytest.raises(ValueError, match=r"^state\.n is 7"):
        SMALL_SET.with_field("env.horizon", 10)
    longer = SMALL_SET.with_fields({"env.horizon": 10, "state.n": "13"})
    assert (longer.env.horizon, longer.state.n) == (10, 13)


def test_a_changed_field_leaves_the_others_and_the_configuration_it_came_from() -> None:
    other = SMALL.with_field("ddpg.gamma", 0.25)
    assert other.ddpg.gamma == 0.25
    assert SMALL.ddpg.gamma == 0.9
    assert other.with_field("ddpg.gamma", 0.9) == SMALL
    assert SMALL.with_field("seed", 7).seed == 7


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [("ddpg.gamma", "0.5", 0.5), ("seed", "3", 3), ("ddpg.replay", "uniform", "uniform")],
)
def test_text_from_a_command_line_is_converted(path: str, text: str, value: object) -> None:
    assert SMALL.with_field(path, text) == SMALL.with_field(path, value)


@pytest.mark.parametrize(
    ("path", "value", "kind"),
    [
        ("ddpg.gamma", "much", "a number"),
        ("ddpg.gamma", None, "a number"),
        ("ddpg.gamma", True, "a number"),
        ("ddpg.gamma", [0.5], "a number"),
        ("ddpg.gamma", 10**400, "a number"),
        ("state.n", 2.5, "a whole number"),
        ("state.n", "2.5", "a whole number"),
        ("state.n", False, "a whole number"),
        ("state.name", 3, "text"),
    ],
)
def test_values_of_another_type_are_refused(path: str, value: object, kind: str) -> None:
    assert f"must be {kind}, not" in refusal(path, value)
    saved = SMALL.to_dict()
    room, _, name = path.rpartition(".")
    saved[room][name] = value
    with pytest.raises(ValueError, match=rf"^{path} must be {kind}, not"):
        Config.from_dict(saved)


# ------------------------------------------------------------------------------------- to text


@pytest.mark.parametrize("config", [Config(), SMALL, SMALL_SET])
def test_a_configuration_comes_back_from_text(config: Config) -> None:
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("room", ["as a whole", "ddpg"])
@pytest.mark.parametrize("change", ["missing", "unknown", "list", "none"])
def test_a_saved_configuration_with_other_fields_is_refused(room: str, change: str) -> None:
    saved = SMALL.to_dict()
    part = saved if room == "as a whole" else saved[room]
    if change == "missing":
        del part[next(iter(part))]
    elif change == "unknown":
        part["guidance"] = 1
    else:
        part = [] if change == "list" else None
    whole = saved if part is saved or room != "as a whole" else part
    if room == "ddpg":
        saved["ddpg"] = part
    with pytest.raises(ValueError, match=f"^the configuration {room}.* has not the fields"):
        Config.from_dict(whole)


def test_a_saved_configuration_is_checked_like_any_other() -> None:
    saved = SMALL.to_dict()
    saved["ddpg"]["gamma"] = 1.5
    with pytest.raises(ValueError, match=r"^ddpg\.gamma must be in 0 \.\. 1"):
        Config.from_dict(saved)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: PretrainConfig(updates=2.5), "pretrain.updates must be a whole number, not 2.5"),
        (lambda: DDPGConfig(n_steps=2.5), "ddpg.n_steps must be a whole number, not 2.5"),
        (lambda: DDPGConfig(gamma="0.9"), "ddpg.gamma must be a number, not '0.9'"),
        (lambda: StateConfig(k=True), "state.k must be a whole number, not True"),
        (lambda: StateConfig(name=None), "state.name must be text, not None"),
        (lambda: EnvConfig(horizon=3.0), "env.horizon must be a whole number, not 3.0"),
        (lambda: Config(validate_every=2.5), "validate_every must be a whole number, not 2.5"),
        (lambda: Config(seed=np.int64(1)), r"seed must be a whole number, not np.int64\(1\)"),
        (lambda: Config(state="DRR-ave"), "state must be a StateConfig, not 'DRR-ave'"),
    ],
)
def test_a_field_of_another_type_is_refused_where_it_is_made(make: Callable, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()
