"""The protocols that rank logged items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from recsys_rl.data.interactions import POSITIVE, Histories, Interactions
from recsys_rl.data.splits import Split, random_split
from recsys_rl.evaluation.metrics import (
    _sampled_metrics,
    _session_metrics,
    discounts,
    hit_rate,
    ndcg,
    rank_counts,
)
from recsys_rl.evaluation.scores import (
    ScoreFunction,
    batches,
    checked_scores,
    extended,
    joined,
    own_stream,
    top_k,
)
from recsys_rl.evaluation.statistics import Evaluation, percentile_interval, resampled_means


def sample_negatives(
    known: Interactions,
    users: Tensor,
    n: int = 99,
    generator: torch.Generator | None = None,
    batch_size: int = 1024,
) -> Tensor:
    """`n` different items for each entry of `users`, uniform over those without a row in `known`.

    `known` must hold all of the users' rows, in every part of a split; `users` int64 [B] may
    repeat. -> int64 [B, n], in random order. ValueError if a user has fewer than `n` to draw from.
    """
    drawn = []
    for batch in users.split(batch_size):
        keys = torch.rand(len(batch), known.n_items, generator=generator)
        seen = known.mask_of(batch)
        if (seen.sum(1) > known.n_items - n).any():
            raise ValueError(f"a user has fewer than {n} unknown items among {known.n_items}")
        drawn.append(keys.masked_fill_(seen, -1).topk(n).indices)
    return torch.cat(drawn)


def ranking_task(split: Split, part: str) -> tuple[Interactions, Interactions]:
    """(history, target) of a split's "validation" or "test" part.

    Validation is ranked from train rows; test from train *and* validation rows.
    """
    if part == "validation":
        return split.train, split.validation
    if part == "test":
        return split.train.concat(split.validation), split.test
    raise ValueError(f'part is "validation" or "test", not {part!r}')


def leave_one_out_metrics(
    score: ScoreFunction,
    history: Interactions,
    target: Interactions,
    negatives: Tensor | None = None,
    k: int = 10,
    batch_size: int = 512,
    seed: int = 0,
) -> Evaluation:
    """Protocols B (full ranking) and A (99 sampled negatives) from the same scores.

    Every user with a row in `target` (exactly one, not in `history`: ValueError) is ranked from
    all of their rows in `history`. hr@k, ndcg@k: the target among every item without a row in
    `history`. sampled_hr@k, sampled_ndcg@k: among `negatives` (int64 [len(target), 99], see
    `sample_negatives`). `seed` orders ties in the lists only.
    """
    if (target.user[1:] == target.user[:-1]).any():
        raise ValueError("leave-one-out needs one target row a user")
    if negatives is not None and len(negatives) != len(target):
        raise ValueError(f"{len(negatives)} rows of negatives for {len(target)} targets")
    generator, parts, top = own_stream(seed, "ties"), [], []
    for rows in batches(torch.arange(len(target)), batch_size):
        users, item = target.user[rows], target.item[rows]
        unseen = ~history.mask_of(users)
        if not unseen.gather(1, item[:, None]).all():
            raise ValueError("a target is part of its user's history")
        scores = checked_scores(score, history.histories(users), history.n_items)
        counts = rank_counts(scores, item, unseen)
        part = {f"hr@{k}": hit_rate(*counts, k), f"ndcg@{k}": ndcg(*counts, k)}
        if negatives is not None:
            others = negatives[rows]
            if not unseen.gather(1, others).all() or (others == item[:, None]).any():
                raise ValueError("negatives hold an item that the user has rated")
            part |= _sampled_metrics(scores, torch.arange(len(rows)), item, others, k)
        parts.append(part)
        top.append(top_k(scores, unseen, k, generator))
    return Evaluation("leave one out", joined(parts), target.user, torch.cat(top))


def random_positive_split(
    interactions: Interactions, test_share: float = 0.2, seed: int = 0
) -> Split:
    """Protocol C's data: rows with a rating above 3, split by rows at random -> Split."""
    return random_split(interactions.select(interactions.rating > 3), test_share, seed)


