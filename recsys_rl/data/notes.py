"""One sentence on stderr, beside the results."""

from __future__ import annotations

import contextlib
import sys


def note(sentence: str) -> None:
    """Say what was done that the reader might not expect; stdout is for results."""
    say(f"note: {sentence}")


def say(sentence: str) -> None:
    """On stderr, if there is one that can be written to."""
    if sys.stderr is not None:  # print would take stdout in its place
        with contextlib.suppress(OSError):
            print(shown(sentence), file=sys.stderr, flush=True)


def shown(text: str) -> str:
    """Text on one line. What steers a terminal, in a title or an argument, is only marked."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def shortened(value: object, length: int = 80) -> str:
    """A value as text on one line, of at most `length` characters."""
    text = shown(str(value))
    return text if len(text) <= length else f"{text[: length - 3]}..."


def written(value: object) -> str:
    """What was given in place of something else, for an error: on one line, and not whole."""
    return shortened(" ".join(repr(value).split()))
