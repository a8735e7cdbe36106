"""The released agent: films in, films out, and the folder that it is kept in."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from recsys_rl.agent.config import Settings
from recsys_rl.agent.ddpg import DDPG
from recsys_rl.agent.networks import Actor
from recsys_rl.baselines.gaussian import GaussianLikes
from recsys_rl.data.interactions import POSITIVE, Histories, IdMap, Interactions, fingerprint
from recsys_rl.states.linear import LikesRidge
from recsys_rl.states.registry import STATES

FORMAT = 1


class Recommender:
    """A trained actor for people it has never met: films in, films out, by MovieLens id.

    The folder holds `weights.safetensors` and `config.json` (settings, item ids, data fingerprint,
    metrics, versions, the command that makes it again). Reading them runs no code from either file.
    """

    def __init__(self, actor: Actor, item_ids: IdMap, config: dict[str, Any]) -> None:
        self.actor, self._ids, self.config = actor.eval(), item_ids, config
        self.n_users = config["n_users"]

    @property
    def item_ids(self) -> np.ndarray:
        """MovieLens ids in index order, int64 [n_items]."""
        return self._ids.ids

    @classmethod
    def load(cls, folder: str | Path) -> Recommender:
        """Rebuild the actor from its folder; ValueError if a file is missing or does not fit."""
        folder = Path(folder)
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            weights = load_file(folder / "weights.safetensors")
        except OSError as error:
            raise ValueError(f"{folder} holds no released agent: {error}") from None
        except (ValueError, SafetensorError) as error:  # neither JSON nor UTF-8; not safetensors
            raise ValueError(f"{folder} is damaged: {error}") from None
        found = config.get("format") if isinstance(config, dict) else None
        if found != FORMAT:
            raise ValueError(f"{folder} has format {found}, this code reads {FORMAT}")
        if config.get("weights_sha256") != _sha256(folder / "weights.safetensors"):
            raise ValueError(f"{folder} mixes the weights of one save with the config of another")
        try:
            settings = Settings(**config["settings"])
            n_users, ids = config["n_users"], IdMap(np.array(config["item_ids"]))
            state = STATES[settings.state](n_users, len(ids), settings.k, settings.n)
            if settings.profile == "ridge":
                films = weights["state.linear.film_vectors"]
                state.attach(LikesRidge(films, weights["state.linear.prior_vectors"]))
            elif settings.profile == "gaussian":
                films = weights["state.item_vectors.weight"][:-1, settings.k : -1]
                noise = weights["state.linear.noise"]
                state.attach(GaussianLikes(films[:, -1], films[:, :-1], noise))
            actor = Actor(state, settings.hidden)
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
        weights = {name: t.contiguous() for name, t in self.actor.state_dict().items()}
        save_file(weights, folder / "weights.tmp")
        config = self.config | {
            "format": FORMAT,
            "item_ids": self._ids.ids.tolist(),
            "weights_sha256": _sha256(folder / "weights.tmp"),
        }
        text = json.dumps(config, indent=1, ensure_ascii=False)
        (folder / "config.tmp").write_text(text + "\n", encoding="utf-8")
        os.replace(folder / "weights.tmp", folder / "weights.safetensors")
        os.replace(folder / "config.tmp", folder / "config.json")

    def score(self, histories: Histories) -> Tensor:
        """The form every evaluation takes: histories by index -> float32 [B, n_items]."""
        return self.actor.score(histories)

    def scores(self, histories: Sequence[Sequence[int]]) -> np.ndarray:
        """B lists of liked films (MovieLens ids, oldest first) -> float32 [B, n_items].

        Every history is that of an unknown person. Ids the model does not know are ignored with a
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

    def _known(self, history: Sequence[int]) -> Tensor:
        index = self._ids.index(history)
        unknown = [int(i) for i, place in zip(history, index, strict=True) if place < 0]
        if unknown:
            warnings.warn(f"films the model does not know are ignored: {unknown}", stacklevel=4)
        if not (index >= 0).any():
            raise ValueError(f"the model knows none of these films: {list(map(int, history))}")
        known = index[index >= 0].tolist()
        return torch.tensor(list(dict.fromkeys(reversed(known)))[::-1])  # the latest of repeats

    def recommend(self, history: Sequence[int], k: int = 3) -> list[tuple[int, float]]:
        """The k best films for someone who liked `history` -> [(MovieLens id, score)], best first.

        Never a film of the history, never one twice, always k; ValueError if k films are not left.
        """
        scores = torch.from_numpy(self.scores([history])[0])
        seeds = self._known_quietly(history)
        scores[seeds] = -torch.inf
        if not 1 <= k <= len(scores) - len(seeds.unique()):
            raise ValueError(
                f"k must be between 1 and {len(scores) - len(seeds.unique())}, not {k}"
            )
        top = scores.topk(k)
        return list(zip(self._ids.id(top.indices).tolist(), top.values.tolist(), strict=True))

    def _known_quietly(self, history: Sequence[int]) -> Tensor:
        index = self._ids.index(history)
        return index[index >= 0]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def release(
    agent: DDPG,
    log: Interactions,
    folder: str | Path,
    *,
    dataset: str,
    command: str,
    protocol: str,
    metrics: dict[str, Any],
) -> Recommender:
    """Write the agent's actor to `folder` with all that is needed to use, check and remake it.

    log: the interactions it was trained on. metrics, protocol: what was measured, and how.
    ValueError for an agent that reads PMF or ALS: these know people, and are not kept.
    """
    if agent.settings.profile in ("pmf", "als"):
        raise ValueError("an agent that reads a profile of people it knows is not released")
    positives = torch.bincount(log.item[log.rating >= POSITIVE], minlength=log.n_items)
    config = {
        "format": FORMAT,
        "dataset": dataset,
        "settings": asdict(agent.settings),
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
        "n_people": int((log.offsets.diff() > 0).sum()),  # who have rows to train on
        "item_ids": log.item_ids.ids.tolist(),
        "positive_counts": positives.tolist(),
    }
    recommender = Recommender(agent.actor, log.item_ids, config)
    recommender.save(folder)
    card = Path(folder) / "README.md"
    card.write_text(model_card(config, Path(folder).name), encoding="utf-8")
    return recommender


def model_card(config: dict[str, Any], name: str) -> str:
    """What the agent is for, what it was trained on, how good it is, in Markdown."""
    settings = config["settings"]
    rows = "\n".join(f"| {metric} | {value} |" for metric, value in config["metrics"].items())
    return f"""# {name}

A DDPG agent with the state DRR-{settings["state"]}, trained on MovieLens ({config["dataset"]}):
films that someone liked go in, films they may like come out. Read it with
`classes.Recommender.load`.

- Made by: `{config["command"]}`, seed {settings["seed"]}, PyTorch {config["versions"]["torch"]}
- Trained on: {len(config["item_ids"]):,} films, {config["n_people"]:,} people
- Training rows, SHA-256: `{config["fingerprint"]}`
- Judged by: {config["protocol"]}

| metric | value |
|---|---|
{rows}

Not for commercial use: the weights derive from MovieLens, whose licence forbids it. People who rate
on MovieLens are not everybody, and the films end where the data set does. Cite F. M. Harper and
J. A. Konstan, The MovieLens Datasets, ACM TiiS 5(4), 2015.
"""
