"""Losses over the whole catalogue, forward and gradient in one pass; and over a sample of it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from recsys_rl.data.devices import on_cpu, sent
from recsys_rl.data.interactions import Interactions
from recsys_rl.embeddings.batching import rows

PADDING = -1  # a target that does not count


class FullSoftmax(torch.autograd.Function):
    """Mean cross-entropy over the whole catalogue, forward and gradient in one pass.

    Works through chunks that stay in the processor's cache: the [T, V] matrix of logits, 60 MB for
    a batch of 4,096, is never written to memory. Rows of logits begin at multiples of 64 numbers,
    which matrix products like better: a few items that nobody can choose stand behind the others.
    vectors [T, w], items [V, w], target int64 [T].
    """

    CHUNK, ALIGNED = 512, 64

    @staticmethod
    def forward(ctx, vectors: Tensor, items: Tensor, target: Tensor) -> Tensor:
        n_items = len(items)
        items = F.pad(items, (0, 0, 0, -n_items % FullSoftmax.ALIGNED))
        d_vectors, d_items = torch.empty_like(vectors), torch.zeros_like(items)
        total = vectors.new_zeros(())
        for part, goal, d_part in zip(
            *(t.split(FullSoftmax.CHUNK) for t in (vectors, target, d_vectors)), strict=True
        ):
            logits = part @ items.T  # (chunk, V and some)
            logits[:, n_items:] = -torch.inf
            probability = torch.softmax(logits, 1)
            right = probability.gather(1, goal.unsqueeze(1))
            total -= right.clamp_min(1e-30).log().sum()
            probability.scatter_(1, goal.unsqueeze(1), right - 1)  # the gradient of the logits
            torch.mm(probability, items, out=d_part)
            d_items.addmm_(probability.T, part)
        ctx.save_for_backward(d_vectors / len(target), d_items[:n_items] / len(target))
        return total / len(target)

    @staticmethod
    def backward(ctx, scale: Tensor) -> tuple[Tensor, Tensor, None]:
        d_vectors, d_items = ctx.saved_tensors
        return d_vectors * scale, d_items * scale, None


def full_softmax(vectors: Tensor, items: Tensor, target: Tensor) -> Tensor:
    """`FullSoftmax`, in float32 on the CPU; else by the library, where targets V, padding, do not
    count."""
    if on_cpu(vectors) and not torch.is_autocast_enabled("cpu"):
        return FullSoftmax.apply(vectors, items, target)
    return F.cross_entropy((vectors @ items.T).float(), target, ignore_index=len(items))


class Sample(NamedTuple):
    """Items that stand for the catalogue."""

    item: Tensor  # int64 [m], an item may come again
    log_count: Tensor  # float32 [m], log of how often each is expected among the m


class Catalogue:
    """Draws samples of `count` items: half of them uniform, half as often as a log has rows of
    them."""

    def __init__(self, log: Interactions, count: int) -> None:
        self.log, self.often, self.uniform = log, count // 2, count - count // 2
        share = torch.bincount(log.item, minlength=log.n_items) / max(1, len(log))
        self.log_count = (self.uniform / log.n_items + self.often * share).log()

    def sample(self, generator: torch.Generator) -> Sample:
        drawn = {"generator": generator, "device": generator.device}
        anything = torch.randint(self.log.n_items, (self.uniform,), **drawn)
        row = torch.randint(len(self.log), (self.often,), **drawn)
        there = self.log.item.device
        item = torch.cat([sent(anything, there), self.log.item[sent(row, there)]])
        return Sample(item, self.log_count[item])


def sampled_softmax(vectors: Tensor, items: Tensor, target: Tensor, sample: Sample) -> Tensor:
    """`FullSoftmax` with the sum over all other items estimated from a sample of them.

    An item counts 1 / (how often it is expected), which makes the estimate of the sum unbiased; its
    logarithm is not. vectors [T, w], items [V, w], target int64 [T]; V, padding, does not count.

    Source: Bengio & Senecal, AISTATS 2003 (importance sampling, known as the logQ correction).
    """
    right = torch.where(target < len(items), 0, PADDING)
    target = target.clamp(max=len(items) - 1)
    chosen = rows(items, torch.cat([target, sample.item]))  # (T + m, w)
    own = (vectors * chosen[: len(target)]).sum(1, keepdim=True)
    others = vectors @ chosen[len(target) :].T - sample.log_count  # (T, m)
    others = others.masked_fill(sample.item == target.unsqueeze(1), -torch.inf)
    return F.cross_entropy(torch.cat([own, others], 1), right, ignore_index=PADDING)


class HindsightLoss(torch.autograd.Function):
    """Mean over sessions of -mean log pi(i) - w log sum pi(i), i among the relevant items.

    pi is the softmax of the scores of all items that may be shown; w is `any_hit_weight`. The first
    term spreads pi over all that a user likes; the second wants the next item to be one of them,
    whichever. Forward and gradient in one pass. scores float32 [B, V], relevant and excluded bool
    [B, V]; sessions in which nothing is relevant do not count.

    Source: Liang et al., WWW 2018 (softmax over the catalogue, several positives).
    """

    @staticmethod
    def forward(
        ctx, scores: Tensor, relevant: Tensor, excluded: Tensor, any_hit_weight: float
    ) -> Tensor:
        scores = scores.masked_fill(excluded, torch.finfo(scores.dtype).min)
        row, item = relevant.nonzero(as_tuple=True)  # all that is relevant, W pairs
        likes = row.bincount(minlength=len(relevant))
        counts = (likes > 0) / (likes > 0).sum().clamp(min=1)  # (B,): weights of the sessions
        # the softmax in place: it is the largest array here
        scores.sub_(scores.amax(1, keepdim=True))
        log_pi = scores[row, item]
        pi = scores.exp_()
        total = pi.sum(1)
        log_pi = (log_pi - total.log()[row]).clamp_(min=-1e4)
        hits = log_pi.exp()
        chance = _sums(hits, row, likes).clamp(min=1e-30)
        spread = _sums(log_pi, row, likes) / likes.clamp(min=1)
        gradient = pi.mul_((counts * (1 + any_hit_weight) / total).unsqueeze(1))
        gradient[row, item] -= (1 / likes[row] + any_hit_weight * hits / chance[row]) * counts[row]
        ctx.save_for_backward(gradient)
        return -(counts * (spread + any_hit_weight * chance.log())).sum()

    @staticmethod
    def backward(ctx, scale: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.saved_tensors[0] * scale, None, None, None


def hindsight_loss(
    scores: Tensor, relevant: Tensor, excluded: Tensor, any_hit_weight: float
) -> Tensor:
    """`HindsightLoss`, off the CPU by the library and of all items, relevant or not."""
    if on_cpu(scores):
        return HindsightLoss.apply(scores, relevant, excluded, any_hit_weight)
    log_pi = scores.masked_fill(excluded, torch.finfo(scores.dtype).min).log_softmax(1)
    log_pi = log_pi.clamp(min=-1e4)
    likes = relevant.sum(1)  # (B,)
    counts = (likes > 0) / (likes > 0).sum().clamp(min=1)
    chance = (log_pi.exp() * relevant).sum(1).clamp(min=1e-30)
    spread = (log_pi * relevant).sum(1) / likes.clamp(min=1)
    return -(counts * (spread + any_hit_weight * chance.log())).sum()


def _sums(values: Tensor, row: Tensor, likes: Tensor) -> Tensor:
    """Sums of W values by the session of each, int64 [W] -> [B]."""
    return values.new_zeros(len(likes)).index_add_(0, row, values)
