"""Chooses the baselines' settings on validation data and records their test results.

    python -m benchmarks.tune_baselines --dataset ml-1m --root data [--models EASE ItemKNN]

Six tasks, each with a search of its own over a grid: "leave-one-out" (nDCG@10 of the validation
rows), "random-positives" (sampled nDCG@10) and "ratings" (re-ranking, precision@5), both on an
eighth of the train rows, which the chosen settings are fitted on again, "seed-and-suggest"
(precision@3 of validation users), "temporal" (nDCG@10 between the two cuts) and "cold-start" (the
users of "seed-and-suggest", sessions of forty items, mean reward of a step). The chosen settings go
to `tuned.json`, and their results on the test part of the task into the table of `results.py`.
Models that are not named keep what they have.
"""

import argparse
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # `implicit` asks for it; before numpy loads

import pandas as pd
import torch

from benchmarks import results
from recsys_rl.baselines import popularity
from recsys_rl.baselines.gaussian import GaussianLikes
from recsys_rl.baselines.linucb import HLinUCB, LinUCB
from recsys_rl.baselines.registry import BASELINES
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.movielens import load_ratings
from recsys_rl.data.splits import leave_one_out, random_split, split_by_time, split_users
from recsys_rl.embeddings.cooccurrence import like_vectors
from recsys_rl.embeddings.pmf import PMF
from recsys_rl.evaluation import protocols, scores, sessions, statistics, tuning

Evaluator = Callable[[scores.ScoreFunction | None], statistics.Evaluation]

# A rating of any value is a positive of the task "leave-one-out"; seed items are liked ones.
LEAVE_ONE_OUT = {
    "Random": {},
    "Popularity": {},
    "RecentPopularity": {"share": [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]},
    "ItemKNN": {"neighbours": [2, 5, 10, 20, 50, 100, 500], "shrinkage": [0, 10, 100]},
    "EASE": {"regularization": [20, 50, 100, 200, 300, 500, 1000, 2000]},
    "IALS": {"factors": [64, 128, 256, 512], "regularization": [3, 10, 30], "alpha": [1]},
    "PMF": {"k": [8, 32, 100], "l2": [0.02, 0.07, 0.2]},
}
POSITIVES = LEAVE_ONE_OUT | {
    "ItemKNN": {"neighbours": [20, 50, 100, 200], "shrinkage": [0, 10, 100]},
    "EASE": {"regularization": [200, 500, 1000, 2000]},
    "IALS": {"factors": [64, 128, 256], "regularization": [10, 30, 100], "alpha": [1]},
    "PMF": {"k": [2, 8], "l2": [0.2, 0.5]},  # of ratings above 3 only
}
TEMPORAL = LEAVE_ONE_OUT | {
    "ItemKNN": {"neighbours": [50, 200, 1000, 10_000], "shrinkage": [0, 10, 100, 500, 2000]},
    "EASE": {"regularization": [200, 500, 1000, 2000, 5000, 10_000, 20_000]},
    "IALS": {"factors": [8, 16, 32, 64, 128], "regularization": [3, 10, 30, 100, 300]}
    | {"alpha": [1]},
    "PMF": {"k": [2, 8, 32, 100], "l2": [0.07, 0.2, 0.5, 1.0]},
}
LIKED = {"min_rating": [None, 4.0]}
RATINGS = {
    "Random": {},
    "Oracle": {},
    "Popularity": LIKED,
    "RecentPopularity": {"share": [0.1, 0.5, 1.0]} | LIKED,
    "ItemKNN": {"neighbours": [20, 100, 500], "shrinkage": [0, 100]} | LIKED,
    "EASE": {"regularization": [200, 500, 1000, 2000]} | LIKED,
    "IALS": {"factors": [16, 64, 128], "regularization": [10, 30, 100], "alpha": [1]} | LIKED,
    "PMF": {"k": [32, 100], "l2": [0.05, 0.07, 0.1]},
}
SEED_AND_SUGGEST = {
    "Random": {},
    "Popularity": LIKED,
    "RecentPopularity": {"share": [0.05, 0.1, 0.2, 0.5, 1.0]} | LIKED,
    # 10,000 neighbours are all of them; in a wider first search lower ratings never helped this one
    "ItemKNN": {"neighbours": [500, 10_000], "shrinkage": [10, 50, 100, 200, 500, 1000]}
    | {"min_rating": [4.0]},
    "EASE": {"regularization": [2000, 5000, 10_000, 20_000, 50_000, 100_000, 200_000]} | LIKED,
    "IALS": {"factors": [4, 8, 16, 32, 64], "regularization": [3, 10, 30, 100], "alpha": [1]}
    | LIKED,
    "PMF": {"k": [2, 8, 32], "l2": [0.07, 0.2, 0.5]},
    "GaussianLikes": {"k": [16, 32, 64, 256, 1024]}
    | {"noise": [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1]},
}
ONLY_LIKED = {"min_rating": [4.0]}  # a film that was shown and not liked must not count as liked
COLD_START = {
    "Random": {},
    "Popularity": ONLY_LIKED,
    "ItemKNN": {"neighbours": [50, 100, 200, 1000, 10_000], "shrinkage": [0, 20, 100]} | ONLY_LIKED,
    "EASE": {"regularization": [200, 500, 1000, 2000, 5000]} | ONLY_LIKED,
    "IALS": {"factors": [16, 32, 64, 128], "regularization": [3, 10, 30, 100], "alpha": [1]}
    | ONLY_LIKED,
    "PMF": {"k": [2, 8, 32], "l2": [0.07, 0.2, 0.5]},
    "LinUCB": {"k": [16, 32, 64, 128], "ridge": [0.2, 0.3, 0.4, 0.6], "alpha": [0.0, 0.05]},
    "HLinUCB": {"k": [8], "hidden": [8], "item_ridge": [1000]}
    | {"ridge": [0.1, 0.2, 0.4, 1.0], "alpha": [0.0, 0.05]},
    "GaussianLikes": {"k": [64, 256, 1024], "noise": [0.005, 0.01, 0.02, 0.05, 0.1, 0.2]},
    "Oracle": {},
}


