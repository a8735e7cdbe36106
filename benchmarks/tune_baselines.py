"""Chooses the baselines' settings on validation data and records their test results.

    python -m benchmarks.tune_baselines --dataset ml-1m --root data [--models EASE item-kNN]

Six tasks, each with a search of its own over a grid: "leave-one-out" (nDCG@10 of the validation
rows), "random-positives" (sampled nDCG@10) and "ratings" (re-ranking, precision@5), both on an
eighth of the train rows, which the chosen settings are fitted on again, "seed-and-suggest"
(precision@3 of validation users), "temporal" (nDCG@10 between the two cuts) and "cold-start" (the
users of "seed-and-suggest", sessions of forty items, mean reward of a step). The chosen settings go
to `tuned.json`, and their results on the test part of the task into the table of `results.py`.
Models that are not named keep what they have. Every setting that was tried is kept in a file in
`--checkpoints` until its model is recorded, so that the same call goes on where it was stopped;
remove that folder where data are the same and code is not.
"""

import argparse
import os
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # `implicit` asks for it; before numpy loads

import pandas as pd
import torch

from benchmarks import results
from benchmarks.options import add_device, exit_with, ratings_on
from recsys_rl.baselines.popularity import Random
from recsys_rl.baselines.registry import BASELINES
from recsys_rl.data.arguments import MOST_THREADS, whole_number
from recsys_rl.data.atomic_files import writable
from recsys_rl.data.interactions import Interactions, fingerprint
from recsys_rl.data.splits import leave_one_out, random_split, split_by_time
from recsys_rl.evaluation import protocols, reranking, sessions, tuning
from recsys_rl.evaluation.scores import ScoreFunction
from recsys_rl.evaluation.statistics import Evaluation
from recsys_rl.tasks.cold_start import cold_start_users

Evaluator = Callable[[ScoreFunction | None], Evaluation]

# A rating of any value is a positive of the task "leave-one-out"; seed items are liked ones.
LEAVE_ONE_OUT = {
    "random": {},
    "popularity": {},
    "recent popularity": {"share": [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]},
    "item-kNN": {"neighbours": [2, 5, 10, 20, 50, 100, 500], "shrinkage": [0, 10, 100]},
    "EASE": {"regularization": [20, 50, 100, 200, 300, 500, 1000, 2000]},
    "iALS": {"factors": [64, 128, 256, 512], "regularization": [3, 10, 30], "alpha": [1]},
    "PMF": {"k": [8, 32, 100], "l2": [0.02, 0.07, 0.2]},
}
POSITIVES = LEAVE_ONE_OUT | {
    "item-kNN": {"neighbours": [20, 50, 100, 200], "shrinkage": [0, 10, 100]},
    "EASE": {"regularization": [200, 500, 1000, 2000]},
    "iALS": {"factors": [64, 128, 256], "regularization": [10, 30, 100], "alpha": [1]},
    "PMF": {"k": [2, 8], "l2": [0.2, 0.5]},  # of ratings above 3 only
}
TEMPORAL = LEAVE_ONE_OUT | {
    "item-kNN": {"neighbours": [50, 200, 1000, 10_000], "shrinkage": [0, 10, 100, 500, 2000]},
    "EASE": {"regularization": [200, 500, 1000, 2000, 5000, 10_000, 20_000]},
    "iALS": {"factors": [8, 16, 32, 64, 128], "regularization": [3, 10, 30, 100, 300]}
    | {"alpha": [1]},
    "PMF": {"k": [2, 8, 32, 100], "l2": [0.07, 0.2, 0.5, 1.0]},
}
LIKED = {"min_rating": [None, 4.0]}
RATINGS = {
    "random": {},
    "oracle": {},
    "popularity": LIKED,
    "recent popularity": {"share": [0.1, 0.5, 1.0]} | LIKED,
    "item-kNN": {"neighbours": [20, 100, 500], "shrinkage": [0, 100]} | LIKED,
    "EASE": {"regularization": [200, 500, 1000, 2000]} | LIKED,
    "iALS": {"factors": [16, 64, 128], "regularization": [10, 30, 100], "alpha": [1]} | LIKED,
    "PMF": {"k": [32, 100], "l2": [0.05, 0.07, 0.1]},
}
SEED_AND_SUGGEST = {
    "random": {},
    "popularity": LIKED,
    "recent popularity": {"share": [0.05, 0.1, 0.2, 0.5, 1.0]} | LIKED,
    # 10,000 neighbours are all of them; in a wider first search lower ratings never helped this one
    "item-kNN": {"neighbours": [500, 10_000], "shrinkage": [10, 50, 100, 200, 500, 1000]}
    | {"min_rating": [4.0]},
    "EASE": {"regularization": [2000, 5000, 10_000, 20_000, 50_000, 100_000, 200_000]} | LIKED,
    "iALS": {"factors": [4, 8, 16, 32, 64], "regularization": [3, 10, 30, 100], "alpha": [1]}
    | LIKED,
    "PMF": {"k": [2, 8, 32], "l2": [0.07, 0.2, 0.5]},
    "Gaussian of likes": {"k": [16, 32, 64, 256, 1024]}
    | {"noise": [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1]},
}
ONLY_LIKED = {"min_rating": [4.0]}  # an item that was shown and not liked must not count as liked
COLD_START = {
    "random": {},
    "popularity": ONLY_LIKED,
    "item-kNN": {"neighbours": [50, 100, 200, 1000, 10_000], "shrinkage": [0, 20, 100]}
    | ONLY_LIKED,
    "EASE": {"regularization": [200, 500, 1000, 2000, 5000]} | ONLY_LIKED,
    "iALS": {"factors": [16, 32, 64, 128], "regularization": [3, 10, 30, 100], "alpha": [1]}
    | ONLY_LIKED,
    "PMF": {"k": [2, 8, 32], "l2": [0.07, 0.2, 0.5]},
    "LinUCB": {"k": [16, 32, 64, 128], "ridge": [0.2, 0.3, 0.4, 0.6], "alpha": [0.0, 0.05]},
    "HLinUCB": {"k": [8], "hidden": [8], "item_ridge": [1000]}
    | {"ridge": [0.1, 0.2, 0.4, 1.0], "alpha": [0.0, 0.05]},
    "Gaussian of likes": {"k": [64, 256, 1024], "noise": [0.005, 0.01, 0.02, 0.05, 0.1, 0.2]},
    "oracle": {},
}


