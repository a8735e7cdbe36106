"""Probabilistic matrix factorisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys_rl.data.counts import check_counts, check_numbers
from recsys_rl.data.devices import CPU, figure, optimizer_options
from recsys_rl.data.histories import Histories
from recsys_rl.data.interactions import Interactions, refuse_empty
from recsys_rl.embeddings.batching import by_length, rows
from recsys_rl.embeddings.cooccurrence import _first


class PMF(nn.Module):
    """Probabilistic matrix factorisation with biases: r_ui ~ mean + b_u + b_i + p_u . q_i.

    Fitted by Adam on the squared error with Gaussian priors (L2) on vectors and biases.
    """

    def __init__(
        self,
        n_users: int,
        n_items: int,
        k: int = 100,
        *,
        generator: torch.Generator,
        std: float = 0.1,
        l2: float = 0.07,
        device: torch.device = CPU,
    ) -> None:
        super().__init__()
        check_counts(k=k)
        check_numbers(0, std=std, l2=l2)
        self.n_users, self.l2 = n_users, l2
        drawn = {"generator": generator, "device": generator.device}
        self.mean = nn.Parameter(torch.zeros((), device=device), requires_grad=False)
        self.user = nn.Parameter((torch.randn(n_users, k, **drawn) * std).to(device))
        self.item = nn.Parameter((torch.randn(n_items, k, **drawn) * std).to(device))
        self.user_bias = nn.Parameter(torch.zeros(n_users, device=device))
        self.item_bias = nn.Parameter(torch.zeros(n_items, device=device))

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        """Predicted ratings of pairs, int64 [B], int64 [B] -> float32 [B]."""
        bias = self.mean + rows(self.user_bias, user) + rows(self.item_bias, item)
        return bias + (rows(self.user, user) * rows(self.item, item)).sum(-1)

    def score(self, histories: Histories) -> Tensor:
        """Predicted ratings of all items -> float32 [B, n_items].

        A user the model has never met gets the vector and bias that fit their history best under
        the same priors: one ridge regression, with the item vectors held fixed.
        """
        with torch.no_grad():
            known = (histories.user < self.n_users).unsqueeze(1)
            index = histories.user.clamp(max=self.n_users - 1)
            met = torch.cat([self.user[index], self.user_bias[index].unsqueeze(1)], dim=1)
            user = met if known.all() else torch.where(known, met, self.fold_in(histories))
            return self.mean + user[:, -1:] + self.item_bias + user[:, :-1] @ self.item.T

    def fold_in(self, histories: Histories) -> Tensor:
        """The vector and bias of users from their ratings -> float32 [B, k + 1]."""
        ones = self.item.new_ones(len(self.item_bias), 1)
        items = F.pad(torch.cat([self.item, ones], dim=1), (0, 0, 0, 1))  # padding is 0
        eye = torch.eye(items.shape[1], device=items.device)
        item_bias = F.pad(self.item_bias, (0, 1))
        user = items.new_zeros(len(histories), items.shape[1])
        for place, some in by_length(histories, len(self.item_bias)):
            there = (some.rating > 0).float()  # (b, h)
            features = items[some.item]  # (b, h, k + 1)
            error = (some.rating - self.mean - item_bias[some.item]) * there
            # the prior is met once for every rating in `fit`, so it weighs as much as there are
            ridge = self.l2 * there.sum(1).clamp(min=1)
            gram = features.mT @ features + ridge.view(-1, 1, 1) * eye
            moment = features.mT @ error.unsqueeze(2)
            user[place] = torch.linalg.solve(gram, moment).squeeze(2)
        return user

    def fit(
        self,
        train: Interactions,
        *,
        generator: torch.Generator,
        epochs: int = 10,
        batch_size: int | None = None,
        lr: float = 0.01,
    ) -> list[float]:
        """Learn from the train split; returns the root mean squared error of each epoch.

        batch_size: 8,192, or more where an epoch would have more than 128 steps: each of them
        moves all vectors.
        """
        check_counts(epochs=epochs)
        check_numbers(0, lr=lr)
        refuse_empty(train)
        if batch_size is not None:
            check_counts(batch_size=batch_size)
        batch_size = batch_size or max(8192, len(train) // 128)
        self.mean.data = train.rating.mean()
        optimizer = torch.optim.Adam(
            self.parameters(), lr=lr, **optimizer_options(self.item.device)
        )
        steps = epochs * -(-len(train) // batch_size)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, steps)
        errors = []
        for _ in range(epochs):
            total = 0.0
            order = torch.randperm(len(train), generator=generator, device=generator.device)
            for batch in order.to(train.user.device).split(batch_size):
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
                total += figure(error.detach().square().sum())
            errors.append((float(total) / len(train)) ** 0.5)
        return errors


def pmf_vectors(pmf: PMF) -> tuple[Tensor, Tensor]:
    """Items as PMF has them -> vectors float32 [V, k + 2], prior mean float32 [k + 2].

    Columns: the reward (stars - 3) / 2 that an average user gives; PMF's vectors, scaled so that
    the coordinates of its users have a variance of 1 in the mean; 1. The prior is that average
    user, 1 for the first column and 0 for the rest.
    """
    with torch.no_grad():
        average = (pmf.mean + pmf.user_bias.mean() + pmf.item_bias - 3).unsqueeze(1) / 2
        components = pmf.item * pmf.user.square().mean().sqrt() / 2
        vectors = torch.cat([average, components, torch.ones_like(average)], 1)
    return vectors, _first(vectors)