def random_positive_metrics(
    score: ScoreFunction,
    train: Interactions,
    test: Interactions,
    negatives: Tensor,
    k: int = 10,
    batch_size: int = 512,
    seed: int = 0,
) -> Evaluation:
    """Protocol C: every test positive against 99 items that are no positive of its user.

    `negatives`: int64 [len(test), 99], `sample_negatives(train.concat(test), test.user)`. Figures
    are means over test *rows* (`weights` = a user's test rows); the bootstrap resamples users.
    """
    if len(negatives) != len(test):
        raise ValueError(f"{len(negatives)} rows of negatives for {len(test)} test rows")
    known, users = train.concat(test), test.user.unique()
    generator, parts, top = own_stream(seed, "ties"), [], []
    for batch in batches(users, batch_size):
        scores = checked_scores(score, train.histories(batch), train.n_items)
        position, row = test.rows_of(batch)  # (M,)
        if known.mask_of(batch)[position[:, None], negatives[row]].any():
            raise ValueError("negatives hold a positive of the user")
        rows = _sampled_metrics(scores, position, test.item[row], negatives[row], k)
        n_rows = torch.bincount(position)
        means = {name: torch.bincount(position, value) / n_rows for name, value in rows.items()}
        parts.append(means | {"rows": n_rows})
        top.append(top_k(scores, ~train.mask_of(batch), k, generator))
    metrics = joined(parts)
    weights = metrics.pop("rows")
    return Evaluation("random positives", metrics, users, torch.cat(top), weights)


class Reranking(NamedTuple):
    """Protocol D's three rows: the model, the expectation of a random order, the best order."""

    model: Evaluation
    random: Evaluation
    oracle: Evaluation

    def share(self) -> dict[str, float]:
        """Metric name -> how much of the way from random (0) to oracle (1) the model goes."""
        model, low, high = (row.mean() for row in self)
        return {name: (model[name] - low[name]) / (high[name] - low[name]) for name in model}

    def share_interval(
        self, n_boot: int = 1000, level: float = 0.95, seed: int = 0
    ) -> dict[str, tuple[float, float]]:
        """Bootstrap interval of `share`, the same users drawn for all three rows."""
        model, low, high = (
            resampled_means(list(row.metrics.values()), None, n_boot, seed) for row in self
        )
        shares = ((model - low) / (high - low)).T
        return {
            n: percentile_interval(s, level)
            for n, s in zip(self.model.metrics, shares, strict=True)
        }


def offline_reranking(
    score: ScoreFunction,
    history: Interactions,
    test: Interactions,
    ks: Sequence[int] = (5, 10),
    batch_size: int = 512,
    seed: int = 0,
) -> Reranking:
    """Protocol D, the paper's Algorithm 2: each test user's own test rows are put in order.

    At each step the best remaining row is taken, its logged rating is read, and (item, rating)
    joins the history the model ranks from next; the model decides what a poor rating changes.
    Metrics: precision@k (rating >= 4, divided by k even if the session is shorter), ndcg@k (gain
    2^rating - 1), binary_ndcg@k (gain 1 for rating >= 4; users without any do not count); with
    the prefix `long_` over the users with at least k test rows only. random is exact, not drawn.
    """
    generator, users = own_stream(seed, "ties"), test.user.unique()
    parts, top = [], []
    for batch in batches(users, batch_size):
        session, past = test.histories(batch), history.histories(batch)
        item, read = _rerank(score, past, session, max(ks), test.n_items, generator)
        parts.append(_session_metrics(read, session.rating, ks))
        top.append(item)
    rows = [joined(list(part)) for part in zip(*parts, strict=True)]
    lists = [torch.cat(top), None, None]
    return Reranking(
        *(Evaluation("offline re-ranking", m, users, t) for m, t in zip(rows, lists, strict=True))
    )


