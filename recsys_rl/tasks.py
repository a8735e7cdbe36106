"""Splits with their evaluations: what an agent trains on, is chosen by, and is tested by.

The notebook, the training command and the study share them. The test part is looked at once, at the
end.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from recsys_rl.agent.build import MakeEnv, Training, build, check
from recsys_rl.agent.config import Config
from recsys_rl.agent.ddpg import DDPG
from recsys_rl.agent.training import Trained, train
from recsys_rl.data.devices import CPU, generator_on
from recsys_rl.data.histories import POSITIVE, UNKNOWN_TIME
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.notes import note
from recsys_rl.data.splits import (
    after_a_pause,
    leave_one_out,
    random_split,
    rows_of_users,
    split_by_time,
    split_holdout_users,
    split_users,
)
from recsys_rl.embeddings.rating_factors import DescribedFactors, RatingFactors
from recsys_rl.envs.cold_start import ColdStartEnv
from recsys_rl.envs.consequences import (
    FORMS,
    HORIZON,
    ConsequencesEnv,
    consequence_users,
    consequence_worlds,
    rated_at_random,
)
from recsys_rl.envs.simulated import SimulatedEnv
from recsys_rl.envs.simulators import simulators
from recsys_rl.envs.user_leaves import (
    MisledEnv,
    UserLeavesEnv,
    leaving_users,
    leaving_worlds,
    random_play,
)
from recsys_rl.evaluation.calibration import Calibration, calibration
from recsys_rl.evaluation.protocols import (
    READS,
    leave_one_out_metrics,
    random_positive_metrics,
    random_positive_split,
    ranking_task,
    sample_negatives,
    temporal_metrics,
)
from recsys_rl.evaluation.reranking import offline_reranking
from recsys_rl.evaluation.scores import ScoreFunction
from recsys_rl.evaluation.sessions import (
    cold_start_sessions,
    seed_and_suggest,
    simulated_sessions,
    whole_sessions,
)
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
    read the clock, in place of `validate` and beside `test`.
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


def task_of(data: Interactions, split: str, movies: pd.DataFrame | None = None) -> Task:
    """A split by its name: see `SPLITS`; cold-start-eighth-1 to -8 hold out every user once;
    simulated-satisfaction-0.25, -satiation-1, ...: see `_consequences`.

    movies: item and genres, as `load_movies` gives them; the last ones alone need them.
    """
    if found := _consequence_of(split):
        return _consequences(data, movies, found[1], float(found[2]))
    if found := re.fullmatch(r"cold-start-eighth-([1-8])", split):
        return _cold_start(data, users_of_eighth(data, int(found[1])))
    if split not in SPLITS:
        raise ValueError(f"there is no split {split!r}: choose among {', '.join(SPLITS)}")
    return SPLITS[split](data)


def needs_movies(split: str) -> bool:
    """Whether `task_of` asks for the films."""
    return _consequence_of(split) is not None


def _consequence_of(split: str) -> re.Match | None:
    """Form and dial, where a split's name has them."""
    return re.fullmatch(rf"simulated-({'|'.join(FORMS)})-([01](?:\.\d+)?)", split)


def _generator(seed: int) -> torch.Generator:
    return generator_on(CPU, seed)


def _shuffled(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=_generator(seed), device=CPU)


def _needs(there: bool, who: str) -> None:
    if not there:
        raise ValueError(f"the data are too few for this split: {who}")


NEGATIVES = 99


def _negatives(known: Interactions, target: Interactions, seed: int) -> Tensor:
    """99 items that each target's user does not know; -1, and a note, where there are fewer."""
    drawn = sample_negatives(
        known, target.user, NEGATIVES, generator=_generator(seed), allow_fewer=True
    )
    users = target.user[drawn[:, 0] < 0].unique()
    if len(users):
        note(
            f"{len(users):,} of {len(target.user.unique()):,} users have not left {NEGATIVES} of "
            f"{known.n_items:,} films unrated: metrics among {NEGATIVES} leave them out"
        )
    return drawn


