"""Numbers to plots. Each function draws one figure and returns it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from recsys_rl.evaluation.calibration import Calibration

# Okabe & Ito, their yellow left out: it is hard to see on white
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F"]


def _bare(axes: plt.Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def learning_curves(
    curves: Mapping[str, pd.DataFrame], metric: str, pretrained: Mapping[str, int], baselines: dict
) -> Figure:
    """Validation metric against updates, from the untrained agent (update 0) on.

    curves: name -> table with columns "update" and `metric`; pretrained: name -> update at which
    DDPG takes over from pretraining; baselines: name -> value, drawn as horizontal lines.
    """
    figure, panes = plt.subplots(
        1, len(curves), figsize=(5 * len(curves), 3.6), sharey=True, squeeze=False
    )
    for pane, (name, curve), colour in zip(panes[0], curves.items(), COLOURS, strict=False):
        pane.plot(curve["update"], curve[metric], color=colour, marker="o", markersize=3)
        pane.axvspan(pretrained[name], curve["update"].max(), color=colour, alpha=0.1, lw=0)
        pane.set(title=name, xlabel="updates (shaded: DDPG)")
        for i, (label, value) in enumerate(baselines.items()):
            pane.axhline(value, color="grey", ls=[":", "--", "-."][i % 3], lw=1)
            side = "top" if i % 2 else "bottom"  # neighbouring lines may be close
            pane.annotate(label, (0, value), fontsize=8, color="grey", va=side)
        _bare(pane)
    panes[0][0].set_ylabel(f"{metric}, validation sample")
    figure.tight_layout()
    return figure


def reward_curves(played: Mapping[str, pd.DataFrame], horizon: int) -> Figure:
    """Mean reward a step while the agents explore, and the critics' losses, in DDPG.

    played: name -> one row for each DDPG update, columns "reward" and "critic_loss"; `horizon`
    updates, a round of sessions, make a point (later steps of a session earn less).
    """
    figure, panes = plt.subplots(1, 2, figsize=(10, 3.2))
    for (name, rows), colour in zip(played.items(), COLOURS, strict=False):
        rounds = rows[["reward", "critic_loss"]].groupby(np.arange(len(rows)) // horizon).mean()
        for pane, column in zip(panes, rounds, strict=True):
            pane.plot((rounds.index + 1) * horizon, rounds[column], color=colour, label=name)
    panes[0].set(xlabel="DDPG updates", ylabel="mean reward a step, exploring")
    panes[1].set(xlabel="DDPG updates", ylabel="critic's loss")
    panes[1].legend(frameon=False)
    for pane in panes:
        _bare(pane)
    figure.tight_layout()
    return figure


def calibration_plot(found: Mapping[str, Calibration], gamma: float) -> Figure:
    """Q against the returns that followed: by step, and by tenths of Q at the middle step.

    found: name of the users -> their sessions. On the diagonal Q is right.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8))
    ends = []
    for (name, sessions), colour in zip(found.items(), cycle(COLOURS)):
        q, returns = sessions.means()
        step = np.arange(len(q))
        left.plot(step, returns, color=colour, lw=2, label=f"return, {name}")
        left.plot(step, q, color=colour, lw=1.5, ls="--", label=f"Q, {name}")
        q, returns = sessions.tenths(sessions.steps["middle"])
        right.plot(q, returns, color=colour, marker="o", markersize=4, lw=1, label=name)
        ends += [*q.tolist(), *returns.tolist()]
    low, high = min(0.0, *ends), max(ends)
    right.plot([low, high], [low, high], color="grey", lw=1, ls=":", label="Q = return")
    left.set(xlabel="steps already played", ylabel=f"discounted by gamma = {gamma:g}")
    right.set(xlabel="Q, tenths of the sessions, middle step", ylabel="return that followed")
    for pane in (left, right):
        pane.legend(frameon=False, fontsize=8)
        _bare(pane)
    figure.tight_layout()
    return figure


def embedding_map(vectors: Tensor, group: Sequence[str], labels: Mapping[int, str]) -> Figure:
    """The first two principal components of vectors [n, k], coloured by group, some labelled."""
    vectors = vectors.detach().cpu().double()
    centred = vectors - vectors.mean(0)
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
        ring = {"facecolors": "none", "edgecolors": "black", "lw": 0.8, "zorder": 4}  # above labels
        axes.scatter(x[index], y[index], s=16, **ring)
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


def reward_by_step(lines: Mapping[str, tuple[np.ndarray, np.ndarray]], title: str) -> Figure:
    """Mean reward of every step of a session, with intervals.

    lines: name -> mean [T], interval [T, 2]. Agents ("DRR") are coloured, the others grey;
    the last agent is drawn thick, with its interval (those of the others would hide each other).
    """
    figure, axes = plt.subplots(figsize=(9, 4.6))
    ours = [name for name in lines if name.startswith("DRR")]
    others = [name for name in lines if name not in ours and name not in ("random", "oracle")]
    styles = ["-", "--", ":", "-."]
    for i, name in enumerate(others):
        step = np.arange(1, len(lines[name][0]) + 1)
        style, shade = styles[i % 4], str(0.35 + 0.3 * (i // 4))
        axes.plot(step, _smooth(lines[name][0]), color=shade, lw=1, ls=style, label=name)
    for name, colour in zip(ours, cycle(COLOURS)):
        mean, interval = lines[name]
        step = np.arange(1, len(mean) + 1)
        last = name == ours[-1]
        axes.plot(step, _smooth(mean), color=colour, label=name, lw=2.2 if last else 1)
        if last:
            low, high = map(_smooth, interval.T)
            axes.fill_between(step, low, high, color=colour, alpha=0.15, lw=0)
    axes.set(xlabel="step (mean over three neighbouring steps)", ylabel="share liked", title=title)
    axes.legend(frameon=False, fontsize=8, bbox_to_anchor=(1.01, 1), loc="upper left")
    _bare(axes)
    figure.tight_layout()
    return figure


def _smooth(values: np.ndarray) -> np.ndarray:
    """Mean of each value and its neighbours."""
    padded = np.pad(values, 1, mode="edge")
    return np.convolve(padded, np.ones(3) / 3, mode="valid")


def shown_by_step(shown: Mapping[str, Tensor], counts: Tensor) -> Figure:
    """How popular, and how varied over users, the items of each step are.

    shown: name -> items [users, draws, T], padded with n_items; counts [n_items]: training rows.
    """
    figure, panes = plt.subplots(1, 2, figsize=(12, 3.4))
    below = counts.sort().values
    share = (torch.searchsorted(below, counts) / len(counts)).tolist() + [float("nan")]
    share = np.array(share)
    for (name, items), colour in zip(shown.items(), cycle(COLOURS)):
        items = items.flatten(0, -2).numpy()  # (users * draws, T)
        step = np.arange(1, items.shape[1] + 1)
        panes[0].plot(step, np.nanmean(share[items], axis=0), color=colour, label=name)
        panes[1].plot(step, [len(np.unique(i)) for i in items.T], color=colour, label=name)
    panes[0].set(xlabel="step", ylabel="share of films less popular")
    panes[1].set(xlabel="step", ylabel="different films, all users")
    panes[1].legend(frameon=False, fontsize=8, bbox_to_anchor=(1.01, 1), loc="upper left")
    for pane in panes:
        _bare(pane)
    figure.tight_layout()
    return figure
