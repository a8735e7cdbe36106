"""docs/worlds.png: how far policies come in each world, from the greedy policy to the oracle."""

from __future__ import annotations

from typing import NamedTuple

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from benchmarks import results
from benchmarks.report_tables import trained
from benchmarks.summaries import SESSIONS
from recsys_rl.evaluation.statistics import Interval, hierarchical_bootstrap


class Shown(NamedTuple):
    """A policy in the picture: a line of text, its agent and stage in the table, its mark."""

    label: str
    agent: str
    mark: str
    stage: str = "final"


class Row(NamedTuple):
    """A world: where its figures are, what is 0 and what is 1, and who is drawn."""

    title: str
    key: dict[str, str]
    metric: str
    greedy: str
    oracle: str
    shown: tuple[Shown, ...]


COLOURS = {"o": "#D55E00", "s": "#0072B2", "^": "#E69F00", "D": "#009E73"}  # Okabe & Ito


def rows(dataset: str = "ml-1m") -> list[Row]:
    before, after = trained(dataset, "cold-start", "DRR-set")
    myopic = after.name.replace("DRR-set", "DRR-set-gamma-0")
    leaving = {"dataset": dataset, "split": "user-leaves", "protocol": "user-leaves"}
    sessions = {"dataset": dataset, "split": "cold-start", "protocol": SESSIONS}
    return [
        Row(
            "users who leave:\nshow too much of the same,\nand the session is over",
            leaving,
            "return",
            "greedy",
            "oracle",
            (
                Shown("DDPG", "user-leaves", "o"),
                Shown("DDPG, gamma = 0", "user-leaves-gamma-0", "s"),
                Shown("one list for all, knows the rule", "list", "D"),
            ),
        ),
        Row(
            "cold-start sessions:\neach liked film counts\nby itself",
            sessions,
            "reward@40",
            "Gaussian of likes",
            "oracle",
            (
                Shown("DDPG", after.name, "o"),
                Shown("DDPG, gamma = 0", myopic, "s"),
                Shown("the same agent before DDPG", before.name, "^", before.stage),
            ),
        ),
    ]


def share(row: Row, shown: Shown) -> Interval:
    """Of the way from greedy to oracle, with the interval over seeds and users; the length of the
    way, a mean over users, is held fixed."""
    low, high = (
        results.by_user(row.metric, **row.key, agent=name, stage="final").to_numpy()
        for name in (row.greedy, row.oracle)
    )
    values = results.by_user(row.metric, **row.key, agent=shown.agent, stage=shown.stage)
    way = high.mean() - low.mean()
    return hierarchical_bootstrap((values.to_numpy() - low) / way)


def worlds_picture(dataset: str = "ml-1m") -> Figure:
    figure, axes = plt.subplots(figsize=(9, 3.6))
    there, seen = rows(dataset), set()
    for place, row in enumerate(reversed(there)):
        axes.axhline(place, color="#CCCCCC", lw=1, zorder=0)
        for offset, shown in zip((0.16, 0.0, -0.16), row.shown, strict=True):
            found = share(row, shown)
            error = [[found.mean - found.low], [found.high - found.mean]]
            axes.errorbar(
                found.mean,
                place + offset,
                xerr=error,
                fmt=shown.mark,
                color=COLOURS[shown.mark],
                ms=9,
                label=None if shown.label in seen else shown.label,
            )
            seen.add(shown.label)
    for x, name in ((0, "greedy"), (1, "oracle")):
        axes.axvline(x, color="#7F7F7F", ls=":", lw=1.2)
        axes.text(x, len(there) - 0.42, name, ha="center", color="#555555")
    axes.set_yticks(range(len(there)), [row.title for row in reversed(there)])
    axes.set(xlim=(-0.12, 1.08), ylim=(-0.5, len(there) - 0.45))
    axes.set_xlabel("share of the way from the greedy policy to the oracle, test users")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.suptitle("Planning pays where what is shown now decides what can be earned later")
    figure.legend(frameon=False, ncols=4, loc="lower center", fontsize=9)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    return figure
