"""Lists, arrays and tensors that somebody gives, as arrays of NumPy.

This file needs no PyTorch.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def array_of(values: Any) -> np.ndarray:
    """The numbers of a list, an array, or a tensor wherever it is, as one array.

    An array that holds None alone where there is no such thing: lists of several lengths, masked
    arrays, tensors that are sparse, nested, quantised or without numbers.
    """
    none = np.asarray(None)
    try:
        if hasattr(values, "detach"):  # a tensor
            values = values.detach().cpu()
            values = values.float() if str(values.dtype) == "torch.bfloat16" else values
        return none if np.ma.is_masked(values) else np.asarray(values)
    except (TypeError, ValueError, RuntimeError):
        return none
