"""Writes docs/results.md and docs/sessions.png from the table of results, and from nothing else.

    python -m benchmarks.report            write both
    python -m benchmarks.report --check    exit with 1 if docs/results.md is not up to date

What a row says, and how sure it is: `summaries.py`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmarks import results
from benchmarks.summaries import (
    GROUPS,
    REWARDS,
    SESSIONS,
    Agent,
    bracketed,
    compared,
    figures,
    gains,
    group_gains,
)
from recsys_rl.evaluation.sessions import HORIZONS
from recsys_rl.evaluation.statistics import Interval, hierarchical_bootstrap, seed_spread
from recsys_rl.experiments import NAMES

DOCS = Path(__file__).resolve().parents[1] / "docs"
PRETRAINED, RESET = "pretrained", "pretrained, gate reset"
RIDGE = "ridge regression (LinUCB, alpha = 0)"


@dataclass(frozen=True)
class Section:
    """A heading, what was measured, the commands that made it, a note and the table."""

    heading: str
    measured: str
    commands: Sequence[str]
    note: str
    table: pd.DataFrame

    def markdown(self) -> str:
        commands = ", ".join(f"`python {command}`" for command in self.commands)
        parts = [f"## {self.heading}", f"{self.measured} Made by {commands}."]
        return "\n\n".join([*parts, *([self.note] if self.note else []), markdown(self.table)])


def group_levels(dataset: str) -> pd.DataFrame:
    """DRR-set and popularity with each group of test users, and over all five."""
    rows = {}
    for agent in (Agent("DRR-set"), Agent("popularity")):
        for split in GROUPS:
            key = {"dataset": dataset, "split": split, "protocol": SESSIONS}
            key |= {"agent": agent.name, "stage": agent.stage}
            first = results.means(**key).iloc[0]
            row = {title: f"{first[metric]:.3f}" for metric, title in REWARDS.items()}
            rows[f"{agent}, {split}"] = row
    ours = {title: level_of_groups(dataset, metric) for metric, title in REWARDS.items()}
    rows["DRR-set, all five"] = {title: bracketed(found) for title, found in ours.items()}
    return pd.DataFrame(rows).T


def level_of_groups(dataset: str, metric: str) -> Interval:
    """DRR-set over the five groups, the first training seed of each."""
    key = {"dataset": dataset, "protocol": SESSIONS, "agent": "DRR-set", "stage": "final"}
    kept = [results.by_user(metric, **key, split=split).iloc[0].to_numpy() for split in GROUPS]
    return hierarchical_bootstrap(kept)


# ---------------------------------------------------------------------------------------- tables


def agents(*names: str) -> list[Agent]:
    return [Agent(name) for name in names]


def stages(*names: str) -> list[Agent]:
    """Both stages of agents of ours."""
    return [Agent(name, stage) for name in names for stage in (PRETRAINED, "final")]


BASELINES = agents("random", "popularity", "recent popularity", "item-kNN", "EASE", "iALS", "PMF")
RANKING = {
    "hr@10": "Hit@10",
    "ndcg@10": "nDCG@10",
    "sampled_hr@10": "Hit@10, 99 negatives",
    "sampled_ndcg@10": "nDCG@10, 99 negatives",
}
LITERATURE = [
    Agent(name, stage, f"{name}, {stage}")
    for name in ("popularity", "EASE")
    for stage in ("published", "reproduced")
]
ABLATIONS = {  # row: agent and stage
    "DRR-ave": Agent("DRR-ave"),
    "pretrained": Agent("DRR-ave", PRETRAINED),
    "untrained": Agent("DRR-ave", "untrained"),
    "DDPG only, no pretraining": Agent("DRR-ave-ddpg-only"),
    "no history": Agent("DRR-ave", "no history"),
    "history shuffled": Agent("DRR-ave", "history shuffled"),
    "one user's action for all": Agent("DRR-ave", "one user's action for all"),
    "gamma = 0": Agent("DRR-ave-gamma-0"),
    "uniform replay": Agent("DRR-ave-uniform-replay"),
    "no exploration noise": Agent("DRR-ave-no-noise"),
    "Ornstein-Uhlenbeck noise": Agent("DRR-ave-ou-noise"),
    "state DRR-p": Agent("DRR-p"),
    "state DRR-u": Agent("DRR-u"),
    "state DRR-att": Agent("DRR-att"),
    "history of 1 item": Agent("DRR-ave-n-1"),
    "history of 10 items": Agent("DRR-ave-n-10"),
    "history of 20 items": Agent("DRR-ave-n-20"),
    "random embeddings": Agent("DRR-ave-random-embeddings"),
    "frozen PMF embeddings": Agent("DRR-ave-frozen-embeddings"),
}
COLD_START = [
    *agents("popularity", "PMF", "item-kNN", "EASE", "iALS", "LinUCB", "HLinUCB", RIDGE),
    *agents("ridge regression (HLinUCB, alpha = 0)", "Gaussian of likes", "SB3 DDPG"),
    *stages("DRR-set-sets-alone"),
    *agents("DRR-set-sets-alone-more-pretraining", "DRR-set-more-pretraining", "DRR-set-gamma-0"),
    *(Agent("DRR-set", PRETRAINED), Agent("DRR-set", RESET)),
    *agents("DRR-set-gate-frozen", "DRR-set", "oracle"),
]
OURS = Agent("DRR-set")
RIVALS = [
    *agents("popularity", "item-kNN", "EASE", "LinUCB", RIDGE, "Gaussian of likes"),
    Agent("DRR-set-sets-alone"),
]
FROZEN, ALONE = Agent("DRR-set-gate-frozen"), Agent("DRR-set-sets-alone")
ADDED = [  # what DDPG adds to the pretrained agent, and what a fair control adds
    (OURS, Agent("DRR-set", PRETRAINED)),
    (OURS, Agent("DRR-set", RESET)),
    (OURS, Agent("DRR-set-more-pretraining")),
    (OURS, Agent("DRR-set-gamma-0")),
    (FROZEN, Agent("DRR-set-gate-frozen", RESET)),
    (FROZEN, Agent("DRR-set-gate-frozen-gamma-0")),
    (ALONE, Agent("DRR-set-sets-alone", PRETRAINED)),
    (ALONE, Agent("DRR-set-sets-alone-more-pretraining")),
]
ADDED_IN_GROUPS = [ADDED[0], ADDED[1], ADDED[3], ADDED[4], ADDED[5]]
SIMULATED = [
    *agents("greedy on simulator A", "random", "popularity", "PMF folded in", "LinUCB", "HLinUCB"),
    *stages("DRR-set-sets-alone")[:1],
    *agents("DRR-set-sets-alone-more-pretraining", "DRR-set-sets-alone-gamma-0"),
    *agents("DRR-set-sets-alone", "oracle"),
]
PAST = {  # split: agents that are no longer trained
    "cold-start": [
        *stages("DRR-set-short"),
        *agents("DRR-set-short-gamma-0", "DRR-set-short-more-pretraining"),
        *agents("DRR-set-short-longer-ddpg"),
        *stages("DRR-set-short-holdout"),
        *agents("DRR-set-short-holdout-gamma-0", "DRR-set-short-holdout-more-pretraining"),
        *stages("DRR-set-ridge", "DRR-set-likes-only"),
        *agents("DRR-set-gate-reset"),
    ],
    "cold-start-half": stages("DRR-set-short"),
    "cold-start-more": stages("DRR-set-short"),
}
PAST_COMMAND = (  # the names of that time
    "benchmarks/study.py --dataset ml-1m --splits people people-half people-more --agents "
    "set-short short-gamma-0 short-no-critic set-short-longer set-held-back held-back-gamma-0 "
    "held-back-no-critic set-ridge set-likes-only set-put-back"
)


def ranked(dataset: str) -> pd.DataFrame:
    """Leave-one-out: baselines, the agents of the data set, and what the literature has."""
    ours = stages("DRR-seq") if dataset == "ml-1m" else stages("DRR-ave", "DRR-seq")
    key = {"dataset": dataset, "split": "leave-one-out", "protocol": "leave-one-out"}
    extra = [Agent("DRR-ave-ddpg-only")]
    return compared(RANKING, [*BASELINES, *LITERATURE, *extra, *ours], **key)


def ablations(dataset: str) -> pd.DataFrame:
    """DRR-ave without one of its parts, under leave-one-out and re-ranking."""
    columns = {
        ("leave-one-out", "leave-one-out"): {"hr@10": "Hit@10", "ndcg@10": "nDCG@10"}
        | {"sampled_hr@10": "Hit@10, 99 negatives"},
        ("ratings", "re-ranking"): {"precision@5": "re-ranking P@5", "precision@10": "P@10"},
    }
    rows = {}
    for row, agent in ABLATIONS.items():
        found = {}
        for (split, protocol), metrics in columns.items():
            key = {"dataset": dataset, "split": split, "protocol": protocol}
            found = figures(key, agent, metrics) | found
        rows[row] = found
    table = pd.DataFrame(rows).T
    return table[[title for metrics in columns.values() for title in metrics.values()] + BESIDE]


BESIDE = ["seeds", "in brackets"]


def reranked(dataset: str) -> pd.DataFrame:
    """Re-ranking, and how far of the way from a random order to the best one the means go."""
    key = {"dataset": dataset, "split": "ratings", "protocol": "re-ranking"}
    metrics = {"precision@5": "P@5", "precision@10": "P@10", "ndcg@10": "nDCG@10"}
    metrics |= {"binary_ndcg@10": "nDCG@10, binary"}
    rows = [*BASELINES, Agent("DRR-seq"), *stages("DRR-set-pmf"), Agent("oracle")]
    table = compared(metrics, rows, **key)

    def level(agent: Agent) -> float:
        found = results.means(**key, agent=agent.name, stage=agent.stage)
        return found["precision@5"].mean()

    low, high = level(Agent("random")), level(Agent("oracle"))
    way = {str(agent): f"{(level(agent) - low) / (high - low):.3f}" for agent in rows}
    table.insert(len(metrics), "P@5, random 0 to oracle 1", pd.Series(way))
    return table


def sessions_table(dataset: str) -> pd.DataFrame:
    """Cold-start sessions, with the number of different films that all users were shown."""
    key = {"dataset": dataset, "split": "cold-start", "protocol": SESSIONS}
    table, shown = compared(REWARDS, COLD_START, **key), {}
    for agent in COLD_START:
        found = results.means(**key, agent=agent.name, stage=agent.stage)
        if "distinct" in found:
            shown[str(agent)] = f"{found['distinct'].mean():.0f}"
    table.insert(len(REWARDS), "distinct films", pd.Series(shown))
    return table.fillna("")


def cross_dataset(dataset: str) -> pd.DataFrame:
    """Sessions with the users of ml-latest-small; then DRR-set minus each rival."""
    key = {"dataset": dataset, "split": "cross-dataset", "protocol": SESSIONS}
    rivals = agents("popularity", "item-kNN", "EASE", RIDGE, "Gaussian of likes")
    levels = compared(REWARDS, [*rivals, OURS, Agent("oracle")], **key)
    return pd.concat([levels, gains([(OURS, rival) for rival in rivals], **key)])


def simulated(dataset: str) -> pd.DataFrame:
    """Reward per step in both simulators, without and with a reward for series."""
    parts = []
    for split, ending in (("simulated", ""), ("simulated-series", ", series")):
        for simulator in "AB":
            key = {"dataset": dataset, "split": split, "protocol": f"simulated-{simulator}"}
            parts.append(compared({"reward@10": f"{simulator}{ending}"}, SIMULATED, **key))
    return pd.concat([part.iloc[:, :1] for part in parts] + [parts[0][BESIDE]], axis=1)


def past(dataset: str) -> pd.DataFrame:
    """Sessions of variants that are no longer trained."""
    parts = []
    for split, rows in PAST.items():
        key = {"dataset": dataset, "split": split, "protocol": SESSIONS}
        part = compared(REWARDS, rows, **key)
        ending = "" if split == "cold-start" else f" ({split})"
        parts.append(part.rename(index=lambda name, ending=ending: name + ending))
    return pd.concat(parts)


def training_times(dataset: str) -> pd.DataFrame:
    """CPU seconds of one training, on one thread; the machines were shared with other work."""
    rows = {}
    for split, names in (
        ("leave-one-out", ["DRR-seq"]),
        ("random-positives", ["DRR-set-als"]),
        ("ratings", ["DRR-set-pmf"]),
        ("temporal", ["DRR-set-ridge"]),
        ("cold-start", ["DRR-set", "DRR-set-sets-alone", "SB3 DDPG"]),
    ):
        for name in names:
            key = {"dataset": dataset, "split": split, "protocol": "training"}
            found = results.means(**key, agent=name, stage="final")["training_cpu_seconds"]
            seconds = seed_spread(found)
            sd = "" if np.isnan(seconds["sd"]) else f" (sd {seconds['sd']:.0f})"
            rows[f"{name}, {split}"] = {
                "CPU seconds": f"{seconds['mean']:.0f}{sd}",
                "seeds": str(len(found)),
            }
    return pd.DataFrame(rows).T


# -------------------------------------------------------------------------------------- document


HEAD = """# Results

