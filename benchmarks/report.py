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
from itertools import chain
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmarks import results
from benchmarks.summaries import (
    REWARDS,
    SESSIONS,
    Agent,
    compared,
    figures,
    gains,
)
from recsys_rl.evaluation.sessions import HORIZONS
from recsys_rl.evaluation.statistics import seed_spread
from recsys_rl.experiments import NAMES

DOCS = Path(__file__).resolve().parents[1] / "docs"
PRETRAINED, RESET = "pretrained", "pretrained, gate reset"
OLD = " (a5157ef)"  # behind agents of an earlier version
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


# ---------------------------------------------------------------------------------------- tables


def agents(*names: str) -> list[Agent]:
    return [Agent(name) for name in names]


def stages(*names: str) -> list[Agent]:
    """Both stages of agents of ours."""
    return [Agent(name, stage) for name in names for stage in (PRETRAINED, "final")]


def ours_of(dataset: str) -> Agent:
    """DRR-set after DDPG, of the earlier version where it was not trained anew."""
    return trained(dataset, "cold-start", "DRR-set")[1]


def added(dataset: str) -> list[tuple[Agent, Agent]]:
    """What DDPG adds to the pretrained agent, and what looking ahead adds to DDPG."""
    before, after = trained(dataset, "cold-start", "DRR-set")
    end = OLD if after.name.endswith(OLD) else ""
    return [(after, before), (after, Agent("DRR-set-gamma-0" + end))]


def trained(dataset: str, split: str, *names: str) -> list[Agent]:
    """Both stages of agents of ours; where one was not trained anew, of the earlier version."""
    found = results.select(dataset=dataset, split=split, protocol="training")
    there = set(found["agent"])
    return stages(*(name if name in there else name + OLD for name in names))


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
    "deterministic gradient, as in the paper": Agent("DRR-ave-deterministic"),
    "no history": Agent("DRR-ave", "no history"),
    "history shuffled": Agent("DRR-ave", "history shuffled"),
    "one user's action for all": Agent("DRR-ave", "one user's action for all"),
    "gamma = 0": Agent("DRR-ave-gamma-0"),
    "state DRR-p": Agent("DRR-p"),
    "state DRR-u": Agent("DRR-u"),
    "state DRR-att": Agent("DRR-att"),
    "history of 1 item": Agent("DRR-ave-n-1"),
    "history of 10 items": Agent("DRR-ave-n-10"),
    "history of 20 items": Agent("DRR-ave-n-20"),
    "random embeddings": Agent("DRR-ave-random-embeddings"),
}
EXPLORATION = {  # row: agent with prioritized replay, and with uniform
    "sampling from the policy": ("DRR-ave", "DRR-ave-uniform-replay"),
    "Ornstein-Uhlenbeck noise": ("DRR-ave-ou-noise", "DRR-ave-uniform-replay-ou-noise"),
    "none": ("DRR-ave-no-noise", "DRR-ave-uniform-replay-no-noise"),
}
RIVALS = agents("popularity", "item-kNN", "EASE", "LinUCB", RIDGE, "Gaussian of likes")
SIMULATED = [
    *agents("greedy on simulator A", "random", "popularity", "PMF folded in", "LinUCB", "HLinUCB"),
    *stages("DRR-set-simulated", "DRR-set-sets-alone" + OLD),
    *agents("DRR-set-simulated-gamma-0", "DRR-set-sets-alone-gamma-0" + OLD),
    *agents("DRR-set-simulated-deterministic", "oracle"),
]


def ranked(dataset: str) -> pd.DataFrame:
    """Leave-one-out: baselines, the agents of the data set, and what the literature has."""
    ours = trained(dataset, "leave-one-out", "DRR-ave", "DRR-seq")
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
    titles = [title for metrics in columns.values() for title in metrics.values()]
    return table.reindex(columns=titles + BESIDE).dropna(how="all").fillna("")


BESIDE = ["seeds", "in brackets"]


def reranked(dataset: str) -> pd.DataFrame:
    """Re-ranking, and how far of the way from a random order to the best one the means go."""
    key = {"dataset": dataset, "split": "ratings", "protocol": "re-ranking"}
    metrics = {"precision@5": "P@5", "precision@10": "P@10", "ndcg@10": "nDCG@10"}
    metrics |= {"binary_ndcg@10": "nDCG@10, binary"}
    rows = [*BASELINES, *trained(dataset, "ratings", "DRR-seq")[1:], Agent("oracle")]
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
    rows = [
        *agents("popularity", "PMF", "item-kNN", "EASE", "iALS", "LinUCB", "HLinUCB", RIDGE),
        *agents("ridge regression (HLinUCB, alpha = 0)", "Gaussian of likes", "SB3 DDPG" + OLD),
        *stages("DRR-set-no-linear")[1:],
        *stages("DRR-set-gamma-0")[1:],
        Agent("DRR-set", RESET),
        *trained(dataset, "cold-start", "DRR-set"),
        Agent("DRR-set" + OLD),
        Agent("oracle"),
    ]
    rows = list(dict.fromkeys(rows))
    table, shown = compared(REWARDS, rows, **key), {}
    for agent in rows:
        found = results.means(**key, agent=agent.name, stage=agent.stage)
        if "distinct" in found:
            shown[str(agent)] = f"{found['distinct'].mean():.0f}"
    table.insert(len(REWARDS), "distinct films", pd.Series(shown))
    return table.fillna("")


