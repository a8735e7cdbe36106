"""Every table of final figures, from the committed results alone; the notebook shows the same ones.

    python benchmarks/tables.py [--dataset ml-1m] [--plot benchmarks/results/sessions.png]

Means are over training seeds. In brackets a 95 % bootstrap interval over people, the trained
agents kept: of the mean over seeds where people's figures are kept (sessions), else the mean of
the seeds' intervals. "sd" is the other uncertainty, the spread of the figure over training seeds.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_rl.evaluation import plots
from recsys_rl.evaluation.sessions import HORIZONS
from recsys_rl.evaluation.statistics import bootstrap_interval, paired_bootstrap, seed_spread

RESULTS = Path(__file__).parent / "results"
TRUST_PUT_BACK = "imitation, trust put back"  # the stage, as `study.warm_stages` names it


def runs(dataset: str, split: str, agent: str, stage: str = "DDPG") -> list[dict]:
    """All committed runs of one agent in which this stage was judged, by training seed."""
    found = (RESULTS / "runs").glob(f"{dataset}-{split}-{agent}-[0-9].json")
    found = (json.loads(path.read_text()) for path in sorted(found))
    return [run for run in found if stage in run["test"]]


def baselines(dataset: str, task: str) -> dict[str, dict]:
    """Baselines by name, tuned on validation data; {} where the task was not run."""
    path = RESULTS / f"baselines-{dataset}.json"
    report = json.loads(path.read_text()) if path.exists() else {}
    return report.get(task, {}).get("models", {})


def bracketed(mean: float, interval: tuple[float, float]) -> str:
    """A mean with its interval, as text."""
    low, high = interval
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def signed(difference: tuple[float, float, float]) -> str:
    """A paired difference with its interval, as text."""
    mean, low, high = difference
    return f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]"


def over_seeds(group: list[dict], protocol: str, metric: str, stage: str = "DDPG") -> dict:
    """One metric of several runs -> mean, sd over seeds, interval over people.

    The interval: of each person's mean over seeds where that is kept, else the mean of theirs.
    """
    parts = [run["test"][stage][protocol] for run in group]
    spread = seed_spread([part["mean"][metric] for part in parts])
    interval = np.mean([part["interval"][metric] for part in parts], axis=0)
    if metric in parts[0].get("people", {}):
        each = [part["people"][metric] for part in parts]
        interval = bootstrap_interval(np.mean(each, axis=0))
    return {"mean": spread["mean"], "sd": spread["sd"], "interval": tuple(interval)}


# ---------------------------------------------------------------------------- one film, ranked


RANKING = {
    "hr@10": "Hit@10, full",
    "ndcg@10": "nDCG@10, full",
    "sampled_hr@10": "Hit@10, 99",
    "sampled_ndcg@10": "nDCG@10, 99",
}


def leave_one_out(dataset: str, agents: tuple[str, ...] = ("DRR-seq",)) -> pd.DataFrame:
    """Protocols A (99 negatives) and B (all unseen films): baselines, both stages of the agents."""
    rows = {}
    for name, model in baselines(dataset, "next").items():
        rows[name] = {
            title: bracketed(model["test"][metric], model["test_interval_95"][metric])
            for metric, title in RANKING.items()
        } | {"seeds": 1, "sd of nDCG@10, full": ""}
    for agent in agents:
        group = runs(dataset, "leave-one-out", agent)
        for stage, label in (("imitation", "warm start"), ("DDPG", "+ DDPG")):
            if not group:
                continue
            figures = {m: over_seeds(group, "AB", m, stage) for m in RANKING}
            rows[f"{agent}, {label}"] = {
                title: bracketed(figures[m]["mean"], figures[m]["interval"])
                for m, title in RANKING.items()
            } | {"seeds": len(group), "sd of nDCG@10, full": f"{figures['ndcg@10']['sd']:.4f}"}
    return pd.DataFrame(rows).T


C = {"sampled_hr@10": "Hit@10", "sampled_ndcg@10": "nDCG@10"}
D = {f"precision@{k}": f"P@{k}" for k in (5, 10)} | {
    f"{kind}ndcg@{k}": f"nDCG@{k}{name}"
    for kind, name in (("", ""), ("binary_", ", binary"))
    for k in (5, 10)
}
LONG_D = {f"long_{metric}": name for metric, name in D.items()}
E = {"precision@3": "Precision@3", "hit@3": "Hit@3"}
G = {"hr@10": "Hit@10", "ndcg@10": "nDCG@10"}
SPLITS = {  # protocol: (task of the baselines, split of the study)
    "C": ("positives", "positives"),
    "D": ("ratings", "ratings"),
    "E": ("strangers", "people"),
    "G": ("time", "time"),
}


def judged(dataset: str, protocol: str, metrics: dict[str, str]) -> pd.DataFrame:
    """One protocol: all baselines, tuned for it, and our two agents, trained for its split."""
    task, split = SPLITS[protocol]
    rows = {
        name: {
            title: bracketed(model["test"][metric], model["test_interval_95"][metric])
            for metric, title in metrics.items()
        }
        | {"seeds": 1}
        for name, model in baselines(dataset, task).items()
    }
    for agent in ("DRR-seq", "DRR-set"):
        group = runs(dataset, split, agent)
        if group:
            figures = {title: over_seeds(group, protocol, m) for m, title in metrics.items()}
            rows[agent] = {t: bracketed(f["mean"], f["interval"]) for t, f in figures.items()}
            rows[agent]["seeds"] = len(group)
    return pd.DataFrame(rows).T


def shares(dataset: str) -> pd.DataFrame:
    """Protocol D: how much of the way from a random order to the best one each mean goes."""
    found = {name: model["test"] for name, model in baselines(dataset, "ratings").items()}
    if not {"Random", "Oracle"} <= set(found):
        return pd.DataFrame()
    for agent in ("DRR-seq", "DRR-set"):
        group = runs(dataset, "ratings", agent)
        if group:
            found[agent] = {m: over_seeds(group, "D", m)["mean"] for m in found["Random"]}
    means = pd.DataFrame(found).T[[*D, *LONG_D]]
    way = (means - means.loc["Random"]) / (means.loc["Oracle"] - means.loc["Random"])
    titles = D | {m: f"{t}, long" for m, t in LONG_D.items()}
    return way.rename(columns=titles).map("{:.3f}".format)


def minus_rivals(dataset: str, protocol: str, metrics: dict[str, str]) -> pd.DataFrame:
    """Protocol C or D: DRR-set minus a rival, person by person, means over training seeds."""
    group = runs(dataset, SPLITS[protocol][1], "DRR-set")
    if not group:
        return pd.DataFrame()
    rows = {
        f"DRR-set minus {rival}": {
            title: signed(
                np.mean([run["rivals"][rival][protocol]["ours_minus"][m] for run in group], axis=0)
            )
            for m, title in metrics.items()
        }
        for rival in group[0]["rivals"]
    }
    if len(group) > 1:
        rows["DRR-set, sd over seeds"] = {
            title: f"{over_seeds(group, protocol, m)['sd']:.4f}" for m, title in metrics.items()
        }
    return pd.DataFrame(rows).T.assign(seeds=len(group))


PROTOCOLS = {  # (split, protocol): {metric: name}
    ("leave-one-out", "AB"): {
        "sampled_hr@10": "A Hit@10",
        "sampled_ndcg@10": "A nDCG@10",
        "hr@10": "B Hit@10",
        "ndcg@10": "B nDCG@10",
    },
    ("positives", "C"): {"sampled_hr@10": "C Hit@10", "sampled_ndcg@10": "C nDCG@10"},
    ("ratings", "D"): {
        "precision@5": "D P@5",
        "precision@10": "D P@10",
        "ndcg@10": "D nDCG@10",
        "binary_ndcg@10": "D nDCG@10, binary",
    },
    ("people", "E"): {"precision@3": "E Precision@3", "hit@3": "E Hit@3"},
    ("people", "sessions"): {f"reward@{t}": f"sessions, T = {t}" for t in HORIZONS},
    ("time", "G"): {"hr@10": "G Hit@10", "ndcg@10": "G nDCG@10"},
}


def protocols(dataset: str, agent: str) -> dict[str, str]:
    """What the study knows of one agent, trained anew for each split: name -> mean, interval."""
    found = {}
    for (split, protocol), metrics in PROTOCOLS.items():
        group = runs(dataset, split, agent)
        for metric, name in metrics.items() if group else ():
            figures = over_seeds(group, protocol, metric)
            text = bracketed(figures["mean"], figures["interval"])
            seeds = f"{len(group)} seeds" if len(group) > 1 else "1 seed"
            found[f"{name} ({seeds})"] = text
    return found


# ---------------------------------------------------------------------------- ablations


ABLATIONS = {  # row: (agent of the study, stage or what was taken away when it was judged)
    "DRR-ave, imitation + DDPG": ("DRR-ave", "DDPG"),
    "untrained": ("DRR-ave", "untrained"),
    "warm start alone": ("DRR-ave", "imitation"),
    "no warm start, reward alone": ("pure-DDPG", "DDPG"),
    "no history": ("DRR-ave", "no history"),
    "history shuffled": ("DRR-ave", "history shuffled"),
    "one person's action for all": ("DRR-ave", "one person's action for all"),
    "gamma = 0": ("gamma-0", "DDPG"),
    "uniform replay": ("uniform-replay", "DDPG"),
    "no noise": ("no-noise", "DDPG"),
    "Ornstein-Uhlenbeck noise": ("ou-noise", "DDPG"),
    "DRR-p": ("DRR-p", "DDPG"),
    "DRR-u": ("DRR-u", "DDPG"),
    "DRR-att": ("DRR-att", "DDPG"),
    "memory of 1 film": ("n-1", "DDPG"),
    "memory of 10 films": ("n-10", "DDPG"),
    "memory of 20 films": ("n-20", "DDPG"),
    "random vectors": ("random-vectors", "DDPG"),
    "PMF vectors, frozen": ("frozen-vectors", "DDPG"),
}
ABLATED = {  # column: (split, protocol, metric)
    "A: Hit@10": ("leave-one-out", "AB", "sampled_hr@10"),
    "B: Hit@10": ("leave-one-out", "AB", "hr@10"),
    "B: nDCG@10": ("leave-one-out", "AB", "ndcg@10"),
    "D: P@5": ("ratings", "D", "precision@5"),
    "D: P@10": ("ratings", "D", "precision@10"),
}


def ablation_figures(
    dataset: str, wanted: dict[str, tuple[str, str]] = ABLATIONS
) -> dict[str, dict[str, dict]]:
    """Row -> column -> what `over_seeds` says, and "seeds": the figure of each training seed."""
    found: dict[str, dict[str, dict]] = {}
    for row, (agent, stage) in wanted.items():
        for column, (split, protocol, metric) in ABLATED.items():
            group = runs(dataset, split, agent, stage)
            if group:
                each = [run["test"][stage][protocol]["mean"][metric] for run in group]
                figures = over_seeds(group, protocol, metric, stage) | {"seeds": each}
                found.setdefault(row, {})[column] = figures
    return found


def ablations(dataset: str) -> pd.DataFrame:
    """What DRR-ave owes to each of its parts, under protocols A, B and D."""
    rows = {}
    for row, found in ablation_figures(dataset).items():
        rows[row] = {c: bracketed(f["mean"], f["interval"]) for c, f in found.items()}
        for column in ("B: nDCG@10", "D: P@5"):
            if column in found:
                rows[row][f"sd, {column}"] = f"{found[column]['sd']:.4f}"
        rows[row]["seeds"] = max(len(f["seeds"]) for f in found.values())
    return pd.DataFrame(rows).T.fillna("")


# ---------------------------------------------------------------------------- sessions


AGENTS = {  # row of the table: (agent of the study, stage)
    "DRR-set, sets alone, without what was not liked": ("set-likes-only", "DDPG"),
    "DRR-set, sets alone, more imitation": ("no-profile-no-critic", "DDPG"),
    "DRR-set, sets alone": ("set-no-profile", "DDPG"),
    "DRR-set, ridge, warm start": ("set-ridge", "imitation"),
    "DRR-set, ridge, + DDPG": ("set-ridge", "DDPG"),
    "DRR-set, 15 % held back, warm start": ("set-held-back", "imitation"),
    "DRR-set, 15 % held back, more imitation": ("held-back-no-critic", "DDPG"),
    "DRR-set, 15 % held back, gamma = 0": ("held-back-gamma-0", "DDPG"),
    "DRR-set, 15 % held back, + DDPG": ("set-held-back", "DDPG"),
    "DRR-set, half the updates, warm start": ("set-short", "imitation"),
    "DRR-set, half the updates, + DDPG": ("set-short", "DDPG"),
    "DRR-set, warm start": ("DRR-set", "imitation"),
    "DRR-set, warm start, trust put back": ("DRR-set", TRUST_PUT_BACK),
    "DRR-set, trust put back, + DDPG": ("set-put-back", "DDPG"),
    "DRR-set, trust kept, gamma = 0": ("gentle-gamma-0", "DDPG"),
    "DRR-set, trust kept, + DDPG": ("set-gentle", "DDPG"),
    "DRR-set, more imitation": ("set-no-critic", "DDPG"),
    "DRR-set, gamma = 0": ("set-gamma-0", "DDPG"),
    "DRR-set, + DDPG": ("DRR-set", "DDPG"),
}


def people(group: list[dict], horizon: int, stage: str = "DDPG") -> np.ndarray:
    """Each person's mean reward per step, the mean over training seeds -> float64 [U]."""
    kept = [run["test"][stage]["sessions"]["people"][f"reward@{horizon}"] for run in group]
    return np.mean(kept, axis=0)


