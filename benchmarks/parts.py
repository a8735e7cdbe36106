"""The hot parts of a training, plainly written and as they are here: seconds before and after.

    python -m benchmarks.parts --threads 1

Each pair computes the same thing (up to the draw of dropout masks), at the sizes of ML-1M; the best
of `repeats` runs, forward and backward where there is something to learn. Times of one run can be
compared with each other, not with those of another machine or day.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.options import exit_with
from recsys_rl.agent.demonstrations import ANY_HIT_WEIGHT
from recsys_rl.agent.losses import FullSoftmax, HindsightLoss
from recsys_rl.agent.sum_tree import SumTree
from recsys_rl.data.arguments import MOST_THREADS, whole_number
from recsys_rl.data.histories import Histories
from recsys_rl.embeddings import pmf
from recsys_rl.states.drr_seq import DRRseq
from recsys_rl.states.layers import PooledDropout

N_ITEMS, N_USERS = 3706, 512


def best(run: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest of several runs, after one that does not count."""
    spent = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        run()
        spent.append(time.perf_counter() - begun)
    return min(spent[1:])


def lengths(generator: torch.Generator, most: int) -> Tensor:
    """How many items users have: log-normal about ML-1M's median of 96, int64 [N_USERS]."""
    return (96 * torch.randn(N_USERS, generator=generator).exp()).long().clamp(5, most)


def histories(generator: torch.Generator, most: int) -> Histories:
    """Random items, LEFT-padded; stars from 1 to 5."""
    there = torch.arange(most) >= most - lengths(generator, most).unsqueeze(1)
    item = torch.randint(N_ITEMS, there.shape, generator=generator).masked_fill(~there, N_ITEMS)
    rating = torch.randint(1, 6, there.shape, generator=generator).float() * there
    return Histories(torch.full((N_USERS,), N_USERS), item, rating)


def learned(loss: Callable[..., Tensor], *inputs: Tensor) -> None:
    """Forward and backward."""
    loss(*(x.detach().requires_grad_() for x in inputs)).backward()


def pairs(generator: torch.Generator) -> dict[str, tuple[Callable, Callable]]:
    """Part -> (plain, ours)."""
    vectors = torch.randn(1024, 97, generator=generator) * 0.1
    items = torch.randn(N_ITEMS, 97, generator=generator) * 0.1
    target = torch.randint(N_ITEMS, (1024,), generator=generator)
    relevant = torch.rand(1024, N_ITEMS, generator=generator) < 0.02
    excluded = (torch.rand(1024, N_ITEMS, generator=generator) < 0.02) & ~relevant
    weight = ANY_HIT_WEIGHT

    def hindsight(a: Tensor, v: Tensor) -> Tensor:
        log_pi = (a @ v.T).masked_fill(excluded, -1e9).log_softmax(1)
        spread = (log_pi * relevant).sum(1) / relevant.sum(1)
        return -(spread + weight * log_pi.masked_fill(~relevant, -1e9).logsumexp(1)).mean()

    dropout = PooledDropout(0.2).train()
    dropout.refill(generator)
    hidden = torch.randn(1024, 384, generator=generator)
    state = DRRseq(1, N_ITEMS, 96, 200).eval()
    state.initialise(generator)
    seen = histories(generator, 200)
    length = (seen.item != N_ITEMS).sum(1)

    @torch.no_grad()
    def whole() -> Tensor:
        order = (seen.item == N_ITEMS).byte().argsort(dim=1, stable=True)
        return state.sequence(seen.item.gather(1, order))[torch.arange(N_USERS), length - 1]

    @torch.no_grad()
    def ours() -> Tensor:
        return state(seen)

    logs = histories(generator, 1500)
    folded = pmf.PMF(1, N_ITEMS, 64, generator=generator).requires_grad_(False)

    def in_one_group() -> Tensor:
        grouped, pmf.by_length = pmf.by_length, one_group
        try:
            return folded.fold_in(logs)
        finally:
            pmf.by_length = grouped

    tree, leaf = SumTree(200_000), torch.randint(200_000, (512,), generator=generator)
    priority = torch.rand(512, generator=generator)

    def one_by_one() -> None:
        for i, p in zip(leaf, priority, strict=True):
            tree.set(i.unsqueeze(0), p.unsqueeze(0))

    return {
        "softmax over all items, loss and gradient": (
            lambda: learned(lambda a, v: F.cross_entropy(a @ v.T, target), vectors, items),
            lambda: learned(lambda a, v: FullSoftmax.apply(a, v, target), vectors, items),
        ),
        "likes among all items, loss and gradient": (
            lambda: learned(hindsight, vectors, items),
            lambda: learned(
                lambda a, v: HindsightLoss.apply(a @ v.T, relevant, excluded, weight),
                vectors,
                items,
            ),
        ),
        "dropout": (lambda: F.dropout(hidden, 0.2), lambda: dropout(hidden)),
        "DRR-seq reads 512 memories": (whole, ours),
        "512 users folded in": (in_one_group, lambda: folded.fold_in(logs)),
        "512 priorities into the sum tree": (one_by_one, lambda: tree.set(leaf, priority)),
    }


def one_group(logs: Histories, n_items: int, size: int = 64):
    """`embeddings.batching.by_length` with all users in one group."""
    yield torch.arange(len(logs)), logs


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=whole_number(1, MOST_THREADS), default=1)
    parser.add_argument("--repeats", type=whole_number(1), default=5)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    print(f"{'milliseconds':45}{'plain':>9}{'ours':>9}{'ratio':>8}")
    for part, (plain, ours) in pairs(torch.Generator().manual_seed(0)).items():
        before, after = best(plain, options.repeats), best(ours, options.repeats)
        print(f"{part:45}{before * 1e3:9.1f}{after * 1e3:9.1f}{before / after:8.1f}", flush=True)


if __name__ == "__main__":
    exit_with(main)
