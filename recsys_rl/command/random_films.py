"""Random films that many people know."""

from __future__ import annotations

import random

from recsys_rl.command import arguments
from recsys_rl.command.sources import Source, damaged
from recsys_rl.data.films import Film, without_duplicates


def draw_films(source: Source, seed: int) -> list[Film]:
    """Random films among the most liked ones; the same seed draws the same films."""
    if max(source.likes.values(), default=0) <= 0:
        raise damaged(f"{source.folder}/config.json does not say how often each film was liked")
    liked = [item for item in source.items if source.likes[item] > 0]
    liked.sort(key=lambda item: -source.likes[item])  # equals stay in the order of their ids
    pool = without_duplicates(source.films[item] for item in liked[: arguments.POOL])
    return random.Random(seed).sample(pool, min(arguments.DRAWN, len(pool)))
