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
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from recsys_rl.agent.config import Config
from recsys_rl.agent.ddpg import DDPG
from recsys_rl.agent.networks import Actor
from recsys_rl.baselines.gaussian import GaussianLikes
from recsys_rl.data.files import write_atomically
from recsys_rl.data.histories import POSITIVE, Histories
from recsys_rl.data.interactions import Id, IdMap, Interactions, fingerprint
from recsys_rl.states.linear import GatedLinear
from recsys_rl.states.registry import STATES

FORMAT = 2


class UnknownState(ValueError):
    """A released agent has a state that is not registered here: no damage."""


class Recommender:
    """A trained actor for users it has never met: items in, items out, by id.

    The folder holds `weights.safetensors`, `config.json` (configuration, item ids, fingerprint of
    the data, metrics, versions, the command that makes it again) and `training.csv`. Reading them
    runs no code from any file.
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
        """Rebuild the actor from its folder; ValueError, in a sentence, where that cannot be."""
        folder = Path(folder)
        try:
            text = (folder / "config.json").read_text(encoding="utf-8")
            content = (folder / "weights.safetensors").read_bytes()
            config, weights = json.loads(text), load(content)
        except OSError as error:
            raise ValueError(f"{folder} holds no released agent: {error}") from None
        except (ValueError, SafetensorError) as error:  # neither JSON nor UTF-8; not safetensors
            raise ValueError(f"{folder} is damaged: {error}") from None
        found = config.get("format") if isinstance(config, dict) else None
        if found != FORMAT:
            raise ValueError(f"{folder} has format {found}, this code reads {FORMAT}")
        if config.get("weights_sha256") != hashlib.sha256(content).hexdigest():
            raise ValueError(f"{folder} mixes the weights of one save with the config of another")
        _check_state(config, folder)
        try:
            ids = IdMap(config["item_ids"])
            actor = _actor(Config.from_dict(config["config"]), config["n_users"], ids, weights)
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise ValueError(f"the config in {folder} is damaged: {reason}") from None
        try:
            actor.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(f"the weights in {folder} do not fit its config: {error}") from None
        return cls(actor, ids, config)

    def save(self, folder: str | Path) -> None:
        """Write weights and config through temporary files: an interrupt leaves the old ones."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        weights = save({name: t.contiguous() for name, t in self.actor.state_dict().items()})
        config = self.config | {
            "format": FORMAT,
            "item_ids": self._ids.ids.tolist(),
            "weights_sha256": hashlib.sha256(weights).hexdigest(),
        }
        text = json.dumps(config, indent=1, ensure_ascii=False) + "\n"
        write_atomically(folder / "weights.safetensors", weights)
        write_atomically(folder / "config.json", text.encode())

    def score(self, histories: Histories) -> Tensor:
        """The form every evaluation takes: histories by index -> float32 [B, n_items]."""
        return self.actor.score(histories)

    def scores(self, histories: Sequence[Sequence[Id]]) -> np.ndarray:
        """B lists of liked items (ids, oldest first) -> float32 [B, n_items].

        Every history is that of an unknown user. Ids the model does not know are ignored with a
        warning; a history with no known id is a ValueError.
        """
        known = [self._known(history) for history in histories]
        width = max(map(len, known), default=1)
        item = torch.full((len(known), width), len(self._ids))
        for row, index in enumerate(known):
            item[row, width - len(index) :] = index
        rating = torch.where(item < len(self._ids), 5.0, 0.0)
        anonymous = torch.full((len(known),), self.n_users)
        return self.score(Histories(anonymous, item, rating)).numpy()

    def _known(self, history: Sequence[Id]) -> Tensor:
        index = self._ids.index(history)
        named = np.asarray(history, object).tolist()  # numbers of numpy as those of Python
        unknown = [item for item, place in zip(named, index, strict=True) if place < 0]
        if unknown:
            warnings.warn(f"items the model does not know are ignored: {unknown}", stacklevel=4)
        if not (index >= 0).any():
            raise ValueError(f"the model knows none of these items: {named}")
        known = index[index >= 0].tolist()
        return torch.tensor(list(dict.fromkeys(reversed(known)))[::-1])  # the latest of repeats

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


def _check_state(config: dict[str, Any], folder: Path) -> None:
    """UnknownState where the reader does not have it."""
    parts = config.get("config")
    state = parts.get("state") if isinstance(parts, dict) else None
    name = state.get("name") if isinstance(state, dict) else None
    if isinstance(name, str) and name not in STATES:
        raise UnknownState(
            f"{folder} was made with the state {name!r}, which is not known here: register it in "
            "recsys_rl.states.registry.STATES before loading"
        )


def _actor(config: Config, n_users: int, ids: IdMap, weights: dict[str, Tensor]) -> Actor:
    """An actor of the right shape; the linear model's numbers are taken from the weights."""
    state = STATES[config.state.name](n_users, len(ids), config.state.k, config.state.n)
    if not config.state.linear:
        return Actor(state)
    columns = weights["linear.model.item_vectors"]
    model = GaussianLikes(
        columns[:, -1], columns[:, :-1], weights["linear.model.noise"], config.state.n
    )
    return Actor(state, GatedLinear(model, config.state.n, torch.Generator()))


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
    and validation by update, for `training.csv`.
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
    recommender.save(folder)
    write_atomically(folder / "README.md", model_card(config, folder.name).encode())
    if history is None:
        (folder / "training.csv").unlink(missing_ok=True)  # of a model that was there before
    else:
        text = history.to_csv(index=False, float_format="%.6g")
        write_atomically(folder / "training.csv", text.encode())
    return recommender


def model_card(config: dict[str, Any], name: str) -> str:
    """What the agent is for, what it was trained on, how good it is, in Markdown."""
    rows = "\n".join(f"| {metric} | {value} |" for metric, value in config["metrics"].items())
    return f"""# {name}

A DDPG agent with the state {config["config"]["state"]["name"]}, trained on MovieLens
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

Not for commercial use: the weights derive from MovieLens, whose licence forbids it. People who rate
on MovieLens are not everybody, and the films end where the data set does. Cite F. M. Harper and
J. A. Konstan, The MovieLens Datasets, ACM TiiS 5(4), 2015.
"""