# What `BASELINES` does not have: train, settings -> score function. The generators are those of
# seed 0, so that a fit can be repeated.


def pmf(train: Interactions, **settings) -> scores.ScoreFunction:
    """Predicted stars; unseen users are folded in by what they liked, each film as POSITIVE stars.

    A film SHOWN has no stars and tells it nothing.
    """
    generator = torch.Generator().manual_seed(0)
    model = PMF(train.n_users, train.n_items, generator=generator, **settings)
    model.fit(train, generator=generator)
    return model.score


def gaussian_likes(train: Interactions, k: int, **settings) -> scores.ScoreFunction:
    return GaussianLikes.fit(train, k, torch.Generator().manual_seed(0), **settings).score


def lin_ucb(train: Interactions, k: int, **settings) -> scores.ScoreFunction:
    vectors, prior = like_vectors(train, k, torch.Generator().manual_seed(0))
    return LinUCB(vectors, prior=prior, **settings)


def h_lin_ucb(train: Interactions, k: int, **settings) -> scores.ScoreFunction:
    """Films that a train user has not rated teach a reward of 0, as in the sessions."""
    generator = torch.Generator().manual_seed(0)
    vectors, prior = like_vectors(train, k, generator)
    settings |= {"prior": prior, "unrated_is_0": True}
    return HLinUCB(vectors, train, generator=generator, **settings)


def oracle(train: Interactions) -> None:
    """Knows the answers and needs no scores: evaluators tell None from a model."""


BY_NAME = {
    "PMF": pmf,
    "LinUCB": lin_ucb,
    "HLinUCB": h_lin_ucb,
    "GaussianLikes": gaussian_likes,
    "Oracle": oracle,
}


# Data, seed -> rows to search on, evaluator on validation data, rows to fit on for the test,
# evaluator on test data, metric of the choice.


def leave_one_out_task(data: Interactions, seed: int) -> tuple:
    """The last row of a user is the test, the last but one validation; 99 sampled negatives."""
    split = leave_one_out(data)
    history, target = protocols.ranking_task(split, "test")
    generator = torch.Generator().manual_seed(seed)
    negatives = protocols.sample_negatives(data, target.user, 99, generator)

    def evaluate(score: scores.ScoreFunction) -> statistics.Evaluation:
        return protocols.leave_one_out_metrics(score, history, target, negatives)

    train = split.train
    return train, tuning.leave_one_out_judge(split), train, evaluate, "ndcg@10"


