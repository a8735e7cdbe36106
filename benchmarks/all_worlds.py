"""The worlds side by side: one table for docs/results.md, one picture, docs/worlds.png.

A world is a row: what it measures, which policies stand at the two ends of the scale, and which are
shown between them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from benchmarks import results
from benchmarks.summaries import SESSIONS, Agent
from recsys_rl.evaluation.statistics import Interval, hierarchical_bootstrap

MARKS = {
    "DDPG": ("o", "#D55E00"),  # Okabe & Ito
    "DDPG, gamma = 0": ("s", "#0072B2"),
    "a rival, named": ("D", "#009E73"),
}
LEGEND = {"DDPG": "DDPG (ask first: policy gradient)"}
NAMED = {"fontsize": 8, "color": "#555555"}  # a rival's name in the picture


@dataclass(frozen=True)
class World:
    """metric: of the rows that `key` selects. greedy and oracle: the ends of the scale. rival:
    another policy, by name and in words. calibration: the split of the critic's rows, whose
    protocol ends with `evaluated_in`."""

    title: str
    key: dict[str, str]
    metric: str
    ddpg: Agent
    rival: Agent
    myopic: Agent | None = None
    random: Agent = field(default=Agent("random"))
    greedy: Agent = field(default=Agent("greedy"))
    oracle: Agent = field(default=Agent("oracle"))
    calibration: str = ""
    evaluated_in: str = ""

    def values(self, agent: Agent) -> pd.DataFrame:
        """A row a seed, a column a user; empty if it was not run."""
        return results.by_user(self.metric, **self.key, agent=agent.name, stage=agent.stage)

    def mean(self, agent: Agent) -> Interval | None:
        values = self.values(agent)
        return hierarchical_bootstrap(values.to_numpy()) if len(values) else None

    def share(self, agent: Agent) -> Interval:
        """Of the way from greedy to oracle, with the interval over seeds and users; the length of
        the way, a mean over users, is held fixed."""
        low, high = (self.values(end).to_numpy() for end in (self.greedy, self.oracle))
        return hierarchical_bootstrap(
            (self.values(agent).to_numpy() - low) / (high.mean() - low.mean())
        )

    def shown(self) -> dict[str, Agent]:
        """The policies between the two ends, by the names of `MARKS`; no end is shown again."""
        named = zip(MARKS, (self.ddpg, self.myopic, self.rival), strict=True)
        there = {n: agent for n, agent in named if agent and len(self.values(agent))}
        return {n: agent for n, agent in there.items() if agent.name != self.oracle.name}


def worlds(dataset: str = "ml-1m") -> list[World]:
    """Those whose results are there."""
    leaving = {"dataset": dataset, "split": "user-leaves", "protocol": "user-leaves"}
    dial = "simulated-satisfaction-0.5"
    found = [
        World(
            "users who leave: shown too\nmuch of the same, they go",
            leaving,
            "return",
            Agent("user-leaves"),
            Agent("list", label="one list for all, told the rule"),
            Agent("user-leaves-gamma-0"),
            calibration="user-leaves",
        ),
        World(
            "satisfaction: what sells now\nwears down what follows",
            {"dataset": dataset, "split": dial, "protocol": "simulated-B"},
            "return",
            Agent("consequences"),
            Agent("linucb", label="LinUCB"),
            Agent("consequences-gamma-0"),
            oracle=Agent("rollout"),
            calibration=dial,
            evaluated_in=", simulator B",
        ),
        World(
            "bored users (SARDINE): five\nclicks in a topic are enough",
            {"dataset": "sardine", "split": "sardine", "protocol": "sardine"},
            "return",
            Agent("sardine"),
            Agent("rule", label="the rule against boredom"),
            Agent("sardine-gamma-0"),
            oracle=Agent("rule"),
            calibration="sardine",
        ),
        World(
            "ask first: five questions,\nthen ten films",
            {"dataset": dataset, "split": "elicitation", "protocol": "elicitation, 5 questions"},
            "precision@10",
            Agent("ddpg", label="policy gradient"),
            Agent("knowledge gradient"),
            Agent("ddpg-gamma-0"),
            oracle=Agent("all answers known"),
            calibration="elicitation-5",
        ),
        World(
            "cold-start sessions: each\nliked film counts by itself",
            {"dataset": dataset, "split": "cold-start", "protocol": SESSIONS},
            "reward@40",
            Agent("DRR-set"),
            Agent("DRR-set", "pretrained, gate reset", "the same agent before DDPG, gate reset"),
            Agent("DRR-set-gamma-0"),
            greedy=Agent("Gaussian of likes"),
            calibration="cold-start",
        ),
    ]
    needed = ("ddpg", "greedy", "oracle")
    return [w for w in found if all(len(w.values(getattr(w, name))) for name in needed)]


def table(dataset: str = "ml-1m") -> pd.DataFrame:
    """Means of every world, and how far DDPG comes."""
    rows = {}
    for world in worlds(dataset):
        row = {
            "random": _figure(world.mean(world.random)),
            "greedy": _figure(world.mean(world.greedy)),
            "gamma = 0": _figure(world.mean(world.myopic) if world.myopic else None),
            "DDPG": _figure(world.mean(world.ddpg), True) + _named(world.ddpg),
            "rival": f"{_figure(world.mean(world.rival))} ({world.rival})",
            "oracle": _figure(world.mean(world.oracle)),
            "share of the way": _figure(world.share(world.ddpg), True),
            "Q off by": _off(world),
            "CPU minutes": _minutes(world),
            "seeds": str(len(world.values(world.ddpg))),
        }
        rows[world.title.replace("\n", " ")] = row
    return pd.DataFrame(rows).T


def short_table(dataset: str = "ml-1m") -> str:
    """For the README, as Markdown."""
    columns = ["greedy", "gamma = 0", "DDPG", "oracle"]
    found = table(dataset)[columns].rename(columns={"gamma = 0": "γ = 0"})
    found.index = [name.partition(":")[0] for name in found.index]
    lines = ["| | " + " | ".join(found.columns) + " |", "|---" * (len(columns) + 1) + "|"]
    rows = zip(found.index, found.to_numpy(), strict=True)
    return "\n".join([*lines, *(f"| {name} | " + " | ".join(row) + " |" for name, row in rows)])


def _named(agent: Agent) -> str:
    """What an agent is, where it is no DDPG."""
    return f" ({agent.label})" if agent.label else ""


def _figure(found: Interval | None, interval: bool = False) -> str:
    if found is None:
        return ""
    digits = 1 if abs(found.mean) >= 5 else 3
    text = f"{found.mean:.{digits}f}"
    return f"{text} [{found.low:.{digits}f}, {found.high:.{digits}f}]" if interval else text


def _off(world: World) -> str:
    """Relative error of mean Q at the first, the middle and the last step, test users."""
    key = {"dataset": world.key["dataset"], "split": world.calibration, "agent": world.ddpg.name}
    users = f"calibration, test users{world.evaluated_in}"
    found = results.select(**key, protocol=users)
    mean = found.groupby("metric", observed=True)["value"].mean()
    names = [f"error, {step} step" for step in ("first", "middle", "last")]
    return (
        " / ".join(f"{mean[name]:.3f}" for name in names) if set(names) <= set(mean.index) else ""
    )


def _minutes(world: World) -> str:
    key = {"dataset": world.key["dataset"], "split": world.key["split"], "protocol": "training"}
    found = results.means(**key, agent=world.ddpg.name, stage="final")
    if "training_cpu_seconds" not in found:
        return ""
    return f"{found['training_cpu_seconds'].mean() / 60:.1f}"


def worlds_picture(dataset: str = "ml-1m") -> Figure:
    """How far policies come in each world, from the greedy policy to the oracle."""
    there = worlds(dataset)
    figure, axes = plt.subplots(figsize=(9, 0.85 * len(there) + 1.5))
    seen = set()
    for place, world in enumerate(reversed(there)):
        axes.axhline(place, color="#CCCCCC", lw=1, zorder=0)
        if world.oracle.name == world.rival.name:
            axes.text(0.98, place - 0.24, f"oracle: {world.rival}", ha="right", **NAMED)
        for name, agent in world.shown().items():
            found, (mark, colour) = world.share(agent), MARKS[name]
            offset = 0.2 - 0.2 * list(MARKS).index(name)
            if agent == world.rival:
                left = found.mean > 0.5
                x = found.low - 0.02 if left else found.high + 0.02
                axes.text(x, place - 0.24, str(agent), ha="right" if left else "left", **NAMED)
            axes.errorbar(
                found.mean,
                place + offset,
                xerr=[[found.mean - found.low], [found.high - found.mean]],
                fmt=mark,
                color=colour,
                ms=8,
                label=None if name in seen else LEGEND.get(name, name),
            )
            seen.add(name)
    for x, name in ((0, "greedy"), (1, "oracle")):
        axes.axvline(x, color="#7F7F7F", ls=":", lw=1.2)
        axes.text(x, len(there) - 0.42, name, ha="center", color="#555555")
    axes.set_yticks(range(len(there)), [world.title for world in reversed(there)])
    axes.set(ylim=(-0.5, len(there) - 0.45), xlim=(-0.15, 1.12))
    axes.set_xlabel("share of the way from the greedy policy to the oracle, test users")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.suptitle("Planning pays where what is shown now decides what can be earned later")
    figure.legend(frameon=False, ncols=3, loc="lower center", fontsize=9)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    return figure
