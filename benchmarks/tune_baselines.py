"""Tunes the baselines on validation data and writes benchmarks/results/baselines-<dataset>.json.

    python benchmarks/tune_baselines.py --dataset ml-1m --root data [--models EASE ItemKNN]

Six tasks, each with its own search: "next" (protocols A and B, NDCG@10 of the validation rows),
"positives" (C, sampled NDCG@10) and "ratings" (D, P@5), both on an eighth of the train rows, which
the chosen settings are fitted on again, "strangers" (E, Precision@3 of people held out for
validation), "time" (G, NDCG@10 between the two cuts) and "sessions" (the people of E, forty steps
each, the mean reward of a step). The chosen settings are then measured once on the test part of
their task. Models that are not named keep the figures they have in the file.
"""

import argparse
import json
import os
import platform
import re
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # `implicit` asks for it; before numpy loads

import numpy as np
import torch

from recsys_rl.baselines import popularity
from recsys_rl.baselines.gaussian import GaussianLikes
from recsys_rl.baselines.linucb import HLinUCB, LinUCB
from recsys_rl.baselines.registry import BASELINES
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.movielens import load_ratings
from recsys_rl.data.splits import leave_one_out, random_split, split_by_time, split_users
from recsys_rl.embeddings.cooccurrence import like_vectors
from recsys_rl.embeddings.pmf import PMF
from recsys_rl.evaluation import metrics, protocols, scores, sessions, statistics, tuning

Judge = Callable[[scores.ScoreFunction | None], statistics.Evaluation]

