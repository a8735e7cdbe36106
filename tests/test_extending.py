"""Every block of docs/extending.md runs on a small data set, and has 30 lines at most."""

import re
from pathlib import Path

import pytest
from synthetic import write_movielens

from recsys_rl.data import download
from recsys_rl.states.registry import STATES

TEXT = (Path(__file__).parent.parent / "docs" / "extending.md").read_text(encoding="utf-8")
FIRST, *BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
TITLES = re.findall(r"^## (.*)$", TEXT, re.MULTILINE)


@pytest.fixture
def start(tmp_path, monkeypatch):
    """The names that the first block defines, from a small data set in place of ml-100k."""
    folder = write_movielens(tmp_path / "tiny", "ml-100k", n_users=80, n_items=240)
    names: dict[str, object] = {}
    monkeypatch.setattr(download, "open_movielens", lambda name, root: (name, folder))
    monkeypatch.setattr("utils.open_movielens", download.open_movielens)
    exec(FIRST, names)
    return names


def test_there_is_a_block_for_every_title():
    assert len(BLOCKS) == len(TITLES) == 5


@pytest.mark.parametrize("block", BLOCKS, ids=TITLES)
def test_a_block_runs(block, start, capsys):
    if "stable_baselines3" in block:
        pytest.importorskip("stable_baselines3")
    before = dict(STATES)
    try:
        exec(block, start)
    finally:
        for name in set(STATES) - set(before):
            del STATES[name]
    assert capsys.readouterr().out


@pytest.mark.parametrize("block", BLOCKS, ids=TITLES)
def test_a_block_is_short(block):
    lines = [line for line in block.splitlines() if line.strip()]
    assert len(lines) <= 30
