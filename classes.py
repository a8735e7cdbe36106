"""What learns and acts: actor, critic, noise, the DDPG agent, and the recommender made from it.

The parts with a theme of their own are found here too: vectors and states (`states.py`), replay
(`replay.py`), environment (`environment.py`).

Sources: Liu et al., arXiv 1810.12027 (DRR); Lillicrap et al., arXiv 1509.02971 (DDPG); Fujimoto &
Gu, arXiv 2106.06860 (an imitation term beside Q).

B = batch, n = length of the memory, k = width of the vectors. Index n_items is padding, n_users
anonymous.
"""

from __future__ import annotations

import copy
import json
import os
import signal
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from environment import LoggedSessions, RecommendationEnv, paper_reward
from replay import Observation, PrioritizedReplayBuffer, ReplayBuffer, SumTree, Transitions
from states import PMF, STATES, DRRatt, DRRave, DRRp, DRRu, State, latest_positives
from utils import Histories, IdMap

__all__ = [
    "PMF",
    "STATES",
    "DRRatt",
    "DRRave",
    "DRRp",
    "DRRu",
    "IdMap",
    "LoggedSessions",
    "Observation",
    "PrioritizedReplayBuffer",
    "RecommendationEnv",
    "ReplayBuffer",
    "State",
    "SumTree",
    "Transitions",
    "paper_reward",
]


# ---------------------------------------------------------------------------- actor and critic


class Actor(nn.Module):
    """pi: state -> ReLU -> ReLU -> tanh -> action a in [-1, 1]^k. Film i scores a . v_i."""

    def __init__(self, state: State, hidden: int) -> None:
        super().__init__()
        self.state = state
        self.body = nn.Sequential(
            nn.Linear(state.size, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, state.k),
            nn.Tanh(),
        )

    @property
    def item_vectors(self) -> Tensor:
        """v, float32 [n_items, k]: the same vectors that the state reads, padding left out."""
        return self.state.item_vectors.weight[:-1]

    def forward(self, observation: Observation) -> Tensor:
        return self.body(self.state(observation))  # (B, k)

    def scores(self, action: Tensor) -> Tensor:
        return action @ self.item_vectors.T  # (B, n_items)

    def expected_film(self, action: Tensor, vectors: Tensor) -> Tensor:
        """Mean of `vectors` [n_items, k] under the softmax of the scores -> float32 [B, k].

        The film an action leads to is an argmax and has no gradient; this is its smooth stand-in,
        and it never leaves the hull of the films on which the critic was trained.
        """
        return self.scores(action).softmax(1) @ vectors


class Critic(nn.Module):
    """Q: the state through ReLU, concatenated with the action, ReLU, one number."""

    def __init__(self, state: State, hidden: int) -> None:
        super().__init__()
        self.state = state
        self.read = nn.Linear(state.size, hidden)
        self.join = nn.Linear(hidden + state.k, hidden)
        self.value = nn.Linear(hidden, 1)

    @property
    def item_vectors(self) -> Tensor:
        return self.state.item_vectors.weight[:-1]  # (n_items, k)

    def forward(self, observation: Observation, action: Tensor) -> Tensor:
        """Observation of B sessions, action float32 [B, k] -> Q float32 [B]."""
        state = F.relu(self.read(self.state(observation)))  # (B, hidden)
        joined = F.relu(self.join(torch.cat([state, action], dim=1)))  # (B, hidden)
        return self.value(joined).squeeze(1)


class OUNoise:
    """Ornstein-Uhlenbeck noise, one walk a session: x <- x - theta x + sigma N(0, 1)."""

    def __init__(self, sessions: int, k: int, sigma: float, theta: float = 0.15) -> None:
        self.sigma, self.theta = sigma, theta
        self.x = torch.zeros(sessions, k)

    def reset(self) -> None:
        self.x = torch.zeros_like(self.x)

    def sample(self, generator: torch.Generator) -> Tensor:
        shock = torch.randn(self.x.shape, generator=generator)
        self.x = self.x - self.theta * self.x + self.sigma * shock
        return self.x  # (B, k)


# ---------------------------------------------------------------------------- the agent


