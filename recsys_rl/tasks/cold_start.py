"""Users held out whole: the split of the cold-start sessions."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys_rl.agent.ddpg import DDPG
from recsys_rl.data.counts import check_counts
from recsys_rl.data.devices import CPU
from recsys_rl.data.histories import POSITIVE
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.splits import rows_of_users, split_holdout_users, split_users
from recsys_rl.envs.cold_start import ColdStartEnv
from recsys_rl.evaluation.calibration import Calibration, calibration
from recsys_rl.evaluation.scores import ScoreFunction
from recsys_rl.evaluation.sessions import cold_start_sessions, seed_and_suggest
from recsys_rl.evaluation.statistics import Evaluation
from recsys_rl.tasks.base import SAMPLE, Task, permuted, refuse_few, seeded


def cold_start_users(data: Interactions, number: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Train, validation and test users, 80/10/10; int64 each. Every number holds out others."""
    return split_users(data.n_users, generator=seeded(number))


def users_of_eighth(data: Interactions, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Train, validation and test users: of eight groups one is tested, 1 <= number <= 8."""
    check_counts(8, number=number)
    groups = split_users(data.n_users, (1 / 8,) * 8)
    others = torch.cat([*groups[: number - 1], *groups[number:]])
    shuffled = others[torch.randperm(len(others), generator=seeded(number), device=CPU)]
    validation, train = shuffled.tensor_split([data.n_users // 10])
    return train, validation, groups[number - 1]


def cold_start_task(data: Interactions, users: tuple[Tensor, Tensor, Tensor]) -> Task:
    train, validation, test_users = (data.select(rows_of_users(data, some)) for some in users)
    few = validation  # of a large set, or each validation would take hours
    if len(users[1]) > SAMPLE:
        few = data.select(rows_of_users(data, users[1][permuted(len(users[1]), 1)[:SAMPLE]]))
    for part, held_out in {"validation": few, "test": test_users}.items():
        likes = torch.bincount(held_out.user[held_out.rating >= POSITIVE], minlength=1)
        refuse_few(int(likes.max()) >= 6, f"no {part} user likes six items")

    def validate(score: ScoreFunction) -> dict[str, float]:
        found = cold_start_sessions(score, few, draws=3).mean()
        return {name: value for name, value in found.items() if name.startswith("reward")}

    def test(score: ScoreFunction) -> dict[str, Evaluation]:
        return {
            "seed-and-suggest": seed_and_suggest(score, test_users),
            "cold-start-sessions": cold_start_sessions(score, test_users),
        }

    def calibrate(agent: DDPG) -> dict[str, Calibration]:
        config = agent.config
        _, met = split_holdout_users(train, config.pretrain.holdout_share, config.seed)
        return {
            name: calibration(
                agent.score,
                agent.q,
                ColdStartEnv(some, horizon=config.env.horizon, n_seed=config.env.n_seed),
                config.ddpg.gamma,
            )
            for name, some in (("users of the critic", met), ("test users", test_users))
        }

    about = (
        "users held out whole (10 %) name three random films they like and are shown 40: "
        "reward@T, the mean reward per step over T steps"
    )
    return Task(
        train, validate, "reward@40", test, about, test_users=test_users, calibrate=calibrate
    )
