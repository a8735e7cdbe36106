"""docs/results.md is what the table of results says; its rows pair and refuse as they should."""

from __future__ import annotations

import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from benchmarks import (
    all_worlds,
    report,
    report_form,
    report_picture,
    results,
    summaries,
)
from benchmarks.pictures import write_picture
from benchmarks.summaries import Agent
from recsys_rl.evaluation.statistics import hierarchical_bootstrap

ROOT = report.DOCS.parent
KEY = {"dataset": "tiny", "split": "cold-start", "protocol": summaries.SESSIONS}
OURS, BEFORE = Agent("DRR-set"), Agent("DRR-set", "pretrained")


@pytest.fixture
def empty(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "PATH", tmp_path / "results.csv.xz")


def run(agent: Agent, seed: int, values, users: bool = True, split: str = "cold-start") -> None:
    """Records one run whose rewards are the same at every length of the session."""
    values = np.asarray(values, dtype=np.float64)
    key = KEY | {"split": split, "agent": agent.name, "stage": agent.stage, "seed": seed}
    parts = [results.rows(dict.fromkeys(summaries.REWARDS, values.mean()), **key)]
    for metric in summaries.REWARDS if users else ():
        part = pd.DataFrame({"metric": metric, "user": np.arange(len(values)), "value": values})
        parts.append(part.assign(**key))
    results.record(pd.concat(parts)[results.COLUMNS])


def test_several_seeds_have_an_interval_over_seeds_and_users(empty):
    kept = np.random.default_rng(0).random((3, 40)).round(5)
    for seed, values in enumerate(kept):
        run(OURS, seed, values)
    row = summaries.figures(KEY, OURS, summaries.REWARDS)
    assert row["T = 40"] == summaries.bracketed(hierarchical_bootstrap(kept))
    assert (row["seeds"], row["in brackets"]) == ("3", "interval over seeds and users")


def test_one_seed_has_an_interval_over_users_and_says_so(empty):
    run(OURS, 4, [0.1, 0.2, 0.6])
    row = summaries.figures(KEY, OURS, summaries.REWARDS)
    assert row["T = 3"].startswith("0.300 [0.100, ")
    assert (row["seeds"], row["in brackets"]) == ("1", "interval over users")


def test_without_values_by_user_there_is_no_interval(empty):
    for seed, values in enumerate(([0.1], [0.2], [0.6])):
        run(OURS, seed, values, users=False)
    run(Agent("EASE"), 0, [0.5], users=False)
    table = summaries.compared(summaries.REWARDS, [OURS, Agent("EASE"), Agent("iALS")], **KEY)
    assert table["T = 3"].to_dict() == {"DRR-set": "0.300 (sd 0.2646)", "EASE": "0.500"}
    assert table["in brackets"].to_dict() == {"DRR-set": "sd over seeds", "EASE": ""}


def test_only_the_same_seeds_are_paired(empty):
    for seed in (0, 1, 2):
        run(OURS, seed, np.array([0.5, 0.6]) + 0.1 * seed)
    for seed in (1, 2, 3):
        run(BEFORE, seed, np.array([0.4, 0.5]) + 0.1 * seed)
    found = summaries.differences(KEY, OURS, BEFORE, "reward@3")
    assert found.index.tolist() == [1, 2]
    assert found.to_numpy() == pytest.approx(np.full((2, 2), 0.1))
    row = summaries.gains([(OURS, BEFORE)], **KEY).loc["DRR-set minus DRR-set, pretrained"]
    assert row["T = 20"] == "+0.1000 [+0.1000, +0.1000]"
    assert row["seeds"] == "2"


def test_a_baseline_is_paired_with_every_seed(empty):
    for seed in (1, 2):
        run(OURS, seed, np.array([0.5, 0.6]) + 0.1 * seed)
    run(Agent("EASE"), 0, [0.5, 0.4])
    found = summaries.differences(KEY, OURS, Agent("EASE"), "reward@3")
    assert found.to_numpy() == pytest.approx(np.array([[0.1, 0.3], [0.2, 0.4]]))


