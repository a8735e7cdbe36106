"""The project's DDPG in SARDINE's SlateTopK-Bored, a simulator that others made.

    python -m benchmarks.sardine --agent sardine --seed 0
    python -m benchmarks.sardine --agent sardine-gamma-0 --seed 0 --out FOLDER

The world: `sardine_world.py`. The algorithm is `VectorDDPG`: the critic sees the vector, the actor
follows dQ/da. It explores by noise, more of it in some sessions than in others, on the best by Q of
16 vectors near the actor's (as Kalashnikov et al., CoRL 2018, arXiv 1806.10293, choose by samples);
it is judged without.

B = sessions, V = items, w = width of a vector.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import results
from benchmarks.options import exit_with
from benchmarks.policy_files import load_weights, metadata_of, unreadable, write_policy
from benchmarks.sardine_world import (
    NUMBERS,
    SLATE,
    STEPS,
    TOPICS,
    SlateEnv,
    clicks,
    held_out,
    item_vectors,
    judged,
    slates_of,
)
from benchmarks.study import calibration_rows
from recsys_rl.agent.build import Training
from recsys_rl.agent.config import Config, DDPGConfig, EnvConfig, PretrainConfig, StateConfig
from recsys_rl.agent.ddpg import Choice
from recsys_rl.agent.exploration import OUNoise, session_epsilons
from recsys_rl.agent.networks import Actor, VectorCritic
from recsys_rl.agent.replay import PrioritizedReplayBuffer, Transitions
from recsys_rl.agent.training import train
from recsys_rl.agent.vector import VectorDDPG
from recsys_rl.data.arguments import whole_number
from recsys_rl.data.atomic_files import writable
from recsys_rl.data.histories import Histories
from recsys_rl.evaluation.calibration import Calibration, discounted_returns
from recsys_rl.states.base import State
from recsys_rl.states.linear import GatedLinear

ROUNDS = 100  # of sessions that the replay keeps
BATCH, WIDTH = 128, 128  # transitions of an update; neurons of a layer
LAST = 10  # steps of a session that a state counts one by one
PROPOSALS, NEAR = 16, 0.1  # vectors that the critic chooses among, and their deviation
REACH = 0.5  # of what is added to the taste, at most, in each place of a vector
SOFTNESS = 0.05  # of the slate that the critic's gradient goes through
ROOT = Config(
    # n: a session's check asks for it, the state reads NUMBERS columns
    state=StateConfig("sardine", k=2 * TOPICS, n=STEPS + 1, embeddings="random"),
    pretrain=PretrainConfig(updates=0),
    ddpg=DDPGConfig(
        updates=6_000,
        actor_lr=1e-3,
        gamma=0.8,
        n_steps=1,
        tau=0.02,
        bc_weight=0.0,
        replay="prioritized",
        epsilon=0.0,
        ou_sigma=0.1,
        gradient="deterministic",
    ),
    env=EnvConfig("simulated", sessions=16, horizon=STEPS, n_seed=1),
)
AGENTS = {"sardine": {}, "sardine-gamma-0": {"ddpg.gamma": 0.0}}


class Numbers(State):
    """What the simulator says of its user, and how soon a session ends, where that is soon.

    Items have vectors that never change.
    """

    size, session_items = NUMBERS + 1, NUMBERS

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.item_vectors = nn.Embedding(self.n_items + 1, self.k).requires_grad_(False)

    def initialise(self, generator: torch.Generator) -> None:
        self.item_vectors.weight.copy_(F.pad(item_vectors(), (0, 0, 0, 1)))

    def forward(self, histories: Histories) -> Tensor:
        soon = (histories.clock * STEPS - STEPS + LAST).clamp(min=0) / LAST
        return torch.cat([histories.rating, soon], 1)


class SlateCritic(VectorCritic):
    """Q(s, a) reads the vector by the slate that it shows: the mean of the slate's vectors.

    Vectors that show the same slate are worth the same. The mean is weighted as DCG weighs ranks;
    its gradient is that of the softmax over all items. Beside it stand products by topic: with the
    taste, and of the topics with the clicks lately.
    """

    def __init__(self, *sizes: Any) -> None:
        super().__init__(*sizes)
        self.join = nn.Linear(WIDTH + 2 * self.state.k, WIDTH)

    def forward(self, histories: Histories, action: Tensor) -> Tensor:
        vectors = self.item_vectors
        scores = F.normalize(action, dim=1) @ vectors.T  # (B, V)
        weight = 1 / torch.log2(torch.arange(SLATE) + 2.0)
        shown = vectors[scores.topk(SLATE, 1).indices]  # (B, SLATE, w)
        mean = (shown * (weight / weight.sum()).unsqueeze(1)).sum(1)
        if action.requires_grad:
            soft = (scores / SOFTNESS).softmax(1) @ vectors
            mean = soft + (mean - soft).detach()
        products = mean * histories.rating[:, : 2 * TOPICS]
        return super().forward(histories, torch.cat([mean, products], 1))


class TasteActor(Actor):
    """a = the user's taste + what the network emits, which is next to nothing before training."""

    squashed = False

    def initialise(self, generator: torch.Generator) -> None:
        super().initialise(generator)
        for parameter in self.body[-2].parameters():  # before the tanh
            parameter.data *= 0.01

    def forward(self, histories: Histories) -> Tensor:
        taste = F.pad(histories.rating[:, :TOPICS], (0, self.state.k - TOPICS))
        return taste + REACH * super().forward(histories)


