"""Sessions with users who leave when they are shown too much of the same."""

from __future__ import annotations

from dataclasses import replace

from recsys_rl.agent.build import MakeEnv
from recsys_rl.agent.config import Config
from recsys_rl.agent.ddpg import DDPG
from recsys_rl.data.devices import CPU, generator_on
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.random_streams import own_stream
from recsys_rl.embeddings.places import fit_places
from recsys_rl.embeddings.rating_factors import RatingFactors
from recsys_rl.envs.user_leaves import (
    MisledEnv,
    UserLeavesEnv,
    leaving_users,
    leaving_worlds,
    random_turns,
    rated,
)
from recsys_rl.evaluation.calibration import Calibration, calibration
from recsys_rl.evaluation.scores import ScoreFunction
from recsys_rl.evaluation.sessions import whole_sessions
from recsys_rl.evaluation.statistics import Evaluation
from recsys_rl.states.registry import STATES
from recsys_rl.tasks.base import Task, refuse_few


def user_leaves_task(data: Interactions, trained_in: str = "truth") -> Task:
    """Users who leave: trained and chosen in a world, tested in the truth with other users."""
    worlds = leaving_worlds(data)
    train, validation, test_users = leaving_users(data.n_users)
    refuse_few(min(len(validation), len(test_users)) > 1, "one user is left to validate or to test")
    world = {"truth": worlds.truth, "model": worlds.model}[trained_in]
    turns = random_turns(world, train)
    log = rated(turns, world, data)

    def validate(score: ScoreFunction) -> dict[str, float]:
        return whole_sessions(score, UserLeavesEnv(world, users=validation)).mean()

    def test(score: ScoreFunction) -> dict[str, Evaluation]:
        environments = {
            "user-leaves": UserLeavesEnv(worlds.truth, users=test_users),
            "user-leaves, another's ratings": MisledEnv(worlds.truth, users=test_users),
        }
        return {name: whole_sessions(score, env) for name, env in environments.items()}

    def calibrate(agent: DDPG) -> dict[str, Calibration]:
        groups = {"users of the critic": train, "test users": test_users}
        return {
            name: calibration(
                agent.score,
                agent.q,
                UserLeavesEnv(world, users=users, horizon=agent.config.env.horizon),
                agent.config.ddpg.gamma,
                draws=1,
            )
            for name, users in groups.items()
        }

    def make_env(config: Config) -> MakeEnv:
        env = config.env
        return lambda _, generator: UserLeavesEnv(
            world.to(generator.device),
            users=train,
            sessions=env.sessions,
            horizon=env.horizon,
            generator=generator,
        )

    def embeddings(config: Config) -> RatingFactors | None:
        """Ratings tell the vectors, and who left tells which items are too much of the same."""
        state, seed = config.state, config.seed
        reads = getattr(STATES.get(state.name), "pretrained", "")
        if state.embeddings == "random" or reads != "ratings":
            return None  # `build` makes what the state needs
        factors = RatingFactors.of(log, state.k, generator_on(CPU, seed))
        places = fit_places(turns, world.n_items, state.k, own_stream(seed, "places"))
        return replace(factors, places=places)

    about = (
        f"users who leave when shown too much of the same; trained on the {trained_in}, tested "
        "with other users on the truth: the sum of the ratings of a session of 30 items at most"
    )
    return Task(
        log,
        validate,
        "return",
        test,
        about,
        make_env,
        "user-leaves",
        embeddings=embeddings,
        calibrate=calibrate,
    )
