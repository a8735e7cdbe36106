"""Stopping a training between two updates, and going on later exactly where it stopped."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import torch


class Interruptible:
    """Turns Ctrl-C (or the notebook's stop button) into a flag that a loop reads between updates.

    An exception could leave actor and critic half a step apart; a flag cannot. Outside the main
    thread, where no signal arrives, it is simply never set.
    """

    def __enter__(self) -> Interruptible:
        self.stop = False
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def _ask(self, *_: object) -> None:
        self.stop = True

    def __exit__(self, *_: object) -> None:
        if self._main:
            signal.signal(signal.SIGINT, self._before)


def save_checkpoint(path: str | Path, parts: dict[str, Any], progress: dict[str, Any]) -> None:
    """Write all that training needs to go on exactly where it stopped.

    parts: anything with `state_dict` and `load_state_dict` (agent, environment, replay).
    progress: plain numbers, lists and tensors (step, best weights, curve).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    torch.save(
        {"parts": {n: p.state_dict() for n, p in parts.items()}, "progress": progress}, temporary
    )
    os.replace(temporary, path)


def load_checkpoint(path: str | Path, parts: dict[str, Any]) -> dict[str, Any]:
    """Restore `parts` in place and return the progress. Runs no code from the file."""
    saved = torch.load(path, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(saved["parts"][name])
    return saved["progress"]
