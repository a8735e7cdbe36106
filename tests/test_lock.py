"""`requirements.lock` holds every package of the tree but torch and this one, with hashes."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
LEFT_OUT = {"torch", "recsys-rl"}


def locked() -> dict[str, set[str]]:
    """Name -> versions; several where they differ by platform or Python."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)", LOCK, re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


def asked() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    readable = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    lines = [line.partition("#")[0].strip() for line in readable if not line.startswith("-e")]
    lines += project["dependencies"]
    lines += [text for extra in project["optional-dependencies"].values() for text in extra]
    found = [Requirement(line) for line in lines if line]
    return [requirement for requirement in found if not requirement.url]  # a sentence for pip


def test_the_lock_keeps_what_is_asked_for() -> None:
    found = locked()
    for requirement in asked():
        name = canonicalize_name(requirement.name)
        if name not in LEFT_OUT:
            assert found[name]
            assert all(version in requirement.specifier for version in found[name]), requirement


def test_the_lock_is_the_whole_tree() -> None:
    """Followed through the packages that are installed as they are locked."""
    found, seen, ahead = locked(), set(), {"torch", *map(canonicalize_name, locked())}
    assert LEFT_OUT.isdisjoint(found)
    while ahead:
        seen.add(name := ahead.pop())
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # of another platform
            continue
        if package.version not in found.get(name, set()) and name != "torch":
            continue
        for requirement in map(Requirement, package.requires or []):
            needed = canonicalize_name(requirement.name)
            wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            torchs_own = name == "torch" and re.match("nvidia|cuda|triton|intel|tbb", needed)
            if wanted and needed not in LEFT_OUT and not torchs_own:
                assert needed in found, f"{name} needs {needed}"
                ahead |= {needed} - seen


def test_every_entry_has_hashes_and_no_address() -> None:
    entries = re.split(r"^(?=[a-z0-9])", LOCK, flags=re.MULTILINE)[1:]
    assert len(entries) > 100
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in LOCK
