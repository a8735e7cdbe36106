"""The released agent: what goes into its folder comes out of it, what does not fit is refused."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from toys import SMALL, SMALL_SET, changed, random_log

from recsys_rl.agent.build import linear_model
from recsys_rl.agent.ddpg import DDPG
from recsys_rl.data.histories import SHOWN, Histories
from recsys_rl.data.interactions import Interactions, fingerprint
from recsys_rl.releasing import release
from recsys_rl.serving import Recommender
from recsys_rl.states.layers import PooledDropout
from recsys_rl.states.registry import STATES

MODELS = Path(__file__).resolve().parent.parent / "models"
METRICS = {"hr@10": "0.123 [0.120, 0.126]", "distinct items": 17}
HISTORY = pd.DataFrame({"update": [0, 1], "stage": ["start", "ddpg"], "reward": [None, 0.125]})


@pytest.fixture(autouse=True)
def _small_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PooledDropout, "SIZE", 2**12)


def agent_of(name: str = "DRR-ave", seed: int = 0) -> tuple[DDPG, Interactions]:
    """An agent whose vectors are long enough for every item of a history to be felt; DRR-set with
    its Gaussian, and a gate that is not the one it starts with."""
    log = random_log()
    config = SMALL_SET if name == "DRR-set" else changed(SMALL, {"state.name": name, "state.n": 4})
    config = changed(config, {"state.embeddings": "random", "seed": seed})
    linear = linear_model(config, log, torch.Generator().manual_seed(seed))
    agent = DDPG(config, log.n_users, log.n_items, linear=linear)
    with torch.no_grad():
        for label, parameter in agent.actor.named_parameters():
            parameter *= 10 if "vectors" in label else 1
        if agent.actor.linear is not None:
            agent.actor.linear.gate += 0.5
    return agent, log


def released(folder: Path, name: str = "DRR-ave", seed: int = 0) -> tuple[Recommender, DDPG]:
    agent, log = agent_of(name, seed)
    recommender = release(
        agent,
        log,
        folder,
        dataset="toys",
        command="make toys",
        protocol="leave one out on toys",
        metrics=METRICS,
        history=HISTORY,
    )
    return recommender, agent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    released(tmp_path / "toys")
    return tmp_path / "toys"


def ids_of(*index: int) -> list[int]:
    """toys.log_of names item i 3 i + 2."""
    return [3 * i + 2 for i in index]


# ----------------------------------------------------------------------------- there and back


@pytest.mark.parametrize("name", list(STATES))
def test_a_loaded_recommender_scores_as_the_agent_did(name: str, tmp_path: Path) -> None:
    """To the last bit, and the same again after another save."""
    first, agent = released(tmp_path / "a", name)
    loaded = Recommender.load(tmp_path / "a")
    loaded.save(tmp_path / "b")
    again = Recommender.load(tmp_path / "b")
    histories = Histories(
        torch.tensor([0, 12]),
        torch.tensor([[20, 4, 2], [9, 8, 7]]),
        torch.tensor([[0.0, 4.5, 2.0], [5.0, SHOWN, 4.0]]),
    )
    expected = agent.score(histories)
    lists = [ids_of(4, 2), ids_of(*range(12))]  # the second is longer than any memory
    for recommender in (first, loaded, again):
        assert torch.equal(recommender.score(histories), expected)
        assert np.array_equal(recommender.scores(lists), first.scores(lists))
        assert np.array_equal(recommender.item_ids, 3 * np.arange(20) + 2)
    assert again.config == loaded.config
    for file in ("config.json", "weights.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_the_folder_holds_safetensors_and_json_and_no_pickle(folder: Path) -> None:
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["README.md", "config.json", "training.csv", "weights.safetensors"]
    json.loads((folder / "config.json").read_text(encoding="utf-8"))
    weights = load_file(folder / "weights.safetensors")
    assert all(value.isfinite().all() for value in weights.values())
    assert len(weights["state.user_vectors.weight"]) == 13, "the anonymous user goes along"
    for path in folder.iterdir():
        with pytest.raises((pickle.UnpicklingError, ValueError, EOFError, KeyError)):
            pickle.loads(path.read_bytes())


def test_release_writes_all_that_is_needed_to_use_check_and_remake_it(folder: Path) -> None:
    agent, log = agent_of()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["format"] == 2
    assert config["config"] == agent.config.to_dict()
    assert config["fingerprint"] == fingerprint(log)
    assert config["versions"]["torch"] == torch.__version__
    assert set(config["versions"]) == {"python", "torch", "numpy"}
    assert config["metrics"] == METRICS
    assert config["item_ids"] == ids_of(*range(20))
    assert config["n_users"] == 12
    assert config["n_train_users"] == len(set(log.user.tolist()))
    assert (config["dataset"], config["command"]) == ("toys", "make toys")
    positives = [
        sum(int(i) == item and r >= 4 for i, r in zip(log.item, log.rating, strict=True))
        for item in range(20)
    ]
    assert config["positive_counts"] == positives
    assert config["weights_sha256"] == sha256(folder / "weights.safetensors")


def test_the_learning_curve_goes_along(folder: Path) -> None:
    pd.testing.assert_frame_equal(pd.read_csv(folder / "training.csv"), HISTORY, check_dtype=False)


def test_users_without_a_training_row_are_no_training_users(tmp_path: Path) -> None:
    agent, log = agent_of()
    some = log.select(log.user % 3 == 0)
    texts = {"dataset": "toys", "command": "", "protocol": ""}
    made = release(agent, some, tmp_path, metrics={}, **texts)  # and without a learning curve
    assert (made.config["n_users"], made.config["n_train_users"]) == (12, 4)
    assert "4 users" in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert not (tmp_path / "training.csv").exists()


@pytest.mark.parametrize("dataset", ["ml-1m", "ml-latest-small", "toys", "my films"])
def test_the_model_card_says_whose_data_they_are(dataset: str, tmp_path: Path) -> None:
    agent, log = agent_of()
    release(agent, log, tmp_path, dataset=dataset, command="", protocol="", metrics={})
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert f"({dataset})" in card
    for words in ("MovieLens", "Harper", "Not for commercial use"):
        assert (words in card) == dataset.startswith("ml-")
    assert ("data of its maker's own" in card) != dataset.startswith("ml-")


def test_the_model_card_says_what_it_is(folder: Path) -> None:
    card = (folder / "README.md").read_text(encoding="utf-8")
    lines = card.splitlines()
    assert lines[0] == "# toys"
    assert "| hr@10 | 0.123 [0.120, 0.126] |" in lines
    assert "| distinct items | 17 |" in lines
    parts = "DRR-ave", "`make toys`", "seed 0", "leave one out on toys", "20 films", "12 users"
    for part in parts:
        assert part in card
    assert fingerprint(random_log()) in card
    assert "SHA-256" in card
    bullets = [line for line in lines if line.startswith("- ")]
    assert len(bullets) == 4
    assert not any(line.endswith(" -") for line in lines), "a bullet that was wrapped away"
    assert max(map(len, lines)) <= 110


# ------------------------------------------------------------------------------------ the ids


def test_ids_are_those_saved_with_the_weights(folder: Path) -> None:
    """Item 3 i + 2 is item i: whoever takes an id for an index, or counts from 1, is found out."""
    recommender = Recommender.load(folder)
    history = Histories(torch.tensor([12]), torch.tensor([[5, 7]]), torch.full((1, 2), 5.0))
    scores = recommender.actor.score(history)[0]
    scores[[5, 7]] = -torch.inf
    best = scores.argsort(descending=True)[:6]
    found = recommender.recommend(ids_of(5, 7), k=6)
    assert [item for item, _ in found] == ids_of(*best.tolist())
    assert [score for _, score in found] == pytest.approx(scores[best].tolist())
    assert all(type(item) is int and type(score) is float for item, score in found)


def test_a_history_is_that_of_an_unknown_user(folder: Path) -> None:
    """Not of user 0, not of the last one: row n_users, the anonymous one."""
    recommender = Recommender.load(folder)
    before = recommender.scores([ids_of(1, 2)])
    with torch.no_grad():
        recommender.actor.state.user_vectors.weight[:12] += 1
    assert np.array_equal(recommender.scores([ids_of(1, 2)]), before)
    with torch.no_grad():
        recommender.actor.state.user_vectors.weight[12] += 1
    assert not np.array_equal(recommender.scores([ids_of(1, 2)]), before)


@pytest.mark.parametrize("name", list(STATES))
def test_scores_do_not_depend_on_who_else_is_in_the_batch(name: str, tmp_path: Path) -> None:
    recommender, _ = released(tmp_path, name)
    lists = [ids_of(1), ids_of(1, 2, 3, 4, 5, 6), ids_of(9, 3), ids_of(1)]
    together = recommender.scores(lists)
    assert together.shape == (4, 20)
    assert together.dtype == np.float32
    for row, history in enumerate(lists):
        alone = recommender.scores([history])
        np.testing.assert_allclose(together[row], alone[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(together[0], together[3], rtol=1e-5, atol=1e-5)
    assert np.abs(together[0] - together[2]).max() > 1e-4


def test_only_the_latest_n_of_a_history_count(folder: Path) -> None:
    recommender = Recommender.load(folder)
    long, short = recommender.scores([ids_of(9, 8, 1, 2, 3, 4), ids_of(1, 2, 3, 4)])
    np.testing.assert_allclose(long, short, atol=1e-6)


# ------------------------------------------------------------------------------- recommending


@pytest.mark.parametrize("name", list(STATES))
@pytest.mark.parametrize("seeds", [[0], [3, 17], list(range(12))])
def test_never_a_seed_never_twice_always_k(name: str, seeds: list[int], tmp_path: Path) -> None:
    recommender, _ = released(tmp_path, name)
    left = 20 - len(seeds)
    for k in (1, 3, left):
        got = recommender.recommend(ids_of(*seeds), k)
        items = [item for item, _ in got]
        assert len(items) == len(set(items)) == k
        assert not set(items) & set(ids_of(*seeds))
        assert set(items) <= set(recommender.item_ids.tolist())
        scores = [score for _, score in got]
        assert scores == sorted(scores, reverse=True)
        assert np.isfinite(scores).all()


def test_three_by_default_and_the_same_every_time(folder: Path) -> None:
    recommender = Recommender.load(folder)
    first = recommender.recommend(ids_of(4, 5))
    assert len(first) == 3
    assert recommender.recommend(ids_of(4, 5)) == first
    assert recommender.recommend(np.array(ids_of(4, 5))) == first


@pytest.mark.parametrize("k", [0, -1, 19, 10_000])
def test_k_that_cannot_be_had_is_an_error(k: int, folder: Path) -> None:
    with pytest.raises(ValueError, match=f"k must be between 1 and 18, not {k}"):
        Recommender.load(folder).recommend(ids_of(4, 5), k)


@pytest.mark.parametrize("k", [2.5, True, None, "3", 1.0])
def test_k_is_a_whole_number(k: object, folder: Path) -> None:
    with pytest.raises(ValueError, match="k must be between 1 and 18, not"):
        Recommender.load(folder).recommend(ids_of(4, 5), k)


@pytest.mark.parametrize(
    "items",
    [[[1, 2]], [2, [5]], np.array([[2]]), 2, "2", {2}, {2: 5}, None]
    + [[torch.tensor([2])], [frozenset([2])], [pd.Series([2])], pd.DataFrame({"a": [2]})],
    ids=lambda items: type(items).__name__,
)
def test_items_are_one_list(items: object, folder: Path) -> None:
    recommender = Recommender.load(folder)
    for named in (recommender.recommend, lambda it: recommender.scores([it])):
        with pytest.raises(ValueError, match="items are one list of ids"):
            named(items)
    with pytest.raises(ValueError, match="items are one list of ids"):
        recommender.recommend(ids_of(4), seen=items)


@pytest.mark.parametrize(
    ("item", "words"),
    [(1.5, "1.5"), (np.float64(2), "2.0"), ("2", "'2'"), (True, "True"), (None, "None")]
    + [(2**63, "9223372036854775808"), (2**64 - 1, "18446744073709551615")],
)
def test_an_id_of_another_kind_is_named(item: object, words: str, folder: Path) -> None:
    recommender = Recommender.load(folder)
    for call in (
        lambda: recommender.recommend([2, item]),
        lambda: recommender.recommend([2], seen=[item]),
        lambda: recommender.scores([[2], [item]]),
    ):
        with pytest.raises(TypeError, match=rf"integers of 64 bits, not .*{words}"):
            call()


def test_whole_numbers_in_any_list_are_ids(folder: Path) -> None:
    recommender = Recommender.load(folder)
    wanted = recommender.recommend([2, 5])
    for items in (np.array([2, 5], object), pd.Series([2, 5], index=[7, 9]), torch.tensor([2, 5])):
        assert recommender.recommend(items) == wanted


@pytest.mark.parametrize("name", ["DRR-ave", "DRR-seq-clock", "DRR-set"])
def test_nobody_has_no_scores(name: str, tmp_path: Path) -> None:
    recommender, _ = released(tmp_path, name)
    assert recommender.scores([]).shape == (0, 20)
    assert recommender.scores([], times=[], at=[]).shape == (0, 20)
    for histories in (None, 5, "ab", {2: [5]}):
        with pytest.raises(ValueError, match="histories are a list of lists of ids"):
            recommender.scores(histories)
    with pytest.raises(ValueError, match="times must be a list of times"):
        recommender.scores([[2]], times=5)


@pytest.mark.parametrize("path", [None, 3, b"toys", ["toys"]])
def test_a_folder_is_named_by_a_path(path: object, folder: Path) -> None:
    with pytest.raises(TypeError, match="a release is in a folder, named by its path"):
        Recommender.load(path)
    with pytest.raises(TypeError, match="a release is in a folder, named by its path"):
        Recommender.load(folder).save(path)


def test_an_item_is_not_liked_and_disliked(folder: Path) -> None:
    recommender = Recommender.load(folder)
    (item,) = ids_of(5)
    with pytest.raises(ValueError, match=f"^{item} is liked and disliked"):
        recommender.recommend(ids_of(4, 5), disliked=ids_of(5, 6))
    assert len(recommender.recommend(ids_of(4, 5), seen=ids_of(5))) == 3


def test_an_item_named_twice_is_one_seed(folder: Path) -> None:
    recommender = Recommender.load(folder)
    got = recommender.recommend(ids_of(4, 4, 5, 4), 18)
    assert len({item for item, _ in got}) == 18
    with pytest.raises(ValueError, match="between 1 and 18"):
        recommender.recommend(ids_of(4, 4, 5, 4), 19)


def test_unknown_ids_are_ignored_with_a_warning(folder: Path) -> None:
    """Index 3 is no id, nor is an id beyond the last, nor a negative one."""
    recommender = Recommender.load(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = recommender.recommend(ids_of(4, 5))
    unknown = [3, 10**9, -1]
    with pytest.warns(UserWarning, match=r"ignored: \[3, 1000000000, -1\]") as caught:
        assert recommender.recommend([3, *ids_of(4), 10**9, *ids_of(5), -1]) == expected
    assert len(caught) == 1
    with (
        pytest.warns(UserWarning, match="ignored"),
        pytest.raises(ValueError, match=r"knows none of these items: \[3, 1000000000, -1\]"),
    ):
        recommender.recommend(unknown)


def test_an_empty_history_is_an_error(folder: Path) -> None:
    with pytest.raises(ValueError, match="no item is named"):
        Recommender.load(folder).recommend([])


# ------------------------------------------------------------------------- what does not fit


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def edited(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


@pytest.mark.parametrize("name", ["config.json", "weights.safetensors"])
def test_a_missing_file_is_named(name: str, folder: Path) -> None:
    (folder / name).unlink()
    with pytest.raises(ValueError, match=f"holds no released agent.*{name}"):
        Recommender.load(folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere holds no released agent"):
        Recommender.load(tmp_path / "nowhere")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 10])
@pytest.mark.parametrize("name", ["config.json", "weights.safetensors"])
def test_a_damaged_file_is_a_clear_error(name: str, content: bytes, folder: Path) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{folder.name} is damaged"):
        Recommender.load(folder)


def test_a_cut_off_weights_file_is_a_clear_error(folder: Path) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="is damaged"):
        Recommender.load(folder)


@pytest.mark.parametrize("content", ["[]", "3", "null", '"a"', "{}", '{"format": 99}'])
def test_json_of_another_kind_is_a_clear_error(content: str, folder: Path) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(ValueError, match="has format .*, this code reads 2"):
        Recommender.load(folder)


def with_fields(folder: Path, **fields: object) -> dict:
    """The saved configuration with other fields of its state."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))["config"]
    return config | {"state": config["state"] | fields}


