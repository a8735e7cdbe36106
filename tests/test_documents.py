"""Links between the documents, and from the notebook, lead somewhere."""

import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "recsys_rl.ipynb",
    *sorted(ROOT.glob("data/*.md")),
    *sorted(ROOT.glob("models/*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]


def prose(document: Path) -> str:
    if document.suffix != ".ipynb":
        return document.read_text(encoding="utf-8")
    cells = nbformat.read(document, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def anchors(document: Path) -> set[str]:
    """Of its headings, as Markdown viewers name them."""
    headings = re.findall(r"^#+ (.+)$", prose(document), flags=re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in kept}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_links_lead_to_files_and_headings(document):
    missing = []
    for link in re.findall(r"\]\(([^)\s]+)[^)]*\)", prose(document)):
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        if "://" in link:
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(link)
    assert missing == []


def test_every_exercise_of_the_notebook_has_its_answer():
    named = re.findall(r"\(exercises? ([^)]*)\)", prose(ROOT / "recsys_rl.ipynb"))
    numbers = {n for text in named for n in re.findall(r"\d+", text)}
    answers = re.findall(r"^## (\d+)\.", prose(ROOT / "docs" / "exercises.md"), flags=re.MULTILINE)
    assert numbers == set(answers)


def test_the_readme_is_short():
    assert 700 <= len(prose(ROOT / "README.md").split()) <= 900
