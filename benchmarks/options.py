"""Options that several benchmarks share, and how all of them end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from recsys_rl.agent.config import DEVICES
from recsys_rl.data.devices import resolved
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.movielens import load_ratings
from recsys_rl.train_command import ended


def exit_with(main: Callable[[], object]) -> None:
    """Runs the main function of a benchmark and ends the program, as `recsys_rl.train` ends."""
    try:
        sys.exit(ended(f"benchmarks.{Path(sys.argv[0]).stem}", main))
    except KeyboardInterrupt:
        sys.exit(130)


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
