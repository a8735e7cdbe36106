"""What a split asks for: rows to learn from, a validation, a test, and sessions.

The notebook, the training command and the study share the splits. The test part is looked at once,
at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from recsys_rl.agent.build import MakeEnv, Training, build, check
from recsys_rl.agent.config import Config
from recsys_rl.agent.ddpg import DDPG
from recsys_rl.agent.training import Trained, train
from recsys_rl.data.devices import CPU, generator_on
from recsys_rl.data.histories import UNKNOWN_TIME
from recsys_rl.data.interactions import Interactions
from recsys_rl.evaluation.calibration import Calibration
from recsys_rl.evaluation.scores import ScoreFunction
from recsys_rl.evaluation.statistics import Evaluation

MADE = "simulated", "user-leaves", "consequences"  # sessions that a split makes, and no log
MEAN = "mean "  # before a metric: over all that a model may be told of the clock
SAMPLE = 2000  # users on whom a learning curve is measured
Evaluate = Callable[[ScoreFunction], dict[str, Evaluation]]  # protocol -> what it says


@dataclass(frozen=True)
class Task:
    """What a split asks for.

    train: rows to learn from. validate: quick, for curves and the choice of weights by `metric`;
    None where a split has no validation part. test: every protocol of the split. about: one line.
    make_env: for `build`, where sessions are not made from a log, and env, their name. test_users:
    rows of the users held out whole, where there are some. embeddings: for `build`, where they are
    made of more than the rows. calibrate: Q against returns with users the critic learned from and
    with others, where sessions have an end that counts. validate_clock, test_clock: for agents that
    read the clock, in place of `validate` and beside `test`. mark: what
    the rows do not say of the data, for names of checkpoints.
    """

    train: Interactions
    validate: Callable[[ScoreFunction], dict[str, float]] | None
    metric: str
    test: Evaluate
    about: str
    make_env: Callable[[Config], MakeEnv] | None = None
    env: str = ""
    test_users: Interactions | None = None
    embeddings: Callable[[Config], Any] | None = None
    calibrate: Callable[[DDPG], dict[str, Calibration]] | None = None
    validate_clock: Callable[[ScoreFunction], dict[str, float]] | None = None
    test_clock: Evaluate | None = None
    mark: str = ""

    def build(self, config: Config, **options: Any) -> Training:
        """Agent, environment, demonstrations and replay for this task (`agent.build.build`)."""
        self._check_sessions(config)
        make_env = self.make_env and self.make_env(config)
        embeddings = self.embeddings and self.embeddings(config)
        return build(config, self.train, make_env=make_env, embeddings=embeddings, **options)

    def check(self, config: Config) -> None:
        """Refuse, before anything is trained, what could not be trained (`agent.build.check`)."""
        self._check_sessions(config)
        check(config, self.train, sessions=self.make_env is None)

    def _check_sessions(self, config: Config) -> None:
        needed, found = self.env, config.env.name
        if (needed or found in MADE) and needed != found:
            raise ValueError(
                f'env.name is "{found}": an agent of {found} sessions needs a split that makes '
                f"them, and this one makes {needed or 'none'}"
            )

    def fit(self, training: Training, **options: Any) -> Trained:
        """Train with this task's validation (`agent.training.train`)."""
        validate, metric = self.validate, self.metric
        if self.validate_clock and training.agent.actor.state.reads_clock:
            validate, metric = self.validate_clock, f"{MEAN}{metric}"
        by_score = validate and (lambda agent: validate(agent.score))
        return train(training, validate=by_score, metric=metric, **options)

    def without_clock(self) -> Task:
        """The same where nobody knows when the rows were rated: their order alone is learned."""
        unknown = torch.full_like(self.train.timestamp, UNKNOWN_TIME)
        train = replace(self.train, timestamp=unknown)
        return replace(self, train=train, validate_clock=None, test_clock=None)

    def tested(self, agent: DDPG, score: ScoreFunction | None = None) -> dict[str, Evaluation]:
        """Every protocol for an agent, or for a score function made of it.

        One that reads the clock has rows of its own for what it is told.
        """
        score = score or agent.score
        found = self.test(score)
        if self.test_clock and agent.actor.state.reads_clock:
            found |= self.test_clock(score)
        return found


def seeded(seed: int) -> torch.Generator:
    return generator_on(CPU, seed)


def permuted(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=seeded(seed), device=CPU)


def refuse_few(there: bool, who: str) -> None:
    if not there:
        raise ValueError(f"the data are too few for this split: {who}")
