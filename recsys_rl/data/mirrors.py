"""One file from one mirror: in time, fast enough, and no larger than it can be."""

from __future__ import annotations

import contextlib
import http.client
import queue
import socket
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from recsys_rl.data.bars import on_stderr

WINDOW = 10.0  # seconds; in each of them a mirror has to send


LEAST_SPEED = 10_000.0  # bytes a second on average, and it has to be done within


DEADLINE = 3600.0  # seconds


def fetch(url: str, path: Path, most: int, timeout: float) -> None:
    """Downloads `url`, at most `most` bytes, into `path`.

    Raises OSError if the connection ends before the file does or is too slow, ValueError for a
    length that cannot be right.
    """
    name = url.rsplit("/", 1)[-1]
    with _open(url, timeout) as response, path.open("wb") as file:
        total = _declared_length(response, most)
        bar = tqdm(total=total, desc=name, unit="B", unit_scale=True, leave=False, **on_stderr())
        with bar, _Watch(response) as watch:
            while not watch.verdict and (block := _next(response)):
                watch.received += len(block)
                if watch.received > most:
                    raise ValueError(f"it sends more than the {most:,} bytes of the official zip")
                file.write(block)
                bar.update(len(block))
    size = path.stat().st_size
    if total is not None and size != total:
        raise OSError(f"the connection ended after {size:,} of {total:,} bytes")
    if size == 0:
        raise OSError("it sent nothing")


def _next(response: http.client.HTTPResponse) -> bytes:
    """What has arrived; nothing at the end. `read` would wait until a whole block is there."""
    try:
        return response.read1(1 << 16)
    except http.client.IncompleteRead:
        raise OSError("the connection ended before the file did") from None


def _declared_length(response: http.client.HTTPResponse, most: int) -> int | None:
    """Content-Length in bytes. Raises ValueError where no zip of this set can have it."""
    text = response.headers.get("Content-Length")
    if text is None:
        return None
    digits = text.strip()
    if not (digits.isascii() and digits.isdecimal()):
        raise ValueError(f"its Content-Length, {digits[:40]!r}, is no number of bytes")
    if len(digits) > 15:  # longer ones cannot be shown, nor counted by a progress bar
        raise ValueError(f"its Content-Length, a number of {len(digits):,} digits, cannot be right")
    if int(digits) > most:
        raise ValueError(
            f"it declares {int(digits):,} bytes, more than the {most:,} of the official zip"
        )
    return int(digits)


def _open(url: str, timeout: float) -> http.client.HTTPResponse:
    """`urlopen`, over after `timeout` seconds in all: its own time-out starts afresh for every
    address and redirect, and does not hold at all while a name is being looked up."""
    answer: queue.Queue = queue.Queue()
    late = threading.Event()

    def work() -> None:
        try:
            response = urllib.request.urlopen(url, timeout=timeout)
        except Exception as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            answer.put(error)
        else:
            answer.put(response)
            if late.is_set():
                response.close()

    threading.Thread(target=work, daemon=True).start()
    try:
        result = answer.get(timeout=timeout)
    except queue.Empty:
        late.set()
        raise TimeoutError("timed out") from None  # the words of a socket's own time-out
    if isinstance(result, Exception):
        raise result
    return result


class _Watch:
    """Hangs up on a mirror that is slower than LEAST_SPEED or not done by DEADLINE.

    From a thread of its own: where a byte a second arrives inside the header of a chunk, a single
    read takes for ever although the socket never times out.
    """

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.received = 0  # bytes, counted by whoever reads
        self.verdict = ""
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._line: socket.socket | None = None
        with contextlib.suppress(OSError, AttributeError):  # a file:// mirror has none
            self._line = socket.fromfd(response.fileno(), socket.AF_INET, socket.SOCK_STREAM)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        self._done.set()
        self._thread.join()
        if self._line:
            self._line.close()
        if self.verdict and (error is None or isinstance(error, Exception)):
            raise TimeoutError(self.verdict) from error

    def _run(self) -> None:
        end, before = time.monotonic() + DEADLINE, 0
        while not self.verdict:
            if self._done.wait(max(0, min(WINDOW, end - time.monotonic()))):
                return
            news, before = self.received - before, self.received
            if time.monotonic() >= end:
                self.verdict = f"not done within {DEADLINE:g} s"
            elif news < LEAST_SPEED * WINDOW:
                self.verdict = f"too slow: it sent {news:,} bytes in {WINDOW:g} s"
        if self._line:
            with contextlib.suppress(OSError):  # it is down already
                self._line.shutdown(socket.SHUT_RDWR)
