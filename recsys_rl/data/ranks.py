"""One training in several processes: torch.distributed, gloo for CPUs and NCCL for CUDA.

    torchrun --nproc-per-node 2 -m recsys_rl.train --dataset ml-1m --agent DRR-set

A rank is one of the processes, numbered from 0. Each has the whole agent, its share of the sessions
and of every batch, a replay of its own and streams of random numbers of its own, by (seed, rank).
Gradients are the same on all ranks, and so are the weights. All here does nothing in a process that
is alone.

DistributedDataParallel reduces what a module's `forward` made. Here losses are methods that call
parts of several networks, an update descends two of them in turn, and each term of a loss is a mean
over rows of its own number: so `weighted` scales every term by its rows, and `averaged` reduces the
gradients of a network at once.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed
from torch.distributed.rendezvous import rendezvous

from recsys_rl.data.devices import CPU
from recsys_rl.data.notes import shortened
from recsys_rl.data.random_streams import own_stream

PATIENCE = datetime.timedelta(minutes=60)  # the ranks of a machine wait for its first's download
T = TypeVar("T")


class RankLost(RuntimeError):
    """Another process of the training has ended, or cannot be reached."""


def count() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Be one of the processes that torchrun has started; its environment variables say which.

    Rank 0 alone speaks: what the others print is dropped. A CUDA device is the one of this rank.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    with _lost():
        _join(backend)
    try:
        with contextlib.nullcontext() if rank() == 0 else _silence():
            yield
    finally:
        distributed.destroy_process_group()


def _join(backend: str) -> None:
    """torchrun keeps its store over restarts: the addresses of processes that are gone, too."""
    store, own, world = next(rendezvous("env://", timeout=PATIENCE))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = distributed.PrefixStore(f"attempt {attempt}", store)
    distributed.init_process_group(
        backend, store=store, rank=own, world_size=world, timeout=PATIENCE
    )


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with (
        open(os.devnull, "w") as nothing,
        contextlib.redirect_stdout(nothing),
        contextlib.redirect_stderr(nothing),
    ):
        yield


@contextlib.contextmanager
def _lost() -> Iterator[None]:
    """torch says by a RuntimeError that a connection is closed."""
    try:
        yield
    except RuntimeError as error:
        reason = shortened(re.sub(r"^\[\S*\] ", "", str(error)))  # where in torch it was
        raise RankLost(
            f"another process of this training has ended or cannot be reached ({reason})"
        ) from error


@contextlib.contextmanager
def first_of_machine_first() -> Iterator[None]:
    """One process of each machine goes in, and the others when it is through: it may download."""
    waits = count() > 1 and int(os.environ.get("LOCAL_RANK", "0")) > 0
    if waits:
        _barrier()
    yield
    if count() > 1 and not waits:
        _barrier()


def _barrier() -> None:
    _all_reduced(torch.zeros(1, device=CPU))


# -------------------------------------------------------------------------- shares and streams


def share(total: int, name: str) -> int:
    """How many of `total` sessions or rows are this rank's; ValueError where one has none."""
    if total < count():
        raise ValueError(f"{name} is {total}: {count()} processes cannot share that")
    return total // count() + (rank() < total % count())


def own_streams(generators: Sequence[torch.Generator], seed: int, when: str = "") -> None:
    """Let generators go on with numbers of this rank's; rank 0 goes on with what it would draw
    alone, unless `when` names another start than the training's."""
    if rank() > 0 or when:
        for number, generator in enumerate(generators):
            name = f"stream {number} of rank {rank()} {when}"
            generator.manual_seed(own_stream(seed, name).initial_seed())


# --------------------------------------------------------------------------- sums and averages


def _all_reduced(values: Tensor, how: Any = None) -> Tensor:
    with _lost():
        distributed.all_reduce(values, how or distributed.ReduceOp.SUM)
    return values


def largest(value: float) -> float:
    """The largest of the ranks' values, so that all of them do the same."""
    if count() == 1:
        return value
    how = distributed.ReduceOp.MAX
    own = torch.tensor(float(value), dtype=torch.float64, device=CPU)
    return float(_all_reduced(own, how))


def weighted(loss: Tensor, rows: Callable[[], int | Tensor]) -> Tensor:
    """A loss that is a mean over this rank's rows -> its part of the mean over all rows.

    The plain average of the parts over the ranks is the mean over all rows: of its value, and of
    its gradient.
    """
    if count() == 1:
        return loss
    own = torch.tensor(float(rows()), dtype=torch.float64, device=CPU)
    total = float(_all_reduced(own.clone()))
    return loss * (float(own) * count() / max(total, 1.0))


def mean(value: Tensor, rows: int) -> Tensor:
    """The mean over the rows of all ranks, where `value` is that over this rank's."""
    if count() == 1:
        return value
    sums = torch.stack([value * rows, torch.full_like(value, rows)])
    total, there = _all_reduced(sums)
    return total / there


@torch.no_grad()
def averaged(parameters: Sequence[Tensor], loss: Tensor) -> Tensor:
    """Replace the gradients by their average over ranks; the average of the loss is returned."""
    if count() == 1:
        return loss
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([*(each.reshape(-1) for each in gradients), loss.reshape(1)])
    flat = _all_reduced(flat) / count()
    *parts, loss = flat.split([*(each.numel() for each in gradients), 1])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))
    return loss.squeeze(0)


# ------------------------------------------------------------------------------ what one knows


def from_first(make: Callable[[], Any]) -> Any:
    """What rank 0 makes, for all; alone, what is made."""
    if count() == 1:
        return make()
    found = [make() if rank() == 0 else None]
    with _lost():
        distributed.broadcast_object_list(found, src=0)
    return found[0]


def gathered(value: Any) -> list[Any]:
    """What each rank has, in rank 0; elsewhere an empty list."""
    if count() == 1:
        return [value]
    found: list[Any] = [None] * count() if rank() == 0 else []
    with _lost():
        distributed.gather_object(value, found or None)
    return found


def own(parts: Sequence[T]) -> Sequence[T]:
    """Every `count`-th of them, this rank's."""
    return parts[rank() :: count()]


def together(parts: list[T]) -> list[T]:
    """What the ranks made of their `own` parts, in the order of all; every rank has the list."""
    if count() == 1:
        return parts
    found: list[Any] = [None] * count()
    with _lost():
        distributed.all_gather_object(found, [(part,) for part in parts])
    return [part for turn in zip_longest(*found, fillvalue=()) for (part,) in filter(None, turn)]
