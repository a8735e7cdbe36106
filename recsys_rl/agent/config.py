"""All that decides what an agent becomes; saved with the weights.

Names of states and linear models are looked up by whoever builds the agent: this file imports no
implementation.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, get_type_hints

OWN_DROPOUT = -1.0  # the dropout that the class of a state has
DEVICES = "auto", "cpu", "cuda", "mps"  # "auto": see `data.devices.resolved`
PRECISIONS = "float32", "bfloat16"
SESSIONS = (
    "cold-start",
    "simulated",
    "user-leaves",
    "consequences",
)  # environments whose limit is an end

_WORDS = {int: "a whole number", float: "a number", str: "text"}


@dataclass(frozen=True)
class StateConfig:
    name: str = "DRR-ave"  # see states/registry.py
    k: int = 100  # width of the item vectors
    n: int = 5  # items in the memory
    embeddings: str = "pretrained"  # what item vectors start from; or "random"
    linear: str = ""  # a linear model of the user beside the state, see baselines/registry.py
    noise: float = 0.02  # variance of what an answer says by chance, for that model or a belief
    contexts: int = 0  # items whose co-occurrence the vectors start from; 0: embeddings/contexts.py
    dropout: float = OWN_DROPOUT  # of the state's layers; -1: as the state has it

    def __post_init__(self) -> None:
        _typed(self)
        _at_least(self, k=1, n=1, noise=0, contexts=0)
        if self.dropout != OWN_DROPOUT and not 0 <= self.dropout < 1:
            raise ValueError(
                f"state.dropout must be 0 or more and below 1, or {OWN_DROPOUT:g} for the state's "
                f"own, not {self.dropout}"
            )
        _at_most(self, k=10_000, n=10_000)  # memory is asked for by these numbers
        _at_most(self, noise=1_000)  # a larger one leaves no precision
        _one_of(self, embeddings=("pretrained", "random"))


@dataclass(frozen=True)
class PretrainConfig:
    """Supervised pretraining of the actor."""

    updates: int = 4000
    batch_size: int = 512  # moments of a log, items in windows, or sessions of one's own
    lr: float = 1e-3  # the peak: 5 % warm-up, then linearly down to 0
    holdout_share: float = 0.0  # of the train users, whom only DDPG meets (cold start)
    negatives: int = 0  # items that stand for the catalogue in losses and in sessions; 0: all

    def __post_init__(self) -> None:
        _typed(self)
        _at_least(self, updates=0, batch_size=1, lr=0, negatives=0)
        _at_most(self, batch_size=10_000_000, negatives=100_000_000)
        if not 0 <= self.holdout_share < 1:
            raise ValueError(
                f"pretrain.holdout_share must be 0 or more and below 1, not {self.holdout_share}"
            )


@dataclass(frozen=True)
class DDPGConfig:
    updates: int = 1000  # each replays as many transitions as a step of all sessions makes
    actor_lr: float = 1e-4  # at first, then linearly down to 0
    gamma: float = 0.9
    n_steps: int = 10  # rewards in a return before Q takes over, cut where the agent explored
    tau: float = 0.05  # share of the way that the targets move at each update
    bc_weight: float = 10.0  # of the supervised loss beside Q; 0 is DDPG as published
    replay: str = "prioritized"  # or "uniform"
    epsilon: float = 0.1  # share of the steps that show an item sampled from the policy
    ou_sigma: float = 0.0  # Ornstein-Uhlenbeck noise on the action
    gradient: str = "expected"  # or "soft" or "deterministic", see `agent.build.GRADIENTS`

    def __post_init__(self) -> None:
        _typed(self)
        _at_least(self, updates=0, actor_lr=0, n_steps=1, bc_weight=0, ou_sigma=0)
        _at_most(self, ou_sigma=1_000)  # the action is at most 1
        _share(self, "gamma", "tau", "epsilon")
        _one_of(self, replay=("prioritized", "uniform"))
        _one_of(self, gradient=("expected", "soft", "deterministic"))


@dataclass(frozen=True)
class EnvConfig:
    name: str = "logged"  # or one of SESSIONS
    sessions: int = 1024  # that step together
    horizon: int = 10
    n_seed: int = 3  # liked items known at the start; not read where sessions are logged

    def __post_init__(self) -> None:
        _typed(self)
        _at_least(self, sessions=1, horizon=1, n_seed=1)
        _at_most(self, sessions=10**12, horizon=10_000, n_seed=10_000)
        _one_of(self, name=("logged", *SESSIONS))


@dataclass(frozen=True)
class Config:
    state: StateConfig = field(default_factory=StateConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    ddpg: DDPGConfig = field(default_factory=DDPGConfig)
    env: EnvConfig = field(default_factory=EnvConfig)
    weight_decay: float = 1e-5  # decoupled, on all but the vectors
    validate_every: int = 500  # updates
    seed: int = 0
    device: str = "cpu"  # where it is trained, one of DEVICES; no part of what an agent becomes
    precision: str = "float32"  # or "bfloat16": matrix products by which the actor learns

    def __post_init__(self) -> None:
        _typed(self)
        _at_least(self, weight_decay=0, validate_every=1, seed=0)
        _one_of(self, device=DEVICES, precision=PRECISIONS)
        session = self.env.n_seed + self.env.horizon
        if self.env.name != "logged" and self.state.n < session:
            raise ValueError(
                f"state.n is {self.state.n}, but a session has {self.env.n_seed} seed items and "
                f"{self.env.horizon} answers: it must be at least {session}"
            )
        if self.env.name == "logged" and self.state.linear:
            raise ValueError(
                'state.linear is for sessions that start with few answers: env.name is "logged"'
            )
        self._check_negatives()
        if self.env.name == "logged" and self.ddpg.gamma == 1:
            raise ValueError("ddpg.gamma must be below 1: logged sessions have no end that counts")
        if self.state.linear and self.ddpg.gradient == "deterministic":
            raise ValueError(
                'ddpg.gradient="deterministic" moves one vector, and state.linear adds scores of '
                "its own: leave one of them out"
            )
        if self.env.name != "cold-start" and self.pretrain.holdout_share:
            raise ValueError('pretrain.holdout_share needs env.name="cold-start"')
        if self.seed >= 2**63 - 3:  # the streams of environments count on from it
            raise ValueError(f"seed must be below 2**63 - 3, not {self.seed}")

    def _check_negatives(self) -> None:
        negatives, env = self.pretrain.negatives, self.env
        if negatives and env.name not in ("logged", "cold-start"):
            raise ValueError(
                "pretrain.negatives stand for the catalogue where sessions are made from a log: "
                f'env.name is "{env.name}", and not "logged" or "cold-start"'
            )
        if negatives and env.name == "cold-start" and self.ddpg.gradient == "soft":
            raise ValueError('ddpg.gradient="soft" scores all items: pretrain.negatives must be 0')
        if env.name == "cold-start" and 0 < negatives < env.n_seed + env.horizon:
            raise ValueError(
                f"pretrain.negatives is {negatives}, and a session names {env.n_seed} items and "
                f"shows {env.horizon}: it must be at least {env.n_seed + env.horizon}, or 0"
            )

    def to_dict(self) -> dict[str, Any]:
        """All but the device: releases and checkpoints are the same wherever they were made.

        Nor precision, contexts and dropout, where they are the default: so they were before there
        was a choice.
        """
        values = asdict(self)
        del values["device"]
        if self.precision == Config.precision:
            del values["precision"]
        for name in ("contexts", "dropout"):
            if getattr(self.state, name) == getattr(StateConfig, name):
                del values["state"][name]
        return values

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Config:
        """The reverse of `to_dict`; ValueError for what does not fit."""
        saved = filled(saved)
        if isinstance(saved, Mapping):
            saved = {"device": cls.device, "precision": cls.precision, **saved}
        return _read(cls, saved, "")

    def with_fields(self, changes: Mapping[str, Any]) -> Config:
        """Some fields changed at once, by their paths; text is converted.

        with_fields({"ddpg.gamma": 0.0, "seed": "3"})
        """
        values = asdict(self)
        if "state.name" in changes:  # another state has a dropout of its own
            values["state"]["dropout"] = OWN_DROPOUT
        for path, value in changes.items():
            if path not in paths():
                raise ValueError(f"there is no field {path!r}: choose among {', '.join(paths())}")
            group, _, name = path.rpartition(".")
            (values[group] if group else values)[name] = value
        return self.from_dict(values)

    def pretraining(self) -> Config:
        """With defaults for all that pretraining does not read: what agents share until DDPG."""
        read = {"gradient": self.ddpg.gradient}
        if self.env.name != "logged":  # pretraining plays, too
            read["epsilon"] = self.ddpg.epsilon
        return replace(self, ddpg=DDPGConfig(**read))

    def with_field(self, path: str, value: Any) -> Config:
        """One field changed: `with_field("ddpg.gamma", 0.0)`."""
        return self.with_fields({path: value})


def paths() -> list[str]:
    """Every field of the configuration, as `with_field` names it."""
    found = []
    for name, kind in get_type_hints(Config).items():
        inner = fields(kind) if hasattr(kind, "__dataclass_fields__") else ()
        found += [f"{name}.{each.name}" for each in inner] or [name]
    return found


def filled(saved: Any) -> Any:
    """A saved configuration; fields that came later, where it has none, at their defaults."""
    later = {"pretrain": {"negatives": 0}, "state": {"contexts": 0, "dropout": OWN_DROPOUT}}
    parts = {
        name: {**fields, **saved[name]}
        for name, fields in later.items()
        if isinstance(saved, Mapping) and isinstance(saved.get(name), Mapping)
    }
    return {**saved, **parts} if parts else saved


def _read(cls: type, saved: Any, where: str) -> Any:
    types = get_type_hints(cls)
    if not isinstance(saved, Mapping) or set(saved) != set(types):
        part = where.removesuffix(".") or "as a whole"
        raise ValueError(f"the configuration {part} has not the fields it should")
    values = {}
    for name, kind in types.items():
        path = f"{where}{name}"
        if hasattr(kind, "__dataclass_fields__"):
            values[name] = _read(kind, saved[name], f"{path}.")
        else:
            values[name] = _converted(path, saved[name], kind)
    return cls(**values)


def _converted(path: str, value: Any, kind: type) -> Any:
    """Text or a number as the type of its field."""
    right = isinstance(value, (str, kind)) or (kind is float and type(value) is int)
    try:
        if not right or isinstance(value, bool):
            raise ValueError
        if kind is not str and isinstance(value, str) and ("_" in value or not value.isascii()):
            raise ValueError  # Python would take 1_0 for 10
        return kind(value)
    except (ValueError, OverflowError):  # a whole number may be too large for a float
        raise ValueError(f"{path} must be {_WORDS[kind]}, not {reprlib.repr(value)}") from None


def _group(part: object) -> str:
    return type(part).__name__.removesuffix("Config").lower()


def _name(part: object, field: str) -> str:
    return f"{_group(part)}.{field}" if _group(part) else field


def _typed(part: object) -> None:
    """ValueError for a field that is not what its annotation says; a truth is no number."""
    for name, kind in get_type_hints(type(part)).items():
        value = getattr(part, name)
        right = isinstance(value, (float, int) if kind is float else kind)
        if not right or isinstance(value, bool):
            words = _WORDS.get(kind, f"a {kind.__name__}")
            raise ValueError(f"{_name(part, name)} must be {words}, not {reprlib.repr(value)}")


def _at_least(part: object, **least: float) -> None:
    for name, low in least.items():
        value = getattr(part, name)
        if not low <= value < float("inf"):  # false for NaN too
            raise ValueError(f"{_name(part, name)} must be at least {low}, not {value}")
        if isinstance(value, int) and value >= 2**63:
            raise ValueError(f"{_name(part, name)} must be below 2**63")


def _at_most(part: object, **most: float) -> None:
    for name, high in most.items():
        if getattr(part, name) > high:
            raise ValueError(f"{_name(part, name)} must be at most {high}")


def _share(part: object, *names: str) -> None:
    for name in names:
        if not 0 <= getattr(part, name) <= 1:
            raise ValueError(f"{_name(part, name)} must be in 0 .. 1, not {getattr(part, name)}")


def _one_of(part: object, **known: tuple[str, ...]) -> None:
    for name, choices in known.items():
        value = getattr(part, name)
        if value not in choices:
            raise ValueError(
                f"{_name(part, name)} must be one of {choices}, not {reprlib.repr(value)}"
            )
