"""The numpy form of the released agents against the one that is trained."""

from __future__ import annotations

import copy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_serving import ids_of, released
from toys import histories_of

from recsys_rl.baselines.gaussian import GaussianLikes
from recsys_rl.data.histories import SHOWN
from recsys_rl.next_question import next_question
from recsys_rl.serving import Recommender
from recsys_rl.set_scorer import NOISE, Answers, SetScorer, expected_shapes

ROOT = Path(__file__).parent.parent
MODELS = [path for path in ("ml-1m", "ml-100k") if (ROOT / "models" / path).is_dir()]


def people_of(n_items: int, count: int, seed: int = 0) -> list[Answers]:
    """0 to 120 answers each, more than any memory holds; some like all, some nothing."""
    rng = np.random.default_rng(seed)
    people = []
    for _ in range(count):
        items = rng.permutation(n_items)[: rng.integers(min(121, n_items))].tolist()
        likes = rng.binomial(len(items), rng.choice([0, 0.3, 0.8, 1]))
        people.append(Answers(items[:likes], items[likes:]))
    return people


def in_torch(model: Recommender, people: list[Answers]) -> tuple[np.ndarray, np.ndarray]:
    """As it is used, in single precision, and in double precision."""
    pairs = [
        [(item, 5.0) for item in liked] + [(item, SHOWN) for item in rejected]
        for liked, rejected in people
    ]
    histories = histories_of(*pairs, n_items=len(model.item_ids))
    single = model.score(histories).numpy()
    double = copy.deepcopy(model.actor)
    linear = double.linear.model  # a deep copy of it is itself
    parts = linear.item_vectors[:, -1], linear.item_vectors[:, :-1], linear.noise
    double.linear.model = GaussianLikes(*parts, linear.memory)
    torch.set_default_dtype(torch.float64)
    try:
        histories = replace(histories, rating=histories.rating.double())
        return single, double.double().score(histories).numpy()
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", MODELS)
def test_scores_are_those_of_the_form_that_is_trained(name: str) -> None:
    model = Recommender.load(ROOT / "models" / name)
    people = people_of(len(model.item_ids), 1000)
    found = model.scores_of(people)
    assert found.dtype == np.float32
    single, double = in_torch(model, people)
    assert np.abs(found - double).max() < 1e-5
    assert np.abs(found - single).max() < 1e-5 * np.abs(single).max()


def test_toys_score_alike(tmp_path: Path) -> None:
    model, _ = released(tmp_path, "DRR-set")
    people = people_of(20, 200)
    assert np.abs(model.scores_of(people) - in_torch(model, people)[1]).max() < 1e-5


def test_a_further_input_of_the_first_layer_is_0_here(tmp_path: Path) -> None:
    released(tmp_path, "DRR-set")
    weights = {k: v.numpy() for k, v in load_file(tmp_path / "weights.safetensors").items()}
    people = people_of(20, 5)
    before = SetScorer(weights, 7).scores(people)
    read = weights["state.read.weight"][:, : 2 * 6 + 2]
    for further in (0, 1):
        columns = np.full((len(read), further), 9, np.float32)
        changed = weights | {"state.read.weight": np.hstack([read, columns])}
        assert np.array_equal(SetScorer(changed, 7).scores(people), before)
        claimed = {name: ("F32", list(array.shape)) for name, array in changed.items()}
        assert expected_shapes(6, 20, claimed) == claimed


def test_weights_that_are_changed_in_memory_count(tmp_path: Path) -> None:
    released(tmp_path, "DRR-set")
    model = Recommender.load(tmp_path)
    before = model.scores([ids_of(1, 2)])
    assert np.array_equal(Recommender.load(tmp_path).scores([ids_of(1, 2)]), before)
    with torch.no_grad():
        model.actor.state.skip_weight += 1
    assert not np.array_equal(model.scores([ids_of(1, 2)]), before)


def test_dislikes_count_and_what_was_seen_is_only_left_out(tmp_path: Path) -> None:
    model, _ = released(tmp_path, "DRR-set")
    plain = model.recommend(ids_of(1, 2), 18)
    seen = model.recommend(ids_of(1, 2), 16, seen=ids_of(3, 4))
    assert seen == [pair for pair in plain if pair[0] not in ids_of(3, 4)]
    disliked = model.recommend(liked=ids_of(1, 2), disliked=ids_of(3, 4), k=16)
    assert not {item for item, _ in disliked} & set(ids_of(1, 2, 3, 4))
    assert disliked != seen
    assert len(model.recommend(disliked=ids_of(3))) == 3
    with pytest.raises(ValueError, match="no item is named"):
        model.recommend()


def test_neither_torch_nor_pandas_is_needed(tmp_path: Path) -> None:
    released(tmp_path, "DRR-set")
    code = (
        "import sys\nfrom recsys_rl import Recommender\n"
        f"Recommender.load({str(tmp_path)!r}).recommend({ids_of(1, 2)})\n"
        "print({'torch', 'pandas'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("set()\n", "")


@pytest.mark.parametrize("name", MODELS)
def test_a_released_agent_knows_what_to_ask_next(name: str) -> None:
    model = Recommender.load(ROOT / "models" / name)
    askable = np.ones(len(model.item_ids), bool)
    first = model.next_question(Answers([]), askable)
    askable[first] = False
    assert model.next_question(Answers([]), askable) != first
    liked, rejected = (
        model.next_question(a, askable) for a in (Answers([first]), Answers([], [first]))
    )
    assert {liked, rejected} & {first} == set()
    few = np.zeros_like(askable)
    few[::40] = True  # a filter: what cannot be recommended is not worth a question
    scorer = model._scorer
    masks = {"askable": few, "recommendable": few}
    expected = next_question(scorer.gaussian, scorer.layers[NOISE], **masks)
    assert model.next_question(Answers([]), few) == expected
    assert (
        Recommender.load(ROOT / "models" / f"{name}-next").next_question(Answers([]), askable)
        is None
    )
