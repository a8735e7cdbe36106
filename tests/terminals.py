"""The real command in a pseudo-terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Terminal:
    """The command, started in a terminal of so many columns; everything that it shows is kept."""

    def __init__(self, *arguments: str, columns: int = 100, **environment: str) -> None:
        leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        unset = {name: "" for name in ("NO_COLOR",)} | {"TERM": "xterm", "PYTHONUNBUFFERED": ""}
        for name in ("COLUMNS", "LINES"):
            os.environ.pop(name, None)
        self.leader, self.shown, self.place = leader, "", 0
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "recommendation.py"), *arguments],
            stdin=follower, stdout=follower, stderr=follower, close_fds=True,
            env=os.environ | unset | environment, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(follower)

    def until(self, text: str, seconds: float = 60) -> str:
        """What is shown from the last such text up to the next one, which must come."""
        start, end = self.place, time.monotonic() + seconds
        while text not in self.shown[start:]:
            if not self._read(end - time.monotonic()):
                raise AssertionError(f"{text!r} never came:\n{self.shown}")
        self.place = self.shown.index(text, start) + len(text)
        return self.shown[start : self.place]

    def type(self, text: str) -> None:
        os.write(self.leader, text.encode())

    def end(self, seconds: float = 60) -> int:
        """The exit code, once everything is shown."""
        end = time.monotonic() + seconds
        while self._read(end - time.monotonic()):
            pass
        return self.process.wait(timeout=max(1, end - time.monotonic()))

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def plain(self) -> str:
        return COLOURS.sub("", self.shown).replace("\r\n", "\n")

    def _read(self, seconds: float) -> bool:
        """Whether there was more to read."""
        if not select.select([self.leader], [], [], max(0, seconds))[0]:
            return False
        try:
            more = os.read(self.leader, 65536).decode("utf-8", "replace")
        except OSError:  # the other end is closed
            return False
        self.shown += more
        return bool(more)
