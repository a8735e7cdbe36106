"""DRR-seq-clock: DRR-seq that also reads when items were rated, and when the next is asked for.

Sources: Li et al., WSDM 2020 (TiSASRec: attention that reads the time between items); Zhai et al.,
ICML 2024, arXiv 2402.17152 (HSTU: a learned bias for buckets of log time between the request and
an earlier item).

B = batch, L = length of a window, k = width, S = number of buckets.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from recsys_rl.data.devices import CPU, generator_on, on_cpu
from recsys_rl.data.histories import UNKNOWN_TIME, Histories, Times, latest_times
from recsys_rl.states.drr_seq import Block, DRRseq, right_padded
from recsys_rl.states.layers import PooledDropout

BUCKETS = 64  # of log(1 + seconds)
STEPS = 3.0  # buckets for each factor of e: the last begins at 42 years
UNKNOWN = 0  # the bucket before them
NO_TIMES, NO_REQUEST = 0.25, 0.25  # shares of the training rows that are read without


def bucket(later: Tensor, earlier: Tensor) -> Tensor:
    """The bucket of the time between two moments, int64 [...] each -> int64 [...].

    0 where one of them is not known, else 1 .. BUCKETS.
    """
    seconds = (later - earlier).clamp(min=0).float()
    found = seconds.log1p_().mul_(STEPS).clamp_(max=BUCKETS - 1).long() + 1
    return found.masked_fill_((later == UNKNOWN_TIME) | (earlier == UNKNOWN_TIME), UNKNOWN)


class PairBias(torch.autograd.Function):
    """What distance and time between positions are worth, gathered at once -> [heads * B, L, L].

    distance [heads, n], since [heads, S + 1], pairs int64 [B, L, L]: distance * (S + 1) + bucket,
    and n (S + 1) for a position that comes later, which gets -inf. The gradient is one weighted
    count for each head: autograd's own would write a table for each of the two.
    """

    @staticmethod
    def forward(ctx: Any, distance: Tensor, since: Tensor, pairs: Tensor) -> Tensor:
        ctx.save_for_backward(pairs)
        ctx.sizes = distance.shape[1], since.shape[1]
        worth = (distance.unsqueeze(2) + since.unsqueeze(1)).flatten(1)
        worth = nn.functional.pad(worth, (0, 1), value=-torch.inf)
        return worth.index_select(1, pairs.flatten()).view(-1, *pairs.shape[1:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        (pairs,), (n, buckets) = ctx.saved_tensors, ctx.sizes
        place, cells = pairs.flatten(), n * buckets
        found = torch.stack(
            [
                _sums(place, weights, cells + 1)[:cells]
                for weights in gradient.reshape(-1, len(place))
            ]
        ).view(-1, n, buckets)
        return found.sum(2), found.sum(1), None


def _sums(place: Tensor, weights: Tensor, size: int) -> Tensor:
    """The weights of each place; off the CPU without a look at how many places there are."""
    if on_cpu(place):
        return torch.bincount(place, weights, size)
    return weights.new_zeros(size).index_add_(0, place, weights)


class ClockBlock(Block):
    """A block whose attention also knows how long ago an item was rated."""

    def __init__(self, k: int, n: int, heads: int, dropout: PooledDropout) -> None:
        super().__init__(k, n, heads, dropout)
        self.since = nn.Parameter(torch.zeros(heads, BUCKETS + 1, device=self.distance.device))

    def _bias(self, length: int, size: int, pairs: Tensor | None) -> Tensor:
        if pairs is None:
            return super()._bias(length, size, pairs)
        return PairBias.apply(self.distance, self.since, pairs)

    def _worth(self, ago: Tensor, pairs: Tensor | None) -> Tensor:
        worth = super()._worth(ago, pairs)
        return worth if pairs is None else worth + self.since[:, pairs % (BUCKETS + 1)]


class DRRseqClock(DRRseq):
    """DRR-seq with the clock.

    Attention to an earlier item gets a bias for the bucket of the time between it and the request
    of the position (where that is not known, the rating of the position). Each position also reads
    the gap before its item and the gap between its item and the request, one learned vector for
    each bucket. Shares of the training rows are read without the request and without any time, so
    that one model serves whoever knows less; without times it is DRR-seq.
    """

    reads_clock = True
    block = ClockBlock

    def __init__(self, n_users: int, n_items: int, k: int, n: int, **options: Any) -> None:
        super().__init__(n_users, n_items, k, n, **options)
        self.past_vectors = nn.Embedding(BUCKETS + 1, k)
        self.request_vectors = nn.Embedding(BUCKETS + 1, k)
        self.generator = generator_on(CPU, 0)

    def initialise(self, generator: torch.Generator) -> None:
        """As DRR-seq: what the clock is worth starts at nothing."""
        super().initialise(generator)
        for vectors in (self.past_vectors, self.request_vectors):
            nn.init.zeros_(vectors.weight)
        self.generator = generator

    def _read(self, items: Tensor, times: Times | None) -> tuple[Tensor, Tensor | None]:
        x = self._embedded(items)
        if times is None:
            nothing = self.past_vectors.weight[UNKNOWN] + self.request_vectors.weight[UNKNOWN]
            return x + nothing, None
        rated, request = self._hidden(times) if self.training else times
        before = nn.functional.pad(rated[:, :-1], (1, 0), value=UNKNOWN_TIME)
        x = x + self.past_vectors(bucket(rated, before))
        x = x + self.request_vectors(bucket(request, rated))
        now = torch.where(request == UNKNOWN_TIME, rated, request)
        since = bucket(now.unsqueeze(2), rated.unsqueeze(1))  # (B, L, L)
        place = torch.arange(items.shape[1], device=items.device)
        ago = place.unsqueeze(1) - place
        since += ago * (BUCKETS + 1)
        return x, since.masked_fill_(ago < 0, self.n * (BUCKETS + 1))

    def _hidden(self, times: Times) -> Times:
        """Some rows without the requests, and some without any time."""
        g = self.generator
        drawn = torch.rand(len(times.rated), 1, generator=g, device=g.device)
        drawn = drawn.to(times.rated.device)
        return Times(
            times.rated.masked_fill(drawn < NO_TIMES, UNKNOWN_TIME),
            times.request.masked_fill(drawn < NO_TIMES + NO_REQUEST, UNKNOWN_TIME),
        )

    def _times(self, histories: Histories, length: Tensor) -> Times | None:
        """Each item's request is the rating that follows; the last one's is that of the history."""
        if histories.time is None:
            return None
        rated = latest_times(histories, self.n, self.reads_from)
        rated = right_padded(rated, length, UNKNOWN_TIME)
        request = nn.functional.pad(rated[:, 1:], (0, 1), value=UNKNOWN_TIME)
        if histories.request is None:
            request.fill_(UNKNOWN_TIME)
        else:
            last = (length - 1).clamp(min=0).unsqueeze(1)
            request.scatter_(1, last, histories.request.unsqueeze(1))
        return Times(rated, request)