def _leave_one_out(data: Interactions) -> Task:
    split = leave_one_out(data)
    _needs(len(split.test) > 0, "nobody has rated three items")
    few = torch.zeros(len(split.validation), dtype=torch.bool, device=CPU)
    few[_shuffled(len(few), 1)[:SAMPLE]] = True
    sample = split.validation.select(few.to(data.user.device))
    few_negatives = sample_negatives(
        data, sample.user, NEGATIVES, generator=_generator(2), allow_fewer=True
    )
    history, target = ranking_task(split, "test")
    negatives = _negatives(data, target, 3)

    def validate(score: ScoreFunction) -> dict[str, float]:
        return leave_one_out_metrics(score, split.train, sample, few_negatives).mean()

    def test(score: ScoreFunction) -> dict[str, Evaluation]:
        return {"leave-one-out": leave_one_out_metrics(score, history, target, negatives)}

    def validate_clock(score: ScoreFunction) -> dict[str, float]:
        found = validate(score) | {
            f"{metric}{ending}": value
            for reads, ending in WITH_CLOCK.items()
            for metric, value in leave_one_out_metrics(score, split.train, sample, reads=reads)
            .mean()
            .items()
        }
        values = [found[f"ndcg@10{ending}"] for ending in READS.values()]
        return found | {f"{MEAN}ndcg@10": sum(values) / len(values)}

    about = "leave one out: each user's latest item among all unseen items, and among 99"
    return Task(
        split.train,
        validate,
        "ndcg@10",
        test,
        about,
        validate_clock=validate_clock,
        test_clock=_with_clock("leave-one-out", history, target),
    )


WITH_CLOCK = {reads: ending for reads, ending in READS.items() if reads != "order"}


def _with_clock(name: str, history: Interactions, target: Interactions) -> Evaluate:
    """The protocol for models that are told times, each way under a name of its own."""
    return lambda score: {
        f"{name}{ending}": leave_one_out_metrics(score, history, target, reads=reads)
        for reads, ending in WITH_CLOCK.items()
    }


def _after_a_pause(data: Interactions) -> Task:
    split = after_a_pause(data)
    history, target = split.train, split.test
    _needs(len(target) > 0, "nobody has paused for a day")

    def test(score: ScoreFunction) -> dict[str, Evaluation]:
        return {"after-a-pause": leave_one_out_metrics(score, history, target)}

    about = "the first item after each user's last pause of a day or more, among all unseen items"
    return Task(
        history, None, "", test, about, test_clock=_with_clock("after-a-pause", history, target)
    )


def _random_positives(data: Interactions) -> Task:
    split = random_positive_split(data)
    _needs(len(split.train) > 0 and len(split.test) > 0, "there are few ratings above 3")
    negatives = _negatives(split.train.concat(split.test), split.test, 3)
    _needs(bool((negatives >= 0).any()), "it ranks among 99 negatives, and nobody has so many")

    def test(score: ScoreFunction) -> dict[str, Evaluation]:
        found = random_positive_metrics(score, split.train, split.test, negatives)
        return {"random-positives": found}

    about = "ratings above 3, split 80/20 at random; each held-out one among 99 other items"
    return Task(split.train, None, "", test, about)


def _ratings(data: Interactions) -> Task:
    split = random_split(data)
    _needs(len(split.test) > 0, "there are few ratings")

    def test(score: ScoreFunction) -> dict[str, Evaluation]:
        return {"re-ranking": offline_reranking(score, split.train, split.test).model}

    about = (
        "ratings, split 80/20 at random; the items that a user rated in the test part, re-ranked"
    )
    return Task(split.train, None, "", test, about)


def _temporal(data: Interactions) -> Task:
    split = split_by_time(data)
    history, target = split.train.concat(split.validation), split.test
    for before, after in ((split.train, split.validation), (history, target)):
        both = (before.offsets.diff() > 0) & (after.offsets.diff() > 0)
        _needs(bool(both.any()), "nobody has ratings on both sides of a cut in time")

    def validate(score: ScoreFunction) -> dict[str, float]:
        return temporal_metrics(score, split.train, split.validation).mean()

    def test(score: ScoreFunction) -> dict[str, Evaluation]:
        return {"temporal": temporal_metrics(score, history, target)}

    about = "one cut in time for everybody: the oldest 80 % train, the latest 10 % test"
    return Task(split.train, validate, "ndcg@10", test, about)


