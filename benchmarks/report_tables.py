"""The tables of docs/results.md: which agents stand in each, and in which order.

Each function makes one table of text from the table of results. What a row says, and how sure it
is: `summaries.py`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks import results
from benchmarks.summaries import (
    REWARDS,
    SESSIONS,
    Agent,
    compared,
    figures,
    gains,
)
from recsys_rl.evaluation.statistics import seed_spread

PRETRAINED, RESET = "pretrained", "pretrained, gate reset"
RIDGE = "ridge regression (LinUCB, alpha = 0)"


def agents(*names: str) -> list[Agent]:
    return [Agent(name) for name in names]


def stages(*names: str) -> list[Agent]:
    """Both stages of agents of ours."""
    return [Agent(name, stage) for name in names for stage in (PRETRAINED, "final")]


def rivalries() -> list[tuple[Agent, Agent]]:
    """DRR-set beside each rival, and the pretrained agent beside the strongest."""
    before, after = stages("DRR-set")
    return [*((after, rival) for rival in RIVALS), (before, RIVALS[-1])]


def added() -> list[tuple[Agent, Agent]]:
    """What DDPG adds to the pretrained agent, and what looking ahead adds to DDPG."""
    before, after = stages("DRR-set")
    rest = Agent("DRR-set", RESET), Agent("DRR-set-gamma-0")
    return [(after, other) for other in (before, *rest)]


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
    *stages("DRR-set-simulated"),
    *agents("DRR-set-simulated-gamma-0", "DRR-set-simulated-deterministic", "oracle"),
]

LEAVING = [
    Agent("random"),
    Agent("greedy-model", label="greedy on the model (knows the user)"),
    Agent("greedy", label="greedy on the truth (knows the user)"),
    Agent("user-leaves-gamma-0", label="DDPG, gamma = 0"),
    Agent("user-leaves-deterministic", label="DDPG as in the paper: one vector"),
    *agents("SB3 TD3", "SB3 PPO", "SB3 DQN", "SB3 A2C"),
    Agent("list-model", label="one list by the model's means (knows the rule)"),
    Agent("user-leaves-no-ratings", label="DDPG without ratings in its state"),
    Agent("list", label="one list by the truth's means (knows the rule)"),
    Agent("user-leaves", label="DDPG"),
    Agent("oracle", label="a list for each user (knows user and rule)"),
]


BORED = [  # of those who know less to those who know more
    Agent("random", label="random slates"),
    Agent("greedy", label="greedy: knows the clicks of the next slate"),
    Agent("sardine-gamma-0", label="DDPG, gamma = 0"),
    Agent("sardine", label="DDPG"),
    Agent("rule", label="two items a topic at most: knows the rule"),
]
BORED_KEY = dict.fromkeys(("dataset", "split", "protocol"), "sardine")


def leaving(dataset: str) -> pd.DataFrame:
    """Users who leave: returns, lengths, and how many films are used in all sessions."""
    metrics = {"return": "return", "length": "length", "distinct": "different films"}
    ours = "user-leaves"
    key = {"dataset": dataset, "split": ours, "protocol": ours}
    told = [Agent(ours, label="DDPG, fed another user's ratings")]
    elsewhere = [Agent(f"{ours}-noise-10", label="DDPG, trained in the model's world")]
    parts = [
        compared(metrics, LEAVING[:-1], **key),
        compared(metrics, told, **key | {"protocol": f"{ours}, another's ratings"}),
        compared(metrics, elsewhere, **key | {"split": f"{ours}-model"}),
        compared(metrics, LEAVING[-1:], **key),
    ]
    return pd.concat(parts).fillna("")


def turns_of_rivals(dataset: str) -> str:
    """What ended the trainings of the agents of others, in words."""
    found = []
    for agent in (each.name for each in LEAVING if each.name.startswith("SB3")):
        key = {"dataset": dataset, "split": "user-leaves", "agent": agent, "stage": "final"}
        spent = results.means(**key, protocol="training")
        if len(spent):
            turns, seconds = spent["turns"].mean(), spent["training_seconds"].mean()
            found.append(f"{agent} {turns:,.0f} turns in {seconds / 60:.1f} minutes")
    return ", ".join(found) or "not run"


def leaving_gains(dataset: str) -> pd.DataFrame:
    ours = Agent("user-leaves", label="DDPG")
    rivals = [a for a in LEAVING if a.name.startswith(("list", "user-leaves-", "SB3"))]
    key = {"dataset": dataset, "split": ours.name, "protocol": ours.name}
    return gains([(ours, rival) for rival in rivals], {"return": "return"}, **key)


def bored() -> pd.DataFrame:
    """Clicks of a session in the simulator of others."""
    return compared({"return": "clicks"}, BORED, **BORED_KEY)


def bored_gains() -> pd.DataFrame:
    ours = BORED[-2]
    return gains([(ours, rival) for rival in BORED[1:3]], {"return": "clicks"}, **BORED_KEY)


def ranked(dataset: str) -> pd.DataFrame:
    """Leave-one-out: baselines, the agents of the data set, and what the literature has."""
    ours = stages("DRR-ave", "DRR-seq")
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
    return table.reindex(columns=titles + BESIDE).dropna(how="all").astype(object).fillna("")


BESIDE = ["seeds", "in brackets"]


def reranked(dataset: str) -> pd.DataFrame:
    """Re-ranking, and how far of the way from a random order to the best one the means go."""
    key = {"dataset": dataset, "split": "ratings", "protocol": "re-ranking"}
    metrics = {"precision@5": "P@5", "precision@10": "P@10", "ndcg@10": "nDCG@10"}
    metrics |= {"binary_ndcg@10": "nDCG@10, binary"}
    rows = [*BASELINES, *stages("DRR-ave"), Agent("oracle")]
    table = compared(metrics, rows, **key)

    def level(agent: Agent) -> float:
        found = results.means(**key, agent=agent.name, stage=agent.stage)
        return found["precision@5"].mean()

    low, high = level(Agent("random")), level(Agent("oracle"))
    there = [agent for agent in rows if str(agent) in table.index]
    way = {str(agent): f"{(level(agent) - low) / (high - low):.3f}" for agent in there}
    table.insert(len(metrics), "P@5, random 0 to oracle 1", pd.Series(way))
    return table


def sessions_table(dataset: str) -> pd.DataFrame:
    """Cold-start sessions, with the number of different films that all users were shown."""
    key = {"dataset": dataset, "split": "cold-start", "protocol": SESSIONS}
    rows = [
        *agents("popularity", "PMF", "item-kNN", "EASE", "iALS", "LinUCB", "HLinUCB", RIDGE),
        *agents("ridge regression (HLinUCB, alpha = 0)", "Gaussian of likes", "SB3 DDPG"),
        *stages("DRR-set-no-linear")[1:],
        *stages("DRR-set-gamma-0")[1:],
        Agent("DRR-set", RESET),
        *stages("DRR-set"),
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
    ours = Agent("DRR-set-no-holdout-gamma-0", label="the released agent")
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
    columns = [part.iloc[:, :1] for part in parts] + [parts[0][BESIDE]]
    return pd.concat(columns, axis=1).fillna("")


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
    for users in ("users of the critic", "test users"):
        key = {"dataset": "ml-1m", "split": "user-leaves", "agent": "user-leaves"}
        found = results.select(**key, protocol=f"calibration, {users}")
        if len(found):
            rows[f"user-leaves, ml-1m, {users}"] = calibration_row(found, False)
    for dataset in ("ml-1m", "ml-100k"):
        key = {"dataset": dataset, "split": "simulated-satisfaction-0.5", "agent": "consequences"}
        for users in ("test users", "test users, simulator B"):
            found = results.select(**key, protocol=f"calibration, {users}")
            if len(found):
                rows[f"satisfaction 0.5, {dataset}, {users}"] = calibration_row(found, False)
    for name in ("sardine", "sardine-gamma-0"):
        found = results.select(split="sardine", agent=name, protocol="calibration, test users")
        if len(found):
            rows[f"{name}, test users"] = calibration_row(found, False)
    for number in (5, 10):
        key = {"dataset": "ml-1m", "split": f"elicitation-{number}", "agent": "ddpg"}
        found = results.select(**key, protocol="calibration, test users")
        if len(found):
            rows[f"asker, ml-1m, {number} questions, test users"] = calibration_row(found, False)
    return pd.DataFrame(rows).T.fillna("")


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
    if "worst tenth" in mean:  # not where nothing is earned in a tenth
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
