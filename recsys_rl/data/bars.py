"""Progress bars that no loss of their terminal can stop."""

from __future__ import annotations

import contextlib
import sys
from typing import Any, TextIO


class _Lossy:
    """A stream whose reader may go away, or whose disk may fill: what cannot be written is lost."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def on_stderr() -> dict[str, Any]:
    """Options of tqdm: on stderr as long as it is there. In a notebook the bar is a widget."""
    if sys.stderr is None:
        return {"disable": True}
    return {} if "ipykernel" in sys.modules else {"file": _Lossy(sys.stderr)}
