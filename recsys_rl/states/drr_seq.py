"""DRR-seq: causal self-attention over a history.

Sources: Kang & McAuley, ICDM 2018 (SASRec: causal self-attention for the next item); Petrov &
Macdonald, RecSys 2023 (gSASRec) and Klenitskiy & Vasilev, RecSys 2023 (the loss decides: full
softmax); Xiong et al., ICML 2020 (layer norm before each block).

B = batch, L = length of a window, k = width, V = n_items. Index V is padding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys_rl.data.devices import on_cpu
from recsys_rl.data.histories import Histories, Times
from recsys_rl.embeddings.cooccurrence import EMBEDDING_STD, Cooccurrence
from recsys_rl.states.base import State
from recsys_rl.states.layers import PooledDropout


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x)): float32 [B, L, k] -> [B, L, k]."""

    def __init__(self, k: int, n: int, heads: int, dropout: PooledDropout) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm1, self.norm2 = nn.LayerNorm(k), nn.LayerNorm(k)
        self.query_key_value = nn.Linear(k, 3 * k)
        self.out = nn.Linear(k, k)
        self.widen, self.narrow = nn.Linear(k, 4 * k), nn.Linear(4 * k, k)
        there = self.out.weight.device
        # what being d items ago is worth
        self.distance = nn.Parameter(torch.zeros(heads, n, device=there))

    def forward(self, x: Tensor, pairs: Tensor | None = None) -> Tensor:
        """pairs: what is known of each pair of positions, [B, L, L], for blocks that read it."""
        size, length, k = x.shape
        heads = self.query_key_value(self.norm1(x)).view(size, length, 3, self.heads, -1)
        query, key, value = (
            h.reshape(self.heads * size, length, -1) for h in heads.permute(2, 3, 0, 1, 4)
        )  # each (heads * B, L, k / heads)
        bias, scale = self._bias(length, size, pairs), query.shape[2] ** -0.5
        if on_cpu(x):
            score = torch.baddbmm(bias, query, key.mT, alpha=scale)
            mixed = score.softmax(2) @ value
        else:
            mixed = F.scaled_dot_product_attention(query, key, value, bias, scale=scale)
        mixed = mixed.view(self.heads, size, length, -1).permute(1, 2, 0, 3)
        mixed = mixed.reshape(size, length, k)
        return self._feed_forward(x + self.dropout(self.out(mixed)))

    def at_last(self, x: Tensor, last: Tensor, pairs: Tensor | None = None) -> Tensor:
        """The same at position `last` int64 [B] of each row alone -> float32 [B, k].

        Keys and values are needed of all positions, the rest of the block of one. pairs: [B, L].
        """
        size, length, k = x.shape
        each = torch.arange(size, device=x.device)
        normed = self.norm1(x)
        weight, bias = self.query_key_value.weight, self.query_key_value.bias
        query = F.linear(normed[each, last], weight[:k], bias[:k])  # (B, k)
        key, value = (
            F.linear(normed, weight[k:], bias[k:])
            .view(size, length, 2, self.heads, -1)
            .permute(2, 0, 3, 1, 4)
        )  # each (B, heads, L, k / heads)
        query = query.view(size, self.heads, 1, -1)
        ago = last.unsqueeze(1) - torch.arange(length, device=last.device)  # (B, L)
        worth = self._worth(ago.clamp(min=0), pairs).masked_fill(ago < 0, -torch.inf)
        score = query @ key.mT * query.shape[3] ** -0.5 + worth.transpose(0, 1).unsqueeze(2)
        mixed = (score.softmax(3) @ value).view(size, k)
        return self._feed_forward(x[each, last] + self.dropout(self.out(mixed)))

    def _feed_forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(self.narrow(F.silu(self.widen(self.norm2(x)))))

    def _bias(self, length: int, size: int, pairs: Tensor | None) -> Tensor:
        """The distances' worth, -inf for items that come later -> [heads * B, L, L]."""
        place = torch.arange(length, device=self.distance.device)
        ago = place.unsqueeze(1) - place
        bias = self.distance[:, ago.clamp(min=0)].masked_fill(ago < 0, -torch.inf)
        return bias.unsqueeze(1).expand(-1, size, -1, -1).reshape(-1, length, length)

    def _worth(self, ago: Tensor, pairs: Tensor | None) -> Tensor:
        """The same for one position of each row: ago int64 [B, L] -> [heads, B, L]."""
        return self.distance[:, ago]


