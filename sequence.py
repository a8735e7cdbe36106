"""DRR-seq, our own fifth state: causal self-attention over a history, and what feeds it.

Sources: Kang & McAuley, ICDM 2018 (SASRec: causal self-attention for the next item); Petrov &
Macdonald, RecSys 2023 (gSASRec) and Klenitskiy & Vasilev, RecSys 2023 (the loss decides: full
softmax); Xiong et al., ICML 2020 (layer norm before each block).

B = batch, L = length of a window, k = width, V = n_items. Index V is padding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from replay import Observation
from utils import Interactions

MAX_DENSE = 10_000  # films; a dense table of that many squared takes 400 MB


class PooledDropout(nn.Module):
    """Dropout whose masks are slices of one pool of pre-drawn zeros and ones.

    Drawing a fresh mask for every activation costs more than the layer around it on a CPU; a slice
    at a random place costs nothing. `refill` draws the pool.
    """

    SIZE = 2**22

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p, self.pool, self.generator = p, torch.empty(0), torch.Generator().manual_seed(0)

    def refill(self, generator: torch.Generator) -> None:
        self.generator = generator
        kept = torch.rand(self.SIZE, generator=generator) >= self.p
        self.pool = kept.float() / (1 - self.p)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        if x.numel() >= len(self.pool):
            mask = torch.rand(x.shape, generator=self.generator) >= self.p
            return x * mask / (1 - self.p)
        place = int(torch.randint(len(self.pool) - x.numel(), (), generator=self.generator))
        return x * self.pool[place : place + x.numel()].view(x.shape)


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x)): float32 [B, L, k] -> [B, L, k]."""

    def __init__(self, k: int, n: int, heads: int, dropout: PooledDropout) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.distance = nn.Parameter(torch.zeros(heads, n))  # what being d films ago is worth
        self.norm1, self.norm2 = nn.LayerNorm(k), nn.LayerNorm(k)
        self.query_key_value = nn.Linear(k, 3 * k)
        self.out = nn.Linear(k, k)
        self.widen, self.narrow = nn.Linear(k, 4 * k), nn.Linear(4 * k, k)

    def forward(self, x: Tensor) -> Tensor:
        size, length, k = x.shape
        heads = self.query_key_value(self.norm1(x)).view(size, length, 3, self.heads, -1)
        query, key, value = (
            h.reshape(size * self.heads, length, -1) for h in heads.permute(2, 0, 3, 1, 4)
        )  # each (B * heads, L, k / heads)
        scale = query.shape[2] ** -0.5
        score = torch.baddbmm(self._bias(length, size), query, key.mT, alpha=scale)
        mixed = score.softmax(2) @ value
        mixed = mixed.view(size, self.heads, length, -1).transpose(1, 2).reshape(size, length, k)
        return self._feed_forward(x + self.dropout(self.out(mixed)))

    def at_last(self, x: Tensor, last: Tensor) -> Tensor:
        """The same at position `last` int64 [B] of each row alone -> float32 [B, k].

        Keys and values are needed of all positions, the rest of the block of one.
        """
        size, length, k = x.shape
        each = torch.arange(size)
        normed = self.norm1(x)
        weight, bias = self.query_key_value.weight, self.query_key_value.bias
        query = F.linear(normed[each, last], weight[:k], bias[:k])  # (B, k)
        key, value = (
            F.linear(normed, weight[k:], bias[k:])
            .view(size, length, 2, self.heads, -1)
            .permute(2, 0, 3, 1, 4)
        )  # each (B, heads, L, k / heads)
        query = query.view(size, self.heads, 1, -1)
        ago = last.unsqueeze(1) - torch.arange(length)  # (B, L)
        worth = self.distance[:, ago.clamp(min=0)].masked_fill(ago < 0, -torch.inf)
        score = query @ key.mT * query.shape[3] ** -0.5 + worth.transpose(0, 1).unsqueeze(2)
        mixed = (score.softmax(3) @ value).view(size, k)
        return self._feed_forward(x[each, last] + self.dropout(self.out(mixed)))

    def _feed_forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(self.narrow(F.silu(self.widen(self.norm2(x)))))

    def _bias(self, length: int, size: int) -> Tensor:
        """The distances' worth, -inf for films that come later -> [B * heads, L, L]."""
        place = torch.arange(length)
        ago = place.unsqueeze(1) - place
        bias = self.distance[:, ago.clamp(min=0)].masked_fill(ago < 0, -torch.inf)
        return bias.repeat(size, 1, 1)


