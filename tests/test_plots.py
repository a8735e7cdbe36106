"""Plots show every series that they are given."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

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


def test_reward_by_step_has_all_agents():
    names = [f"DRR {name}" for name in SERIES]
    lines = {name: (np.ones(5), np.ones((5, 2))) for name in names} | {
        "EASE": (np.ones(5), np.ones((5, 2)))
    }
    assert set(legend_of(plots.reward_by_step(lines, "title"))) == {*names, "EASE"}


def test_shares_of_the_way_has_a_row_a_world_and_a_mark_a_policy():
    worlds = {w: {n: (0.5, 0.4, 0.6) for n in ("DDPG", "gamma 0")} for w in ("one", "other")}
    figure = plots.shares_of_the_way(worlds)
    assert legend_of(figure) == ["DDPG", "gamma 0"]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["other", "one"]


def test_no_series_is_left_out_where_colours_come_again():
    frame = pd.DataFrame({"update": [0, 1], "m": [0.1, 0.2], "reward": 1.0, "critic_loss": 1.0})
    curves = dict.fromkeys(SERIES, frame)
    figure = plots.learning_curves(curves, "m", dict.fromkeys(SERIES, 1), {})
    assert all(pane.lines for pane in figure.axes)
    assert legend_of(plots.reward_curves(curves, 1)) == SERIES
    worlds = {"one": dict.fromkeys(SERIES, (0.5, 0.4, 0.6))}
    assert legend_of(plots.shares_of_the_way(worlds)) == SERIES


def test_session_steps_names_what_was_shown():
    error = np.array([[1.0, 2.0], [0.5, 0.9], [0.4, 0.6]])
    figure = plots.session_steps(["A", "B"], [3.0, 4.0], [5.0, 4.5], error)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["A  1", "B  2"]
    expected, answered = figure.axes[0].lines
    assert answered.get_xdata().tolist() == [5.0, 4.5]
    everybody, this = figure.axes[1].lines
    assert everybody.get_ydata().tolist() == [1.5, 0.7, 0.5]
    assert this.get_ydata().tolist() == [1.0, 0.5, 0.4]


def test_a_figure_is_shown_with_words_for_those_who_cannot_see_it(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, **o: shown.append(bundle))
    plots.show(plots.session_steps(["A"], [3.0], [5.0], np.ones((2, 3))))
    words = (
        "One session: the stars expected and given: each row by stars; "
        "Error of the belief: stars, mean over all films by films shown"
    )
    assert shown[0]["text/plain"] == words
    assert shown[0]["text/html"].startswith(f'<img alt="{words}" src="data:image/png;base64,iVBOR')
    assert not plots.plt.get_fignums()


def test_titles_with_quotes_do_not_end_the_words_of_a_figure(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, **o: shown.append(bundle))
    figure, pane = plots.plt.subplots()
    pane.set(title='"Heat" <1995>', xlabel="films", ylabel="stars")
    plots.show(figure)
    assert 'alt="&quot;Heat&quot; &lt;1995&gt;: stars by films"' in shown[0]["text/html"]


def test_learning_curves_show_all_of_every_curve_and_little_of_the_noise():
    curves = {
        name: pd.DataFrame({"update": [0, 1], "return": values})
        for name, values in {"A": [0.01, 0.02], "B": [0.1, 0.9]}.items()
    }
    figure = plots.learning_curves(curves, "return", {"A": 0, "B": 0}, {})
    low, high = figure.axes[1].get_ylim()
    assert low <= 0.01 < 0.9 <= high
    curves["B"]["return"] = [0.4110, 0.4112]
    figure = plots.learning_curves({"B": curves["B"]}, "return", {"B": 0}, {})
    low, high = figure.axes[0].get_ylim()
    assert high - low == pytest.approx(plots.LEAST_SPAN * 0.411, rel=0.1)


def test_learning_curves_has_a_pane_an_agent_and_a_line_a_baseline():
    curve = pd.DataFrame({"update": [0, 500, 600], "ndcg@10": [0.0, 0.1, 0.2]})
    curves, ends = {"DRR-ave": curve, "DRR-seq": curve}, {"DRR-ave": 500, "DRR-seq": 500}
    figure = plots.learning_curves(curves, "ndcg@10", ends, {"EASE": 0.15, "popularity": 0.05})
    assert [axes.get_title() for axes in figure.axes] == [
        "What DRR-ave reaches on validation data",
        "What DRR-seq reaches on validation data",
    ]
    for axes in figure.axes:
        curve_line, *baselines = axes.lines
        assert curve_line.get_xdata().tolist() == [0, 500, 600]
        assert [line.get_ydata()[0] for line in baselines] == [0.15, 0.05]


def test_result_bars_has_a_bar_a_model():
    table = pd.DataFrame(
        {"hr@10": [0.2, 0.1], "hr@10 low": [0.1, 0.05], "hr@10 high": [0.3, 0.2]},
        index=["DRR-set", "EASE"],
    )
    axes = plots.result_bars(table, "hr@10", "title").axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["EASE", "DRR-set"]
    assert [bar.get_width() for bar in axes.patches] == [0.1, 0.2]
