"""Whole sessions: what was shown, and how it was answered, is what the next step knows.

`roll_out` plays any environment with `reset` and `step`. Cold-start sessions are ours. They ask for
more than three items in, three items out: a mistake costs one step and teaches something. Nothing
is simulated there: liked means a logged rating of 4 or more, and an item that was never rated
counts as not liked, so every reward is a lower bound. A difference is none: who shows items that
many have rated loses less. Simulated sessions are the paper's online evaluation (Liu et al., arXiv
1810.12027, section 5).

S = sessions, one for each user and draw; T = steps, the longest horizon.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from recsys_rl.data import ranks
from recsys_rl.data.counts import MOST, check_counts, check_lengths, check_list_of_lengths
from recsys_rl.data.devices import CPU
from recsys_rl.data.histories import POSITIVE, Histories
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.random_streams import own_stream
from recsys_rl.envs.base import SessionEnv
from recsys_rl.envs.cold_start import ColdStartEnv
from recsys_rl.envs.simulated import SimulatedEnv, Simulator
from recsys_rl.envs.user_leaves import UserLeavesEnv
from recsys_rl.evaluation.scores import (
    ScoreFunction,
    batches,
    checked_scores,
    joined,
    shared,
    top_k,
)
from recsys_rl.evaluation.statistics import Evaluation

HORIZONS = (3, 10, 20, 40)


def roll_out(
    score: ScoreFunction, environment: SessionEnv, steps: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Plays sessions that have been reset -> items int64 [B, T], rewards float32 [B, T].

    Every step scores all items, given the observation (history, answers, time), and shows the best
    that is not excluded, ties at random. Where none is left that the model would show, the item is
    n_items (nothing) and the reward 0; so is every reward after the end of a session.
    """
    check_counts(MOST, steps=steps)
    histories, shown, rewards = environment.observation(), [], []
    for _ in range(steps):
        scores = checked_scores(score, histories, environment.n_items)
        item = top_k(scores, ~environment.excluded, 1, generator).squeeze(1)
        histories, reward, _, _, info = environment.step(item)
        shown.append(item)
        rewards.append(reward * info.get("active", 1))
    return torch.stack(shown, 1), torch.stack(rewards, 1)


def cold_start_sessions(
    score: ScoreFunction,
    users: Interactions,
    horizons: Sequence[int] = HORIZONS,
    draws: int = 5,
    n_seed: int = 3,
    batch_size: int = 512,
    seed: int = 0,
) -> Evaluation:
    """Cold-start users name `n_seed` items they like, then are shown max(horizons), one a step.

    `users` holds all rows of users whom no model has met (`split_users`); those with at least
    n_seed + 3 liked items (rating >= 4) take part, always as user n_users. In each of `draws` draws
    the seed items are random, the same whatever model is evaluated and however it is batched.

    Metrics, for every user the mean over draws, in 0..1: step@t for t = 1..max(horizons), whether
    the item of step t was liked; reward@T for T in `horizons`, the mean of the first T steps. Who
    has nothing left to like earns 0. top: int64 [U, draws, max(horizons)], the items in the order
    in which they were shown.
    """
    check_list_of_lengths(users.n_items, horizons=horizons)
    environment = ColdStartEnv(users, horizon=max(horizons), n_seed=n_seed)
    rewards, top = _played(score, environment, max(horizons), draws, batch_size, seed)
    shape = len(environment.eligible), draws, max(horizons)
    metrics = _metrics(rewards.view(shape).double().mean(1), horizons)
    return Evaluation("cold-start sessions", metrics, environment.eligible.cpu(), top.view(shape))


def cold_start_oracle(
    users: Interactions, horizons: Sequence[int] = HORIZONS, n_seed: int = 3
) -> Evaluation:
    """The best that `cold_start_sessions` allows: every step a like until none is left."""
    check_list_of_lengths(users.n_items, horizons=horizons)
    environment = ColdStartEnv(users, horizon=max(horizons), n_seed=n_seed)
    left = environment.liked.offsets.diff()[environment.eligible] - n_seed  # (U,)
    reward = torch.arange(max(horizons), device=CPU) < left.unsqueeze(1).cpu()
    metrics = _metrics(reward.double(), horizons)
    return Evaluation("cold-start sessions", metrics, environment.eligible.cpu())


def simulated_sessions(
    score: ScoreFunction,
    simulator: Simulator,
    users: Tensor | None = None,
    *,
    steps: int = 10,
    n_seed: int = 3,
    known: bool = False,
    series: float = 0.0,
    batch_size: int = 512,
    seed: int = 0,
) -> Evaluation:
    """One session of `steps` = T steps with each of `users` (int64 [U], everybody by default).

    The rest as in `SimulatedEnv`. Rows to print beside a result: `evaluator.score` with `known` is
    the oracle (exact for series = 0 or where T items are liked); `trained_in.score` with `known` is
    greedy towards the simulator of the training; `PMF.score` is greedy from the history.

    Metrics of every user: total@T, the sum of the T rewards (over all users the paper's figure);
    reward@T, their mean; step@t. top: int64 [U, T], items in the order in which they were shown.
    """
    environment = SimulatedEnv(
        simulator, users=users, horizon=steps, n_seed=n_seed, series=series, known=known
    )
    rewards, top = _played(score, environment, steps, 1, batch_size, seed)
    reward = rewards.double()  # (U, T)
    metrics = {f"total@{steps}": reward.sum(1)} | _means(reward, [steps])
    return Evaluation("simulated sessions", joined([metrics]), environment.eligible.cpu(), top)


