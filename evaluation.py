"""Rankings to numbers: the metrics and every protocol of the study.

A model is a score function, `Callable[[Histories], Tensor]`: float32 [B, n_items], higher is
better. It masks nothing; the protocols do. NaN and +inf are errors, -inf means "never show this".

Ties are neither won nor lost. Where one target is ranked, metrics are the *expectation* over a
random order of equal scores, in closed form (McSherry & Najork 2008), so a constant scorer gets
exactly k / n. Where a list must be drawn up, equal scores are ordered at random (seeded).

What a protocol returns, and how sure its figures are: `uncertainty.py`, handed on from here.

Sources: leave-one-out with 99 negatives: He et al. 2017 (NCF); why sampled metrics are only
reported beside full ones: Krichene & Rendle 2020; offline re-ranking: Liu et al. 2018
(arXiv:1810.12027, Algorithm 2).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from uncertainty import (
    Difference,
    Evaluation,
    bootstrap_interval,
    paired_bootstrap,
    percentile_interval,
    resampled_means,
    seed_spread,
)
from utils import POSITIVE, Histories, Interactions, Split, random_split

__all__ = [
    "Difference",
    "Evaluation",
    "Reranking",
    "ScoreFunction",
    "batches",
    "bootstrap_interval",
    "checked_scores",
    "discounts",
    "extended",
    "global_time_metrics",
    "hit_rate",
    "joined",
    "leave_one_out_metrics",
    "list_statistics",
    "ndcg",
    "offline_reranking",
    "own_stream",
    "paired_bootstrap",
    "random_positive_metrics",
    "random_positive_split",
    "rank_counts",
    "ranking_task",
    "sample_negatives",
    "seed_spread",
    "three_in_three_out",
    "top_k",
]

ScoreFunction = Callable[[Histories], Tensor]


# ---------------------------------------------------------------- one target among candidates


def discounts(k: int) -> Tensor:
    """1 / log2(rank + 2) for the ranks 0..k-1 -> float64 [k]."""
    return 1 / torch.log2(torch.arange(k, dtype=torch.float64) + 2)


def rank_counts(scores: Tensor, target: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """How many candidates beat each target, and how many *others* tie with it.

    scores [B, n], target int64 [B], candidates bool [B, n] (the target may be among them or not)
    -> greater, ties: int64 [B].
    """
    own = scores.gather(1, target[:, None])  # (B, 1)
    greater = ((scores > own) & candidates).sum(1)
    tied = (scores == own) & candidates
    return greater, tied.sum(1) - tied.gather(1, target[:, None]).squeeze(1).long()


def hit_rate(greater: Tensor, ties: Tensor, k: int) -> Tensor:
    """Expected Hit@k of one target over a random order of ties -> float64 like `greater`."""
    return ((k - greater).double() / (ties + 1)).clamp(0, 1)


def ndcg(greater: Tensor, ties: Tensor, k: int) -> Tensor:
    """Expected NDCG@k of one target over a random order of ties -> float64 like `greater`."""
    gained = torch.cat([torch.zeros(1, dtype=torch.float64), discounts(k).cumsum(0)])  # (k + 1,)
    return (gained[(greater + ties + 1).clamp(max=k)] - gained[greater.clamp(max=k)]) / (ties + 1)


def own_stream(seed: int, name: str) -> torch.Generator:
    """A generator for `seed` whose numbers are its own.

    `torch.Generator().manual_seed(0)` is what anybody may have used for a model or the negatives.
    Were ties or strangers drawn from the same numbers, they would be correlated with the scores.
    """
    entropy = np.random.SeedSequence([seed, *name.encode()]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(entropy[0]) >> 1)


def top_k(scores: Tensor, candidates: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """The k best candidates, best first, equal scores in random order.

    scores [B, n], candidates bool [B, n] -> int64 [B, k]; n (padding) where a row has fewer than
    k candidates with a score above -inf.
    """
    n = scores.shape[1]
    masked = scores.masked_fill(~candidates, -torch.inf)
    values, items = masked.topk(min(k + 1, n))
    # Only rows with equal neighbours need the slow path: draw a random key for each tie.
    tied = (values[:, 1:] == values[:, :-1]).any(1).nonzero().squeeze(1)
    values, items = values[:, :k], items[:, :k]
    if len(tied):
        rows, last = masked[tied], values[tied, -1:]
        keys = torch.rand(rows.shape, generator=generator)
        keys = keys.add_(rows > last).masked_fill_(rows < last, -1)  # better ones first
        drawn = keys.topk(items.shape[1]).indices
        order = rows.gather(1, drawn).sort(dim=1, descending=True, stable=True)
        values[tied], items[tied] = order.values, drawn.gather(1, order.indices)
    items = items.masked_fill(values == -torch.inf, n)
    return torch.nn.functional.pad(items, (0, k - items.shape[1]), value=n)


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


# ---------------------------------------------------------------- what lists are made of


def list_statistics(top: Tensor, counts: Tensor) -> dict[str, float]:
    """What the lists [..., k] are made of; `counts` [n_items] are the items' rows in train.

    distinct: how many different films anybody is shown.
    coverage: that number as a share of the catalogue; k / n_items if all get the same list.
    mean_popularity: how many train rows the average recommended film has.
    popularity_percentile: share of the catalogue less popular than it (ties half); .5 is blind.
    """
    shown = top[top < len(counts)]
    distinct, ordered = len(shown.unique()), counts.sort().values
    below = torch.searchsorted(ordered, counts) + torch.searchsorted(ordered, counts, right=True)
    return {
        "distinct": float(distinct),
        "coverage": distinct / len(counts),
        "mean_popularity": float(counts[shown].double().mean()),
        "popularity_percentile": float(below[shown].double().mean()) / (2 * len(counts)),
    }


# ---------------------------------------------------------------- protocols


def checked_scores(score: ScoreFunction, histories: Histories, n_items: int) -> Tensor:
    """The scores, checked: right shape, on the CPU, no NaN, no +inf -> float32 [B, n_items]."""
    with torch.no_grad():
        scores = score(histories).to("cpu", torch.float32)
    if scores.shape != (len(histories), n_items):
        raise ValueError(f"scores {tuple(scores.shape)}, expected {(len(histories), n_items)}")
    if not scores.max() < torch.inf:  # a NaN anywhere makes the maximum NaN
        raise ValueError("scores hold NaN or +inf")
    return scores


def batches(users: Tensor, size: int) -> tuple[Tensor, ...]:
    """`users` [U] in order, `size` at a time -> int64 [<= size] each; ValueError if U = 0."""
    if not len(users):
        raise ValueError("no user to evaluate")
    return users.split(size)


def joined(parts: list[dict[str, Tensor]]) -> dict[str, np.ndarray]:
    """The metrics [B] of all batches, one after another -> name -> float32 [U]."""
    return {name: torch.cat([p[name] for p in parts]).float().numpy() for name in parts[0]}


def extended(history: Histories, item: Tensor, rating: Tensor, going: Tensor) -> Histories:
    """Histories [B, H] and one row [B, 1] -> [B, H + 1]; padding on the left if not `going`."""

    def appended(old: Tensor, new: Tensor) -> Tensor:
        return torch.where(going, torch.cat([old, new], 1), torch.cat([new, old], 1))

    return Histories(history.user, appended(history.item, item), appended(history.rating, rating))


def _sampled_metrics(
    scores: Tensor, position: Tensor, item: Tensor, others: Tensor, k: int
) -> dict[str, Tensor]:
    """Item [M] of the users at `position` [M] in scores [B, n] against others [M, 99]."""
    own, other = scores[position, item][:, None], scores[position[:, None], others]
    counts = (other > own).sum(1), (other == own).sum(1)
    return {f"sampled_hr@{k}": hit_rate(*counts, k), f"sampled_ndcg@{k}": ndcg(*counts, k)}


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


def _session_metrics(read: Tensor, logged: Tensor, ks: Sequence[int]) -> list[dict[str, Tensor]]:
    """Protocol D's metrics [B] of the order taken, of a random order, and of the best order.

    read: ratings in the order taken [B, K]; logged: the session's [B, M]; both 0 at padding.
    Precision and DCG are linear in the gains, so a random order expects the mean gain everywhere.
    """
    steps, n_rows, weight = read.shape[1], (logged > 0).sum(1), discounts(read.shape[1])
    short = max(0, steps - logged.shape[1])
    logged = torch.nn.functional.pad(logged, (0, short)).sort(1, descending=True).values
    there, figures = torch.arange(steps) < n_rows[:, None], [{}, {}, {}]
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