def in_two_steps(rows: Interactions, evaluator_of: Callable[..., Evaluator]) -> tuple:
    """A random split by rows, the train part split again: -> the first four parts of a task."""
    split = random_split(rows, validation_share=0.1)
    log = split.train.concat(split.validation)
    on_test = evaluator_of(log, split.test)
    return split.train, evaluator_of(split.train, split.validation), log, on_test


def random_positives_task(data: Interactions, seed: int) -> tuple:
    """Ratings above 3: 70 % to search on, 10 % validation, 20 % test, by rows at random."""

    def evaluator_of(train: Interactions, held_out: Interactions) -> Evaluator:
        generator = torch.Generator().manual_seed(3)  # as in `study.py`
        positives = train.concat(held_out)
        negatives = protocols.sample_negatives(positives, held_out.user, generator=generator)
        return lambda score: protocols.random_positive_metrics(score, train, held_out, negatives)

    return *in_two_steps(data.select(data.rating > 3), evaluator_of), "sampled_ndcg@10"


def ratings_task(data: Interactions, seed: int) -> tuple:
    """All ratings, split in the same way; the test rows of a user are re-ranked.

    "Random" is the exact expectation.
    """

    def evaluator_of(train: Interactions, held_out: Interactions) -> Evaluator:
        def evaluate(score: scores.ScoreFunction | None) -> statistics.Evaluation:
            known = score if score is not None else popularity.Random(train)
            found = protocols.offline_reranking(known, train, held_out)
            if score is None:
                return found.oracle
            return found.random if isinstance(score, popularity.Random) else found.model

        return evaluate

    return *in_two_steps(data, evaluator_of), "precision@5"


def temporal_task(data: Interactions, seed: int) -> tuple:
    """Two global times: the oldest 80 % train, then 10 % validation and 10 % test."""
    split = split_by_time(data)
    history = split.train.concat(split.validation)
    return (
        split.train,
        lambda score: protocols.global_time_metrics(score, split.train, split.validation),
        split.train,
        lambda score: protocols.global_time_metrics(score, history, split.test),
        "ndcg@10",
    )


def groups_of(data: Interactions, seed: int) -> list[Interactions]:
    """All rows of the users of training, validation and test."""
    generator = torch.Generator().manual_seed(seed)
    groups = split_users(data.n_users, (0.8, 0.1, 0.1), generator=generator)
    return [data.select(torch.isin(data.user, users)) for users in groups]


def seed_and_suggest_task(data: Interactions, seed: int) -> tuple:
    """Users held out whole: three random liked items in, three out, 20 draws a user."""
    train, validation, test = groups_of(data, seed)
    on_validation, on_test = (
        lambda score, users=u: protocols.three_in_three_out(score, users)
        for u in (validation, test)
    )
    return train, on_validation, train, on_test, "precision@3"


def cold_start_task(data: Interactions, seed: int) -> tuple:
    """Whole sessions with the same users: 5 draws of the seed items, 2 on validation."""
    train, *groups = groups_of(data, seed)

    def evaluate(
        score: scores.ScoreFunction | None, users: Interactions, draws: int
    ) -> statistics.Evaluation:
        if score is None:
            return sessions.oracle_sessions(users)
        return sessions.sessions_with_strangers(score, users, draws=draws)

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


def measure(task: tuple, grids: dict, names: list[str], **key) -> tuple[dict, pd.DataFrame]:
    """Search and test of some models -> (name: chosen settings), rows of the table.

    key: dataset, split and protocol of the rows.
    """
    train, on_validation, log, on_test, metric = task
    chosen, rows = {}, []
    counts = torch.bincount(log.item, minlength=log.n_items)
    for name in names:
        model = BY_NAME.get(name) or BASELINES[name]
        table, best = tuning.tune(model, grids[name], train, on_validation, metric)
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
    parser.add_argument("--seed", type=int, default=0, help="of the negatives and of the users")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    data = Interactions.from_ratings(load_ratings(options.root / options.dataset))
    for name in options.tasks:
        task, grids, split, protocol = TASKS[name]
        models = [model for model in options.models if model in grids]
        if not models:
            continue
        key = {"dataset": options.dataset, "split": split, "protocol": protocol}
        chosen, rows = measure(task(data, options.seed), grids, models, **key)
        results.record(rows)
        results.record_tuned(options.dataset, name, chosen)


if __name__ == "__main__":
    main()
