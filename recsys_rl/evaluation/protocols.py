"""Protocols that rank logged items.

Sources: leave-one-out with 99 negatives: He et al. 2017 (NCF); why sampled metrics are only
reported beside full ones: Krichene & Rendle 2020. `docs/protocols.md` says what to believe.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from recsys_rl.data import ranks
from recsys_rl.data.counts import check_counts, check_lengths
from recsys_rl.data.devices import CPU
from recsys_rl.data.histories import Histories
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.memory_limit import is_small
from recsys_rl.data.random_streams import own_stream
from recsys_rl.data.splits import Split, random_split
from recsys_rl.evaluation.metrics import (
    discounts,
    hit_rate,
    ndcg,
    rank_counts,
    sampled_metrics,
)
from recsys_rl.evaluation.scores import (
    ScoreFunction,
    checked_scores,
    joined,
    shared,
    top_k,
)
from recsys_rl.evaluation.statistics import Evaluation


def sample_negatives(
    known: Interactions,
    users: Tensor,
    n: int = 99,
    generator: torch.Generator | None = None,
    batch_size: int = 1024,
    allow_fewer: bool = False,
) -> Tensor:
    """`n` different items for each entry of `users`, uniform over those without a row in `known`.

    `known` must hold all of the users' rows, in every part of a split; `users` int64 [B] may
    repeat. -> int64 [B, n], in random order. ValueError if a user has fewer than `n` to draw from;
    with `allow_fewer` such a user's row is all -1, and sampled metrics leave them out.
    """
    check_counts(batch_size=batch_size)
    check_lengths(known.n_items, n=n)
    if not isinstance(users, Tensor) or users.dim() != 1 or users.dtype != torch.int64:
        raise ValueError("users are a tensor int64 [B] of user indices")
    if known.n_items < n and allow_fewer:
        return users.new_full((len(users), n), -1)
    draw = _by_keys if is_small(known.n_items, known.n_items) else _by_rejection
    drawn = []
    for batch in users.split(int(batch_size)):
        seen = known.mask_of(batch)
        fewer = seen.sum(1) > known.n_items - n
        if fewer.any() and not allow_fewer:
            raise ValueError(f"a user has fewer than {n} unknown items among {known.n_items}")
        drawn.append(draw(seen, n, generator).masked_fill_(fewer.unsqueeze(1), -1))
    return torch.cat(drawn)


def _by_keys(seen: Tensor, n: int, generator: torch.Generator | None) -> Tensor:
    """n items not in `seen` (bool [B, V]): those with the largest of V random keys -> [B, n]."""
    keys = torch.rand(seen.shape, generator=generator, device=CPU).to(seen.device)
    return keys.masked_fill_(seen, -1).topk(n).indices


def _by_rejection(seen: Tensor, n: int, generator: torch.Generator | None) -> Tensor:
    """The same from 2 n draws, of which the first n that are new and not seen count."""
    drawn = torch.randint(seen.shape[1], (len(seen), 2 * n), generator=generator, device=CPU)
    drawn = drawn.to(seen.device)
    ordered, order = drawn.sort(dim=1, stable=True)
    again = torch.nn.functional.pad(ordered[:, 1:] == ordered[:, :-1], (1, 0))
    fits = ~torch.empty_like(again).scatter_(1, order, again) & ~seen.gather(1, drawn)
    place = fits.cumsum(1)
    place = torch.where(fits & (place <= n), place - 1, n)  # the last column is thrown away
    items = drawn.new_zeros(len(seen), n + 1).scatter_(1, place, drawn)[:, :n]
    few = (fits.sum(1) < n).nonzero().squeeze(1)
    items[few] = _by_keys(seen[few], n, generator)
    return items


def ranking_task(split: Split, part: str) -> tuple[Interactions, Interactions]:
    """(history, target) of a split's "validation" or "test" part.

    Validation is ranked from train rows; test from train *and* validation rows.
    """
    if part == "validation":
        return split.train, split.validation
    if part == "test":
        return split.train.concat(split.validation), split.test
    raise ValueError(f'part is "validation" or "test", not {part!r}')


# What a model is told beside the order of a history, and how a protocol's name ends then.
READS = {"order": "", "past": ", times of past ratings", "request": ", time of the request"}


def histories_before(
    history: Interactions, target: Interactions, rows: Tensor, reads: str = "order"
) -> Histories:
    """What is known of the users of some target rows, int64 [B], when their item is asked for.

    reads: "order" alone; "past", with the times of the ratings in `history`; "request", with the
    time of the target's rating, too, which a service would have to know beforehand.
    """
    if reads not in READS:
        raise ValueError(f"reads is one of {tuple(READS)}, not {reads!r}")
    known = history.histories(target.user[rows], times=reads != "order")
    return replace(known, request=target.timestamp[rows]) if reads == "request" else known


def leave_one_out_metrics(
    score: ScoreFunction,
    history: Interactions,
    target: Interactions,
    negatives: Tensor | None = None,
    k: int = 10,
    batch_size: int = 512,
    seed: int = 0,
    reads: str = "order",
) -> Evaluation:
    """Full ranking, and ranking among 99 sampled negatives, from the same scores.

    Every user with a row in `target` (exactly one, not in `history`: ValueError) is ranked from
    all of their rows in `history`. hr@k, ndcg@k: the target among every item without a row in
    `history`. sampled_hr@k, sampled_ndcg@k: among `negatives` (int64 [len(target), 99], see
    `sample_negatives`), NaN for a row of -1. `seed` orders ties in the lists only.
    reads: what a model that reads the clock is told, see `histories_before`.
    """
    check_lengths(history.n_items, k=k)
    history.check_same_ids(target)
    if (target.user[1:] == target.user[:-1]).any():
        raise ValueError("leave-one-out needs one target row a user")
    if negatives is not None:
        _check_negatives(negatives, target)
    generator, parts, top = own_stream(seed, "ties"), [], []
    for rows in shared(torch.arange(len(target), device=target.user.device), batch_size):
        users, item = target.user[rows], target.item[rows]
        unseen = ~history.mask_of(users)
        if not unseen.gather(1, item[:, None]).all():
            raise ValueError("a target is part of its user's history")
        scores = checked_scores(
            score, histories_before(history, target, rows, reads), history.n_items
        )
        counts = rank_counts(scores, item, unseen)
        part = {f"hr@{k}": hit_rate(*counts, k), f"ndcg@{k}": ndcg(*counts, k)}
        if negatives is not None:
            kept = (negatives[rows, 0] >= 0).nonzero().squeeze(1)  # the others have too few
            others = negatives[rows[kept]]
            if not unseen[kept].gather(1, others).all() or (others == item[kept, None]).any():
                raise ValueError("negatives hold an item that the user has rated")
            sampled = sampled_metrics(scores, kept, item[kept], others, k)
            kept = kept.cpu()
            part |= {name: _at(kept, value, len(rows)) for name, value in sampled.items()}
        parts.append(part)
        top.append(top_k(scores, unseen, k, generator).cpu())
    parts, top = ranks.together(parts), ranks.together(top)
    return Evaluation("leave one out", joined(parts), target.user.cpu(), torch.cat(top))


def _check_negatives(negatives: Tensor, target: Interactions) -> None:
    """ValueError unless each target has a row of different items, or a row of -1 for too few."""
    whole = isinstance(negatives, Tensor) and negatives.dtype == torch.int64
    if not whole or negatives.dim() != 2 or not negatives.shape[1]:
        raise ValueError("negatives are a tensor int64 [targets, n]: `sample_negatives` draws them")
    if len(negatives) != len(target):
        raise ValueError(f"{len(negatives)} rows of negatives for {len(target)} targets")
    drawn = negatives[(negatives != -1).any(1)].sort(1).values
    if ((drawn < 0) | (drawn >= target.n_items)).any():
        raise ValueError(f"negatives are items, 0 .. {target.n_items - 1}, or a row of -1")
    if (drawn[:, 1:] == drawn[:, :-1]).any():
        raise ValueError("negatives hold an item twice: `sample_negatives` draws different ones")


def _at(place: Tensor, values: Tensor, length: int) -> Tensor:
    """float64 [length]: the values at their places, NaN elsewhere."""
    return values.new_full((length,), torch.nan).index_copy_(0, place, values)


def random_positive_split(
    interactions: Interactions, test_share: float = 0.2, seed: int = 0
) -> Split:
    """Rows with a rating above 3, split by rows at random -> Split."""
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
    """Every test positive against 99 items that are no positive of its user.

    `negatives`: int64 [len(test), 99], `sample_negatives(train.concat(test), test.user)`; a user
    with rows of -1 counts as NaN. Figures
    are means over test *rows* (`weights` = a user's test rows); the bootstrap resamples users.
    """
    check_lengths(train.n_items, k=k)
    _check_negatives(negatives, test)
    known, users = train.concat(test), test.user.unique()
    generator, parts, top = own_stream(seed, "ties"), [], []
    for batch in shared(users, batch_size):
        scores = checked_scores(score, train.histories(batch), train.n_items)
        position, row = test.rows_of(batch)  # (M,)
        kept = (negatives[row, 0] >= 0).nonzero().squeeze(1)  # the others have too few
        others = negatives[row[kept]]
        if known.mask_of(batch)[position[kept, None], others].any():
            raise ValueError("negatives hold a positive of the user")
        sampled = sampled_metrics(scores, position[kept], test.item[row[kept]], others, k)
        position, kept = position.cpu(), kept.cpu()
        rows = {name: _at(kept, value, len(row)) for name, value in sampled.items()}
        n_rows = torch.bincount(position)
        means = {name: torch.bincount(position, value) / n_rows for name, value in rows.items()}
        parts.append(means | {"rows": n_rows})
        top.append(top_k(scores, ~train.mask_of(batch), k, generator).cpu())
    parts, top = ranks.together(parts), ranks.together(top)
    metrics = joined(parts)
    weights = metrics.pop("rows")
    return Evaluation("random positives", metrics, users.cpu(), torch.cat(top), weights)


def temporal_metrics(
    score: ScoreFunction,
    history: Interactions,
    target: Interactions,
    k: int = 10,
    batch_size: int = 512,
    seed: int = 0,
) -> Evaluation:
    """One cut in time for everybody (`split_by_time`), full ranking of unseen items.

    Users with a row on either side are ranked from all their `history`; every `target` row is
    relevant. hr@k: any of them in the top k; ndcg@k: binary gain, ideal of min(k, targets) hits.
    """
    check_lengths(history.n_items, k=k)
    history.check_same_ids(target)
    users = ((history.offsets.diff() > 0) & (target.offsets.diff() > 0)).nonzero().squeeze(1)
    weight, generator = discounts(k), own_stream(seed, "ties")
    parts, top = [], []
    for batch in shared(users, batch_size):
        seen, relevant = history.mask_of(batch), target.mask_of(batch)
        if (seen & relevant).any():
            raise ValueError("a target is part of its user's history")
        scores = checked_scores(score, history.histories(batch), history.n_items)
        top.append(top_k(scores, ~seen, k, generator).cpu())
        relevant = torch.nn.functional.pad(relevant.cpu(), (0, 1))  # padding is never relevant
        hits = relevant.gather(1, top[-1]).double()
        ideal = weight.cumsum(0)[relevant.sum(1).clamp(max=k) - 1]
        parts.append({f"hr@{k}": hits.amax(1), f"ndcg@{k}": hits @ weight / ideal})
    parts, top = ranks.together(parts), ranks.together(top)
    return Evaluation("temporal", joined(parts), users.cpu(), torch.cat(top))