class SlateDDPG(VectorDDPG):
    """The paper's form, with an actor that starts at the taste and a critic that reads slates.

    It explores near the best by Q of some vectors near the actor's, by normal noise; its
    deviations, one a session, are `session_epsilons` of `ddpg.ou_sigma`.
    """

    critic_lr = 2e-3
    warmup = 0.1

    def _state(self) -> Numbers:
        state = Numbers(self.n_users, self.n_items, self.config.state.k, self.config.state.n)
        state.initialise(self.own_generator)
        return state

    @staticmethod
    def new_actor(config: Config, state: State, linear: GatedLinear | None) -> TasteActor:
        return TasteActor(state, linear, WIDTH)

    def new_critic(self, state: State, linear: GatedLinear | None) -> SlateCritic:
        return SlateCritic(state, self.config.env.horizon, self.config.ddpg.gamma, WIDTH)

    def new_noise(self, sessions: int) -> OUNoise:
        sigma = session_epsilons(sessions, self.config.ddpg.ou_sigma).unsqueeze(1)
        return OUNoise(sessions, self.config.state.k, sigma, theta=1.0)

    @torch.no_grad()
    def explore(self, histories: Histories, excluded: Tensor, noise: OUNoise) -> Choice:
        action = self.actor(histories)
        moved = self.best_near(histories, action) + noise.sample(self.generator)
        slate = slates_of(moved)
        return Choice(slate[:, 0], (slate == slates_of(action)).all(1), moved)

    def best_near(self, histories: Histories, action: Tensor) -> Tensor:
        """The one with the largest Q of vectors near an action, itself included -> [B, w]."""
        vectors = action.unsqueeze(1).repeat(1, PROPOSALS, 1)
        vectors[:, 1:] += NEAR * torch.randn(vectors[:, 1:].shape, generator=self.generator)
        each = torch.arange(len(action))
        rows = histories.at(each.repeat_interleave(PROPOSALS))
        q = self.critic(rows, vectors.flatten(0, 1)).view(-1, PROPOSALS)
        return vectors[each, q.argmax(1)]

    @torch.no_grad()
    def slates(self, histories: Histories) -> Tensor:
        """What the actor shows -> int64 [B, SLATE]."""
        return slates_of(self.actor(histories))