@dataclass(frozen=True)
class Settings:
    """All that decides what an agent becomes. Saved with the weights."""

    state: str = "ave"  # p, u, ave or att
    k: int = 100  # width of the vectors and of the action
    n: int = 5  # films in the memory
    hidden: int = 256  # width of the actor's and critic's layers
    vectors: str = "tuned"  # "tuned": start from PMF and learn on; "frozen": PMF; "random": no PMF
    # learning
    batch_size: int = 512
    actor_lr: float = 1e-3
    critic_lr: float = 1e-3
    weight_decay: float = 1e-5
    gamma: float = 0.9
    tau: float = 0.01  # share of the way that the targets move at each update
    cloning: float = 1.0  # weight of the imitation term beside Q; 0 is DDPG as published
    # acting
    sessions: int = 1024  # sessions that step together
    horizon: int = 10
    unrated: float = 0.0  # reward of a film that the person never rated
    anonymous_share: float = 0.2
    epsilon: float = 0.1
    ou_sigma: float = 0.0
    # replay
    replay: str = "prioritized"  # or "uniform"
    capacity: int = 200_000
    # how long
    imitation_updates: int = 6000  # stage 1
    ddpg_updates: int = 1500  # stage 2
    evaluate_every: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in {
            "state": tuple(STATES),
            "vectors": ("tuned", "frozen", "random"),
            "replay": ("prioritized", "uniform"),
        }.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {known}, not {getattr(self, name)!r}")