def test_a_full_disk_leaves_the_old_page_and_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "DOCS", tmp_path)
    monkeypatch.setattr(report, "PICTURES", {"a.png": lambda _: plt.figure(), "b.png": lambda _: 0})
    monkeypatch.setattr(report, "document", lambda: "old\n")
    report.main([])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(before) == {"results.md", "a.png"}

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("recsys_rl.data.atomic_files.os.fsync", full)
    monkeypatch.setattr(report, "document", lambda: "new\n")
    with pytest.raises(OSError, match="No space"):
        report.main([])
    with pytest.raises(OSError, match="No space"):
        write_picture(plt.figure(), tmp_path / "a.png", dpi=50)
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    plt.close("all")


def test_other_users_are_no_pair_and_agents_without_users_no_row(empty):
    run(OURS, 0, [0.5, 0.6, 0.7])
    run(BEFORE, 0, [0.5, 0.6])
    with pytest.raises(ValueError, match="were not evaluated with the same users"):
        summaries.gains([(OURS, BEFORE)], **KEY)
    run(BEFORE, 0, [0.5, 0.6, 0.7], users=False)
    assert summaries.gains([(OURS, BEFORE), (OURS, Agent("EASE"))], **KEY).empty


def test_the_reproduced_figures_are_near_the_published_ones():
    """Within .005 for EASE and .01 for popularity; the files differ in negatives and ties."""
    key = {"dataset": "ml-1m", "split": "leave-one-out", "protocol": "leave-one-out"}
    for name, allowed in (("EASE", 0.005), ("popularity", 0.01)):
        found = [results.means(**key, agent=name, stage=s) for s in ("published", "reproduced")]
        np.testing.assert_allclose(*found, atol=allowed)


@pytest.fixture(scope="module")
def sections() -> list[report_form.Section]:
    return report.sections()


def test_the_document_is_up_to_date(sections, monkeypatch):
    monkeypatch.setattr(report, "sections", lambda: sections)
    assert (report.DOCS / "results.md").read_text(encoding="utf-8") == report.document(), (
        "run python -m benchmarks.report"
    )
    report.main(["--check"])
    monkeypatch.setattr(report, "sections", lambda: sections[1:])
    with pytest.raises(SystemExit, match="is not up to date"):
        report.main(["--check"])


def test_a_table_has_a_heading_its_origin_and_two_sentences_at_most(sections):
    assert len({section.heading for section in sections}) == len(sections)
    for section in sections:
        assert re.search(r"[Dd]ata set ml-|on ml-1m|SARDINE", section.measured), section.heading
        assert "training seed" in section.measured, section.heading
        assert section.commands, section.heading
        assert len(re.findall(r"\.(?=\s+[*A-Z]|$)", section.note)) <= 2, section.heading
        assert len(section.table) > 1, section.heading
        assert section.table.index.is_unique, section.heading


def test_the_commands_name_scripts_that_are_there(sections):
    for section in sections:
        for command in section.commands:
            script = re.match(r"-m benchmarks\.(\w+)|benchmarks/(\w+)\.py", command)
            assert (ROOT / "benchmarks" / f"{script[1] or script[2]}.py").exists(), command


def test_the_documents_link_to_files_that_are_there():
    for name in ("results.md", "log.md"):
        text = (report.DOCS / name).read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (report.DOCS / link).exists(), (name, link)


def test_the_picture_of_the_worlds_shows_every_policy_between_greedy_and_oracle():
    there = all_worlds.worlds()
    for world in there:
        found = [world.share(agent) for agent in world.shown().values()]
        assert all(each.low <= each.mean <= each.high for each in found)
        assert world.share(world.greedy).mean == pytest.approx(0)
        assert world.share(world.oracle).mean == pytest.approx(1)
    figure = all_worlds.worlds_picture()
    assert len(figure.axes[0].containers) == sum(len(world.shown()) for world in there)
    assert list(all_worlds.table().index) == [w.title.replace("\n", " ") for w in there]
    plt.close(figure)


def test_the_readme_has_the_table_of_the_worlds():
    assert all_worlds.short_table() in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_picture_shows_every_line_at_forty_steps():
    figure = report_picture.picture("ml-1m")
    left, right = figure.axes
    assert len(left.lines) == len(report_picture.LINES) + 2 == 6
    assert len(right.lines) == 5
    assert all(len(line.get_xdata()) == 40 for line in left.lines)
