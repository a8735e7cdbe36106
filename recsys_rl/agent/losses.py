"""Losses over the whole catalogue, forward and gradient in one pass."""

from __future__ import annotations

import torch
from torch import Tensor


class FullSoftmax(torch.autograd.Function):
    """Mean cross-entropy over the whole catalogue, forward and gradient in one pass.

    Works through chunks that stay in the processor's cache: the [T, V] matrix of logits, 60 MB for
    a batch of 4,096, is never written to memory. vectors [T, w], items [V, w], target int64 [T].
    """

    CHUNK = 512

    @staticmethod
    def forward(ctx, vectors: Tensor, items: Tensor, target: Tensor) -> Tensor:
        d_vectors, d_items = torch.empty_like(vectors), torch.zeros_like(items)
        total = vectors.new_zeros(())
        for part, goal, d_part in zip(
            *(t.split(FullSoftmax.CHUNK) for t in (vectors, target, d_vectors)), strict=True
        ):
            logits = part @ items.T  # (chunk, V)
            probability = torch.softmax(logits, 1)
            right = probability.gather(1, goal.unsqueeze(1))
            total -= right.clamp_min(1e-30).log().sum()
            probability.scatter_(1, goal.unsqueeze(1), right - 1)  # the gradient of the logits
            torch.mm(probability, items, out=d_part)
            d_items.addmm_(probability.T, part)
        ctx.save_for_backward(d_vectors / len(target), d_items / len(target))
        return total / len(target)

    @staticmethod
    def backward(ctx, scale: Tensor) -> tuple[Tensor, Tensor, None]:
        d_vectors, d_items = ctx.saved_tensors
        return d_vectors * scale, d_items * scale, None


class LikesLoss(torch.autograd.Function):
    """Mean over sessions of -mean log pi(i) - hit log sum pi(i), i among the films that are wanted.

    pi is the softmax of the scores of all films that may be shown. The first term spreads pi over
    all that a person likes; the second wants the next film to be one of them, whichever. Forward
    and gradient in one pass. vectors [B, w], items [V, w], wanted and barred bool [B, V]; sessions
    in which nothing is wanted do not count. learns: the columns of `items` that have a gradient,
    int64 [l]; None for all.
    """

    @staticmethod
    def forward(
        ctx,
        vectors: Tensor,
        items: Tensor,
        wanted: Tensor,
        barred: Tensor,
        hit: float,
        learns: Tensor | None = None,
    ) -> Tensor:
        scores = (vectors @ items.T).masked_fill_(barred, torch.finfo(vectors.dtype).min)
        row, film = wanted.nonzero(as_tuple=True)  # all that is wanted, W pairs
        likes = row.bincount(minlength=len(wanted))
        counts = (likes > 0) / (likes > 0).sum().clamp(min=1)  # (B,): weights of the sessions
        # the softmax in place: it is the largest array here
        scores.sub_(scores.amax(1, keepdim=True))
        log_pi = scores[row, film]
        pi = scores.exp_()
        total = pi.sum(1)
        log_pi = (log_pi - total.log()[row]).clamp_(min=-1e4)
        hits = log_pi.exp()
        chance = _sums(hits, row, likes).clamp(min=1e-30)
        spread = _sums(log_pi, row, likes) / likes.clamp(min=1)
        gradient = pi.mul_((counts * (1 + hit) / total).unsqueeze(1))
        gradient[row, film] -= (1 / likes[row] + hit * hits / chance[row]) * counts[row]
        if learns is None:
            d_items = gradient.T @ vectors
        else:
            d_items = torch.zeros_like(items)
            d_items[:, learns] = gradient.T @ vectors[:, learns]
        ctx.save_for_backward(gradient @ items, d_items)
        return -(counts * (spread + hit * chance.log())).sum()

    @staticmethod
    def backward(ctx, scale: Tensor) -> tuple[Tensor | None, ...]:
        d_vectors, d_items = ctx.saved_tensors
        return d_vectors * scale, d_items * scale, None, None, None, None


def _sums(values: Tensor, row: Tensor, likes: Tensor) -> Tensor:
    """Sums of W values by the session of each, int64 [W] -> [B]."""
    return values.new_zeros(len(likes)).index_add_(0, row, values)
