"""A trained agent becomes a release: its actor, its configuration, its figures and a model card."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from recsys_rl.agent.ddpg import DDPG
from recsys_rl.data.download import SOURCES
from recsys_rl.data.interactions import Interactions, fingerprint
from recsys_rl.data.likes import POSITIVE
from recsys_rl.release_config import refuse_wide
from recsys_rl.release_files import CARD, CURVE, FORMAT, as_bytes, refuse_heavy, refuse_large
from recsys_rl.serving import Recommender


def release(
    agent: DDPG,
    log: Interactions,
    folder: str | Path,
    *,
    dataset: str,
    command: str,
    protocol: str,
    metrics: dict[str, Any],
    history: pd.DataFrame | None = None,
) -> Recommender:
    """Write the agent's actor to `folder` with all that is needed to use, check and remake it.

    log: the rows it was trained on. metrics, protocol: what was measured, and how. history: losses
    and validation by update, for `training.csv`. ValueError where weights are no finite numbers,
    FolderInUse where somebody else has been writing there for a minute.
    """
    positives = torch.bincount(log.item[log.rating >= POSITIVE], minlength=log.n_items)
    config = {
        "format": FORMAT,
        "dataset": dataset,
        "config": agent.config.to_dict(),
        "protocol": protocol,
        "metrics": metrics,
        "command": command,
        "fingerprint": fingerprint(log),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "n_users": log.n_users,  # the index of somebody unknown
        "n_train_users": int((log.offsets.diff() > 0).sum()),
        "item_ids": log.item_ids.ids.tolist(),
        "positive_counts": positives.tolist(),
    }
    recommender, folder = Recommender(agent.actor, log.item_ids, config), Path(folder)
    curve = "" if history is None else history.to_csv(index=False, float_format="%.6g")
    card = model_card(config, folder.resolve().name)
    recommender.write(folder, {CARD: as_bytes(card), CURVE: curve.encode()})
    return recommender


def refuse_long_ids(log: Interactions) -> None:
    """ValueError, before a training, where a release would have no room for the ids."""
    refuse_wide(log.item_ids.ids.tolist())
    lists = {"item_ids": log.item_ids.ids.tolist(), "positive_counts": [log.n_users] * log.n_items}
    refuse_large(len(as_bytes(json.dumps(lists, indent=1, ensure_ascii=False))))


def refuse_large_weights(agent: DDPG) -> None:
    """ValueError, before a training, where no reader would take the weights."""
    tensors = agent.actor.state_dict().values()
    refuse_heavy(sum(tensor.numel() * tensor.element_size() for tensor in tensors))


def model_card(config: dict[str, Any], name: str) -> str:
    """What the agent is for, what it was trained on, how good it is, in Markdown."""
    rows = "\n".join(f"| {metric} | {value} |" for metric, value in config["metrics"].items())
    movielens = config["dataset"] in SOURCES
    return f"""# {name}

A DDPG agent with the state {config["config"]["state"]["name"]}, trained on \
{"MovieLens" if movielens else "data of its maker's own"}
({config["dataset"]}): films that someone liked go in, films they may like come out. Read it with
`classes.Recommender.load`.

- Made by: `{config["command"]}`, seed {config["config"]["seed"]}, PyTorch
  {config["versions"]["torch"]}
- Trained on: {len(config["item_ids"]):,} films, {config["n_train_users"]:,} users
- Training rows, SHA-256: `{config["fingerprint"]}`
- Evaluated by: {config["protocol"]}

| metric | value |
|---|---|
{rows}

{OF_MOVIELENS if movielens else OF_OTHERS}
"""


OF_MOVIELENS = """\
Not for commercial use: the weights derive from MovieLens, whose licence forbids it. People who rate
on MovieLens are not everybody, and the films end where the data set does. Cite F. M. Harper and
J. A. Konstan, The MovieLens Datasets, ACM TiiS 5(4), 2015."""
OF_OTHERS = """\
The weights derive from these data: what their licence and their users allow holds for the weights,
too. The users in them are not everybody, and the films end where the data do."""
