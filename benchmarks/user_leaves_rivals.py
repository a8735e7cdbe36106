"""Trains Stable-Baselines3's agents in `recsys_rl/UserLeaves-v0` and judges them like the others.

    python -m benchmarks.user_leaves_rivals --agent A2C --seed 0 --turns 560000 --minutes 10

Their code and their default hyper-parameters as they are (Raffin et al., JMLR 22, 2021): A2C, PPO
and DQN choose among the items, TD3 and DDPG give a vector whose nearest item is shown. By these
defaults TD3 and DDPG explore in their first 100 turns only, for they add no noise to an action.

They meet the train users of the truth and are judged on users held out (`whole_sessions`). A2C and
PPO learn distributions, and the mode of one may say little of it: whether their actions are sampled
or are the mode, validation users choose. What ends a training, the turns or the minutes, comes
first; one that the minutes ended is another one on another machine. Results of test users go into
the table of `results.py`; those of validation users are printed.
"""

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import gymnasium
import numpy as np
import pandas as pd
import torch
from stable_baselines3 import A2C, DDPG, DQN, PPO, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor

from benchmarks import results
from benchmarks.options import exit_with
from benchmarks.worlds import DATASET
from recsys_rl.data.arguments import MOST_THREADS, number_of, whole_number
from recsys_rl.data.interactions import Interactions
from recsys_rl.embeddings.rating_factors import RatingFactors
from recsys_rl.envs.gym_common import interactions_of
from recsys_rl.envs.gym_user_leaves import ID, score_function
from recsys_rl.envs.user_leaves import (
    FACTORS,
    LeavingWorld,
    UserLeavesEnv,
    leaving_users,
    leaving_worlds,
    random_play,
)
from recsys_rl.evaluation.sessions import whole_sessions
from recsys_rl.evaluation.statistics import Evaluation


@dataclass(frozen=True)
class Rival:
    """An agent of Stable-Baselines3: the form of its actions, and how many sessions run at once.

    sampled: whether its policy is a distribution that it may sample from.
    """

    make: Callable[..., BaseAlgorithm]
    action: str
    sessions: int = 1
    sampled: bool = False


RIVALS = {
    "A2C": Rival(A2C, "item", sessions=8, sampled=True),
    "PPO": Rival(PPO, "item", sessions=8, sampled=True),
    "DQN": Rival(DQN, "item"),
    "TD3": Rival(TD3, "vector"),
    "DDPG": Rival(DDPG, "vector"),
}


@dataclass(frozen=True, eq=False)
class World:
    """The truth, and what was learned of it before: played, by train users at random."""

    truth: LeavingWorld
    train_users: Tensor
    validation: Tensor
    test: Tensor
    played: Interactions
    factors: RatingFactors


def world_in(root: Path, dataset: str) -> World:
    """As `GymUserLeavesEnv` makes it of a data set."""
    data = interactions_of(root, dataset)
    truth, users = leaving_worlds(data).truth, leaving_users(data.n_users)
    played = random_play(truth, users[0], data)
    factors = RatingFactors.of(played, FACTORS, torch.Generator().manual_seed(0))
    return World(truth, *users, played, factors)


class Budget(BaseCallback):
    """Ends a training after so many turns or minutes, whichever comes first.

    It is asked after every turn, and never while a network learns, so that PPO may take longer; and
    A2C and PPO learn nothing from what they collected since their latest update.
    """

    def __init__(self, turns: int, minutes: float) -> None:
        super().__init__()
        self.turns, self.end = turns, time.perf_counter() + 60 * minutes

    def _on_step(self) -> bool:
        return self.num_timesteps < self.turns and time.perf_counter() < self.end


def train(agent: str, world: World, seed: int, turns: int, minutes: float) -> BaseAlgorithm:
    """turns: items that are shown in all; a multiple of the sessions, which step together."""
    rival = RIVALS[agent]

    def make() -> gymnasium.Env:
        users = {"users": world.train_users, "action": rival.action}
        return gymnasium.make(ID, world=world.truth, factors=world.factors, **users)

    sessions = DummyVecEnv([make] * rival.sessions)
    model = rival.make("MlpPolicy", sessions, seed=seed, device="cpu")
    return model.learn(turns, callback=Budget(turns, minutes))


def judged(
    model: BaseAlgorithm, agent: str, world: World, users: Tensor, sampled: bool
) -> Evaluation:
    """sampled: whether actions are sampled, with a fixed seed, or are the mode."""

    def act(seen: np.ndarray) -> np.ndarray:
        return model.predict(seen, deterministic=not sampled)[0]

    torch.manual_seed(0)
    score = score_function(act, world.factors, RIVALS[agent].action)
    return whole_sessions(score, UserLeavesEnv(world.truth, users=users))


def chosen(model: BaseAlgorithm, agent: str, world: World) -> bool:
    """Whether actions are sampled: as validation users return more."""
    returns = {}
    for sampled in (False, True) if RIVALS[agent].sampled else (False,):
        mean = judged(model, agent, world, world.validation, sampled).mean()
        show(agent, "validation users, " + ("sampled" if sampled else "the mode"), mean)
        returns[sampled] = mean["return"]
    return max(returns, key=returns.get)


def show(agent: str, what: str, values: Mapping[str, float]) -> None:
    rounded = {name: round(value, 3) for name, value in values.items()}
    print(f"SB3 {agent}, {what}: {rounded}", flush=True)


def rows_of(found: Evaluation, spent: dict, world: World, **key) -> pd.DataFrame:
    """Returns and lengths by user, and what the training took."""
    counts = torch.bincount(world.played.item, minlength=world.played.n_items)
    by_user = list(found.metrics)
    return pd.concat([
        results.rows_of(found, by_user=by_user, counts=counts, protocol="user-leaves", **key),
        results.rows(spent, protocol="training", **key),
    ])  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agent", choices=RIVALS, required=True)
    parser.add_argument("--dataset", default=DATASET)
    parser.add_argument("--root", type=Path, default=Path("data"))
    parser.add_argument("--seed", type=whole_number(0), default=0)
    parser.add_argument(
        "--turns", type=whole_number(1), default=560_000, help="films shown in training"
    )
    parser.add_argument("--minutes", type=number_of("a number of minutes"), default=10.0)
    parser.add_argument("--users", choices=["validation", "test"], default="test")
    parser.add_argument("--threads", type=whole_number(1, MOST_THREADS), default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.users == "test":
        results.ready()  # before the training
    agent, world = options.agent, world_in(options.root, options.dataset)
    begun, cpu = time.perf_counter(), time.process_time()
    model = train(agent, world, options.seed, options.turns, options.minutes)
    spent = {
        "training_seconds": time.perf_counter() - begun,
        "training_cpu_seconds": time.process_time() - cpu,
        "threads": options.threads,
        "turns": model.num_timesteps,
    }
    show(agent, "training", spent)
    spent["sampled"] = chosen(model, agent, world)
    if options.users == "test":
        found = judged(model, agent, world, world.test, spent["sampled"])
        show(agent, "test users", found.mean())
        key = {"dataset": options.dataset, "split": "user-leaves", "agent": f"SB3 {agent}"}
        key |= {"seed": options.seed, "stage": "final"}
        results.record(rows_of(found, spent, world, **key))


if __name__ == "__main__":
    exit_with(main)
