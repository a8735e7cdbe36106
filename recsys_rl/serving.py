"""The released agent: items in, items out, and the folder that it is kept in."""

from __future__ import annotations

import hashlib
import json
import platform
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save
from torch import Tensor

from recsys_rl.agent.ddpg import DDPG
from recsys_rl.agent.networks import Actor
from recsys_rl.data.download import SOURCES
from recsys_rl.data.histories import POSITIVE, Histories
from recsys_rl.data.interactions import Id, IdMap, Interactions, fingerprint
from recsys_rl.release_files import (
    CARD,
    CURVE,
    FORMAT,
    WEIGHTS,
    BadRelease,
    read_release,
    write_release,
)
from recsys_rl.restoring import UnknownState as UnknownState
from recsys_rl.restoring import checked, expected_tensors, restored, tensors_of


class Recommender:
    """A trained actor for users it has never met: items in, items out, by id.

    The folder holds `weights.safetensors`, `config.json` (configuration, item ids, fingerprint of
    the data, metrics, versions, the command that makes it again) and `training.csv`. Reading them
    runs no code from any file. Processes that are forked once a model is loaded may use it, each
    with one thread.
    """

    def __init__(self, actor: Actor, item_ids: IdMap, config: dict[str, Any]) -> None:
        self.actor, self._ids, self.config = actor.eval(), item_ids, config
        self.n_users = config["n_users"]

    @property
    def item_ids(self) -> np.ndarray:
        """Ids in index order, int64 or str [n_items]."""
        return self._ids.ids

    @classmethod
    def load(cls, folder: str | Path) -> Recommender:
        """Rebuild the actor from its folder, on the CPU, whatever the default device.

        ValueError in a sentence: BadRelease where files are missing or damaged, UnknownRelease
        where something is not known here. Before memory is spent, all sizes are compared.
        """
        folder = Path(folder)
        with torch.device("cpu"):
            config, content = read_release(folder, lambda *found: expected_tensors(folder, *found))
            actor, ids = restored(folder, config, content)
        return cls(actor, ids, config)

    def save(self, folder: str | Path) -> None:
        """Replace weights and config in a folder: whatever interrupts it, one of both releases is
        there, whole. ValueError where the weights are no finite numbers."""
        self._write(Path(folder), {})

    def _write(self, folder: Path, files: dict[str, bytes]) -> None:
        weights = save(tensors_of(self.actor))
        config = self.config | {
            "format": FORMAT,
            "item_ids": self._ids.ids.tolist(),
            "weights_sha256": hashlib.sha256(weights).hexdigest(),
        }
        checked(config)  # what could not be loaded is not written
        text = json.dumps(config, indent=1, ensure_ascii=False) + "\n"
        folder.mkdir(parents=True, exist_ok=True)
        write_release(folder, text, {WEIGHTS: weights} | files)

    def score(self, histories: Histories) -> Tensor:
        """The form every evaluation takes: histories by index -> float32 [B, n_items].

        BadRelease where the weights are so large that scores are no numbers.
        """
        try:
            with torch.device(self.actor.item_vectors.device):
                scores = self.actor.score(histories)
            if scores.isfinite().all():
                return scores
        except torch.linalg.LinAlgError:  # of the linear model
            pass
        raise BadRelease("the weights of this agent are damaged: its scores are no numbers")

    def scores(self, histories: Sequence[Sequence[Id]]) -> np.ndarray:
        """B lists of liked items (ids, oldest first) -> float32 [B, n_items].

        Every history is that of an unknown user. Ids the model does not know are ignored with a
        warning; a history with no known id is a ValueError.
        """
        known = [self._known(history) for history in histories]
        width = max(map(len, known), default=1)
        item = np.full((len(known), width), len(self._ids))
        for row, index in enumerate(known):
            item[row, width - len(index) :] = index
        rating = np.where(item < len(self._ids), 5, 0).astype(np.float32)
        anonymous = np.full(len(known), self.n_users)
        device = self.actor.item_vectors.device
        columns = (torch.from_numpy(column).to(device) for column in (anonymous, item, rating))
        return self.score(Histories(*columns)).cpu().numpy()

    def _known(self, history: Sequence[Id]) -> list[int]:
        index = self._ids.index(history)
        named = np.asarray(history, object).tolist()  # numbers of numpy as those of Python
        unknown = [item for item, place in zip(named, index, strict=True) if place < 0]
        if unknown:
            warnings.warn(f"items the model does not know are ignored: {unknown}", stacklevel=4)
        if not (index >= 0).any():
            raise ValueError(f"the model knows none of these items: {named}")
        known = index[index >= 0].tolist()
        return list(dict.fromkeys(reversed(known)))[::-1]  # the latest of repeats

    def recommend(self, history: Sequence[Id], k: int = 3) -> list[tuple[Id, float]]:
        """The k best items for someone who liked `history` -> [(id, score)], best first.

        Never an item of the history, never one twice, always k; ValueError if k are not left.
        """
        scores = torch.from_numpy(self.scores([history])[0])
        index = self._ids.index(history)
        seeds = index[index >= 0]
        scores[seeds] = -torch.inf
        left = len(scores) - len(seeds.unique())
        if not 1 <= k <= left:
            raise ValueError(f"k must be between 1 and {left}, not {k}")
        top = scores.topk(k)
        return list(zip(self._ids.id(top.indices).tolist(), top.values.tolist(), strict=True))


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
    recommender._write(folder, {CARD: card.encode(), CURVE: curve.encode()})
    return recommender


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