def oracle(train: Interactions) -> None:
    """Knows the answers and needs no scores: evaluators tell None from a model."""


MODELS = BASELINES | {"oracle": oracle}


# Data, seed -> rows to search on, evaluator on validation data, rows to fit on for the test,
# evaluator on test data, metric of the choice.


def leave_one_out_task(data: Interactions, seed: int) -> tuple:
    """The last row of a user is the test, the last but one validation; 99 sampled negatives."""
    split = leave_one_out(data)
    history, target = protocols.ranking_task(split, "test")
    generator = torch.Generator().manual_seed(seed)
    negatives = protocols.sample_negatives(data, target.user, 99, generator)

    def evaluate(score: ScoreFunction) -> Evaluation:
        return protocols.leave_one_out_metrics(score, history, target, negatives)

    train = split.train
    return train, tuning.leave_one_out_evaluator(split), train, evaluate, "ndcg@10"


def in_two_steps(rows: Interactions, evaluator_of: Callable[..., Evaluator]) -> tuple:
    """A random split by rows, the train part split again: -> the first four parts of a task."""
    split = random_split(rows, validation_share=0.1)
    log = split.train.concat(split.validation)
    on_test = evaluator_of(log, split.test)
    return split.train, evaluator_of(split.train, split.validation), log, on_test


def random_positives_task(data: Interactions, seed: int) -> tuple:
    """Ratings above 3: 70 % to search on, 10 % validation, 20 % test, by rows at random."""

    def evaluator_of(train: Interactions, held_out: Interactions) -> Evaluator:
        generator = torch.Generator().manual_seed(3)  # as in `recsys_rl.tasks.logs`
        positives = train.concat(held_out)
        negatives = protocols.sample_negatives(positives, held_out.user, generator=generator)
        return lambda score: protocols.random_positive_metrics(score, train, held_out, negatives)

    return *in_two_steps(data.select(data.rating > 3), evaluator_of), "sampled_ndcg@10"


def ratings_task(data: Interactions, seed: int) -> tuple:
    """All ratings, split in the same way; the test rows of a user are re-ranked.

    "random" is the exact expectation.
    """

    def evaluator_of(train: Interactions, held_out: Interactions) -> Evaluator:
        def evaluate(score: ScoreFunction | None) -> Evaluation:
            known = score if score is not None else Random(train)
            found = reranking.offline_reranking(known, train, held_out)
            if score is None:
                return found.oracle
            return found.random if isinstance(score, Random) else found.model

        return evaluate

    return *in_two_steps(data, evaluator_of), "precision@5"


def temporal_task(data: Interactions, seed: int) -> tuple:
    """Two global times: the oldest 80 % train, then 10 % validation and 10 % test."""
    split = split_by_time(data)
    history = split.train.concat(split.validation)
    return (
        split.train,
        lambda score: protocols.temporal_metrics(score, split.train, split.validation),
        split.train,
        lambda score: protocols.temporal_metrics(score, history, split.test),
        "ndcg@10",
    )


def groups_of(data: Interactions, seed: int) -> list[Interactions]:
    """All rows of the users of training, validation and test."""
    return [data.select(torch.isin(data.user, users)) for users in cold_start_users(data, seed)]