def sessions(dataset: str) -> pd.DataFrame:
    """Mean reward per step with test people, by length of the session."""
    rows = {}
    for name, model in baselines(dataset, "sessions").items():
        rows[name] = {
            f"T = {t}": bracketed(
                model["test"][f"reward@{t}"], model["test_interval_95"][f"reward@{t}"]
            )
            for t in HORIZONS
        } | {"seeds": 1}
        rows[name] |= shown([model["test_lists"]]) if "test_lists" in model else {}
    paths = sorted((RESULTS / "strangers").glob(f"{dataset}-SB3-DDPG-*.json"))
    theirs = [json.loads(path.read_text()) for path in paths]
    if theirs:
        rows["DDPG of Stable-Baselines3"] = {
            f"T = {t}": bracketed(
                np.mean([run["mean"][f"reward@{t}"] for run in theirs]),
                np.mean([run["interval"][f"reward@{t}"] for run in theirs], axis=0),
            )
            for t in HORIZONS
        } | {"seeds": len(theirs)}
        rows["DDPG of Stable-Baselines3"] |= shown([run["lists"] for run in theirs])
    for row, (agent, stage) in AGENTS.items():
        group = runs(dataset, "people", agent, stage)
        if group:
            lists = [run["test"][stage]["sessions"]["lists"] for run in group]
            rows[row] = {
                f"T = {t}": bracketed(v.mean(), bootstrap_interval(v))
                for t in HORIZONS
                for v in [people(group, t, stage)]
            } | {"seeds": len(group)}
            rows[row] |= shown(lists)
    return pd.DataFrame(rows).T.fillna("")


