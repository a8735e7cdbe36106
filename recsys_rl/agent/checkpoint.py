"""Checkpoints: all that a training needs to go on exactly where it stopped.

A folder keeps two generations of a training, named after its configuration AND its data. Each file
has a checksum and is written whole or not at all; a damaged or foreign one is told from a good one,
and the generation before it is tried.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from recsys_rl.agent.config import Config
from recsys_rl.data.atomic_files import locked, sync_folder, write_atomically
from recsys_rl.data.counts import check_numbers
from recsys_rl.data.interactions import Interactions, fingerprint
from recsys_rl.data.notes import note, shortened, written
from recsys_rl.data.regular_files import opened

MAGIC = b"recsys_rl checkpoint 2\n"  # the number is the format's
# bytes; the name of a file has 255 at most, and behind the label ours have some more
LONGEST_LABEL = 200
Parts = Mapping[str, Any]  # name -> anything with state_dict and load_state_dict
# looks at the states of the parts and the progress; ValueError if they are of no such training
Check = Callable[[Mapping[str, Any], dict[str, Any]], None]


# what states of another form raise where they are read
UNFIT = LookupError, ValueError, RuntimeError, TypeError, AttributeError, ArithmeticError


class BadCheckpoint(RuntimeError):
    """One sentence that names the file and says what to do."""


class Checkpoints:
    """Where one training keeps its checkpoints.

    folder: one training at a time may use it (FolderInUse). label: the readable part of the name;
    it must say what neither configuration nor data do: the split, a reward or an agent class of
    one's own. every: seconds between two checkpoints. resume: go on from what is there; otherwise a
    checkpoint of the same training is refused, so that nothing is lost by mistake.
    """

    def __init__(
        self,
        folder: str | Path,
        label: str,
        config: Config,
        log: Interactions,
        *,
        every: float = 60.0,
        resume: bool = True,
    ) -> None:
        check_numbers(0, every=every)
        if not isinstance(label, str) or not label or label != os.path.basename(label):
            raise ValueError(f"label is a part of a file's name, not {written(label)}")
        if len(os.fsencode(label)) > LONGEST_LABEL:
            raise ValueError(
                f"{shortened(label)} is too long for the name of a checkpoint, which holds "
                f"{LONGEST_LABEL} bytes of it: give the data set a shorter name"
            )
        self.folder, self.every, self.resume = Path(folder), every, resume
        self.identity = {
            "config": json.dumps(config.to_dict()),
            "data": fingerprint(log, times=True),
        }
        key = hashlib.sha256(json.dumps(self.identity).encode()).hexdigest()[:12]
        self.latest = self.folder / f"{label}-{key}.ckpt"
        self.previous = self.folder / f"{label}-{key}.previous.ckpt"
        self._saved_at = time.monotonic()

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Hold the folder, and refuse what must not be overwritten."""
        with locked(self.folder):
            for left in self.folder.glob(f".{self.latest.stem}*.tmp"):  # of a write that was killed
                left.unlink()
            fresh = self.latest.with_suffix(".new")
            if fresh.exists() and not fresh.is_file():  # found now, not at the first save
                raise BadCheckpoint(f"{fresh} is in the place of a checkpoint: remove it")
            if self.there and not self.resume:
                raise BadCheckpoint(
                    f"{self.there[0]} is a checkpoint of this very training: resume it, or remove "
                    "it"
                )
            self._saved_at = time.monotonic()
            yield

    @property
    def there(self) -> list[Path]:
        """The generations that exist, the latest first."""
        return [path for path in (self.latest, self.previous) if path.exists()]

    @property
    def due(self) -> bool:
        return time.monotonic() - self._saved_at >= self.every

    def save(self, parts: Parts, progress: dict[str, Any]) -> None:
        """Write a generation; the one before it stays. BadCheckpoint where that is impossible."""
        content = io.BytesIO()
        states = {name: part.state_dict() for name, part in parts.items()}
        torch.save(self.identity | {"parts": states, "progress": progress}, content)
        payload = content.getbuffer()
        head = MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n"
        fresh = self.latest.with_suffix(".new")
        try:
            write_atomically(fresh, head, payload)
            if self.latest.exists():
                os.replace(self.latest, self.previous)
            os.replace(fresh, self.latest)
            sync_folder(self.folder)
        except OSError as error:
            kept = any(path.exists() for path in (self.latest, self.previous))
            way = "resume from the last good one" if kept else "train anew: none was written yet"
            raise BadCheckpoint(
                f"the checkpoint {self.latest} cannot be written ({error.strerror or error}): make "
                f"room and {way}"
            ) from error
        self._saved_at = time.monotonic()

    def load(
        self, parts: Parts, check: Check = lambda states, progress: None
    ) -> dict[str, Any] | None:
        """Restore `parts` from the latest good generation -> its progress; None if there is none.

        BadCheckpoint if there are files, but none of them is good. A checksum says that a file is
        whole; what is in it must be of the form that the parts have, and pass the check.
        """
        problems = []
        for path in (self.latest, self.previous):
            if not path.exists():
                continue
            try:
                saved = self._read(path)
                check(saved["parts"], saved["progress"])
                for name, part in parts.items():
                    part.load_state_dict(saved["parts"][name])
            except BadCheckpoint as error:
                problems.append((path, error))
            except UNFIT as error:
                reason = " ".join(str(error).split())  # PyTorch says it on several lines
                problem = BadCheckpoint(f"{path} does not fit this training ({shortened(reason)})")
                problems.append((path, problem))
            else:
                self._set_aside(problems)
                return saved["progress"]
        if problems:
            raise BadCheckpoint(
                "; ".join(str(error) for _, error in problems)
                + f": remove {' and '.join(str(path) for path, _ in problems)} to start anew"
            )
        return None

    def _set_aside(self, problems: list[tuple[Path, BadCheckpoint]]) -> None:
        """A bad file must not take the place of the good generation at the next save."""
        for path, error in problems:
            aside = path.with_suffix(".bad")
            try:
                os.replace(path, aside)
            except OSError as refused:
                reason = refused.strerror or refused
                what = "both" if aside.exists() else "it"
                raise BadCheckpoint(
                    f"{error}, and it cannot be renamed to {aside.name} ({reason}): remove {what} "
                    f"to go on from {self.previous.name}"
                ) from refused
            note(f"{error}; going on from {self.previous.name}")

    def _read(self, path: Path) -> dict[str, Any]:
        """The content of a file. Runs no code from it."""
        if not path.is_file():
            raise BadCheckpoint(f"{path} is a pipe, a device or a folder, and no checkpoint")
        try:
            with opened(path) as file:
                content = file.read()
        except OSError as error:
            raise BadCheckpoint(f"{path} cannot be read ({error.strerror or error})") from error
        name, _, rest = content.partition(b"\n")
        checksum, _, payload = rest.partition(b"\n")
        if not name.startswith(b"recsys_rl checkpoint"):
            raise BadCheckpoint(f"{path} is no checkpoint of this project")
        if name + b"\n" != MAGIC:
            raise BadCheckpoint(f"{path} is of another version of this project")
        if hashlib.sha256(payload).hexdigest().encode() != checksum:
            raise BadCheckpoint(f"{path} is damaged: its checksum does not fit")
        try:
            saved = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise BadCheckpoint(f"{path} holds something else than tensors and numbers") from error
        found = saved if isinstance(saved, dict) else {}
        if any(
            type(found.get(key)) is not str or found[key] != value
            for key, value in self.identity.items()
        ):
            raise BadCheckpoint(f"{path} belongs to another configuration or other data")
        if not isinstance(found.get("progress"), dict):
            raise BadCheckpoint(f"{path} does not say how far its training was")
        return saved

    def remove(self) -> None:
        """The training is over and its result is kept in another place."""
        for path in (self.latest.with_suffix(".new"), self.previous, self.latest):
            path.unlink(missing_ok=True)
