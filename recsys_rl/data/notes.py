"""Notes: one sentence on stderr, beside the results."""

from __future__ import annotations

import contextlib
import sys


def note(sentence: str) -> None:
    """Say what was done that the reader might not expect; stdout is for results."""
    if sys.stderr is not None:  # print would take stdout in its place
        with contextlib.suppress(OSError):
            print(f"note: {sentence}", file=sys.stderr, flush=True)