SPLITS_BY_PEOPLE = ["people", *(f"people-{number}" for number in range(1, 10))]


GROUP_GAINS = {  # row of `groups`: the agent that is compared with, its stage, and the agent
    "DDPG minus warm start": ("DRR-set", "imitation", "DRR-set"),
    "DDPG minus warm start, trust put back": ("DRR-set", TRUST_PUT_BACK, "DRR-set"),
    "trust put back: DDPG minus warm start": ("set-put-back", TRUST_PUT_BACK, "set-put-back"),
    "trust kept: DDPG minus warm start": ("set-gentle", TRUST_PUT_BACK, "set-gentle"),
    "trust kept: DDPG minus gamma = 0": ("gentle-gamma-0", "DDPG", "set-gentle"),
    "DDPG minus gamma = 0": ("set-gamma-0", "DDPG", "DRR-set"),
    "DDPG minus half the updates": ("set-short", "DDPG", "DRR-set"),
    "half the updates, DDPG minus warm start": ("set-short", "imitation", "set-short"),
    "half the updates, DDPG minus gamma = 0": ("short-gamma-0", "DDPG", "set-short"),
    "15 % held back, DDPG minus warm start": ("set-held-back", "imitation", "set-held-back"),
}


def splits_by_people(dataset: str) -> list[str]:
    """The splits whose test people DRR-set was trained for anew; [] if there is only one."""
    splits = [split for split in SPLITS_BY_PEOPLE if runs(dataset, split, "DRR-set")]
    return splits if len(splits) > 1 else []


