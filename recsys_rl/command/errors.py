"""What the command says beside its answer, on stderr."""

from __future__ import annotations

import contextlib
import sys


class CommandError(Exception):
    """One sentence for the person at the keyboard: what was wrong and what to do."""


class NothingLeft(CommandError):
    """Fewer films than asked for are left to suggest."""


def first_line(error: Exception | str) -> str:
    """For errors that were not written to be one sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")


def say(sentence: str) -> None:
    """On stderr, if there is one that can be written to."""
    if sys.stderr is not None:  # print would take stdout in its place
        with contextlib.suppress(OSError):
            print(sentence, file=sys.stderr, flush=True)
