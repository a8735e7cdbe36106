"""Arrows between the rooms of the package point one way, downwards."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "recsys_rl"
FLOORS = {
    "data": 1,
    "embeddings": 2,
    "release_files": 2,
    "set_scorer": 3,
    "next_question": 3,
    "states": 3,
    "envs": 3,
    "evaluation": 4,  # its protocols play sessions in environments
    "baselines": 5,
    "agent": 6,
    "experiments": 7,
    "tasks": 7,
    "release_config": 7,
    "release_weights": 8,
    "serving": 9,
    "releasing": 10,
    "train": 12,
    "train_command": 11,
    "command": 11,
}


def imports(source: str) -> list[str]:
    """Modules of the package that a source imports anywhere, for typing too."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return [name for name in found if name.split(".")[0] == "recsys_rl"]


def refused(room: str, imported: list[str]) -> list[str]:
    """Imports that run upwards, or into another room of the same floor."""
    rooms = {name: name.split(".")[1] for name in imported}
    return [
        name for name, other in rooms.items() if other != room and FLOORS[other] >= FLOORS[room]
    ]


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if p.name != "__init__.py")


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_downwards(path):
    assert refused(room_of(path), imports(path.read_text(encoding="utf-8"))) == []


def test_an_upward_import_is_found_even_for_typing():
    source = "if TYPE_CHECKING:\n    from recsys_rl.agent.ddpg import DDPG\n"
    assert refused("states", imports(source)) == ["recsys_rl.agent.ddpg.DDPG"]
    assert refused("states", imports("import recsys_rl.envs.base"))
    assert not refused("agent", imports("from recsys_rl.states import base"))


def test_no_two_files_import_each_other():
    files = {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in modules()}
    needs = {
        name: {
            found
            for imported in imports(path.read_text(encoding="utf-8"))
            for found in (imported, imported.rpartition(".")[0])
            if found in files
        }
        for name, path in files.items()
    }
    while ready := {name for name, others in needs.items() if not others & set(needs)}:
        needs = {name: others for name, others in needs.items() if name not in ready}
    assert not needs


def test_the_top_level_holds_three_python_files():
    assert {p.name for p in ROOT.glob("*.py")} == {"classes.py", "recommendation.py", "utils.py"}


@pytest.mark.parametrize("door", ["classes.py", "utils.py"])
def test_a_door_re_exports_and_nothing_else(door):
    docstring, *body = ast.parse((ROOT / door).read_text(encoding="utf-8")).body
    assert isinstance(docstring, ast.Expr)
    assert body
    assert all(isinstance(node, ast.ImportFrom) for node in body)


def test_no_file_reaches_for_its_own_import_path():
    for path in (*ROOT.glob("*.py"), *(ROOT / "benchmarks").glob("*.py"), *modules()):
        text = path.read_text(encoding="utf-8")
        assert "sys.path" not in text, path
        assert "E402" not in text, path