@pytest.mark.parametrize(
    "changes",
    [
        {"config": None},
        {"config": {"state": "nonsense"}},
        {"config": {"made_up": 1}},
        {"config": 7},
        {"k": "wide"},
        {"k": -3},
        {"made_up": 1},
        {"linear": "gaussian"},  # without a linear model in the weights
        {"n_users": None},
        {"n_users": "many"},
        {"item_ids": None},
        {"item_ids": ["a", 2]},
        {"item_ids": [5, 4, 3]},
        {"item_ids": [2, 2, 3]},
        {"item_ids": 7},
    ],
)
def test_a_config_that_makes_no_sense_is_a_clear_error(changes: dict, folder: Path) -> None:
    if not set(changes) & {"config", "n_users", "item_ids"}:
        changes = {"config": with_fields(folder, **changes)}
    edited(folder, **changes)
    with pytest.raises(ValueError, match="config in .* is damaged"):
        Recommender.load(folder)


def test_a_state_that_is_not_registered_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model with a state of one's own loads where the state is registered, else a sentence says
    what to do."""
    with monkeypatch.context() as patch:
        patch.setitem(STATES, "DRR-mine", type("Mine", (STATES["DRR-ave"],), {}))
        first, _ = released(tmp_path, "DRR-mine")
        again = Recommender.load(tmp_path)
        assert np.array_equal(again.scores([ids_of(1, 2)]), first.scores([ids_of(1, 2)]))
    with pytest.raises(ValueError, match="the state 'DRR-mine', which is not known") as refused:
        Recommender.load(tmp_path)
    assert "STATES" in str(refused.value)
    assert "damaged" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("DRR-ave", {"n_users": 13}),
        ("DRR-ave", {"item_ids": list(range(21))}),
        ("DRR-ave", {"k": 8}),
        ("DRR-ave", {"name": "DRR-att"}),
        ("DRR-set", {"item_ids": list(range(21))}),
        ("DRR-set", {"linear": ""}),
    ],
)
def test_weights_of_other_shapes_are_a_clear_error(
    name: str, changes: dict, tmp_path: Path
) -> None:
    released(tmp_path, name)
    if not set(changes) & {"n_users", "item_ids"}:
        changes = {"config": with_fields(tmp_path, **changes)}
    if "item_ids" in changes:
        changes = changes | {"positive_counts": [1] * 21}
    edited(tmp_path, **changes)
    with pytest.raises(ValueError, match="weights in .* do not fit its config"):
        Recommender.load(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "weights.safetensors"])
def test_files_of_two_saves_do_not_mix(name: str, tmp_path: Path) -> None:
    """Both agents have the same shapes: only the hash can tell."""
    for seed in (0, 1):
        released(tmp_path / str(seed), seed=seed)
    (tmp_path / "0" / name).write_bytes((tmp_path / "1" / name).read_bytes())
    with pytest.raises(ValueError, match="mixes the weights of one save with the config of anoth"):
        Recommender.load(tmp_path / "0")


def test_a_config_without_the_hash_is_refused(folder: Path) -> None:
    edited(folder, weights_sha256=None)
    with pytest.raises(ValueError, match="mixes"):
        Recommender.load(folder)


def test_a_tensor_too_few_is_a_clear_error(folder: Path) -> None:
    weights = load_file(folder / "weights.safetensors")
    weights.pop("state.weight")
    save_file(weights, folder / "weights.safetensors")
    edited(folder, weights_sha256=sha256(folder / "weights.safetensors"))
    with pytest.raises(ValueError, match="do not fit its config"):
        Recommender.load(folder)


@pytest.mark.parametrize(
    "where",
    [
        "release_weights.tensors_of",
        "serving.json.dumps",
        "data.atomic_files.os.fsync",
        "data.atomic_files.os.replace",
    ],
)
def test_an_interrupted_save_leaves_the_old_agent(
    where: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Recommender.load(folder).scores([ids_of(1, 2)])
    other, _ = agent_of(seed=5)
    recommender = Recommender.load(folder)
    recommender.actor.load_state_dict(other.actor.state_dict())

    def cut(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"recsys_rl.{where}", cut)
        with pytest.raises(KeyboardInterrupt):
            recommender.save(folder)
    assert np.array_equal(Recommender.load(folder).scores([ids_of(1, 2)]), before)
    assert not list(folder.glob(".*")), "a temporary file"
    recommender.save(folder)
    assert not np.array_equal(Recommender.load(folder).scores([ids_of(1, 2)]), before)


@pytest.mark.parametrize(("step", "there"), [(1, "old"), (4, "old"), (5, "new")])
def test_a_save_cut_between_its_renames_leaves_a_whole_agent(
    step: int, there: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New weights beside the old, and that card and curve go; the new config; the plain name of the
    new weights."""
    agents = {"old": agent_of()[0], "new": agent_of(seed=5)[0]}
    recommender = Recommender.load(folder)
    recommender.actor.load_state_dict(agents["new"].actor.state_dict())
    replace, calls = os.replace, []

    def cut(*paths: Path) -> None:
        calls.append(paths)
        if len(calls) == step:
            raise KeyboardInterrupt
        replace(*paths)

    with monkeypatch.context() as patch:
        patch.setattr("recsys_rl.data.atomic_files.os.replace", cut)
        with pytest.raises(KeyboardInterrupt):
            recommender.save(folder)
    history = Histories(torch.tensor([12]), torch.tensor([[5, 7]]), torch.full((1, 2), 5.0))
    assert torch.equal(Recommender.load(folder).score(history), agents[there].score(history))
    recommender.save(folder)
    assert torch.equal(Recommender.load(folder).score(history), agents["new"].score(history))
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize(
    "folder", sorted(p.parent for p in MODELS.glob("*/config.json")), ids=lambda path: path.name
)
def test_the_agents_in_the_repository_load_and_recommend(folder: Path) -> None:
    recommender = Recommender.load(folder)
    counts = np.array(recommender.config["positive_counts"])
    assert len(counts) == len(recommender.item_ids)
    seeds = recommender.item_ids[counts.argsort()[-3:]].tolist()
    items = [item for item, _ in recommender.recommend(seeds)]
    assert len(set(items) - set(seeds)) == 3


