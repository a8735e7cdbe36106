"""What learns and acts: actor, critic, noise, the DDPG agent, and the recommender made from it.

The parts with a theme of their own are found here too: networks (`actor_critic.py`), vectors and
states (`states.py`), replay (`replay.py`), environments (`environment.py`, `strangers.py`).

Sources: Liu et al., arXiv 1810.12027 (DRR); Lillicrap et al., arXiv 1509.02971 (DDPG); Fujimoto &
Gu, arXiv 2106.06860 (an imitation term beside Q).

B = batch, n = length of the memory, k = width of the vectors. Index n_items is padding, n_users
anonymous.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import platform
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from actor_critic import Actor, AnyState, Critic, OUNoise
from bandits import GaussianLikes
from checkpoint import Interruptible, load_checkpoint, save_checkpoint
from environment import LoggedSessions, Moments, RecommendationEnv, paper_reward
from replay import Observation, PrioritizedReplayBuffer, ReplayBuffer, SumTree, Transitions
from sequence import Cooccurrence, DRRseq, FullSoftmax, Window, Windows
from states import (
    ALS,
    PMF,
    STATES,
    DRRatt,
    DRRave,
    DRRp,
    DRRu,
    State,
    initialise_linear,
    rows,
)
from strangers import (
    Likes,
    LikesLoss,
    LikesRidge,
    OwnSessions,
    StrangerSessions,
    in_two_circles,
    no_profile,
)
from utils import POSITIVE, Histories, IdMap, Interactions, fingerprint

__all__ = [
    "PMF",
    "Actor",
    "Critic",
    "OUNoise",
    "STATES",
    "Cooccurrence",
    "DRRatt",
    "DRRave",
    "DRRp",
    "DRRseq",
    "DRRu",
    "IdMap",
    "Interruptible",
    "LoggedSessions",
    "Moments",
    "Observation",
    "PrioritizedReplayBuffer",
    "RecommendationEnv",
    "ReplayBuffer",
    "State",
    "SumTree",
    "Transitions",
    "Window",
    "Windows",
    "load_checkpoint",
    "paper_reward",
    "save_checkpoint",
]


# ---------------------------------------------------------------------------- the agent


MAX_GRADIENT_NORM = 1.0


@dataclass(frozen=True)
class Settings:
    """All that decides what an agent becomes. Saved with the weights."""

    state: str = "ave"  # p, u, ave, att, seq, set or likes
    k: int = 100  # width of the vectors
    n: int = 5  # films in the memory
    hidden: int = 256  # width of the actor's and critic's layers
    vectors: str = "tuned"  # "tuned": start from given ones, learn on; "frozen": stay; "random"
    # stage 1: imitation
    imitation_updates: int = 4000
    imitation_lr: float = 1e-3  # the peak: 5 % warm-up, then linearly down to 0
    # the next film of the log; any film a person "likes"; "own": the likes, in own sessions
    imitate: str = "next"
    hit: float = 3.0  # own: weight of showing any film that is liked beside showing them all
    vectors_lr: float = 1.0  # learning rate of the film vectors, as a share of the others'
    demonstrations: int = 512  # moments in a batch (seq: films in the windows of a batch)
    # stage 2: DDPG
    ddpg_updates: int = 1000
    batch_size: int = 512
    actor_lr: float = 1e-4  # at first, then linearly down to 0
    critic_lr: float = 1e-3
    gamma: float = 0.9
    tau: float = 0.01  # share of the way that the targets move at each update
    cloning: float = 1.0  # weight of the imitation term beside Q; 0 is DDPG as published
    guidance: float = 1.0  # weight of Q; 0 is more imitation, for as long as DDPG would take
    critic_warmup: int = 200  # updates in which the critic learns alone
    critic_dropout: bool = False  # the critic learns with its state's dropout
    trust_pace: float = 1.0  # stage 2: learning rate of the trust in a linear model, a multiple
    unmet: float = 0.0  # own: share of the people whom stage 1 does not meet, and only stage 2 does
    critic: str = "joint"  # or "bilinear", see Critic
    critic_reads: str = "own"  # a state of its "own", or a frozen copy of the warm "actor"'s
    weight_decay: float = 1e-5
    # acting
    sessions: int = 1024  # sessions that step together
    session_memory: int = 0  # films of the memory in sessions, where shorter than n saves time
    horizon: int = 10
    given: float = 3  # own: liked films known at the start; below 1: the share of all rows
    candidates: str = "all"  # own: or only films that the person "rated"
    profile: str = ""  # own: the linear model that reads the person too, see LINEAR
    answer_noise: float = 0.02  # profile "gaussian": variance of what an answer says by chance
    unrated: float = 0.0  # reward of a film that the person never rated
    anonymous_share: float = 0.2
    epsilon: float = 0.1
    ou_sigma: float = 0.0
    # replay
    replay: str = "prioritized"  # or "uniform"
    capacity: int = 200_000
    # how to choose
    evaluate_every: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in {
            "state": tuple(STATES),
            "vectors": ("tuned", "frozen", "random"),
            "replay": ("prioritized", "uniform"),
            "critic_reads": ("own", "actor"),
            "imitate": ("likes", "next", "own"),
            "critic": ("joint", "bilinear"),
            "candidates": ("all", "rated"),
            "profile": tuple(LINEAR),
        }.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {known}, not {getattr(self, name)!r}")
        for name in ("k", "n", "hidden", "sessions", "batch_size", "horizon"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.capacity < self.sessions:
            raise ValueError("capacity must be at least sessions: a step stores one row for each")
        if not (self.guidance or self.cloning):
            raise ValueError("guidance and cloning are both 0: the actor would learn nothing")
        if self.profile and (
            (self.state, self.imitate) != ("set", "own") or self.vectors == "random"
        ):
            raise ValueError(
                "only DRR-set that imitates its own sessions, started from given vectors, "
                "reads a profile"
            )
        if not 0 <= self.unmet < 1 or (self.unmet and self.imitate != "own"):
            raise ValueError(
                f"unmet must be 0 or more and below 1, 0 unless imitate is 'own', not {self.unmet}"
            )
        if self.trust_pace != 1 and not self.profile:
            raise ValueError("trust_pace must be 1 without a profile: there is nothing to trust")
        if self.session_memory not in (0, self.n) and self.state != "seq":
            raise ValueError(f"DRR-{self.state} reads n films: session_memory must be 0")


Environment = LoggedSessions | StrangerSessions
Start = PMF | Cooccurrence  # what vectors may start from: PMF; for seq and set Cooccurrence
# what a profile comes from; of people whom the agent knows: pmf, als
LINEAR = {
    "": type(None),
    "pmf": PMF,
    "als": ALS,
    "ridge": LikesRidge,
    "gaussian": GaussianLikes,
}


def build_state(
    settings: Settings, n_users: int, n_items: int, generator: torch.Generator, start: Start | None
) -> AnyState:
    """A state representation; its vectors come from `start` unless the settings say otherwise."""
    state = STATES[settings.state](n_users, n_items, settings.k, settings.n)
    state.initialise(generator)
    if settings.vectors != "random":
        if start is None:
            raise ValueError(f"vectors={settings.vectors!r} needs vectors to start from")
        linear = getattr(start, "linear", None)
        if type(linear) is not LINEAR[settings.profile]:
            raise ValueError(f"profile={settings.profile!r} does not fit the start that is given")
        state.start_from(start)
    if settings.vectors == "frozen":
        for name, parameter in state.named_parameters():
            if "vectors" in name:
                parameter.requires_grad_(False)
    return state


Demonstration = Window | Likes | tuple[Observation, Tensor]


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
        start: Start | None = None,
    ) -> None:
        self.settings, self.n_users, self.n_items = settings, n_users, n_items
        self.generator = torch.Generator().manual_seed(settings.seed)
        parts = settings, n_users, n_items, self.generator, start
        self.actor = Actor(build_state(*parts), settings.hidden).eval()
        self.critic = Critic(build_state(*parts), settings.hidden, settings.critic).eval()
        for part in (self.actor.body, self.critic.read, self.critic.join, self.critic.value):
            initialise_linear(part, self.generator)
        if settings.critic_reads == "actor":
            self.critic.state.requires_grad_(False)
        self.target_actor = copy.deepcopy(self.actor).requires_grad_(False)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.actor_optimizer = self._optimizer(self.actor, settings.imitation_lr)
        self.critic_optimizer = self._optimizer(self.critic, settings.critic_lr)
        self.noise = OUNoise(settings.sessions, self.actor.item_vectors.shape[1], settings.ou_sigma)
        self.imitated, self.updated = 0, 0  # updates made in each stage

    def _optimizer(self, network: nn.Module, lr: float) -> torch.optim.Optimizer:
        """Adam with decoupled weight decay (Loshchilov & Hutter 2019) on all but the vectors.

        A trust with a pace of its own has a group of its own, the last: its decay, too, would be
        that much faster, so it has none.
        """
        named = [(n, p) for n, p in network.named_parameters() if p.requires_grad]
        vectors, trust = ([p for n, p in named if part in n] for part in ("vectors", "trust"))
        if self.settings.trust_pace == 1:
            trust = []
        special = {id(p) for p in (*vectors, *trust)}
        decay, pace = self.settings.weight_decay, self.settings.vectors_lr
        groups = [
            {"params": [p for _, p in named if id(p) not in special], "weight_decay": decay},
            {"params": vectors, "weight_decay": 0.0},
            {"params": trust, "weight_decay": 0.0},
        ]
        for group, share in zip(groups, (1.0, pace, 1.0), strict=True):
            group |= {"lr": lr * share, "pace": share}
        return torch.optim.AdamW([g for g in groups if g["params"]], betas=(0.9, 0.98), fused=True)

    def play(self, log: Interactions) -> tuple[Environment, Moments | Windows | OwnSessions]:
        """The environment and the stream of demonstrations that this agent learns from."""
        settings, state = self.settings, self.actor.state
        if settings.imitate == "own":
            return self._own_sessions(log)
        sessions = LoggedSessions(
            log,
            self.actor.item_vectors,
            sessions=settings.sessions,
            n=settings.session_memory or settings.n,
            horizon=settings.horizon,
            unrated=settings.unrated,
            anonymous_share=settings.anonymous_share,
            reads_from=state.reads_from,
            generator=torch.Generator().manual_seed(settings.seed + 1),
        )
        if settings.state != "seq":
            return sessions, Moments(sessions, settings.imitate, settings.demonstrations)
        generator = torch.Generator().manual_seed(settings.seed + 2)
        return sessions, Windows(log, settings.n, settings.demonstrations, generator)

    def _own_sessions(self, people: Interactions) -> tuple[StrangerSessions, OwnSessions]:
        settings = self.settings
        first, later = in_two_circles(people, settings.unmet, settings.seed)
        played, imitated, at_last = (
            self.sessions_with(met, torch.Generator().manual_seed(settings.seed + stream))
            for stream, met in ((1, later), (2, first), (3, later))
        )
        return played, OwnSessions(
            imitated,
            lambda seen: self.explore(self.act(seen)),
            at_last if settings.unmet else None,
            lambda: self.imitated >= settings.imitation_updates,
        )

    def sessions_with(self, people: Interactions, generator: torch.Generator) -> StrangerSessions:
        """Sessions of this agent's own with people it does not know."""
        settings = self.settings
        return StrangerSessions(
            people,
            self.actor.item_vectors,
            sessions=settings.sessions,
            n=settings.n,
            horizon=settings.horizon,
            given=settings.given,
            candidates=settings.candidates,
            profile=getattr(self.actor.state, "profile", no_profile),
            generator=generator,
        )

    def memory(self) -> ReplayBuffer:
        """An empty replay buffer of the kind that the settings name."""
        settings = self.settings
        width, rejections = settings.session_memory or settings.n, settings.imitate == "own"
        nobody = torch.zeros(1, 1, dtype=torch.int64)
        read = getattr(self.actor.state, "profile", no_profile)
        profile = read(Histories(nobody[0], nobody, nobody.float())).shape[1]
        if settings.replay == "uniform":
            return ReplayBuffer(settings.capacity, width, rejections, profile)
        # beta reaches 1 with the last update, whatever the budget
        anneal = max(1, settings.ddpg_updates)
        return PrioritizedReplayBuffer(
            settings.capacity, width, anneal=anneal, rejections=rejections, profile=profile
        )

    # -- acting

    @torch.no_grad()
    def act(self, observation: Observation) -> Tensor:
        """The action the agent thinks best, float32 [B, k]."""
        return self.actor(observation)

    @torch.no_grad()
    def explore(self, action: Tensor) -> Tensor:
        """Add Ornstein-Uhlenbeck noise, and with probability epsilon aim at a random film.

        An aim need not hit: where a linear model's vectors are long beside the agent's own and
        share a direction, most aims end at a well-known film (the ridge on ML-1M: 7 % hit, 84 %
        without it; the Gaussian there: 90 %, but 3 % of short actions). Aims made of its own
        columns alone hit, and trained no better with the ridge: .416 against .417 at T = 40 on
        validation people, one seed.
        """
        if self.settings.ou_sigma:
            action = action + self.noise.sample(self.generator)
        film = torch.randint(self.n_items, (len(action),), generator=self.generator)
        aim = self.actor.item_vectors[film]
        if self.actor.state.is_action:  # as long as the action was, and its bias counts once
            length = action[:, :-1].norm(dim=1, keepdim=True)
            aim = F.pad(F.normalize(aim[:, :-1]) * length, (0, 1), value=1.0)
        random = torch.rand(len(action), generator=self.generator) < self.settings.epsilon
        return torch.where(random.unsqueeze(1), aim, action)

    def score(self, histories: Histories) -> Tensor:
        """Scores of all films from what people rated -> float32 [B, n_items]."""
        return self.actor.score(histories)

    # -- stage 1: imitation

    def imitation_loss(self, demonstration: Demonstration) -> Tensor:
        """Cross-entropy of what people rated next, or liked, among all films."""
        if isinstance(demonstration, Likes):
            moment, hit = demonstration, self.settings.hit
            action = self.actor(moment.observation)
            vectors = self.actor.item_vectors
            return LikesLoss.apply(action, vectors, moment.wanted, moment.barred, hit)
        if isinstance(demonstration, Window):
            there = demonstration.following < self.n_items  # (B, L)
            action = self.actor.state.sequence(demonstration.items)[there]
            item = demonstration.following[there]
        else:
            observation, item = demonstration
            action = self.actor(observation)
        return FullSoftmax.apply(action, self.actor.item_vectors, item)

    def imitate(self, demonstration: Demonstration) -> dict[str, float]:
        """One update of the warm start: do as people did."""
        done = self.imitated / self.settings.imitation_updates
        pace = min(done / 0.05, (1 - done) / 0.95)
        self._set_lr(self.actor_optimizer, self.settings.imitation_lr * max(pace, 0.01))
        self.actor.train()
        loss = self.imitation_loss(demonstration)
        self._descend(self.actor_optimizer, loss)
        self.actor.eval()
        self.imitated += 1
        return {"imitation": float(loss.detach())}

    # -- stage 2: DDPG

    def start_ddpg(self) -> None:
        """Between the stages: targets start from the warm actor, and so does a critic's copy."""
        if self.settings.trust_pace != 1:
            self.actor_optimizer.param_groups[-1]["pace"] = self.settings.trust_pace
        self._set_lr(self.actor_optimizer, self.settings.actor_lr)
        self.target_actor.load_state_dict(self.actor.state_dict())
        if self.settings.critic_reads == "actor":
            self.critic.state.load_state_dict(self.actor.state.state_dict())
            self.target_critic.load_state_dict(self.critic.state_dict())

    def targets(self, batch: Transitions) -> Tensor:
        """y = r + gamma (1 - terminated) Q'(s', pi'(s')), float32 [B]."""
        with torch.no_grad():
            after = batch.next_observation
            action = self.target_actor(after)
            film = self.target_actor.expected_film(action, self.target_critic.item_vectors, after)
            following = self.target_critic(after, film)
            return batch.reward + self.settings.gamma * (~batch.terminated) * following

    def update(
        self, batch: Transitions, weights: Tensor, demonstration: Demonstration
    ) -> tuple[dict[str, float], Tensor]:
        """One update of stage 2: critic, actor, targets -> (losses, TD errors [B]).

        weights: importance weights of the batch, float32 [B].
        demonstration: what people rated next, for the imitation term.
        """
        film = rows(self.critic.item_vectors, batch.item)  # (B, k)
        self.critic.train(self.settings.critic_dropout)
        td_error = self.critic(batch.observation, film) - self.targets(batch)
        self.critic.eval()
        critic_loss = (weights * td_error.square()).mean()
        self._descend(self.critic_optimizer, critic_loss)

        losses = {"critic": float(critic_loss.detach())}
        left = 1 - self.updated / max(1, self.settings.ddpg_updates)
        self._set_lr(self.actor_optimizer, self.settings.actor_lr * max(left, 0.0))
        if self.updated >= self.settings.critic_warmup:
            losses |= self._improve_actor(batch.observation, demonstration)
        self._move_targets()
        self.updated += 1
        return losses, td_error.detach()

    def _improve_actor(
        self, observation: Observation, demonstration: Demonstration
    ) -> dict[str, float]:
        """-guidance Q / mean |Q| + cloning imitation (Fujimoto & Gu, arXiv 2106.06860)."""
        settings, losses, loss = self.settings, {}, 0.0
        if settings.guidance:
            q = self.q_of_policy(observation)
            loss = -settings.guidance * q.mean() / q.detach().abs().mean().clamp(min=1e-6)
            losses["q"] = float(q.detach().mean())
        if settings.cloning:
            self.actor.train()
            loss = loss + settings.cloning * self.imitation_loss(demonstration)
            self.actor.eval()
        self._descend(self.actor_optimizer, loss)
        return losses | {"actor": float(loss.detach())}

    def q_of_policy(self, observation: Observation) -> Tensor:
        """Q of the film that the actor would recommend, differentiable in the actor -> [B]."""
        action = self.actor(observation)
        film = self.actor.expected_film(action, self.critic.item_vectors.detach(), observation)
        return self.critic(observation, film)

    def _set_lr(self, optimizer: torch.optim.Optimizer, lr: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = lr * group["pace"]

    def _descend(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT_NORM, foreach=True)
        optimizer.step()

    # -- checkpoints

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._parts().items()} | {
            "generator": self.generator.get_state(),
            "noise": self.noise.x,
            "counts": [self.imitated, self.updated],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        state = copy.deepcopy(state)  # Adam would go on writing into the moments it is given
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.generator.set_state(state["generator"])
        self.noise.x = state["noise"]
        self.imitated, self.updated = state["counts"]

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
        except OSError as error:
            raise ValueError(f"{folder} holds no released agent: {error}") from None
        except (ValueError, SafetensorError) as error:  # neither JSON nor UTF-8; not safetensors
            raise ValueError(f"{folder} is damaged: {error}") from None
        found = config.get("format") if isinstance(config, dict) else None
        if found != FORMAT:
            raise ValueError(f"{folder} has format {found}, this code reads {FORMAT}")
        if config.get("weights_sha256") != _sha256(folder / "weights.safetensors"):
            raise ValueError(f"{folder} mixes the weights of one save with the config of another")
        try:
            settings = Settings(**config["settings"])
            n_users, ids = config["n_users"], IdMap(np.array(config["item_ids"]))
            state = STATES[settings.state](n_users, len(ids), settings.k, settings.n)
            if settings.profile == "ridge":
                films = weights["state.linear.film_vectors"]
                state.attach(LikesRidge(films, weights["state.linear.prior_vectors"]))
            elif settings.profile == "gaussian":
                films = weights["state.item_vectors.weight"][:-1, settings.k : -1]
                noise = weights["state.linear.noise"]
                state.attach(GaussianLikes(films[:, -1], films[:, :-1], noise))
            actor = Actor(state, settings.hidden)
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise ValueError(f"the config in {folder} is damaged: {reason}") from None
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
        config = self.config | {
            "format": FORMAT,
            "item_ids": self._ids.ids.tolist(),
            "weights_sha256": _sha256(folder / "weights.tmp"),
        }
        text = json.dumps(config, indent=1, ensure_ascii=False)
        (folder / "config.tmp").write_text(text + "\n", encoding="utf-8")
        os.replace(folder / "weights.tmp", folder / "weights.safetensors")
        os.replace(folder / "config.tmp", folder / "config.json")

    def score(self, histories: Histories) -> Tensor:
        """The form every evaluation takes: histories by index -> float32 [B, n_items]."""
        return self.actor.score(histories)

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
        known = index[index >= 0].tolist()
        return torch.tensor(list(dict.fromkeys(reversed(known)))[::-1])  # the latest of repeats

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


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def release(
    agent: DDPG,
    log: Interactions,
    folder: str | Path,
    *,
    dataset: str,
    command: str,
    protocol: str,
    metrics: dict[str, Any],
) -> Recommender:
    """Write the agent's actor to `folder` with all that is needed to use, check and remake it.

    log: the interactions it was trained on. metrics, protocol: what was measured, and how.
    ValueError for an agent that reads PMF or ALS: these know people, and are not kept.
    """
    if agent.settings.profile in ("pmf", "als"):
        raise ValueError("an agent that reads a profile of people it knows is not released")
    positives = torch.bincount(log.item[log.rating >= POSITIVE], minlength=log.n_items)
    config = {
        "format": FORMAT,
        "dataset": dataset,
        "settings": asdict(agent.settings),
        "protocol": protocol,
        "metrics": metrics,
        "command": command,
        "fingerprint": fingerprint(log),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "n_users": log.n_users,  # the index of somebody unknown
        "n_people": int((log.offsets.diff() > 0).sum()),  # who have rows to train on
        "item_ids": log.item_ids.ids.tolist(),
        "positive_counts": positives.tolist(),
    }
    recommender = Recommender(agent.actor, log.item_ids, config)
    recommender.save(folder)
    card = Path(folder) / "README.md"
    card.write_text(model_card(config, Path(folder).name), encoding="utf-8")
    return recommender


def model_card(config: dict[str, Any], name: str) -> str:
    """What the agent is for, what it was trained on, how good it is, in Markdown."""
    settings = config["settings"]
    rows = "\n".join(f"| {metric} | {value} |" for metric, value in config["metrics"].items())
    return f"""# {name}

A DDPG agent with the state DRR-{settings["state"]}, trained on MovieLens ({config["dataset"]}):
films that someone liked go in, films they may like come out. Read it with
`classes.Recommender.load`.

- Made by: `{config["command"]}`, seed {settings["seed"]}, PyTorch {config["versions"]["torch"]}
- Trained on: {len(config["item_ids"]):,} films, {config["n_people"]:,} people
- Training rows, SHA-256: `{config["fingerprint"]}`
- Judged by: {config["protocol"]}

| metric | value |
|---|---|
{rows}

Not for commercial use: the weights derive from MovieLens, whose licence forbids it. People who rate
on MovieLens are not everybody, and the films end where the data set does. Cite F. M. Harper and
J. A. Konstan, The MovieLens Datasets, ACM TiiS 5(4), 2015.
"""
