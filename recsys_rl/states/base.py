"""What all state representations share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys_rl.data.interactions import POSITIVE, Histories
from recsys_rl.data.observation import Observation
from recsys_rl.embeddings.pmf import PMF


class State(nn.Module):
    """Turns an observation of B sessions (user [B], memory [B, n]) into float32 [B, size].

    Every state owns its user and item vectors. Padding is the zero vector and contributes nothing;
    row n_users is the anonymous user, learned from the sessions in which the agent is not told who
    the person is.
    """

    reads_from = POSITIVE  # the smallest rating that enters the memory
    is_action = False  # the actor's layers stand between state and action

    def __init__(self, n_users: int, n_items: int, k: int, n: int) -> None:
        super().__init__()
        self.k, self.n, self.n_items = k, n, n_items
        self.user_vectors = nn.Embedding(n_users + 1, k)
        self.item_vectors = nn.Embedding(n_items + 1, k, padding_idx=n_items)
        self.weight = nn.Parameter(torch.ones(n))  # w_1..w_n, oldest film first

    @property
    def size(self) -> int:
        raise NotImplementedError

    def initialise(self, generator: torch.Generator) -> None:
        """N(0, 0.1^2) vectors; linear layers as PyTorch does, from a given generator."""
        for vectors in (self.user_vectors, self.item_vectors):
            nn.init.normal_(vectors.weight, std=0.1, generator=generator)
        self.item_vectors.weight.data[self.n_items] = 0
        initialise_linear(self, generator)

    def start_from(self, pmf: PMF) -> None:
        """Take over the vectors of a PMF; the anonymous user starts as the mean user."""
        self.user_vectors.weight.data[:-1] = pmf.user.data
        self.user_vectors.weight.data[-1] = pmf.user.data.mean(0)
        self.item_vectors.weight.data[:-1] = pmf.item.data

    def films(self, observation: Observation) -> Tensor:
        """The weighted vectors w_a i_a of the memory -> float32 [B, n, k]."""
        return self.item_vectors(observation.memory) * self.weight.unsqueeze(1)

    def mean_film(self, observation: Observation) -> Tensor:
        """Mean of the weighted vectors over the films that are there -> float32 [B, k]."""
        known = (observation.memory != self.n_items).sum(1, keepdim=True).clamp(min=1)
        return self.films(observation).sum(1) / known


def initialise_linear(module: nn.Module, generator: torch.Generator) -> None:
    """PyTorch's default for linear layers, U(-1/sqrt(in), 1/sqrt(in)), from a given generator."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            bound = part.in_features**-0.5
            nn.init.uniform_(part.weight, -bound, bound, generator=generator)
            nn.init.uniform_(part.bias, -bound, bound, generator=generator)


def latest(histories: Histories, n: int, n_items: int, reads_from: float) -> Tensor:
    """The memory H: the n latest films rated `reads_from` or more -> int64 [B, n], LEFT-padded."""
    read = histories.rating >= reads_from
    films = torch.where(read, histories.item, n_items)
    order = read.byte().argsort(dim=1, stable=True)  # padding first, the others in their order
    films = films.gather(1, order)[:, -n:]
    return F.pad(films, (n - films.shape[1], 0), value=n_items)