Generated by `python -m benchmarks.report` from the table
[results.csv.gz](../benchmarks/results/results.csv.gz), which holds more than is shown here; its
columns are explained in [results.py](../benchmarks/results.py). What was tried and what it gave is
in the [log](log.md).

![Share of liked films by step of a cold-start session](sessions.png)

**How to read the tables.** A figure is a mean over test users and training seeds; a baseline has
one fit. An agent's name alone means the agent after DDPG, *pretrained* the same agent before it,
after supervised pretraining. The last column says what stands in brackets:

- *interval over seeds and users*: 95 %, hierarchical bootstrap, training seeds and users resampled
  together; five seeds, and still more two, are few to resample, which makes it a little too short;
- *interval over users*: 95 %, bootstrap, one trained model or one fit; another training run may lie
  outside;
- *sd over seeds*: the standard deviation over training seeds, where values by user were not kept.

Differences are paired: the same seeds, the same users. Many are shown, so that a few intervals
without 0 are to be expected by chance.

**What the test data have seen.** Settings were chosen on validation data. The test data have been
looked at more than once while this project grew, and for three choices of DRR-set their figures had
been seen: no holdout of train users, twice the updates, the learning rate with a frozen gate. The
settings of SB3 DDPG come from ml-100k.

**Which runs these are.** The agents were trained at commit `a5157ef`. Since then the training loop
keeps the weights that do best on validation (these runs kept the last ones), exploration shows
random items (it aimed an action at them), Ornstein-Uhlenbeck noise spares the bias, the critic of
DRR-set without a linear model has dropout, and DRR-seq has the updates of leave-one-out in every
split. Agents that are not in [experiments.py](../recsys_rl/experiments.py) (gate-frozen,
sets-alone, more-pretraining, als, pmf, ridge) are gone; that commit can run them.

