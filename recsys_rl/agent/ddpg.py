"""What learns: the DDPG agent.

The parts with a theme of their own are found here too: settings (`settings.py`), networks
(`actor_critic.py`), vectors and states (`states.py`), replay (`replay.py`), environments
(`environment.py`, `strangers.py`), and the released agent (`recommender.py`).

Sources: Liu et al., arXiv 1810.12027 (DRR); Lillicrap et al., arXiv 1509.02971 (DDPG); Fujimoto &
Gu, arXiv 2106.06860 (an imitation term beside Q).

B = batch, n = length of the memory, k = width of the vectors. Index n_items is padding, n_users
anonymous.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys_rl.agent.config import Settings
from recsys_rl.agent.demonstrations import Likes, Moments, OwnSessions, Window, Windows
from recsys_rl.agent.exploration import OUNoise
from recsys_rl.agent.losses import FullSoftmax, LikesLoss
from recsys_rl.agent.networks import Actor, AnyState, Critic
from recsys_rl.agent.replay import PrioritizedReplayBuffer, ReplayBuffer, Transitions
from recsys_rl.baselines.registry import LINEAR
from recsys_rl.data.interactions import Histories, Interactions
from recsys_rl.data.observation import Observation
from recsys_rl.data.splits import in_two_circles
from recsys_rl.embeddings.batching import rows
from recsys_rl.embeddings.cooccurrence import Cooccurrence
from recsys_rl.embeddings.pmf import PMF
from recsys_rl.envs.cold_start import StrangerSessions
from recsys_rl.envs.logged import LoggedSessions
from recsys_rl.states.base import initialise_linear
from recsys_rl.states.linear import no_profile
from recsys_rl.states.registry import STATES

MAX_GRADIENT_NORM = 1.0


Environment = LoggedSessions | StrangerSessions


Start = PMF | Cooccurrence  # what vectors may start from: PMF; for seq and set Cooccurrence


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

        def sessions(met: Interactions, stream: int) -> StrangerSessions:
            generator = torch.Generator().manual_seed(settings.seed + stream)
            return self.sessions_with(met, generator)

        return sessions(later, 1), OwnSessions(
            sessions(first, 2),
            lambda seen: self.explore(self.act(seen)),
            sessions(later, 3) if settings.unmet else None,
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
        """The action the agent thinks best, float32 [B, width of the film vectors]."""
        return self.actor(observation)

    @torch.no_grad()
    def explore(self, action: Tensor) -> Tensor:
        """Add Ornstein-Uhlenbeck noise, and with probability epsilon aim at a random film.

        An aim need not hit: where a linear model's vectors are long beside the agent's own and
        share a direction, most aims end at a well-known film (DRR-set with the ridge on ML-1M: 7 %
        hit, 84 % without it). Aims made of its own columns alone hit, and trained no better there:
        .416 against .417 at T = 40 on validation people, one seed.
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
        """Cross-entropy of what people rated next, or like, among all films.

        In an agent's own sessions among those that may be shown, and with a term more: `LikesLoss`.
        """
        if isinstance(demonstration, Likes):
            moment, hit = demonstration, self.settings.hit
            action = self.actor(moment.observation)
            films = self.actor.item_vectors, moment.wanted, moment.barred
            return LikesLoss.apply(action, *films, hit, getattr(self.actor.state, "learns", None))
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
        if self.settings.trust_put_back:
            self.actor.state.put_back_trust()
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
