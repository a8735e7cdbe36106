"""Small logs whose right answers are known, and the training loop in its shortest form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from recsys_rl.agent.config import Settings
from recsys_rl.agent.ddpg import DDPG, Start
from recsys_rl.agent.replay import ReplayBuffer, Transitions
from recsys_rl.data.interactions import IdMap, Interactions
from recsys_rl.envs.logged import LoggedSessions

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
    """Users with 2 to n_items - 4 films each and every half star; the last item has no rating."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(n_users):
        films = rng.permutation(n_items - 1)[: rng.integers(2, n_items - 3)]
        rows += [(user, int(film), float(rng.integers(1, 11) / 2)) for film in films]
    return log_of(rows, n_users, n_items)


def two_tastes(n_users: int = 60, n_items: int = 24, seed: int = 0) -> Interactions:
    """Everybody rates everything in random order: 5 for films as odd or even as they are, else 1.

    Whoever recommends the same films to everybody earns 0 a step on average, so does a random
    order; whoever reads the memory can earn 1.
    """
    rng = np.random.default_rng(seed)
    return log_of(
        [
            (user, int(film), 5.0 if film % 2 == user % 2 else 1.0)
            for user in range(n_users)
            for film in rng.permutation(n_items)
        ],
        n_users,
        n_items,
    )


def settings_of(**changes: object) -> Settings:
    """A tiny agent without PMF."""
    small: dict = {
        "k": 6,
        "n": 3,
        "hidden": 16,
        "vectors": "random",
        "batch_size": 16,
        "sessions": 8,
        "horizon": 4,
        "capacity": 64,
        "critic_warmup": 0,
        "demonstrations": 16,
        "imitation_updates": 20,
    }
    return Settings(**(small | changes))


class Training:
    """Agent, environment, replay and demonstrations, and the loop that joins them."""

    def __init__(self, log: Interactions, settings: Settings, start: Start | None = None) -> None:
        self.agent = DDPG(settings, log.n_users, log.n_items, start)
        self.sessions, self.demonstrations = self.agent.play(log)
        self.replay: ReplayBuffer = self.agent.memory()

    def imitate(self, updates: int) -> None:
        for _ in range(updates):
            self.agent.imitate(next(self.demonstrations))

    def collect(self) -> Transitions:
        """One step of all sessions, stored; returns what was stored."""
        if self.sessions.over:
            self.sessions.reset()
            self.agent.noise.reset()
        before = self.sessions.observation()
        action = self.agent.explore(self.agent.act(before))
        after, reward, terminated, _, info = self.sessions.step(action)
        stored = Transitions.of(before, info["item"], reward, after, terminated, info["active"])
        self.replay.add(stored)
        return stored

    def learn(self, updates: int) -> Iterator[dict[str, float]]:
        for _ in range(updates):
            self.collect()
            batch, weights, places = self.replay.sample(
                self.agent.settings.batch_size, self.agent.generator
            )
            losses, td_error = self.agent.update(batch, weights, next(self.demonstrations))
            self.replay.update_priorities(places, td_error)
            yield losses

    def run(self, updates: int) -> None:
        for _ in self.learn(updates):
            pass

    @property
    def parts(self) -> dict[str, object]:
        """What a checkpoint holds; moments draw from the sessions and have no state."""
        parts = {"agent": self.agent, "sessions": self.sessions, "replay": self.replay}
        if hasattr(self.demonstrations, "state_dict"):
            parts["demonstrations"] = self.demonstrations
        return parts

    def weights(self) -> dict[str, Tensor]:
        names = "actor", "critic", "target_actor", "target_critic"
        return {
            f"{name}.{key}": value.clone()
            for name in names
            for key, value in getattr(self.agent, name).state_dict().items()
        }


def mean_reward(agent: DDPG, log: Interactions, start: int, steps: int = 5) -> float:
    """Mean reward of a step without exploration; strangers whose first `start` rows are known."""
    sessions = LoggedSessions(
        log,
        agent.actor.item_vectors,
        n=agent.settings.n,
        horizon=steps,
        anonymous_share=1.0,
        reads_from=agent.actor.state.reads_from,
    )
    users = torch.arange(log.n_users)
    sessions.reset(options={"users": users, "rows": log.offsets[users] + start})
    rewards = [sessions.step(agent.act(sessions.observation()))[1] for _ in range(steps)]
    return float(torch.stack(rewards).mean())