def cross_dataset(dataset: str) -> pd.DataFrame:
    """Sessions with the users of ml-latest-small; then DRR-set minus each rival."""
    key = {"dataset": dataset, "split": "cross-dataset", "protocol": SESSIONS}
    there = set(results.select(dataset=dataset, split="cross-dataset")["agent"])
    ours = Agent("DRR-set" if "DRR-set" in there else "DRR-set" + OLD)
    rivals = agents("popularity", "item-kNN", "EASE", RIDGE, "Gaussian of likes")
    levels = compared(REWARDS, [*rivals, ours, Agent("oracle")], **key)
    return pd.concat([levels, gains([(ours, rival) for rival in rivals], **key)])


def simulated(dataset: str) -> pd.DataFrame:
    """Reward per step in both simulators, without and with a reward for series."""
    parts = []
    for split, ending in (("simulated", ""), ("simulated-series", ", series")):
        for simulator in "AB":
            key = {"dataset": dataset, "split": split, "protocol": f"simulated-{simulator}"}
            parts.append(compared({"reward@10": f"{simulator}{ending}"}, SIMULATED, **key))
    return pd.concat([part.iloc[:, :1] for part in parts] + [parts[0][BESIDE]], axis=1)


def explored(dataset: str) -> pd.DataFrame:
    """nDCG@10 of DRR-ave, leave-one-out: both replays, three ways to explore."""
    key = {"dataset": dataset, "split": "leave-one-out", "protocol": "leave-one-out"}
    rows = {}
    for row, names in EXPLORATION.items():
        for replay, name in zip(("prioritized", "uniform"), names, strict=True):
            found = figures(key, Agent(name), {"ndcg@10": "nDCG@10", "hr@10": "Hit@10"})
            if found:
                rows[f"{row}, {replay} replay"] = found
    return pd.DataFrame(rows).T


EIGHTHS = [f"cold-start-eighth-{number}" for number in range(1, 9)]


def calibrated() -> pd.DataFrame:
    """Relative error of mean Q by step: means of Q and of returns over runs, then their ratio."""
    rows = {}
    for dataset in ("ml-1m", "ml-100k"):
        for splits, label in ((["cold-start"], ""), (EIGHTHS, ", every user once")):
            for users in ("users of the critic", "test users"):
                for name in ("DRR-set", "DRR-set-gamma-0"):
                    key = {"dataset": dataset, "split": splits, "agent": name}
                    found = results.select(**key, protocol=f"calibration, {users}")
                    if len(found):
                        rows[f"{name}, {dataset}, {users}{label}"] = calibration_row(
                            found, bool(label)
                        )
    return pd.DataFrame(rows).T


def calibration_row(found: pd.DataFrame, pooled: bool) -> dict[str, str]:
    """Mean Q / mean return (relative error) at three steps.

    The error is the mean over runs, or, where every run has users of its own, that of all users.
    """
    mean = found.groupby("metric", observed=True)["value"].mean()
    row = {}
    for step in ("first", "middle", "last"):
        q, returns = mean[f"q, {step} step"], mean[f"return, {step} step"]
        error = abs(q - returns) / returns if pooled else mean[f"error, {step} step"]
        row[f"{step} step"] = f"{q:.2f} / {returns:.2f} ({error:.3f})"
    row["worst tenth"] = f"{mean['worst tenth']:.3f}"
    runs = found.groupby(["split", "seed"], observed=True).ngroups
    return row | {"runs": str(runs)}


def training_times(dataset: str) -> pd.DataFrame:
    """CPU seconds of one training, on one thread; the machines were shared with other work."""
    rows = {}
    for split, names in (
        ("leave-one-out", ["DRR-ave", "DRR-seq"]),
        ("cold-start", ["DRR-set", "DRR-set-no-linear"]),
        ("simulated", ["DRR-set-simulated"]),
    ):
        for name in names:
            key = {"dataset": dataset, "split": split, "protocol": "training"}
            found = results.means(**key, agent=name, stage="final")
            if found.empty:
                continue
            found = found["training_cpu_seconds"]
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

**Primary comparisons**, named before the agents of this version were trained: DRR-set minus itself
pretrained, and DRR-set minus DRR-set-gamma-0 (reward@40, cold-start sessions, ml-1m); DRR-seq minus
itself pretrained (nDCG@10, leave-one-out, ml-1m). All others are read as exploratory.

**What the test data have seen.** Settings were chosen on validation data. The test data have been
looked at more than once while this project grew, and for three choices of the earlier DRR-set their
figures had been seen: no holdout of train users, twice the updates, the learning rate with a frozen
gate. The settings of SB3 DDPG come from ml-100k.

