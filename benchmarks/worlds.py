"""Judges a policy in a world, with its test users and a fixed seed, and prints one line of JSON.

    python -m benchmarks.worlds user-leaves --policy ddpg
    python -m benchmarks.worlds user-leaves --policy ddpg --train
    python -m benchmarks.worlds elicitation --policy ddpg
    python -m benchmarks.worlds user-leaves --record
    python -m benchmarks.worlds sardine --policy ddpg
    python -m benchmarks.worlds simulated --policy rollout --form satiation --dial 1

The line: {world, policy, mean, low, high, length}, the mean over users with its bootstrap interval
of 95 %, and the steps of a session. Policies named ddpg are released agents in
`benchmarks/policies`; --train trains one of them anew, seed 0, and releases it there first. Those
that know the rule, or who the user is, say what there is to be had. --record writes all policies
that are not trained into the table of results. --form and --dial belong to simulated; its released
agents are of the defaults.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from benchmarks import results
from benchmarks.elicitation import Elicitation, judged, train_policy
from benchmarks.options import exit_with
from recsys_rl import train
from recsys_rl.baselines.linucb import LinUCB
from recsys_rl.baselines.popularity import Popularity, Random
from recsys_rl.baselines.registry import BASELINES
from recsys_rl.data.arguments import number_of
from recsys_rl.data.atomic_files import writable
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.movielens import load_movies, load_ratings
from recsys_rl.embeddings.rating_factors import RatingFactors
from recsys_rl.envs.consequences import (
    FORMS,
    HORIZON,
    ConsequencesEnv,
    consequence_users,
    consequence_worlds,
    greedy_oracle,
    rated_at_random,
)
from recsys_rl.envs.elicitation import LIST, QUESTIONS
from recsys_rl.envs.user_leaves import (
    LeavingWorld,
    UserLeavesEnv,
    in_turn,
    leaving_users,
    leaving_worlds,
    lists_far_apart,
    random_play,
)
from recsys_rl.evaluation.headroom import headroom
from recsys_rl.evaluation.scores import ScoreFunction, joined
from recsys_rl.evaluation.sessions import (
    HORIZONS,
    cold_start_oracle,
    cold_start_sessions,
    whole_sessions,
)
from recsys_rl.evaluation.statistics import Evaluation
from recsys_rl.serving import Recommender
from recsys_rl.tasks.registry import task_of

POLICIES = Path(__file__).parent / "policies"
DATASET = "ml-1m"
FORM, DIAL = "satisfaction", 0.5  # of the released agents
# settings of LinUCB among which validation users choose, in simulator A
ALPHAS, RIDGES = (0.0, 0.1, 0.3, 1.0), (0.03, 0.1, 0.3, 1.0)
# the agent of the registry behind a policy that is trained
AGENTS = {
    "user-leaves": {"ddpg": "user-leaves", "ddpg-gamma-0": "user-leaves-gamma-0"},
    "elicitation": {"ddpg": "", "ddpg-gamma-0": ""},  # trained by `elicitation.train_policy`
    "cold-start": {},
    "sardine": {"ddpg": "sardine", "ddpg-gamma-0": "sardine-gamma-0"},
    "simulated": {"ddpg": "consequences", "ddpg-gamma-0": "consequences-gamma-0"},
}


@dataclass(frozen=True)
class World:
    """policies: by name, each judges itself. metric: of the evaluation; steps: of a session, where
    all are as long."""

    policies: Mapping[str, Callable[[], Evaluation]]
    metric: str
    steps: int | None = None


def released(world: str, policy: str, items: object) -> ScoreFunction:
    """A released agent; ValueError where its items are not those of the world."""
    agent = Recommender.load(POLICIES / f"{world}-{policy}")
    if list(agent.item_ids) != list(items):
        raise ValueError("the films of this policy are not those of the data here")
    return agent.score


def user_leaves(data: Interactions) -> World:
    """The sum of the ratings until the user leaves, or of 30 items."""
    worlds = leaving_worlds(data)
    truth, model = worlds.truth, worlds.model
    users, _, test_users = leaving_users(data.n_users)
    blind, telling = (UserLeavesEnv(truth, users=test_users, known=k) for k in (False, True))
    ids = data.item_ids.id(truth.items)

    def greedy(world: LeavingWorld) -> Evaluation:
        return whole_sessions(lambda histories: world.ratings(histories.user), telling)

    def one_list(world: LeavingWorld) -> Evaluation:
        means = world.ratings(users).mean(0, keepdim=True)
        everybody = lists_far_apart(means, world.close).expand(data.n_users, -1)
        return whole_sessions(in_turn(everybody, world.n_items), telling)

    def oracle() -> Evaluation:
        theirs = lists_far_apart(truth.ratings(test_users), truth.close)
        lists = theirs.new_zeros(data.n_users, theirs.shape[1]).index_copy_(0, test_users, theirs)
        return whole_sessions(in_turn(lists, truth.n_items), telling)

    policies = {
        "random": lambda: whole_sessions(Random(random_play(truth, users[:1], data)), blind),
        "greedy": lambda: greedy(truth),
        "greedy-model": lambda: greedy(model),
        "list": lambda: one_list(truth),
        "list-model": lambda: one_list(model),
        "oracle": oracle,
    }
    for name in AGENTS["user-leaves"]:
        policies[name] = lambda name=name: whole_sessions(released("user-leaves", name, ids), blind)
    return World(policies, "return")


def cold_start(data: Interactions) -> World:
    """The share of 40 shown films that a user liked; ddpg-gamma-0 is the agent of `models/ml-1m`.

    With gamma above 0 it trains for more than 15 minutes: docs/results.md has what it gave.
    """
    task = task_of(data, "cold-start")
    users, steps = task.test_users, max(HORIZONS)

    def judged(score: ScoreFunction) -> Evaluation:
        return cold_start_sessions(score, users)

    def gaussian() -> ScoreFunction:
        chosen = results.tuned(DATASET, "cold-start")["Gaussian of likes"]
        return BASELINES["Gaussian of likes"](task.train, **chosen)

    policies = {
        "random": lambda: judged(Random(task.train)),
        "popular": lambda: judged(Popularity(task.train)),
        "greedy": lambda: judged(gaussian()),
        "ddpg-gamma-0": lambda: judged(Recommender.load(Path("models") / DATASET).score),
        "oracle": lambda: cold_start_oracle(users),
    }
    return World(policies, f"reward@{steps}", steps)


def sardine(_data: object) -> World:
    """The clicks of a session in the simulator of others (`benchmarks/sardine_world.py`)."""
    # the simulator is not installed everywhere
    from benchmarks import sardine, sardine_world

    users, judge = sardine_world.held_out(), sardine_world.judged
    policies = {
        name: lambda make=make: judge(make(), users)
        for name, make in sardine_world.untrained().items()
    }
    for name in AGENTS["sardine"]:
        folder = POLICIES / f"sardine-{name}"
        policies[name] = lambda folder=folder: judge(sardine.load(folder).slates, users)
    return World(policies, "return")


def asking(data: Interactions) -> World:
    """The share of liked items among ten that are recommended after five questions; `greedy` asks
    about the likeliest like, and `oracle` is told every answer of the asked half."""
    world = Elicitation(data)

    def judge(name: str) -> Evaluation:
        return judged(world, name, "test", QUESTIONS, 0, world.gaussian.score)

    names = {name: name for name in ("random", "greedy", "tree", *AGENTS["elicitation"])}
    names |= {"knowledge-gradient": "knowledge gradient", "oracle": "all answers known"}
    policies = {policy: lambda name=name: judge(name) for policy, name in names.items()}
    return World(policies, f"precision@{LIST}", QUESTIONS)


def simulated(
    data: Interactions, movies: pd.DataFrame, form: str = FORM, dial: float = DIAL
) -> World:
    """The sum of the rewards of 30 films in simulator B, for users whom no agent has met."""
    (worlds, consequence, films), world = consequence_worlds(data, movies, form, dial), "simulated"
    users, validation, test_users = consequence_users(data.n_users)
    blind, telling = (
        ConsequencesEnv(worlds.b, consequence, users=test_users, known=known)
        for known in (False, True)
    )

    def rollout() -> Evaluation:
        options = dict(zip(("users", "seed_items"), telling.starts(1, 0), strict=True))
        telling.reset(options=options)
        earned = headroom(telling, lambda environment: environment.rewards()).planned
        length = torch.full_like(earned, telling.horizon)
        metrics = joined([{"return": earned, "length": length}])
        return Evaluation("whole sessions", metrics, test_users)

    def linucb() -> Evaluation:
        log = rated_at_random(worlds.a, users, films)
        factors = RatingFactors.of(log, 8, torch.Generator().manual_seed(0)).rotated()
        where = ConsequencesEnv(worlds.a, consequence, users=validation)
        tried = [
            LinUCB(factors.item, alpha=a, ridge=r, prior=factors.prior()[0], reward=torch.clone)
            for a in ALPHAS
            for r in RIDGES
        ]
        best = max(tried, key=lambda score: whole_sessions(score, where).mean()["return"])
        return whole_sessions(best, blind)

    policies = {
        "random": lambda: whole_sessions(Random(films), blind),
        "linucb": linucb,
        "greedy": lambda: whole_sessions(greedy_oracle(worlds.b, consequence), telling),
        "rollout": rollout,
    }
    if (form, dial) == (FORM, DIAL):
        for name in AGENTS[world]:
            policies[name] = lambda name=name: whole_sessions(
                released(world, name, films.item_ids.ids), blind
            )
    return World(policies, "return", HORIZON)


WORLDS: dict[str, Callable[[Interactions], World]] = {
    "user-leaves": user_leaves,
    "elicitation": asking,
    "cold-start": cold_start,
    "sardine": sardine,
}  # and simulated, which has a form and a dial
ORACLES = {"sardine": "rule", "simulated": "rollout"}  # what "oracle" is where none is exact
WITHOUT_RATINGS = ("sardine",)
# beside the trained ones of `AGENTS`: known before a world is made, which takes long
UNTRAINED = {
    "user-leaves": ("random", "greedy", "greedy-model", "list", "list-model", "oracle"),
    "elicitation": ("random", "greedy", "tree", "knowledge-gradient", "oracle"),
    "cold-start": ("random", "popular", "greedy", "ddpg-gamma-0", "oracle"),
    "sardine": ("random", "greedy", "rule"),
    "simulated": ("random", "linucb", "greedy", "rollout"),
}
RECORDED = "user-leaves", "sardine", "simulated"  # other scripts record the others


def names_of(options: argparse.Namespace) -> list[str]:
    """The policies of a world."""
    theirs = options.world != "simulated" or (options.form, options.dial) == (FORM, DIAL)
    return [*UNTRAINED[options.world], *(AGENTS[options.world] if theirs else ())]


def world_of(options: argparse.Namespace) -> World:
    if options.world in WITHOUT_RATINGS:
        return WORLDS[options.world](None)
    folder = options.root / options.dataset
    data = Interactions.from_ratings(load_ratings(folder))
    if options.world != "simulated":
        return WORLDS[options.world](data)
    return simulated(data, load_movies(folder), options.form, options.dial)


def split_of(options: argparse.Namespace) -> str:
    """Where the table of results has a world."""
    if options.world != "simulated":
        return options.world
    return f"simulated-{options.form}-{options.dial:g}"


def line(world: str, policy: str, metric: str, found: Evaluation, steps: int | None) -> str:
    mean, (low, high) = found.mean(), found.interval()[metric]
    length = mean.get("length", steps)
    figures = {"mean": mean[metric], "low": low, "high": high, "length": length}
    rounded = {name: round(value, 4) for name, value in figures.items()}
    return json.dumps({"world": world, "policy": policy} | rounded)


def trained(world: str, policy: str, root: Path) -> None:
    """Train a policy anew and release it."""
    if world == "sardine":
        from benchmarks import sardine as there

        folder = POLICIES / f"{world}-{policy}"
        writable(folder)  # before the training, not after it
        agent = there.trained(there.config_of(AGENTS[world][policy], 0))
        return there.save(agent, folder)
    if world == "elicitation":
        data = Interactions.from_ratings(load_ratings(root / DATASET))
        train_policy(policy, data, DATASET)
        return
    out = os.path.relpath(POLICIES / f"{world}-{policy}")  # the card says how it was made
    place = "--dataset", DATASET, "--root", str(root), "--out", out
    code = train.main([*place, "--agent", AGENTS[world][policy], "--threads", "1"])
    if code:
        raise SystemExit(code)


def recorded(options: argparse.Namespace, policy: str, found: Evaluation) -> pd.DataFrame:
    dataset = options.world if options.world in WITHOUT_RATINGS else options.dataset
    key = {"dataset": dataset, "split": split_of(options), "agent": policy}
    protocol = "simulated-B" if options.world == "simulated" else options.world
    key |= {"seed": 0, "stage": "final", "protocol": protocol}
    return results.rows_of(found, by_user=list(found.metrics), **key)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("world", choices=AGENTS)
    parser.add_argument("--policy", help="all of them by default")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--dataset", default=DATASET, help="another has no released policies")
    parser.add_argument("--root", type=Path, default=Path("data"))
    parser.add_argument("--form", choices=FORMS, default=FORM, help="of the consequence")
    parser.add_argument(
        "--dial",
        type=number_of("a number from 0 to 1", 1),
        default=DIAL,
        help="0: none, 1: the most",
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.record and options.world not in RECORDED:
        parser.error("--record is for user-leaves, sardine and simulated")
    if options.world != "simulated" and (options.form, options.dial) != (FORM, DIAL):
        parser.error("--form and --dial are for simulated")
    if options.train:
        if options.policy not in AGENTS[options.world]:
            there = ", ".join(AGENTS[options.world]) or "none is trained here"
            parser.error(f"--train needs a --policy that is trained here: {there}")
        if options.dataset != DATASET:
            parser.error(f"--train is for {DATASET}: released policies are of its films")
    if options.policy == "oracle":
        options.policy = ORACLES.get(options.world, "oracle")
    policies = names_of(options)
    if options.policy not in (None, *policies):
        parser.error(f"--policy is one of {', '.join(policies)}, not {options.policy!r}")
    if options.record:
        results.ready()
    if options.train:
        trained(options.world, options.policy, options.root)
    world = world_of(options)
    trained_here = AGENTS[options.world]
    released_here = not options.record and options.dataset == DATASET
    there = [name for name in world.policies if released_here or name not in trained_here]
    for name in [options.policy] if options.policy else there:
        found = world.policies[name]()
        print(line(options.world, name, world.metric, found, world.steps), flush=True)
        if options.record and name not in trained_here:
            results.record(recorded(options, name, found))


if __name__ == "__main__":
    exit_with(main)