def group_gains(dataset: str) -> dict[str, dict[int, tuple[float, float, float]]]:
    """Row -> T -> paired difference (mean, low, high) over the test people of all splits together.

    One training seed a split; a person whom two splits hold out counts twice.
    """
    splits, found = splits_by_people(dataset), {}

    def together(group: list[dict], t: int, stage: str) -> np.ndarray:
        return np.concatenate([people([run], t, stage) for run in group])

    for row, (other, stage, agent) in GROUP_GAINS.items():
        ours = [runs(dataset, split, agent)[:1] for split in splits]
        theirs = [runs(dataset, split, other, stage)[:1] for split in splits]
        if not (splits and all(ours) and all(theirs)):
            continue
        ours, theirs = (sum(group, []) for group in (ours, theirs))
        if [run["seed"] for run in ours] != [run["seed"] for run in theirs]:
            raise ValueError(f"{row}: the runs of a split must have the same training seed")
        pairs = {t: (together(ours, t, "DDPG"), together(theirs, t, stage)) for t in HORIZONS}
        found[row] = {t: paired_bootstrap(*pair)[:3] for t, pair in pairs.items()}
    return found


def groups(dataset: str) -> pd.DataFrame:
    """DRR-set / popularity, with other tenths of the people held out whole and all trained anew.

    Settings are those chosen on validation people of the first split, a tenth of whom are in each
    of the other groups. Training seed: the number of the group; with 15 % held back, 0. The last
    rows are those of `group_gains`.
    """
    splits, chosen = splits_by_people(dataset), baselines(dataset, "sessions").get("Popularity")
    if not splits or not chosen:
        return pd.DataFrame()
    ours = {split: runs(dataset, split, "DRR-set")[0] for split in splits}
    rivals = [run.get("rivals", {}).get("popularity") for run in ours.values()]
    popularity = [rival["sessions"]["mean"] if rival else chosen["test"] for rival in rivals]
    table = pd.DataFrame(index=[*splits, "mean"])
    for t in HORIZONS:
        mine = [people([run], t).mean() for run in ours.values()]
        pairs = [*zip(mine, (mean[f"reward@{t}"] for mean in popularity), strict=True)]
        table[f"T = {t}"] = [f"{a:.3f} / {b:.3f}" for a, b in (*pairs, np.mean(pairs, axis=0))]
    for row, found in group_gains(dataset).items():
        table.loc[row] = [signed(found[t]) for t in HORIZONS]
    return table


