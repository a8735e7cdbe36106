"""Simulated sessions: a rating model answers every film, as in the paper's online evaluation.

Who trains in a simulator learns its errors as well, so the agent is judged in another one: fitted
on the other half of the ratings (`two_halves`) and of another family. Training: `states.PMF`.
Judging: `NeighbourRatings`. A simulated person is a row of stars (`Simulator`); sessions with them
are an environment (`SimulatedSessions`) and a protocol (`simulated_reward`).

Sources: Liu et al., arXiv 1810.12027, section 5 (simulator, total reward) and figure 1 (series of
likes and dislikes); Sarwar et al., WWW 2001 (item-based neighbours); Koren, KDD 2008, sections 2.1
and 2.2 (biased means, shrunk correlations of their residuals).

B = batch, H = length of a history, V = n_items. Index V is padding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from recsys_rl.data.interactions import POSITIVE, Histories, Interactions
from recsys_rl.data.observation import Observation, remember
from recsys_rl.data.rewards import paper_reward
from recsys_rl.data.splits import random_split
from recsys_rl.envs.cold_start import StrangerSessions
from recsys_rl.envs.logged import Info
from recsys_rl.evaluation.scores import (
    ScoreFunction,
    batches,
    checked_scores,
    extended,
    joined,
    own_stream,
    top_k,
)
from recsys_rl.evaluation.statistics import Evaluation

PROTOCOL = "simulated sessions"


LONGEST_RUN = 5  # a series of likes or dislikes counts for no more than this


def two_halves(data: Interactions, seed: int = 0) -> tuple[Interactions, Interactions]:
    """All ratings in two halves, row by row at random: one to train with, one to judge with."""
    split = random_split(data, test_share=0.5, seed=seed)
    return split.train, split.test


def rating_error(
    score: ScoreFunction, known: Interactions, held_out: Interactions, batch_size: int = 512
) -> float:
    """Root mean squared error of the held-out stars, predicted from each person's `known` rows."""
    total = 0.0
    for users in torch.arange(known.n_users).split(batch_size):
        position, row = held_out.rows_of(users)
        predicted = score(known.histories(users)).clamp(1, 5)[position, held_out.item[row]]
        total += float((predicted - held_out.rating[row]).double().square().sum())
    return (total / len(held_out)) ** 0.5


class NeighbourRatings:
    """Stars from the person's own stars for similar films, with nothing learned by gradients.

    r_ui ~ b_ui + sum_j w_ij e_uj / (damping + sum_j w_ij) over the films j that u has rated, where
    b_ui = mean + b_u + b_i are biased means, e = r - b, and w_ij is the correlation of e_i and e_j
    over the n_ij people who rated both, times n_ij / (n_ij + shrinkage), to the `power`; only the
    `neighbours` largest of each film i count, and none below 0. The neighbours are those of the
    film and not, as in the sources, of the pair (film, person): then all people at once are two
    matrix products.
    """

    def __init__(
        self,
        train: Interactions,
        *,
        neighbours: int = 150,
        shrinkage: float = 50.0,
        power: float = 2.0,
        damping: float = 0.1,
        item_prior: float = 5.0,
        user_prior: float = 10.0,
        batch_size: int = 1024,
    ) -> None:
        self.damping, self.user_prior = damping, user_prior
        self.mean = train.rating.mean()
        above = torch.zeros(train.n_items).index_add_(0, train.item, train.rating - self.mean)
        counts = torch.bincount(train.item, minlength=train.n_items)
        self.item_bias = above / (counts + item_prior)
        alike = self._similarities(train, shrinkage, batch_size).clamp(min=0).pow(power)
        near = alike.topk(min(neighbours, train.n_items), dim=0)
        self.weights = torch.zeros_like(alike).scatter_(0, near.indices, near.values)  # (V, V)

    def _similarities(self, train: Interactions, shrinkage: float, batch_size: int) -> Tensor:
        """Shrunk correlations of the residuals -> float32 [V, V], diagonal 0."""
        product, square, both = torch.zeros(3, train.n_items, train.n_items)
        for users in torch.arange(train.n_users).split(batch_size):
            _, residual, there = self._residuals(train.histories(users))
            product.addmm_(residual.T, residual)
            square.addmm_(residual.square().T, there)
            both.addmm_(there.T, there)
        length = square.mul(square.T).sqrt_().clamp_(min=1e-9)
        return product.div_(length).mul_(both / (both + shrinkage)).fill_diagonal_(0)

    def _residuals(self, histories: Histories) -> tuple[Tensor, Tensor, Tensor]:
        """b, e and what was rated, 1 or 0 -> float32 [B, V] each; e is 0 where nothing was."""
        size = len(histories), len(self.item_bias) + 1
        rating = torch.zeros(size).scatter_(1, histories.item, histories.rating)[:, :-1]
        there = (rating > 0).float()
        above = rating - self.mean - self.item_bias  # (B, V)
        count = there.sum(1, keepdim=True)
        user_bias = (above * there).sum(1, keepdim=True) / (count + self.user_prior)
        return self.mean + user_bias + self.item_bias, (above - user_bias) * there, there

    def score(self, histories: Histories) -> Tensor:
        """Predicted stars of all films -> float32 [B, V]. Films shown without stars teach nothing.

        `Histories.user` is not read: strangers are served like anybody else.
        """
        base, residual, there = self._residuals(histories)
        weight = there @ self.weights  # (B, V)
        return base + (residual @ self.weights) / (weight + self.damping)


