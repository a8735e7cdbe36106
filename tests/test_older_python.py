"""An older Python, or one in which nothing is installed, is refused in one sentence."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FIRST = ["recommendation.py", "classes.py", "utils.py", "recsys_rl/__init__.py"]
CALLS = {
    "command": "runpy.run_path('recommendation.py', run_name='__main__')",
    "training": "sys.argv = ['-m']; import recsys_rl",  # as Python does for -m recsys_rl.train
}
IMPORTS = ["import recsys_rl", "import classes", "import recsys_rl.data.films"]
OLD = "sys.version_info = (3, 9, 18, 'final', 0)"
BARE = "sys.modules['gymnasium'] = None"  # what an environment without it does


def run(code: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", f"import runpy, sys\n{code}"]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)


@pytest.mark.parametrize("name", FIRST)
def test_older_ones_can_read_the_files_that_they_meet_first(name: str) -> None:
    source = (ROOT / name).read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 7))


def test_the_limit_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == ">=3.11"
    first = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()[0]
    assert "Python-3.11-or-newer-is-needed" in first
    assert 'python_version < "3.11"' in first


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    ("trouble", "words"),
    [(OLD, "Python 3.11 or newer is needed, and this is 3.9: "), (BARE, "gymnasium")],
    ids=["old", "bare"],
)
def test_the_commands_say_it_in_one_sentence(call: str, trouble: str, words: str) -> None:
    done = run(f"{trouble}\n{call}")
    assert done.returncode == 2
    assert words in done.stderr
    assert "README.md" in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize("statement", IMPORTS)
def test_an_import_is_one_error(statement: str) -> None:
    done = run(f"{OLD}\n{statement}")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: Python 3.11 or newer is needed, and this is 3.9: ")
    assert "During handling" not in done.stderr
