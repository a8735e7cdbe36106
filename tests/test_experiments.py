"""The registry: every variant differs from its parent in the one field that it names."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from recsys_rl.agent.config import OWN_DROPOUT, Config, paths
from recsys_rl.experiments import BUDGETS, NAMES, ROOTS, VARIANTS, config_of, root_of

ROOT = Path(__file__).parent.parent


def flat(config) -> dict[str, object]:
    found = {}
    for name, value in asdict(config).items():
        inner = value if isinstance(value, dict) else {}
        found |= {f"{name}.{field}": each for field, each in inner.items()} or {name: value}
    return found


@pytest.mark.parametrize("dataset", BUDGETS)
@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_changes_the_one_field_that_it_names(name, dataset):
    parent, field, value = VARIANTS[name]
    mine, other = flat(config_of(name, dataset, 3)), flat(config_of(parent, dataset, 3))
    assert [path for path in paths() if mine[path] != other[path]] == [field]
    assert mine[field] == value
    assert mine["seed"] == 3


def test_every_name_leads_to_a_root_that_has_a_budget_for_every_data_set():
    assert {root_of(name) for name in NAMES} == set(ROOTS)
    assert all(set(budgets) == set(ROOTS) for budgets in BUDGETS.values())


def test_an_unknown_agent_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="there is no agent 'DRR-sat': choose among DRR-ave, "):
        config_of("DRR-sat")


RELEASED = {
    "ml-1m": "DRR-set-no-holdout-gamma-0",  # three suggestions need no critic that looks ahead
    "ml-100k": "DRR-set-no-holdout-gamma-0",
    "ml-latest-small": "DRR-set",
    "ml-1m-next": "DRR-seq",
    "ml-1m-next-clock": "DRR-seq-clock",
    "ml-100k-next": "DRR-seq",
}


@pytest.mark.parametrize(("folder", "name"), RELEASED.items())
def test_the_released_agents_have_the_configuration_of_the_registry(folder, name):
    release = json.loads((ROOT / "models" / folder / "config.json").read_text(encoding="utf-8"))
    assert Config.from_dict(release["config"]) == config_of(name, release["dataset"])


def test_another_data_set_takes_the_budget_of_the_nearest():
    assert config_of("DRR-set", "ml-latest-small") == config_of("DRR-set", "ml-100k")
    assert config_of("DRR-set", "my-films") == config_of("DRR-set", "ml-1m")


def test_dropout_is_halved_for_large_sets_alone() -> None:
    assert config_of("DRR-seq", "ml-1m").state.dropout == 0.1
    assert config_of("DRR-seq", "ml-10m").state.dropout == 0.1
    for name, dataset in (("DRR-seq", "ml-100k"), ("DRR-seq-clock", "ml-1m"), ("DRR-ave", "ml-1m")):
        assert config_of(name, dataset).state.dropout == OWN_DROPOUT
    assert config_of("DRR-seq").with_field("state.name", "DRR-u").state.dropout == OWN_DROPOUT
