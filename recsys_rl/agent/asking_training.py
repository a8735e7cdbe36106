"""How an asker learns: policy gradient on the final hits, from the knowledge gradient on.

A loop of its own, and not `agent.training`: an action is one of thirty candidates made of the
state, where the project's actors score all items by vectors; and the one reward at the end depends
far more on the user than on the questions, so that each user plays several sessions at once, and a
session is compared with its siblings (Kool et al., ICLR 2019 workshop, "Buy 4 REINFORCE samples,
get a baseline for free!"). There is no bootstrap: sessions are short, and the critic learns from
whole returns.

B = sessions, C = candidates, T = questions, F = features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from recsys_rl.agent.asking import CANDIDATES, Asker
from recsys_rl.data.interactions import Interactions
from recsys_rl.envs.elicitation import ElicitationEnv

LENGTHS = 3, 5, 10, 20  # questions of a round's sessions
NAMED = 0, 3  # liked items that are named before
CRITIC_LR, CRITIC_UPDATES = 3e-3, 50  # in a round
CRITIC_ROUNDS, CRITIC_BATCH = 32, 1024  # rounds and questions of an update


@dataclass(frozen=True)
class Budget:
    rounds: int = 384  # each asks about another half of the items
    users: int = 16  # in a round
    siblings: int = 8  # sessions of each of them
    lr: float = 2e-3

    def left(self, done: int) -> float:
        """Of the learning rates; falls to a tenth."""
        return 1 - 0.9 * done / self.rounds


BUDGET = Budget()


class Sessions(NamedTuple):
    """features: [B, T, C, F]. chosen: int64 [B, T], places among the candidates. returns: [B]."""

    features: Tensor
    chosen: Tensor
    returns: Tensor

    def asked(self) -> Tensor:
        """Features of what was asked and, last, the return -> float32 [B T, F + 1]."""
        place = self.chosen[..., None, None].expand(-1, -1, 1, self.features.shape[3])
        features = self.features.gather(2, place).squeeze(2)  # (B, T, F)
        returns = self.returns[:, None, None].expand(-1, features.shape[1], 1)
        return torch.cat([features, returns], 2).flatten(0, 1)


def fit_asker(
    asker: Asker,
    train: Interactions,
    seed: int = 0,
    budget: Budget = BUDGET,
    lengths: Sequence[int] = LENGTHS,
    gamma: float = 1.0,
) -> list[dict[str, float]]:
    """Trains an asker with train users -> what was measured, a dict a round.

    gamma: of the actor; with 0 only the last question learns, for the others earn nothing at once.
    ValueError where there would not always be as many candidates.
    """
    if train.n_items // 2 - max(NAMED) - max(lengths) < CANDIDATES - 1:
        raise ValueError(f"{train.n_items} items are too few to learn {max(lengths)} questions")
    generator = torch.Generator().manual_seed(seed)
    actor = torch.optim.Adam(asker.actor.parameters(), budget.lr)
    critic = torch.optim.Adam(asker.critic.parameters(), CRITIC_LR)
    kinds, rows, asked = list(product(lengths, NAMED)), [], []
    for done in range(budget.rounds):
        length, named = kinds[done % len(kinds)]
        env = ElicitationEnv(
            train,
            asker.gaussian.score,
            sessions=budget.users,
            horizon=length,
            n_seed=named,
            generator=generator,
        )
        played = play(asker, env, budget.siblings, generator)
        if not done:
            asker.fit_scale(played.features)
        for optimizer, rate in ((actor, budget.lr), (critic, CRITIC_LR)):
            optimizer.param_groups[0]["lr"] = rate * budget.left(done)
        asked.append(played.asked())
        losses = {
            "actor_loss": improve_actor(asker, actor, played, budget.siblings, gamma),
            "critic_loss": improve_critic(asker, critic, asked, generator),
        }
        earned = {"questions": length, "named": named, "return": played.returns.mean().item()}
        rows.append(earned | losses)
    return rows


def play(asker: Asker, env: ElicitationEnv, siblings: int, generator: torch.Generator) -> Sessions:
    """Questions sampled from the actor; `siblings` sessions of each user, alike at the start."""
    env.half = int(torch.randint(2**31 - 1, (), generator=generator))
    drawn = torch.randint(len(env.eligible), (env.sessions,), generator=generator)
    start, _ = env.reset(options={"users": env.eligible[drawn]})
    alike = {"users": env.eligible[drawn], "seed_items": start.item}
    histories, _ = env.reset(
        options={name: part.repeat_interleave(siblings, 0) for name, part in alike.items()}
    )
    asker.questions = env.horizon
    seen, chosen = [], []
    for _ in range(env.horizon):
        candidates, features = asker.read(histories)
        with torch.no_grad():
            policy = asker.logits(features).softmax(1)
        place = torch.multinomial(policy, 1, generator=generator)
        histories, reward, *_ = env.step(candidates.gather(1, place).squeeze(1))
        seen.append(features)
        chosen.append(place.squeeze(1))
    return Sessions(torch.stack(seen, 1), torch.stack(chosen, 1), reward)


def improve_actor(
    asker: Asker,
    optimizer: torch.optim.Optimizer,
    played: Sessions,
    siblings: int,
    gamma: float = 1.0,
) -> float:
    """A step along the gradient of the return less the mean return of its siblings."""
    returns = played.returns.view(-1, siblings)
    others = (returns.sum(1, keepdim=True) - returns) / (siblings - 1)
    advantage = (returns - others).flatten()
    advantage = advantage / advantage.std().clamp(min=1e-6)
    policy = asker.logits(played.features).log_softmax(2)
    chosen = policy.gather(2, played.chosen.unsqueeze(2)).squeeze(2)  # (B, T)
    ahead = torch.arange(chosen.shape[1] - 1, -1, -1, device=chosen.device)  # questions to come
    return _descend(optimizer, -((gamma**ahead * chosen).sum(1) * advantage).mean())


def improve_critic(
    asker: Asker,
    optimizer: torch.optim.Optimizer,
    asked: Sequence[Tensor],
    generator: torch.Generator,
) -> float:
    """Towards the returns of all sessions so far, at the questions that were asked.

    asked: of every round, `Sessions.asked`. Every round counts the same, however long it was.
    """
    losses = []
    for _ in range(CRITIC_UPDATES):
        drawn = torch.randint(len(asked), (CRITIC_ROUNDS,), generator=generator)
        rows = [asked[number] for number in drawn.tolist()]
        size = CRITIC_BATCH // CRITIC_ROUNDS
        batch = torch.cat([
            each[torch.randint(len(each), (size,), generator=generator)] for each in rows
        ])  # fmt: skip
        error = asker.values(batch[:, :-1]) - batch[:, -1]
        losses.append(_descend(optimizer, error.square().mean()))
    return sum(losses) / len(losses)


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> float:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()
