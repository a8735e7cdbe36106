"""Every tensor and every generator that the package makes names its device."""

import ast
from pathlib import Path

import pytest
import torch

from benchmarks import evaluation_speed

PACKAGE = Path(__file__).parent.parent / "recsys_rl"
FACTORIES = {
    *("zeros", "ones", "full", "empty", "eye", "tensor", "as_tensor", "asarray", "scalar_tensor"),
    *("arange", "range", "linspace", "logspace", "tril_indices", "triu_indices", "empty_strided"),
    *("rand", "randn", "randint", "randperm", "normal", "complex", "polar", "vander"),
    *("sparse_coo_tensor", "sparse_csr_tensor", "hann_window", "cartesian_prod", "Generator"),
}
# these take no device: what they make is on the CPU
ON_CPU = {"from_numpy", "frombuffer", "from_dlpack", "Tensor", "FloatTensor", "LongTensor"}
# file: what stands there without a device, and why it may
ALLOWED = {
    "data/ids.py": {"from_numpy"},  # ids are looked up in numpy
    "serving.py": {"from_numpy"},  # answers of users, moved to the actor in the same line
    "baselines/ials.py": {"from_numpy"},  # of a library of the CPU, moved in the same line
    # askers of questions are small, and are fitted and asked on the CPU
    "agent/asking.py": {"zeros", "ones"},
    "agent/asking_training.py": {"Generator", "randint"},
    "baselines/asking_tree.py": {"arange", "tensor", "full", "zeros"},
}


def unnamed(source: str) -> list[tuple[str, int]]:
    """Factories of torch without `device=`, and where they stand.

    `**name` may hold it; a factory that is handed on and not called has none.
    """
    tree = ast.parse(source)
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "torch":
            names = {alias.name for alias in node.names} & (FACTORIES | ON_CPU - {"Tensor"})
            found += [(name, node.lineno) for name in sorted(names)]
        if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
            continue
        if node.value.id != "torch" or node.attr not in FACTORIES | ON_CPU:
            continue
        call = calls.get(id(node))
        if node.attr in ("Tensor", "Generator") and call is None:  # a type
            continue
        named = call is not None and any(k.arg in ("device", None) for k in call.keywords)
        if node.attr in ON_CPU or not named:
            found.append((node.attr, node.lineno))
    return found


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("torch.zeros(3)", ["zeros"]),
        ("torch.zeros(3, device=x.device)", []),
        ("torch.zeros(3, **whole)", []),
        ("map(torch.tensor, rows)", ["tensor"]),
        ("torch.Generator()", ["Generator"]),
        ("torch.Generator().manual_seed(0)", ["Generator"]),
        ("torch.Generator(device=there).manual_seed(0)", []),
        ("def f(g: torch.Generator) -> torch.Tensor: ...", []),
        ("torch.from_numpy(x)", ["from_numpy"]),
        ("from torch import arange", ["arange"]),
        ("from torch import Tensor", []),
        ("torch.zeros_like(x) + x.new_zeros(3)", []),
    ],
)
def test_the_search_finds_what_names_no_device(line: str, names: list[str]) -> None:
    assert [name for name, _ in unnamed(line)] == names


def test_every_factory_and_generator_names_its_device() -> None:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        for factory, line in unnamed(path.read_text(encoding="utf-8")):
            if factory not in ALLOWED.get(name, set()):
                found[f"{name}:{line}"] = factory
    assert found == {}


def test_what_is_allowed_is_there() -> None:
    for name, allowed in ALLOWED.items():
        assert allowed == {each for each, _ in unnamed((PACKAGE / name).read_text("utf-8"))}


@pytest.mark.parametrize("name", ["gpu", "cuda"])
def test_a_benchmark_says_which_devices_there_are(
    name: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as ended:
        evaluation_speed.main(["--device", name])
    assert ended.value.code == 2
    assert "argument --device: " in (said := capsys.readouterr().err)
    assert "there is cpu" in said or "is one of auto, cpu, cuda, mps, not 'gpu'" in said
