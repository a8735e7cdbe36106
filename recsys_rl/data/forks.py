"""Forked processes that compute: environments in worker processes, a loaded model in a server.

The threads of PyTorch's OpenMP pool do not survive a fork, and whoever forks inherits the belief
that they are there: the next operation large enough for several threads waits for them for ever.
With one thread nothing waits. PyTorch's own data loaders do the same in their workers.

A child may not raise the number again if its parent has computed with several threads; a process
started by "spawn" or "forkserver" may.
"""

from __future__ import annotations

import os
import sys

_forked = False  # whether this process is a child


def use_one_thread() -> None:
    """Compute with one thread from now on, if PyTorch was imported at all."""
    global _forked
    _forked = True
    set_num_threads = getattr(sys.modules.get("torch"), "set_num_threads", None)
    if set_num_threads is not None:
        set_num_threads(1)


def allowed_threads(wanted: int) -> int:
    """How many a process may compute with: a child that was forked has one."""
    return 1 if _forked else wanted


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=use_one_thread)