def shown(lists: list[dict[str, float]]) -> dict[str, str]:
    """What was shown over all sessions, the mean over runs: see `evaluation.list_statistics`."""
    distinct = np.mean([each["distinct"] for each in lists])
    percentile = np.mean([each["popularity_percentile"] for each in lists])
    return {"distinct films": f"{distinct:,.0f}", "popularity pct.": f"{percentile:.2f}"}


def gain_figures(dataset: str) -> dict[str, dict[int, tuple[float, float, float]]]:
    """Row -> T -> DRR-set + DDPG minus that row, person by person: mean, low, high.

    The same training seeds on both sides; baselines have none.
    """
    ours, found = runs(dataset, "people", "DRR-set"), {}
    for row, (agent, stage) in AGENTS.items():
        theirs = runs(dataset, "people", agent, stage)
        seeds = {run["seed"] for run in ours} & {run["seed"] for run in theirs}
        if (agent, stage) == ("DRR-set", "DDPG") or not seeds:
            continue
        mine, other = ([r for r in group if r["seed"] in seeds] for group in (ours, theirs))
        found[row] = {
            t: paired_bootstrap(people(mine, t), people(other, t, stage))[:3] for t in HORIZONS
        }
    for name in ("ItemKNN", "EASE", "LinUCB", "GaussianLikes"):
        model = baselines(dataset, "sessions").get(name)
        if ours and model:
            theirs = {t: np.array(model["test_people"][f"reward@{t}"]) for t in HORIZONS}
            found[name] = {t: paired_bootstrap(people(ours, t), theirs[t])[:3] for t in HORIZONS}
    return found


