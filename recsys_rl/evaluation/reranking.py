"""The paper's offline evaluation: the items that a user rated in the test part, re-ranked.

Source: Liu et al., arXiv 1810.12027, Algorithm 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from recsys_rl.data.counts import check_list_of_lengths
from recsys_rl.data.devices import CPU
from recsys_rl.data.histories import POSITIVE
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.random_streams import own_stream
from recsys_rl.envs.logged import RerankingEnv
from recsys_rl.evaluation.metrics import discounts
from recsys_rl.evaluation.scores import ScoreFunction, batches, joined
from recsys_rl.evaluation.sessions import roll_out
from recsys_rl.evaluation.statistics import Evaluation


class Reranking(NamedTuple):
    """Three rows: the model, the expectation of a random order, the best order."""

    model: Evaluation
    random: Evaluation
    oracle: Evaluation


def offline_reranking(
    score: ScoreFunction,
    history: Interactions,
    test: Interactions,
    ks: Sequence[int] = (5, 10),
    batch_size: int = 512,
    seed: int = 0,
) -> Reranking:
    """The paper's Algorithm 2: each test user's own test rows are put in order.

    At each step the best remaining row is taken, its logged rating is read, and (item, rating)
    joins the history the model ranks from next; the model decides what a poor rating changes.
    Metrics: precision@k (rating >= 4, divided by k even if the session is shorter), ndcg@k (gain
    2^rating - 1), binary_ndcg@k (gain 1 for rating >= 4; users without any do not count); with
    the prefix `long_` over the users with at least k test rows only. random is exact, not drawn.
    """
    check_list_of_lengths(history.n_items, ks=ks)
    history.check_same_ids(test)
    generator, users = own_stream(seed, "ties"), test.user.unique()
    environment = RerankingEnv(history, test, reward=lambda rating: rating, horizon=max(ks))
    parts, top = [], []
    for batch in batches(users, batch_size):
        if (history.mask_of(batch) & test.mask_of(batch)).any():
            raise ValueError("a test row is part of its user's history")
        environment.reset(options={"users": batch})
        item, read = roll_out(score, environment, max(ks), generator)
        parts.append(_metrics(read.cpu(), test.histories(batch).rating.cpu(), ks))
        top.append(item.cpu())
    rows = [joined(list(part)) for part in zip(*parts, strict=True)]
    lists, users = [torch.cat(top), None, None], users.cpu()
    return Reranking(
        *(Evaluation("offline re-ranking", m, users, t) for m, t in zip(rows, lists, strict=True))
    )


def _metrics(read: Tensor, logged: Tensor, ks: Sequence[int]) -> list[dict[str, Tensor]]:
    """The metrics [B] of the order taken, of a random order, and of the best order.

    read: ratings in the order taken [B, K]; logged: the session's [B, M]; both 0 at padding.
    Precision and DCG are linear in the gains, so a random order expects the mean gain everywhere.
    """
    steps, n_rows, weight = read.shape[1], (logged > 0).sum(1), discounts(read.shape[1])
    short = max(0, steps - logged.shape[1])
    logged = torch.nn.functional.pad(logged, (0, short)).sort(1, descending=True).values
    there, figures = torch.arange(steps, device=CPU) < n_rows[:, None], [{}, {}, {}]
    for name, binary in (("ndcg", False), ("binary_ndcg", True)):
        gain, gained = (
            (r >= POSITIVE).double() if binary else 2 ** r.double() - 1 for r in (logged, read)
        )
        mean, best = gain.sum(1, keepdim=True) / n_rows[:, None] * there, gain[:, :steps]
        for row, gains in zip(figures, (gained, mean, best), strict=True):
            for k in ks:
                dcg = gains[:, :k] @ weight[:k]  # 0 / 0 = NaN where no row is positive
                at_k = {f"{name}@{k}": dcg / (best[:, :k] @ weight[:k])}
                if binary:
                    at_k[f"precision@{k}"] = gains[:, :k].sum(1) / k
                row.update(at_k)
                row.update({f"long_{n}": v.where(n_rows >= k, torch.nan) for n, v in at_k.items()})
    return figures