def cold_start_users(data: Interactions, number: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Train, validation and test users, 80/10/10; int64 each. Every number holds out others."""
    return split_users(data.n_users, generator=_generator(number))


def users_of_eighth(data: Interactions, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Train, validation and test users: of eight groups one is tested, 1 <= number <= 8."""
    groups = split_users(data.n_users, (1 / 8,) * 8)
    others = torch.cat([*groups[: number - 1], *groups[number:]])
    shuffled = others[torch.randperm(len(others), generator=_generator(number), device=CPU)]
    validation, train = shuffled.tensor_split([data.n_users // 10])
    return train, validation, groups[number - 1]


def _cold_start(data: Interactions, users: tuple[Tensor, Tensor, Tensor]) -> Task:
    train, validation, test_users = (data.select(rows_of_users(data, some)) for some in users)
    few = validation  # of a large set, or each validation would take hours
    if len(users[1]) > SAMPLE:
        few = data.select(rows_of_users(data, users[1][_shuffled(len(users[1]), 1)[:SAMPLE]]))
    for part, held_out in {"validation": few, "test": test_users}.items():
        likes = torch.bincount(held_out.user[held_out.rating >= POSITIVE], minlength=1)
        _needs(int(likes.max()) >= 6, f"no {part} user likes six items")

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


def _simulated(data: Interactions, series: float = 0.0) -> Task:
    """Simulator A, PMF on one half of the ratings, to train in; B, neighbours on the other half.

    Settings were chosen on a tenth of the users in A; the others test, in A and in B.
    """
    others, few = split_users(data.n_users, (0.9, 0.1))
    _needs(len(few) > 0, "a tenth of the users is nobody")
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


def _user_leaves(data: Interactions, trained_in: str = "truth") -> Task:
    """Users who leave: trained and chosen in a world, tested in the truth with other users."""
    worlds = leaving_worlds(data)
    train, validation, test_users = leaving_users(data.n_users)
    _needs(min(len(validation), len(test_users)) > 1, "one user is left to validate or to test")
    world = {"truth": worlds.truth, "model": worlds.model}[trained_in]
    log = random_play(world, train, data)

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

    about = (
        f"users who leave when shown too much of the same; trained on the {trained_in}, tested "
        "with other users on the truth: the sum of the ratings of a session of 30 items at most"
    )
    return Task(log, validate, "return", test, about, make_env, "user-leaves", calibrate=calibrate)


def _consequences(data: Interactions, movies: pd.DataFrame | None, form: str, dial: float) -> Task:
    """Simulated users with consequences: trained and chosen in A, tested in A and B."""
    if movies is None:
        raise ValueError("consequences depend on genres: give the films, as load_movies does")
    worlds, consequence, films = consequence_worlds(data, movies, form, dial)
    users, validation, test_users = consequence_users(data.n_users)
    _needs(min(len(validation), len(test_users)) > 1, "one user is left to validate or to test")
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
        generator = _generator(config.seed)
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
    )


SERIES = 0.1  # what a like in a row adds to the next reward, in the split simulated-series
SPLITS: dict[str, Callable[[Interactions], Task]] = {
    "leave-one-out": _leave_one_out,
    "after-a-pause": _after_a_pause,
    "random-positives": _random_positives,
    "ratings": _ratings,
    "temporal": _temporal,
    "cold-start": lambda data: _cold_start(data, cold_start_users(data)),
    "simulated": _simulated,
    "simulated-series": partial(_simulated, series=SERIES),
    "user-leaves": _user_leaves,
    "user-leaves-model": partial(_user_leaves, trained_in="model"),
}


def split_for(environment: str) -> str:
    """The split on which agents of an environment are trained by default."""
    named = {"logged": "leave-one-out", "consequences": "simulated-satisfaction-0.5"}
    return named.get(environment, environment)