**Which runs these are.** Agents with *(a5157ef)* behind their name are of that commit, whose critic
was wrong (see the [log](log.md)) and whose runs kept the last weights; they stay until they are
trained anew. All others are of this version.

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
    """Everything that the document shows, in its order; nothing of what was not run yet."""
    found = [*of_logs(), *of_cold_start(), *of_others()]
    return [section for section in found if len(section.table) > 1]


def of_logs() -> list[Section]:
    """The protocols that rank what the log of a known user holds."""
    found = []
    for dataset, users, names in (
        ("ml-1m", "6,040", ["DRR-ave", "DRR-seq"]),
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
        measured = f"Data set {dataset}, split leave-one-out, {users} users, 5 training seeds "
        measured += "unless the column says another number."
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
            "Replay and exploration",
            "Data set ml-100k, split and protocol leave-one-out, DRR-ave, 5 training seeds.",
            [study("ml-100k", "leave-one-out", *chain.from_iterable(EXPLORATION.values()))],
            "",
            explored("ml-100k"),
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
                study("ml-1m", "random-positives", "DRR-seq"),
            ],
            "",
            compared(
                {"sampled_hr@10": "Hit@10", "sampled_ndcg@10": "nDCG@10"},
                [*BASELINES, *trained("ml-1m", "random-positives", "DRR-seq")],
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
            [tuning("ml-1m", "ratings"), study("ml-1m", "ratings", "DRR-seq")],
            "The column *random 0 to oracle 1* says how far the mean goes from a random order to "
            "the best one.",
            reranked("ml-1m"),
        )
    )
    found.append(
        Section(
            "Temporal",
            "Data set ml-1m, split and protocol temporal (the oldest 80 % of the ratings train, "
            "full ranking of what 1,181 users rated after the last cut), 1 training seed.",
            [tuning("ml-1m", "temporal"), study("ml-1m", "temporal", "DRR-seq")],
            "The agents were not tuned for this split.",
            compared(
                {"hr@10": "Hit@10", "ndcg@10": "nDCG@10"},
                [*BASELINES, *trained("ml-1m", "temporal", "DRR-seq")],
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
    ours = trained("ml-1m", "cold-start", "DRR-seq", "DRR-set")
    suggesting = [*BASELINES, Agent("Gaussian of likes"), *ours]
    names = ["DRR-set", "DRR-set-gamma-0", "DRR-set-no-linear"]
    found = [
        Section(
            "Seed-and-suggest",
            f"Data set ml-1m, {held_out}, protocol seed-and-suggest: three liked films in, three "
            "out; 603 users, 20 draws each; training seeds in the column.",
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
            "pretraining."
        )
        heading = f"Cold-start sessions, {dataset}"
        found.append(
            Section(heading, measured, [*beside, *commands], note, sessions_table(dataset))
        )
        found.append(
            Section(
                f"DRR-set minus others, {dataset}",
                measured,
                [*beside[:1], study(dataset, "cold-start", "DRR-set")],
                "Differences of the share liked.",
                gains([(ours_of(dataset), rival) for rival in RIVALS], **key),
            )
        )
        found.append(
            Section(
                f"What DDPG adds, {dataset}",
                measured,
                commands,
                "Differences of the share liked between the agent after DDPG and the same agent "
                "before it, or trained in another way.",
                gains(added(dataset), **key),
            )
        )
    eighths = study("ml-100k", " ".join(EIGHTHS), "DRR-set")
    found.append(
        Section(
            "Calibration of the critic",
            "Data set ml-1m or ml-100k, split cold-start and, for *every user once*, "
            "cold-start-eighth-1 to -8, with one training seed each; greedy sessions, 3 draws.",
            [study("ml-1m", "cold-start", *names[:2]), eighths],
            "Mean Q / mean discounted return (relative error) at the first, the middle and the "
            "last of 40 steps, means over runs; *every user once*: the error of all together. "
            "*Worst tenth*: the largest relative error among tenths of the sessions ordered by Q, "
            "at the middle step, mean over runs.",
            calibrated(),
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
            "Seconds of a training",
            "Data set ml-1m, one thread, both stages together; training seeds in the column.",
            ["-m benchmarks.study --dataset ml-1m"],
            "The machines were shared with other work: read them as an order of magnitude.",
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


LINES = {  # agent: its colour (Okabe & Ito), dashes; before them DRR-set in both stages
    Agent("oracle"): ("#7F7F7F", ":"),
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
    before, after = trained(dataset, "cold-start", "DRR-set")
    drawn = {after: ("#D55E00", "-"), before: ("#E69F00", "-")} | LINES
    lines = {agent: smoothed(by_step(dataset, agent)) for agent in drawn}
    gaussian, step = lines[Agent("Gaussian of likes")], np.arange(1, max(HORIZONS) + 1)
    for agent, (colour, dashes) in drawn.items():
        options = {"color": colour, "ls": dashes, "lw": 2.4 if agent is after else 1.6}
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
