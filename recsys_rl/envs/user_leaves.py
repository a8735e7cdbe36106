"""Users who leave when they are shown too much of the same.

The MovieLens environment of EasyRL4Rec (Yu et al., SIGIR 2024, arXiv 2402.15164), remade: every
user answers with the rating of a matrix factorisation, and goes as soon as an item is too close to
one of the last seven. The rest of a session is lost, so that what is shown now decides what can
be earned later.

U = users, V = items of the catalogue, B = batch. Index V is padding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pandas as pd
import torch
from torch import Tensor

from recsys_rl.data.counts import MOST, check_counts
from recsys_rl.data.devices import CPU, generator_on, on_cpu
from recsys_rl.data.histories import Histories
from recsys_rl.data.ids import IdMap
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.memory_limit import refuse_dense
from recsys_rl.data.random_streams import own_stream
from recsys_rl.data.rewards import stars_reward
from recsys_rl.data.splits import split_users
from recsys_rl.embeddings.cautious_means import cautious_means
from recsys_rl.embeddings.places import Turns
from recsys_rl.embeddings.rating_factors import RatingFactors
from recsys_rl.envs.base import Info, SessionEnv, eligible_of

FACTORS = 6
RIDGE = 0.01  # distances between items are then distributed as in the authors' comment
MODEL_SHARE = 0.1  # of the ratings, for the model whose rewards an agent may learn from
TOO_CLOSE = 75 / 6040**0.5  # stars, root mean square over users; 75 in all over those of ML-1M
WINDOW = 7  # items that are remembered
HORIZON = 30
CATALOGUE = 1000
LEAST_RATINGS = 20  # of an item of the catalogue
RANDOM_SESSIONS = 12  # of every train user, for item vectors and places


@dataclass(frozen=True, eq=False)
class LeavingWorld:
    """Who rates what how, and which items are too much of the same.

    user: float32 [U, k]; item: float32 [V, k]; a rating is their product, cut to 0..5. close: bool
    [V, V]. items: int64 [V], the catalogue as indices of the data that it was fitted on.
    """

    user: Tensor
    item: Tensor
    close: Tensor
    items: Tensor

    def __post_init__(self) -> None:
        shapes = [list(part.shape) for part in (self.user, self.item, self.close, self.items)]
        (users, items), width = (len(self.user), len(self.item)), self.item.shape[-1]
        if shapes != [[users, width], [items, width], [items, items], [items]]:
            raise ValueError(f"user [U, k], item [V, k], close [V, V] and items [V], not {shapes}")
        if self.close.dtype != torch.bool:
            raise ValueError(f"close is bool, not {self.close.dtype}")
        if on_cpu(self.user) and not (self.user.isfinite().all() and self.item.isfinite().all()):
            raise ValueError("users or items hold NaN or infinite numbers")

    @property
    def n_users(self) -> int:
        return len(self.user)

    @property
    def n_items(self) -> int:
        return len(self.item)

    def to(self, device: torch.device) -> LeavingWorld:
        parts = self.user, self.item, self.close, self.items
        return LeavingWorld(*(part.to(device) for part in parts))

    def ratings(self, users: Tensor) -> Tensor:
        """Of users int64 [B] -> float32 [B, V]."""
        return (self.user[users] @ self.item.T).clamp(0, 5)


@dataclass(frozen=True, eq=False)
class LeavingWorlds:
    """truth: factors of nine tenths of the ratings. model: cautious means of the last tenth
    (`embeddings/cautious_means.py`); users leave it by the rule of the truth."""

    truth: LeavingWorld
    model: LeavingWorld


def leaving_worlds(data: Interactions, seed: int = 0) -> LeavingWorlds:
    """Both worlds, with the same catalogue: `CATALOGUE` random items of `LEAST_RATINGS` or more."""
    refuse_dense(data.n_users, data.n_items, "users who leave", "choose another split", each=4)
    generator = generator_on(CPU, seed)
    shuffled = torch.randperm(len(data), generator=generator, device=CPU).to(data.user.device)
    few, most = shuffled.tensor_split([int(len(data) * MODEL_SHARE)])
    truth = _fitted(data, most, RIDGE, generator)
    of_model = torch.zeros(len(data), dtype=torch.bool, device=few.device)
    of_model[few] = True
    model = cautious_means(data.select(of_model))
    counts = torch.bincount(data.item[most], minlength=data.n_items)
    pool = (counts >= LEAST_RATINGS).nonzero().squeeze(1)
    if len(pool) <= WINDOW:
        raise ValueError(
            f"users who leave need more than {WINDOW} items with {LEAST_RATINGS} ratings, and "
            f"there are {len(pool)}"
        )
    order = torch.randperm(len(pool), generator=generator, device=CPU)[:CATALOGUE]
    items = pool[order.to(pool.device)].sort().values
    close = _distances(truth, items) < TOO_CLOSE
    return LeavingWorlds(
        *(LeavingWorld(each.user, each.item[items], close, items) for each in (truth, model))
    )


def _fitted(
    data: Interactions, rows: Tensor, ridge: float, generator: torch.Generator
) -> RatingFactors:
    columns = data.user[rows], data.item[rows], data.rating[rows]
    size = data.n_users, data.n_items, FACTORS
    return RatingFactors.fit(*columns, *size, ridge=ridge, generator=generator)


def _distances(truth: RatingFactors, items: Tensor) -> Tensor:
    """Root mean square, over users, of how differently two items are rated -> [V, V]."""
    ratings = (truth.user @ truth.item[items].T).clamp_(0, 5)
    gram = ratings.T @ ratings / len(ratings)
    square = gram.diagonal().unsqueeze(1) + gram.diagonal() - 2 * gram
    return square.clamp(min=0).sqrt().fill_diagonal_(0.0)


class UserLeavesEnv(SessionEnv):
    """B sessions with users who leave; the reward is the rating.

    A session starts with one random item whose rating is known; it has not been shown. Items may
    be shown again. The history holds all that was shown, and the ratings. The agent is told neither
    who the user is nor the rule.

    terminated: an item closer than `TOO_CLOSE` to one of the last `WINDOW` was shown (it still
    earns its rating), or `horizon` items were. users: who may be met, int64 [U]; everybody by
    default. known: whether the agent is told who the user is, for policies that know all.
    """

    repeats = True
    running = (*SessionEnv.running, "_recent")

    def __init__(
        self,
        world: LeavingWorld,
        *,
        users: Tensor | None = None,
        sessions: int = 256,
        horizon: int = HORIZON,
        known: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(horizon, stars_reward, generator, world.item.device)
        check_counts(sessions=sessions)
        self.world, self.sessions, self.n_seed, self.known = world, sessions, 1, known
        self.n_items, self.n_users = world.n_items, world.n_users
        there = world.item.device
        self.eligible = eligible_of(users, self.n_users, there)

    def reset(
        self, *, seed: int | None = None, options: Info | None = None
    ) -> tuple[Histories, Info]:
        """Start B sessions; options may fix `users` [B] and their `seed_items` [B, 1]."""
        users, options = self._met(seed, options, seed_items=(self.n_items - 1, 1))
        first = options.get("seed_items")
        if first is None:
            first = _random_items(self.n_items, (len(users), 1), self.generator, users.device)
        answers = self.world.ratings(users)
        told = users if self.known else torch.full_like(users, self.n_users)
        nothing = torch.zeros_like(answers, dtype=torch.bool)
        self._begin(Histories(told, first, answers.gather(1, first)), answers, nothing)
        self._recent = first.new_full((len(users), WINDOW), self.n_items)
        return self.observation(), {"active": self._active}

    def starts(self, draws: int, seed: int) -> tuple[Tensor, Tensor]:
        """Every user `draws` times -> users int64 [U * draws], first items [U * draws, 1]."""
        check_counts(MOST, draws=draws)
        users = self.eligible.repeat_interleave(draws)
        generator = own_stream(seed, "first items")
        return users, _random_items(self.n_items, (len(users), 1), generator, users.device)

    def _remember(self, item: Tensor, rating: Tensor, shown: Tensor) -> None:
        super()._remember(item, rating, shown)
        last = self.n_items - 1
        pairs = item.unsqueeze(1), self._recent
        there = (pairs[0] <= last) & (pairs[1] <= last)
        close = self.world.close[pairs[0].clamp(max=last), pairs[1].clamp(max=last)]
        self._leaves = (close & there).any(1)
        self._recent = torch.cat([self._recent[:, 1:], item.unsqueeze(1)], 1)

    def _exhausted(self, item: Tensor, rating: Tensor) -> Tensor:
        return self._leaves


class MisledEnv(UserLeavesEnv):
    """Users whose ratings the agent is not told: it is told those of the user before in the batch.

    What a policy loses here, it owes to ratings. ValueError where somebody would be told their own,
    in a batch of one, or of one user several times in a row.
    """

    running = (*UserLeavesEnv.running, "_told")

    def _met(
        self, seed: int | None, options: Info | None, **starts: tuple[int, ...]
    ) -> tuple[Tensor, Info]:
        users, options = super()._met(seed, options, **starts)
        if (users == users.roll(1)).any():
            raise ValueError("nobody is misled by their own ratings: give users in another order")
        return users, options

    def _begin(self, histories: Histories, answers: Tensor, excluded: Tensor) -> None:
        self._told = answers.roll(1, 0)
        rating = self._told.gather(1, histories.item)
        super()._begin(replace(histories, rating=rating), answers, excluded)

    def _remember(self, item: Tensor, rating: Tensor, shown: Tensor) -> None:
        each = torch.arange(len(item), device=item.device)
        told = self._told[each, item.clamp(max=self.n_items - 1)]
        super()._remember(item, told, shown)


def _random_items(
    n_items: int, shape: tuple[int, ...], generator: torch.Generator, there: torch.device
) -> Tensor:
    return torch.randint(n_items, shape, generator=generator, device=generator.device).to(there)


def leaving_users(n_users: int) -> tuple[Tensor, Tensor, Tensor]:
    """Train, validation and test users, 85 / 7 / 8 %."""
    return split_users(n_users, (0.85, 0.07, 0.08))


def lists_far_apart(ratings: Tensor, close: Tensor, size: int = WINDOW + 1) -> Tensor:
    """For B rows of ratings [B, V], `size` items of which no two are close -> int64 [B, size].

    What somebody shows in turn who is told the rule. From each of an item's 200 best it adds the
    best that is far from all, and keeps the best list: greedy, so that a better one may exist.
    ValueError where somebody has none.
    """
    check_counts(size=size)
    starts = ratings.topk(min(200, ratings.shape[1])).indices
    best, lists = ratings.new_full((len(ratings),), -torch.inf), None
    for start in starts.unbind(1):
        chosen, allowed = [start], ~close[start]
        possible = torch.ones(len(ratings), dtype=torch.bool, device=ratings.device)
        for _ in range(size - 1):
            possible &= allowed.any(1)
            chosen.append(ratings.masked_fill(~allowed, -torch.inf).argmax(1))
            allowed &= ~close[chosen[-1]]
        found = torch.stack(chosen, 1)
        worth = ratings.gather(1, found).sum(1).masked_fill(~possible, -torch.inf)
        better = worth > best
        best = torch.where(better, worth, best)
        lists = found if lists is None else torch.where(better.unsqueeze(1), found, lists)
    if not torch.isfinite(best).all():
        raise ValueError(f"no {size} items were found of which no two are close")
    return lists.gather(1, ratings.gather(1, lists).argsort(dim=1, descending=True))


def in_turn(lists: Tensor, n_items: int) -> Callable[[Histories], Tensor]:
    """A policy that shows the items of each user's list [U, L] in turn, again and again.

    It has to be told who the user is, int64 [B] in `histories.user`: an environment with
    `known=True` tells it. ValueError for a user without a list.
    """

    def score(histories: Histories) -> Tensor:
        if int(histories.user.max()) >= len(lists):
            raise ValueError(
                f"there are lists of {len(lists)} users, and not of all who are met: give one for "
                "each user of the world, and the environment known=True"
            )
        step = (histories.item < n_items).sum(1) - 1  # one was known before
        item = lists[histories.user].gather(1, (step % lists.shape[1]).unsqueeze(1))
        scores = torch.zeros(len(histories), n_items, device=item.device)
        return scores.scatter_(1, item, 1.0)

    return score


def random_turns(world: LeavingWorld, users: Tensor) -> Turns:
    """Random items for users until they leave, `RANDOM_SESSIONS` times each.

    The items that were known at a start are among the turns, with nothing shown before them.
    """
    env = UserLeavesEnv(world, users=users, generator=generator_on(CPU, 0))
    users, rows = env.eligible, []
    for _ in range(RANDOM_SESSIONS):
        first, _ = env.reset(options={"users": users})
        nobody = torch.zeros_like(users, dtype=torch.bool)
        rows.append((users, first.item[:, 0], first.rating[:, 0], env._recent, nobody))
        while not env.over:
            item = _random_items(world.n_items, (len(users),), env.generator, users.device)
            recent = env._recent
            *_, info = env.step(item)
            active = info["active"]
            shown = users, item, info["rating"], recent, env._leaves
            rows.append(tuple(column[active] for column in shown))
    return Turns(*(torch.cat(column) for column in zip(*rows, strict=True)))


def random_play(world: LeavingWorld, users: Tensor, data: Interactions) -> Interactions:
    """The ratings that users give in `random_turns`; ids as in `data`."""
    return rated(random_turns(world, users), world, data)


def rated(turns: Turns, world: LeavingWorld, data: Interactions) -> Interactions:
    """The ratings of turns, each pair of a user and an item once; ids as in `data`."""
    columns = {"user": turns.user, "item": turns.item, "rating": turns.rating}
    ids = data.item_ids.id(world.items)
    played = pd.DataFrame({name: column.cpu().numpy() for name, column in columns.items()})
    played["timestamp"] = 0
    played = played.drop_duplicates(["user", "item"]).sort_values("user", kind="stable")
    there = world.item.device
    columns = (torch.tensor(played[name].to_numpy(), device=there) for name in played)
    return Interactions(*columns, data.user_ids, IdMap(ids))
