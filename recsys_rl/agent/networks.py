"""Actor and critics.

Sources: Liu et al., arXiv 1810.12027 (DRR); Lillicrap et al., arXiv 1509.02971 (DDPG).

B = batch, k = width of the vectors, w = width of an action, V = n_items; where the histories have
candidates, V is their number, and an item stands in its column among them (`data.candidates`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys_rl.data.candidates import items_at, rows_of
from recsys_rl.data.histories import Histories, exclusion_mask
from recsys_rl.embeddings.batching import rows
from recsys_rl.states.base import State, initialise_linear
from recsys_rl.states.layers import PooledDropout
from recsys_rl.states.linear import GatedLinear

HIDDEN = 256  # width of the layers of actor and critic
DROPOUT = 0.8  # of what w(s) reads beside a linear model


class Actor(nn.Module):
    """pi: state -> ReLU -> ReLU -> tanh -> action a in [-1, 1]^k. Item i scores a . v_i.

    The state comes with the share of the session that is over. A state that is an action already
    (DRR-seq, DRR-set) passes through unchanged. A linear model of the user adds its part to the
    scores.
    """

    def __init__(
        self, state: State, linear: GatedLinear | None = None, width: int = HIDDEN
    ) -> None:
        super().__init__()
        self.state, self.linear = state, linear
        self.body = nn.Identity()
        if not state.is_action:
            self.body = nn.Sequential(
                nn.Linear(state.size + 1, width),
                nn.ReLU(),
                nn.Linear(width, width),
                nn.ReLU(),
                nn.Linear(width, state.k),
                nn.Tanh(),
            )

    def initialise(self, generator: torch.Generator) -> None:
        """The layers between state and action.

        The time counts from 0 on: an agent that never sees it change must not answer to it.
        """
        initialise_linear(self.body, generator)
        if not self.state.is_action:
            self.body[0].weight.data[:, -1] = 0

    @property
    def squashed(self) -> bool:
        """Whether the action comes from a tanh."""
        return not self.state.is_action

    @property
    def item_vectors(self) -> Tensor:
        """v, float32 [V, w]: the vectors that the state reads; the last column may be a bias."""
        return self.state.item_vectors.weight[:-1]

    def scored_vectors(self, candidates: Tensor | None) -> Tensor:
        """v of the items that are scored, float32 [V, w].

        Candidates are looked up in the whole table: the gradient of a slice fills another one.
        """
        if candidates is None:
            return self.item_vectors
        return rows_of(candidates, self.state.item_vectors.weight)

    def forward(self, histories: Histories) -> Tensor:
        state = self.state(histories)
        if self.state.is_action:
            return state  # (B, w)
        return self.body(torch.cat([state, histories.clock], 1)).float()  # (B, k)

    def read(self, histories: Histories) -> Histories:
        """With what the linear model makes of them, so that it is computed once."""
        return histories if self.linear is None else self.linear.read(histories)

    def scores(self, histories: Histories, action: Tensor | None = None) -> Tensor:
        """Scores of all items, by the actor's own action or a given one [B, w] -> [B, V]."""
        action = self(histories) if action is None else action
        scores = (action @ self.scored_vectors(histories.candidates).T).float()
        return scores if self.linear is None else scores + self.linear(histories)

    @torch.no_grad()
    def score(self, histories: Histories) -> Tensor:
        """The scores, without dropout: the form that every evaluation takes.

        One matrix product in place of the two of `scores`, of which only one has to learn.
        """
        action, candidates = self.eval()(histories), histories.candidates
        vectors = self.scored_vectors(candidates)
        if self.linear is None:
            return action @ vectors.T
        vectors = _joined(vectors, rows_of(candidates, self.linear.model.item_vectors))
        return _joined(action, self.linear.user_part(histories)) @ vectors.T

    def policy(self, histories: Histories) -> Tensor:
        """The softmax of the scores, 0 for items that the history names -> float32 [B, V]."""
        mask = exclusion_mask(histories, self.state.n_items)
        return self.scores(histories).masked_fill(mask, -torch.inf).softmax(1)

    @torch.no_grad()
    def best(self, histories: Histories) -> Tensor:
        """The items that are shown: the best that their histories do not name -> int64 [B]."""
        mask = exclusion_mask(histories, self.state.n_items)
        column = self.score(histories).masked_fill_(mask, -torch.inf).argmax(1)
        return items_at(histories.candidates, column)


def _joined(own: Tensor, linear: Tensor) -> Tensor:
    """Columns of an action, or of item vectors, with those of a linear model; a bias stays last."""
    return torch.cat([own[:, :-1], linear, own[:, -1:]], 1)


def steps_left(clock: Tensor, horizon: int, gamma: float) -> Tensor:
    """1 + gamma + gamma^2 + ..., as many terms as steps are left; clock: t / T, float32 [...].

    A constant where the clock stands still: in sessions without an end that counts.
    """
    left = (1 - clock) * horizon
    return left if gamma == 1 else (1 - gamma**left) / (1 - gamma)