def whole_sessions(
    score: ScoreFunction,
    environment: UserLeavesEnv,
    draws: int = 1,
    batch_size: int = 512,
    seed: int = 0,
) -> Evaluation:
    """Every eligible user plays `draws` sessions to their end, which may come early.

    Metrics of every user, means over draws: return, the sum of the rewards; length, the steps. top:
    int64 [U, draws, T], what was shown, n_items after the end.
    """
    users, seed_items = environment.starts(draws, seed)
    ties, parts, top = own_stream(seed, "ties"), [], []
    for rows in shared(torch.arange(len(users), device=users.device), batch_size):
        environment.reset(options={"users": users[rows], "seed_items": seed_items[rows]})
        items, rewards = _to_the_end(score, environment, ties)
        items, rewards = items.cpu(), rewards.cpu()
        length = (items < environment.n_items).sum(1).double()
        parts.append({"return": rewards.double().sum(1), "length": length})
        top.append(items)
    parts, top = ranks.together(parts), ranks.together(top)
    shape = len(environment.eligible), draws
    metrics = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    means = {name: values.view(shape).mean(1) for name, values in metrics.items()}
    shown = torch.cat(top).view(*shape, -1)
    return Evaluation("whole sessions", joined([means]), environment.eligible.cpu(), shown)


def _to_the_end(
    score: ScoreFunction, environment: SessionEnv, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Sessions that have been reset -> items int64 [B, T], rewards float32 [B, T].

    After the end of a session the item is n_items and the reward 0.
    """
    histories, shown, rewards = environment.observation(), [], []
    for _ in range(environment.horizon):
        scores = checked_scores(score, histories, environment.n_items)
        item = top_k(scores, ~environment.excluded, 1, generator).squeeze(1)
        histories, reward, _, _, info = environment.step(item)
        shown.append(item.masked_fill(~info["active"], environment.n_items))
        rewards.append(reward * info["active"])
    return torch.stack(shown, 1), torch.stack(rewards, 1)


def _played(
    score: ScoreFunction,
    environment: ColdStartEnv | SimulatedEnv,
    steps: int,
    draws: int,
    batch_size: int,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Every eligible user `draws` times -> rewards, items [S, T], on the CPU."""
    users, seed_items = environment.starts(draws, seed)
    ties, rewards, top = own_stream(seed, "ties"), [], []
    for rows in shared(torch.arange(len(users), device=users.device), batch_size):
        environment.reset(options={"users": users[rows], "seed_items": seed_items[rows]})
        item, reward = roll_out(score, environment, steps, ties)
        rewards.append(reward.cpu())
        top.append(item.cpu())
    return torch.cat(ranks.together(rewards)), torch.cat(ranks.together(top))


def _means(reward: Tensor, horizons: Sequence[int]) -> dict[str, Tensor]:
    """Rewards of every user's steps, float64 [U, T] -> both families of metrics."""
    means = {f"reward@{t}": reward[:, :t].mean(1) for t in horizons}
    return means | {f"step@{t}": gained for t, gained in enumerate(reward.unbind(1), start=1)}


def _metrics(reward: Tensor, horizons: Sequence[int]) -> dict[str, np.ndarray]:
    return joined([_means(reward, horizons)])


def seed_and_suggest(
    score: ScoreFunction,
    users: Interactions,
    draws: int = 20,
    n_seed: int = 3,
    k: int = 3,
    batch_size: int = 512,
    seed: int = 0,
) -> Evaluation:
    """Three items in, three items out, as on the command line.

    Users whom no model has met name `n_seed` random items they like; how many of the `k` shown do
    they like? `users` and who takes part: as in `cold_start_sessions`, with at least n_seed + k
    likes. No stars are given: every seed item enters with the rating POSITIVE, in random order.
    precision@k and hit@k are means over `draws` draws; what is shown is liked only if it was rated.
    """
    check_counts(MOST, draws=draws)
    check_lengths(users.n_items, n_seed=n_seed, k=k)
    liked, n_items = users.select(users.rating >= POSITIVE), users.n_items
    eligible = (liked.offsets.diff() >= n_seed + k).nonzero().squeeze(1)
    # Two generators, so that every model meets the same seeds however often its scores tie.
    for_seeds, for_ties = (own_stream(seed, name) for name in ("seeds", "ties"))
    parts, top = [], []
    for batch in batches(eligible, batch_size):
        likes, unknown = liked.mask_of(batch), torch.full_like(batch, users.n_users)
        stars = torch.full((len(batch), n_seed), POSITIVE, device=batch.device)
        lists, found = [], []
        for _ in range(draws):
            keys = torch.rand(likes.shape, generator=for_seeds, device=CPU).to(likes.device)
            named = keys.masked_fill_(~likes, -1).topk(n_seed).indices  # (B, n_seed)
            scores = checked_scores(score, Histories(unknown, named, stars), n_items)
            unseen = torch.ones_like(likes).scatter_(1, named, False)
            lists.append(top_k(scores, unseen, k, for_ties))
            shown = lists[-1].clamp(max=n_items - 1)
            found.append((likes.gather(1, shown) & (lists[-1] < n_items)).sum(1))
        share = torch.stack(found, 1).cpu().double() / k  # (B, draws)
        parts.append({f"precision@{k}": share.mean(1), f"hit@{k}": share.gt(0).double().mean(1)})
        top.append(torch.stack(lists, 1).cpu())
    return Evaluation("seed-and-suggest", joined(parts), eligible.cpu(), torch.cat(top))
