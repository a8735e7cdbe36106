"""Ask first, recommend afterwards: how good the ten recommended items are, by who asked.

Every user meets every asker once in each of a few random halves of the catalogue: about one half
questions are asked, ten items of the other are recommended, and only these count. Nothing is
simulated, an item that was never rated counts as not liked.

U = users, V = n_items, D = halves.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from recsys_rl.data.counts import MOST, check_counts
from recsys_rl.data.histories import POSITIVE, Histories
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.random_streams import own_stream
from recsys_rl.embeddings.like_posterior import LikeGaussian
from recsys_rl.envs.elicitation import LIST, QUESTIONS, ElicitationEnv, asked_half
from recsys_rl.evaluation.metrics import discounts
from recsys_rl.evaluation.scores import ScoreFunction, batches, checked_scores, joined, top_k
from recsys_rl.evaluation.statistics import Evaluation

HALVES = 4
# what asks, given the items that may be asked about, bool [V]
MakeAsker = Callable[[Tensor], ScoreFunction]


def elicitation(
    make_asker: MakeAsker,
    users: Interactions,
    rank: ScoreFunction,
    *,
    questions: int = QUESTIONS,
    n_seed: int = 0,
    halves: int = HALVES,
    batch_size: int = 512,
    seed: int = 0,
) -> Evaluation:
    """Users with n_seed + 3 liked items; the same halves and named items for every asker.

    rank: scores of what is recommended, the same behind every asker. Metrics of every user, means
    over halves: precision@10; ndcg@10, without halves in which the user likes nothing; liked and
    seen, the shares of questions about items that the user likes or has rated. An asker whose
    scores are -inf asks nothing.
    """
    check_counts(MOST, halves=halves)
    parts = []
    for half in range(halves):
        env = ElicitationEnv(users, rank, half=half, horizon=questions, n_seed=n_seed)
        ask = make_asker(asked_half(users.n_items, half, env.device))
        chosen, seed_items = env.starts(1, seed)
        ties, found = own_stream(seed, "ties"), []
        for rows in batches(torch.arange(len(chosen), device=chosen.device), batch_size):
            env.reset(options={"users": chosen[rows], "seed_items": seed_items[rows]})
            found.append(_asked(ask, env, ties))
        parts.append(joined(found))
    return Evaluation("elicitation", _mean_over(parts), env.eligible)


def _asked(ask: ScoreFunction, env: ElicitationEnv, ties: torch.Generator) -> dict[str, Tensor]:
    """Sessions that have been reset, to their end -> metrics [B]."""
    histories, liked, seen = env.observation(), [], []
    for _ in range(env.horizon):
        scores = checked_scores(ask, histories, env.n_items)
        item = top_k(scores, ~env.excluded, 1, ties).squeeze(1)
        histories, *_, info = env.step(item)
        liked.append(info["rating"] >= POSITIVE)
        seen.append(info["rating"] > 0)
    metrics = list_metrics(info["hits"], env.relevant_items.sum(1))
    shares = {"liked": liked, "seen": seen}
    return metrics | {name: torch.stack(part, 1).float().mean(1) for name, part in shares.items()}


def list_metrics(hits: Tensor, relevant: Tensor) -> dict[str, Tensor]:
    """hits: bool [B, 10], best first; relevant: int64 [B], how many there are -> metrics [B]."""
    gains = discounts(LIST)
    ideal = torch.cat([gains.new_zeros(1), gains.cumsum(0)])[relevant.clamp(max=LIST)]
    ndcg = (hits * gains).sum(1) / ideal  # NaN where nothing is relevant
    return {f"precision@{LIST}": hits.double().mean(1), f"ndcg@{LIST}": ndcg}


def all_answers_known(
    gaussian: LikeGaussian,
    users: Interactions,
    *,
    n_seed: int = 0,
    halves: int = HALVES,
) -> Evaluation:
    """What the Gaussian recommends who knows every answer of the asked half: the ceiling."""
    check_counts(MOST, halves=halves)
    parts = []
    x, mean = gaussian.item_vectors[:, :-1], gaussian.item_vectors[:, -1]
    for half in range(halves):
        asked = asked_half(users.n_items, half, x.device)
        env = ElicitationEnv(users, gaussian.score, half=half, n_seed=n_seed)
        weighted = x[asked] / gaussian.noise[asked, None]
        # all items are answered, so that the precision is that of everybody
        precision = torch.eye(x.shape[1], device=x.device) + weighted.T @ x[asked]
        answer = torch.linalg.solve(precision, weighted.T)  # (p, A)
        likes = env.liked.mask_of(env.eligible)
        z = (likes[:, asked].float() - mean[asked]) @ answer.T
        best = (z @ x[~asked].T + mean[~asked]).topk(LIST).indices
        relevant = likes[:, ~asked]
        parts.append(joined([list_metrics(relevant.gather(1, best), relevant.sum(1))]))
    return Evaluation("elicitation", _mean_over(parts), env.eligible)


def asks_nothing(n_items: int) -> ScoreFunction:
    """For the row without a question."""

    def score(histories: Histories) -> Tensor:
        return histories.rating.new_full((len(histories), n_items), -torch.inf)

    return score


def _mean_over(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Of the halves, NaN left out; NaN where all are."""
    found = {}
    for name in parts[0]:
        values = np.stack([part[name] for part in parts]).astype(np.float64)
        there = ~np.isnan(values)
        with np.errstate(invalid="ignore"):
            found[name] = np.where(there, values, 0).sum(0) / there.sum(0)
    return {name: values.astype(np.float32) for name, values in found.items()}
