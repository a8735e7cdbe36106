"""A decision tree of questions, fitted on train users (Golbandi, Koren & Lempel, WSDM 2011).

A node asks about the item by whose answers (liked, not liked, not seen) the likes of the items that
may be recommended are told apart best: the sum of squared errors around the means of the three
groups is least. Each group goes on with a question of its own.

B = batch, V = n_items, A = items that are considered at a node, N = nodes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recsys_rl.data.counts import check_counts
from recsys_rl.data.histories import POSITIVE, Histories
from recsys_rl.data.interactions import Interactions, refuse_empty
from recsys_rl.data.memory_limit import refuse_dense

CONSIDERED = 100  # items at a node: those that most of its users have rated
LEAST_USERS = 40  # of a node that is split
LIKED, NOT_LIKED, NOT_SEEN = range(3)


class QuestionTree:
    """Scores of questions: the next one on the user's way through the tree is the best.

    Answers that are known already, of items that were named before, lead on as others do. Behind
    the last node of a way come the other items that were considered there.

    item: int64 [N]. child: int64 [N, 3], -1 for none. order: int64 [N, A], the items considered,
    best first.
    """

    def __init__(self, item: Tensor, child: Tensor, order: Tensor, n_items: int) -> None:
        self.item, self.child, self.order, self.n_items = item, child, order, n_items

    @classmethod
    def fit(cls, train: Interactions, asked: Tensor, depth: int) -> QuestionTree:
        """asked: bool [V], the items that may be asked about. depth: questions on a way."""
        check_counts(depth=depth)
        check_asked(asked, train.n_items)
        refuse_empty(train)
        users = (train.offsets.diff() > 0).nonzero().squeeze(1)
        refuse_dense(len(users), train.n_items, "a tree of questions", "ask by others", each=3)
        rated = train.mask_of(users)
        liked = train.select(train.rating >= POSITIVE).mask_of(users)
        likes = liked[:, ~asked].to(torch.float32)
        askable = asked.nonzero().squeeze(1)
        depth = min(depth, len(askable))
        items, children, orders = [], [], []
        waiting = [(torch.arange(len(users)), frozenset(), -1, 0)]
        while waiting:
            group, known, parent, answer = waiting.pop(0)
            counts = rated[group][:, askable].sum(0)
            counts[torch.isin(askable, torch.tensor(sorted(known)))] = -1
            some = askable[counts.topk(min(CONSIDERED, len(askable) - len(known))).indices]
            gain = _gains(liked[group][:, some], rated[group][:, some], likes[group])
            ranked = some[gain.argsort(descending=True, stable=True)]
            if parent >= 0:
                children[parent][answer] = len(items)
            best = int(ranked[0])
            items.append(best)
            orders.append(ranked)
            children.append([-1, -1, -1])
            if len(known) + 1 < depth:
                told = _answer(liked[group, best], rated[group, best])
                for kind in range(3):
                    part = group[told == kind]
                    if len(part) >= LEAST_USERS:
                        waiting.append((part, known | {best}, len(items) - 1, kind))
        width = min(map(len, orders))
        order = torch.stack([each[:width] for each in orders])
        return cls(torch.tensor(items), torch.tensor(children), order, train.n_items)

    def __call__(self, histories: Histories) -> Tensor:
        """-> float32 [B, V]; 0 for what the last node did not consider."""
        size = len(histories), self.n_items + 1
        told = _answer(histories.rating >= POSITIVE, histories.rating > 0)
        known = torch.full(size, -1).scatter_(1, histories.item, told)
        node = torch.zeros(len(histories), dtype=torch.int64)
        for _ in range(histories.item.shape[1]):
            answer = known.gather(1, self.item[node].unsqueeze(1)).squeeze(1)
            there = self.child[node, answer.clamp(min=0)]
            node = torch.where((answer >= 0) & (there >= 0), there, node)
        order = self.order[node]
        worth = torch.arange(order.shape[1], 0, -1.0).expand(order.shape)
        scores = torch.zeros(len(histories), self.n_items)
        return scores.scatter_(1, order, worth.contiguous())


def check_asked(asked: Tensor, n_items: int) -> None:
    """ValueError unless it says of every item whether it may be asked about, and some may."""
    told = isinstance(asked, Tensor) and asked.dtype == torch.bool and asked.shape == (n_items,)
    if not told or not asked.any():
        raise ValueError(f"asked is bool [{n_items}], true for one item at least")


def _answer(liked: Tensor, rated: Tensor) -> Tensor:
    return torch.where(liked, LIKED, torch.where(rated, NOT_LIKED, NOT_SEEN))


def _gains(liked: Tensor, rated: Tensor, likes: Tensor) -> Tensor:
    """How much less the squared errors are after each question -> float32 [A].

    liked, rated: bool [U, A]. likes: float32 [U, V'], of what may be recommended.
    """
    total, gained = likes.sum(0), 0.0
    groups = [liked, rated & ~liked]
    sums = [group.float().T @ likes for group in groups]  # (A, V')
    counts = [group.sum(0).float() for group in groups]
    sums.append(total - sums[0] - sums[1])
    counts.append(len(likes) - counts[0] - counts[1])
    for part, count in zip(sums, counts, strict=True):
        gained = gained + part.square().sum(1) / count.clamp(min=1)
    return gained - total.square().sum() / len(likes)
