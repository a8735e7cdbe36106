"""Item vectors from co-occurrence, and principal components of likes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from recsys_rl.data.counts import check_counts
from recsys_rl.data.histories import POSITIVE
from recsys_rl.data.interactions import Interactions, refuse_empty
from recsys_rl.data.memory_limit import is_small, refuse_dense
from recsys_rl.embeddings import contexts as limited
from recsys_rl.embeddings.sparse import CentredOnes, Ones

EMBEDDING_STD = 0.05


def refuse_pairs(n_items: int, contexts: int | None = None) -> None:
    """ValueError where `Cooccurrence` has too many items for its dense table."""
    columns = min(contexts or limited.default_contexts(n_items), n_items)
    instead = (
        'start from state.embeddings="random" or fewer state.contexts, leave out films by '
        "min_ratings"
    )
    # a table of contexts is worked on in place, and multiplied once
    refuse_dense(
        n_items, columns, "co-occurrence of films", instead, 20 if columns == n_items else 6
    )


def refuse_likes(train: Interactions, k: int = 256) -> None:
    """ValueError where `like_components` has too many users and items for its dense tables."""
    instead = 'leave out what reads them (an agent: state.linear=""), films by min_ratings'
    users = int((train.offsets.diff() > 0).sum())
    if is_small(users, train.n_items):
        refuse_dense(users, train.n_items, "likes of all users", instead, each=5)
    else:  # products with all users, with all items, and their decompositions
        refuse_dense(users + train.n_items, k, "components of likes", instead, each=16)


class Cooccurrence:
    """Item vectors from who is rated near whom, and biases from how often: a start worth epochs.

    Counts of pairs of items at most `reach` rows apart in a log, weighted by 1 / sqrt(distance), or
    without `reach` counts of the users who have both, are turned into positive pointwise mutual
    information; its truncated singular vectors, scaled to the spread of a random start, are the
    vectors (Levy & Goldberg, NIPS 2014). contexts: as many columns of the information, those of the
    most frequent items, are read; None: all of a small catalogue (`contexts.default_contexts`).

    item: float32 [n_items, k]; bias: float32 [n_items], log popularity less its mean.
    """

    def __init__(
        self,
        log: Interactions,
        k: int,
        generator: torch.Generator,
        reach: int | None = 10,
        contexts: int | None = None,
    ) -> None:
        check_counts(k=k)
        given = {"reach": reach, "contexts": contexts}
        check_counts(**{name: count for name, count in given.items() if count is not None})
        contexts = contexts or limited.default_contexts(log.n_items)
        refuse_pairs(log.n_items, contexts)
        if contexts < log.n_items:
            items = limited.most_frequent(log, contexts)
            near = reach is not None
            table = limited.near(log, reach, items) if near else limited.shared(log, items)
            vectors = limited.extended(table, items, k)
        else:
            information = self._shared(log) if reach is None else self._information(log, reach)
            left, strength = self._singular(information, k, generator)
            vectors = left * strength.sqrt()
        vectors = F.pad(vectors, (0, k - vectors.shape[1]))  # there may be fewer items than k
        vectors = vectors - vectors.mean(0)
        # a rotation spreads the strong directions over all columns, so over all attention heads
        rotation, _ = torch.linalg.qr(_normal((k, k), generator, vectors))
        tiny = torch.finfo(torch.float32).tiny  # 0 where everybody has the same items
        spread = vectors.std().nan_to_num(0).clamp(min=tiny)
        self.item = vectors / spread * EMBEDDING_STD @ rotation
        popularity = torch.bincount(log.item, minlength=log.n_items).float().add(1).log()
        self.bias = popularity - popularity.mean()

    @staticmethod
    def _information(log: Interactions, reach: int) -> Tensor:
        n = log.n_items
        pairs = log.rating.new_zeros(n * n)
        for distance in range(1, reach + 1):
            together = log.user[distance:] == log.user[:-distance]
            place = (log.item[:-distance] * n + log.item[distance:])[together]
            pairs += torch.bincount(place, minlength=n * n) * distance**-0.5
        pairs = pairs.view(n, n)
        pairs = pairs + pairs.T
        margin = pairs.sum(1) + 1e-9
        return (pairs * margin.sum() / torch.outer(margin, margin)).clamp(min=1).log()

    @staticmethod
    def _shared(log: Interactions) -> Tensor:
        """Positive mutual information of having both items; one row more shrinks rare ones."""
        pairs = log.rating.new_zeros(log.n_items, log.n_items)
        for users in torch.arange(log.n_users, device=pairs.device).split(1024):
            rated = log.mask_of(users).float()
            pairs.addmm_(rated.T, rated)
        margin = pairs.diagonal() + 1
        users = (log.offsets.diff() > 0).sum()
        information = (pairs * users / torch.outer(margin, margin)).clamp(min=1).log()
        return information.fill_diagonal_(0)

    @staticmethod
    def _singular(
        matrix: Tensor, k: int, generator: torch.Generator, passes: int = 6
    ) -> tuple[Tensor, Tensor]:
        """The k leading singular vectors and values, by subspace iteration (Halko et al. 2011)."""
        basis = _normal((len(matrix), k + 16), generator, matrix)
        for _ in range(passes):
            basis, _ = torch.linalg.qr(matrix @ basis)
        left, strength, _ = torch.linalg.svd(basis.T @ matrix, full_matrices=False)
        return (basis @ left)[:, :k], strength[:k]


def like_components(
    train: Interactions, k: int, generator: torch.Generator, rounds: int = 8
) -> tuple[Tensor, Tensor]:
    """The likes of the training users -> share float32 [V], components float32 [V, k].

    Share: of the users who like the item (not rated is not liked). Components: the k principal
    ones of the likes less that share (fewer, where there are fewer users or items), scaled so that
    over the training users their coordinates have mean 0 and variance 1; the products of two
    items' rows are then their covariance.
    """
    check_counts(k=k, rounds=rounds)
    refuse_empty(train)
    refuse_likes(train)
    rows = train.select(train.rating >= POSITIVE)
    met = train.offsets.diff() > 0  # users without a row are none of the training's
    if is_small(int(met.sum()), train.n_items):
        likes = rows.mask_of(met.nonzero().squeeze(1)).float()  # (U, V)
        share = likes.mean(0)
        likes = likes.sub_(share).div_(len(likes) ** 0.5)
    else:  # the same matrix, never made
        likes = CentredOnes(Ones(rows, met))
        share = likes.mean
    width = min(k + 10, *likes.shape)
    basis = _normal((train.n_items, width), generator, share)
    for _ in range(rounds):
        basis = torch.linalg.qr(likes.T @ (likes @ basis)).Q
    _, spread, turn = torch.linalg.svd(likes @ basis, full_matrices=False)
    return share, (basis @ turn.T * spread)[:, :k]


def like_vectors(train: Interactions, k: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Items by who likes them -> vectors float32 [V, k + 2], prior mean float32 [k + 2].

    Columns: the share; the k components of `like_components` (fewer where it finds fewer), scaled
    alike, so that one ridge penalty suits them all; 1. The prior, 1 for the share and 0 for the
    rest, is the average training user.
    """
    share, components = like_components(train, k, generator)
    vectors = torch.cat([share.unsqueeze(1), components, share.new_ones(len(share), 1)], 1)
    return vectors, _first(vectors)


def _first(vectors: Tensor) -> Tensor:
    """1 for the first column, 0 for the others."""
    return F.one_hot(torch.tensor(0, device=vectors.device), vectors.shape[1]).float()


def _normal(size: tuple[int, int], generator: torch.Generator, beside: Tensor) -> Tensor:
    """Numbers of N(0, 1) where another tensor is."""
    return torch.randn(size, generator=generator, device=generator.device).to(beside.device)