def _rerank(
    score: ScoreFunction,
    history: Histories,
    session: Histories,
    steps: int,
    n_items: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Takes `steps` rows of each session, best first -> item, rating [B, steps], padded at the end.

    session.item, session.rating: [B, M], padded like any history.
    """
    left = session.item < n_items  # (B, M): rows not taken yet
    column = session.item.clamp(max=n_items - 1)
    items, ratings = [], []
    for _ in range(steps):
        scores = checked_scores(score, history, n_items).gather(1, column)
        scores.masked_fill_(~left, -torch.inf)
        best = left & (scores == scores.amax(1, keepdim=True))
        choice = torch.rand(best.shape, generator=generator).masked_fill_(~best, -1).argmax(1)
        choice, going = choice[:, None], left.any(1, keepdim=True)  # (B, 1)
        items.append(session.item.gather(1, choice).masked_fill(~going, n_items))
        ratings.append(session.rating.gather(1, choice).masked_fill(~going, 0))
        left = left.scatter(1, choice, False)
        history = extended(history, items[-1], ratings[-1], going)
    return torch.cat(items, 1), torch.cat(ratings, 1)


def three_in_three_out(
    score: ScoreFunction,
    people: Interactions,
    draws: int = 20,
    seeds: int = 3,
    k: int = 3,
    batch_size: int = 512,
    seed: int = 0,
) -> Evaluation:
    """Protocol E: strangers name `seeds` random films they like; how many of `k` shown do they?

    `people` holds all rows of users whom no model has met (`split_users`); those with at least
    seeds + k liked films (rating >= 4) take part, as user n_users. As on the command line, no
    stars are given: every seed enters with the rating POSITIVE, in random order. precision@k and
    hit@k are means over `draws` draws of the seeds; what is shown is liked only if it was rated.
    """
    liked, n_items = people.select(people.rating >= POSITIVE), people.n_items
    users = (liked.offsets.diff() >= seeds + k).nonzero().squeeze(1)
    # Two generators, so that every model meets the same seeds however often its scores tie.
    for_seeds, for_ties = (own_stream(seed, name) for name in ("seeds", "ties"))
    parts, top = [], []
    for batch in batches(users, batch_size):
        likes, stranger = liked.mask_of(batch), torch.full_like(batch, people.n_users)
        stars = torch.full((len(batch), seeds), POSITIVE)
        lists, found = [], []
        for _ in range(draws):
            keys = torch.rand(likes.shape, generator=for_seeds).masked_fill_(~likes, -1)
            given = keys.topk(seeds).indices  # (B, seeds)
            scores = checked_scores(score, Histories(stranger, given, stars), n_items)
            unseen = torch.ones_like(likes).scatter_(1, given, False)
            lists.append(top_k(scores, unseen, k, for_ties))
            shown = lists[-1].clamp(max=n_items - 1)
            found.append((likes.gather(1, shown) & (lists[-1] < n_items)).sum(1))
        share = torch.stack(found, 1).double() / k  # (B, draws)
        parts.append({f"precision@{k}": share.mean(1), f"hit@{k}": share.gt(0).double().mean(1)})
        top.append(torch.stack(lists, 1))
    return Evaluation("three in, three out", joined(parts), users, torch.cat(top))


def global_time_metrics(
    score: ScoreFunction,
    history: Interactions,
    target: Interactions,
    k: int = 10,
    batch_size: int = 512,
    seed: int = 0,
) -> Evaluation:
    """Protocol G: one cut in time for everybody (`split_by_time`), full ranking of unseen items.

    Users with a row on either side are ranked from all their `history`; every `target` row is
    relevant. hr@k: any of them in the top k; ndcg@k: binary gain, ideal of min(k, targets) hits.
    """
    users = ((history.offsets.diff() > 0) & (target.offsets.diff() > 0)).nonzero().squeeze(1)
    weight, generator = discounts(k), own_stream(seed, "ties")
    parts, top = [], []
    for batch in batches(users, batch_size):
        seen, relevant = history.mask_of(batch), target.mask_of(batch)
        if (seen & relevant).any():
            raise ValueError("a target is part of its user's history")
        scores = checked_scores(score, history.histories(batch), history.n_items)
        top.append(top_k(scores, ~seen, k, generator))
        relevant = torch.nn.functional.pad(relevant, (0, 1))  # padding is never relevant
        hits = relevant.gather(1, top[-1]).double()
        ideal = weight.cumsum(0)[relevant.sum(1).clamp(max=k) - 1]
        parts.append({f"hr@{k}": hits.amax(1), f"ndcg@{k}": hits @ weight / ideal})
    return Evaluation("global time", joined(parts), users, torch.cat(top))