def _initialise(module: nn.Module, generator: torch.Generator) -> None:
    """PyTorch's own default for linear layers, and N(0, 0.1^2) vectors, from a given generator."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            bound = part.in_features**-0.5
            nn.init.uniform_(part.weight, -bound, bound, generator=generator)
            nn.init.uniform_(part.bias, -bound, bound, generator=generator)
        elif isinstance(part, nn.Embedding):
            nn.init.normal_(part.weight, std=0.1, generator=generator)
            if part.padding_idx is not None:
                part.weight.data[part.padding_idx] = 0


def build_state(
    settings: Settings, n_users: int, n_items: int, generator: torch.Generator, pmf: PMF | None
) -> State:
    """A state representation; its vectors start from `pmf` unless the settings say otherwise."""
    state = STATES[settings.state](n_users, n_items, settings.k, settings.n)
    _initialise(state, generator)
    if settings.vectors != "random":
        if pmf is None:
            raise ValueError(f"vectors={settings.vectors!r} needs a PMF to start from")
        state.user_vectors.weight.data[:-1] = pmf.user.data
        state.user_vectors.weight.data[-1] = pmf.user.data.mean(0)  # the anonymous user
        state.item_vectors.weight.data[:-1] = pmf.item.data
    if settings.vectors == "frozen":
        state.user_vectors.weight.requires_grad_(False)
        state.item_vectors.weight.requires_grad_(False)
    return state


class DDPG:
    """Deep deterministic policy gradient for lists of films, with an optional imitation term.

    The critic learns the value of the film that was executed, not of the vector that was emitted:
    many vectors lead to the same film, the reward depends on the film alone, and Q over vectors
    would be a staircase whose gradient is zero almost everywhere. Actor and critic each read the
    observation through a state representation of their own.
    """

    def __init__(
        self,
        settings: Settings,
        n_users: int,
        n_items: int,
        pmf: PMF | None = None,
    ) -> None:
        self.settings, self.n_users, self.n_items = settings, n_users, n_items
        self.generator = torch.Generator().manual_seed(settings.seed)
        parts = settings, n_users, n_items, self.generator, pmf
        self.actor = Actor(build_state(*parts), settings.hidden)
        self.critic = Critic(build_state(*parts), settings.hidden)
        _initialise(self.actor.body, self.generator)
        for layer in (self.critic.read, self.critic.join, self.critic.value):
            _initialise(layer, self.generator)
        self.target_actor = copy.deepcopy(self.actor).requires_grad_(False)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.actor_optimizer = self._optimizer(self.actor, settings.actor_lr)
        self.critic_optimizer = self._optimizer(self.critic, settings.critic_lr)
        self.noise = OUNoise(settings.sessions, settings.k, settings.ou_sigma)

    def _optimizer(self, network: nn.Module, lr: float) -> torch.optim.Optimizer:
        """Adam with L2, as in the paper (not AdamW's decoupled decay)."""
        learned = [p for p in network.parameters() if p.requires_grad]
        return torch.optim.Adam(learned, lr=lr, weight_decay=self.settings.weight_decay, fused=True)

    # -- acting

    @torch.no_grad()
    def act(self, observation: Observation) -> Tensor:
        """The action the agent thinks best, float32 [B, k]."""
        return self.actor(observation)

    @torch.no_grad()
    def explore(self, action: Tensor) -> Tensor:
        """Add Ornstein-Uhlenbeck noise, and with probability epsilon aim at a random film."""
        if self.settings.ou_sigma:
            action = action + self.noise.sample(self.generator)
        film = torch.randint(self.n_items, (len(action),), generator=self.generator)
        random = torch.rand(len(action), generator=self.generator) < self.settings.epsilon
        return torch.where(random.unsqueeze(1), self.actor.item_vectors[film], action)

    @torch.no_grad()
    def score(self, histories: Histories) -> Tensor:
        """Scores of all films from what people rated -> float32 [B, n_items]."""
        memory = latest_positives(histories, self.settings.n, self.n_items)
        return self.actor.scores(self.act(Observation(histories.user, memory)))

    # -- learning

    def imitation_loss(self, observation: Observation, item: Tensor) -> Tensor:
        """Cross-entropy of the film that people rated next, int64 [B], among all films."""
        return F.cross_entropy(self.actor.scores(self.actor(observation)), item)

    def imitate(self, observation: Observation, item: Tensor) -> dict[str, float]:
        """One update of stage 1, the warm start: do as people did."""
        loss = self.imitation_loss(observation, item)
        self._descend(self.actor_optimizer, loss)
        return {"imitation": float(loss.detach())}

    def start_ddpg(self) -> None:
        """Between the stages: the target actor starts from the warm actor."""
        self.target_actor.load_state_dict(self.actor.state_dict())

    def targets(self, batch: Transitions) -> Tensor:
        """y = r + gamma (1 - terminated) Q'(s', pi'(s')), float32 [B]."""
        with torch.no_grad():
            action = self.target_actor(batch.next_observation)
            film = self.target_actor.expected_film(action, self.target_critic.item_vectors)
            following = self.target_critic(batch.next_observation, film)
            return batch.reward + self.settings.gamma * (~batch.terminated) * following

    def update(
        self, batch: Transitions, weights: Tensor, demonstrations: tuple[Observation, Tensor]
    ) -> tuple[dict[str, float], Tensor]:
        """One update of stage 2: critic, actor, targets -> (losses, TD errors [B]).

        weights: importance weights of the batch, float32 [B].
        demonstrations: moments of the log and the film rated next, for the imitation term.
        """
        film = self.critic.item_vectors[batch.item]  # (B, k)
        td_error = self.critic(batch.observation, film) - self.targets(batch)
        critic_loss = (weights * td_error.square()).mean()
        self._descend(self.critic_optimizer, critic_loss)

        actor_loss = self.actor_loss(batch.observation, demonstrations)
        self._descend(self.actor_optimizer, actor_loss)
        self._move_targets()
        losses = {"critic": float(critic_loss.detach()), "actor": float(actor_loss.detach())}
        return losses, td_error.detach()

    def actor_loss(
        self, observation: Observation, demonstrations: tuple[Observation, Tensor]
    ) -> Tensor:
        """-Q(s, pi(s)) / mean |Q| + cloning * imitation (Fujimoto & Gu, arXiv 2106.06860)."""
        action = self.actor(observation)
        film = self.actor.expected_film(action, self.critic.item_vectors.detach())
        q = self.critic(observation, film)
        loss = -q.mean() / q.detach().abs().mean().clamp(min=1e-6)
        if self.settings.cloning:
            loss = loss + self.settings.cloning * self.imitation_loss(*demonstrations)
        return loss

    def _descend(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    # -- checkpoints

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._parts().items()} | {
            "generator": self.generator.get_state(),
            "noise": self.noise.x,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.generator.set_state(state["generator"])
        self.noise.x = state["noise"]

    def _parts(self) -> dict[str, Any]:
        names = "actor", "critic", "target_actor", "target_critic"
        return {
            name: getattr(self, name) for name in (*names, "actor_optimizer", "critic_optimizer")
        }

    def _move_targets(self) -> None:
        pairs = (self.target_actor, self.actor), (self.target_critic, self.critic)
        for target, source in pairs:
            with torch.no_grad():
                torch._foreach_lerp_(
                    list(target.parameters()), list(source.parameters()), self.settings.tau
                )


# ---------------------------------------------------------------------------- checkpoints


class Interruptible:
    """Turns Ctrl-C (or the notebook's stop button) into a flag that a loop reads between updates.

    An exception could leave actor and critic half a step apart; a flag cannot. Outside the main
    thread, where no signal arrives, it is simply never set.
    """

    def __enter__(self) -> Interruptible:
        self.stop = False
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def _ask(self, *_: object) -> None:
        self.stop = True

    def __exit__(self, *_: object) -> None:
        if self._main:
            signal.signal(signal.SIGINT, self._before)


def save_checkpoint(path: str | Path, parts: dict[str, Any], progress: dict[str, Any]) -> None:
    """Write all that training needs to go on exactly where it stopped.

    parts: anything with `state_dict` and `load_state_dict` (agent, environment, replay).
    progress: plain numbers, lists and tensors (step, best weights, curve).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    torch.save(
        {"parts": {n: p.state_dict() for n, p in parts.items()}, "progress": progress}, temporary
    )
    os.replace(temporary, path)


def load_checkpoint(path: str | Path, parts: dict[str, Any]) -> dict[str, Any]:
    """Restore `parts` in place and return the progress. Runs no code from the file."""
    saved = torch.load(path, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(saved["parts"][name])
    return saved["progress"]


# ---------------------------------------------------------------------------- the released agent

FORMAT = 1


class Recommender:
    """A trained actor for people it has never met: films in, films out, by MovieLens id.

    The folder holds `weights.safetensors` and `config.json` (settings, item ids, data fingerprint,
    metrics, versions, the command that makes it again). Reading them runs no code from either file.
    """

    def __init__(self, actor: Actor, item_ids: IdMap, config: dict[str, Any]) -> None:
        self.actor, self._ids, self.config = actor.eval(), item_ids, config
        self.n_users = config["n_users"]

    @property
    def item_ids(self) -> np.ndarray:
        """MovieLens ids in index order, int64 [n_items]."""
        return self._ids.ids

    @classmethod
    def load(cls, folder: str | Path) -> Recommender:
        """Rebuild the actor from its folder; ValueError if a file is missing or does not fit."""
        folder = Path(folder)
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            weights = load_file(folder / "weights.safetensors")
        except FileNotFoundError as error:
            raise ValueError(
                f"{folder} holds no released agent: {error.filename} is missing"
            ) from None
        except (json.JSONDecodeError, SafetensorError) as error:
            raise ValueError(f"{folder} is damaged: {error}") from None
        if config.get("format") != FORMAT:
            raise ValueError(
                f"{folder} has format {config.get('format')}, this code reads {FORMAT}"
            )
        settings = Settings(**config["settings"])
        n_users, ids = config["n_users"], IdMap(np.array(config["item_ids"], dtype=np.int64))
        actor = Actor(
            STATES[settings.state](n_users, len(ids), settings.k, settings.n), settings.hidden
        )
        try:
            actor.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(f"the weights in {folder} do not fit its config: {error}") from None
        return cls(actor, ids, config)

    def save(self, folder: str | Path) -> None:
        """Write weights and config through temporary files: an interrupt leaves the old ones."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: t.contiguous() for name, t in self.actor.state_dict().items()}
        save_file(weights, folder / "weights.tmp")
        text = json.dumps(self.config, indent=1, ensure_ascii=False)
        (folder / "config.tmp").write_text(text + "\n", encoding="utf-8")
        os.replace(folder / "weights.tmp", folder / "weights.safetensors")
        os.replace(folder / "config.tmp", folder / "config.json")

    @torch.no_grad()
    def score(self, histories: Histories) -> Tensor:
        """The form every evaluation takes: histories by index -> float32 [B, n_items]."""
        memory = latest_positives(histories, self.actor.state.n, len(self._ids))
        return self.actor.scores(self.actor(Observation(histories.user, memory)))

    def scores(self, histories: Sequence[Sequence[int]]) -> np.ndarray:
        """B lists of liked films (MovieLens ids, oldest first) -> float32 [B, n_items].

        Every history is that of an unknown person. Ids the model does not know are ignored with a
        warning; a history with no known id is a ValueError.
        """
        known = [self._known(history) for history in histories]
        width = max(map(len, known), default=1)
        item = torch.full((len(known), width), len(self._ids))
        for row, index in enumerate(known):
            item[row, width - len(index) :] = index
        rating = torch.where(item < len(self._ids), 5.0, 0.0)
        anonymous = torch.full((len(known),), self.n_users)
        return self.score(Histories(anonymous, item, rating)).numpy()

    def _known(self, history: Sequence[int]) -> Tensor:
        index = self._ids.index(history)
        unknown = [int(i) for i, place in zip(history, index, strict=True) if place < 0]
        if unknown:
            warnings.warn(f"films the model does not know are ignored: {unknown}", stacklevel=4)
        if not (index >= 0).any():
            raise ValueError(f"the model knows none of these films: {list(map(int, history))}")
        return index[index >= 0]

    def recommend(self, history: Sequence[int], k: int = 3) -> list[tuple[int, float]]:
        """The k best films for someone who liked `history` -> [(MovieLens id, score)], best first.

        Never a film of the history, never one twice, always k; ValueError if k films are not left.
        """
        scores = torch.from_numpy(self.scores([history])[0])
        seeds = self._known_quietly(history)
        scores[seeds] = -torch.inf
        if not 1 <= k <= len(scores) - len(seeds.unique()):
            raise ValueError(
                f"k must be between 1 and {len(scores) - len(seeds.unique())}, not {k}"
            )
        top = scores.topk(k)
        return list(zip(self._ids.id(top.indices).tolist(), top.values.tolist(), strict=True))

    def _known_quietly(self, history: Sequence[int]) -> Tensor:
        index = self._ids.index(history)
        return index[index >= 0]
