"""The world of SARDINE's SlateTopK-Bored, and the policies in it that learn nothing.

Deffayet et al., arXiv 2311.16586; `pip install sardine-rec` (MIT, NAVER). It runs as it is, one
environment a session. What our one training loop needs is here: sessions that step together, an
observation as a history (a column a number of the state, in the place of ratings), vectors as
actions. An action is DRR's: each item scores a . v_i, and the ten best are the slate. v_i are the
simulator's ten numbers of an item, and beside them its topic, one of ten.

B = sessions, V = items, w = width of a vector.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import gymnasium
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from recsys_rl.data.histories import Histories
from recsys_rl.envs.base import Info, SessionEnv, Step
from recsys_rl.evaluation.statistics import Evaluation

try:
    from sardine.policies import EpsilonGreedyOracle
    from sardine.wrappers import IdealState
except ImportError:
    raise SystemExit(
        "this world is SARDINE's, which is not installed: pip install sardine-rec==1.0.8"
    ) from None

ID = "sardine/SlateTopK-Bored-v0"
STEPS, SLATE, TOPICS = 100, 10, 10
NUMBERS = 3 * TOPICS  # of a state: taste, clicks lately and steps of boredom left, by topic
TRAIN, TEST = 100_000, 100  # users, who are the seeds of the simulator; those of the test come last
Policy = Callable[[Histories], Tensor]  # -> the slates to show, int64 [B, SLATE]


def simulator() -> gymnasium.Env:
    """One session, with all of the user's state observed."""
    return IdealState(gymnasium.make(ID).unwrapped)


@lru_cache(maxsize=1)
def item_vectors() -> Tensor:
    """The numbers of each item and, beside them, its topic -> float32 [V, 2 x TOPICS]."""
    items = simulator().unwrapped
    topic = F.one_hot(torch.from_numpy(items.item_comp), TOPICS)
    return torch.cat([torch.from_numpy(items.item_embedd), topic], 1).float()


def slates_of(vectors: Tensor) -> Tensor:
    """The best items of each vector [B, w], best first -> int64 [B, SLATE]."""
    return (vectors @ item_vectors().T).topk(SLATE, 1).indices


class SlateEnv(SessionEnv):
    """Sessions of the simulator that step together; an action is a vector, a reward its clicks.

    All sessions end after STEPS steps. options["users"]: seeds of the simulator.
    """

    takes_vectors = True
    n_users = TRAIN + TEST

    def __init__(self, sessions: int, generator: torch.Generator | None = None) -> None:
        super().__init__(STEPS, torch.Tensor.float, generator)
        self.sessions, self.n_items = sessions, len(item_vectors())
        self.eligible = torch.arange(TRAIN)
        self.simulators = [simulator() for _ in range(sessions)]

    def reset(
        self, *, seed: int | None = None, options: Info | None = None
    ) -> tuple[Histories, Info]:
        self._user, _ = self._met(seed, options)
        pairs = zip(self.simulators, self._user.tolist(), strict=True)
        self._numbers = np.stack([each.reset(seed=user)[0] for each, user in pairs])
        self._steps = 0
        self._active = torch.ones(self.sessions, dtype=torch.bool)
        self.excluded = torch.zeros(self.sessions, self.n_items, dtype=torch.bool)
        return self.observation(), {}

    def observation(self) -> Histories:
        """The numbers in the columns of a history."""
        self._check_running()
        column = torch.arange(NUMBERS).expand(self.sessions, -1)
        elapsed = torch.full((self.sessions,), self._steps / STEPS)
        return Histories(self._user, column, torch.from_numpy(self._numbers), elapsed)

    def step(self, vectors: Tensor) -> Step:
        return self.show(slates_of(vectors))

    def show(self, slates: Tensor) -> Step:
        """Slates int64 [B, SLATE]; -1, in every place, for the best items by what is known here."""
        self._check_running()
        steps = zip(self.simulators, slates.numpy(), strict=True)
        numbers, clicks, ended, _, _ = zip(
            *(each.step(slate) for each, slate in steps), strict=True
        )
        self._numbers, self._steps = np.stack(numbers), self._steps + 1
        terminated, active = torch.tensor(ended), self._active
        self._active = active & ~terminated
        reward = torch.tensor(clicks, dtype=torch.float32)
        truncated = torch.zeros_like(terminated)
        return self.observation(), reward, terminated, truncated, {"active": active}


def at_random(n_items: int, generator: torch.Generator) -> Policy:
    def slates(histories: Histories) -> Tensor:
        return torch.rand(len(histories), n_items, generator=generator).topk(SLATE, 1).indices

    return slates


def greedy() -> Policy:
    """The simulator's own oracle of the next slate: it knows what every item's click depends on."""
    oracle = EpsilonGreedyOracle(0.0, env=simulator())

    def slates(histories: Histories) -> Tensor:
        return torch.from_numpy(np.stack([oracle.get_action(None) for _ in range(len(histories))]))

    return slates


def at_most_two_a_topic(histories: Histories) -> Tensor:
    """The best items for the user's taste, no topic with more than two: the rule of boredom."""
    numbers, topic = item_vectors().split(TOPICS, 1)
    scores = histories.rating[:, :TOPICS] @ numbers.T  # (B, V)
    of_topics = scores.unsqueeze(1).masked_fill(topic.T == 0, -torch.inf)  # (B, TOPICS, V)
    two = of_topics.topk(2, 2)
    best = two.values.flatten(1).topk(SLATE, 1).indices
    return two.indices.flatten(1).gather(1, best)


def held_out() -> Tensor:
    """The users of the test, int64 [TEST]."""
    return torch.arange(TRAIN, TRAIN + TEST)


@torch.no_grad()
def clicks(policy: Policy, users: Tensor) -> Tensor:
    """One session of every user -> float32 [B, STEPS]."""
    environment, found = SlateEnv(len(users)), []
    histories, _ = environment.reset(options={"users": users})
    while not environment.over:
        histories, reward, _, _, _ = environment.show(policy(histories))
        found.append(reward)
    return torch.stack(found, 1)


def judged(policy: Policy, users: Tensor) -> Evaluation:
    """Clicks of a session, and its steps, by user."""
    found = clicks(policy, users)
    length = np.full(len(users), found.shape[1], np.float32)
    return Evaluation("sardine", {"return": found.sum(1).numpy(), "length": length}, users)


def untrained() -> dict[str, Callable[[], Policy]]:
    """The policies beside the agents."""
    return {
        "random": lambda: at_random(len(item_vectors()), torch.Generator().manual_seed(0)),
        "greedy": greedy,
        "rule": lambda: at_most_two_a_topic,
    }
