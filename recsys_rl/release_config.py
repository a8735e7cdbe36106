"""The `config.json` of a release, of unknown origin: what may be believed of it.

This file needs no PyTorch.
"""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path
from typing import Any

from recsys_rl.agent.config import Config, filled
from recsys_rl.data.ids import IdMap
from recsys_rl.release_files import UnknownRelease, short

MOST_USERS = 2**40  # the index of somebody unknown must fit into a tensor
MOST_CHARACTERS = 2**24  # of all item ids that are text, each as long as the longest
# what is registered where nobody has registered anything, known without PyTorch
OWN_STATES = frozenset(
    {"DRR-p", "DRR-u", "DRR-ave", "DRR-att", "DRR-seq", "DRR-seq-clock", "DRR-set"}
    | {"affected", "belief", "no-belief"}
)
OWN_LINEAR = frozenset({"gaussian"})
# what else a config may hold, and of which type it is then
TEXTS, OBJECTS = ("dataset", "protocol", "command", "fingerprint"), ("metrics", "versions")


class UnknownState(UnknownRelease):
    """A released agent has a state or a linear model that is not registered here: no damage."""


def refuse_unregistered(
    folder: Path, config: dict[str, Any], states: Set[str], linear: Set[str]
) -> None:
    """UnknownState where something has a name that is none of these."""
    parts = config.get("config")
    state = parts.get("state") if isinstance(parts, dict) else None
    if not isinstance(state, dict):
        return
    for kind, field, known, registry in (
        ("state", "name", states, "recsys_rl.states.registry.STATES"),
        ("linear model", "linear", {"", *linear}, "recsys_rl.baselines.registry.LINEAR_MODELS"),
    ):
        name = state.get(field)
        if isinstance(name, str) and name not in known:
            raise UnknownState(
                f"{folder} was made with the {kind} {short(name)}, which is not known here: "
                f"register it in {registry} before loading"
            )


def checked(config: dict[str, Any]) -> tuple[Config, IdMap]:
    """The configuration and the item ids; ValueError if anything is not what it should be."""
    saved = config.get("config")
    parts = Config.from_dict(saved)
    if filled(parts.to_dict()) != filled(saved):
        raise ValueError(
            "the configuration holds text where numbers should be, or fields that are never saved"
        )
    n_users, ids = config.get("n_users"), config.get("item_ids")
    if type(n_users) is not int or not 0 <= n_users <= MOST_USERS:
        raise ValueError(f"n_users must be a number of users, not {short(n_users)}")
    if not (_whole_numbers(ids) or _texts(ids)) or not ids:
        raise ValueError(f"item_ids must be a list of whole numbers or of texts, not {short(ids)}")
    refuse_wide(ids)
    counts = config.get("positive_counts")
    if counts is not None and not _whole_numbers(counts):
        raise ValueError(f"positive_counts must be a list of whole numbers, not {short(counts)}")
    if counts is not None and (len(counts) != len(ids) or min(counts) < 0):
        raise ValueError(
            f"positive_counts must be {len(ids)} numbers of likes, as many as there are item_ids, "
            f"not {short(counts)}"
        )
    for names, kind, words in ((TEXTS, str, "text"), (OBJECTS, dict, "an object")):
        for name in names:
            if not isinstance(config.get(name, kind()), kind):
                raise ValueError(f"{name} must be {words}, not {short(config[name])}")
    return parts, IdMap(ids)


def _whole_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(
        type(value) is int and -(2**63) <= value < 2**63 for value in values
    )


def _texts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is str for value in values)


def refuse_wide(ids: list[int] | list[str]) -> None:
    """ValueError where a table of texts, as wide as the longest, would take too much memory."""
    longest = max((len(each) for each in ids if isinstance(each, str)), default=0)
    if len(ids) * longest > MOST_CHARACTERS:
        raise ValueError(
            f"{len(ids):,} item ids of up to {longest:,} characters make too wide a table: give "
            "the items shorter ids"
        )
