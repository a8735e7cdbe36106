"""What the agent has to beat: small models that rank from the history they are given.

Each is fitted by its constructor from training rows and is a score function: Histories ->
float32 [B, n_items], higher is better, nothing masked. None of them looks at `Histories.user`, so
strangers are served like anybody else. `min_rating` (where offered) drops lower ratings from the
training rows and from every history; without it every rating counts, whatever its value.

Sources: ItemKNN, cosine with shrinkage: Sarwar et al. 2001, Ferrari Dacrema et al. 2019;
EASE: Steck 2019 (arXiv:1905.03375); iALS: Hu, Koren & Volinsky 2008, as in the library `implicit`.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from evaluation import Evaluation, ScoreFunction, leave_one_out_metrics, own_stream, ranking_task
from utils import Histories, Interactions, Split

MAX_ITEMS = 10_000  # dense item-item matrices: 400 MB in float32, twice that while fitting


def items_of(histories: Histories, n_items: int, min_rating: float | None = None) -> Tensor:
    """The set of items of each history; without those shown but not rated, or below `min_rating`.

    -> int64 [B, H], ascending and without repetition, the rest is padding (n_items).
    """
    unread = histories.rating <= 0 if min_rating is None else histories.rating < min_rating
    item = histories.item.masked_fill(unread, n_items)
    item = item.sort(dim=1).values
    return item.masked_fill(F.pad(item[:, 1:] == item[:, :-1], (1, 0)), n_items)


def _liked(train: Interactions, min_rating: float | None) -> Interactions:
    return train if min_rating is None else train.select(train.rating >= min_rating)


def _counts(train: Interactions) -> Tensor:
    """Rows of each item -> float32 [n_items]."""
    return torch.bincount(train.item, minlength=train.n_items).float()


def _gram(train: Interactions, batch_size: int = 1024) -> Tensor:
    """How many users have both items -> float32 [n_items, n_items]; the diagonal: either.

    Raises ValueError for more than MAX_ITEMS items.
    """
    if train.n_items > MAX_ITEMS:
        raise ValueError(
            f"{train.n_items} items, but a dense item-item matrix is limited to {MAX_ITEMS}"
        )
    gram = torch.zeros(train.n_items, train.n_items)
    for users in torch.arange(train.n_users).split(batch_size):
        hot = train.mask_of(users).float()
        gram.addmm_(hot.T, hot)
    return gram


class Random:
    """Uniform scores, new ones at every call: the floor of every protocol."""

    def __init__(self, train: Interactions, seed: int = 0):
        self.n_items, self.generator = train.n_items, own_stream(seed, "random baseline")

    def __call__(self, histories: Histories) -> Tensor:
        return torch.rand(len(histories), self.n_items, generator=self.generator)


class Popularity:
    """The number of training rows, the same for everybody."""

    def __init__(self, train: Interactions, min_rating: float | None = None):
        self.counts = _counts(_liked(train, min_rating))

    def __call__(self, histories: Histories) -> Tensor:
        return self.counts.expand(len(histories), -1)


class RecentPopularity(Popularity):
    """Popularity among the latest `share` of all training rows.

    A share of rows and not of the calendar: most of ML-1M was rated in its first months.
    """

    def __init__(self, train: Interactions, share: float = 0.1, min_rating: float | None = None):
        if not 0 < share <= 1:
            raise ValueError(f"share is in (0, 1], not {share}")
        ordered = train.timestamp.sort(descending=True).values
        since = ordered[max(1, round(share * len(train))) - 1]
        super().__init__(train.select(train.timestamp >= since), min_rating)


class ItemItem:
    """The score of an item: the sum of its weights from the items that the history holds.

    `weights`: float32 [n_items + 1, n_items], from row to column; the last row is padding's, 0.
    """

    def __init__(self, weights: Tensor, min_rating: float | None):
        self.weights, self.min_rating = F.pad(weights, (0, 0, 0, 1)), min_rating

    def __call__(self, histories: Histories) -> Tensor:
        item = items_of(histories, self.weights.shape[1], self.min_rating)
        item = F.pad(item, (0, 1), value=len(self.weights) - 1)  # an empty history has a row too
        # A sum of rows is several times faster than multi-hot times dense, most so for 3 films.
        return F.embedding_bag(item, self.weights, mode="sum", padding_idx=len(self.weights) - 1)


class ItemKNN(ItemItem):
    """Cosine of binary item columns, shrunk towards 0 where few users have both.

    An item is scored by those of its `neighbours` nearest items that the history holds.
    """

    def __init__(
        self,
        train: Interactions,
        neighbours: int = 100,
        shrinkage: float = 10.0,
        min_rating: float | None = None,
    ):
        gram = _gram(_liked(train, min_rating))
        length = gram.diagonal().sqrt()
        # An item without rows has length 0 and no co-occurrence: 0, not 0 / 0.
        cosine = gram / (torch.outer(length, length) + shrinkage).clamp(min=1e-9)
        near = cosine.fill_diagonal_(0).topk(min(neighbours, len(gram)), dim=0)
        weights = torch.zeros_like(gram).scatter_(0, near.indices, near.values)
        super().__init__(weights, min_rating)


class EASE(ItemItem):
    """The item-item ridge regression without self-similarity, in closed form.

    `regularization` is Steck's lambda: what is added to the diagonal of the Gram matrix.
    """

    def __init__(
        self, train: Interactions, regularization: float = 500.0, min_rating: float | None = None
    ):
        if regularization <= 0:
            raise ValueError(f"regularization must be positive, not {regularization}")
        gram = _gram(_liked(train, min_rating)).double()
        gram.diagonal().add_(regularization)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
        weights = (inverse / -inverse.diagonal()).float().fill_diagonal_(0)
        super().__init__(weights, min_rating)


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
        from implicit.cpu.als import AlternatingLeastSquares
        from scipy.sparse import csr_matrix

        self.n_items, self.min_rating, self._csr = train.n_items, min_rating, csr_matrix
        rows = _liked(train, min_rating)
        self.model = AlternatingLeastSquares(
            factors, regularization, alpha, iterations=iterations, num_threads=1, random_state=seed
        )
        self.model.fit(self._matrix(rows.user, rows.item, train.n_users), show_progress=False)

    def _matrix(self, row: Tensor, item: Tensor, n_rows: int):
        ones = torch.ones(len(row)).numpy()
        return self._csr((ones, (row.numpy(), item.numpy())), (n_rows, self.n_items))

    def __call__(self, histories: Histories) -> Tensor:
        item = items_of(histories, self.n_items, self.min_rating)
        row, column = (item < self.n_items).nonzero(as_tuple=True)
        held = self._matrix(row, item[row, column], len(item))
        people = self.model.recalculate_user(range(len(item)), held)  # (B, factors)
        return torch.from_numpy(people @ self.model.item_factors.T)


def tune(
    model: Callable[..., ScoreFunction],
    grid: dict[str, Sequence[Any]],
    train: Interactions,
    judge: Callable[[ScoreFunction], Evaluation],
    metric: str = "ndcg@10",
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Fits `model(train, **settings)` for every combination of `grid`; `judge` sees VALIDATION.

    -> table (a row for each combination, in grid order: settings, the means of the judge's
    metrics, seconds to fit) and the settings with the best `metric`, the first of equals.
    `leave_one_out_judge` is the usual judge; whatever it is, it must never see the test part.
    """
    rows = []
    for values in itertools.product(*grid.values()):
        settings, start = dict(zip(grid, values, strict=True)), time.perf_counter()
        score = model(train, **settings)
        seconds = round(time.perf_counter() - start, 2)
        rows.append((settings, settings | judge(score).mean() | {"fit_seconds": seconds}))
    best, _ = max(rows, key=lambda row: row[1][metric])
    return pd.DataFrame([row for _, row in rows]), best


def leave_one_out_judge(split: Split, k: int = 10) -> Callable[[ScoreFunction], Evaluation]:
    """Judges by each user's validation row, ranked among all unseen items (protocol B)."""
    history, target = ranking_task(split, "validation")
    return lambda score: leave_one_out_metrics(score, history, target, k=k)
