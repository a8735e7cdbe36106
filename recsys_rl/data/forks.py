"""PyTorch in forked processes.

The threads of OpenMP do not survive a fork, and a child waits for them for ever as soon as it
computes with more than one: with a model that its parent has used, or in an environment. Servers
that preload a model and fork their workers do just that. With one thread nobody has to be waited
for.
"""

from __future__ import annotations

import contextlib
import os

import torch


def _compute_with_one_thread() -> None:
    with contextlib.suppress(RuntimeError):  # other pools than OpenMP's may refuse
        torch.set_num_threads(1)


def survive_forks() -> None:
    """Every child that is forked from now on computes with one thread; spawned ones are as before.

    A child that sets more threads itself is on its own.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_compute_with_one_thread)