def gains(dataset: str) -> pd.DataFrame:
    """What each part adds to DRR-set + DDPG, as text."""
    rows = {
        f"+ DDPG minus: {row}": {f"T = {t}": signed(d) for t, d in found.items()}
        for row, found in gain_figures(dataset).items()
    }
    return pd.DataFrame(rows).T


OWN_WARM_START = {  # row: (agent of the study, its warm start); or a stage of another agent
    "DRR-set": ("DRR-set", "imitation"),
    "DRR-set, minus the warm start with the trust put back": ("DRR-set", TRUST_PUT_BACK),
    "DRR-set, trust put back, + DDPG": ("set-put-back", TRUST_PUT_BACK),
    "DRR-set, trust kept": ("set-gentle", TRUST_PUT_BACK),
    "DRR-set, trust kept, gamma = 0": ("gentle-gamma-0", TRUST_PUT_BACK),
    "half the updates": ("set-short", "imitation"),
    "15 % held back": ("set-held-back", "imitation"),
    "ridge": ("set-ridge", "imitation"),
    "sets alone": ("set-no-profile", "imitation"),
    "sets alone, minus more imitation": ("set-no-profile", "DDPG", "no-profile-no-critic"),
    "sets alone, more imitation": ("no-profile-no-critic", "imitation"),
    "sets alone, without what was not liked": ("set-likes-only", "imitation"),
}


def own_gains(dataset: str) -> pd.DataFrame:
    """What DDPG adds to the agent's own warm start, person by person, over all training seeds.

    A row that names another agent is minus a stage of that one, trained with the same seeds.
    """
    rows = {}
    for row, (agent, stage, *other) in OWN_WARM_START.items():
        group = runs(dataset, "people", agent, stage)
        rival = runs(dataset, "people", other[0], stage) if other else group
        if not (group and rival):
            continue
        if [run["seed"] for run in group] != [run["seed"] for run in rival]:
            raise ValueError(f"{row}: both agents must have the same training seeds")
        pairs = {t: (people(group, t), people(rival, t, stage)) for t in HORIZONS}
        rows[row] = {f"T = {t}": signed(paired_bootstrap(*p)[:3]) for t, p in pairs.items()}
        rows[row]["seeds"] = len(group)
    return pd.DataFrame(rows).T


