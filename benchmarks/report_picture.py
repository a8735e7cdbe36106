"""docs/sessions.png: the share of liked films by step of a cold-start session."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from benchmarks import results
from benchmarks.report_tables import RIDGE, stages
from benchmarks.summaries import SESSIONS, Agent
from recsys_rl.evaluation.sessions import HORIZONS

LINES = {  # agent: its colour (Okabe & Ito), dashes; before them DRR-set in both stages
    Agent("oracle"): ("#7F7F7F", ":"),
    Agent("Gaussian of likes"): ("#0072B2", "-"),
    Agent(RIDGE, label="ridge regression (LinUCB)"): ("#009E73", "-."),
    Agent("EASE"): ("#CC79A7", (0, (4, 1))),
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
    before, after = stages("DRR-set")
    drawn = {after: ("#D55E00", "-"), before: ("#E69F00", "--")} | LINES
    lines = {agent: smoothed(by_step(dataset, agent)) for agent in drawn}
    gaussian, step = lines[Agent("Gaussian of likes")], np.arange(1, max(HORIZONS) + 1)
    for agent, (colour, dashes) in drawn.items():
        options = {"color": colour, "ls": dashes, "lw": 2.4 if agent is after else 1.6}
        left.plot(step, lines[agent], label=str(agent), **options)
        if agent.name != "oracle":
            right.plot(step, lines[agent] - gaussian, **options)
    left.set(xlabel="step", ylabel="share of liked films", ylim=(0, 1.03))
    left.set_title("The longer a session, the fewer likes are left")
    right.set(xlabel="step", ylabel="minus the Gaussian of likes")
    right.set_title("The same, minus the Gaussian of likes")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    figure.suptitle(
        f"Cold-start sessions, {dataset}, test users; mean of three neighbouring steps", fontsize=10
    )
    figure.legend(frameon=False, ncols=4, loc="lower center", fontsize=10)
    figure.tight_layout(rect=(0, 0.11, 1, 1))
    return figure
