"""The notebook runs end to end on a tiny data set; the committed copy was run and is whole."""

import json
import re
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

from classes import Recommender
from tests.synthetic import write_movielens

ROOT = Path(__file__).parent.parent
SMALL = """
DATASET, DATA, MODELS, CHECKPOINTS = "ml-tiny", {data!r}, {models!r}, {checkpoints!r}
THREADS = 1
short = {{"ddpg.updates": 6, "env.sessions": 32}}
CHANGES = {{
    "DRR-ave": short | {{"pretrain.updates": 20}},
    "DRR-set": short | {{"pretrain.updates": 10}},
    "user-leaves": short,
}}
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


def figures_of(notebook):
    outputs = [output.get("data", {}) for cell in code_cells(notebook) for output in cell.outputs]
    return [data["text/html"] for data in outputs if "<img " in data.get("text/html", "")]


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


def test_releases_two_agents_with_their_figures_and_curves(executed):
    notebook, folder = executed
    for name, metric in (("ml-tiny", "reward@3"), ("ml-tiny-ave", "ndcg@10")):
        recommender = Recommender.load(folder / "models" / name)
        assert len(recommender.recommend(recommender.item_ids[:2].tolist())) == 3
        assert recommender.config["metrics"][metric] in text_of(notebook)
        assert (folder / "models" / name / "README.md").read_text().startswith(f"# {name}")
        history = pd.read_csv(folder / "models" / name / "training.csv")
        assert history["update"].is_monotonic_increasing
        assert history[metric].notna().sum() >= 3  # before the first update, after each stage


def test_leaves_neither_checkpoints_nor_half_written_files(executed):
    _, folder = executed
    assert not [p for p in (folder / "checkpoints").iterdir() if p.suffix == ".ckpt"]
    assert not list(folder.rglob("*.tmp"))


def test_every_model_has_a_row(executed):
    text = text_of(executed[0])
    for label in (
        "popularity",
        "EASE",
        "DRR-ave, pretrained",
        "DRR-set, gate reset",
        "oracle",
        "list",
    ):
        assert label in text


def test_shows_its_plots_and_the_training_loop(executed):
    assert len(figures_of(executed[0])) >= 5
    assert "def ddpg_update(" in text_of(executed[0])


def test_every_committed_figure_has_words_for_those_who_cannot_see_it():
    assert len(figures_of(committed())) == 7
    for figure in figures_of(committed()):
        assert re.match(r'<img alt="[^"]{20,}" src="data:image/png;base64,', figure)


def test_a_session_is_played_in_a_cell(executed):
    assert "You might like" in text_of(executed[0])


def test_fits_a_lecture():
    cells = committed().cells
    words = sum(len(c.source.split()) for c in cells if c.cell_type == "markdown")
    assert 25 <= len(cells) <= 32
    assert words <= 2000
    assert max(len(c.source.splitlines()) for c in code_cells(committed())) <= 25
    assert all(c.metadata.get("slideshow") for c in cells)


def test_committed_copy_was_run_from_top_to_bottom_without_error():
    cells = code_cells(committed())
    assert [c.execution_count for c in cells] == list(range(1, len(cells) + 1))
    assert not [o for c in cells for o in c.outputs if o.output_type == "error"]


def test_committed_copy_releases_beside_the_models_of_the_project():
    settings = next(
        c for c in code_cells(committed()) if "parameters" in c.metadata.get("tags", [])
    )
    assert '"models/local"' in settings.source
    assert "models/local/" in (ROOT / ".gitignore").read_text()


@pytest.mark.parametrize("suffix", ["", "-next", "-next-clock"])
def test_the_card_of_a_released_agent_has_its_figures(suffix):
    folder = ROOT / "models" / f"ml-1m{suffix}"
    config = json.loads((folder / "config.json").read_text())
    card = (folder / "README.md").read_text()
    assert config["metrics"]
    assert all(str(figure) in card for figure in config["metrics"].values())


TRAINING = """
from toys import SMALL, changed, two_tastes
from recsys_rl.agent.build import build
from recsys_rl.agent.checkpoint import Checkpoints
from recsys_rl.agent.training import train
log = two_tastes()
config = changed(SMALL, {{"pretrain.updates": 200_000}})
started = lambda progress: progress.update == 5 and print("training", flush=True)
checkpoints = Checkpoints({folder!r}, "toy", config, log)
train(build(config, log), checkpoints=checkpoints, callbacks=(started,))
"""


def test_an_interrupt_stops_the_cell_with_a_checkpoint(tmp_path):
    manager, client = start_new_kernel(cwd=str(ROOT / "tests"))
    try:
        source = TRAINING.format(folder=str(tmp_path))
        asked = client.execute(source, stop_on_error=True)
        queued = client.execute("print('evaluated')")
        while client.get_iopub_msg(timeout=60)["content"].get("text") != "training\n":
            pass
        manager.interrupt_kernel()
        replies = {}
        while {asked, queued} - set(replies):
            message = client.get_shell_msg(timeout=60)
            replies[message["parent_header"]["msg_id"]] = message["content"]
        assert replies[asked]["ename"] == "Interrupted"
        assert "the checkpoint is" in replies[asked]["evalue"]
        assert replies[queued]["status"] == "aborted"
        assert list(tmp_path.glob("*.ckpt"))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
