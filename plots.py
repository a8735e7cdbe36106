"""Numbers to plots. Each function draws one figure and returns it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]  # Okabe & Ito


def _bare(axes: plt.Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def learning_curves(
    curves: Mapping[str, pd.DataFrame], metric: str, warm: Mapping[str, int], baselines: dict
) -> Figure:
    """Validation metric against updates, from the untrained agent (update 0) on.

    curves: name -> table with columns "update" and `metric`; warm: name -> update at which DDPG
    takes over from imitation; baselines: name -> value, drawn as horizontal lines.
    """
    figure, panes = plt.subplots(
        1, len(curves), figsize=(5 * len(curves), 3.6), sharey=True, squeeze=False
    )
    for pane, (name, curve), colour in zip(panes[0], curves.items(), COLOURS, strict=False):
        pane.plot(curve["update"], curve[metric], color=colour, marker="o", markersize=3)
        pane.axvspan(warm[name], curve["update"].max(), color=colour, alpha=0.1, lw=0)
        pane.set(title=name, xlabel="updates (shaded: DDPG)")
        for i, (label, value) in enumerate(baselines.items()):
            pane.axhline(value, color="grey", ls=[":", "--", "-."][i % 3], lw=1)
            pane.annotate(label, (0, value), fontsize=8, color="grey", va="bottom")
        _bare(pane)
    panes[0][0].set_ylabel(f"{metric}, validation sample")
    figure.tight_layout()
    return figure


def reward_curves(played: Mapping[str, pd.DataFrame], horizon: int) -> Figure:
    """Mean reward a step while the agents explore, and the critics' losses, in stage 2.

    played: name -> one row for each DDPG update, columns "reward" and "critic"; `horizon`
    updates, a round of sessions, make a point (later steps of a session earn less).
    """
    figure, panes = plt.subplots(1, 2, figsize=(10, 3.2))
    for (name, rows), colour in zip(played.items(), COLOURS, strict=False):
        rounds = rows[["reward", "critic"]].groupby(np.arange(len(rows)) // horizon).mean()
        for pane, column in zip(panes, rounds, strict=True):
            pane.plot((rounds.index + 1) * horizon, rounds[column], color=colour, label=name)
    panes[0].set(xlabel="DDPG updates", ylabel="mean reward a step, exploring")
    panes[1].set(xlabel="DDPG updates", ylabel="critic's loss")
    panes[1].legend(frameon=False)
    for pane in panes:
        _bare(pane)
    figure.tight_layout()
    return figure


def embedding_map(vectors: Tensor, group: Sequence[str], labels: Mapping[int, str]) -> Figure:
    """The first two principal components of vectors [n, k], coloured by group, some labelled."""
    centred = vectors.detach().double() - vectors.detach().double().mean(0)
    _, _, directions = np.linalg.svd(centred.numpy(), full_matrices=False)
    x, y = (centred.numpy() @ directions[:2].T).T
    figure, axes = plt.subplots(figsize=(9, 6.5))
    group = np.asarray(group)
    for name, colour in zip(pd.Series(group).value_counts().index[:6], COLOURS, strict=False):
        inside = group == name
        axes.scatter(x[inside], y[inside], s=7, alpha=0.55, color=colour, label=name, lw=0)
    width, height = np.ptp(x), np.ptp(y)
    taken: list[tuple[float, float]] = []
    for index, title in labels.items():
        if any(
            abs(x[index] - a) < 0.2 * width and abs(y[index] - b) < 0.03 * height for a, b in taken
        ):
            continue  # a label there would cover an earlier one
        taken.append((x[index], y[index]))
        axes.annotate(
            title,
            (x[index], y[index]),
            xytext=(4, 4),
            textcoords="offset points",
            fontsize=7.5,
            bbox={"boxstyle": "round,pad=.15", "fc": "white", "ec": "none", "alpha": 0.7},
        )
    axes.legend(markerscale=2, frameon=False, title="first genre")
    axes.set(xlabel="first principal component", ylabel="second principal component")
    _bare(axes)
    figure.tight_layout()
    return figure


def result_bars(table: pd.DataFrame, metric: str, title: str) -> Figure:
    """One bar a model with its interval; columns `metric`, `metric low` and `metric high`."""
    table = table.iloc[::-1]
    figure, axes = plt.subplots(figsize=(8, 0.34 * len(table) + 1))
    value = table[metric]
    spread = np.abs(np.stack([value - table[f"{metric} low"], table[f"{metric} high"] - value]))
    colour = [COLOURS[0] if name.startswith("DRR") else "#BBBBBB" for name in table.index]
    axes.barh(table.index, value, color=colour, xerr=spread, ecolor="#444444", capsize=2)
    for row, number in enumerate(value):
        axes.text(number + spread[1, row] + value.max() * 0.01, row, f"{number:.3f}", va="center")
    axes.set(xlabel=metric, title=title)
    axes.set_xlim(right=value.max() * 1.15)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return figure
