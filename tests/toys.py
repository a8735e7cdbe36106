"""Small logs whose right answers are known, and tiny agents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recsys_rl.agent.build import Training
from recsys_rl.agent.config import Config, DDPGConfig, EnvConfig, PretrainConfig, StateConfig
from recsys_rl.agent.ddpg import DDPG
from recsys_rl.agent.training import ddpg_update
from recsys_rl.data.histories import Histories
from recsys_rl.data.interactions import IdMap, Interactions
from recsys_rl.envs.logged import LoggedEnv
from recsys_rl.states.belief import Belief
from recsys_rl.states.registry import STATES

torch.set_num_threads(1)  # everything here is tiny: threads cost more than they bring

Row = tuple[int, int, float]  # user, item, rating


def log_of(rows: Sequence[Row], n_users: int, n_items: int) -> Interactions:
    """Rows in the order given within a user. The ids leave gaps: user u is 10 u + 7, item i is
    3 i + 2, so that an index taken for an id is seen."""
    rows = sorted(rows, key=lambda row: row[0])
    user, item, rating = zip(*rows, strict=True)
    return Interactions(
        torch.tensor(user),
        torch.tensor(item),
        torch.tensor(rating, dtype=torch.float32),
        torch.arange(len(rows)),
        IdMap(np.arange(n_users) * 10 + 7),
        IdMap(np.arange(n_items) * 3 + 2),
    )


def random_log(n_users: int = 12, n_items: int = 20, seed: int = 0) -> Interactions:
    """Users with 2 to n_items - 4 items each and every half star; the last item has no rating."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(n_users):
        items = rng.permutation(n_items - 1)[: rng.integers(2, n_items - 3)]
        rows += [(user, int(item), float(rng.integers(1, 11) / 2)) for item in items]
    return log_of(rows, n_users, n_items)


def two_tastes(n_users: int = 60, n_items: int = 24, seed: int = 0) -> Interactions:
    """Everybody rates everything in random order: 5 for items as odd or even as they are, else 1.

    Whoever recommends the same items to everybody earns 0 a step on average, so does a random
    order; whoever reads the memory can earn 1.
    """
    rng = np.random.default_rng(seed)
    return log_of(
        [
            (user, int(item), 5.0 if item % 2 == user % 2 else 1.0)
            for user in range(n_users)
            for item in rng.permutation(n_items)
        ],
        n_users,
        n_items,
    )


def mixed_log(n_users: int = 14, n_items: int = 24, seed: int = 0) -> Interactions:
    """Users with 8 to 20 items each, about half of them liked; user 2 has no row."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(n_users):
        items = rng.permutation(n_items)[: rng.integers(8, 21)]
        stars = rng.choice([1.0, 3.5, 4.0, 5.0], len(items))
        rows += [(user, int(item), float(r)) for item, r in zip(items, stars, strict=True)]
    return log_of([row for row in rows if row[0] != 2], n_users, n_items)


def histories_of(*users: Sequence[tuple[int, float]], n_items: int) -> Histories:
    """Users whom no model has met, as pairs (item, stars), oldest first."""
    width = max(map(len, users))
    rows = [[(n_items, 0.0)] * (width - len(pairs)) + list(pairs) for pairs in users]
    table = torch.tensor(rows).view(len(users), width, 2)  # (B, H, 2)
    return Histories(torch.full((len(users),), 99), table[..., 0].long(), table[..., 1])


SMALL = Config(
    StateConfig(k=6, n=3, embeddings="random"),
    PretrainConfig(updates=20, batch_size=16),
    DDPGConfig(updates=20),
    EnvConfig(sessions=16, horizon=4),
)
# an agent for cold-start users, which reads the Gaussian beside its sets
SMALL_SET = Config(
    StateConfig("DRR-set", k=6, n=7, linear="gaussian"),
    PretrainConfig(updates=20, lr=2e-3),
    DDPGConfig(updates=20, bc_weight=0.02, replay="uniform"),
    EnvConfig("cold-start", sessions=16, horizon=4),
    weight_decay=0.01,
)


def changed(config: Config = SMALL, changes: Mapping[str, Any] | None = None) -> Config:
    """A configuration with other values: changed(SMALL, {"ddpg.gamma": 0.0})."""
    for path, value in (changes or {}).items():
        config = config.with_field(path, value)
    return config


def pretrain(training: Training, updates: int) -> None:
    for _ in range(updates):
        training.agent.pretrain(next(training.demonstrations))


def learn(training: Training, updates: int) -> Iterator[dict[str, float]]:
    """DDPG updates, the losses of each; `list(learn(...))` runs them all."""
    for _ in range(updates):
        yield ddpg_update(*training)


def weights_of(agent: DDPG) -> dict[str, Tensor]:
    """Every weight of the four networks, by name."""
    names = "actor", "critic", "target_actor", "target_critic"
    return {
        f"{name}.{key}": value.clone()
        for name in names
        for key, value in getattr(agent, name).state_dict().items()
    }


def mean_reward(agent: DDPG, log: Interactions, start: int, steps: int = 5) -> float:
    """Mean reward of a greedy step with unknown users whose first `start` rows are known."""
    state = agent.actor.state
    env = LoggedEnv(log, n=state.n, horizon=steps, anonymous_share=1.0, reads_from=state.reads_from)
    users = torch.arange(log.n_users)
    env.reset(options={"users": users, "rows": log.offsets[users] + start})
    rewards = [env.step(agent.act(env.observation(), env.excluded))[1] for _ in range(steps)]
    return float(torch.stack(rewards).mean())


# states whose item vectors are learned in the training
LEARNED = [name for name, state in STATES.items() if not issubclass(state, Belief)]