@dataclass(frozen=True, eq=False)
class Simulator:
    """What everybody would say of every film; rating: stars in 1..5, float32 [n_users, n_items]."""

    rating: Tensor

    @classmethod
    def of(cls, score: ScoreFunction, log: Interactions, batch_size: int = 512) -> Simulator:
        """Predictions from each person's rows of `log`, and those rows as they were logged.

        score: predicted stars, of a model fitted on `log` and nothing else.
        """
        rating = torch.empty(log.n_users, log.n_items)
        with torch.no_grad():
            for users in torch.arange(log.n_users).split(batch_size):
                rating[users] = score(log.histories(users)).clamp(1, 5)
        rating[log.user, log.item] = log.rating
        return cls(rating)

    @property
    def n_users(self) -> int:
        return len(self.rating)

    @property
    def n_items(self) -> int:
        return self.rating.shape[1]

    def likes(self, users: Tensor) -> Tensor:
        """Films that each of `users` (int64 [B]) would rate 4 or more -> bool [B, V]."""
        return self.rating[users] >= POSITIVE

    def score(self, histories: Histories) -> Tensor:
        """These people's own stars -> float32 [B, V]: knows who they are, asks no history.

        A step-by-step greedy choice if somebody else judges; the oracle if this simulator does.
        """
        return self.rating[histories.user]


def some_likes(likes: Tensor, given: int, generator: torch.Generator) -> Tensor:
    """`given` random films of each row of `likes` (bool [B, V]) -> int64 [B, given].

    LEFT-padded with V where there are fewer.
    """
    keys = torch.rand(likes.shape, generator=generator).masked_fill_(~likes, -1)
    drawn = keys.topk(given)
    return drawn.indices.masked_fill(drawn.values < 0, likes.shape[1]).flip(1)


def answer(rating: Tensor, run: Tensor, streak: float) -> tuple[Tensor, Tensor]:
    """What stars [B] are worth after a series `run` [B] -> (reward [B], the series after it [B]).

    run: number of likes (ratings of 4 or more) in a row just before, negative for dislikes, cut off
    at LONGEST_RUN on either side. The reward is the paper's plus streak * run. Figure 1 of the
    paper shows ratings that rise with the likes before them and fall with the dislikes; that this
    is linear, and touches the reward but not whether the film is liked, is our own simple form.
    """
    longer = torch.where(rating >= POSITIVE, run.clamp(min=0) + 1, run.clamp(max=0) - 1)
    return paper_reward(rating) + streak * run, longer.clamp(-LONGEST_RUN, LONGEST_RUN)


