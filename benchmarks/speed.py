"""How fast the environment steps, alone and with the updates of DDPG.

    python -m benchmarks.speed --dataset ml-1m --agent DRR-ave --threads 2

Prints steps of sessions a second (those that are over step on with the batch and count) of actor
and environment alone and of the whole loop (`ddpg_update`: acting, stepping, storing, one draw from
the replay, one update of critic, actor and targets a step), and the update ratio: transitions
learned from for each step of a session. The agent is not pretrained and its vectors are random:
that costs the same.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch

from recsys_rl.agent.build import Training, build
from recsys_rl.agent.training import ddpg_update
from recsys_rl.data.download import DATA_FOLDER
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.movielens import load_ratings
from recsys_rl.experiments import ROOTS, config_of
from recsys_rl.tasks import split_for, task_of

AGENTS = [name for name, config in ROOTS.items() if config.env.name != "simulated"]


def play(training: Training) -> None:
    """One step of all sessions, without learning."""
    agent, environment, *_ = training
    if environment.over:
        environment.reset()
        agent.noise.reset()
    environment.step(agent.explore(environment.observation(), environment.excluded))


def learn(training: Training) -> None:
    ddpg_update(*training)


def speed(step: Callable[[Training], None], training: Training, steps: int) -> float:
    """Steps of sessions a second, over `steps` steps of all of them."""
    begun = time.perf_counter()
    for _ in range(steps):
        step(training)
    return steps * training.agent.config.env.sessions / (time.perf_counter() - begun)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ml-1m")
    parser.add_argument("--agent", default="DRR-ave", choices=AGENTS)
    parser.add_argument("--root", type=Path, default=DATA_FOLDER)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    config = config_of(options.agent, options.dataset)
    config = config.with_field("state.embeddings", "random").with_field("ddpg.warmup", 0)
    data = Interactions.from_ratings(load_ratings(options.root / options.dataset))
    training = build(config, task_of(data, split_for(config.env.name)).train)
    training.agent.start_ddpg()
    speed(learn, training, 10)  # does not count
    alone = speed(play, training, options.steps)
    whole = speed(learn, training, options.steps)
    ratio = config.ddpg.batch_size / config.env.sessions
    print(f"{options.dataset}, {options.threads} threads, {config.env.sessions} sessions")
    print(f"actor and environment alone: {alone:,.0f} steps/s")
    print(f"with updates: {whole:,.0f} steps/s, update ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
