"""How an asker learns: it imitates the knowledge gradient, then goes on with the final hits.

A loop of its own, and not `agent.training`, for three reasons: the teacher scores questions, where
the project's demonstrations are items that are liked; an action is one of thirty candidates made of
the state, where the project's actors score all items by vectors; and the one reward at the end
depends far more on the user than on the questions, so that each user plays several sessions at
once, and a session is compared with its siblings (Kool et al., ICLR 2019 workshop, "Buy 4 REINFORCE
samples, get a baseline for free!"). There is no bootstrap: gamma is 1, sessions are short, and the
critic learns from whole returns.

B = sessions, C = candidates, T = questions, F = features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from recsys_rl.agent.asking import Asker
from recsys_rl.baselines.asking import knowledge_gradient
from recsys_rl.data.interactions import Interactions
from recsys_rl.envs.elicitation import ElicitationEnv

SHARPNESS = 3.0  # of the softmax of the teacher's scores, in their standard deviations
LENGTHS = 3, 5, 5, 10, 10, 20  # sessions of reinforcement, drawn at random
NAMED = 0, 3  # liked items that are named before


@dataclass(frozen=True)
class Budget:
    rounds: int
    users: int  # a round
    siblings: int = 1  # sessions of each of them
    lr: float = 1e-3

    def rate(self, done: int) -> float:
        """Falls to a twentieth."""
        return self.lr * (1 - 0.95 * done / self.rounds)


IMITATION = Budget(100, 128, lr=2e-3)
REINFORCEMENT = Budget(150, 64, siblings=8, lr=5e-4)


class Sessions(NamedTuple):
    """features: [B, T, C, F]. chosen: int64 [B, T], places among the candidates. returns: [B]."""

    features: Tensor
    chosen: Tensor
    returns: Tensor


def fit_asker(
    asker: Asker,
    train: Interactions,
    seed: int = 0,
    imitation: Budget = IMITATION,
    reinforcement: Budget = REINFORCEMENT,
) -> list[dict[str, float]]:
    """Trains an asker with train users -> what was measured, a dict a round."""
    generator = torch.Generator().manual_seed(seed)
    rows = imitate(asker, train, generator, imitation)
    return rows + reinforce(asker, train, generator, reinforcement)


def imitate(
    asker: Asker, train: Interactions, generator: torch.Generator, budget: Budget = IMITATION
) -> list[dict[str, float]]:
    """The actor follows the softmax of the knowledge gradient, by cross-entropy.

    Its own softmax chooses the questions (DAgger), the teacher's in the first tenth of the rounds.
    """
    optimizer, rows = torch.optim.Adam(asker.actor.parameters(), budget.lr), []
    length = max(2, len(LENGTHS)) + 4
    for done in range(budget.rounds):
        env = _sessions(asker, train, NAMED[done % len(NAMED)], length, budget.users, generator)
        histories, _ = env.reset()
        seen, wanted = [], []
        for _ in range(length):
            candidates, found, belief, leaders = asker.read(histories)
            target = _standardised(knowledge_gradient(belief, candidates, leaders))
            seen.append(found)
            wanted.append((SHARPNESS * target).softmax(1))
            with torch.no_grad():
                own = asker.logits(found).softmax(1)
            policy = wanted[-1] if 10 * done < budget.rounds else own
            place = torch.multinomial(policy, 1, generator=generator)
            histories, *_ = env.step(candidates.gather(1, place).squeeze(1))
        x, y = torch.cat(seen), torch.cat(wanted)
        if not done:
            asker.fit_scale(x.flatten(0, 1))
        _set_rate(optimizer, budget.rate(done))
        for _ in range(2):
            logits = asker.logits(x)
            loss = -(y * logits.log_softmax(1)).sum(1).mean()
            _descend(optimizer, loss)
        agreement = (logits.argmax(1) == y.argmax(1)).float().mean()
        rows.append({"imitation_loss": loss.item(), "agreement": agreement.item()})
    return rows


def reinforce(
    asker: Asker, train: Interactions, generator: torch.Generator, budget: Budget = REINFORCEMENT
) -> list[dict[str, float]]:
    """Policy gradient on the final hits; the baseline of a session is the mean of its siblings.

    The critic learns Q of what was asked from the same returns.
    """
    actor = torch.optim.Adam(asker.actor.parameters(), budget.lr)
    critic = torch.optim.Adam(asker.critic.parameters(), 2 * budget.lr)
    rows = []
    for done in range(budget.rounds):
        length, named = (
            kinds[int(torch.randint(len(kinds), (), generator=generator))]
            for kinds in (LENGTHS, NAMED)
        )
        env = _sessions(asker, train, named, length, budget.users, generator)
        played = _played(asker, env, budget.siblings, generator)
        by_user = played.returns.view(-1, budget.siblings)
        others = (by_user.sum(1, keepdim=True) - by_user) / (budget.siblings - 1)
        advantage = (by_user - others).flatten()
        policy = asker.logits(played.features).log_softmax(2)
        chosen = policy.gather(2, played.chosen.unsqueeze(2)).squeeze(2)  # (B, T)
        _set_rate(actor, budget.rate(done))
        _descend(actor, -(chosen.sum(1) * advantage / advantage.std().clamp(min=1e-6)).mean())
        place = played.chosen[..., None, None].expand(-1, -1, 1, played.features.shape[3])
        q = asker.values(played.features.gather(2, place).squeeze(2))  # (B, T)
        error = (q - played.returns.unsqueeze(1)).square().mean()
        _set_rate(critic, 2 * budget.rate(done))
        _descend(critic, error)
        entropy = -(policy.exp() * policy).sum(2).mean()
        rows.append({
            "length": length,
            "named": named,
            "return": played.returns.mean().item(),
            "critic_error": error.item(),
            "entropy": entropy.item(),
        })  # fmt: skip
    return rows


def _sessions(
    asker: Asker,
    train: Interactions,
    named: int,
    length: int,
    users: int,
    generator: torch.Generator,
) -> ElicitationEnv:
    return ElicitationEnv(
        train,
        asker.gaussian[0].score,
        n_seed=named,
        horizon=length,
        sessions=users,
        generator=generator,
    )


def _played(
    asker: Asker, env: ElicitationEnv, siblings: int, generator: torch.Generator
) -> Sessions:
    """Sampled sessions: `siblings` of each user stand together, alike at the start."""
    env.half = int(torch.randint(2**31 - 1, (), generator=generator))
    drawn = torch.randint(len(env.eligible), (env.sessions,), generator=generator)
    users = env.eligible[drawn]
    start, _ = env.reset(options={"users": users})
    alike = {"users": users, "seed_items": start.item}
    histories, _ = env.reset(
        options={name: part.repeat_interleave(siblings, 0) for name, part in alike.items()}
    )
    seen, chosen = [], []
    for _ in range(env.horizon):
        candidates, found, *_ = asker.read(histories)
        with torch.no_grad():
            policy = asker.logits(found).softmax(1)
        place = torch.multinomial(policy, 1, generator=generator)
        histories, reward, *_ = env.step(candidates.gather(1, place).squeeze(1))
        seen.append(found)
        chosen.append(place.squeeze(1))
    return Sessions(torch.stack(seen, 1), torch.stack(chosen, 1), reward)


def _standardised(scores: Tensor) -> Tensor:
    """Mean 0 and variance 1 in each row."""
    spread = scores.std(1, keepdim=True).clamp(min=1e-9)
    return (scores - scores.mean(1, keepdim=True)) / spread


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
