"""Sessions with simulated users: as in the paper, and with a dial for consequences."""

from __future__ import annotations

import hashlib

import pandas as pd

from recsys_rl.agent.build import MakeEnv
from recsys_rl.agent.config import Config
from recsys_rl.agent.ddpg import DDPG
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.splits import split_users
from recsys_rl.embeddings.rating_factors import DescribedFactors, RatingFactors
from recsys_rl.envs.consequences import (
    HORIZON,
    ConsequencesEnv,
    consequence_users,
    consequence_worlds,
    rated_at_random,
)
from recsys_rl.envs.simulated import SimulatedEnv
from recsys_rl.envs.simulators import simulators
from recsys_rl.evaluation.calibration import Calibration, calibration
from recsys_rl.evaluation.scores import ScoreFunction
from recsys_rl.evaluation.sessions import simulated_sessions, whole_sessions
from recsys_rl.evaluation.statistics import Evaluation
from recsys_rl.tasks.base import Task, refuse_few, seeded

SERIES = 0.1  # what a like in a row adds to the next reward, in the split simulated-series


def simulated_task(data: Interactions, series: float = 0.0) -> Task:
    """Simulator A, PMF on one half of the ratings, to train in; B, neighbours on the other half.

    Settings were chosen on a tenth of the users in A; the others test, in A and in B.
    """
    others, few = split_users(data.n_users, (0.9, 0.1))
    refuse_few(len(few) > 0, "a tenth of the users is nobody")
    worlds = simulators(data)

    def validate(score: ScoreFunction) -> dict[str, float]:
        return simulated_sessions(score, worlds.a, few, series=series).mean()

    def test(score: ScoreFunction) -> dict[str, Evaluation]:
        return {
            f"simulated-{name}": simulated_sessions(score, world, others, series=series)
            for name, world in (("A", worlds.a), ("B", worlds.b))
        }

    def calibrate(agent: DDPG) -> dict[str, Calibration]:
        env, found = agent.config.env, {}
        for name, world in (("simulator A", worlds.a), ("simulator B", worlds.b)):
            sessions = SimulatedEnv(
                world, users=others, horizon=env.horizon, n_seed=env.n_seed, series=series
            )
            gamma = agent.config.ddpg.gamma
            found[name] = calibration(agent.score, agent.q, sessions, gamma, draws=1)
        return found

    def make_env(config: Config) -> MakeEnv:
        env = config.env
        return lambda _, generator: SimulatedEnv(
            worlds.a.to(generator.device),
            sessions=env.sessions,
            horizon=env.horizon,
            n_seed=env.n_seed,
            series=series,
            generator=generator,
        )

    about = "simulated users: trained in simulator A, tested in A and B, ten items after three"
    return Task(
        worlds.log, validate, "reward@10", test, about, make_env, "simulated", calibrate=calibrate
    )


def consequences_task(
    data: Interactions, movies: pd.DataFrame | None, form: str, dial: float
) -> Task:
    """Simulated users with consequences: trained and chosen in A, tested in A and B."""
    if movies is None:
        raise ValueError("consequences depend on genres: give the films, as load_movies does")
    worlds, consequence, films = consequence_worlds(data, movies, form, dial)
    users, validation, test_users = consequence_users(data.n_users)
    refuse_few(min(len(validation), len(test_users)) > 1, "one user is left to validate or to test")
    log = rated_at_random(worlds.a, users, films)

    def validate(score: ScoreFunction) -> dict[str, float]:
        return whole_sessions(
            score, ConsequencesEnv(worlds.a, consequence, users=validation)
        ).mean()

    def test(score: ScoreFunction) -> dict[str, Evaluation]:
        return {
            f"simulated-{name}": whole_sessions(
                score, ConsequencesEnv(world, consequence, users=test_users)
            )
            for name, world in (("A", worlds.a), ("B", worlds.b))
        }

    def calibrate(agent: DDPG) -> dict[str, Calibration]:
        gamma, groups = (
            agent.config.ddpg.gamma,
            {
                "users of the critic": (worlds.a, users),
                "test users": (worlds.a, test_users),
                "test users, simulator B": (worlds.b, test_users),
            },
        )
        return {
            name: calibration(
                agent.score,
                agent.q,
                ConsequencesEnv(world, consequence, users=some),
                gamma,
                draws=1,
            )
            for name, (world, some) in groups.items()
        }

    def make_env(config: Config) -> MakeEnv:
        env = config.env
        return lambda _, generator: ConsequencesEnv(
            worlds.a.to(generator.device),
            consequence,
            users=users,
            sessions=env.sessions,
            horizon=env.horizon,
            n_seed=env.n_seed,
            generator=generator,
        )

    def embeddings(config: Config) -> DescribedFactors:
        generator = seeded(config.seed)
        factors = RatingFactors.of(log, config.state.k, generator)
        return DescribedFactors(factors.user, factors.item, consequence.films)

    about = (
        f"simulated users, {form} at {dial:g}: trained in simulator A, tested with other users in "
        f"A and B: the sum of the rewards of {HORIZON} films"
    )
    return Task(
        log,
        validate,
        "return",
        test,
        about,
        make_env,
        "consequences",
        embeddings=embeddings,
        calibrate=calibrate,
        mark="-" + hashlib.sha256(consequence.films.cpu().numpy().tobytes()).hexdigest()[:8],
    )
