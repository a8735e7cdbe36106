"""Actor and critic of DDPG, and the noise with which it explores.

Sources: Liu et al., arXiv 1810.12027 (DRR); Lillicrap et al., arXiv 1509.02971 (DDPG).

B = batch, n = length of the memory, k = width of the vectors. Index n_items is padding, n_users
anonymous.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys_rl.data.interactions import Histories
from recsys_rl.data.observation import Observation, likes_and_rejections
from recsys_rl.states.base import State, latest
from recsys_rl.states.drr_seq import DRRseq
from recsys_rl.states.drr_set import DRRset

AnyState = State | DRRseq | DRRset


class Actor(nn.Module):
    """pi: state -> ReLU -> ReLU -> tanh -> action a in [-1, 1]^k. Film i scores a . v_i.

    A state that is an action already (DRR-seq, DRR-set) passes through unchanged.
    """

    def __init__(self, state: AnyState, hidden: int) -> None:
        super().__init__()
        self.state = state
        self.body = nn.Identity()
        if not state.is_action:
            self.body = nn.Sequential(
                nn.Linear(state.size, hidden),
                nn.ReLU(),
                nn.Linear(hidden, hidden),
                nn.ReLU(),
                nn.Linear(hidden, state.k),
                nn.Tanh(),
            )

    @property
    def item_vectors(self) -> Tensor:
        """v, float32 [n_items, k]: the same vectors that the state reads, padding left out.

        A state that is an action already has more columns: a bias, and what a linear model has.
        """
        return self.state.item_vectors.weight[:-1]

    def forward(self, observation: Observation) -> Tensor:
        return self.body(self.state(observation))  # (B, k)

    def scores(self, action: Tensor) -> Tensor:
        return action @ self.item_vectors.T  # (B, n_items)

    @torch.no_grad()
    def score(self, histories: Histories) -> Tensor:
        """Scores of all films from what people rated -> float32 [B, n_items]."""
        state = self.state
        if isinstance(state, DRRset):
            memories = likes_and_rejections(histories, state.n, state.n_items)
            seen = Observation(histories.user, *memories, state.profile(histories))
        else:
            memory = latest(histories, state.n, state.n_items, state.reads_from)
            seen = Observation(histories.user, memory)
        return self.eval().scores(self(seen))

    def expected_film(self, action: Tensor, vectors: Tensor, observation: Observation) -> Tensor:
        """Mean of `vectors` [n_items, k] under the softmax of the scores -> float32 [B, k].

        The film an action leads to is an argmax and has no gradient; this is its smooth stand-in,
        and it never leaves the hull of the films on which the critic was trained. Films that the
        observation names are never shown again, so they have no share in it.
        """
        scores = action @ self.state.item_vectors.weight.T  # (B, n_items + 1): the last is padding
        barred = torch.zeros_like(scores, dtype=torch.bool)
        barred[:, -1] = True
        for memory in (observation.memory, observation.rejected):
            if memory is not None:
                barred.scatter_(1, memory, True)
        chance = scores.masked_fill(barred, -torch.inf).softmax(1)
        return chance[:, :-1] @ vectors


class Critic(nn.Module):
    """Q: the state through ReLU, concatenated with the action, ReLU, one number.

    form "bilinear": Q(s, a) = V(s) + w(s) . a instead, so that Q of a mean film is the mean of Q.
    Only there, and where the state has a model of the reward (`DRRset.known_reward`), what that
    expects is added, and what is left to learn is its error and the future.
    """

    def __init__(self, state: AnyState, hidden: int, form: str = "joint") -> None:
        super().__init__()
        self.state, self.form = state, form
        width = state.item_vectors.embedding_dim
        self.read = nn.Linear(state.size, hidden)
        if form == "joint":
            self.join = nn.Linear(hidden + width, hidden)
        else:
            self.join = nn.Linear(hidden, width)
        self.value = nn.Linear(hidden, 1)

    @property
    def item_vectors(self) -> Tensor:
        return self.state.item_vectors.weight[:-1]  # (n_items, k)

    def forward(self, observation: Observation, action: Tensor) -> Tensor:
        """Observation of B sessions, action float32 [B, k] -> Q float32 [B]."""
        state = F.relu(self.read(self.state(observation)))  # (B, hidden)
        if self.form == "bilinear":
            weight = self.join(state)
            if isinstance(self.state, DRRset):
                weight = weight + self.state.known_reward(observation)
            return self.value(state).squeeze(1) + (weight * action).sum(1)
        joined = F.relu(self.join(torch.cat([state, action], dim=1)))  # (B, hidden)
        return self.value(joined).squeeze(1)
