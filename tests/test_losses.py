"""Losses over the whole catalogue against autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from recsys_rl.agent.losses import FullSoftmax, HindsightLoss

N_ITEMS = 24


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------------------- next item


@pytest.mark.parametrize("rows", [1, 7, 512, 1100])
def test_full_softmax_is_cross_entropy_in_value_and_gradients(rows: int) -> None:
    """Rows that fill no chunk, one chunk, and several."""
    vectors = torch.randn(rows, 5, generator=gen(rows), requires_grad=True)
    items = torch.randn(17, 5, generator=gen(), requires_grad=True)
    target = torch.randint(17, (rows,), generator=gen(rows))
    results = []
    for loss in (
        FullSoftmax.apply(vectors, items, target),
        F.cross_entropy(vectors @ items.T, target),
    ):
        results.append((loss, *torch.autograd.grad(3 * loss, (vectors, items))))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_full_softmax_gradient_by_finite_differences() -> None:
    vectors, items = (
        torch.randn(size, 3, generator=gen(size), dtype=torch.float64, requires_grad=True)
        for size in (4, 6)
    )
    target = torch.tensor([0, 5, 2, 2])
    assert torch.autograd.gradcheck(FullSoftmax.apply, (vectors, items, target))


def test_full_softmax_survives_large_scores() -> None:
    vectors = torch.tensor([[200.0], [200.0]], requires_grad=True)
    loss = FullSoftmax.apply(vectors, torch.tensor([[1.0], [-1.0]]), torch.tensor([0, 1]))
    loss.backward()
    assert loss.isfinite()
    torch.testing.assert_close(vectors.grad, torch.tensor([[0.0], [1.0]]))


# ---------------------------------------------------------------------------- hindsight


def moments(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, relevant and excluded of six moments.

    Nothing is relevant in row 2; one item may be shown in row 3, and it is relevant; every item
    that may be shown is relevant in row 4.
    """
    scores = torch.randn(6, N_ITEMS, generator=gen(), dtype=dtype, requires_grad=True)
    excluded = torch.rand(6, N_ITEMS, generator=gen(1)) < 0.3
    relevant = (torch.rand(6, N_ITEMS, generator=gen(2)) < 0.3) & ~excluded
    relevant[2] = False
    excluded[3], relevant[3] = torch.arange(N_ITEMS) != 7, torch.arange(N_ITEMS) == 7
    relevant[4] = ~excluded[4]
    return scores, relevant, excluded


def plain_loss(scores: Tensor, relevant: Tensor, excluded: Tensor, weight: float) -> Tensor:
    losses = []
    for row, likes, out in zip(scores, relevant, excluded, strict=True):
        if likes.any():
            log_pi = row[~out].log_softmax(0)[likes[~out]]
            losses.append(-log_pi.mean() - weight * log_pi.logsumexp(0))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("weight", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_hindsight_is_autograds_in_value_and_gradient(weight: float, dtype: torch.dtype) -> None:
    scores, relevant, excluded = moments(dtype)
    (ours, gradient), (theirs, expected) = (
        (value, torch.autograd.grad(5 * value, scores)[0])
        for value in (
            HindsightLoss.apply(scores, relevant, excluded, weight),
            plain_loss(scores, relevant, excluded, weight),
        )
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)
    assert not gradient[2].any(), "where nothing is relevant nothing is learned"
    assert gradient[3].abs().max() < 1e-6, "nor where there is no choice"
    assert not gradient[excluded].any()


def test_hindsight_gradient_by_finite_differences() -> None:
    scores, relevant, excluded = moments()
    assert torch.autograd.gradcheck(
        lambda s: HindsightLoss.apply(s, relevant, excluded, 2.0), (scores,)
    )


def test_hindsight_leaves_the_scores_as_they_are() -> None:
    scores, relevant, excluded = moments()
    before = scores.detach().clone()
    HindsightLoss.apply(scores, relevant, excluded, 3.0)
    assert torch.equal(scores.detach(), before)


@pytest.mark.parametrize("weight", [0.0, 3.0])
def test_hindsight_in_closed_form(weight: float) -> None:
    """Equal scores of m items, r of them relevant: log m + weight log (m / r)."""
    relevant, excluded = torch.zeros(2, 2, N_ITEMS, dtype=torch.bool)
    excluded[0, :4], relevant[0, 4:9] = True, True  # m = 20, r = 5
    relevant[1, :6] = True  # m = 24, r = 6
    loss = HindsightLoss.apply(torch.ones(2, N_ITEMS), relevant, excluded, weight)
    expected = np.log([20, 24]).mean() + weight * np.log(4)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_moments_in_which_nothing_is_relevant_do_not_count() -> None:
    scores, relevant, excluded = moments()
    rows = torch.tensor([0, 1, 3, 4, 5])
    whole = HindsightLoss.apply(scores, relevant, excluded, 3.0)
    part = HindsightLoss.apply(scores[rows], relevant[rows], excluded[rows], 3.0)
    torch.testing.assert_close(whole, part)
    nothing = HindsightLoss.apply(scores, torch.zeros_like(relevant), excluded, 3.0)
    assert float(nothing.detach()) == 0
    assert not torch.autograd.grad(nothing, scores)[0].any()


def test_hindsight_survives_large_scores_and_moments_in_which_all_is_excluded() -> None:
    scores, relevant, excluded = moments(torch.float32)
    relevant[2], excluded[2] = False, True
    large = (scores * 60).detach().requires_grad_()
    loss = HindsightLoss.apply(large, relevant, excluded, 3.0)
    (gradient,) = torch.autograd.grad(loss, large)
    assert gradient.isfinite().all()
    torch.testing.assert_close(loss, plain_loss(large, relevant, excluded, 3.0))
