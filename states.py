"""The vectors (PMF) and the state representations of DRR.

Sources: Liu et al., arXiv 1810.12027, section 4 (DRR-p, DRR-u, DRR-ave) and Knowledge-Based Systems
205, 2020 (DRR-att); Mnih & Salakhutdinov, NIPS 2007 (PMF); Koren et al. 2009 (biases).

B = batch, n = length of the memory, k = width of the vectors. Index n_items is padding, n_users
anonymous.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from replay import Observation
from sequence import DRRseq
from strangers import DRRlikes, DRRset
from utils import POSITIVE, Histories, Interactions


def rows(table: Tensor, index: Tensor) -> Tensor:
    """table[index], with a gradient that is added up in the same order every time.

    The gradient of plain indexing is added by several threads at once, in whatever order they
    come: the same seed would give other weights.
    """
    if table.dim() == 1:
        return F.embedding(index, table.unsqueeze(1)).squeeze(-1)
    return F.embedding(index, table)


class PMF(nn.Module):
    """Probabilistic matrix factorisation with biases: r_ui ~ mean + b_u + b_i + p_u . q_i.

    Fitted by Adam on the squared error with Gaussian priors (L2) on vectors and biases.
    """

    tuned, scores_are_rewards = True, False
    trust = (4.0,)  # a star more is worth four units of log-odds: where DRR-set starts

    def __init__(
        self,
        n_users: int,
        n_items: int,
        k: int = 100,
        *,
        generator: torch.Generator,
        std: float = 0.1,
        l2: float = 0.07,
    ) -> None:
        super().__init__()
        self.n_users, self.l2 = n_users, l2
        self.mean = nn.Parameter(torch.zeros(()), requires_grad=False)
        self.user = nn.Parameter(torch.randn(n_users, k, generator=generator) * std)
        self.item = nn.Parameter(torch.randn(n_items, k, generator=generator) * std)
        self.user_bias = nn.Parameter(torch.zeros(n_users))
        self.item_bias = nn.Parameter(torch.zeros(n_items))

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        """Predicted ratings of pairs, int64 [B], int64 [B] -> float32 [B]."""
        bias = self.mean + rows(self.user_bias, user) + rows(self.item_bias, item)
        return bias + (rows(self.user, user) * rows(self.item, item)).sum(-1)

    def score(self, histories: Histories) -> Tensor:
        """Predicted ratings of all films -> float32 [B, n_items].

        A person the model has never met gets the vector and bias that fit their history best under
        the same priors: one ridge regression, with the item vectors held fixed.
        """
        with torch.no_grad():
            known = (histories.user < self.n_users).unsqueeze(1)
            index = histories.user.clamp(max=self.n_users - 1)
            met = torch.cat([self.user[index], self.user_bias[index].unsqueeze(1)], dim=1)
            person = met if known.all() else torch.where(known, met, self.fold_in(histories))
            return self.mean + person[:, -1:] + self.item_bias + person[:, :-1] @ self.item.T

    @property
    def film_vectors(self) -> Tensor:
        """float32 [n_items, k + 1]; the last column is the bias of a film."""
        return torch.cat([self.item, self.item_bias.unsqueeze(1)], dim=1)

    def profile(self, histories: Histories) -> Tensor:
        """float32 [B, k + 1]: profile . film vector ranks films as the stars of `fold_in` do."""
        return F.pad(self.fold_in(histories)[:, :-1], (0, 1), value=1.0)

    def person(self, observation: Observation) -> Tensor:
        return observation.profile

    def fold_in(self, histories: Histories) -> Tensor:
        """The vector and bias of people from their ratings -> float32 [B, k + 1]."""
        ones = torch.ones(len(self.item_bias), 1)
        films = F.pad(torch.cat([self.item, ones], dim=1), (0, 0, 0, 1))  # padding is 0
        film_bias = F.pad(self.item_bias, (0, 1))
        person = films.new_zeros(len(histories), films.shape[1])
        for rows, some in by_length(histories, len(self.item_bias)):
            there = (some.rating > 0).float()  # (b, h)
            features = films[some.item]  # (b, h, k + 1)
            error = (some.rating - self.mean - film_bias[some.item]) * there
            # the prior is met once for every rating in `fit`, so it weighs as much as there are
            ridge = self.l2 * there.sum(1).clamp(min=1)
            gram = features.mT @ features + ridge.view(-1, 1, 1) * torch.eye(films.shape[1])
            moment = features.mT @ error.unsqueeze(2)
            person[rows] = torch.linalg.solve(gram, moment).squeeze(2)
        return person

    def fit(
        self,
        train: Interactions,
        *,
        generator: torch.Generator,
        epochs: int = 10,
        batch_size: int = 8192,
        lr: float = 0.01,
    ) -> list[float]:
        """Learn from the train split; returns the root mean squared error of each epoch."""
        self.mean.data = train.rating.mean()
        optimizer = torch.optim.Adam(self.parameters(), lr=lr, fused=True)
        steps = epochs * -(-len(train) // batch_size)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, steps)
        errors = []
        for _ in range(epochs):
            total = 0.0
            for batch in torch.randperm(len(train), generator=generator).split(batch_size):
                user, item = train.user[batch], train.item[batch]
                error = self(user, item) - train.rating[batch]
                prior = rows(self.user, user).square().sum(1)
                prior = prior + rows(self.item, item).square().sum(1)
                prior = prior + rows(self.user_bias, user).square()
                prior = prior + rows(self.item_bias, item).square()
                loss = (error.square() + self.l2 * prior).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                total += float(error.detach().square().sum())
            errors.append((total / len(train)) ** 0.5)
        return errors


class ALS(nn.Module):
    """Implicit feedback by alternating least squares (Hu, Koren & Volinsky, ICDM 2008).

    Every film of a history is a 1 that counts `confidence` times, every other film a 0 that counts
    once; vectors of people and films are ridge regressions on each other in turn.
    """

    tuned, scores_are_rewards = True, False
    trust = (2.0,)  # scores run from 0 to 1

    def __init__(
        self,
        log: Interactions,
        k: int = 64,
        *,
        generator: torch.Generator,
        regularization: float = 10.0,
        confidence: float = 4.0,
        sweeps: int = 10,
    ) -> None:
        super().__init__()
        self.regularization, self.confidence = regularization, confidence
        by_film = _transposed(log)
        films = torch.randn(log.n_items, k, generator=generator) * 0.1
        for _ in range(sweeps):
            films = self._solve_all(by_film, self._solve_all(log, films))
        self.film_vectors = nn.Parameter(films, requires_grad=False)

    def profile(self, histories: Histories) -> Tensor:
        """The vectors of people from the films that they rated -> float32 [B, k]."""
        return self._solve(histories, self.film_vectors)

    def person(self, observation: Observation) -> Tensor:
        return observation.profile

    def score(self, histories: Histories) -> Tensor:
        """float32 [B, n_items]."""
        return self.profile(histories) @ self.film_vectors.T

    def _solve_all(self, log: Interactions, vectors: Tensor, batch_size: int = 1024) -> Tensor:
        batches = torch.arange(log.n_users).split(batch_size)
        return torch.cat([self._solve(log.histories(batch), vectors) for batch in batches])

    def _solve(self, histories: Histories, vectors: Tensor) -> Tensor:
        """Ridge on the rows of `vectors` [V, k] that each history names -> float32 [B, k]."""
        once = vectors.T @ vectors + self.regularization * torch.eye(vectors.shape[1])
        padded, extra = F.pad(vectors, (0, 0, 0, 1)), self.confidence - 1
        solved = vectors.new_zeros(len(histories), vectors.shape[1])
        for rows, some in by_length(histories, len(vectors)):
            there = padded[some.item]  # (b, h, k)
            gram = torch.baddbmm(once.expand(len(rows), -1, -1), there.mT, there, alpha=extra)
            moment = self.confidence * there.sum(1, keepdim=True).mT
            solved[rows] = torch.cholesky_solve(moment, torch.linalg.cholesky(gram)).squeeze(2)
        return solved


def by_length(
    histories: Histories, n_items: int, size: int = 64
) -> Iterator[tuple[Tensor, Histories]]:
    """The rated films of B histories without the gaps, in groups of about one length.

    -> (which of the B, int64 [b]; their films, padded on the right with n_items).
    """
    if not len(histories):
        return
    there = (histories.rating > 0) & (histories.item < n_items)
    count = there.sum(1)
    longest = int(count.max())
    place = torch.where(there, there.cumsum(1) - 1, longest)  # the last column is thrown away
    shape = len(count), longest + 1
    item = histories.item.new_full(shape, n_items).scatter_(1, place, histories.item)
    rating = histories.rating.new_zeros(shape).scatter_(1, place, histories.rating)
    for rows in count.argsort(stable=True).split(size):
        here = int(count[rows[-1]])
        yield rows, Histories(histories.user[rows], item[rows, :here], rating[rows, :here])


def _transposed(log: Interactions) -> Interactions:
    """The same rows with people and films exchanged."""
    order = log.item.argsort(stable=True)
    return replace(
        log,
        user=log.item[order],
        item=log.user[order],
        rating=log.rating[order],
        timestamp=log.timestamp[order],
        user_ids=log.item_ids,
        item_ids=log.user_ids,
    )


# ---------------------------------------------------------------------------- states


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


def pair_products(vectors: Tensor) -> Tensor:
    """Element-wise products of every pair: float32 [B, n, k] -> [B, n (n - 1) / 2, k]."""
    first, second = torch.triu_indices(vectors.shape[1], vectors.shape[1], offset=1)
    return vectors.index_select(1, first) * vectors.index_select(1, second)


class DRRp(State):
    """DRR-p: the n films and the product of every pair of them."""

    @property
    def size(self) -> int:
        return self.k * (self.n + self.n * (self.n - 1) // 2)

    def forward(self, observation: Observation) -> Tensor:
        films = self.item_vectors(observation.memory)  # (B, n, k)
        pairs = pair_products(self.films(observation))  # (B, n(n-1)/2, k)
        return torch.cat([films, pairs], dim=1).flatten(1)


class DRRu(State):
    """DRR-u: the user times each film, and the product of every pair of films."""

    @property
    def size(self) -> int:
        return self.k * (self.n + self.n * (self.n - 1) // 2)

    def forward(self, observation: Observation) -> Tensor:
        films = self.films(observation)  # (B, n, k)
        user = self.user_vectors(observation.user).unsqueeze(1)  # (B, 1, k)
        return torch.cat([user * films, pair_products(films)], dim=1).flatten(1)


class DRRave(State):
    """DRR-ave: the user, the user times the mean film, and the mean film."""

    @property
    def size(self) -> int:
        return 3 * self.k

    def summary(self, observation: Observation, user: Tensor) -> Tensor:
        """One vector for the memory -> float32 [B, k]."""
        return self.mean_film(observation)

    def forward(self, observation: Observation) -> Tensor:
        user = self.user_vectors(observation.user)  # (B, k)
        films = self.summary(observation, user)  # (B, k)
        return torch.cat([user, user * films, films], dim=1)


class DRRatt(DRRave):
    """DRR-att: DRR-ave with the mean replaced by the user's attention over the films."""

    def __init__(self, n_users: int, n_items: int, k: int, n: int) -> None:
        super().__init__(n_users, n_items, k, n)
        self.hidden = nn.Linear(2 * k, k)
        self.score = nn.Linear(k, 1)

    def summary(self, observation: Observation, user: Tensor) -> Tensor:
        films = self.films(observation)  # (B, n, k)
        pairs = torch.cat([user.unsqueeze(1).expand_as(films), films], dim=2)  # (B, n, 2k)
        score = self.score(F.relu(self.hidden(pairs))).squeeze(2)  # (B, n)
        padding = observation.memory == self.n_items
        score = score.masked_fill(padding, torch.finfo(score.dtype).min)
        attention = score.softmax(1).masked_fill(padding, 0.0)  # an empty memory attends to nothing
        return (attention.unsqueeze(2) * films).sum(1)


STATES: dict[str, type[nn.Module]] = {
    "p": DRRp,
    "u": DRRu,
    "ave": DRRave,
    "att": DRRatt,
    "seq": DRRseq,
    "set": DRRset,
    "likes": DRRlikes,
}


def latest(histories: Histories, n: int, n_items: int, reads_from: float) -> Tensor:
    """The memory H: the n latest films rated `reads_from` or more -> int64 [B, n], LEFT-padded."""
    read = histories.rating >= reads_from
    films = torch.where(read, histories.item, n_items)
    order = read.byte().argsort(dim=1, stable=True)  # padding first, the others in their order
    films = films.gather(1, order)[:, -n:]
    return F.pad(films, (n - films.shape[1], 0), value=n_items)
