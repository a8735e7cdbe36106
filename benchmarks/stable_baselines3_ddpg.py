"""Trains Stable-Baselines3's DDPG in `recsys_rl/ColdStart-v0` and evaluates it like the others.

    python -m benchmarks.stable_baselines3_ddpg --dataset ml-100k --seed 0

It is their code as it is (Raffin et al., JMLR 22, 2021), a plain network over `flat_observation`:
no supervised pretraining, a critic of directions and not of items. It meets train users only and
is evaluated by the mean reward of a step with users held out (`cold_start_sessions`). Test
results go into the table of `results.py`, rewards by user; those of validation users are printed.
"""

import argparse
import time
from pathlib import Path

import gymnasium
import numpy as np
import pandas as pd
import torch
from stable_baselines3 import DDPG
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor

from benchmarks import results
from benchmarks.options import exit_with
from recsys_rl.data.arguments import MOST_THREADS, number_of, whole_number
from recsys_rl.data.interactions import Interactions
from recsys_rl.envs.registration import ID, item_vectors, load_users, score_function
from recsys_rl.evaluation.scores import ScoreFunction
from recsys_rl.evaluation.sessions import HORIZONS, cold_start_sessions

# The best of thirteen short runs on validation users of ml-100k, one seed each, no full search.
SETTINGS = {
    "k": 8,
    "envs": 8,
    "noise": 0.5,  # deviation of the normal noise that is added to every action
    "gamma": 0.5,
    "learning_rate": 1e-4,
    "batch_size": 128,
    "learning_starts": 2000,
    "gradient_steps": 4,  # updates for the `envs` steps between them
    "net_arch": [128, 128],
}
FORMS = {  # of the options, by what stands in `SETTINGS`
    int: {"type": whole_number(1)},
    float: {"type": number_of("a number of at least 0")},
    list: {"type": whole_number(1), "nargs": "+"},
}


def train(
    users: Interactions, vectors: Tensor, settings: dict, steps: int, seed: int, horizon: int = 40
) -> DDPG:
    """`steps` items are shown in all, in `envs` sessions side by side."""

    def make() -> gymnasium.Env:
        return gymnasium.make(ID, users=users, vectors=vectors, observe="vectors", horizon=horizon)

    k = vectors.shape[1]
    model = DDPG(
        "MlpPolicy",
        DummyVecEnv([make] * settings["envs"]),
        action_noise=NormalActionNoise(np.zeros(k), np.full(k, settings["noise"])),
        train_freq=1,
        buffer_size=steps,
        policy_kwargs={"net_arch": settings["net_arch"]},
        **{name: settings[name] for name in ("gamma", "learning_rate", "batch_size")},
        **{name: settings[name] for name in ("learning_starts", "gradient_steps")},
        seed=seed,
        device="cpu",
    )
    return model.learn(steps)


def scores_of(model: DDPG, vectors: Tensor) -> ScoreFunction:
    """The actor without its noise, as the evaluations take it."""
    return score_function(lambda seen: model.predict(seen, deterministic=True)[0], vectors)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--root", type=Path, default=Path("data"))
    parser.add_argument(
        "--steps", type=whole_number(1), default=40_000, help="films shown in training"
    )
    parser.add_argument("--seed", type=whole_number(0), default=0)
    parser.add_argument("--users", choices=["validation", "test"], default="test")
    parser.add_argument("--threads", type=whole_number(1, MOST_THREADS), default=1)
    for name, value in SETTINGS.items():
        parser.add_argument(f"--{name}", default=value, **FORMS[type(value)])
    options = parser.parse_args(arguments)
    settings = {name: getattr(options, name) for name in SETTINGS}
    torch.set_num_threads(options.threads)
    if options.users == "test":
        results.ready()  # before the training
    groups = load_users(options.root, options.dataset)
    vectors = item_vectors(groups.train, settings["k"])
    begun, cpu = time.perf_counter(), time.process_time()
    model = train(groups.train, vectors, settings, options.steps, options.seed)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    users = getattr(groups, options.users)
    found = cold_start_sessions(scores_of(model, vectors), users)
    rewards = [f"reward@{t}" for t in HORIZONS]
    shown = {name: round(found.mean()[name], 4) for name in rewards}
    print(f"{options.users} users, {seconds:.0f} s: {shown}", flush=True)
    if options.users != "test":
        return
    key = {"dataset": options.dataset, "split": "cold-start", "agent": "SB3 DDPG"}
    key |= {"seed": options.seed, "stage": "final"}
    counts = torch.bincount(groups.train.item, minlength=groups.train.n_items)
    spent = {"training_seconds": seconds, "training_cpu_seconds": cpu, "threads": options.threads}
    sessions = {"protocol": "cold-start-sessions"} | key
    results.record(pd.concat([
        results.rows_of(found, by_user=rewards, counts=counts, **sessions),
        results.rows(spent, protocol="training", **key),
    ]))  # fmt: skip


if __name__ == "__main__":
    exit_with(main)
