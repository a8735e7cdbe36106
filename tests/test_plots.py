"""Plots show every series that they are given."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from recsys_rl.evaluation import plots

SERIES = [f"series {i}" for i in range(len(plots.COLOURS) + 2)]


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def legend_of(figure) -> list[str]:
    """Of the first pane that has one."""
    legend = next(axes.get_legend() for axes in figure.axes if axes.get_legend())
    return [text.get_text() for text in legend.get_texts()]


def test_gains_has_all_series_though_there_are_more_than_colours():
    found = {name: {3: (0.1, 0.0, 0.2), 40: (0.2, 0.1, 0.3)} for name in SERIES}
    assert legend_of(plots.gains(found, "title")) == SERIES


def test_gains_gives_agents_a_pane_and_a_scale_of_their_own():
    found = {"DRR-set": {3: (0.01, 0.0, 0.02)}, "EASE": {3: (0.9, 0.8, 1.0)}}
    ours, others = plots.gains(found, "title").axes
    assert [text.get_text() for text in ours.get_legend().get_texts()] == ["DRR-set"]
    assert [text.get_text() for text in others.get_legend().get_texts()] == ["EASE"]
    assert ours.get_ylim()[1] < 0.1 < others.get_ylim()[1]


def test_reward_by_step_has_all_agents():
    names = [f"DRR {name}" for name in SERIES]
    lines = {name: (np.ones(5), np.ones((5, 2))) for name in names} | {
        "EASE": (np.ones(5), np.ones((5, 2)))
    }
    assert set(legend_of(plots.reward_by_step(lines, "title"))) == {*names, "EASE"}


def test_shown_by_step_has_all_models():
    films = torch.arange(12).view(2, 2, 3)
    figure = plots.shown_by_step(dict.fromkeys(SERIES, films), torch.arange(13))
    assert legend_of(figure) == SERIES


@pytest.mark.parametrize("columns", [["A"], ["A", "B"]])
def test_ablations_draws_a_dot_for_each_seed_and_leaves_out_what_is_missing(columns):
    whole = {"mean": 0.5, "interval": (0.4, 0.6), "seeds": [0.45, 0.55]}
    figures = {"whole": {"A": whole}, "without": {"A": whole, "B": whole}}
    figure = plots.ablations(figures, columns)
    dots = [
        sum(len(line.get_xdata()) for line in axes.lines if line.get_marker() == "o")
        for axes in figure.axes
    ]
    assert dots == [4, 2][: len(columns)]
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["whole", "without"]
