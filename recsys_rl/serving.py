"""The released agent: items in, items out, and the folder that it is kept in.

PyTorch is loaded where an agent needs it: those with DRR-set and a Gaussian answer without it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_rl.data.ids import Id, IdMap
from recsys_rl.data.likes import SHOWN
from recsys_rl.data.moments import checked_times
from recsys_rl.data.notes import note
from recsys_rl.next_question import next_question
from recsys_rl.release_config import OWN_LINEAR, OWN_STATES, checked, refuse_unregistered
from recsys_rl.release_config import UnknownState as UnknownState
from recsys_rl.release_files import (
    FORMAT,
    WEIGHTS,
    BadRelease,
    Shapes,
    outdated,
    read_release,
    refuse_foreign,
    refuse_heavy,
    short,
    write_release,
)
from recsys_rl.set_scorer import NOISE, Answers, SetScorer, check_answers, expected_shapes

if TYPE_CHECKING:
    from torch import Tensor

    from recsys_rl.agent.networks import Actor
    from recsys_rl.data.histories import Histories

SHOWN_IDS = 10  # in a sentence
NO_TIMES = "this agent reads the clock, and no times were given: it reads the order alone"
DAMAGED = "the weights of this agent are damaged: its scores are no numbers"


class Recommender:
    """A trained actor for users it has never met: items in, items out, by id.

    The folder holds `weights.safetensors`, `config.json` (configuration, item ids, fingerprint of
    the data, metrics, versions, the command that makes it again) and `training.csv`. Reading them
    runs no code from any file. Processes that are forked once a model is loaded may use it, each
    with one thread.
    """

    _noted: tuple[str, ...] = ()  # notes that were made

    def __init__(self, actor: Actor, item_ids: IdMap, config: dict[str, Any]) -> None:
        self._actor: Actor | None = actor.eval()
        self._ids, self.config = item_ids, config

    @classmethod
    def load(cls, folder: str | Path) -> Recommender:
        """Rebuild the actor from its folder, on the CPU, whatever the default device.

        ValueError in a sentence: BadRelease where files are missing or damaged, UnknownRelease
        where something is not known here. Before memory is spent, all sizes are compared.
        """
        folder = _path(folder)
        config, content = read_release(folder, partial(_expected, folder))
        if not _is_set(config):
            return cls(*_restored(folder, config, content), config)
        loaded = cls.__new__(cls)
        loaded._actor, loaded.config = None, config
        parts, loaded._ids = checked(config)
        loaded._stored = SetScorer(_numbers(folder, content), parts.state.n)
        loaded._restore = partial(_restored, folder, config, content)
        return loaded

    @property
    def item_ids(self) -> np.ndarray:
        """Ids in index order, int64 or str [n_items]."""
        return self._ids.ids

    @property
    def n_users(self) -> int:
        return self.config["n_users"]

    @property
    def memory(self) -> int:
        """How many of the latest likes count, and of the latest rejections."""
        return self.config["config"]["state"]["n"]

    @property
    def reads_clock(self) -> bool:
        """Whether `scores` reads times."""
        return not _is_set(self.config) and self.actor.state.reads_clock

    @property
    def reads_dislikes(self) -> bool:
        """Whether items that were not liked say something."""
        return _is_set(self.config) or self.actor.state.reads_dislikes

    @property
    def actor(self) -> Actor:
        """The network, built when it is first asked for."""
        if self._actor is None:
            self._actor = self._restore()[0].eval()
        return self._actor

    def save(self, folder: str | Path) -> None:
        """Replace weights and config in a folder: whatever interrupts it, one of both releases is
        there, whole. ValueError where the weights are no finite numbers, or where files that are no
        release would be written over."""
        self.write(_path(folder), {})

    def write(self, folder: Path, files: dict[str, bytes]) -> None:
        """Weights, configuration and other files of a release."""
        from safetensors.torch import save

        from recsys_rl.release_weights import tensors_of

        refuse_foreign(folder)
        weights = save(tensors_of(self.actor))
        refuse_heavy(len(weights))
        config = self.config | {
            "format": FORMAT,
            "item_ids": self._ids.ids.tolist(),
            "weights_sha256": hashlib.sha256(weights).hexdigest(),
        }
        checked(config)  # what could not be loaded is not written
        text = json.dumps(config, indent=1, ensure_ascii=False) + "\n"
        folder.mkdir(parents=True, exist_ok=True)
        stale = outdated(folder, config["weights_sha256"])
        write_release(folder, text, {WEIGHTS: weights} | stale | files)

    def score(self, histories: Histories) -> Tensor:
        """The form every evaluation takes: histories by index -> float32 [B, n_items].

        BadRelease where the weights are so large that scores are no numbers.
        """
        import torch

        try:
            device = self.actor.item_vectors.device
            with torch.device(device):  # for states of one's own that name none
                scores = self.actor.score(histories.to(device))
            if scores.isfinite().all():
                return scores
        except torch.linalg.LinAlgError:  # of the linear model
            pass
        raise BadRelease(DAMAGED)

    def scores(
        self,
        histories: Sequence[Sequence[Id]],
        times: Sequence[Sequence[float]] | None = None,
        at: Sequence[float] | None = None,
    ) -> np.ndarray:
        """B lists of liked items (ids, oldest first) -> float32 [B, n_items].

        times: for each history the moments of its ratings, and `at` the moments, one a history, at
        which the next item is asked for; seconds, for agents that read the clock. Without them such
        an agent reads the order alone, and a note says so; other agents ignore them with a note.

        Every history is that of an unknown user. Ids the model does not know are ignored with a
        warning; a history with no known id is a ValueError, and so are times that cannot be.
        """
        if not hasattr(histories, "__len__") or isinstance(histories, (str, bytes, Mapping)):
            raise ValueError(f"histories are a list of lists of ids, not {short(histories)}")
        told = times is not None or at is not None
        moments, requests = checked_times(histories, times, at) if told else (None, None)
        named = [self._named(history) for history in histories]
        people = [Answers(places) for _, places in named]
        if not (people and told and self.reads_clock):
            if told and not self.reads_clock:
                self._note_once("this agent does not read the clock: times are ignored")
            return self.scores_of(people)
        kept = [when[rows] for when, (rows, _) in zip(moments, named, strict=True)]
        return self.score(self._dated(self._histories(people), kept, requests)).cpu().numpy()

    def scores_of(self, people: Sequence[Answers]) -> np.ndarray:
        """What B unknown users have answered, by index -> float32 [B, n_items].

        BadRelease where the weights are so large that scores are no numbers; ValueError for what
        are no indices of items, or twice the same.
        """
        check_answers(people, len(self._ids))
        if not len(people):
            return np.zeros((0, len(self._ids)), np.float32)
        if not _is_set(self.config):
            if self.reads_clock:
                self._note_once(NO_TIMES)
            return self.score(self._histories(people)).cpu().numpy()
        try:
            with np.errstate(all="ignore"):  # what is no number is found below
                scores = self._scorer.scores(people)
            if np.isfinite(scores).all():
                return scores
        except np.linalg.LinAlgError:
            pass
        raise BadRelease(DAMAGED)

    def next_question(self, answers: Answers, askable: np.ndarray) -> int | None:
        """The item whose answer says most about which ten others to recommend, by index.

        askable: bool [n_items], what may be asked about and recommended, at least one. None for
        agents without a Gaussian of likes. ValueError for other answers, and for another mask.
        """
        check_answers([answers], len(self._ids))
        if not _is_set(self.config):
            return None
        scorer = self._scorer
        told = (list(part)[-self.memory :] for part in answers)
        try:
            masks = {"askable": askable, "recommendable": askable}
            return next_question(scorer.gaussian, scorer.layers[NOISE], *told, **masks)
        except np.linalg.LinAlgError:
            raise BadRelease(DAMAGED) from None

    @property
    def _scorer(self) -> SetScorer:
        """Of the actor, where there is one: its weights may have changed."""
        if self._actor is None:
            return self._stored
        tensors = self._actor.state_dict().items()
        weights = {name: tensor.detach().cpu().numpy() for name, tensor in tensors}
        return SetScorer(weights, self.memory)

    def _histories(self, people: Sequence[Answers]) -> Histories:
        """Rejections before likes, LEFT-padded."""
        import torch

        from recsys_rl.data.histories import Histories

        shape = len(people), max((sum(map(len, answers)) for answers in people), default=1)
        item = np.full(shape, len(self._ids))
        rating = np.zeros(shape, np.float32)
        for row, (liked, rejected) in enumerate(people):
            known = [*rejected, *liked]
            item[row, shape[1] - len(known) :] = known
            stars = [SHOWN] * len(rejected) + [5.0] * len(liked)
            rating[row, shape[1] - len(known) :] = stars
        anonymous = np.full(len(people), self.n_users)
        device = self.actor.item_vectors.device
        return Histories(*(torch.from_numpy(x).to(device) for x in (anonymous, item, rating)))

    def _dated(
        self, histories: Histories, times: list[np.ndarray], requests: np.ndarray | None
    ) -> Histories:
        """With the moments of the items, int64 [length] for each row, and of the requests [B]."""
        from dataclasses import replace

        import torch

        from recsys_rl.data.histories import UNKNOWN_TIME

        time = np.full(histories.item.shape, UNKNOWN_TIME)
        for row, moments in zip(time, times, strict=True):
            row[len(row) - len(moments) :] = moments
        device = histories.item.device
        request = None if requests is None else torch.from_numpy(requests).to(device)
        return replace(histories, time=torch.from_numpy(time).to(device), request=request)

    def _note_once(self, sentence: str) -> None:
        if sentence not in self._noted:
            self._noted = (*self._noted, sentence)
            note(sentence)

    def _named(self, history: Sequence[Id]) -> tuple[list[int], list[int]]:
        """Where the known ones stand in a history, and their indices; ValueError if none is."""
        rows, known = self._found(history, stacklevel=4)
        if not known:
            raise ValueError(f"the model knows none of these items: {_some(_plain(history))}")
        return rows, known

    def _known(self, items: Sequence[Id], stacklevel: int) -> list[int]:
        """Indices of the known ones, the latest of repeats; a warning for the others."""
        return self._found(items, stacklevel + 1)[1]

    def _found(self, items: Sequence[Id], stacklevel: int) -> tuple[list[int], list[int]]:
        """Where the known ones stand, the latest of repeats, and their indices."""
        _check_list(items)
        if not len(items):
            return [], []
        index = self._ids.places(items)
        unknown = [item for item, place in zip(_plain(items), index, strict=True) if place < 0]
        if unknown:
            text = f"items the model does not know are ignored: {_some(unknown)}"
            warnings.warn(text, stacklevel=stacklevel)
        latest = {place: row for row, place in enumerate(index.tolist()) if place >= 0}
        rows = sorted(latest.values())
        return rows, index[rows].tolist()

    def recommend(
        self,
        liked: Sequence[Id] = (),
        k: int = 3,
        *,
        disliked: Sequence[Id] = (),
        seen: Sequence[Id] = (),
    ) -> list[tuple[Id, float]]:
        """The k best items for someone who liked and disliked these -> [(id, score)], best first.

        seen: neither liked nor disliked, and not to be suggested. Never an item that was named,
        never one twice, always k; ValueError if k are not left, or if no known item is named. A
        film that the data list under two ids is two items here; the command goes by titles, too.
        """
        parts = [self._known(items, stacklevel=3) for items in (liked, disliked, seen)]
        if not any(parts):
            named = [item for items in (liked, disliked, seen) for item in _plain(items)]
            if not named:
                raise ValueError("no item is named: give one at least that was liked")
            raise ValueError(f"the model knows none of these items: {_some(named)}")
        if both := set(parts[0]) & set(parts[1]):
            raise ValueError(f"{self._ids.id([min(both)]).tolist()[0]!r} is liked and disliked")
        if parts[1] and not self.reads_dislikes:
            self._note_once("this agent does not read dislikes: such items are only left out")
        scores = self.scores_of([Answers(*parts[:2])])[0]
        named = sorted({place for part in parts for place in part})
        scores[named] = -np.inf
        left = len(scores) - len(named)
        whole = isinstance(k, Integral) and not isinstance(k, bool)
        if not (whole and 1 <= k <= left):
            if not left:
                raise ValueError("all items are named: none is left to recommend")
            raise ValueError(f"k must be between 1 and {left}, not {short(k)}")
        best = np.argsort(-scores, kind="stable")[:k]
        return list(zip(self._ids.id(best).tolist(), scores[best].tolist(), strict=True))


def _path(folder: str | Path) -> Path:
    if not isinstance(folder, (str, os.PathLike)):
        raise TypeError(f"a release is in a folder, named by its path, and not by {short(folder)}")
    if not str(folder):
        raise ValueError("a release is in a folder, and not in an empty text")
    if "\0" in str(folder):
        raise ValueError(f"no folder has a NUL in its name: {short(str(folder))}")
    return Path(folder)


def _check_list(items: Any) -> None:
    """ValueError unless these are one list, array or tensor of ids."""
    listed = hasattr(items, "__len__") and hasattr(items, "__getitem__")
    nested = (list, tuple, dict, set, frozenset, np.ndarray)
    if not listed or isinstance(items, (str, bytes, Mapping)) or getattr(items, "ndim", 1) != 1:
        raise ValueError(f"items are one list of ids, not {short(items)}")
    if any(isinstance(item, nested) or getattr(item, "ndim", 0) for item in items):
        raise ValueError(f"items are one list of ids, and not lists in it: {short(items)}")


def _plain(items: Sequence[Id]) -> list[Id]:
    """Numbers of numpy as those of Python."""
    return np.asarray(items, object).tolist()


def _some(items: list[Id]) -> str:
    """A list of any length, in a sentence."""
    rest = len(items) - SHOWN_IDS
    return str(items) if rest <= 0 else f"{items[:SHOWN_IDS]} and {rest:,} more"


def _is_set(config: dict[str, Any]) -> bool:
    """Whether an agent is one that `SetScorer` can score; the config may be anything."""
    parts = config.get("config")
    state = parts.get("state") if isinstance(parts, dict) else None
    names = (state.get("name"), state.get("linear")) if isinstance(state, dict) else ()
    return names == ("DRR-set", "gaussian")


def _expected(folder: Path, config: dict[str, Any], found: Shapes) -> Shapes:
    """The tensors that the weights of a config have. Raises BadRelease."""
    if not _is_set(config):
        if "recsys_rl.states.registry" not in sys.modules:  # nobody has registered anything
            refuse_unregistered(folder, config, OWN_STATES, OWN_LINEAR)
        from recsys_rl.release_weights import expected_tensors

        return expected_tensors(folder, config, found)
    try:
        parts, ids = checked(config)
    except (ValueError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise BadRelease(f"the config in {folder} is damaged: {reason}") from None
    return expected_shapes(parts.state.k, len(ids), found)


def _numbers(folder: Path, content: bytes) -> dict[str, np.ndarray]:
    """The weights of a `SetScorer`. Raises BadRelease."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        weights = load(content)
    except SafetensorError as error:
        raise BadRelease(f"{folder} is damaged: {WEIGHTS}: {short(str(error))}") from None
    for name, numbers in weights.items():
        if not np.isfinite(numbers).all():
            finding = f"{name} holds numbers that are NaN or infinite"
        elif name == NOISE and not (numbers > 0).all():
            finding = f"{name} holds numbers that are not above 0"
        else:
            continue
        raise BadRelease(f"{folder} is damaged: {WEIGHTS}: {finding}")
    return weights


def _restored(folder: Path, config: dict[str, Any], content: bytes) -> tuple[Actor, IdMap]:
    """On the CPU."""
    import torch

    from recsys_rl.release_weights import restored

    with torch.device("cpu"):
        return restored(folder, config, content)