TOGETHER = 64  # memories that are read in one go
SESSION_ITEMS = 50  # of a session's history that are kept: a shorter memory saves time in DDPG


class DRRseq(State):
    """DRR-seq: the order of the n latest items, read by causal self-attention; it is its own actor.

    Unlike the paper's states it reads every rated item, not only the positives (what a user watches
    says where they are going, whatever they thought of it), and no user vector, so that it serves
    cold-start users like others. Its output, with a 1 appended, is the action: item vectors have
    one column more, a bias that carries how popular an item is.
    """

    reads_from = 0.5
    is_action = True
    has_dropout = True
    pretrained = "sequence"
    windows = True
    block = Block
    critic_copies_actor = True

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
        super().__init__(n_users, n_items, k, n)
        if k % heads:
            raise ValueError(f"k must be a multiple of the {heads} attention heads, not {k}")
        self.item_vectors = nn.Embedding(n_items + 1, k + 1, padding_idx=n_items)
        self.dropout = PooledDropout(dropout)
        self.blocks = nn.ModuleList(self.block(k, n, heads, self.dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(k)

    @property
    def size(self) -> int:
        return self.k + 1

    @property
    def session_items(self) -> int:
        return min(self.n, SESSION_ITEMS)

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

    def start_from(self, embeddings: Cooccurrence) -> None:
        """Item vectors and biases from co-occurrence."""
        columns = [embeddings.item, embeddings.bias.unsqueeze(1)]
        self.item_vectors.weight.data[:-1] = torch.cat(columns, 1)

    def sequence(self, items: Tensor, times: Times | None = None) -> Tensor:
        """The action after every item: int64 [B, L], right-padded -> float32 [B, L, k + 1].

        Causal: position t has seen items 0..t, so padding on the right changes nothing before it.
        """
        x, pairs = self._read(items, times)
        for block in self.blocks:
            x = block(x, pairs)
        return F.pad(self.norm(x), (0, 1), value=1.0)  # (B, L, k + 1)

    def _read(self, items: Tensor, times: Times | None) -> tuple[Tensor, Tensor | None]:
        """What the blocks read of each position [B, L, k], and of each pair: the order says all."""
        return self._embedded(items), None

    def _embedded(self, items: Tensor) -> Tensor:
        items = self.item_vectors(items)[..., : self.k]  # (B, L, k)
        return self.dropout(items * (0.5 / EMBEDDING_STD))

    def _after(self, items: Tensor, length: Tensor, times: Times | None) -> Tensor:
        """The action after the first `length` [B] items: [B, L], right-padded -> [B, k + 1]."""
        x, pairs = self._read(items, times)
        for block in self.blocks[:-1]:
            x = block(x, pairs)
        last = (length - 1).clamp(min=0)
        each = torch.arange(len(last), device=last.device)
        of_last = None if pairs is None else pairs[each, last]
        x = self.blocks[-1].at_last(x, last, of_last)
        return F.pad(self.norm(x), (0, 1), value=1.0)

    def forward(self, histories: Histories) -> Tensor:
        """The action after the whole memory -> float32 [B, k + 1].

        On a CPU rows of about one length are read together, so that little padding is.
        """
        memory = self.memory(histories)
        length = (memory != self.n_items).sum(1)  # (B,)
        items = right_padded(memory, length, self.n_items)  # (B, longest)
        times = self._times(histories, length)
        if not on_cpu(length):
            return self._after(items, length, times)
        order = length.argsort(stable=True)
        actions = []
        for rows in order.split(TOGETHER):
            longest = max(1, int(length[rows[-1]]))
            part = None if times is None else times.at(rows, longest)
            actions.append(self._after(items[rows, :longest], length[rows], part))
        return torch.cat(actions)[order.argsort()]

    def _times(self, histories: Histories, length: Tensor) -> Times | None:
        """Of the memory, right-padded [B, longest]; not read here."""
        return None


def right_padded(memory: Tensor, length: Tensor, padding: int) -> Tensor:
    """Rows [B, n] that hold `length` [B] values, left-padded -> [B, longest], right-padded.

    longest: n where asking for it would wait.
    """
    longest = max(1, int(length.max())) if on_cpu(length) else memory.shape[1]
    place = torch.arange(longest, device=length.device) + memory.shape[1] - length.unsqueeze(1)
    inside = place < memory.shape[1]
    return torch.where(inside, memory.gather(1, place.clamp(max=memory.shape[1] - 1)), padding)
