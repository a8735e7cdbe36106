"""Actor and critics.

Sources: Liu et al., arXiv 1810.12027 (DRR); Lillicrap et al., arXiv 1509.02971 (DDPG).

B = batch, k = width of the vectors, w = width of an action, V = n_items.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys_rl.data.histories import Histories, exclusion_mask
from recsys_rl.embeddings.batching import rows
from recsys_rl.states.base import State, initialise_linear
from recsys_rl.states.linear import GatedLinear

HIDDEN = 256  # width of the layers of actor and critic


class Actor(nn.Module):
    """pi: state -> ReLU -> ReLU -> tanh -> action a in [-1, 1]^k. Item i scores a . v_i.

    A state that is an action already (DRR-seq, DRR-set) passes through unchanged. A linear model of
    the user adds its part to the scores.
    """

    def __init__(self, state: State, linear: GatedLinear | None = None) -> None:
        super().__init__()
        self.state, self.linear = state, linear
        self.body = nn.Identity()
        if not state.is_action:
            self.body = nn.Sequential(
                nn.Linear(state.size, HIDDEN),
                nn.ReLU(),
                nn.Linear(HIDDEN, HIDDEN),
                nn.ReLU(),
                nn.Linear(HIDDEN, state.k),
                nn.Tanh(),
            )

    def initialise(self, generator: torch.Generator) -> None:
        """The layers between state and action."""
        initialise_linear(self.body, generator)

    @property
    def item_vectors(self) -> Tensor:
        """v, float32 [V, w]: the vectors that the state reads; the last column may be a bias."""
        return self.state.item_vectors.weight[:-1]

    def forward(self, histories: Histories) -> Tensor:
        return self.body(self.state(histories))  # (B, w)

    def read(self, histories: Histories) -> Histories:
        """With what the linear model makes of them, so that it is computed once."""
        return histories if self.linear is None else self.linear.read(histories)

    def scores(self, histories: Histories, action: Tensor | None = None) -> Tensor:
        """Scores of all items, by the actor's own action or a given one [B, w] -> [B, V]."""
        action = self(histories) if action is None else action
        scores = action @ self.item_vectors.T
        return scores if self.linear is None else scores + self.linear(histories)

    @torch.no_grad()
    def score(self, histories: Histories) -> Tensor:
        """The scores, without dropout: the form that every evaluation takes.

        One matrix product in place of the two of `scores`, of which only one has to learn.
        """
        action = self.eval()(histories)
        if self.linear is None:
            return action @ self.item_vectors.T
        vectors = _joined(self.item_vectors, self.linear.model.item_vectors)
        return _joined(action, self.linear.user_part(histories)) @ vectors.T

    def policy(self, histories: Histories) -> Tensor:
        """The softmax of the scores, 0 for items that the history names -> float32 [B, V].

        The item an action leads to is an argmax and has no gradient; this is its smooth stand-in.
        """
        mask = exclusion_mask(histories, self.state.n_items)
        return self.scores(histories).masked_fill(mask, -torch.inf).softmax(1)


def _joined(own: Tensor, linear: Tensor) -> Tensor:
    """Columns of an action, or of item vectors, with those of a linear model; a bias stays last."""
    return torch.cat([own[:, :-1], linear, own[:, -1:]], 1)


class Critic(nn.Module):
    """Q(s, i): what both forms share, and what a form of your own has to say (`CRITICS`)."""

    def __init__(self, state: State, linear: GatedLinear | None, join: int, joined: int) -> None:
        super().__init__()
        self.state, self.linear = state, linear
        self.read = nn.Linear(state.size + (linear.width if linear else 0), HIDDEN)
        self.join = nn.Linear(join, joined)
        self.value = nn.Linear(HIDDEN, 1)

    def initialise(self, generator: torch.Generator) -> None:
        for layer in (self.read, self.join, self.value):
            initialise_linear(layer, generator)

    @property
    def item_vectors(self) -> Tensor:
        return self.state.item_vectors.weight[:-1]  # (V, w)

    def features(self, histories: Histories) -> Tensor:
        """The state, with what a linear model says of the user, through ReLU -> [B, HIDDEN]."""
        state = self.state(histories)
        if self.linear is not None:
            state = torch.cat([state, self.linear.user_part(histories)], 1)
        return F.relu(self.read(state))

    def forward(self, histories: Histories, item: Tensor) -> Tensor:
        """Q of items int64 [B] -> float32 [B]."""
        raise NotImplementedError

    def expected(self, histories: Histories, policy: Tensor) -> Tensor:
        """Q under a policy [B, V] -> float32 [B]; only the policy has a gradient."""
        raise NotImplementedError


class JointCritic(Critic):
    """Q(s, v): the state through ReLU, concatenated with an item vector v, ReLU, one number."""

    def __init__(self, state: State, linear: GatedLinear | None = None) -> None:
        super().__init__(state, linear, HIDDEN + state.item_vectors.embedding_dim, HIDDEN)

    def forward(self, histories: Histories, item: Tensor) -> Tensor:
        return self._q(self.features(histories), rows(self.item_vectors, item))

    def expected(self, histories: Histories, policy: Tensor) -> Tensor:
        """Q of the mean item vector: within the hull of the items on which Q was trained."""
        with torch.no_grad():
            features = self.features(histories)
        return self._q(features, policy @ self.item_vectors.detach())

    def _q(self, features: Tensor, vector: Tensor) -> Tensor:
        joined = F.relu(self.join(torch.cat([features, vector], dim=1)))  # (B, HIDDEN)
        return self.value(joined).squeeze(1)


class BilinearCritic(Critic):
    """Q(s, i) = V(s) + w(s) . v_i, so that the expectation of Q under a policy is exact.

    With a linear model the critic starts from the reward that the model expects of each item: its
    error and the future are left to learn.
    """

    def __init__(self, state: State, linear: GatedLinear | None = None) -> None:
        width = state.item_vectors.embedding_dim + (linear.width if linear else 0)
        super().__init__(state, linear, HIDDEN, width)

    def forward(self, histories: Histories, item: Tensor) -> Tensor:
        value, own, theirs = self._parts(histories)
        q = value + (own * rows(self.item_vectors, item)).sum(1)
        return q if theirs is None else q + (theirs * self.linear.model.item_vectors[item]).sum(1)

    def expected(self, histories: Histories, policy: Tensor) -> Tensor:
        with torch.no_grad():
            value, own, theirs = self._parts(histories)
            q = own @ self.item_vectors.T  # (B, V)
            if theirs is not None:
                q += theirs @ self.linear.model.item_vectors.T
        return value + (policy * q).sum(1)

    def _parts(self, histories: Histories) -> tuple[Tensor, Tensor, Tensor | None]:
        """V(s) [B], and w(s) for the item vectors [B, w] and for those of the linear model [B, p],
        to which the model's user vector is added: its product is the expected reward."""
        features = self.features(histories)
        value, weight = self.value(features).squeeze(1), self.join(features)
        if self.linear is None:
            return value, weight, None
        own, theirs = weight.tensor_split([weight.shape[1] - self.linear.width], dim=1)
        return value, own, theirs + self.linear.read(histories).user_vector


CRITICS: dict[str, type[Critic]] = {"joint": JointCritic, "bilinear": BilinearCritic}
