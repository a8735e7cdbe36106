"""Weights of policies that are no releases: written whole or not at all, refused in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from recsys_rl.data.atomic_files import write_atomically

WEIGHTS = "weights.safetensors"


def write_policy(
    folder: Path,
    weights: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    texts: Mapping[str, str],
) -> None:
    """The weights last: where they are, all is. texts: other files by name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_atomically(folder / name, text.encode())
    write_atomically(folder / WEIGHTS, save(dict(weights), dict(metadata)))


def metadata_of(folder: Path) -> dict[str, str]:
    """What was written beside the weights; ValueError where there are none that can be read."""
    try:
        with safe_open(folder / WEIGHTS, "pt") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise unreadable(folder, error) from None


def load_weights(module: nn.Module, folder: Path) -> None:
    """ValueError where they cannot be read, or are of another module."""
    try:
        with safe_open(folder / WEIGHTS, "pt") as file:
            module.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (OSError, SafetensorError, RuntimeError) as error:
        raise unreadable(folder, error) from None


def unreadable(folder: Path, error: Exception) -> ValueError:
    """What to raise for a policy whose files are damaged."""
    reason = " ".join(str(error).split())
    return ValueError(
        f"the policy in {folder} cannot be read ({reason}): remove that folder, and train it again"
    )
