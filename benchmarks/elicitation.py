"""Judges all askers in the world "ask first, recommend afterwards", and trains the learned one.

    python -m benchmarks.elicitation                   all askers, test users, into the table
    python -m benchmarks.elicitation --part validation --questions 5 --print
    python -m benchmarks.elicitation --questions 5 10 --calibrate
    python -m benchmarks.elicitation --askers ddpg --seeds 1 2 3 4   the learned one, trained anew
    python -m benchmarks.worlds elicitation --policy ddpg --train

The world: `recsys_rl/envs/elicitation.py`. The ranker behind every asker is the Gaussian of likes;
with --rank DRR-set it is the released agent of the data set. One question of an asker costs less
than a millisecond, so that all of it takes some minutes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from benchmarks import results
from benchmarks.options import exit_with
from benchmarks.policy_files import WEIGHTS, load_weights, metadata_of, write_policy
from benchmarks.study import calibration_rows
from recsys_rl.agent.asking import Asker
from recsys_rl.agent.asking_training import BUDGET, Budget, fit_asker
from recsys_rl.baselines.asking import EntropyQuestions, KnowledgeGradient, VarianceQuestions
from recsys_rl.baselines.asking_tree import QuestionTree
from recsys_rl.baselines.popularity import Popularity, Random
from recsys_rl.data.arguments import whole_number
from recsys_rl.data.atomic_files import writable
from recsys_rl.data.interactions import Interactions, fingerprint
from recsys_rl.data.movielens import load_ratings
from recsys_rl.data.splits import split_holdout_users
from recsys_rl.embeddings.like_posterior import LikeGaussian
from recsys_rl.envs.elicitation import ElicitationEnv
from recsys_rl.evaluation.calibration import Calibration, calibration
from recsys_rl.evaluation.elicitation import (
    HALVES,
    MakeAsker,
    all_answers_known,
    asks_nothing,
    elicitation,
)
from recsys_rl.evaluation.scores import ScoreFunction
from recsys_rl.evaluation.statistics import Evaluation
from recsys_rl.serving import Recommender
from recsys_rl.tasks.cold_start import cold_start_users

POLICIES = Path(__file__).parent / "policies"
QUESTIONS = 3, 5, 10, 20
NAMED = 0, 3
RANKERS = "Gaussian", "DRR-set"
LEARNED = {"ddpg": 1.0, "ddpg-gamma-0": 0.0}  # by their gamma
CEILING = "all answers known"
ASKERS = (
    *("greedy", "no question", "random", "popular", "variance", "entropy", "tree"),
    *("knowledge gradient", *LEARNED, CEILING),
)
CHECKPOINTS = Path("checkpoints")
METRIC = "precision@10"
HISTORY = "training.csv"
HOLDOUT = 0.25  # of the train users, whom the asker meets and its Gaussian does not


@dataclass(frozen=True, eq=False)
class Elicitation:
    """A data set with its train, validation and test users, and what is fitted on the first.

    seed: of the training of the learned askers; that of 0 is released. dataset: its name.
    """

    data: Interactions
    seed: int = 0
    dataset: str = "ml-1m"

    @cached_property
    def parts(self) -> dict[str, Interactions]:
        names = "train", "validation", "test"
        groups = cold_start_users(self.data)
        rows = (self.data.select(torch.isin(self.data.user, users)) for users in groups)
        return dict(zip(names, rows, strict=True))

    @cached_property
    def gaussian(self) -> LikeGaussian:
        return LikeGaussian.fit(self.parts["train"])

    def askers(self, questions: int) -> dict[str, MakeAsker]:
        """By name; only the tree depends on which half is asked about."""
        train, gaussian = self.parts["train"], self.gaussian

        def same(ask: Callable[[], ScoreFunction]) -> MakeAsker:
            return lambda _: ask()

        def tree(asked: Tensor) -> ScoreFunction:
            return QuestionTree.fit(train, asked, questions)

        found = {
            "no question": same(lambda: asks_nothing(train.n_items)),
            "random": same(lambda: Random(train)),
            "popular": same(lambda: Popularity(train)),
            "greedy": same(lambda: gaussian.score),
            "variance": same(lambda: VarianceQuestions(gaussian)),
            "entropy": same(lambda: EntropyQuestions(gaussian)),
            "tree": tree,
            "knowledge gradient": same(lambda: KnowledgeGradient(gaussian)),
        }
        return found | {
            name: same(lambda name=name: self.learned(name, questions)) for name in LEARNED
        }

    def learned(self, name: str, questions: int) -> ScoreFunction:
        return self.asker(name, questions).score

    def asker(self, name: str, questions: int) -> Asker:
        """A learned one; a seed that is not released is trained if it is not there yet."""
        folder = policy_folder(name, self.dataset, self.seed)
        if not self.released_or_trained(name):
            train_policy(name, self.data, self.dataset, self.seed)
        asker = load_asker(folder, self.gaussian, self.data)
        asker.questions = questions
        return asker

    def released_or_trained(self, name: str) -> bool:
        return not self.seed or (policy_folder(name, self.dataset, self.seed) / WEIGHTS).exists()

    def check(self, names: Iterable[str]) -> None:
        """ValueError for a learned asker among these that is there and cannot be used."""
        for name in names:
            if name in LEARNED and self.released_or_trained(name):
                folder = policy_folder(name, self.dataset, self.seed)
                load_asker(folder, self.gaussian, self.data)


def policy_folder(name: str, dataset: str, seed: int = 0) -> Path:
    """Those of seed 0 are of ml-1m, and released."""
    if not seed:
        return POLICIES / f"elicitation-{name}"
    return CHECKPOINTS / f"elicitation-{dataset}-{name}-{seed}"


def save_asker(
    folder: Path, asker: Asker, data: Interactions, about: str, history: str = ""
) -> None:
    """history: the file of its training."""
    texts = {"README.md": about} | ({HISTORY: history} if history else {})
    write_policy(folder, asker.state_dict(), {"data": fingerprint(data)}, texts)


def load_asker(folder: Path, gaussian: LikeGaussian, data: Interactions) -> Asker:
    """An asker that was saved; ValueError where it cannot be read or was trained with other data.

    `train_policy` makes it.
    """
    asker = Asker(gaussian)
    if metadata_of(folder).get("data") != fingerprint(data):
        raise ValueError(
            f"the films of this policy are not those of the data here: {folder} was trained with "
            "other ratings: leave it out, or remove it and train it again"
        )
    load_weights(asker, folder)
    return asker


ABOUT = """# An asker that learned what to ask