class DRRseq(nn.Module):
    """DRR-seq: the order of the n latest films, read by causal self-attention; it is its own actor.

    Unlike the paper's states it reads every rated film, not only the positives (what a person
    watches says where they are going, whatever they thought of it), and no user vector, so that it
    serves strangers as well as friends. Its output, with a 1 appended, is the action: item vectors
    have one column more, a bias that carries how popular a film is.
    """

    reads_from = 0.5  # the smallest rating that enters the memory
    is_action = True

    def __init__(
        self,
        n_users: int,
        n_items: int,
        k: int,
        n: int,
        *,
        blocks: int = 2,
        heads: int = 2,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if k % heads:
            raise ValueError(f"k must be a multiple of the {heads} attention heads, not {k}")
        self.k, self.n, self.n_items = k, n, n_items
        self.item_vectors = nn.Embedding(n_items + 1, k + 1, padding_idx=n_items)
        self.dropout = PooledDropout(dropout)
        self.blocks = nn.ModuleList(Block(k, n, heads, self.dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(k)

    @property
    def size(self) -> int:
        return self.k + 1

    def initialise(self, generator: torch.Generator) -> None:
        """Small vectors, no bias; the layers that write into the stream start at half strength."""
        nn.init.normal_(self.item_vectors.weight, std=EMBEDDING_STD, generator=generator)
        self.item_vectors.weight.data[:, -1] = 0
        self.item_vectors.weight.data[self.n_items] = 0
        for block in self.blocks:
            for layer, gain in (
                (block.query_key_value, 1.0),
                (block.widen, 1.0),
                (block.out, 0.5),
                (block.narrow, 0.5),
            ):
                std = gain * layer.in_features**-0.5
                nn.init.normal_(layer.weight, std=std, generator=generator)
                nn.init.zeros_(layer.bias)
        self.dropout.refill(generator)

    def start_from(self, start: Cooccurrence) -> None:
        """Take over film vectors and biases that the log gives for nothing."""
        self.item_vectors.weight.data[:-1] = torch.cat([start.item, start.bias.unsqueeze(1)], 1)

    def sequence(self, items: Tensor) -> Tensor:
        """The action after every film: int64 [B, L], right-padded -> float32 [B, L, k + 1].

        Causal: position t has seen films 0..t, so padding on the right changes nothing before it.
        """
        x = self._embedded(items)
        for block in self.blocks:
            x = block(x)
        return F.pad(self.norm(x), (0, 1), value=1.0)  # (B, L, k + 1)

    def _embedded(self, items: Tensor) -> Tensor:
        films = self.item_vectors(items)[..., : self.k]  # (B, L, k)
        return self.dropout(films * (0.5 / EMBEDDING_STD))

    def _after(self, items: Tensor, length: Tensor) -> Tensor:
        """The action after the first `length` [B] films: [B, L], right-padded -> [B, k + 1]."""
        x = self._embedded(items)
        for block in self.blocks[:-1]:
            x = block(x)
        x = self.blocks[-1].at_last(x, (length - 1).clamp(min=0))
        return F.pad(self.norm(x), (0, 1), value=1.0)

    def forward(self, observation: Observation) -> Tensor:
        """The action after the whole memory: int64 [B, n], LEFT-padded -> float32 [B, k + 1].

        Rows of about one length are read together, so that little padding is.
        """
        memory = observation.memory[:, -self.n :]
        length = (memory != self.n_items).sum(1)  # (B,)
        longest = max(1, int(length.max()))
        place = torch.arange(longest) + memory.shape[1] - length.unsqueeze(1)
        inside = place < memory.shape[1]
        films = memory.gather(1, place.clamp(max=memory.shape[1] - 1))
        films = torch.where(inside, films, self.n_items)  # (B, longest), right-padded
        order = length.argsort(stable=True)
        actions = torch.cat(
            [
                self._after(films[rows, : max(1, int(length[rows[-1]]))], length[rows])
                for rows in order.split(TOGETHER)
            ]
        )
        return actions[order.argsort()]


EMBEDDING_STD = 0.05
TOGETHER = 64  # memories that DRR-seq reads in one go


class Cooccurrence:
    """Film vectors from who is rated near whom, and biases from how often: a start worth epochs.

    Counts of pairs of films at most `reach` rows apart in a log, weighted by 1 / sqrt(distance), or
    without `reach` counts of the people who have both, are turned into positive pointwise mutual
    information; its truncated singular vectors, scaled to the spread of a random start, are the
    vectors (Levy & Goldberg, NIPS 2014).

    item: float32 [n_items, k]; bias: float32 [n_items], log popularity less its mean. linear: a
    linear model that DRR-set may read beside its own vectors.
    """

    linear = None

    def __init__(
        self, log: Interactions, k: int, generator: torch.Generator, reach: int | None = 10
    ) -> None:
        if log.n_items > MAX_DENSE:
            raise ValueError(
                f"{log.n_items} films are too many for a dense table ({MAX_DENSE} at most): "
                'start from vectors="random"'
            )
        information = self._shared(log) if reach is None else self._information(log, reach)
        left, strength = self._singular(information, k, generator)
        vectors = left * strength.sqrt()
        vectors = vectors - vectors.mean(0)
        # a rotation spreads the strong directions over all columns, so over all attention heads
        rotation, _ = torch.linalg.qr(torch.randn(k, k, generator=generator))
        self.item = vectors / vectors.std() * EMBEDDING_STD @ rotation
        popularity = torch.bincount(log.item, minlength=log.n_items).float().add(1).log()
        self.bias = popularity - popularity.mean()

    @staticmethod
    def _information(log: Interactions, reach: int) -> Tensor:
        n = log.n_items
        pairs = torch.zeros(n * n)
        for distance in range(1, reach + 1):
            together = log.user[distance:] == log.user[:-distance]
            place = (log.item[:-distance] * n + log.item[distance:])[together]
            pairs += torch.bincount(place, minlength=n * n) * distance**-0.5
        pairs = pairs.view(n, n)
        pairs = pairs + pairs.T
        margin = pairs.sum(1) + 1e-9
        return (pairs * margin.sum() / torch.outer(margin, margin)).clamp(min=1).log()

    @staticmethod
    def _shared(log: Interactions) -> Tensor:
        """Positive mutual information of having both films; one row more shrinks rare ones."""
        pairs = torch.zeros(log.n_items, log.n_items)
        for users in torch.arange(log.n_users).split(1024):
            rated = log.mask_of(users).float()
            pairs.addmm_(rated.T, rated)
        margin = pairs.diagonal() + 1
        people = (log.offsets.diff() > 0).sum()
        information = (pairs * people / torch.outer(margin, margin)).clamp(min=1).log()
        return information.fill_diagonal_(0)

    @staticmethod
    def _singular(
        matrix: Tensor, k: int, generator: torch.Generator, passes: int = 6
    ) -> tuple[Tensor, Tensor]:
        """The k leading singular vectors and values, by subspace iteration (Halko et al. 2011)."""
        basis = torch.randn(len(matrix), k + 16, generator=generator)
        for _ in range(passes):
            basis, _ = torch.linalg.qr(matrix @ basis)
        left, strength, _ = torch.linalg.svd(basis.T @ matrix, full_matrices=False)
        return (basis @ left)[:, :k], strength[:k]


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


class Window(NamedTuple):
    """A batch of B stretches of people's logs: films and, at each, the film rated next."""

    items: Tensor  # int64 [B, L], right-padded
    following: Tensor  # int64 [B, L], right-padded


class Windows:
    """An endless stream of batches in which every row of the log but a person's first is a target.

    Logs longer than n are cut into stretches of at most n films, at a new random place in every
    epoch. Stretches of like length share a batch of some `tokens` films, so that little of it is
    padding.
    """

    def __init__(self, log: Interactions, n: int, tokens: int, generator: torch.Generator) -> None:
        self.log, self.n, self.tokens, self.generator = log, n, tokens, generator
        self.inputs = (log.offsets.diff() - 1).clamp(
            min=0
        )  # [n_users]: the last row is only a target
        self.epoch_start, self.plan, self.position = generator.get_state(), [], 0

    def __iter__(self) -> Iterator[Window]:
        return self

    @property
    def batches(self) -> int:
        """About how many batches make an epoch."""
        return -(-int(self.inputs.sum()) // self.tokens)

    def __next__(self) -> Window:
        if self.position >= len(self.plan):
            self.epoch_start, self.position = self.generator.get_state(), 0
            self.plan = self._plan()
        start, length = self.plan[self.position]
        self.position += 1
        step = torch.arange(int(length.max()))
        inside = step < length.unsqueeze(1)
        row = torch.where(inside, start.unsqueeze(1) + step, 0)
        return Window(
            torch.where(inside, self.log.item[row], self.log.n_items),
            torch.where(
                inside, self.log.item[(row + 1).clamp(max=len(self.log) - 1)], self.log.n_items
            ),
        )

    def _plan(self) -> list[tuple[Tensor, Tensor]]:
        """(first rows, lengths) of the stretches of each batch of one epoch, batches shuffled."""
        users = torch.nonzero(self.inputs).squeeze(1)
        count, first = self.inputs[users], self.log.offsets[users]
        offset = torch.randint(1, self.n + 1, (len(users),), generator=self.generator)
        offset = torch.where(count <= self.n, self.n, offset)  # short logs stay whole
        pieces = 1 + (count - offset).clamp(min=0).add(self.n - 1) // self.n
        user = torch.repeat_interleave(torch.arange(len(users)), pieces)
        piece = torch.arange(len(user)) - (pieces.cumsum(0) - pieces)[user]
        begin = (offset[user] + (piece - 1) * self.n).clamp(min=0)
        end = torch.minimum(offset[user] + piece * self.n, count[user])
        start, length = first[user] + begin, end - begin
        jitter = 1 + 0.1 * torch.rand(len(length), generator=self.generator)
        order = (length * jitter).argsort()
        start, length = start[order], length[order]
        batch = length.cumsum(0) // self.tokens
        sizes = torch.unique_consecutive(batch, return_counts=True)[1].tolist()
        plan = list(zip(start.split(sizes), length.split(sizes), strict=True))
        shuffle = torch.randperm(len(plan), generator=self.generator)
        return [plan[i] for i in shuffle]

    def state_dict(self) -> dict[str, object]:
        now = self.generator.get_state()
        return {"epoch_start": self.epoch_start, "position": self.position, "generator": now}

    def load_state_dict(self, state: dict[str, object]) -> None:
        self.epoch_start, self.position = state["epoch_start"], state["position"]
        self.plan = []
        if self.position:
            self.generator.set_state(self.epoch_start)
            self.plan = self._plan()
        self.generator.set_state(state["generator"])
