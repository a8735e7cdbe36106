"""The notebook runs end to end on a tiny data set; the committed copy is whole and honest."""

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from recsys_rl.serving import Recommender
from tests.synthetic import write_movielens

ROOT = Path(__file__).parent.parent
SMALL = """
DATASET, DATA, MODELS, CHECKPOINTS = "ml-tiny", {data!r}, {models!r}, {checkpoints!r}
BUDGETS["ml-1m"] = {{"ave": (40, 12), "seq": (2, 6), "set": (20, 10)}}
SAMPLE, THREADS = 40, 1
from recsys_rl.data import download
download.open_movielens = lambda name, root: (name, __import__("pathlib").Path(root) / name)
"""


def committed():
    return nbformat.read(ROOT / "recsys_rl.ipynb", as_version=4)


def code_cells(notebook):
    return [c for c in notebook.cells if c.cell_type == "code"]


def text_of(notebook):
    return "\n".join(
        output.get("text", "") or output.get("data", {}).get("text/plain", "")
        for cell in code_cells(notebook)
        for output in cell.outputs
    )


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebook")
    write_movielens(folder / "data" / "ml-tiny", "ml-1m", n_items=200)
    notebook = committed()
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    settings = next(
        i for i, c in enumerate(notebook.cells) if "parameters" in c.metadata.get("tags", [])
    )
    paths = {n: str(folder / n) for n in ("data", "models", "checkpoints")}
    notebook.cells.insert(settings + 1, nbformat.v4.new_code_cell(SMALL.format(**paths)))
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}}).execute()
    return notebook, folder


def test_runs_on_tiny_data_and_releases_two_agents(executed):
    notebook, folder = executed
    for name in ("ml-tiny", "ml-tiny-next"):
        recommender = Recommender.load(folder / "models" / name)
        assert len(recommender.recommend(recommender.item_ids[:2].tolist())) == 3
        metric = "reward@3" if name == "ml-tiny" else "ndcg@10"
        assert recommender.config["metrics"][metric] in text_of(notebook)
        assert (folder / "models" / name / "README.md").read_text().startswith(f"# {name}")
    assert not list((folder / "models").rglob("*.tmp"))


def test_every_model_has_a_row(executed):
    text = text_of(executed[0])
    for label in (
        "popularity",
        "EASE",
        "DRR-ave, untrained",
        "DRR-seq, + DDPG",
        "pure DDPG",
        "oracle",
    ):
        assert label in text


def test_shows_its_plots(executed):
    images = [
        output
        for cell in code_cells(executed[0])
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert len(images) >= 5


def test_committed_copy_was_run_from_top_to_bottom_without_error():
    cells = code_cells(committed())
    assert [c.execution_count for c in cells] == list(range(1, len(cells) + 1))
    assert not [o for c in cells for o in c.outputs if o.output_type == "error"]


FIGURES = {
    "": ("reward@3", "reward@10", "reward@20", "reward@40"),
    "-next": ("hr@10", "ndcg@10", "sampled_hr@10", "sampled_ndcg@10"),
}


@pytest.mark.parametrize("suffix", FIGURES)
def test_figures_agree_in_notebook_readme_and_released_config(suffix):
    config = json.loads((ROOT / "models" / f"ml-1m{suffix}" / "config.json").read_text())
    readme, shown = (ROOT / "README.md").read_text(), text_of(committed())
    card = (ROOT / "models" / f"ml-1m{suffix}" / "README.md").read_text()
    for metric in FIGURES[suffix]:
        figure = config["metrics"][metric]
        assert figure in shown
        assert figure in readme
        assert figure in card
