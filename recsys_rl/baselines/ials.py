"""iALS."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recsys_rl.baselines.counts import _liked, items_of
from recsys_rl.data.counts import check_counts, check_numbers
from recsys_rl.data.histories import Histories
from recsys_rl.data.interactions import Interactions


class IALS:
    """Implicit-feedback matrix factorisation; a history is folded in by one least-squares step.

    Fitted by the library `implicit` (only needed here: see requirements-dev.txt), on one thread
    and from `seed`, so a fit can be repeated. `alpha` is the confidence of a rated item, an
    unrated one has 1; `regularization` is the library's.
    """

    def __init__(
        self,
        train: Interactions,
        factors: int = 64,
        regularization: float = 0.01,
        alpha: float = 1.0,
        iterations: int = 15,
        seed: int = 0,
        min_rating: float | None = None,
    ):
        check_counts(factors=factors, iterations=iterations)
        check_numbers(0, regularization=regularization, alpha=alpha)
        from implicit.cpu.als import AlternatingLeastSquares
        from implicit.recommender_base import ModelFitError
        from scipy.sparse import csr_matrix

        self.n_items, self.min_rating, self._csr = train.n_items, min_rating, csr_matrix
        rows = _liked(train, min_rating)
        self.model = AlternatingLeastSquares(
            factors, regularization, alpha, iterations=iterations, num_threads=1, random_state=seed
        )
        held = self._matrix(rows.user, rows.item, train.n_users)
        try:
            self.model.fit(held, show_progress=False)
        except (ModelFitError, ValueError) as error:  # of its factors; of its linear algebra
            raise ValueError(
                f"iALS finds no factors with regularization = {regularization:g} and alpha = "
                f"{alpha:g} ({error}): make alpha smaller, or regularization larger"
            ) from None

    def _matrix(self, row: Tensor, item: Tensor, n_rows: int):
        ones = np.ones(len(row), np.float32)
        return self._csr((ones, (row.cpu().numpy(), item.cpu().numpy())), (n_rows, self.n_items))

    def __call__(self, histories: Histories) -> Tensor:
        item = items_of(histories, self.n_items, self.min_rating)
        row, column = (item < self.n_items).nonzero(as_tuple=True)
        held = self._matrix(row, item[row, column], len(item))
        users = self.model.recalculate_user(range(len(item)), held)  # (B, factors)
        return torch.from_numpy(users @ self.model.item_factors.T).to(item.device)
