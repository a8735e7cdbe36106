"""Numbers to plots. Each function draws one figure and returns it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from recsys_rl.evaluation.calibration import Calibration

# Okabe & Ito, their yellow left out: it is hard to see on white
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F"]

LEAST_SPAN = 0.1  # of a learning curve's axis, in parts of its upper end: noise stays small


def _bare(axes: plt.Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def show(figure: Figure) -> None:
    """Displays a figure in a notebook, with `alternative_text`, and closes it.

    As HTML, since converters to pages and slides drop the text of an image/png output.
    """
    from IPython.core.pylabtools import print_figure  # there where notebooks are
    from IPython.display import display

    words = alternative_text(figure)
    png = print_figure(figure, base64=True)
    image = f'<img alt="{escape(words)}" src="data:image/png;base64,{png}">'
    display({"text/html": image, "text/plain": words}, raw=True)
    plt.close(figure)


def alternative_text(figure: Figure) -> str:
    """What is drawn, for those who cannot see it: titles and axes of every pane."""
    panes = [
        f"{pane.get_title()}: {pane.get_ylabel() or 'each row'} by {pane.get_xlabel()}"
        for pane in figure.axes
    ]
    return "; ".join([figure.get_suptitle(), *panes] if figure.get_suptitle() else panes)


def learning_curves(
    curves: Mapping[str, pd.DataFrame], metric: str, pretrained: Mapping[str, int], baselines: dict
) -> Figure:
    """Validation metric against updates, from the untrained agent (update 0) on.

    curves: name -> table with columns "update" and `metric`; pretrained: name -> update at which
    DDPG takes over from pretraining; baselines: name -> value, drawn as horizontal lines.
    """
    figure, panes = plt.subplots(
        1, len(curves), figsize=(5 * len(curves), 3), sharey=True, squeeze=False
    )
    for pane, (name, curve), colour in zip(panes[0], curves.items(), cycle(COLOURS)):
        pane.plot(curve["update"], curve[metric], color=colour, marker="o", markersize=3)
        pane.axvspan(pretrained[name], curve["update"].max(), color=colour, alpha=0.1, lw=0)
        pane.set(title=f"What {name} reaches on validation data", xlabel="updates (shaded: DDPG)")
        for i, (label, value) in enumerate(baselines.items()):
            pane.axhline(value, color="grey", ls=[":", "--", "-."][i % 3], lw=1)
            side = "top" if i % 2 else "bottom"  # neighbouring lines may be close
            beside = {"xytext": (0, -2 if i % 2 else 2), "textcoords": "offset points"}
            pane.annotate(label, (0, value), fontsize=8, color="grey", va=side, **beside)
        _bare(pane)
    low, high = panes[0][0].get_ylim()  # all panes share it
    middle, half = (low + high) / 2, max(high - low, LEAST_SPAN * abs(high)) / 2
    panes[0][0].set_ylim(middle - half, middle + half)
    panes[0][0].set_ylabel(f"{metric}, validation sample")
    figure.tight_layout()
    return figure


def reward_curves(played: Mapping[str, pd.DataFrame], horizon: int) -> Figure:
    """Mean reward a step while the agents explore, and the critics' losses, in DDPG.

    played: name -> one row for each DDPG update, columns "reward" and "critic_loss"; `horizon`
    updates, a round of sessions, make a point (later steps of a session earn less).
    """
    figure, panes = plt.subplots(1, 2, figsize=(10, 3.2))
    for (name, rows), colour in zip(played.items(), cycle(COLOURS)):
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


def hits_by_gap(
    found: Mapping[str, Mapping[str, float]], shares: Mapping[str, float], title: str
) -> Figure:
    """What the next-item task is worth: Hit@10 by the gap between the test item and the last one.

    found: name of a model, and of what it reads -> group of users -> mean; shares: group -> its
    share of the users.
    """
    figure, axes = plt.subplots(figsize=(9, 4.2))
    width = 0.8 / len(found)
    styles = zip(found.items(), cycle(COLOURS), cycle(["", "//", "..", "xx"]))
    for number, ((name, values), colour, hatch) in enumerate(styles):
        place = np.arange(len(shares)) + (number - (len(found) - 1) / 2) * width
        style = {"color": colour, "hatch": hatch, "edgecolor": "white", "label": name}
        bars = axes.bar(place, [values[g] for g in shares], 0.92 * width, **style)
        axes.bar_label(bars, fmt=lambda value: f"{value:.2f}".lstrip("0"), fontsize=8)
    axes.set_xticks(range(len(shares)), [f"{g}\n{s:.0%} of users" for g, s in shares.items()])
    axes.set(xlabel="time since the rating before", ylabel="Hit@10", title=title)
    axes.legend(frameon=False, fontsize=9)
    _bare(axes)
    axes.grid(axis="x", visible=False)
    figure.tight_layout()
    return figure


def quality_by_minutes(rows: pd.DataFrame, metrics: Mapping[str, str]) -> Figure:
    """What validation says after so many minutes of training, and the test at the end.

    rows: model, seed, part ("validation" or "test"), minutes and a column for each metric; metrics:
    column -> its title, one pane each. A diamond: the test rows, with the weights chosen.
    """
    figure, panes = plt.subplots(1, len(metrics), figsize=(11, 4.2), squeeze=False)
    for pane, (metric, title) in zip(panes[0], metrics.items(), strict=True):
        for (model, of_model), colour in zip(rows.groupby("model"), cycle(COLOURS)):
            for number, (_, run) in enumerate(of_model.groupby("seed")):
                curve, test = (run[run["part"] == part] for part in ("validation", "test"))
                label = None if number else f"{model}, validation"
                options = {"color": colour, "label": label}
                pane.plot(curve["minutes"], curve[metric], marker="o", ms=3, **options)
                label = None if number else f"{model}, test"
                options = {"color": colour, "label": label, "mfc": "white", "ms": 8}
                pane.plot(test["minutes"], test[metric], "D", **options)
        pane.set(xlabel="minutes of training", ylabel=title, ylim=(0, None))
        _bare(pane)
    panes[0][-1].legend(frameon=False, fontsize=9, loc="lower right")
    figure.tight_layout()
    return figure


def calibration_plot(found: Mapping[str, Calibration], gamma: float) -> Figure:
    """Q against the returns that followed: by step, and by tenths of Q at the middle step.

    found: name of the users -> their sessions. On the diagonal Q is right.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8))
    ends = []
    for (name, sessions), colour, mark in zip(found.items(), cycle(COLOURS), cycle("os^")):
        q, returns = sessions.means()
        step = np.arange(len(q))
        lines = {"color": colour, "marker": mark, "markersize": 4, "markevery": max(1, len(q) // 8)}
        left.plot(step, returns, lw=2, label=f"return, {name}", **lines)
        left.plot(step, q, lw=1.5, ls="--", label=f"Q, {name}", mfc="white", **lines)
        q, returns = sessions.tenths(sessions.steps["middle"])
        right.plot(q, returns, color=colour, marker=mark, markersize=4, lw=1, label=name)
        ends += [*q.tolist(), *returns.tolist()]
    low, high = min(0.0, *ends), max(ends)
    right.plot([low, high], [low, high], color="grey", lw=1, ls=":", label="Q = return")
    left.set(xlabel="steps already played", ylabel=f"discounted by gamma = {gamma:g}")
    left.set_title("Q against the return that followed, by step")
    right.set(xlabel="Q, tenths of the sessions, middle step", ylabel="return that followed")
    right.set_title("The same by tenths: on the dotted line Q is right")
    for pane in (left, right):
        pane.legend(frameon=False, fontsize=8)
        _bare(pane)
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


def shares_of_the_way(worlds: Mapping[str, Mapping[str, tuple[float, float, float]]]) -> Figure:
    """How far policies come from one policy (0) to another (1), in several worlds.

    worlds: name -> policy -> (share, low, high), the same policies in each.
    """
    figure, axes = plt.subplots(figsize=(9, 0.9 * len(worlds) + 1.2))
    marks = ["o", "s", "^", "D"]
    for row, (world, policies) in enumerate(reversed(worlds.items())):
        axes.axhline(row, color="#CCCCCC", lw=1, zorder=0)
        for i, (name, (share, low, high)) in enumerate(policies.items()):
            axes.errorbar(
                share,
                row + 0.12 * (len(policies) - 1) - 0.24 * i,
                xerr=[[share - low], [high - share]],
                fmt=marks[i % 4],
                color=COLOURS[i % len(COLOURS)],
                ms=8,
                label=name if world == next(iter(worlds)) else None,
            )
    for x in (0, 1):
        axes.axvline(x, color="#7F7F7F", ls=":", lw=1.2)
    axes.set_yticks(range(len(worlds)), list(reversed(worlds)))
    axes.set(ylim=(-0.6, len(worlds) - 0.4), xlabel="share of the way")
    axes.set_title("How far from the greedy policy (0) to the oracle (1)")
    axes.legend(frameon=False, fontsize=9, bbox_to_anchor=(1.01, 1), loc="upper left")
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.tight_layout()
    return figure


def session_steps(
    titles: Sequence[str], expected: Sequence[float], answered: Sequence[float], error: np.ndarray
) -> Figure:
    """One session, step by step: what was shown, how it was rated, and what agents know by then.

    expected: stars that the agent expected of each shown item, answered: stars it got; error: of
    what it expects of all items, mean absolute, before each step and after the last, [T + 1, U],
    U sessions of which this is the first.
    """
    step, error = np.arange(1, len(titles) + 1), np.asarray(error)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 0.25 * len(titles) + 1), width_ratios=(2, 1)
    )
    left.hlines(step, expected, answered, color="#BBBBBB", lw=2)
    left.plot(expected, step, "o", mfc="white", color=COLOURS[0], label="expected")
    left.plot(answered, step, "o", color=COLOURS[1], label="answered")
    left.set_yticks(step, [f"{title[:38]}  {i}" for i, title in enumerate(titles, 1)])
    left.set(xlim=(-0.2, 5.2), xlabel="stars", title="One session: the stars expected and given")
    left.invert_yaxis()
    left.legend(frameon=False, fontsize=8, loc="lower left")
    right.plot(error.mean(1), color=COLOURS[0], marker="o", markersize=4, label="all sessions")
    right.plot(error[:, 0], color="#7F7F7F", lw=1, ls="--", label="this one")
    right.set(xlabel="films shown", ylabel="stars, mean over all films", ylim=(0, None))
    right.set_title("Error of the belief")
    right.legend(frameon=False, fontsize=8, loc="lower left")
    for pane in (left, right):
        _bare(pane)
    figure.tight_layout()
    return figure