class SimulatedSessions(StrangerSessions):
    """`StrangerSessions` with simulated people: every film has an answer, and every star counts.

    A session starts from `given` random films that the person likes (or as many as there are). Each
    step shows the film with the largest a . v_i that was neither named nor shown. The reward is
    (stars - 3) / 2, and `streak` adds the series of likes or dislikes before (see `answer`). What
    gets 4 stars or more joins `memory`, the rest joins `rejected`; stars are not remembered. The
    agent is never told who it is. `wanted` are the films that would get 4 or more.

    The two memories do not tell in which order likes and dislikes alternated, so with a `streak`
    the observation is partial.

    terminated: no film is left to be shown. truncated: `horizon` steps are over.

    item_vectors: float32 [n_items, k], read anew at every step. users: who may be met, int64 [U];
    everybody by default. n: width of either memory.
    """

    running = (*StrangerSessions.running, "_person", "_run")

    def __init__(
        self,
        simulator: Simulator,
        item_vectors: Tensor,
        *,
        users: Tensor | None = None,
        sessions: int = 512,
        n: int = 43,
        horizon: int = 10,
        given: int = 3,
        streak: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        self.simulator, self.item_vectors = simulator, item_vectors
        self.users = torch.arange(simulator.n_users) if users is None else users
        self.sessions, self.n, self.horizon = sessions, n, horizon
        self.given, self.streak = given, streak
        self.generator = generator or torch.Generator().manual_seed(0)

    def reset(
        self, *, seed: int | None = None, options: Info | None = None
    ) -> tuple[Observation, Info]:
        """Start B sessions; options may fix `users`, int64 [B]."""
        if seed is not None:
            self.generator.manual_seed(seed)
        users = (options or {}).get("users")
        if users is None:
            drawn = torch.randint(len(self.users), (self.sessions,), generator=self.generator)
            users = self.users[drawn]
        likes, n_items = self.simulator.likes(users), self.simulator.n_items
        named = some_likes(likes, self.given, self.generator)
        self._memory = F.pad(named, (self.n - self.given, 0), value=n_items)
        self._rejected = torch.full_like(self._memory, n_items)
        barred = torch.zeros(len(users), n_items + 1, dtype=torch.bool).scatter_(1, named, True)
        self.barred = barred[:, :-1].contiguous()
        self.wanted = likes & ~self.barred
        self._person, self._user = users, torch.full_like(users, self.simulator.n_users)
        self._profile = torch.zeros(len(users), 0)
        self._run = torch.zeros(len(users))
        self._each = torch.arange(len(users))
        self._active = ~self.barred.all(1)
        self._steps = 0
        return self.observation(), {"active": self._active}

    def execute(self, item: Tensor) -> tuple[Observation, Tensor, Tensor, Tensor, Info]:
        """Show films int64 [B] directly; the rest as in `step`; info: "rating" as well, [B]."""
        rating = self.simulator.rating[self._person, item]
        reward, self._run = answer(rating, self._run, self.streak)
        self.wanted[self._each, item] = False
        self.barred[self._each, item] = True
        liked = rating >= POSITIVE
        self._memory = remember(self._memory, item, liked)
        self._rejected = remember(self._rejected, item, ~liked)
        self._steps += 1
        terminated = self.barred.all(1)
        truncated = torch.full_like(terminated, self._steps >= self.horizon)
        info = {"item": item, "rating": rating, "active": self._active}
        self._active = self._active & ~terminated & ~truncated
        return self.observation(), reward, terminated, truncated, info


def simulated_reward(
    score: ScoreFunction,
    simulator: Simulator,
    users: Tensor | None = None,
    *,
    steps: int = 10,
    given: int = 3,
    known: bool = False,
    streak: float = 0.0,
    batch_size: int = 512,
    seed: int = 0,
) -> Evaluation:
    """One session of `steps` = T steps with each of `users` (int64 [U], everybody by default).

    Each person names `given` random films that they like (or as many as there are; the same for
    every model, however it is batched). Every step scores all films and shows the best that was
    neither named nor shown, ties at random; the rest as in `SimulatedSessions`.

    What the model is given: Histories in the order in which films came, the named ones first, all
    with their simulated stars; the user n_users, or if `known` who it is, as the paper has it.

    Rows to print beside a result: `judge.score` with `known` is the oracle (exact for streak = 0
    or where T films are liked; else the best order may differ); `trained_in.score` with `known` is
    greedy towards the simulator of the training; `PMF.score` is greedy from the history.

    Metrics of every person: total@T, the sum of the T rewards (`total_reward`: the paper's figure);
    reward@T, their mean; step@t. top: int64 [U, T], films in the order in which they were shown.
    """
    users = torch.arange(simulator.n_users) if users is None else users
    starts, ties = own_stream(seed, "simulated starts"), own_stream(seed, "ties")
    rewards, top = [], []
    for batch in batches(users, batch_size):
        named = some_likes(simulator.likes(batch), given, starts)
        stars = F.pad(simulator.rating[batch], (0, 1))  # (B, V + 1): padding has none
        told = batch if known else torch.full_like(batch, simulator.n_users)
        start = Histories(told, named, stars.gather(1, named))
        films, reward = _session(score, start, stars, steps, streak, ties)
        rewards.append(reward)
        top.append(films)
    reward = torch.cat(rewards).double()  # (U, T)
    metrics = {f"total@{steps}": reward.sum(1), f"reward@{steps}": reward.mean(1)}
    metrics |= {f"step@{t}": gained for t, gained in enumerate(reward.unbind(1), start=1)}
    return Evaluation(PROTOCOL, joined([metrics]), users, torch.cat(top))


def total_reward(evaluation: Evaluation, steps: int = 10) -> float:
    """The paper's total reward: the sum over all people and the first `steps` steps."""
    return float(sum(evaluation.metrics[f"step@{t + 1}"].sum(dtype=float) for t in range(steps)))


def _session(
    score: ScoreFunction,
    start: Histories,
    stars: Tensor,
    steps: int,
    streak: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Plays B sessions from `start`, answered by `stars` [B, V + 1] -> films and rewards [B, T].

    Where the model has no film left that it would show, the film is V and the reward 0.
    """
    n_items, histories, shown, rewards = stars.shape[1] - 1, start, [], []
    run = torch.zeros(len(stars))
    left = torch.ones_like(stars, dtype=torch.bool).scatter_(1, start.item, False)
    for _ in range(steps):
        scores = checked_scores(score, histories, n_items)
        film = top_k(scores, left[:, :-1], 1, generator)  # (B, 1)
        left.scatter_(1, film, False)
        going, rating = film < n_items, stars.gather(1, film)
        reward, run = answer(rating.squeeze(1), run, streak)
        histories = extended(histories, film, rating, going)
        shown.append(film)
        rewards.append(reward.masked_fill(~going.squeeze(1), 0))
    return torch.cat(shown, 1), torch.stack(rewards, 1)