SHORT = "people", "set-short"
NAMES = {  # in plots; tables have the names of the classes
    "Popularity": "popularity",
    "ItemKNN": "item-kNN",
    "IALS": "iALS",
    "GaussianLikes": "Gaussian of likes",
}
MORE = {  # row: (split, agent) of the study
    "half of the train people": ("people-half", "set-short"),
    "the validation people too": ("people-more", "set-short"),
    "DDPG three times as long": ("people", "set-short-longer"),
    "twice the updates in both stages: DRR-set": ("people", "DRR-set"),
}


def more(dataset: str) -> pd.DataFrame:
    """What more people and more training bring: each row minus `SHORT`, both + DDPG.

    Person by person, over the training seeds that both have. Last: what DDPG adds in that row.
    """
    short, rows, last = runs(dataset, *SHORT), {}, max(HORIZONS)
    for row, key in MORE.items():
        group = runs(dataset, *key)
        seeds = {run["seed"] for run in group} & {run["seed"] for run in short}
        if not seeds:
            continue
        group, same = ([r for r in each if r["seed"] in seeds] for each in (group, short))
        pairs = {f"T = {t}": (people(group, t), people(same, t)) for t in HORIZONS}
        stages = people(group, last), people(group, last, "imitation")
        pairs[f"DDPG minus warm start, T = {last}"] = stages
        rows[row] = {column: signed(paired_bootstrap(*pair)[:3]) for column, pair in pairs.items()}
        rows[row]["seeds"] = len(seeds)
    return pd.DataFrame(rows).T


