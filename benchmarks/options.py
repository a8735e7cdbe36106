"""Options that several benchmarks share, and how all of them end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from recsys_rl.agent.config import DEVICES
from recsys_rl.agent.training import Interrupted
from recsys_rl.data.devices import resolved
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.movielens import load_ratings
from recsys_rl.data.notes import say
from recsys_rl.train_command import PROBLEMS


def exit_with(main: Callable[[], object]) -> None:
    """Ends the program as `recsys_rl.train` does: what is wrong with the input, the data or the
    disk is said in a sentence, with exit code 2; a signal that stopped it has 128 more."""
    program = f"benchmarks.{Path(sys.argv[0]).stem}"
    try:
        main()
    except Interrupted as error:
        say(f"{program}: {error}")
        sys.exit(128 + error.signal)
    except KeyboardInterrupt:
        sys.exit(130)
    except PROBLEMS as error:
        say(f"{program}: {getattr(error, 'sentence', error)}")
        sys.exit(2)


def at_least(least: int) -> Callable[[str], int]:
    """The type of an option that is a whole number."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and least <= int(text) < 2**31):
            raise argparse.ArgumentTypeError(f"is a whole number, {least} or more, not {text!r}")
        return int(text)

    return read


def add_device(parser: argparse.ArgumentParser) -> None:
    known = ", ".join(DEVICES)
    parser.add_argument(
        "--device", default="cpu", type=_device, metavar="NAME", help=f"where tensors live: {known}"
    )


def _device(name: str) -> torch.device:
    if name not in DEVICES:
        raise argparse.ArgumentTypeError(f"is one of {', '.join(DEVICES)}, not {name!r}")
    try:
        return resolved(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def ratings_on(device: torch.device, folder: Path) -> Interactions:
    """The ratings of a MovieLens folder, there."""
    return Interactions.from_ratings(load_ratings(folder)).to(device)
