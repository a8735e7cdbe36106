"""Every split by its name."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pandas as pd

from recsys_rl.data.interactions import Interactions, fingerprint
from recsys_rl.envs.consequences import FORMS
from recsys_rl.tasks.base import Task
from recsys_rl.tasks.cold_start import cold_start_task, cold_start_users, users_of_eighth
from recsys_rl.tasks.logs import (
    after_a_pause_task,
    leave_one_out_task,
    random_positives_task,
    ratings_task,
    temporal_task,
)
from recsys_rl.tasks.simulated import SERIES, consequences_task, simulated_task
from recsys_rl.tasks.user_leaves import user_leaves_task


def task_of(data: Interactions, split: str, movies: pd.DataFrame | None = None) -> Task:
    """A split by its name: see `SPLITS`; cold-start-eighth-1 to -8 hold out every user once;
    simulated-satisfaction-0.25, -satiation-1, ...: see `consequences_task`.

    movies: item and genres, as `load_movies` gives them; the last ones alone need them. The task
    is marked with all rows: validation rows chose the weights that a checkpoint holds.
    """
    task = _task_of(data, split, movies)
    return replace(task, mark=f"{task.mark}-{fingerprint(data, times=True)[:8]}")


def _task_of(data: Interactions, split: str, movies: pd.DataFrame | None) -> Task:
    if found := _consequence_of(split):
        return consequences_task(data, movies, found[1], float(found[2]))
    if found := _EIGHTH.fullmatch(split):
        return cold_start_task(data, users_of_eighth(data, int(found[1])))
    if not is_split(split):
        raise ValueError(f"there is no split {split!r}: choose among {', '.join(SPLITS)}")
    return SPLITS[split](data)


def is_split(split: str) -> bool:
    """Whether `task_of` knows the name."""
    return split in SPLITS or bool(_EIGHTH.fullmatch(split)) or needs_movies(split)


def needs_movies(split: str) -> bool:
    """Whether `task_of` asks for the films."""
    return _consequence_of(split) is not None


_EIGHTH = re.compile(r"cold-start-eighth-([1-8])")


def _consequence_of(split: str) -> re.Match | None:
    """Form and dial, where a split's name has them."""
    return re.fullmatch(rf"simulated-({'|'.join(FORMS)})-([01](?:\.\d+)?)", split)


SPLITS: dict[str, Callable[[Interactions], Task]] = {
    "leave-one-out": leave_one_out_task,
    "after-a-pause": after_a_pause_task,
    "random-positives": random_positives_task,
    "ratings": ratings_task,
    "temporal": temporal_task,
    "cold-start": lambda data: cold_start_task(data, cold_start_users(data)),
    "simulated": simulated_task,
    "simulated-series": partial(simulated_task, series=SERIES),
    "user-leaves": user_leaves_task,
    "user-leaves-model": partial(user_leaves_task, trained_in="model"),
}


def split_for(environment: str) -> str:
    """The split on which agents of an environment are trained by default."""
    named = {"logged": "leave-one-out", "consequences": "simulated-satisfaction-0.5"}
    return named.get(environment, environment)
