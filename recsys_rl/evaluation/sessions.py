"""Whole sessions with people held out: what was shown, liked or not, is what the next step knows.

The protocol is ours. It asks for more than three films in, three films out: a mistake costs one
step and teaches something, so a model that learns from what was not liked can use it. Nothing is
simulated: liked means a logged rating of 4 or more, and a film that was never rated counts as not
liked, so every reward is a lower bound of what people would have liked. A difference is none: who
shows films that many have rated loses less.

S = sessions, one for each person and draw; T = steps, the longest horizon.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from recsys_rl.data.interactions import POSITIVE, SHOWN, Histories, Interactions
from recsys_rl.data.observation import LEAST
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

PROTOCOL = "sessions with strangers"


HORIZONS = (3, 10, 20, 40)


def sessions_with_strangers(
    score: ScoreFunction,
    people: Interactions,
    horizons: Sequence[int] = HORIZONS,
    draws: int = 5,
    given: int = 3,
    batch_size: int = 512,
    seed: int = 0,
) -> Evaluation:
    """Strangers name `given` films they like, then are shown one film a step, max(horizons) times.

    `people` holds all rows of users whom no model has met (`split_users`); those with at least
    given + 3 liked films (rating >= 4) take part, always as user n_users. In each of `draws` draws
    the named films are random, the same whatever model is judged and however it is batched. Every
    step scores all films and shows the best that was neither named nor shown (ties at random).

    What the model is given: Histories of S sessions in the order in which films came, the named
    ones first, one column more each step; rating POSITIVE if named or liked, SHOWN if shown and not
    liked. `batch_size` is the largest S.

    Metrics, for every person the mean over draws, in 0..1: step@t for t = 1..max(horizons), whether
    the film of step t was liked; reward@T for T in `horizons`, the mean of the first T steps. Who
    has nothing left to like earns 0. top: int64 [U, draws, max(horizons)], the films in the order
    in which they were shown, padded with n_items if the model has no film left that it would show.
    """
    liked = people.select(people.rating >= POSITIVE)
    users, ties = _participants(liked, given), own_stream(seed, "ties")
    named = _named(liked, users, draws, given, own_stream(seed, "seeds"))
    rewards, top = [], []
    for rows in batches(torch.arange(len(named)), batch_size):
        likes = liked.mask_of(users[rows // draws])
        stranger = torch.full_like(rows, people.n_users)
        start = Histories(stranger, named[rows], torch.full((len(rows), given), POSITIVE))
        top.append(_session(score, start, likes, max(horizons), ties))
        rewards.append(_answers(likes, top[-1]))
    shape = len(users), draws, max(horizons)
    reward = torch.cat(rewards).view(shape).double().mean(1)  # (U, T)
    return Evaluation(PROTOCOL, _metrics(reward, horizons), users, torch.cat(top).view(shape))


def oracle_sessions(
    people: Interactions,
    horizons: Sequence[int] = HORIZONS,
    draws: int = 5,
    given: int = 3,
    batch_size: int = 512,
    seed: int = 0,
) -> Evaluation:
    """The best that `sessions_with_strangers` allows: every step a hit until none is left.

    It takes the same arguments, so that one set serves both; what is drawn changes nothing, and so
    `draws`, `batch_size` and `seed` are not read. `top` is None.
    """
    liked = people.select(people.rating >= POSITIVE)
    users = _participants(liked, given)
    left = liked.offsets.diff()[users] - given  # (U,)
    reward = torch.arange(max(horizons)) < left.unsqueeze(1)
    return Evaluation(PROTOCOL, _metrics(reward.double(), horizons), users)


def _participants(liked: Interactions, given: int) -> Tensor:
    """Who likes enough films -> int64 [U], ascending; ValueError if there is nobody."""
    users = (liked.offsets.diff() >= given + LEAST).nonzero().squeeze(1)
    if not len(users):
        raise ValueError(f"nobody likes {given + LEAST} films: there is no user to evaluate")
    return users


def _named(
    liked: Interactions, users: Tensor, draws: int, given: int, generator: torch.Generator
) -> Tensor:
    """`given` random liked films of each user, in random order, one draw after another
    -> int64 [U * draws, given], the draws of a user next to each other."""
    position, row = liked.rows_of(users)
    counts = torch.bincount(position)
    first = counts.cumsum(0) - counts  # (U,): where a user's rows begin
    place = first.unsqueeze(1) + torch.arange(given)  # (U, given)
    drawn = []
    for _ in range(draws):
        keys = torch.rand(len(row), generator=generator).double()
        shuffled = (position + keys).argsort(
            stable=True
        )  # users stay together, their rows change places
        drawn.append(liked.item[row[shuffled[place]]])
    return torch.stack(drawn, 1).flatten(0, 1)


def _session(
    score: ScoreFunction, start: Histories, likes: Tensor, steps: int, generator: torch.Generator
) -> Tensor:
    """Plays S sessions that `start` from the named films; `likes` bool [S, n_items] answers.

    -> films shown int64 [S, steps], padded with n_items.
    """
    n_items, histories, shown = likes.shape[1], start, []
    left = F.pad(torch.ones_like(likes), (0, 1)).scatter_(1, start.item, False)  # (S, n_items + 1)
    for _ in range(steps):
        scores = checked_scores(score, histories, n_items)
        film = top_k(scores, left[:, :-1], 1, generator)  # (S, 1)
        left.scatter_(1, film, False)
        rating = torch.where(_answers(likes, film), POSITIVE, SHOWN)
        histories = extended(histories, film, rating, film < n_items)
        shown.append(film)
    return torch.cat(shown, 1)


def _answers(likes: Tensor, film: Tensor) -> Tensor:
    """Whether films int64 [S, T] are liked, padding is not -> bool [S, T]."""
    return F.pad(likes, (0, 1)).gather(1, film)


def _metrics(reward: Tensor, horizons: Sequence[int]) -> dict[str, np.ndarray]:
    """Mean rewards of every person's steps, float64 [U, T] -> both families of metrics."""
    means = {f"reward@{t}": reward[:, :t].mean(1) for t in horizons}
    steps = {f"step@{t}": gained for t, gained in enumerate(reward.unbind(1), start=1)}
    return joined([means | steps])
