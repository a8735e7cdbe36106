"""What looking ahead wins where what is shown has consequences: a table, docs/consequences.png.

    python -m benchmarks.study --dataset ml-1m --agents consequences consequences-gamma-0 \\
        --splits simulated-satisfaction-0.5
    python -m benchmarks.worlds simulated --dataset ml-1m --dial 0.5 --record
    python -m benchmarks.consequences

Per data set, form and dial: what gamma > 0 earns more than gamma = 0, the same agent, in sessions
with test users in simulator B, and what roll-outs of the greedy oracle earn more than itself
(headroom).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import results
from benchmarks.options import exit_with
from benchmarks.pictures import write_picture
from recsys_rl.envs.consequences import FORMS
from recsys_rl.evaluation.statistics import Interval, hierarchical_bootstrap

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "consequences.png"
DIALS = 0.0, 0.25, 0.5, 1.0
DATASETS = "ml-1m", "ml-100k"
ORANGE, BLUE = "#D55E00", "#0072B2"  # Okabe & Ito


class Point(NamedTuple):
    """A dial of a form: gain of gamma > 0 over gamma = 0, headroom, and the first as a share of
    the second, whose mean is held fixed; over: of gamma > 0 over the greedy oracle, which knows the
    users. In stars of a session."""

    dial: float
    myopic: float
    greedy: float
    gain: Interval
    headroom: Interval
    share: Interval
    over: Interval


def returns(dataset: str, form: str, dial: float, agent: str) -> pd.DataFrame:
    """A row a seed, a column a user; at 0 both forms are one world."""
    form = form if dial else "satisfaction"
    key = {"dataset": dataset, "split": f"simulated-{form}-{dial:g}", "stage": "final"}
    return results.by_user("return", **key, agent=agent, protocol="simulated-B")


def points(dataset: str, form: str) -> Iterator[Point]:
    """Of the dials whose results are there."""
    for dial in DIALS:
        ahead, myopic, greedy, planned = (
            returns(dataset, form, dial, name)
            for name in ("consequences", "consequences-gamma-0", "greedy", "rollout")
        )
        if not all(map(len, (ahead, myopic, greedy, planned))):
            continue
        ahead, myopic = ahead.align(myopic, join="inner")
        gain, room = (ahead - myopic).to_numpy(), planned.to_numpy() - greedy.to_numpy()
        share = gain / max(room.mean(), 1e-6)
        means = float(np.mean(myopic.to_numpy())), float(np.mean(greedy.to_numpy()))
        over = ahead.to_numpy() - greedy.to_numpy()
        yield Point(dial, *means, *map(hierarchical_bootstrap, (gain, room, share, over)))


def bracketed(found: Interval) -> str:
    return f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]"


def table() -> pd.DataFrame:
    rows = [
        {
            "data set": dataset,
            "form": form if point.dial else "none",
            "dial": f"{point.dial:g}",
            "gamma = 0": f"{point.myopic:.2f}",
            "gain": bracketed(point.gain),
            "greedy oracle": f"{point.greedy:.2f}",
            "headroom": bracketed(point.headroom),
            "over the oracle": bracketed(point.over),
            "share": bracketed(point.share) if form == "satisfaction" and point.dial else "",
        }
        for dataset in DATASETS
        for form in FORMS
        for point in points(dataset, form)
    ]
    return pd.DataFrame(rows).drop_duplicates()


def panel(axes: Axes, dataset: str, form: str) -> None:
    there = list(points(dataset, form))
    dials = np.array([point.dial for point in there])
    drawn = (
        ("gain", ORANGE, "o", "gamma > 0 minus gamma = 0, the same agent"),
        ("headroom", BLUE, "s", "headroom: roll-outs minus greedy oracle"),
    )
    for place, (name, colour, mark, label) in enumerate(drawn):
        found = [getattr(point, name) for point in there]
        mean = np.array([each.mean for each in found])
        error = [
            mean - [each.low for each in found],
            np.array([each.high for each in found]) - mean,
        ]
        style = {"fmt": f"{mark}-", "color": colour, "ms": 7, "capsize": 3, "label": label}
        axes.errorbar(dials + 0.01 * (place - 0.5), mean, yerr=error, **style)
    axes.axhline(0, color="#7F7F7F", ls=":", lw=1.2)
    axes.set(title=f"{form}, {dataset}", xlabel="dial", xticks=dials)
    axes.spines[["top", "right"]].set_visible(False)


def consequences_picture() -> Figure:
    figure, grid = plt.subplots(1, 4, figsize=(13, 4), sharey=True)
    pairs = [(dataset, form) for form in reversed(FORMS) for dataset in DATASETS]
    for axes, (dataset, form) in zip(grid, pairs, strict=True):
        panel(axes, dataset, form)
    grid[0].set_ylabel("stars more in a session of 30 films")
    figure.suptitle("A consequence makes planning pay where greedy does not adapt to it by itself")
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, ncols=2, loc="lower center")
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    return figure


def main(arguments: list[str] | None = None) -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args(arguments)
    print(table().to_string(index=False) if len(table()) else "nothing is recorded yet")
    plt.switch_backend("agg")
    write_picture(consequences_picture(), PICTURE, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    exit_with(main)
