"""The next item: tables and the picture that say what a model reads beside what it scores.

Each table is empty until the agents that it is about have been run.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from benchmarks import results
from benchmarks.peers import curve
from benchmarks.report_tables import agents, stages
from benchmarks.summaries import Agent, figures
from recsys_rl.evaluation.next_item import GAPS, PROBES
from recsys_rl.evaluation.plots import hits_by_gap, quality_by_minutes
from recsys_rl.evaluation.protocols import READS

CLOCK = "DRR-seq-clock"
SAID = {"order": "the order", "past": "times of past ratings", "request": "time of the request"}
BASELINES = {"popularity": "nothing", "EASE": "the set of items"}
METRICS = {"hr@10": "Hit@10", "ndcg@10": "nDCG@10"}
# Leave-one-out of ML-1M, full ranking, as published; read from the papers and repositories named.
PUBLISHED = {
    "order": {
        "eSASRec (Tikhonovich et al., RecSys 2025)": (0.3133, 0.1772),
        "SASRec, full cross-entropy (Klenitskiy & Vasilev, RecSys 2023)": (0.3152, 0.1821),
        "SASRec+, 3,000 negatives (the same)": (0.3159, 0.1857),
    },
    "past": {},
    "request": {
        "FuXi-alpha (Ye et al., 2025), recalculated": (0.3164, 0.1813),
        "HSTU, 2 blocks (RecTools)": (0.3226, 0.1880),
        "HSTU-large (Zhai et al., ICML 2024; other order of ties)": (0.3294, 0.1893),
        "HSTU-large + MoL (other order of ties)": (0.3412, 0.1979),
        "HSTU (NetEase, TensorFlow), full softmax": (0.3419, 0.1944),
        "HSTU-large (RecTools 0.17, one seed)": (0.3642, 0.2164),
    },
}


def ours(dataset: str, split: str, reads: str) -> list[Agent]:
    """Both stages of the agents that read this; one that reads the clock also without it."""
    plain = stages("DRR-seq") if reads == "order" else []
    return [*plain, *(Agent(CLOCK, stage) for stage in ("pretrained", "final"))]


def labelled(reads: str, agent: Agent) -> str:
    return f"{agent}, no times" if agent.name == CLOCK and reads == "order" else str(agent)


def is_there(dataset: str, split: str) -> bool:
    return bool(len(results.select(dataset=dataset, split=split, agent=CLOCK, protocol="training")))


def next_item(dataset: str = "ml-1m") -> pd.DataFrame:
    """Leave-one-out: published figures and ours, by what is read."""
    split, rows = "leave-one-out", []
    if not is_there(dataset, split):
        return pd.DataFrame()
    for reads, ending in READS.items():
        for name, values in PUBLISHED[reads].items():
            shown = {t: f"{v:.3f}" for t, v in zip(METRICS.values(), values, strict=True)}
            rows.append({"": name, "reads": SAID[reads]} | shown | {"in brackets": "published"})
        key = {"dataset": dataset, "split": split, "protocol": f"{split}{ending}"}
        rows += _rows(key, reads, ours(dataset, split, reads), METRICS)
    return _table(rows)


def after_a_pause(dataset: str = "ml-1m") -> pd.DataFrame:
    """The task whose answer lies a day or more ahead."""
    split, rows = "after-a-pause", []
    if not is_there(dataset, split):
        return pd.DataFrame()
    for reads, ending in READS.items():
        key = {"dataset": dataset, "split": split, "protocol": f"{split}{ending}"}
        beside = agents(*BASELINES) if reads == "order" else []
        rows += _rows(key, reads, [*beside, *ours(dataset, split, reads)], METRICS)
    return _table(rows)


def worth(dataset: str = "ml-1m") -> pd.DataFrame:
    """Released agents by gap, with ties shuffled, and told wrongly of the request."""
    split, rows = "leave-one-out", []
    titles = METRICS | {f"hr@10, {gap}": f"Hit@10, {gap}" for gap in GAPS}
    for reads, ending in READS.items():
        models = agents("DRR-seq", CLOCK) if reads == "order" else agents(CLOCK)
        for order in ("by gap", "ties before the test item shuffled", "ties shuffled"):
            key = {"dataset": dataset, "split": split, "protocol": f"{split}, {order}{ending}"}
            rows += _rows(key, reads, models, titles, "" if order == "by gap" else f", {order}")
    for probe in PROBES:
        key = {"dataset": dataset, "split": split, "protocol": f"{split}, {probe}"}
        rows += _rows(key, "request", agents(CLOCK), titles, f", {probe}")
    return _table(rows)


def _rows(
    key: dict[str, str], reads: str, models: list[Agent], metrics: dict[str, str], label: str = ""
) -> list[dict[str, str]]:
    """A row for each model that was run."""
    rows = []
    for agent in models:
        if found := figures(key, agent, metrics):
            name = labelled(reads, agent) + label
            rows.append({"": name, "reads": BASELINES.get(agent.name, SAID[reads])} | found)
    return rows


def _table(rows: list[dict[str, str]]) -> pd.DataFrame:
    """The first column becomes the index; a name that is there twice says what it reads."""
    if not rows:
        return pd.DataFrame()
    table = pd.DataFrame(rows).fillna("")
    again = table[""].duplicated(keep=False)
    table.loc[again, ""] += " (" + table.loc[again, "reads"] + ")"
    return table.set_index("").rename_axis(None)


PICTURED = {  # bar: agent, what it reads, protocol
    "DRR-seq": ("DRR-seq", "order", "by gap"),
    "DRR-seq, equal time stamps in random order": ("DRR-seq", "order", "ties shuffled"),
    "DRR-seq-clock, times of past ratings": (CLOCK, "past", "by gap"),
    "DRR-seq-clock, time of the request": (CLOCK, "request", "by gap"),
}


def gap_picture(dataset: str = "ml-1m") -> Figure | None:
    """Hit@10 by gap; None until `benchmarks.next_item` has run for both agents."""
    found, split, shares = {}, "leave-one-out", {}
    for label, (name, reads, protocol) in PICTURED.items():
        key = {"dataset": dataset, "split": split, "stage": "final", "agent": name}
        means = results.means(**key, protocol=f"{split}, {protocol}{READS[reads]}")
        if means.empty:
            return None
        mean = means.mean()
        found[label] = {"all": mean["hr@10"]} | {
            gap: mean.get(f"hr@10, {gap}", 0.0) for gap in GAPS
        }
        shares = {"all": 1.0} | {gap: mean[f"share, {gap}"] for gap in GAPS}
    title = "Within one time stamp the next film is easy to guess, after a day it is not"
    return hits_by_gap(found, shares, title)


# Of the same settings on ML-1M, at most 200 epochs: github.com/blondered/bert4rec_repro
PEER_PUBLISHED = (0.3058, 0.1779)


def peer_rows(dataset: str) -> pd.DataFrame:
    """Rows of the trainings of those seeds that DRR-seq and the peer have both been tested with."""
    rows = curve.of(curve.table(), dataset=dataset, split=curve.SPLIT)
    tested = curve.of(rows, part="test").groupby("seed")["model"].nunique()
    return rows[rows["seed"].isin(tested.index[tested == 2])]


def peers(dataset: str = "ml-1m") -> pd.DataFrame:
    """DRR-seq and the peer: what they reached, and in how many minutes."""
    shown = []
    for (seed, model), rows in peer_rows(dataset).groupby(["seed", "model"]):
        best = curve.best(rows)
        test = curve.of(rows, part="test").iloc[-1]
        shown.append(
            {
                "": f"{model}, seed {seed}",
                "minutes": f"{test['minutes']:.1f}",
                "CPU minutes": f"{test['cpu_minutes']:.1f}",
                "threads": str(test["threads"]),
                "best validation nDCG@10": f"{best['ndcg@10']:.3f}",
                "minutes to it": f"{best['minutes']:.1f}",
            }
            | {title: f"{test[metric]:.3f}" for metric, title in METRICS.items()}
        )
    if not shown:
        return pd.DataFrame()
    values = zip(METRICS.values(), PEER_PUBLISHED, strict=True)
    published = {title: f"{value:.3f}" for title, value in values}
    shown.append({"": f"{curve.PEER}, as published, at most 200 epochs"} | published)
    return pd.DataFrame(shown).fillna("").set_index("").rename_axis(None)


def peer_picture(dataset: str = "ml-1m") -> Figure | None:
    """Validation against minutes; None until `benchmarks.next_item_peer` has run."""
    rows = peer_rows(dataset)
    return None if rows.empty else quality_by_minutes(rows, METRICS)
