"""Random numbers that belong to one purpose."""

from __future__ import annotations

from numbers import Integral

import numpy as np
import torch

from recsys_rl.data.devices import CPU, generator_on


def own_stream(seed: int, name: str) -> torch.Generator:
    """A generator for `seed` whose numbers are its own, on the CPU: the same on every device.

    `generator_on(CPU, 0)` is what anybody may have used for a model or the negatives.
    Were ties or seed items drawn from the same numbers, they would be correlated with the scores.
    """
    check_seed(seed)
    entropy = np.random.SeedSequence([int(seed), *name.encode()]).generate_state(1, np.uint64)
    return generator_on(CPU, int(entropy[0]) >> 1)


def check_seed(seed: int) -> None:
    """ValueError unless it is a whole number of at least 0."""
    if not isinstance(seed, Integral) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"seed is a whole number of at least 0, not {seed!r}")