def seed_and_suggest_task(data: Interactions, seed: int) -> tuple:
    """Users held out whole: three random liked items in, three out, 20 draws a user."""
    train, validation, test = groups_of(data, seed)
    on_validation, on_test = (
        lambda score, users=u: sessions.seed_and_suggest(score, users) for u in (validation, test)
    )
    return train, on_validation, train, on_test, "precision@3"


def cold_start_task(data: Interactions, seed: int) -> tuple:
    """Whole sessions with the same users: 5 draws of the seed items, 2 on validation."""
    train, *groups = groups_of(data, seed)

    def evaluate(score: ScoreFunction | None, users: Interactions, draws: int) -> Evaluation:
        if score is None:
            return sessions.cold_start_oracle(users)
        return sessions.cold_start_sessions(score, users, draws=draws)

    on_validation, on_test = (
        partial(evaluate, users=u, draws=d) for u, d in zip(groups, (2, 5), strict=True)
    )
    return train, on_validation, train, on_test, "reward@40"


TASKS = {  # name: (task, grids, split and protocol in the table)
    "leave-one-out": (leave_one_out_task, LEAVE_ONE_OUT, "leave-one-out", "leave-one-out"),
    "random-positives": (random_positives_task, POSITIVES, "random-positives", "random-positives"),
    "ratings": (ratings_task, RATINGS, "ratings", "re-ranking"),
    "temporal": (temporal_task, TEMPORAL, "temporal", "temporal"),
    "seed-and-suggest": (
        seed_and_suggest_task,
        SEED_AND_SUGGEST,
        "cold-start",
        "seed-and-suggest",
    ),
    "cold-start": (cold_start_task, COLD_START, "cold-start", "cold-start-sessions"),
}


def measure(
    task: tuple, grids: dict, names: list[str], kept: tuning.Kept | None = None, **key
) -> tuple[dict, pd.DataFrame]:
    """Search and test of some models -> (name: chosen settings), rows of the table.

    kept: where the search of one model outlives an interrupt. key: dataset, split and protocol of
    the rows.
    """
    train, on_validation, log, on_test, metric = task
    chosen, rows = {}, []
    counts = torch.bincount(log.item, minlength=log.n_items)
    for name in names:
        model = MODELS[name]
        table, best = tuning.tune(model, grids[name], train, on_validation, metric, kept)
        table = table.drop(columns=[column for column in table if column.startswith("step@")])
        found = on_test(model(log, **best))
        shown = {n: round(v, 4) for n, v in found.mean().items() if not n.startswith("step@")}
        print(f"{name} {best}\n{table.to_string(index=False)}\ntest {shown}\n", flush=True)
        rewards = [n for n in found.metrics if n.startswith("reward@")]  # paired with others later
        agent = {"agent": results.baseline_name(name, best), "seed": 0, "stage": "final"}
        rows.append(results.rows_of(found, by_user=rewards, counts=counts, **key, **agent))
        chosen[name] = best
    return chosen, pd.concat(rows)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ml-1m")
    parser.add_argument("--root", type=Path, default=Path("data"))
    every = list(dict.fromkeys(name for _, grids, *_ in TASKS.values() for name in grids))
    parser.add_argument("--models", nargs="+", choices=every, default=every)
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument(
        "--seed",
        type=whole_number(0, 2**63 - 1),
        default=0,
        help="of the negatives and of the users",
    )
    parser.add_argument("--threads", type=whole_number(1, MOST_THREADS), default=1)
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints/tuning"))
    add_device(parser)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    searches = {
        task: [model for model in dict.fromkeys(options.models) if model in TASKS[task][1]]
        for task in dict.fromkeys(options.tasks)
    }
    if not any(searches.values()):
        parser.error("none of these --models has settings to search in these --tasks")
    if any("iALS" in models for models in searches.values()) and find_spec("implicit") is None:
        parser.error("iALS needs the library implicit: install it, or name other --models")
    results.ready()
    writable(options.checkpoints, results.TUNED.parent)
    data = ratings_on(options.device, options.root / options.dataset)
    for name, models in searches.items():
        if not models:
            continue
        task, grids, split, protocol = TASKS[name]
        key = {"dataset": options.dataset, "split": split, "protocol": protocol}
        parts = task(data, options.seed)
        for model in models:
            of = {"task": name, "model": model, "seed": options.seed, "data": fingerprint(data)}
            file = f"{options.dataset}-{name}-{model}-{options.seed}.jsonl".replace(" ", "-")
            kept = tuning.Kept(options.checkpoints / file, of)
            chosen, rows = measure(parts, grids, [model], kept, **key)
            results.record(rows)
            results.record_tuned(options.dataset, name, chosen)
            kept.remove()


if __name__ == "__main__":
    exit_with(main)
