"""One answer from a person: a key where there is a terminal, else a line."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

try:
    import termios
    import tty
except ImportError:  # Windows
    termios = None

END = "\x04"  # Ctrl-D, and the end of a file

Ask = Callable[[str], str]


def can_read_keys() -> bool:
    """Whether single keys can be read, and somebody sees what they are asked for."""
    terminals = all(s is not None and s.isatty() for s in (sys.stdin, sys.stdout))
    return terminals and termios is not None and os.environ.get("TERM", "dumb") != "dumb"


def ask_key(prompt: str) -> str:
    """The key that is pressed, shown behind the prompt."""
    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)
    usual = signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if usual:
        signal.signal(signal.SIGTERM, _ended)  # which leaves the terminal as it was
    try:
        tty.setcbreak(number, termios.TCSANOW)  # what was typed too early is not thrown away
        print(prompt, end="", flush=True)
        key = os.read(number, 32).decode("utf-8", "replace")  # a whole arrow key
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)
        if usual:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
    key = key or END
    print(key if key.isprintable() else "", flush=True)
    return key


def _ended(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def ask_line(prompt: str) -> str:
    """A line; the prompt is shown where a person reads it."""
    is_seen = sys.stdin is not None and sys.stdin.isatty()
    if is_seen:
        print(prompt, end="", flush=True)
    line = sys.stdin.readline() if sys.stdin is not None else ""
    return line.rstrip("\r\n") if line else END


def best_ask() -> Ask:
    return ask_key if can_read_keys() else ask_line


def pick_line(prompt: str) -> str:
    """A line for a question on stderr, so that an answer in JSON stays whole."""
    with contextlib.suppress(OSError):
        print(prompt, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()