# A rating of any value is a positive of the task "next"; strangers name films they like.
NEXT = {
    "Random": {},
    "Popularity": {},
    "RecentPopularity": {"share": [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]},
    "ItemKNN": {"neighbours": [2, 5, 10, 20, 50, 100, 500], "shrinkage": [0, 10, 100]},
    "EASE": {"regularization": [20, 50, 100, 200, 300, 500, 1000, 2000]},
    "IALS": {"factors": [64, 128, 256, 512], "regularization": [3, 10, 30], "alpha": [1]},
    "PMF": {"k": [8, 32, 100], "l2": [0.02, 0.07, 0.2]},
}
POSITIVES = NEXT | {
    "ItemKNN": {"neighbours": [20, 50, 100, 200], "shrinkage": [0, 10, 100]},
    "EASE": {"regularization": [200, 500, 1000, 2000]},
    "IALS": {"factors": [64, 128, 256], "regularization": [10, 30, 100], "alpha": [1]},
    "PMF": {"k": [2, 8], "l2": [0.2, 0.5]},  # of ratings above 3 only
}
TIME = NEXT | {
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
STRANGERS = {
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
SESSIONS = {
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


# What `baselines.py` does not have: train, settings -> score function. The generators are those of
# seed 0, so that a fit can be repeated.


def pmf(train: Interactions, **settings) -> scores.ScoreFunction:
    """Predicted stars; strangers are folded in by what they liked, each film as POSITIVE stars.

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
    """Films that a training person has not rated teach a reward of 0, as in the sessions."""
    generator = torch.Generator().manual_seed(0)
    vectors, prior = like_vectors(train, k, generator)
    settings |= {"prior": prior, "unrated_is_0": True}
    return HLinUCB(vectors, train, generator=generator, **settings)


def oracle(train: Interactions) -> None:
    """Knows the answers and needs no scores: judges tell None from a model."""


BY_NAME = {
    "PMF": pmf,
    "LinUCB": lin_ucb,
    "HLinUCB": h_lin_ucb,
    "GaussianLikes": gaussian_likes,
    "Oracle": oracle,
}


# Data, seed -> rows to search on, validation judge, rows to fit on for the test, test judge,
# metric, description.


def next_task(data: Interactions, seed: int) -> tuple:
    """Protocols A and B."""
    split = leave_one_out(data)
    history, target = protocols.ranking_task(split, "test")
    generator = torch.Generator().manual_seed(seed)
    negatives = protocols.sample_negatives(data, target.user, 99, generator)

    def judge(score: scores.ScoreFunction) -> statistics.Evaluation:
        return protocols.leave_one_out_metrics(score, history, target, negatives)

    about = {
        "split": "leave one out: last row test, last but one validation; fitted on train rows only",
        "protocol": "full ranking of unseen items; sampled_: 99 negatives never rated",
        "users": len(target),
    }
    train = split.train
    return train, tuning.leave_one_out_judge(split), train, judge, "ndcg@10", about


def in_two_steps(rows: Interactions, judge_of: Callable[..., Judge]) -> tuple:
    """A random split by rows, the train part split again: -> the first four parts of a task."""
    split = random_split(rows, validation_share=0.1)
    log = split.train.concat(split.validation)
    return split.train, judge_of(split.train, split.validation), log, judge_of(log, split.test)


def positives_task(data: Interactions, seed: int) -> tuple:
    """Protocol C."""

    def judge_of(train: Interactions, held_out: Interactions) -> Judge:
        generator = torch.Generator().manual_seed(3)  # as in `study.py`
        positives = train.concat(held_out)
        negatives = protocols.sample_negatives(positives, held_out.user, generator=generator)
        return lambda score: protocols.random_positive_metrics(score, train, held_out, negatives)

    about = {
        "split": "ratings above 3, by rows at random: 70 % to search on, 10 % validation, "
        "20 % test; fitted on the 80 % before the test",
        "protocol": "each held-out row among 99 films that are no positive of the person",
    }
    return *in_two_steps(data.select(data.rating > 3), judge_of), "sampled_ndcg@10", about


def ratings_task(data: Interactions, seed: int) -> tuple:
    """Protocol D."""

    def judge_of(train: Interactions, held_out: Interactions) -> Judge:
        def judge(score: scores.ScoreFunction | None) -> statistics.Evaluation:
            known = score if score is not None else popularity.Random(train)
            found = protocols.offline_reranking(known, train, held_out)
            if score is None:
                return found.oracle
            return found.random if isinstance(score, popularity.Random) else found.model

        return judge

    about = {
        "split": "all ratings, by rows at random: 70 % to search on, 10 % validation, "
        "20 % test; fitted on the 80 % before the test",
        "protocol": "the test rows of a person are put in order, their ratings read as they come; "
        "long_: people with at least k of them; Random is the exact expectation",
    }
    return *in_two_steps(data, judge_of), "precision@5", about


def time_task(data: Interactions, seed: int) -> tuple:
    """Protocol G."""
    split = split_by_time(data)
    history = split.train.concat(split.validation)
    about = {
        "split": "two global times: the oldest 80 % train, then 10 % validation, 10 % test",
        "protocol": "full ranking of unseen films; fitted on train rows, histories up to the test",
    }
    return (
        split.train,
        lambda score: protocols.global_time_metrics(score, split.train, split.validation),
        split.train,
        lambda score: protocols.global_time_metrics(score, history, split.test),
        "ndcg@10",
        about,
    )


PEOPLE = "split_users(.8, .1, .1): whole people; fitted on the rows of the first group"


def groups_of(data: Interactions, seed: int) -> list[Interactions]:
    """All rows of the people of training, validation and test."""
    generator = torch.Generator().manual_seed(seed)
    groups = split_users(data.n_users, (0.8, 0.1, 0.1), generator=generator)
    return [data.select(torch.isin(data.user, users)) for users in groups]


def strangers_task(data: Interactions, seed: int) -> tuple:
    """Protocol E."""
    train, validation, test = groups_of(data, seed)
    about = {
        "split": PEOPLE,
        "protocol": "three random liked films in, three out; 20 draws a person",
        "users": len(protocols.three_in_three_out(popularity.Random(data), test, draws=1).users),
    }
    on_validation, on_test = (
        lambda score, people=p: protocols.three_in_three_out(score, people)
        for p in (validation, test)
    )
    return train, on_validation, train, on_test, "precision@3", about


def sessions_task(data: Interactions, seed: int) -> tuple:
    """Whole sessions with strangers."""
    train, *groups = groups_of(data, seed)

    def judge(
        score: scores.ScoreFunction | None, people: Interactions, draws: int
    ) -> statistics.Evaluation:
        if score is None:
            return sessions.oracle_sessions(people)
        return sessions.sessions_with_strangers(score, people, draws=draws)

    about = {
        "split": PEOPLE,
        "protocol": "sessions of 40 films; three random liked films are named, each film shown is "
        "answered; 5 draws a person, 2 on validation; test_people: by ascending user index",
        "users": len(sessions.oracle_sessions(groups[1]).users),
    }
    on_validation, on_test = (
        partial(judge, people=p, draws=d) for p, d in zip(groups, (2, 5), strict=True)
    )
    return train, on_validation, train, on_test, "reward@40", about


def measure(task: tuple, grids: dict, names: list[str], old: dict) -> dict:
    """The search and the test figures of one task; `old` holds those of models not in `names`."""
    train, on_validation, log, on_test, metric, about = task
    models = dict(old.get("models", {}))
    counts = torch.bincount(log.item, minlength=log.n_items)
    for name in names:
        model = BY_NAME.get(name) or BASELINES[name]
        table, best = tuning.tune(model, grids[name], train, on_validation, metric)
        table = table.drop(columns=[column for column in table if column.startswith("step@")])
        result = on_test(model(log, **best))
        interval = result.interval()
        shown = {n: v for n, v in interval.items() if not n.startswith("step@")}
        print(f"{name} {best}\n{table.to_string(index=False)}\ntest {shown}\n", flush=True)
        models[name] = {
            "grid": grids[name],
            "validation": table.astype(object).where(table.notna(), None).to_dict("records"),
            "chosen": best,
            "test": result.mean(),
            "test_interval_95": interval,
        }
        if result.top is not None:
            models[name]["test_lists"] = metrics.list_statistics(result.top, counts)
        rewards = {n: v for n, v in result.metrics.items() if n.startswith("reward@")}
        if rewards:  # for paired comparisons with models that are fitted elsewhere
            people = {n: v.astype(float).round(4).tolist() for n, v in rewards.items()}
            models[name]["test_people"] = people
    return about | {"chosen_by": f"validation {metric}", "models": models}


def rounded(value):
    """Floats to six digits, everywhere in a nested structure, so the file stays small."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return round(value, 6) if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ml-1m")
    parser.add_argument("--root", type=Path, default=Path("data"))
    tasks = {
        "next": (next_task, NEXT),
        "positives": (positives_task, POSITIVES),
        "ratings": (ratings_task, RATINGS),
        "time": (time_task, TIME),
        "strangers": (strangers_task, STRANGERS),
        "sessions": (sessions_task, SESSIONS),
    }
    every = list(dict.fromkeys(name for _, grids in tasks.values() for name in grids))
    parser.add_argument("--models", nargs="+", choices=every, default=every)
    parser.add_argument("--tasks", nargs="+", choices=list(tasks), default=list(tasks))
    parser.add_argument("--seed", type=int, default=0, help="of the negatives and of the people")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = Interactions.from_ratings(load_ratings(options.root / options.dataset))
    path = options.out / f"baselines-{options.dataset}.json"
    report = json.loads(path.read_text()) if path.exists() else {}
    report |= {
        "dataset": options.dataset,
        "rows": len(data),
        "n_users": data.n_users,
        "n_items": data.n_items,
        "seed": options.seed,
        "versions": {"python": platform.python_version(), "torch": torch.__version__}
        | {"numpy": np.__version__, "implicit": version("implicit")},
    }
    for name in options.tasks:
        task, grids = tasks[name]
        models = [model for model in options.models if model in grids]
        report[name] = measure(task(data, options.seed), grids, models, report.get(name, {}))
        write(path, report)


def write(path: Path, report: dict) -> None:
    """Through a temporary file, so that an interrupted run leaves the old figures whole.

    Lists of numbers are one line each.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    text = json.dumps(rounded(report), indent=1)
    text = re.sub(r'\[[^][{}"]+\]', lambda found: " ".join(found.group().split()), text)
    temporary.write_text(text.replace("[ ", "[").replace(" ]", "]") + "\n")
    temporary.replace(path)


if __name__ == "__main__":
    main()