class Replay(PrioritizedReplayBuffer):
    """Draws BATCH transitions, however few sessions step together."""

    def sample(
        self, batch_size: int, generator: torch.Generator
    ) -> tuple[Transitions, Tensor, Tensor]:
        return super().sample(BATCH, generator)


def config_of(agent: str, seed: int) -> Config:
    return ROOT.with_fields(AGENTS[agent] | {"seed": seed})


def new_agent(config: Config) -> SlateDDPG:
    return SlateDDPG(config, SlateEnv.n_users, len(item_vectors()))


def trained(config: Config) -> SlateDDPG:
    """By the one loop, with fewer sessions a step than transitions an update."""
    agent, env = new_agent(config), config.env
    environment = SlateEnv(env.sessions, torch.Generator().manual_seed(config.seed + 1))
    capacity = ROUNDS * env.sessions * STEPS
    replay = Replay(
        NUMBERS, agent.n_items, capacity, action=config.state.k, anneal=config.ddpg.updates
    )
    train(Training(agent, environment, iter(()), replay))
    return agent


def save(agent: SlateDDPG, folder: Path) -> None:
    """The actor, without the vectors of the items, and the configuration, which the weights name
    too."""
    text = json.dumps(agent.config.to_dict(), indent=1) + "\n"
    write_policy(folder, agent.actor.body.state_dict(), {"config": text}, {"config.json": text})


def load(folder: Path) -> SlateDDPG:
    """What `save` wrote; ValueError where it cannot be read."""
    text = (folder / "config.json").read_text(encoding="utf-8")
    if metadata_of(folder).get("config", text) != text:
        raise ValueError(
            f"{folder} mixes the weights of one training with the configuration of another: remove "
            "that folder, and train it again"
        )
    try:
        agent = new_agent(Config.from_dict(json.loads(text)))
    except ValueError as error:
        raise unreadable(folder, error) from None
    load_weights(agent.actor.body, folder)
    return agent


def calibrated(agent: SlateDDPG, users: Tensor) -> Calibration:
    """Q of what is shown beside the discounted clicks that follow."""
    values = []

    def slates(histories: Histories) -> Tensor:
        vectors = agent.actor(histories)
        values.append(agent.critic(histories, vectors))
        return slates_of(vectors)

    returns = discounted_returns(clicks(slates, users), agent.config.ddpg.gamma)
    return Calibration(users, torch.stack(values, 1), returns)


def rows_of(agent: SlateDDPG, name: str, spent: dict[str, float]) -> pd.DataFrame:
    """Returns by user, calibration and what the training took, as rows of the table."""
    key = {"dataset": "sardine", "split": "sardine", "agent": name, "seed": agent.config.seed}
    found = judged(agent.slates, held_out())
    print(f"{name}, seed {agent.config.seed}: {found.mean()}", flush=True)
    final = key | {"stage": "final"}
    rows = pd.concat([
        results.rows_of(found, by_user=list(found.metrics), protocol="sardine", **final),
        results.rows(spent, protocol="training", **final),
        *calibration_rows({"test users": calibrated(agent, held_out())}, key),
    ])  # fmt: skip
    return rows[np.isfinite(rows["value"])]  # a relative error is not where all are bored


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agent", choices=AGENTS, default="sardine")
    parser.add_argument("--seed", type=whole_number(0), default=0)
    parser.add_argument("--out", type=Path, help="a folder for the weights")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    results.ready()  # before the training
    if options.out:
        writable(options.out)
    begun, cpu = time.perf_counter(), time.process_time()
    agent = trained(config_of(options.agent, options.seed))
    spent = {
        "training_seconds": time.perf_counter() - begun,
        "training_cpu_seconds": time.process_time() - cpu,
        "threads": 1,
    }
    try:
        if options.out:
            save(agent, options.out)
    finally:  # a full disk there costs no row
        results.record(rows_of(agent, options.agent, spent))


if __name__ == "__main__":
    exit_with(main)
