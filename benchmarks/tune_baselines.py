"""Tunes the baselines on validation data and writes benchmarks/results/baselines-<dataset>.json.

    python benchmarks/tune_baselines.py --dataset ml-1m --root data [--models EASE ItemKNN]

Two tasks, each with its own search: "next" (leave one out, full ranking, NDCG@10 of the validation
rows) and "strangers" (three in, three out, Precision@3 of people held out for validation). The
chosen settings are then measured once on the test part of their task. Models that are not named
keep the figures they have in the file.
"""

import argparse
import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # `implicit` asks for it; before numpy loads
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402
import torch  # noqa: E402

import baselines  # noqa: E402
import evaluation as ev  # noqa: E402
from utils import Interactions, leave_one_out, load_ratings, split_users  # noqa: E402

# A rating of any value is a positive of the task "next"; strangers name films they like.
NEXT = {
    "Random": {},
    "Popularity": {},
    "RecentPopularity": {"share": [0.01, 0.02, 0.05, 0.1, 0.2, 0.5]},
    "ItemKNN": {"neighbours": [10, 20, 50, 100, 500], "shrinkage": [0, 10, 100]},
    "EASE": {"regularization": [20, 50, 100, 200, 300, 500, 1000, 2000]},
    "IALS": {"factors": [64, 128, 256], "regularization": [3, 10, 30], "alpha": [1]},
}
LIKED = {"min_rating": [None, 4.0]}
STRANGERS = {
    "Random": {},
    "Popularity": LIKED,
    "RecentPopularity": {"share": [0.05, 0.1, 0.2, 0.5]} | LIKED,
    # 10,000 neighbours are all of them; in a wider first search lower ratings never helped this one
    "ItemKNN": {"neighbours": [500, 10_000], "shrinkage": [10, 50, 100, 200, 500, 1000]}
    | {"min_rating": [4.0]},
    "EASE": {"regularization": [2000, 5000, 10_000, 20_000, 50_000]} | LIKED,
    "IALS": {"factors": [8, 16, 32], "regularization": [10, 30, 100], "alpha": [1]} | LIKED,
}


def next_task(data: Interactions, seed: int) -> tuple:
    """-> train, validation judge, test judge, metric, description."""
    split = leave_one_out(data)
    history, target = ev.ranking_task(split, "test")
    generator = torch.Generator().manual_seed(seed)
    negatives = ev.sample_negatives(data, target.user, 99, generator)

    def judge(score: ev.ScoreFunction) -> ev.Evaluation:
        return ev.leave_one_out_metrics(score, history, target, negatives)

    about = {
        "split": "leave one out: last row test, last but one validation; fitted on train rows only",
        "protocol": "full ranking of unseen items; sampled_: 99 negatives never rated",
        "users": len(target),
    }
    return split.train, baselines.leave_one_out_judge(split), judge, "ndcg@10", about


def strangers_task(data: Interactions, seed: int) -> tuple:
    """-> train, validation judge, test judge, metric, description."""
    generator = torch.Generator().manual_seed(seed)
    groups = split_users(data.n_users, (0.8, 0.1, 0.1), generator=generator)
    train, validation, test = (data.select(torch.isin(data.user, users)) for users in groups)
    about = {
        "split": "split_users(.8, .1, .1): whole people; fitted on the rows of the first group",
        "protocol": "three random liked films in, three out; 20 draws a person",
        "users": len(ev.three_in_three_out(baselines.Random(data), test, draws=1).users),
    }
    judges = (
        lambda score, people=p: ev.three_in_three_out(score, people) for p in (validation, test)
    )
    return train, *judges, "precision@3", about


def measure(task: tuple, grids: dict, names: list[str], old: dict) -> dict:
    """The search and the test figures of one task; `old` holds those of models not in `names`."""
    train, on_validation, on_test, metric, about = task
    models = dict(old.get("models", {}))
    counts = torch.bincount(train.item, minlength=train.n_items)
    for name in names:
        model = getattr(baselines, name)
        table, best = baselines.tune(model, grids[name], train, on_validation, metric)
        result = on_test(model(train, **best))
        print(f"{name} {best}\n{table.to_string(index=False)}\ntest {result.mean()}\n", flush=True)
        models[name] = {
            "grid": grids[name],
            "validation": table.astype(object).where(table.notna(), None).to_dict("records"),
            "chosen": best,
            "test": result.mean(),
            "test_interval_95": result.interval(),
            "test_lists": ev.list_statistics(result.top, counts),
        }
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
    parser.add_argument("--models", nargs="+", choices=list(NEXT), default=list(NEXT))
    parser.add_argument("--tasks", nargs="+", choices=["next", "strangers"], default=None)
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
    tasks = {"next": (next_task, NEXT), "strangers": (strangers_task, STRANGERS)}
    for name in options.tasks or tasks:
        task, grids = tasks[name]
        old = report.get(name, {})
        report[name] = measure(task(data, options.seed), grids, options.models, old)
        write(path, report)


def write(path: Path, report: dict) -> None:
    """Through a temporary file, so that an interrupted run leaves the old figures whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(rounded(report), indent=1) + "\n")
    temporary.replace(path)


if __name__ == "__main__":
    main()
