"""What the environments in Gymnasium's form share: their data, who is met, what is an action."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.error import ResetNeeded
from torch import Tensor

from recsys_rl.data.devices import CPU
from recsys_rl.data.download import DATA_FOLDER, SOURCES
from recsys_rl.data.ids import IdMap
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.notes import shortened, written
from recsys_rl.data.opening import Data, open_data
from recsys_rl.data.random_streams import check_seed
from recsys_rl.envs.base import Info, SessionEnv

OPENING = tuple(name for name in inspect.signature(open_data).parameters)[2:-1]  # but `fetch`
ROUNDING = 1e-5  # by which an action may leave its box
PARTS = "train", "validation", "test"


class UndrawnEnv(gymnasium.Env):
    """An environment with nothing to draw, whose seeds are whole numbers."""

    metadata = {"render_modes": []}  # noqa: RUF012 - the name and type are Gymnasium's

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> None:
        """Seeds `np_random`; ValueError for what is no seed."""
        if seed is not None:
            check_seed(seed)
        super().reset(seed=seed, options=options)

    def render(self) -> None:
        """Nothing, as Gymnasium's environments without a render mode do."""


def interactions_of(root: str | Path | None, dataset: str | Path, **opening: Any) -> Interactions:
    """Ratings that are there already, see `data_of`."""
    return data_of(root, dataset, **opening).interactions()


def data_of(root: str | Path | None, dataset: str | Path, **opening: Any) -> Data:
    """Data that are there already; in the project's own data folder where root is None.

    opening: other arguments of `open_data`. FileNotFoundError, which says what to do, for others.
    """
    for name, value in (("root", DATA_FOLDER if root is None else root), ("dataset", dataset)):
        if not isinstance(value, (str, Path)) or not str(value):
            raise ValueError(f"{name} is a name or a path, not {written(value)}")
    root = DATA_FOLDER if root is None else Path(root)
    try:
        return open_data(dataset, root, **opening, fetch=False)
    except FileNotFoundError as error:
        name, place = (shortened(each, 255) for each in (dataset, root))
        way = (
            f'fetch it by recsys_rl.data.download.open_movielens("{name}", "{place}")'
            if str(dataset) in SOURCES
            else f"no such set is published ({', '.join(SOURCES)} are); put it there"
        )
        raise FileNotFoundError(
            f"{name} is not in {place}, and an environment downloads nothing: {way}, or name "
            "another root"
        ) from error


def known_opening(opening: Any) -> dict[str, Any]:
    """Other arguments of `open_data`, None for none; ValueError for what is none."""
    if opening is None:
        return {}
    if not isinstance(opening, Mapping) or not set(opening) <= set(OPENING):
        raise ValueError(f"opening is a dict of {', '.join(OPENING)}, not {written(opening)}")
    return dict(opening)


def check_types(**parts: tuple[Any, type]) -> None:
    """ValueError unless every part is of its type."""
    for name, (value, kind) in parts.items():
        if not isinstance(value, kind):
            raise ValueError(f"{name}: {kind.__name__} is needed, not {written(value)}")


def check_choice(name: str, value: Any, known: tuple[str, ...]) -> None:
    """ValueError unless the value is one of those that are known."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} is one of {known}, not {written(value)}")


def check_render_mode(render_mode: Any) -> None:
    """ValueError for any: there is nothing to draw."""
    if render_mode is not None:
        raise ValueError(f"there is no render mode {written(render_mode)}: render_mode is None")


def check_running(sessions: SessionEnv) -> None:
    """ResetNeeded before a reset and after the end."""
    if sessions.over:
        raise ResetNeeded("no session is running: call reset, at the start and after every end")


def user_index(user: Any, ids: IdMap, eligible: Tensor, otherwise: str = "") -> int:
    """The index of a user's id; ValueError where it is nobody's of `eligible`, int64 [U].

    otherwise: what else may be wrong with a user, for the error.
    """
    known = _as_id(user, ids.text)
    index = -1 if known is None else int(ids.index([known])[0])
    if index not in eligible:
        raise ValueError(f"user {shortened(user)} is not here{otherwise}")
    return index


def _as_id(user: Any, text: bool) -> int | str | None:
    """What names a user, of the type of the ids; None where no id has so many digits."""
    if text:
        if not isinstance(user, str):
            raise ValueError(f"a user is named by text, not by {written(user)}")
        return str(user)
    number = whole_number(user)
    if number is None:
        raise ValueError(f"a user is named by a whole number, not by {written(user)}")
    return number if abs(number) < 2**63 else None


def whole_number(value: Any) -> int | None:
    """As an integer of Python, NumPy or PyTorch says it; None for anything else."""
    try:
        number = operator.index(value)
    except (TypeError, RuntimeError):  # RuntimeError: of a tensor without numbers
        return None
    truth = isinstance(value, (bool, np.bool_)) or getattr(value, "dtype", None) == torch.bool
    return None if truth or np.ma.is_masked(value) else number


def direction(action: Any, shape: tuple[int, ...]) -> Tensor:
    """An action of Box(-1, 1, shape) as float32 of this shape; ValueError for what is none."""
    try:
        values = np.asarray(action.tolist() if isinstance(action, Tensor) else action)
    except (ValueError, RuntimeError):  # lists of different lengths; tensors without numbers
        values = np.asarray(None)
    listed = isinstance(action, (list, tuple))
    if listed and any(isinstance(each, (bool, np.bool_)) for each in action):
        raise ValueError("an action is real numbers, and some of these are true or false")
    if np.ma.is_masked(action):
        raise ValueError("an action is real numbers, and some of these are masked")
    if values.dtype.kind not in "iuf" or values.shape != shape:
        found = f"{values.dtype} {list(values.shape)}"
        raise ValueError(f"an action is real numbers {list(shape)}, not {found}")
    inside = (values >= -1 - ROUNDING) & (values <= 1 + ROUNDING)  # as no NaN is
    if not inside.all():
        raise ValueError(
            "an action lies in -1 .. 1 and holds no NaN: gymnasium.wrappers.ClipAction cuts "
            "off what is outside"
        )
    return torch.as_tensor(values.astype(np.float32), device=CPU)
