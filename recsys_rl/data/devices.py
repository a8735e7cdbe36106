"""Where tensors live, and what is done in another way there: all that depends on a device.

Networks are made and their first weights drawn on the CPU, then moved: a seed starts from the same
weights everywhere. Exploring, replay and environments draw from a generator of the device; splits,
negatives, seed items and ties are drawn on the CPU and moved, so that every device is evaluated
with the same ones.
"""

from __future__ import annotations

import contextlib
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

CPU = torch.device("cpu")
READ_EVERY = 50  # updates, where reading a number makes the processor wait for the device


def resolved(name: str) -> torch.device:
    """ "cpu", "cuda", "mps", or "auto": the first of cuda, mps and cpu that is there.

    ValueError, in a sentence, for one that is not.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    there["cpu"] = True
    if name == "auto":
        name = next(each for each, is_there in there.items() if is_there)
    if not there.get(name):
        found = ", ".join(each for each, is_there in there.items() if is_there)
        raise ValueError(
            f'device is "{name}", which PyTorch {torch.__version__} does not find on this machine: '
            f'there is {found}, and "auto" takes the first of cuda, mps and cpu'
        )
    return torch.empty(0, device=name).device  # with its number, as tensors have it


def generator_on(device: torch.device, seed: int) -> torch.Generator:
    """ValueError for what is no whole number of 64 bits."""
    whole = isinstance(seed, Integral) and not isinstance(seed, bool)
    if not whole or not -(2**63) <= seed < 2**64:
        raise ValueError(f"seed is a whole number of 64 bits, not {seed!r}")
    return torch.Generator(device=device).manual_seed(int(seed))


def set_state(generator: torch.Generator, state: Tensor) -> None:
    """Go on with the numbers of a saved generator; of another kind of device, with one's own."""
    if state.shape == generator.get_state().shape:
        generator.set_state(state)


def on_cpu(where: Tensor | torch.device) -> bool:
    """Whether the forms are taken that win on a processor, or those that win elsewhere.

    On a CPU it pays to leave out what does not count (padding, sessions that are over, rows that do
    not explore), to work in chunks that fit its cache, and to check every number. Elsewhere each of
    these asks the device for a size or a number, and waits for it: all rows are computed, library
    losses and attention are used, and numbers are checked every `read_every` updates.
    """
    return (where if isinstance(where, torch.device) else where.device).type == "cpu"


def read_every(device: torch.device) -> int:
    """After how many updates losses are read and checked.

    Where more than 1, the optimizer must skip steps by itself (`optimizer_options`): those of CUDA
    alone were made for that.
    """
    return 1 if device.type in ("cpu", "mps") else READ_EVERY


def products(device: torch.device, precision: str) -> contextlib.AbstractContextManager:
    """Where matrix products are made in a precision of the configuration; weights stay float32."""
    if not torch.amp.is_autocast_available(device.type):
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def refuse_precision(device: torch.device, precision: str) -> None:
    """ValueError, in a sentence, where matrix products do not come in it."""
    one = torch.ones(1, 1, device=device)
    try:
        with products(device, precision):
            found = (one @ one).dtype
    except (RuntimeError, TypeError):  # of cards and systems that are too old
        found = None
    if found != getattr(torch, precision):
        raise ValueError(
            f'precision is "{precision}", which PyTorch {torch.__version__} does not offer on '
            f'{device.type} here: leave it at "float32"'
        )


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device, without waiting for what is queued there (CUDA alone)."""
    return tensor.to(device, non_blocking=device.type == "cuda")


def figure(value: Tensor) -> float | Tensor:
    """A number to report: at once on the CPU, elsewhere a tensor that is read later."""
    value = value.detach()
    return float(value) if on_cpu(value) else value


def optimizer_options(device: torch.device) -> dict[str, Any]:
    """Adam in one kernel: of CPU and CUDA, and of the MPS of PyTorch 2.4 and later."""
    return {"fused": device.type in ("cpu", "cuda", "mps")}


def exact(device: torch.device) -> torch.dtype:
    """The type of sums over many numbers: float64, which MPS does not have."""
    return torch.float32 if device.type == "mps" else torch.float64
