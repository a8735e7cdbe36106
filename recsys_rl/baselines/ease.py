"""EASE."""

from __future__ import annotations

import torch

from recsys_rl.baselines.counts import _gram, _liked
from recsys_rl.baselines.neighbours import ItemItem
from recsys_rl.data.counts import check_positive
from recsys_rl.data.devices import exact
from recsys_rl.data.interactions import Interactions


class EASE(ItemItem):
    """The item-item ridge regression without self-similarity, in closed form.

    `regularization` is Steck's lambda: what is added to the diagonal of the Gram matrix.
    """

    def __init__(
        self, train: Interactions, regularization: float = 500.0, min_rating: float | None = None
    ):
        check_positive(regularization=regularization)
        gram = _gram(_liked(train, min_rating))
        gram = gram.to(exact(gram.device))
        gram.diagonal().add_(regularization)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
        weights = (inverse / -inverse.diagonal()).float().fill_diagonal_(0)
        super().__init__(weights, min_rating)
