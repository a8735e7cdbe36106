"""Rows of tables from the table of results: a figure, and what stands in brackets beside it.

Where values by user are kept, a figure has an interval: over training seeds and users
(`hierarchical_bootstrap`), or over users if there is one seed. Elsewhere it has the spread over
seeds. Ends of intervals are never averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks import results
from recsys_rl.evaluation.sessions import HORIZONS
from recsys_rl.evaluation.statistics import Interval, hierarchical_bootstrap, seed_spread

REWARDS = {f"reward@{t}": f"T = {t}" for t in HORIZONS}  # of cold-start sessions
SESSIONS = "cold-start-sessions"
TRAINED = (
    "DRR",
    "user-leaves",
    "sardine",
    "consequences",
    "SB3",
)  # how the names of agents begin that have training seeds


@dataclass(frozen=True)
class Agent:
    """One row of a table: an agent at a stage; `label` if its name does not say enough."""

    name: str
    stage: str = "final"
    label: str = ""

    def __str__(self) -> str:
        if self.label:
            return self.label
        return self.name if self.stage == "final" else f"{self.name}, {self.stage}"


def bracketed(found: Interval) -> str:
    """A mean with its interval."""
    return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"


def signed(found: Interval) -> str:
    """A difference with its interval."""
    return f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"


def spread(values: Sequence[float]) -> str:
    """The mean over seeds, with the standard deviation over them if there are several."""
    found = seed_spread(values)
    return f"{found['mean']:.3f}" + ("" if np.isnan(found["sd"]) else f" (sd {found['sd']:.4f})")


def brackets(over: str, seeds: int) -> str:
    """What stands beside a mean, in the words of the column."""
    if over:
        return f"interval over {over}"
    return "sd over seeds" if seeds > 1 else ""


def figures(key: Mapping[str, str], agent: Agent, metrics: Mapping[str, str]) -> dict[str, str]:
    """One row: a column a metric, the number of seeds, and what the brackets are; {} if not run.

    key: dataset, split, protocol.
    """
    key = {**key, "agent": agent.name, "stage": agent.stage}
    means = results.means(**key)
    if means.empty:
        return {}
    row, over = {}, ""
    for metric, title in metrics.items():
        kept = results.by_user(metric, **key)
        if len(kept):
            found = hierarchical_bootstrap(kept.to_numpy())
            row[title], over = bracketed(found), found.over
        elif metric in means:
            row[title] = spread(means[metric].dropna())
    return row | {"seeds": str(len(means)), "in brackets": brackets(over, len(means))}


def compared(metrics: Mapping[str, str], agents: Sequence[Agent], **key: str) -> pd.DataFrame:
    """A row for each agent that was run."""
    rows = {str(agent): figures(key, agent, metrics) for agent in agents}
    return pd.DataFrame({name: row for name, row in rows.items() if row}).T.fillna("")


def differences(key: Mapping[str, str], ours: Agent, theirs: Agent, metric: str) -> pd.DataFrame:
    """Ours minus theirs by seed and user, only seeds that both have: a row a seed.

    Theirs is taken for every seed of ours if it has one fit, that is, if nothing is trained there.
    """
    kept = [
        results.by_user(metric, **key, agent=agent.name, stage=agent.stage)
        for agent in (ours, theirs)
    ]
    if not all(map(len, kept)):
        return pd.DataFrame()
    mine, other = kept
    if not theirs.name.startswith(TRAINED):
        other = pd.DataFrame(np.repeat(other.to_numpy(), len(mine), 0), mine.index, other.columns)
    if list(mine.columns) != list(other.columns):
        raise ValueError(f"{ours} and {theirs} were not evaluated with the same users")
    seeds = mine.index.intersection(other.index)
    return mine.loc[seeds] - other.loc[seeds]


def gains(
    pairs: Sequence[tuple[Agent, Agent]], metrics: Mapping[str, str] = REWARDS, **key: str
) -> pd.DataFrame:
    """A row a pair: the paired differences, over seeds and users."""
    rows = {}
    for ours, theirs in pairs:
        found = {m: differences(key, ours, theirs, m) for m in metrics}
        first = next(iter(found.values()))
        if first.empty:
            continue
        intervals = {m: hierarchical_bootstrap(each.to_numpy()) for m, each in found.items()}
        row = {metrics[m]: signed(interval) for m, interval in intervals.items()}
        over = next(iter(intervals.values())).over
        row |= {"seeds": str(len(first)), "in brackets": brackets(over, len(first))}
        rows[f"{ours} minus {theirs}"] = row
    return pd.DataFrame(rows).T
