"""Trains Stable-Baselines3's DDPG in `recsys_rl/Strangers-v0` and judges it like everybody else.

    python benchmarks/stable_baselines3_ddpg.py --dataset ml-100k --people test --seed 0

It is their code as it is (Raffin et al., JMLR 22, 2021), a plain network over `flat_observation`:
no warm start, no imitation, a critic of directions and not of films. It meets train people only and
is judged by mean reward per step with people held out (`sessions_with_strangers`). The run lands in
benchmarks/results/strangers/<dataset>-SB3-DDPG-<seed>.json, whichever people judged; the file says.
"""

import argparse
import json
import time
from pathlib import Path

import gymnasium
import numpy as np
import stable_baselines3
import torch
from stable_baselines3 import DDPG
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor

from recsys_rl.data.interactions import Interactions
from recsys_rl.envs.registration import ID, film_vectors, load_people, score_function
from recsys_rl.evaluation.metrics import list_statistics
from recsys_rl.evaluation.scores import ScoreFunction
from recsys_rl.evaluation.sessions import HORIZONS, sessions_with_strangers
from recsys_rl.evaluation.statistics import Evaluation

# The best of thirteen short runs on validation people of ml-100k, one seed each, no full search.
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


def train(
    people: Interactions, vectors: Tensor, settings: dict, steps: int, seed: int, horizon: int = 40
) -> DDPG:
    """`steps` films are shown in all, in `envs` sessions side by side."""

    def make() -> gymnasium.Env:
        return gymnasium.make(
            ID, people=people, item_vectors=vectors, observe="vectors", horizon=horizon
        )

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
    """The actor without its noise, as the judges want it."""
    return score_function(lambda seen: model.predict(seen, deterministic=True)[0], vectors)


def report(result: Evaluation, train_people: Interactions) -> dict:
    """Means, intervals over people and what was shown."""
    counts = torch.bincount(train_people.item, minlength=train_people.n_items)
    lists = list_statistics(result.top, counts)
    return {"mean": result.mean(), "interval": result.interval(), "lists": lists}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--root", type=Path, default=Path("data"))
    parser.add_argument("--steps", type=int, default=40_000, help="films shown in training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--people", choices=["validation", "test"], default="test")
    parser.add_argument("--threads", type=int, default=1)
    default = Path(__file__).parent / "results" / "strangers"
    parser.add_argument("--out", type=Path, default=default, help="the folder")
    for name in SETTINGS:
        parser.add_argument(f"--{name}", type=json.loads, default=SETTINGS[name])
    options = parser.parse_args(arguments)
    settings = {name: getattr(options, name) for name in SETTINGS}
    torch.set_num_threads(options.threads)
    groups = load_people(options.root, options.dataset)
    vectors = film_vectors(groups.train, settings["k"])
    begun, cpu = time.perf_counter(), time.process_time()
    model = train(groups.train, vectors, settings, options.steps, options.seed)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    judged = sessions_with_strangers(scores_of(model, vectors), getattr(groups, options.people))
    result = {
        "dataset": options.dataset,
        "agent": "SB3-DDPG",
        "seed": options.seed,
        "people": options.people,
        "steps": options.steps,
        "settings": settings,
        "training_seconds": round(seconds, 1),
        "training_cpu_seconds": round(cpu, 1),
        "threads": options.threads,
        "versions": {"torch": torch.__version__, "stable_baselines3": stable_baselines3.__version__}
        | {"gymnasium": gymnasium.__version__},
    } | report(judged, groups.train)
    write(options.out / f"{options.dataset}-SB3-DDPG-{options.seed}.json", result)
    shown = {f"T = {t}": round(result["mean"][f"reward@{t}"], 4) for t in HORIZONS}
    print(f"{options.people} people, {seconds:.0f} s: {shown}", flush=True)


def write(path: Path, result: dict) -> None:
    """Through a temporary file, so that an interrupted run leaves the old figures whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(result, indent=1) + "\n")
    temporary.replace(path)


if __name__ == "__main__":
    main()
