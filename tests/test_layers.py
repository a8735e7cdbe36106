"""Pooled dropout is dropout."""

from __future__ import annotations

import pytest
import torch
from toys import SMALL, changed, two_tastes

from recsys_rl.agent.build import build
from recsys_rl.states.layers import PooledDropout


def test_dropout_keeps_the_mean_and_is_off_in_eval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PooledDropout, "SIZE", 2**16)
    dropout = PooledDropout(0.3)
    dropout.refill(torch.Generator().manual_seed(0))
    x = torch.ones(100, 50)
    for size in (x, torch.ones(2**17)):  # from the pool; larger than the pool
        out = dropout.train()(size)
        assert float(out.mean()) == pytest.approx(1, abs=0.03)
        values = out.unique()
        torch.testing.assert_close(values, torch.tensor([0.0, 1 / 0.7]))
        assert float((out == 0).float().mean()) == pytest.approx(0.3, abs=0.02)
    assert not torch.equal(dropout(x), dropout(x)), "another mask at every call"
    assert torch.equal(dropout.eval()(x), x)
    assert torch.equal(PooledDropout(0.0).train()(x), x)


def test_dropout_before_any_refill_and_in_the_gradient() -> None:
    dropout = PooledDropout(0.5).train()
    x = torch.ones(1000, requires_grad=True)
    out = dropout(x)
    out.sum().backward()
    assert torch.equal(x.grad, out.detach()), "what is dropped gets no gradient"
    assert 0.4 < float((out == 0).float().mean()) < 0.6


def test_the_configuration_says_how_much_is_dropped() -> None:
    log = two_tastes()
    for share in (0.0, 0.4):
        config = changed(SMALL, {"state.name": "DRR-seq", "state.k": 4, "state.dropout": share})
        state = build(config, log).agent.actor.state
        assert state.dropout.p == share
        kept = state.train().dropout(torch.ones(10_000)) > 0
        assert float(kept.float().mean()) == pytest.approx(1 - share, abs=0.03)
    own = config.with_field("state.dropout", -1)
    assert build(own, log).agent.actor.state.dropout.p == 0.2


def test_dropout_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^state\.dropout is for states that have"):
        build(changed(SMALL, {"state.name": "DRR-ave", "state.dropout": 0.1}), two_tastes())
    for share in (1.0, -0.5, float("nan")):
        with pytest.raises(ValueError, match=r"^state\.dropout must be 0 or more and below 1"):
            changed(SMALL, {"state.dropout": share})