def by_step(dataset: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Row -> mean reward of step t = 1..40 (mean over seeds), float64 [40], interval [40, 2]."""
    lines, names = {}, [f"step@{t}" for t in range(1, max(HORIZONS) + 1)]
    for name, model in baselines(dataset, "sessions").items():
        mean, interval = model["test"], model["test_interval_95"]
        lines[name] = np.array([mean[n] for n in names]), np.array([interval[n] for n in names])
    for row, (agent, stage) in AGENTS.items():
        group = runs(dataset, "people", agent, stage)
        if group:
            figures = [over_seeds(group, "sessions", n, stage) for n in names]
            interval = np.array([f["interval"] for f in figures])
            lines[row] = np.array([f["mean"] for f in figures]), interval
    return lines


def simulated(dataset: str, streak: float = 0.0) -> pd.DataFrame:
    """Sessions of ten films in the simulator of the training (A) and in the judge's own (B).

    Reward per step of people on whom nothing was chosen; total: of everybody, as the paper has it.
    """
    found = sorted((RESULTS / "simulated").glob(f"{dataset}-streak-{streak:g}-*.json"))
    rows: dict[str, list[dict]] = {}
    for path in found:
        for name, row in json.loads(path.read_text())["rows"].items():
            rows.setdefault(name, []).append(row)
    return pd.DataFrame({name: _simulated_row(group) for name, group in rows.items()}).T


def _simulated_row(group: list[dict]) -> dict[str, str | int]:
    """The runs of one model, one a seed."""

    def mean(values: list) -> np.ndarray:
        return np.mean(values, axis=0)

    row = {
        f"reward in {judge}": bracketed(
            mean([run[judge]["reward"] for run in group]),
            mean([run[judge]["interval"] for run in group]),
        )
        for judge in "AB"
    }
    row["gap"] = f"{mean([run['gap'] for run in group]):+.3f}"
    row["total in B"] = f"{mean([run['B']['total'] for run in group]):,.0f}"
    greedy = [run["B"]["minus"].get("greedy on A") for run in group]
    row["minus greedy on A, in B"] = ""  # greedy itself has no difference
    if all(greedy):
        row["minus greedy on A, in B"] = signed(
            mean([[found[part] for part in ("mean", "low", "high")] for found in greedy])
        )
    return row | {"seeds": len(group)}


def simulated_gains(dataset: str, streak: float = 0.0) -> pd.DataFrame:
    """DRR-set + DDPG minus the others in the judge's simulator, paired over people.

    Reward per step; the mean over training seeds of the differences and of their intervals.
    """
    found = sorted((RESULTS / "simulated").glob(f"{dataset}-streak-{streak:g}-[0-9].json"))
    ours = [json.loads(path.read_text())["rows"]["DRR-set"]["B"]["minus"] for path in found]
    rows = {}
    for name in dict.fromkeys(name for minus in ours for name in minus):
        each = [minus[name] for minus in ours if name in minus]
        mean = np.mean([[d[part] for part in ("mean", "low", "high")] for d in each], axis=0)
        rows[f"DRR-set minus {name}"] = {"in B": signed(mean), "seeds": len(each)}
    return pd.DataFrame(rows).T


def elsewhere(dataset: str) -> pd.DataFrame:
    """Sessions with the people of another data set, reward per step; and ours minus the rivals."""
    path = RESULTS / f"elsewhere-{dataset}.json"
    report = json.loads(path.read_text()) if path.exists() else {"rows": {}}
    names, rows = NAMES | {"DRR-set": "DRR-set, as released"}, {}
    for name, found in report["rows"].items():
        metrics = {f"T = {t}": f"reward@{t}" for t in HORIZONS}
        rows[names.get(name, name)] = {
            title: bracketed(found["mean"][m], found["interval"][m]) for title, m in metrics.items()
        }
        if "ours_minus" in found:
            rows[f"DRR-set minus {names.get(name, name)}"] = {
                title: signed(found["ours_minus"][m]) for title, m in metrics.items()
            }
    return pd.DataFrame(rows).T


def everything(dataset: str) -> dict[str, pd.DataFrame]:
    """Caption -> table, for all that was measured on a data set."""
    found = {
        "Leave one out, test items; protocols B (full) and A (99)": leave_one_out(dataset),
        "Ablations of DRR-ave, test items; protocols A, B and D": ablations(dataset),
        "Protocol C, random positives, test rows": judged(dataset, "C", C),
        "Protocol C, paired differences": minus_rivals(dataset, "C", C),
        "Protocol D, offline re-ranking, test rows, everybody": judged(dataset, "D", D),
        "Protocol D, people with at least k test rows": judged(dataset, "D", LONG_D),
        "Protocol D, share of the way from random (0) to oracle (1), of the means": shares(dataset),
        "Protocol D, paired differences": minus_rivals(dataset, "D", D),
        "Protocol E, three in, three out, test people": judged(dataset, "E", E),
        "Protocol G, one cut in time, test rows": judged(dataset, "G", G),
        "Sessions with test people, mean reward per step": sessions(dataset),
        "Sessions, paired differences": gains(dataset),
        "Sessions, DDPG minus the agent's own warm start": own_gains(dataset),
        "Sessions with other groups of test people": groups(dataset),
        "Sessions, more people and updates, minus DRR-set with half the updates": more(dataset),
        "Sessions with the people of ml-latest-small": elsewhere(dataset),
        "Simulated people": simulated(dataset),
        "Simulated people, paired differences": simulated_gains(dataset),
        "Simulated people, reward of series (0.1)": simulated(dataset, 0.1),
        "Simulated people, reward of series (0.1), paired": simulated_gains(dataset, 0.1),
    }
    return {f"{dataset}. {name}": table for name, table in found.items() if len(table)}


def stages_and_rivals(dataset: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Those lines of `by_step` that a plot has room for: all rivals, and both stages of DRR-set."""
    stages = "DRR-set, warm start", "DRR-set, + DDPG"
    lines = by_step(dataset).items()
    return {NAMES.get(row, row): line for row, line in lines if "DRR" not in row or row in stages}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", nargs="+", default=["ml-1m", "ml-100k"])
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the sessions of the first")
    options = parser.parse_args()
    if options.plot:
        dataset = options.dataset[0]
        title = f"Sessions with people never met, {dataset}, test people"
        plots.reward_by_step(stages_and_rivals(dataset), title).savefig(options.plot, dpi=110)
        return
    for dataset in options.dataset:
        for caption, table in everything(dataset).items():
            print(f"\n{caption}\n{table.to_string()}")


if __name__ == "__main__":
    main()