def test_what_is_released_does_not_change_when_training_goes_on(tmp_path: Path) -> None:
    """The folder is written once; the agent in memory lives on."""
    _, agent = released(tmp_path / "toys")
    before = Recommender.load(tmp_path / "toys").scores([ids_of(1, 2)])
    with torch.no_grad():
        for parameter in agent.actor.parameters():
            parameter += 1
    assert np.array_equal(Recommender.load(tmp_path / "toys").scores([ids_of(1, 2)]), before)


def test_a_release_of_other_weights_loses_its_card(tmp_path: Path) -> None:
    folder = tmp_path / "toys"
    released(folder)
    again = Recommender.load(folder)
    again.save(folder)
    assert (folder / "README.md").exists()
    released(tmp_path / "other", seed=5)
    Recommender.load(tmp_path / "other").save(folder)
    assert not (folder / "README.md").exists()
    assert not (folder / "training.csv").exists()
    with pytest.raises(ValueError, match="not in an empty text"):
        again.save("")


def test_dislikes_that_an_agent_does_not_read_are_told(capsys: pytest.CaptureFixture) -> None:
    for name, told in (("ml-100k", 0), ("ml-100k-next", 1)):
        recommender = Recommender.load(Path(__file__).parent.parent / "models" / name)
        ids = recommender.item_ids[:5].tolist()
        for _ in range(2):
            recommender.recommend(ids[:2], disliked=ids[3:])
        assert capsys.readouterr().err.count("does not read dislikes") == told


@pytest.mark.parametrize(
    "odd",
    [
        torch.empty(2, dtype=torch.int64, device="meta"),
        torch.eye(2, dtype=torch.int64).to_sparse(),
    ],
)
def test_tensors_without_numbers_are_no_ids_and_no_times(odd: torch.Tensor, folder: Path) -> None:
    model = Recommender.load(folder)
    with pytest.raises(
        (TypeError, ValueError), match="integers of 64 bits, not|items are one list"
    ):
        model.recommend(odd)
    with pytest.raises(ValueError, match=r"times\[0\] must be a list of numbers of seconds"):
        model.scores([model.item_ids[:2].tolist()], times=[odd])
