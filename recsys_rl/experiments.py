"""The one registry of experiments: what the notebook, the training command and the study train.

The roots stand by themselves; every other agent names its parent and the ONE field that differs.

    config_of("DRR-set-gamma-0", "ml-1m", seed=3)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from recsys_rl.agent.config import Config, DDPGConfig, EnvConfig, PretrainConfig, StateConfig

SEQ = Config(
    state=StateConfig("DRR-seq", k=96, n=200),
    pretrain=PretrainConfig(batch_size=1024, lr=4e-3),
    env=EnvConfig(sessions=128),
    weight_decay=0.01,
    validate_every=1000,
)
ROOTS = {
    "DRR-ave": Config(),
    "DRR-seq": SEQ,
    "DRR-seq-clock": SEQ.with_field("state.name", "DRR-seq-clock"),
    "DRR-set": Config(
        state=StateConfig("DRR-set", k=128, n=43, linear="gaussian"),
        pretrain=PretrainConfig(lr=2e-3),
        ddpg=DDPGConfig(actor_lr=2e-4, gamma=0.95, n_steps=40, bc_weight=0.5, replay="uniform"),
        env=EnvConfig("cold-start", sessions=256, horizon=40),
        weight_decay=0.01,
    ),
    "DRR-set-simulated": Config(
        state=StateConfig("DRR-set", k=128, n=13),
        pretrain=PretrainConfig(batch_size=128, lr=2e-3),
        ddpg=DDPGConfig(actor_lr=1e-3, bc_weight=0.1, replay="uniform"),
        env=EnvConfig("simulated", sessions=128, horizon=10),
        weight_decay=0.01,
    ),
    "user-leaves": Config(
        state=StateConfig("belief", k=6, n=31, noise=0.0025),
        ddpg=DDPGConfig(
            actor_lr=2e-3, gamma=0.95, n_steps=1, bc_weight=0.0, replay="uniform", gradient="soft"
        ),
        env=EnvConfig("user-leaves", sessions=256, horizon=30, n_seed=1),
        validate_every=150,
    ),
    "consequences": Config(
        state=StateConfig("affected", k=8, n=33, noise=0.5),
        ddpg=DDPGConfig(
            actor_lr=5e-3,
            gamma=0.95,
            n_steps=5,
            tau=0.1,
            bc_weight=0.0,
            replay="uniform",
            gradient="soft",
        ),
        env=EnvConfig("consequences", sessions=64, horizon=30),
        validate_every=50,
    ),
}

# Updates of pretraining and of DDPG, chosen on validation data; other sets take those of ml-1m.
BUDGETS = {
    "ml-100k": {
        "DRR-ave": (1000, 400),
        "DRR-seq": (1140, 100),  # 12 epochs of leave-one-out
        "DRR-seq-clock": (1140, 100),
        "DRR-set": (500, 400),
        "DRR-set-simulated": (500, 500),
        "user-leaves": (0, 1200),
        "consequences": (0, 200),
    },
    "ml-1m": {
        "DRR-ave": (4000, 800),
        "DRR-seq": (7680, 200),  # 8 epochs of leave-one-out
        "DRR-seq-clock": (11520, 300),  # 12 epochs: half of the rows hide something
        "DRR-set": (5000, 1200),
        "DRR-set-simulated": (1000, 2000),
        "user-leaves": (0, 1200),
        "consequences": (0, 200),
    },
}
NOISE = {"ml-100k": 0.1, "ml-1m": 0.02}  # of the linear model; chosen on validation users
DROPOUT = {("ml-1m", "DRR-seq"): 0.1}  # chosen on validation items; the others keep their own
HOLDOUT = {"ml-100k": 0.15, "ml-1m": 0.1}  # of the train users, for DDPG alone; some 110 and 480


class Variant(NamedTuple):
    """An agent that differs from its parent in one field."""

    parent: str
    field: str
    value: Any


VARIANTS = {
    "DRR-p": Variant("DRR-ave", "state.name", "DRR-p"),
    "DRR-u": Variant("DRR-ave", "state.name", "DRR-u"),
    "DRR-att": Variant("DRR-ave", "state.name", "DRR-att"),
    "DRR-ave-n-1": Variant("DRR-ave", "state.n", 1),
    "DRR-ave-n-10": Variant("DRR-ave", "state.n", 10),
    "DRR-ave-n-20": Variant("DRR-ave", "state.n", 20),
    "DRR-ave-random-embeddings": Variant("DRR-ave", "state.embeddings", "random"),
    "DRR-ave-no-pretraining": Variant("DRR-ave", "pretrain.updates", 0),
    "DRR-ave-ddpg-only": Variant("DRR-ave-no-pretraining", "ddpg.bc_weight", 0.0),
    "DRR-ave-gamma-0": Variant("DRR-ave", "ddpg.gamma", 0.0),
    "DRR-ave-uniform-replay": Variant("DRR-ave", "ddpg.replay", "uniform"),
    "DRR-ave-no-noise": Variant("DRR-ave", "ddpg.epsilon", 0.0),
    "DRR-ave-ou-noise": Variant("DRR-ave-no-noise", "ddpg.ou_sigma", 0.2),
    "DRR-ave-deterministic": Variant("DRR-ave-ou-noise", "ddpg.gradient", "deterministic"),
    "DRR-ave-uniform-replay-no-noise": Variant("DRR-ave-no-noise", "ddpg.replay", "uniform"),
    "DRR-ave-uniform-replay-ou-noise": Variant("DRR-ave-ou-noise", "ddpg.replay", "uniform"),
    "DRR-set-gamma-0": Variant("DRR-set", "ddpg.gamma", 0.0),
    "DRR-set-no-linear": Variant("DRR-set", "state.linear", ""),
    "DRR-set-no-holdout": Variant("DRR-set", "pretrain.holdout_share", 0.0),
    "DRR-set-no-holdout-gamma-0": Variant("DRR-set-no-holdout", "ddpg.gamma", 0.0),
    "DRR-set-simulated-ou-noise": Variant("DRR-set-simulated", "ddpg.ou_sigma", 0.2),
    "DRR-set-simulated-deterministic": Variant(
        "DRR-set-simulated-ou-noise", "ddpg.gradient", "deterministic"
    ),
    "DRR-set-simulated-gamma-0": Variant("DRR-set-simulated", "ddpg.gamma", 0.0),
}
VARIANTS |= {
    "user-leaves-gamma-0": Variant("user-leaves", "ddpg.gamma", 0.0),
    "user-leaves-no-ratings": Variant("user-leaves", "state.name", "no-belief"),
    "user-leaves-noise-10": Variant("user-leaves", "state.noise", 10.0),
    "user-leaves-ou-noise": Variant("user-leaves", "ddpg.ou_sigma", 0.2),
    "user-leaves-deterministic": Variant("user-leaves-ou-noise", "ddpg.gradient", "deterministic"),
}
VARIANTS |= {"consequences-gamma-0": Variant("consequences", "ddpg.gamma", 0.0)}
NAMES = (*ROOTS, *VARIANTS)


def root_of(name: str) -> str:
    """The root that an experiment descends from."""
    if name not in NAMES:
        raise ValueError(f"there is no agent {name!r}: choose among {', '.join(NAMES)}")
    while name in VARIANTS:
        name = VARIANTS[name].parent
    return name


def config_of(name: str, dataset: str = "ml-1m", seed: int = 0) -> Config:
    """The configuration of an experiment for a data set and a training seed."""
    root = root_of(name)
    if name in VARIANTS:
        parent, field, value = VARIANTS[name]
        return config_of(parent, dataset, seed).with_field(field, value)
    nearest = dataset if dataset in BUDGETS else _nearest(dataset)
    pretrain, ddpg = BUDGETS[nearest][root]
    budget: dict[str, Any] = {"pretrain.updates": pretrain, "ddpg.updates": ddpg}
    if ROOTS[root].state.linear:
        budget |= {"state.noise": NOISE[nearest], "pretrain.holdout_share": HOLDOUT[nearest]}
    if (nearest, root) in DROPOUT:
        budget |= {"state.dropout": DROPOUT[nearest, root]}
    return ROOTS[root].with_fields(budget | {"seed": seed})


def configs_of(
    names: Iterable[str],
    dataset: str = "ml-1m",
    seed: int = 0,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Config]:
    """Configurations by name, with `changes` {name: {field: value}}; ValueError for other names."""
    names, changes = list(names), changes or {}
    if unknown := [name for name in changes if name not in names]:
        raise ValueError(
            f"changes are for an agent that is trained here, {', '.join(names)}, and not for "
            f"{unknown[0]!r}"
        )
    return {n: config_of(n, dataset, seed).with_fields(changes.get(n, {})) for n in names}


def _nearest(dataset: str) -> str:
    return "ml-100k" if dataset == "ml-latest-small" else "ml-1m"
