"""What the ranks of a training hold: how they start, what rank 0 saves, and how they go on.

Rank 0 alone reads and writes checkpoints: one file holds what every rank has. As many ranks go on
exactly where they stopped. Another number of them goes on with the agent, and with the replays
dealt out anew; their sessions and streams of random numbers start anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import torch

from recsys_rl.agent.checkpoint import UNFIT, BadCheckpoint, Checkpoints, Parts
from recsys_rl.agent.saved_states import refuse_non_finite, refuse_unlike
from recsys_rl.data import ranks

OTHERS = "others"  # in a checkpoint's progress: what ranks 1, 2, ... hold
Check = Callable[[dict[str, Any]], None]  # of the progress; ValueError if it cannot be right


def begin(parts: Parts, seed: int) -> None:
    """All ranks start from the weights of rank 0, each with streams of its own."""
    if ranks.count() > 1:
        agent = parts["agent"]
        agent.load_state_dict(ranks.from_first(agent.state_dict))
        ranks.own_streams(_generators(parts), seed)


def hold(checkpoints: Checkpoints | None) -> contextlib.AbstractContextManager[None]:
    """Hold the folder, in rank 0."""
    if checkpoints is None or ranks.rank() > 0:
        return contextlib.nullcontext()
    return checkpoints.open()


def save(checkpoints: Checkpoints, parts: Parts, progress: dict[str, Any]) -> None:
    if ranks.count() > 1:
        states = {name: part.state_dict() for name, part in parts.items() if ranks.rank() > 0}
        progress = progress | {OTHERS: ranks.gathered(states)[1:]}
    if ranks.rank() == 0:
        checkpoints.save(parts, progress)


def load(checkpoints: Checkpoints, parts: Parts, check: Check) -> dict[str, Any] | None:
    """Restore `parts` -> the progress; None if there is no checkpoint. check: of the progress."""

    def fits(states: Mapping[str, Any], progress: dict[str, Any]) -> None:
        check(progress)
        own = {name: part.state_dict() for name, part in parts.items()}
        for each in (states, *_others(progress)):
            for name in own:
                refuse_unlike(each[name], own[name], name)
                refuse_non_finite(each[name], name)

    if ranks.count() == 1:
        progress = checkpoints.load(parts, fits)
        if progress is None or not progress.pop(OTHERS, []):
            return progress  # else of several: their replays are dealt out
    states, progress = ranks.from_first(lambda: _read(checkpoints, parts, fits))
    if progress is not None:
        try:
            _restore(parts, states, progress["update"])
        except UNFIT as error:
            raise BadCheckpoint(
                f"{checkpoints.latest} does not fit this training ({error})"
            ) from None
    return progress


def _others(progress: dict[str, Any]) -> list[dict[str, Any]]:
    others = progress.get(OTHERS, [])
    if not isinstance(others, list) or not all(isinstance(each, dict) for each in others):
        raise ValueError("its other ranks are no list of states")
    return others


class _Kept:
    """Takes the place of a part whose state is to be read and not yet restored."""

    state: Any

    def load_state_dict(self, state: Any) -> None:
        self.state = state


def _read(
    checkpoints: Checkpoints, parts: Parts, fits: Callable[..., None]
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """The states of all ranks and the progress, as rank 0 finds them in the file."""
    kept = {name: _Kept() for name in parts}
    progress = checkpoints.load(kept, fits)
    if progress is None:
        return [], None
    others = progress.pop(OTHERS, [])
    return [{name: part.state for name, part in kept.items()}, *others], progress


def _restore(parts: Parts, states: list[dict[str, Any]], update: int) -> None:
    if len(states) == ranks.count():
        for name, part in parts.items():
            part.load_state_dict(states[ranks.rank()][name])
        return
    agent = parts["agent"]
    agent.load_state_dict(states[0]["agent"])
    if "replay" in parts:
        dealt = [state["replay"] for state in states]
        parts["replay"].deal(dealt, ranks.rank(), ranks.count())
    when = f"of {ranks.count()} from update {update}"
    ranks.own_streams(_generators(parts), agent.config.seed, when)


def _generators(parts: Mapping[str, Any]) -> list[torch.Generator]:
    """All that the parts draw from, each once."""
    demonstrations = parts["demonstrations"]
    sources = [parts["agent"], parts["environment"], demonstrations]
    sources += [getattr(demonstrations, name, None) for name in ("first", "later")]
    names = "generator", "own_generator"  # one, but for an agent on a GPU
    found = [getattr(source, name, None) for source in sources for name in names]
    return list({id(each): each for each in found if each is not None}.values())
