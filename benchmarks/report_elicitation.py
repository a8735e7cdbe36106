"""The section of docs/results.md on questions that are asked before anything is recommended."""

from __future__ import annotations

import pandas as pd

from benchmarks import results
from benchmarks.elicitation import METRIC, QUESTIONS, protocol
from benchmarks.summaries import Agent, bracketed, brackets, differences, signed
from recsys_rl.evaluation.statistics import hierarchical_bootstrap

GREEDY = Agent("greedy")
GRADIENT = Agent("knowledge gradient")
ASKERS = [
    *map(Agent, ("no question", "random", "popular")),
    GREEDY,
    *map(Agent, ("variance", "entropy", "tree")),
    GRADIENT,
    Agent("ddpg-gamma-0", label="learned, γ = 0"),
    Agent("ddpg", label="learned"),
    Agent("all answers known"),
]
SPLIT = "elicitation"


def askers_table(dataset: str, n_seed: int) -> pd.DataFrame:
    """Precision@10 of the list after so many questions."""
    rows = {}
    for agent in ASKERS:
        row, beside = {}, {}
        for questions in QUESTIONS:
            key = _key(dataset, questions, n_seed, "Gaussian")
            kept = results.by_user(METRIC, **key, agent=agent.name, stage=agent.stage)
            if len(kept):
                found = hierarchical_bootstrap(kept.to_numpy())
                row[_column(questions)] = bracketed(found)
                beside[len(kept)] = found.over
        if row:
            rows[str(agent)] = row | _beside(beside)
    return pd.DataFrame(rows).T


def gains_table(dataset: str) -> pd.DataFrame:
    """Paired differences to greedy questions and to the knowledge gradient."""
    clever = [agent for agent in ASKERS[4:-1] if agent != GRADIENT]
    pairs = [(GRADIENT, GREEDY), *((agent, GREEDY) for agent in clever)]
    pairs += [(agent, GRADIENT) for agent in clever]
    rows = {}
    for rank, n_seed in (("Gaussian", 0), ("Gaussian", 3), ("DRR-set", 0), ("DRR-set", 3)):
        for ours, theirs in pairs:
            row, beside = {}, {}
            for questions in QUESTIONS:
                key = _key(dataset, questions, n_seed, rank)
                found = differences(key, ours, theirs, METRIC)
                if len(found):
                    gained = hierarchical_bootstrap(found.to_numpy())
                    row[_column(questions)] = signed(gained)
                    beside[len(found)] = gained.over
            known = f"{n_seed} named" if n_seed else "nothing known"
            end = "" if rank == "Gaussian" else f", ranked by {rank}"
            if row:
                rows[f"{ours} minus {theirs}, {known}{end}"] = row | _beside(beside)
    return pd.DataFrame(rows).T.fillna("")


def _key(dataset: str, questions: int, n_seed: int, rank: str) -> dict[str, str]:
    return {"dataset": dataset, "split": SPLIT, "protocol": protocol(questions, n_seed, rank)}


def _beside(over: dict[int, str]) -> dict[str, str]:
    """Of the column with the most seeds: how many there are, and what the intervals are over."""
    seeds = max(over)
    return {"seeds": str(seeds), "in brackets": brackets(over[seeds], seeds)}


def _column(questions: int) -> str:
    return f"{questions} questions"