class Critic(nn.Module):
    """What critics read: the state, the share of the session that is over, the linear model.

    horizon: T, gamma: the discount, from which `steps_left` tells what is still to be had.
    """

    def __init__(
        self,
        state: State,
        linear: GatedLinear | None,
        horizon: int,
        gamma: float,
        width: int = HIDDEN,
    ) -> None:
        super().__init__()
        self.state, self.linear, self.horizon, self.gamma = state, linear, horizon, gamma
        self.read = nn.Linear(state.size + 1 + (linear.width if linear else 0), width)

    def initialise(self, generator: torch.Generator) -> None:
        for name, part in self.named_children():
            if name not in ("state", "linear"):
                initialise_linear(part, generator)

    @property
    def item_vectors(self) -> Tensor:
        return self.state.item_vectors.weight[:-1]  # (V, w)

    def features(self, histories: Histories) -> Tensor:
        """-> float32 [B, width]."""
        parts = [self.state(histories), histories.clock]
        if self.linear is not None:
            parts.append(self.linear.user_part(histories))
        return F.relu(self.read(torch.cat(parts, 1)))

    def left(self, histories: Histories) -> Tensor:
        """The discounted number of steps that are left -> float32 [B]."""
        return steps_left(histories.clock.squeeze(1), self.horizon, self.gamma)


class ItemCritic(Critic):
    """Q(s, i) = w(s) . v_i + now(s) + (n - 1) later(s): of all items at once.

    n is the discounted number of steps left, so `later` is what one of the steps to come earns on
    average. Linear in the item's vector, so expectations over items are exact.

    With a linear model of likes, w(s) starts from the reward that the model expects of each item,
    and `now` and `later` read three numbers alone: what the model expects of the best items (too
    much as long as answers are few), the time, and 1 / (1 + answers). A network that reads all of
    the state comes to know the users it learns from by heart, and they are few
    (`pretrain.holdout_share`); hence the heavy dropout, too.
    """

    def __init__(
        self, state: State, linear: GatedLinear | None, horizon: int, gamma: float
    ) -> None:
        super().__init__(state, linear, horizon, gamma)
        width = state.item_vectors.embedding_dim + (linear.width if linear else 0)
        self.weight = nn.Linear(HIDDEN, width)
        self.dropout = PooledDropout(DROPOUT if linear else 0.0)
        self.value = nn.Sequential(
            nn.Linear(3 if linear else HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2)
        )

    def initialise(self, generator: torch.Generator) -> None:
        super().initialise(generator)
        self.dropout.refill(generator)

    def forward(self, histories: Histories, item: Tensor) -> Tensor:
        """Q of items int64 [B] -> float32 [B]."""
        if self.linear is not None:
            histories = self.linear.read(histories)
        features = self.features(histories)
        own, theirs = self._weights(histories, features)
        now, later = self.value(self._outlook(histories, features)).unbind(1)
        vectors = rows(self.state.item_vectors.weight, item)
        q = now + (self.left(histories) - 1) * later + (own * vectors).sum(1)
        return q if theirs is None else q + (theirs * self.linear.model.item_vectors[item]).sum(1)

    @torch.no_grad()
    def preferences(self, histories: Histories) -> Tensor:
        """The part of Q in which items differ -> float32 [B, V]."""
        own, theirs = self._weights(histories, self.features(histories))
        q = (own @ rows_of(histories.candidates, self.item_vectors).T).float()
        if theirs is None:
            return q
        return q.addmm_(theirs, rows_of(histories.candidates, self.linear.model.item_vectors).T)

    def _weights(self, histories: Histories, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """w(s) for the item vectors [B, w], and for those of the linear model [B, p], to which the
        model's user vector is added: its product is the expected reward."""
        weight = self.weight(self.dropout(features))
        if self.linear is None:
            return weight, None
        own, theirs = weight.tensor_split([weight.shape[1] - self.linear.width], dim=1)
        return own, theirs + self.linear.read(histories).user_vector

    def _outlook(self, histories: Histories, features: Tensor) -> Tensor:
        """What `now` and `later` read."""
        if self.linear is None:
            return features
        clock = histories.clock.squeeze(1)
        young = 1 / (1 + clock * self.horizon)
        return torch.stack([self.expected_reward(histories), clock, young], 1)

    @torch.no_grad()
    def expected_reward(self, histories: Histories) -> Tensor:
        """Mean reward of the steps left, if the linear model's best items were shown -> [B].

        Discounted as Q is, and divided by `left`.
        """
        vectors = rows_of(histories.candidates, self.linear.model.item_vectors)
        means = self.linear.read(histories).user_vector @ vectors.T
        means.masked_fill_(exclusion_mask(histories, means.shape[1]), 0.0)
        best = means.topk(min(self.horizon, means.shape[1])).values  # (B, T)
        step = torch.arange(best.shape[1], device=best.device)
        there = step < ((1 - histories.clock) * self.horizon).round()
        return (best * there * self.gamma**step).sum(1) / self.left(histories).clamp(min=1)


class VectorCritic(Critic):
    """Q(s, a) of an emitted vector a, as in the paper: state and vector joined, ReLU, a number.

    The number is multiplied by how many steps are left, discounted.
    """

    def __init__(self, state: State, horizon: int, gamma: float, width: int = HIDDEN) -> None:
        super().__init__(state, None, horizon, gamma, width)
        self.join = nn.Linear(width + state.item_vectors.embedding_dim, width)
        self.value = nn.Linear(width, 1)

    def forward(self, histories: Histories, action: Tensor) -> Tensor:
        """Q of vectors float32 [B, w] -> float32 [B]."""
        joined = torch.cat([self.features(histories), action], 1)
        return self.left(histories) * self.value(F.relu(self.join(joined))).squeeze(1)
