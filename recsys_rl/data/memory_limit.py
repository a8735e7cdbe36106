"""When a dense table is made at all, how much memory it may take, and one sentence where it would
take more."""

from __future__ import annotations

import math
import os

SETTING = "RECSYS_RL_TABLE_GIB"  # environment variable: the limit, in GiB
GIB = 2**30
DENSE_CELLS = 10**8  # pairs of 10,000 items; ML-1M has 2.2e7 of users and items
_DEFAULT = 4 * GIB  # where the memory of the machine is not known


def is_small(rows: int, columns: int) -> bool:
    """Whether the exact form with a dense table [rows, columns] is taken, and not the large one.

    By size alone, so that the same data give the same model on every machine.
    """
    return rows * columns <= DENSE_CELLS


def table_limit() -> int:
    """Bytes that one dense table may take: `RECSYS_RL_TABLE_GIB`, else half of the memory."""
    text = os.environ.get(SETTING)
    if text is None:
        return _memory() // 2 if _memory() else _DEFAULT
    try:
        gib = float(text)
    except ValueError:
        gib = math.nan
    if not 0 < gib < math.inf:
        raise ValueError(f"{SETTING} must be a number of GiB above 0, not {text!r}")
    return int(gib * GIB)


def _memory() -> int:
    """Bytes of this machine, or of the container it runs in; 0 if unknown."""
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return 0
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            return min(whole, int(file.read()))
    except (OSError, ValueError):  # no container, or "max"
        return whole


def refuse_dense(rows: int, columns: int, what: str, instead: str, each: int = 4) -> None:
    """ValueError where a table [rows, columns] would take more than `table_limit`.

    what: who needs it. instead: what to choose. each: bytes for each number, with all copies that
    exist at once while the table is made.
    """
    size, limit = rows * columns * each, table_limit()
    if size > limit:
        raise ValueError(
            f"{what} needs a dense table of {rows:,} x {columns:,}, which takes "
            f"{size / GIB:.2g} GiB of memory where {limit / GIB:.2g} GiB are allowed: {instead}, "
            f"or allow more with the environment variable {SETTING}"
        )
