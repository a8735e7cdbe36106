"""The figures of a training, as it goes, for TensorBoard: what `training.csv` holds at its end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from recsys_rl.agent.training import Callback, Progress
from recsys_rl.data.notes import note


@contextlib.contextmanager
def tensorboard(folder: Path | None) -> Iterator[tuple[Callback, ...]]:
    """Callbacks for `train`; none without a folder. ValueError where TensorBoard is not installed.

    A training that goes on from a checkpoint is written from its start, and takes the place of what
    is in the folder. Where the disk refuses its figures a note says so, and the training goes on.
    """
    if folder is None:
        yield ()
        return
    board = _Board(_writer(folder), folder)
    try:
        yield (board,)
    finally:
        board.close()


def check_tensorboard(folder: Path | None) -> None:
    """ValueError where TensorBoard is wanted and not installed."""
    if folder is not None:
        _writer_class()


def _writer(folder: Path) -> Any:
    return _writer_class()(str(folder), purge_step=0)


def _writer_class() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError(
            "TensorBoard is not installed: pip install 'recsys-rl[tensorboard]', or leave "
            "--tensorboard out"
        ) from None
    return SummaryWriter


class _Board:
    def __init__(self, writer: Any, folder: Path) -> None:
        self.writer, self.folder, self.rows, self.written = writer, folder, [], 0

    def __call__(self, progress: Progress) -> None:
        self.rows = progress.rows
        with self._noted():
            self._write(len(self.rows) - 1)  # validation adds to the latest row after this call

    def _write(self, end: int) -> None:
        for row in self.rows[self.written : end] if self.writer else ():
            if any(isinstance(value, Tensor) for value in row.values()):
                return  # not read yet, see `Progress.rows`
            for name, value in row.items():
                if name not in ("update", "stage"):
                    self.writer.add_scalar(name, value, row["update"])
            self.written += 1

    @contextlib.contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.writer = None
            note(
                f"no more figures for TensorBoard are written to {self.folder} "
                f"({error.strerror or error}); training.csv has them all"
            )

    def close(self) -> None:
        with self._noted():
            self._write(len(self.rows))
            if self.writer:
                self.writer.close()