**How to run the scripts.** From the root of the repository, with the data sets in `data/`. The
commands below record into the table, and a run that is made again replaces the old one;
`python -m benchmarks.report` then writes this page.
"""


def tuning(dataset: str, *tasks: str) -> str:
    return f"-m benchmarks.tune_baselines --dataset {dataset} --tasks {' '.join(tasks)}"


def study(dataset: str, split: str, *names: str) -> str:
    """For the agents that can still be trained; others are gone (see the head of the page)."""
    known = " ".join(name for name in names if name in NAMES)
    return f"-m benchmarks.study --dataset {dataset} --splits {split} --agents {known}"


def sections() -> list[Section]:
    """Everything that the document shows, in its order."""
    return [*of_logs(), *of_cold_start(), *of_others()]


def of_logs() -> list[Section]:
    """The protocols that rank what the log of a known user holds."""
    found = []
    for dataset, users, names in (
        ("ml-1m", "6,040", ["DRR-seq"]),
        ("ml-100k", "943", ["DRR-ave", "DRR-ave-ddpg-only", "DRR-seq"]),
    ):
        commands = [tuning(dataset, "leave-one-out"), study(dataset, "leave-one-out", *names)]
        note = (
            "Hit@10 and nDCG@10 are among all unseen items; the columns with 99 sampled negatives "
            "serve comparison with older papers only."
        )
        if dataset == "ml-1m":
            commands.append("-m benchmarks.published")
            note += (
                " *Published* figures are of the files of He et al. (WWW 2017), *reproduced* are "
                "ours in that setting, with lambda of EASE chosen on the test items as there."
            )
        measured = f"Data set {dataset}, split leave-one-out, {users} users, 5 training seeds"
        measured += " (DRR-seq: 1)." if dataset == "ml-100k" else "."
        heading = f"Leave-one-out, {dataset}"
        found.append(Section(heading, measured, commands, note, ranked(dataset)))
    found.append(
        Section(
            "Ablations of DRR-ave",
            "Data set ml-100k, splits leave-one-out and ratings (protocol re-ranking), 5 training "
            "seeds.",
            [
                study(
                    "ml-100k",
                    "leave-one-out ratings",
                    *dict.fromkeys(a.name for a in ABLATIONS.values()),
                )
            ],
            "Each row changes one thing; the rows on history and on one user's action change what "
            "the trained agent is given when it is evaluated.",
            ablations("ml-100k"),
        )
    )
    found.append(
        Section(
            "Random positives",
            "Data set ml-1m, split and protocol random-positives (ratings above 3 split 80/20 by "
            "rows, each test row against 99 items that are no positive of the user), 5 training "
            "seeds.",
            [
                tuning("ml-1m", "random-positives"),
                study("ml-1m", "random-positives", "DRR-set-als", "DRR-set-sets-alone", "DRR-seq"),
            ],
            "DRR-set-als reads, beside its sets, the vector that ALS has of the user.",
            compared(
                {"sampled_hr@10": "Hit@10", "sampled_ndcg@10": "nDCG@10"},
                [*BASELINES, Agent("DRR-seq"), Agent("DRR-set-sets-alone"), *stages("DRR-set-als")],
                dataset="ml-1m",
                split="random-positives",
                protocol="random-positives",
            ),
        )
    )
    found.append(
        Section(
            "Re-ranking",
            "Data set ml-1m, split ratings (80/20 by rows), protocol re-ranking: the test items "
            "that a user rated are put in order; 5 training seeds.",
            [tuning("ml-1m", "ratings"), study("ml-1m", "ratings", "DRR-set-pmf", "DRR-seq")],
            "DRR-set-pmf reads, beside its sets, the vector that PMF has of the user. The column "
            "*random 0 to oracle 1* says how far the mean goes from a random order to the best "
            "one.",
            reranked("ml-1m"),
        )
    )
    found.append(
        Section(
            "Temporal",
            "Data set ml-1m, split and protocol temporal (the oldest 80 % of the ratings train, "
            "full ranking of what 1,181 users rated after the last cut), 1 training seed.",
            [tuning("ml-1m", "temporal"), study("ml-1m", "temporal", "DRR-set-ridge", "DRR-seq")],
            "The agents were not tuned for this split.",
            compared(
                {"hr@10": "Hit@10", "ndcg@10": "nDCG@10"},
                [*BASELINES, Agent("DRR-seq"), *stages("DRR-set-ridge")],
                dataset="ml-1m",
                split="temporal",
                protocol="temporal",
            ),
        )
    )
    return found


def of_cold_start() -> list[Section]:
    """Sessions and suggestions for users whom no model has met."""
    held_out = "split cold-start (users held out whole)"
    suggesting = [*BASELINES, Agent("Gaussian of likes"), Agent("DRR-seq"), *stages("DRR-set")]
    names = ["DRR-set", "DRR-set-gamma-0", "DRR-set-more-pretraining", "DRR-set-gate-frozen"]
    names += ["DRR-set-gate-frozen-gamma-0", "DRR-set-sets-alone"]
    names += ["DRR-set-sets-alone-more-pretraining"]
    found = [
        Section(
            "Seed-and-suggest",
            f"Data set ml-1m, {held_out}, protocol seed-and-suggest: three liked films in, three "
            "out; 603 users, 20 draws each, 5 training seeds (DRR-seq: 1).",
            [
                tuning("ml-1m", "seed-and-suggest"),
                study("ml-1m", "cold-start", "DRR-set", "DRR-seq"),
            ],
            "",
            compared(
                {"precision@3": "Precision@3", "hit@3": "Hit@3"},
                suggesting,
                dataset="ml-1m",
                split="cold-start",
                protocol="seed-and-suggest",
            ),
        )
    ]
    for dataset, users in (("ml-1m", 603), ("ml-100k", 94)):
        key = {"dataset": dataset, "split": "cold-start", "protocol": SESSIONS}
        measured = (
            f"Data set {dataset}, {held_out}, protocol cold-start-sessions, {users} users, 5 "
        )
        measured += "training seeds unless the column says another number."
        commands = [study(dataset, "cold-start", *names)]
        beside = [
            tuning(dataset, "cold-start"),
            f"-m benchmarks.stable_baselines3_ddpg --dataset {dataset}",
        ]
        note = (
            "A user names three liked films, then T films are shown one by one; the figure is the "
            "share of them that the user rated 4 or more, a film without a rating counts as not "
            "liked. *Gate reset* puts the weight of the Gaussian back to its start after "
            "pretraining, *gate frozen* keeps it there in DDPG."
        )
        heading = f"Cold-start sessions, {dataset}"
        found.append(
            Section(heading, measured, [*beside, *commands], note, sessions_table(dataset))
        )
        found.append(
            Section(
                f"DRR-set minus others, {dataset}",
                measured,
                [*beside[:1], study(dataset, "cold-start", "DRR-set", "DRR-set-sets-alone")],
                "Differences of the share liked.",
                gains([(OURS, rival) for rival in RIVALS], **key),
            )
        )
        found.append(
            Section(
                f"What DDPG adds, {dataset}",
                measured,
                commands,
                "Differences of the share liked between the agent after DDPG and the same agent "
                "before it, or trained in another way.",
                gains(ADDED, **key),
            )
        )
    groups = " ".join(GROUPS)
    measured = (
        "Data set ml-1m, splits cold-start and cold-start-1 to cold-start-4, protocol "
        "cold-start-sessions: five tenths of the users held out in turn, agents trained anew, one "
        "training seed a group (3,020 places, 2,472 different users)."
    )
    group_names = ["DRR-set", "DRR-set-gamma-0", "DRR-set-gate-frozen"]
    group_command = study("ml-1m", groups, *group_names, "DRR-set-gate-frozen-gamma-0")
    found.append(
        Section(
            "What DDPG adds, five groups of users",
            measured,
            [group_command],
            "Intervals are over groups, each with its own training seed, and over the users of a "
            "drawn group; a user whom two groups hold out counts twice, which makes them a little "
            "too short.",
            group_gains(ADDED_IN_GROUPS, "ml-1m"),
        )
    )
    found.append(
        Section(
            "Other test users",
            measured,
            [study("ml-1m", groups, "DRR-set")],
            "How high the figures are depends on who is held out. Popularity has no values by user "
            "in groups 1 to 4.",
            group_levels("ml-1m"),
        )
    )
    return found


def of_others() -> list[Section]:
    """Users of another data set, simulated users, past variants, seconds."""
    found = [
        Section(
            "Cross-dataset",
            "Trained and chosen on ml-1m, evaluated with 564 users of ml-latest-small (split "
            "cross-dataset, protocol cold-start-sessions, films of ml-1m only), 1 training seed: "
            "the released agent.",
            ["-m benchmarks.cross_dataset"],
            "The last rows are paired differences.",
            cross_dataset("ml-1m"),
        )
    ]
    for dataset in ("ml-1m", "ml-100k"):
        found.append(
            Section(
                f"Simulated users, {dataset}",
                f"Data set {dataset}, splits simulated and simulated-series, protocols simulated-A "
                "(the simulator that the agents learn in, PMF on one half of the ratings) and "
                "simulated-B (neighbours, on the other half); mean reward of ten steps, (stars - "
                "3) / 2 each, 5 training seeds.",
                [f"-m benchmarks.simulated --dataset {dataset}"],
                "In *series* a film's reward rises or falls by 0.1 for every like or dislike in a "
                "row just before it, five at most. Values by user were not kept, so no difference "
                "here has an interval and none is claimed.",
                simulated(dataset),
            )
        )
    found.append(
        Section(
            "Past variants",
            "Data set ml-1m, splits in brackets, else cold-start, protocol cold-start-sessions; "
            "training seeds in the column.",
            [PAST_COMMAND],
            "*Short* has half the updates, *holdout* keeps 15 % of the train users for DDPG, "
            "*half* trains on every second user, *more* on the validation users, too. The command "
            "is that of commit `a5157ef`, the last which trains all of them.",
            past("ml-1m"),
        )
    )
    found.append(
        Section(
            "Seconds of a training",
            "Data set ml-1m, one thread, both stages together; training seeds in the column.",
            ["-m benchmarks.study --dataset ml-1m"],
            "The machines were shared with other work and the code became faster in between: read "
            "them as an order of magnitude.",
            training_times("ml-1m"),
        )
    )
    return found


def markdown(table: pd.DataFrame) -> str:
    """A table of text as Markdown, its index as the first column."""
    lines = ["| | " + " | ".join(table.columns) + " |", "|---" * (table.shape[1] + 1) + "|"]
    lines += [
        f"| {name} | " + " | ".join(row) + " |"
        for name, row in zip(table.index, table.to_numpy(), strict=True)
    ]
    return "\n".join(lines)


def document() -> str:
    """docs/results.md."""
    return "\n\n".join([HEAD.strip(), *(section.markdown() for section in sections())]) + "\n"


# --------------------------------------------------------------------------------------- picture


LINES = {  # agent: its colour (Okabe & Ito), dashes
    Agent("oracle"): ("#7F7F7F", ":"),
    Agent("DRR-set", label="DRR-set, final"): ("#D55E00", "-"),
    Agent("DRR-set", PRETRAINED): ("#E69F00", "-"),
    Agent("Gaussian of likes"): ("#0072B2", "-"),
    Agent(RIDGE, label="ridge regression (LinUCB)"): ("#009E73", "-"),
    Agent("EASE"): ("#CC79A7", "-"),
    Agent("popularity"): ("#000000", "--"),
}


def by_step(dataset: str, agent: Agent) -> np.ndarray:
    """Share of users who liked the film of step t, mean over seeds -> float64 [max(HORIZONS)]."""
    key = {"dataset": dataset, "split": "cold-start", "protocol": SESSIONS}
    means = results.means(**key, agent=agent.name, stage=agent.stage).mean()
    return means[[f"step@{t}" for t in range(1, max(HORIZONS) + 1)]].to_numpy()


def smoothed(values: np.ndarray) -> np.ndarray:
    """Mean of each value and its two neighbours; at the ends of what is there."""
    weight = np.convolve(np.ones(len(values)), np.ones(3), mode="same")
    return np.convolve(values, np.ones(3), mode="same") / weight


def picture(dataset: str) -> Figure:
    """The share liked by step; and the same minus the Gaussian, for the lines near to it."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.8))
    lines = {agent: smoothed(by_step(dataset, agent)) for agent in LINES}
    gaussian, step = lines[Agent("Gaussian of likes")], np.arange(1, max(HORIZONS) + 1)
    for agent, (colour, dashes) in LINES.items():
        options = {"color": colour, "ls": dashes, "lw": 2.4 if agent.name == "DRR-set" else 1.6}
        left.plot(step, lines[agent], label=str(agent), **options)
        if agent.name not in ("oracle", "popularity"):
            right.plot(step, lines[agent] - gaussian, **options)
    left.set(xlabel="step", ylabel="share of liked films", ylim=(0, 1.03))
    right.set(xlabel="step", ylabel="minus the Gaussian of likes")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    figure.suptitle(f"Cold-start sessions, {dataset}, test users; mean of three neighbouring steps")
    figure.legend(frameon=False, ncols=4, loc="lower center", fontsize=10)
    figure.tight_layout(rect=(0, 0.11, 1, 1))
    return figure


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if out of date")
    options = parser.parse_args(arguments)
    path, text = DOCS / "results.md", document()
    if options.check:
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            sys.exit(f"{path} is not up to date: run python -m benchmarks.report")
        return
    DOCS.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    plt.switch_backend("agg")
    picture("ml-1m").savefig(DOCS / "sessions.png", dpi=110, metadata={"Software": None})
    print(f"wrote {path} and {DOCS / 'sessions.png'}")


if __name__ == "__main__":
    main()
