"""DRR-set: the items liked and those not liked, each as a sum."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys_rl.data.interactions import POSITIVE, Histories
from recsys_rl.data.observation import Observation
from recsys_rl.embeddings.cooccurrence import EMBEDDING_STD, Cooccurrence
from recsys_rl.states.layers import PooledDropout
from recsys_rl.states.linear import LinearModel, no_profile


class DRRset(nn.Module):
    """DRR-set: the films that were liked and those that were not, each as a sum; no order, no user.

    Like DRR-seq it is its own actor: the output, with a 1 appended, is the action, and the film
    vectors have one column more, a bias.

    A linear model may be read beside the sets (`start.linear`). Its vector of the person is then
    appended to the action, and its film vectors to the film vectors: a film scores what the sets
    say of it plus `trusted` times what the linear model says. With strangers that is a Gaussian
    given the answers so far (`bandits.GaussianLikes`), or a ridge regression on them
    (`LikesRidge`), made anew at every step. Where people have
    rated much, it is PMF or ALS; these make a profile of what is known when a session begins, and
    a judge whose histories grow asks for it at every step.
    """

    reads_from = POSITIVE  # the smallest rating that enters the memory; the rest is `rejected`
    is_action = True

    def __init__(self, n_users: int, n_items: int, k: int, n: int, *, dropout: float = 0.3) -> None:
        super().__init__()
        self.k, self.n, self.n_items = k, n, n_items
        self.item_vectors = nn.Embedding(n_items + 1, k + 1, padding_idx=n_items)
        self.dropout = PooledDropout(dropout)
        hidden = 2 * k
        self.read = nn.Linear(2 * k + 2, hidden)
        self.inner_norm = nn.LayerNorm(hidden)
        self.widen, self.narrow = nn.Linear(hidden, 2 * hidden), nn.Linear(2 * hidden, hidden)
        self.norm, self.out = nn.LayerNorm(hidden), nn.Linear(hidden, k)
        self.taste = nn.Parameter(torch.tensor(2.0))  # weight of what was liked, as it is
        self.linear: LinearModel | None = None
        self.learns: Tensor | None = None  # the columns of the film vectors that do, if not all

    @property
    def size(self) -> int:
        return self.item_vectors.embedding_dim

    def initialise(self, generator: torch.Generator) -> None:
        """Small vectors, no bias; linear layers U(-1/sqrt(in), 1/sqrt(in))."""
        nn.init.normal_(self.item_vectors.weight, std=EMBEDDING_STD, generator=generator)
        self.item_vectors.weight.data[:, -1] = 0
        self.item_vectors.weight.data[self.n_items] = 0
        for layer in (self.read, self.widen, self.narrow, self.out):
            bound = layer.in_features**-0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
        self.dropout.refill(generator)

    def start_from(self, start: Cooccurrence) -> None:
        """Take over film vectors and biases that the log gives for nothing."""
        self.item_vectors.weight.data[:-1] = torch.cat([start.item, start.bias.unsqueeze(1)], 1)
        if start.linear is not None:
            self.attach(start.linear)

    def attach(self, linear: LinearModel) -> None:
        """Read a linear model from now on: its film vectors join the film vectors."""
        self.linear = linear.requires_grad_(False)
        self.trust = nn.Parameter(torch.empty(len(linear.trust)))
        self.put_back_trust()
        own, bias = self.item_vectors.weight.data.split([self.k, 1], dim=1)
        theirs = F.pad(linear.film_vectors, (0, 0, 0, 1))  # padding is 0
        self.item_vectors = nn.Embedding.from_pretrained(
            torch.cat([own, theirs, bias], 1), freeze=False, padding_idx=self.n_items
        )
        if not linear.tuned:
            self.learns = torch.tensor([*range(self.k), self.size - 1])
            mask = torch.zeros(self.size).index_fill_(0, self.learns, 1.0)
            self.item_vectors.weight.register_hook(lambda gradient: gradient * mask)
            self.register_load_state_dict_post_hook(_restore)

    def put_back_trust(self) -> None:
        """The linear model is trusted as it was before any training."""
        self.trust.data = torch.tensor(self.linear.trust)

    @torch.no_grad()
    def profile(self, histories: Histories) -> Tensor:
        """What the linear model makes of people, float32 [B, p]; p = 0 without one."""
        return no_profile(histories) if self.linear is None else self.linear.profile(histories)

    def summary(self, films: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Padded films int64 [B, n] -> 10 sum / sqrt(count), (log(1 + count) - 2) / 2.

        float32 [B, k] and [B, 1]; 10 sets the small vectors' scale right. Nobody: a sum of 0.
        vectors: float32 [n_items + 1, k], the films' own columns.
        """
        count = (films != self.n_items).sum(1, keepdim=True)
        total = F.embedding_bag(films, vectors, mode="sum", padding_idx=self.n_items)
        scale = (0.5 / EMBEDDING_STD) * count.clamp(min=1).rsqrt()
        return total * scale, (count.float().log1p() - 2) / 2

    def rejected(self, observation: Observation) -> Tensor:
        """What was shown and not liked -> int64 [B, n]; empty where nobody kept it."""
        if observation.rejected is None:
            return torch.full_like(observation.memory[:, :1], self.n_items)
        return observation.rejected

    def heard(self, profile: Tensor) -> Tensor:
        """While the network learns, half of the profiles are withheld: the sets must do without."""
        if not self.training:
            return profile
        shape = len(profile), 1
        return profile * (torch.rand(shape, generator=self.dropout.generator) < 0.5)

    def trusted(self, observation: Observation) -> Tensor:
        """The weight of the linear model: a polynomial in how full the memories are, [B, 1].

        Learned beside a network that comes to know the training people, it is too small for
        strangers, whom only the linear model gets to know. Stage 2 may set that right, where it
        learns fast enough (`Settings.trust_pace`), the more so if it plays with people whom stage 1
        has not met (`Settings.unmet`).
        """
        films = torch.cat([observation.memory, self.rejected(observation)], dim=1)
        full = (films != self.n_items).sum(1, keepdim=True) / self.n
        return sum(weight * full**power for power, weight in enumerate(self.trust))

    def known_reward(self, observation: Observation) -> Tensor:
        """w, float32 [B, size]: w . v_i is the reward of film i as the linear model expects it.

        One 0, float32 [1], where there is no such model, or one whose scores are no rewards.
        """
        if self.linear is None or not self.linear.scores_are_rewards:
            return self.item_vectors.weight.new_zeros(1)
        return F.pad(self.linear.person(observation), (self.k, 1))

    def forward(self, observation: Observation) -> Tensor:
        own = self.item_vectors.weight[:, : self.k]
        liked, n_liked = self.summary(observation.memory, own)
        rejected, n_rejected = self.summary(self.rejected(observation), own)
        x = self.read(self.dropout(torch.cat([liked, rejected, n_liked, n_rejected], dim=1)))
        x = x + self.narrow(F.silu(self.widen(self.inner_norm(x))))  # (B, 2k)
        action = self.out(self.norm(x)) + self.taste * liked  # (B, k)
        if self.linear is not None:
            person = self.heard(self.linear.person(observation))
            action = torch.cat([action, self.trusted(observation) * person], dim=1)
        return F.pad(action, (0, 1), value=1.0)


def _restore(state: DRRset, keys: object) -> None:
    """After loading: the linear model's film vectors are those among the state's own."""
    state.linear.become(state.item_vectors.weight[:-1, state.k : -1].detach().clone())


class DRRlikes(DRRset):
    """DRR-set without the second memory: what was shown and not liked is forgotten."""

    def rejected(self, observation: Observation) -> Tensor:
        return torch.full_like(observation.memory[:, :1], self.n_items)