Two networks of one hidden layer of 32, which read 18 numbers of each of thirty candidate questions
and correct the knowledge gradient, or say what the ten items at the end will be worth
(`recsys_rl/agent/asking.py`). Trained with the train users of {dataset}, seed {seed},
γ = {gamma:g}: {budget}. In training the Gaussian of likes is fitted
on three quarters of these users, and the sessions are with the others; here it is fitted anew on
all, which takes seconds.

    python -m benchmarks.worlds elicitation --policy {name} --train
"""


def train_policy(
    name: str, data: Interactions, dataset: str, seed: int = 0, budget: Budget = BUDGET
) -> None:
    """Train a policy anew and save it; that of seed 0 is the released one.

    It plays with train users whom its Gaussian has not met, as it will have to.
    """
    folder = policy_folder(name, dataset, seed)
    writable(folder)  # before the training, not after it
    first, later = split_holdout_users(Elicitation(data).parts["train"], HOLDOUT, seed)
    asker = Asker(LikeGaussian.fit(first), torch.Generator().manual_seed(seed))
    rows = fit_asker(asker, later, seed, budget, gamma=LEARNED[name])
    sessions = f"{budget.rounds} rounds of {budget.siblings} sessions with each of {budget.users}"
    about = {"name": name, "dataset": dataset, "seed": seed, "budget": f"{sessions} users"}
    about["gamma"] = LEARNED[name]
    history = pd.DataFrame(rows).round(4).to_csv(index_label="round", lineterminator="\n")
    save_asker(folder, asker, data, ABOUT.format(**about), history)


def judged(
    world: Elicitation, name: str, part: str, questions: int, n_seed: int, rank: ScoreFunction
) -> Evaluation:
    users = world.parts[part]
    if name == CEILING:
        return all_answers_known(world.gaussian, users, n_seed=n_seed)
    make = world.askers(questions)[name]
    return elicitation(make, users, rank, questions=questions, n_seed=n_seed)


def calibrations(world: Elicitation, name: str, questions: int) -> dict[str, Calibration]:
    """Q of a learned asker against what the lists earn, in all halves; nothing is known before."""
    asker = world.asker(name, questions)
    users, rank = world.parts["test"], world.gaussian.score
    halves = [ElicitationEnv(users, rank, half=half, horizon=questions) for half in range(HALVES)]
    played = [calibration(asker.score, asker.q, env, gamma=1.0, draws=1) for env in halves]
    return {"test users": Calibration.joined(played)}


def protocol(questions: int, n_seed: int, rank: str) -> str:
    named = f", {n_seed} named" if n_seed else ""
    ranked = "" if rank == "Gaussian" else f", ranked by {rank}"
    return f"elicitation, {questions} questions{named}{ranked}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ml-1m")
    parser.add_argument("--root", type=Path, default=Path("data"))
    parser.add_argument("--part", choices=["validation", "test"], default="test")
    known = ", ".join(ASKERS)
    parser.add_argument(
        "--askers", nargs="+", choices=ASKERS, metavar="NAME", help=f"default: all of {known}"
    )
    parser.add_argument(
        "--seeds", nargs="+", type=whole_number(0), default=[0], help="of learned askers"
    )
    parser.add_argument("--questions", nargs="+", type=whole_number(1), default=QUESTIONS)
    parser.add_argument("--named", nargs="+", type=whole_number(0), default=NAMED)
    parser.add_argument("--rank", choices=RANKERS, default="Gaussian")
    parser.add_argument(
        "--calibrate", action="store_true", help="the critic's Q, and no list is judged"
    )
    parser.add_argument("--print", action="store_true", help="record nothing")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    seeds = list(dict.fromkeys(options.seeds))
    names = {seed: ["ddpg"] if options.calibrate else names_of(options, seed) for seed in seeds}
    data = Interactions.from_ratings(load_ratings(options.root / options.dataset))
    worlds = [Elicitation(data, seed, options.dataset) for seed in seeds]
    if not options.print:
        results.ready()
    for world in worlds:
        check_lengths(world, options)
        world.check(names[world.seed])
    for world in worlds:
        if options.calibrate:
            record_calibration(world, options.questions, options.print)
        else:
            judge(world, options, names[world.seed], ranker(world, options))


def names_of(options: argparse.Namespace, seed: int) -> list[str]:
    """The askers that are judged with a seed, each once; ValueError where there are none."""
    names = options.askers or ASKERS
    if seed:  # the others have one fit
        names = [name for name in LEARNED if name in names]
        if not names:
            raise ValueError(f"only learned askers have seeds: {', '.join(LEARNED)}")
    if options.rank != "Gaussian":  # that of the ceiling is the Gaussian
        names = [name for name in names if name != CEILING]
        if not names:
            raise ValueError(f"{CEILING!r} is ranked by the Gaussian: leave --rank out")
    return list(dict.fromkeys(names))


def check_lengths(world: Elicitation, options: argparse.Namespace) -> None:
    """ValueError where there are too few films for the questions."""
    for questions in options.questions:
        for n_seed in [0] if options.calibrate else options.named:
            users, score = world.parts[options.part], world.gaussian.score
            ElicitationEnv(users, score, half=0, horizon=questions, n_seed=n_seed)


def ranker(world: Elicitation, options: argparse.Namespace) -> ScoreFunction:
    """What makes the lists; ValueError where the released agent is of other films."""
    if options.rank == "Gaussian":
        return world.gaussian.score
    released = Recommender.load(Path("models") / options.dataset)
    if list(released.item_ids) != list(world.data.item_ids.ids):
        raise ValueError("the films of the released agent are not those of the data here")
    return released.score


def judge(
    world: Elicitation, options: argparse.Namespace, names: Sequence[str], rank: ScoreFunction
) -> None:
    """These askers, after any number of questions."""
    for questions in options.questions:
        for n_seed in options.named:
            rows: list[pd.DataFrame] = []
            try:
                for name, found in judged_in_turn(world, options, names, rank, questions, n_seed):
                    key = {"dataset": options.dataset, "split": "elicitation", "agent": name}
                    key |= {"seed": world.seed, "stage": "final"}
                    key |= {"protocol": protocol(questions, n_seed, options.rank)}
                    rows.append(results.rows_of(found, by_user=[METRIC], **key))
            finally:  # together, for the table is large; and whatever ends this early
                if rows and options.part == "test" and not options.print:
                    results.record(pd.concat(rows))


def judged_in_turn(
    world: Elicitation,
    options: argparse.Namespace,
    names: Sequence[str],
    rank: ScoreFunction,
    questions: int,
    n_seed: int,
) -> Iterator[tuple[str, Evaluation]]:
    """Name and what was found, which is shown."""
    first = None
    for name in names:
        begun = time.process_time()
        found = judged(world, name, options.part, questions, n_seed, rank)
        spent = time.process_time() - begun
        first = first or found
        show(protocol(questions, n_seed, options.rank), name, found, first, spent)
        yield name, found


def record_calibration(world: Elicitation, questions: Sequence[int], only_print: bool) -> None:
    """Rows as the study makes them, with the number of questions in the name of the split."""
    for number in questions:
        found = calibrations(world, "ddpg", number)
        for who, each in found.items():
            errors = {step: round(each.error(place), 3) for step, place in each.steps.items()}
            print(f"{number} questions, {who}: {errors}", flush=True)
        if not only_print:
            key = {"dataset": world.dataset, "split": f"elicitation-{number}", "agent": "ddpg"}
            results.record(pd.concat(calibration_rows(found, key | {"seed": world.seed})))


def show(where: str, name: str, found: Evaluation, first: Evaluation, spent: float) -> None:
    mean, gap = found.mean(), found.compare(first, METRIC)
    figures = {key: round(value, 4) for key, value in mean.items()}
    gained = f"{gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]"
    print(f"{where}: {name} {figures}, less the first {gained}, {spent:.0f} s", flush=True)


if __name__ == "__main__":
    exit_with(main)
