"""Sessions with people the agent has never met: what it shows decides what it learns about them.

Here are the environment (`StrangerSessions`), our sixth state, which reads what was liked and what
was shown and not liked (`DRRset`), and the imitation of people's likes in the agent's own sessions
(`OwnSessions`, `LikesLoss`).

Sources: Zaheer et al., NIPS 2017 (a function of a set is a function of a sum); Liang et al., WWW
2018 (softmax over the catalogue, several positives); Ross et al., AISTATS 2011 (imitation on the
states that the learner itself reaches).

B = batch, n = length of a memory, k = width, V = n_items. Index V is padding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from environment import Info, Resumable
from replay import Observation
from sequence import EMBEDDING_STD, Cooccurrence, PooledDropout
from utils import POSITIVE, Histories, Interactions

LEAST = 3  # films left to like when a session starts, or it could not earn three


def no_profile(histories: Histories) -> Tensor:
    """What stands for a profile where no linear model is asked: float32 [B, 0]."""
    return histories.rating.new_zeros(len(histories), 0)


class LinearModel(Protocol):
    """What DRR-set may read beside its sets: a model whose scores are person . film vector."""

    film_vectors: Tensor  # float32 [n_items, p]
    tuned: bool  # whether they go on learning as film vectors of the agent
    scores_are_rewards: bool  # expectations of what a session pays
    trust: tuple[float, ...]  # what to multiply its scores by at first, see `DRRset.trusted`

    def profile(self, histories: Histories) -> Tensor:
        """What a session keeps of the person from its start, float32 [B, p]; or p = 0."""

    def person(self, observation: Observation) -> Tensor:
        """The vector of the person, float32 [B, p]."""

    def become(self, film_vectors: Tensor) -> None:
        """Where `tuned` is false: the model with these film vectors, which a file has kept."""

    def requires_grad_(self, requires_grad: bool) -> nn.Module: ...


class LikesRidge(nn.Module):
    """A person as a ridge regression on the answers of the session: 1 liked, 0 not.

    LinUCB without a bonus (Li et al., WWW 2010), so a linear model that learns at every step.
    film_vectors: float32 [n_items, p]; prior: float32 [p], the person of whom nothing is known.
    """

    tuned, scores_are_rewards = True, False
    trust = (2.0, 10.0)

    def __init__(self, film_vectors: Tensor, prior: Tensor, ridge: float = 0.4) -> None:
        super().__init__()
        self.register_buffer("ridge", torch.tensor(ridge))  # saved with the agent
        self.film_vectors = nn.Parameter(film_vectors, requires_grad=False)
        self.prior_vectors = nn.Parameter(prior, requires_grad=False)

    def profile(self, histories: Histories) -> Tensor:
        return no_profile(histories)

    @torch.no_grad()
    def person(self, observation: Observation) -> Tensor:
        padded = F.pad(self.film_vectors, (0, 0, 0, 1))
        liked, rejected = padded[observation.memory], padded[observation.rejected]  # (B, n, p)
        gram = liked.mT @ liked + rejected.mT @ rejected
        gram.diagonal(dim1=1, dim2=2).add_(self.ridge)
        total = self.ridge * self.prior_vectors + liked.sum(1)  # (B, p)
        factor = torch.linalg.cholesky(gram)
        return torch.cholesky_solve(total.unsqueeze(2), factor).squeeze(2)


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


# ---------------------------------------------------------------------------- the environment


class StrangerSessions(Resumable):
    """B sessions that step together, each with somebody the agent has never met.

    A session starts from what a person says they like: `given` films that they rated 4 or more, at
    random; or, if `given` is a share, that share of all their rows, liked or not. Each step shows
    the film with the largest a . v_i among the candidates. The reward is 1 if the person rated it 4
    or more, else 0; what is liked joins `memory`, what is not joins `rejected`. No simulator
    answers: a film that was never rated counts as not liked.

    candidates: "all" films not shown yet, or only those the person "rated" (Liu et al., arXiv
    1810.12027, Algorithm 2).
    terminated: nothing is left to like. truncated: `horizon` steps are over; the bootstrap goes on.

    people: all rows of those who may be met. item_vectors: float32 [n_items, k], read anew at every
    step. n: width of either memory. profile: histories -> float32 [B, p], asked once a session
    about what is known when it starts.
    """

    running = (
        *("_user", "_memory", "_rejected", "_profile", "wanted", "barred"),
        *("_each", "_active", "_steps"),
    )

    def __init__(
        self,
        people: Interactions,
        item_vectors: Tensor,
        *,
        sessions: int = 512,
        n: int = 43,
        horizon: int = 40,
        given: float = 3,
        candidates: str = "all",
        profile: Callable[[Histories], Tensor] = no_profile,
        generator: torch.Generator | None = None,
    ) -> None:
        self.people, self.item_vectors, self.profile = people, item_vectors, profile
        self.sessions, self.n, self.horizon = sessions, n, horizon
        self.given, self.candidates = given, candidates
        self.generator = generator or torch.Generator().manual_seed(0)
        if given < 0 or (given > 1 and given != int(given)):
            raise ValueError(f"given is a number of films or a share below 1, not {given}")
        liked = people.select(people.rating >= POSITIVE).offsets.diff()
        least = given + LEAST if given >= 1 else 2
        self.fans = torch.nonzero(liked >= least).squeeze(1)
        if not len(self.fans):
            raise ValueError(f"nobody liked {least} films: there is no session to play")

    def reset(
        self, *, seed: int | None = None, options: Info | None = None
    ) -> tuple[Observation, Info]:
        """Start B sessions; options may fix `users`, int64 [B]."""
        if seed is not None:
            self.generator.manual_seed(seed)
        users = (options or {}).get("users")
        if users is None:
            drawn = torch.randint(len(self.fans), (self.sessions,), generator=self.generator)
            users = self.fans[drawn]
        elif not torch.isin(users, self.fans).all():
            raise ValueError("a session needs somebody who likes a few films more than are given")
        self._start(self.people.histories(users))
        return self.observation(), {"active": self._active}

    def _start(self, log: Histories) -> None:
        n_items, there = self.people.n_items, log.item < self.people.n_items
        given = self._given(log, there)
        item, rating = log.item.masked_fill(~given, n_items), log.rating.masked_fill(~given, 0)
        first = Histories(log.user, item, rating)
        self._memory, self._rejected = likes_and_rejections(first, self.n, n_items)
        self._profile = self.profile(first)
        size = (len(log), n_items + 1)
        column = log.item.masked_fill(~(there & ~given), n_items)
        left = torch.zeros(size, dtype=torch.bool).scatter_(1, column, True)[:, :-1]
        liked = log.item.masked_fill(given | (log.rating < POSITIVE), n_items)
        self.wanted = torch.zeros(size, dtype=torch.bool).scatter_(1, liked, True)[:, :-1]
        if self.candidates == "rated":
            self.barred = ~left
        else:
            shown = log.item.masked_fill(~given, n_items)
            self.barred = torch.zeros(size, dtype=torch.bool).scatter_(1, shown, True)[:, :-1]
        self.wanted, self.barred = self.wanted.contiguous(), self.barred.contiguous()
        self._user = torch.full_like(log.user, self.people.n_users)
        self._each = torch.arange(len(log))
        self._active = self.wanted.any(1)
        self._steps = 0

    def _given(self, log: Histories, there: Tensor) -> Tensor:
        """Which rows [B, H] of each person are known at the start."""
        keys = torch.rand(log.item.shape, generator=self.generator)
        if self.given < 1:
            return there & (keys < self.given)
        keys = keys.masked_fill_(log.rating < POSITIVE, -1.0)
        first = keys.topk(int(self.given)).indices
        return torch.zeros_like(there).scatter_(1, first, True)

    def observation(self) -> Observation:
        return Observation(self._user, self._memory, self._rejected, self._profile)

    def step(self, action: Tensor) -> tuple[Observation, Tensor, Tensor, Tensor, Info]:
        """Act with float32 [B, k] -> (observation, reward, terminated, truncated, info), each [B].

        k is the width of the film vectors. info: "item" int64 [B], the film shown; "active" bool
        [B], whether the session was still running when the step was made.
        """
        with torch.no_grad():
            scores = action @ self.item_vectors.T  # (B, n_items)
            return self.execute(scores.masked_fill_(self.barred, -torch.inf).max(1).indices)

    def execute(self, item: Tensor) -> tuple[Observation, Tensor, Tensor, Tensor, Info]:
        """Show films int64 [B] directly; the rest as in `step`."""
        liked = self.wanted[self._each, item]
        self.wanted[self._each, item] = False
        self.barred[self._each, item] = True
        self._memory = remember(self._memory, item, liked)
        self._rejected = remember(self._rejected, item, ~liked)
        self._steps += 1
        terminated = ~self.wanted.amax(1)  # any, only faster
        truncated = torch.full_like(terminated, self._steps >= self.horizon)
        info = {"item": item, "active": self._active}
        self._active = self._active & ~terminated & ~truncated
        return self.observation(), liked.float(), terminated, truncated, info


def remember(memory: Tensor, item: Tensor, here: Tensor) -> Tensor:
    """A memory [B, n] with `item` [B] appended where `here` [B]; the oldest film drops out."""
    shifted = torch.cat([memory[:, 1:], item.unsqueeze(1)], dim=1)
    return torch.where(here.unsqueeze(1), shifted, memory)


def likes_and_rejections(histories: Histories, n: int, n_items: int) -> tuple[Tensor, Tensor]:
    """The n latest films that were liked, and the n latest that were not -> int64 [B, n] twice.

    Liked: a rating of 4 or more. Not liked: a lower one, or none for a film that was shown.
    """
    liked = histories.rating >= POSITIVE
    there = histories.item < n_items
    return tuple(_compact(histories.item, rows, n, n_items) for rows in (liked, there & ~liked))


def _compact(item: Tensor, keep: Tensor, n: int, n_items: int) -> Tensor:
    """The last n films of each row [B, H] that are kept -> int64 [B, n], LEFT-padded."""
    from_end = keep.flip(1).cumsum(1).flip(1)  # 1 = the last one that is kept
    keep = keep & (from_end <= n)
    out = item.new_full((len(item), n + 1), n_items)  # the first column is thrown away
    place = torch.where(keep, n + 1 - from_end, 0)
    return out.scatter_(1, place, item.masked_fill(~keep, n_items))[:, 1:]


# ---------------------------------------------------------------------------- imitation


class Likes(NamedTuple):
    """B moments of sessions, with the answer that hindsight gives to each."""

    observation: Observation
    wanted: Tensor  # bool [B, V]: films the person likes and has not been shown
    barred: Tensor  # bool [B, V]: films that cannot be shown


def in_two_circles(
    people: Interactions, unmet: float, seed: int
) -> tuple[Interactions, Interactions]:
    """Those whom an agent meets first, and the share `unmet` of whom it meets in stage 2 only.

    Without a share all people are in both.
    """
    if not unmet:
        return people, people
    users = people.user.unique()
    users = users[torch.randperm(len(users), generator=torch.Generator().manual_seed(seed))]
    later = torch.isin(people.user, users[: round(unmet * len(users))])
    return people.select(~later), people.select(later)


class OwnSessions:
    """An endless stream of moments that the agent reaches by its own choices.

    act: observation -> action float32 [B, k], what the agent does there. later: sessions that take
    the place of the first ones as soon as `turned` says so.
    """

    def __init__(
        self,
        sessions: StrangerSessions,
        act: Callable[[Observation], Tensor],
        later: StrangerSessions | None = None,
        turned: Callable[[], bool] = lambda: False,
    ) -> None:
        self.first, self.later = sessions, later or sessions
        self.act, self.turned = act, turned

    @property
    def sessions(self) -> StrangerSessions:
        return self.later if self.turned() else self.first

    def __iter__(self) -> Iterator[Likes]:
        return self

    def __next__(self) -> Likes:
        sessions = self.sessions
        if sessions.over:
            sessions.reset()
        observation = sessions.observation()
        moment = Likes(observation, sessions.wanted.clone(), sessions.barred.clone())
        sessions.step(self.act(observation))
        return moment

    def state_dict(self) -> Info:
        return {"first": self.first.state_dict(), "later": self.later.state_dict()}

    def load_state_dict(self, state: Info) -> None:
        self.first.load_state_dict(state["first"])
        self.later.load_state_dict(state["later"])


class LikesLoss(torch.autograd.Function):
    """Mean over sessions of -mean log pi(i) - hit log sum pi(i), i among the films that are wanted.

    pi is the softmax of the scores of all films that may be shown. The first term spreads pi over
    all that a person likes; the second wants the next film to be one of them, whichever. Forward
    and gradient in one pass. vectors [B, w], items [V, w], wanted and barred bool [B, V]; sessions
    in which nothing is wanted do not count. learns: the columns of `items` that have a gradient,
    int64 [l]; None for all.
    """

    @staticmethod
    def forward(
        ctx,
        vectors: Tensor,
        items: Tensor,
        wanted: Tensor,
        barred: Tensor,
        hit: float,
        learns: Tensor | None = None,
    ) -> Tensor:
        scores = (vectors @ items.T).masked_fill_(barred, torch.finfo(vectors.dtype).min)
        row, film = wanted.nonzero(as_tuple=True)  # all that is wanted, W pairs
        likes = row.bincount(minlength=len(wanted))
        counts = (likes > 0) / (likes > 0).sum().clamp(min=1)  # (B,): weights of the sessions
        # the softmax in place: it is the largest array here
        scores.sub_(scores.amax(1, keepdim=True))
        log_pi = scores[row, film]
        pi = scores.exp_()
        total = pi.sum(1)
        log_pi = (log_pi - total.log()[row]).clamp_(min=-1e4)
        hits = log_pi.exp()
        chance = _sums(hits, row, likes).clamp(min=1e-30)
        spread = _sums(log_pi, row, likes) / likes.clamp(min=1)
        gradient = pi.mul_((counts * (1 + hit) / total).unsqueeze(1))
        gradient[row, film] -= (1 / likes[row] + hit * hits / chance[row]) * counts[row]
        if learns is None:
            d_items = gradient.T @ vectors
        else:
            d_items = torch.zeros_like(items)
            d_items[:, learns] = gradient.T @ vectors[:, learns]
        ctx.save_for_backward(gradient @ items, d_items)
        return -(counts * (spread + hit * chance.log())).sum()

    @staticmethod
    def backward(ctx, scale: Tensor) -> tuple[Tensor | None, ...]:
        d_vectors, d_items = ctx.saved_tensors
        return d_vectors * scale, d_items * scale, None, None, None, None


def _sums(values: Tensor, row: Tensor, likes: Tensor) -> Tensor:
    """Sums of W values by the session of each, int64 [W] -> [B]."""
    return values.new_zeros(len(likes)).index_add_(0, row, values)
