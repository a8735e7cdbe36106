"""What `benchmarks/variety.py` writes: a page of Markdown, and the plot of the frontier."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt


def plot(
    rows: Sequence[dict[str, float]], chosen: float, rival: dict[str, object] | None
) -> plt.Figure:
    """The frontier on validation users, and EASE."""
    figure, axes = plt.subplots(figsize=(6.4, 4))
    if rival:
        place = rival["films"], rival["precision@3"]
        axes.plot(*place, "kx")
        axes.annotate("EASE", place, xytext=(5, -12), textcoords="offset points")
    axes.plot([row["films"] for row in rows], [row["precision@3"] for row in rows], "o-")
    for row in rows:
        place = row["films"], row["precision@3"]
        if row["adventure"] != chosen:  # the legend names it
            beside = {"xytext": (-4, -16), "textcoords": "offset points"}
            axes.annotate(f"{row['adventure']:g}", place, **beside)
        else:
            ring = {"markersize": 12, "markeredgecolor": "black", "markerfacecolor": "none"}
            axes.plot(*place, "o", label=f"default, {chosen:g}", **ring)
    axes.margins(y=0.1)
    axes.legend(frameon=False)
    axes.set_xlabel("different films among 300 suggestions, seeds in blocks of 100")
    axes.set_ylabel("precision@3, validation users")
    axes.set_title("The command from safe to adventurous: --adventure")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return figure


def table(rows: Sequence[dict[str, object]]) -> str:
    """Markdown; nothing of no rows."""
    if not rows:
        return ""
    names = list(rows[0])
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    for row in rows:
        cells = [
            f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def page(
    dataset: str, frontier: list, rival: dict | None, judged: list, genres: list, sure: list
) -> str:
    """docs/variety-<dataset>.md."""
    return f"""# Variety of the suggestions, {dataset}

Written by `python -m benchmarks.variety --dataset {dataset}`, which says what is measured. Three
films are named, three suggested. *films* and *top20* are means over ten blocks of 100 seeds:
different films among 300 suggestions, and the share of the 20 most frequent ones.

Validation users, who chose the default:

{table([*frontier, *([rival] if rival else [])])}

![Frontier](variety-{dataset}.png)

Asked once, with no variety and with the default; *series*: whether two films of one series may be
among the three (`--series`):

{table(judged)}

Share of the suggestions that are of the genre of the three films named:

{table(genres)}

How sure: share of validation users who liked a film of this score (`n` films named), and of test
users, in tenths of the chance that is told:

{table(sure)}
"""
