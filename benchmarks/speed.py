"""How fast the environment steps, alone and with the updates of DDPG.

    python -m benchmarks.speed --dataset ml-1m --agent DRR-ave --threads 2

Prints steps of sessions a second (those that are over step on with the batch and count) of actor
and environment alone and of the whole loop (`ddpg_update`: acting, stepping, storing, and for each
step one draw from the replay of as many transitions and one update of critic, actor and targets).
The agent is not pretrained and its vectors are random: that costs the same.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.options import exit_with
from recsys_rl.agent.build import Training, build
from recsys_rl.agent.config import DEVICES
from recsys_rl.agent.training import ddpg_update, play
from recsys_rl.data.arguments import MOST_THREADS, whole_number
from recsys_rl.data.download import DATA_FOLDER
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.movielens import load_ratings
from recsys_rl.experiments import ROOTS, config_of
from recsys_rl.tasks.base import MADE
from recsys_rl.tasks.registry import split_for, task_of

AGENTS = [name for name, config in ROOTS.items() if config.env.name not in MADE]


def playing(training: Training) -> None:
    """One round of sessions, without learning."""
    play(training.agent, training.environment)


def learning(training: Training) -> None:
    """The updates of one round of sessions."""
    for _ in range(training.environment.horizon):
        ddpg_update(*training)


def speed(part: Callable[[Training], None], training: Training, rounds: int) -> float:
    """Steps of sessions a second, over `rounds` rounds of them."""
    training.agent.check()  # waits for the device, as below
    begun = time.perf_counter()
    for _ in range(rounds):
        part(training)
    training.agent.check()
    env = training.agent.config.env
    return rounds * env.horizon * env.sessions / (time.perf_counter() - begun)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ml-1m")
    parser.add_argument("--agent", default="DRR-ave", choices=AGENTS)
    parser.add_argument("--root", type=Path, default=DATA_FOLDER)
    parser.add_argument("--threads", type=whole_number(1, MOST_THREADS), default=2)
    parser.add_argument("--device", default="cpu", choices=DEVICES)
    parser.add_argument("--rounds", type=whole_number(1), default=5, help="of sessions")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    config = config_of(options.agent, options.dataset)
    # without a number of updates there is no share of them in which the critic learns alone
    config = config.with_fields({"state.embeddings": "random", "ddpg.updates": 0})
    config = config.with_field("device", options.device)
    data = Interactions.from_ratings(load_ratings(options.root / options.dataset))
    training = build(config, task_of(data, split_for(config.env.name)).train)
    training.agent.start_ddpg()
    speed(learning, training, 1)  # does not count
    alone = speed(playing, training, options.rounds)
    whole = speed(learning, training, options.rounds)
    where = f"{options.threads} threads on {training.agent.device}"
    print(f"{options.dataset}, {where}, {config.env.sessions} sessions")
    print(f"actor and environment alone: {alone:,.0f} steps/s")
    print(f"with updates: {whole:,.0f} steps/s")


if __name__ == "__main__":
    exit_with(main)
