"""The DDPG agent.

Sources: Liu et al., arXiv 1810.12027 (DRR); Lillicrap et al., arXiv 1509.02971 (DDPG); Allen et
al., arXiv 1709.00503 (Mean Actor-Critic: the expected policy gradient of a discrete choice);
Fujimoto & Gu, arXiv 2106.06860 (a supervised term beside Q). `docs/method.md` lists every
deviation.

B = batch, k = width of the vectors, V = n_items, or candidates where the histories have some.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys_rl.agent.config import OWN_DROPOUT, Config, StateConfig
from recsys_rl.agent.demonstrations import Demonstration
from recsys_rl.agent.exploration import OUNoise, epsilon_sampled, session_epsilons
from recsys_rl.agent.networks import Actor, Critic, ItemCritic
from recsys_rl.agent.replay import Transitions
from recsys_rl.agent.saved_states import load_optimizer
from recsys_rl.data import ranks
from recsys_rl.data.candidates import items_at
from recsys_rl.data.devices import (
    CPU,
    figure,
    generator_on,
    on_cpu,
    optimizer_options,
    products,
    read_every,
    resolved,
    set_state,
)
from recsys_rl.data.histories import Histories
from recsys_rl.envs.base import best_item
from recsys_rl.states.base import State
from recsys_rl.states.linear import GatedLinear, LinearModel
from recsys_rl.states.registry import STATES

CRITIC_LR = 1e-3
WARMUP = 0.25  # share of the DDPG updates in which the critic learns alone
MAX_GRADIENT_NORM = 1.0
HELP = "a smaller learning rate may help"
Losses = dict[str, float | Tensor]  # a tensor where reading it would wait: `devices.figure`


class Diverged(RuntimeError):
    """A loss, a gradient, a score or a reward is NaN or infinite."""


class Choice(NamedTuple):
    """What an exploring agent shows.

    greedy: whether the policy itself would show it. action: the vector that led to it, where the
    agent learns from it.
    """

    item: Tensor  # int64 [B]
    greedy: Tensor  # bool [B]
    action: Tensor | None = None  # float32 [B, w]


def new_state(config: StateConfig, n_users: int, n_items: int) -> State:
    """The state that a configuration names, its numbers still to come; ValueError for others."""
    if config.name not in STATES:
        raise ValueError(f"there is no state {config.name!r}: choose among {list(STATES)}")
    state = STATES[config.name](n_users, n_items, config.k, config.n)
    state.noise = config.noise
    if config.dropout != OWN_DROPOUT:
        if not state.has_dropout:
            raise ValueError(
                f"state.dropout is for states that have one, and {config.name} has none: set it to "
                f"{OWN_DROPOUT:g}"
            )
        state.dropout.p = config.dropout
    return state


class DDPG:
    """Deep deterministic policy gradient over lists of items, with a supervised term beside Q.

    The critic learns the value of the item that was shown, not of the vector that was emitted: many
    vectors lead to the same item, the reward depends on the item alone, and Q over vectors would be
    a staircase whose gradient is zero almost everywhere. The actor climbs the expectation of Q
    under the softmax of its scores, which the field calls an expected policy gradient, or Mean
    Actor-Critic. The paper's own form is in `agent/vector.py`.

    Actor and critic each read the histories through a state representation of their own.

    embeddings: what the state's vectors start from; linear: a model of the user that the state
    reads. Both are fitted on the train rows by whoever builds the agent (`agent.build`).
    """

    keeps_action = False  # whether the replay holds the emitted vectors
    critic_lr = CRITIC_LR
    warmup = WARMUP
    temperature = 1.0  # of the softmax that exploring items are sampled from

    def __init__(
        self,
        config: Config,
        n_users: int,
        n_items: int,
        embeddings: Any = None,
        linear: LinearModel | None = None,
    ) -> None:
        self.config, self.n_users, self.n_items = config, n_users, n_items
        self.embeddings, self.linear_model = embeddings, linear
        self.device = resolved(config.device)
        self.generator = generator_on(self.device, config.seed)
        # weights, and the places of dropout's masks, are drawn on the CPU
        here = on_cpu(self.device)
        self.own_generator = self.generator if here else generator_on(CPU, config.seed)
        self.failed = torch.zeros((), dtype=torch.bool, device=self.device)
        self.actor = self.new_actor(config, self._state(), self._linear()).eval()
        self.critic = self._critic()
        self.actor.initialise(self.own_generator)
        self.critic.initialise(self.own_generator)
        self.actor.to(self.device)
        self.critic.to(self.device)
        self.target_actor = copy.deepcopy(self.actor).requires_grad_(False)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.actor_optimizer = self.new_optimizer(self.actor, config.pretrain.lr)
        self.critic_optimizer = self.new_optimizer(self.critic, self.critic_lr)
        self.pretrained = self.updated = 0  # updates made in each stage

    def _state(self) -> State:
        config = self.config.state
        state = new_state(config, self.n_users, self.n_items)
        state.initialise(self.own_generator)
        if config.embeddings == "pretrained":
            if self.embeddings is None:
                raise ValueError('state.embeddings="pretrained" needs embeddings')
            state.start_from(self.embeddings)
        return state

    def _linear(self) -> GatedLinear | None:
        if self.linear_model is None:
            return None
        return GatedLinear(self.linear_model, self.config.state.n, self.generator)

    def _critic(self) -> Critic:
        critic = self.new_critic(self._state(), self._linear()).eval()
        if critic.state.critic_copies_actor:
            critic.state.requires_grad_(False)
        return critic

    @staticmethod
    def new_actor(config: Config, state: State, linear: GatedLinear | None) -> Actor:
        return Actor(state, linear)

    def new_critic(self, state: State, linear: GatedLinear | None) -> Critic:
        return ItemCritic(state, linear, self.config.env.horizon, self.config.ddpg.gamma)

    def new_optimizer(self, network: nn.Module, lr: float) -> torch.optim.Optimizer:
        """Adam with decoupled weight decay (Loshchilov & Hutter 2019) on all but vectors and gate.

        The gate has a group of its own, the last: in DDPG it learns faster (`start_ddpg`).
        """
        named = [(n, p) for n, p in network.named_parameters() if p.requires_grad]
        vectors, gate = ([p for n, p in named if part in n] for part in ("vectors", "gate"))
        special = {id(p) for p in (*vectors, *gate)}
        rest = [p for _, p in named if id(p) not in special]
        scale = network.state.embedding_lr_scale
        groups = [
            {"params": rest, "weight_decay": self.config.weight_decay, "lr_scale": 1.0},
            {"params": vectors, "weight_decay": 0.0, "lr_scale": scale},
            {"params": gate, "weight_decay": 0.0, "lr_scale": 1.0},
        ]
        groups = [group | {"lr": lr * group["lr_scale"]} for group in groups if group["params"]]
        options = optimizer_options(self.device)
        return torch.optim.AdamW(groups, betas=(0.9, 0.98), **options)

    # -- acting

    def score(self, histories: Histories) -> Tensor:
        """Scores of all items -> float32 [B, V], on the agent's device, wherever histories are."""
        return self.actor.score(histories.to(self.device))

    @torch.no_grad()
    def act(self, histories: Histories, excluded: Tensor) -> Tensor:
        """The best item that is not excluded (bool [B, V]) -> int64 [B]."""
        best = best_item(self.score(histories).to(excluded.device), excluded)
        return items_at(histories.candidates, best)

    def new_noise(self, sessions: int) -> OUNoise | None:
        """Ornstein-Uhlenbeck noise for sessions that start now, where the configuration asks."""
        sigma = self.config.ddpg.ou_sigma
        return OUNoise(sessions, self.config.state.k, sigma, device=self.device) if sigma else None

    @torch.no_grad()
    def explore(
        self, histories: Histories, excluded: Tensor, noise: OUNoise | None = None
    ) -> Choice:
        """In a share of the steps, another for each session, an item sampled from the policy.

        noise: moves the action, but no constant column, which is no choice of the actor's. Agents
        that learn from the action explore by noise alone.
        """
        scores = self.actor.score(histories)
        fine = scores.sum().isfinite()
        if not on_cpu(fine):
            self.failed |= ~fine
        elif not fine:
            raise Diverged(f"a score is NaN or infinite: {HELP}")
        best = item = best_item(scores, excluded)
        action = None
        if noise is not None or self.keeps_action:
            action = self.actor(histories)
        if noise is not None:
            moved = noise.sample(self.generator)
            action = action + F.pad(moved, (0, action.shape[1] - moved.shape[1]))
            item = best_item(self.actor.scores(histories, action), excluded)
        if not self.keeps_action:  # the vector must have led to the item
            epsilon = session_epsilons(len(item), self.config.ddpg.epsilon, item.device)
            item = epsilon_sampled(
                item, scores / self.temperature, excluded, epsilon, self.generator
            )
        return Choice(items_at(histories.candidates, item), item == best, action)

    # -- supervised pretraining

    def pretrain(self, demonstration: Demonstration) -> Losses:
        """One update towards what users rated next, or like."""
        config = self.config.pretrain
        done = self.pretrained / config.updates
        share = min(done / 0.05, (1 - done) / 0.95)
        self._set_lr(self.actor_optimizer, config.lr * max(share, 0.01))
        self.actor.train()
        loss = self._demonstrated(demonstration)
        self.actor.eval()
        loss = self.descend(self.actor_optimizer, loss)
        self.pretrained += 1
        return {"pretrain_loss": loss}

    def _demonstrated(self, demonstration: Demonstration) -> Tensor:
        with products(self.device, self.config.precision):
            loss = demonstration.loss(self.actor)
        return ranks.weighted(loss, lambda: demonstration.rows(self.n_items))

    # -- DDPG

    def start_ddpg(self) -> None:
        """Between the stages: targets start from the pretrained actor, and so a critic's copy."""
        if self.actor.linear is not None:
            self.actor_optimizer.param_groups[-1]["lr_scale"] = self.actor.linear.lr_scale
        self._set_lr(self.actor_optimizer, self.config.ddpg.actor_lr)
        self.target_actor.load_state_dict(self.actor.state_dict())
        if self.critic.state.critic_copies_actor:
            self.critic.state.load_state_dict(self.actor.state.state_dict())
            self.target_critic.load_state_dict(self.critic.state_dict())

    @property
    def warm(self) -> bool:
        """Whether the actor learns in the next update, and no longer the critic alone."""
        return self.updated >= self.warmup * self.config.ddpg.updates

    @property
    def supervised(self) -> bool:
        """Whether the next update needs a demonstration."""
        return self.warm and self.config.ddpg.bc_weight > 0

    def update(
        self, batch: Transitions, weights: Tensor, demonstration: Demonstration | None
    ) -> tuple[Losses, Tensor]:
        """One update of critic, actor and targets -> (losses, TD errors [B]).

        weights: importance weights of the batch, float32 [B]. demonstration: for the supervised
        term, where the agent is `supervised`.
        """
        batch = batch._replace(histories=self.actor.read(batch.histories))
        updates = self.config.ddpg.updates
        left = max(0.0, 1 - self.updated / max(1, updates))  # learning rates fall to 0
        self._set_lr(self.critic_optimizer, self.critic_lr * left)
        self._set_lr(self.actor_optimizer, self.config.ddpg.actor_lr * left)
        losses, td_error = self.improve_critic(batch, weights)
        if self.warm:
            losses |= self.improve_actor(batch.histories, demonstration)
        self._move_targets()
        self.updated += 1
        return losses, td_error

    @torch.no_grad()
    def targets(self, batch: Transitions) -> Tensor:
        """y = r + gamma^m Q'(s', the item that the target actor shows), float32 [B].

        r: the rewards of m steps, s' the state after them, see `Transitions`.
        """
        y = batch.reward.clone()
        if not on_cpu(y):
            after = self.target_actor.read(batch.next_histories)
            return y + batch.discount * self.target_value(after)
        going_on = (batch.discount > 0).nonzero().squeeze(1)
        if len(going_on):
            after = self.target_actor.read(batch.next_histories.at(going_on))
            y[going_on] += batch.discount[going_on] * self.target_value(after)
        return y

    @torch.no_grad()
    def q(self, histories: Histories, item: Tensor) -> Tensor:
        """Q of items int64 [B] that are shown now -> float32 [B], for evaluations."""
        return self.critic(histories.to(self.device), item.to(self.device))

    def target_value(self, histories: Histories) -> Tensor:
        """Q' of what the target actor does -> float32 [B]."""
        return self.target_critic(histories, self.target_actor.best(histories))

    def q_taken(self, batch: Transitions) -> Tensor:
        """Q of what was done -> float32 [B]."""
        return self.critic(batch.histories, batch.item)

    def improve_critic(self, batch: Transitions, weights: Tensor) -> tuple[Losses, Tensor]:
        """Weighted squared TD error over the steps left; dropout where the critic's state learns.

        The variance of a return grows with the steps that are left: without the division the last
        steps of a session would hardly count.
        """
        self.critic.train(not self.critic.state.critic_copies_actor)
        td_error = self.q_taken(batch) - self.targets(batch)
        self.critic.eval()
        loss = (weights * td_error.square() / self.critic.left(batch.histories)).mean()
        loss = self.descend(self.critic_optimizer, ranks.weighted(loss, lambda: len(weights)))
        return {"critic_loss": loss}, td_error.detach()

    def improve_actor(self, histories: Histories, demonstration: Demonstration | None) -> Losses:
        """Policy gradient + bc_weight x supervised loss (Fujimoto & Gu, arXiv 2106.06860)."""
        with products(self.device, self.config.precision):
            loss, figures = self.policy_loss(histories)
        loss = ranks.weighted(loss, lambda: len(histories))
        if self.supervised:
            self.actor.train()
            loss = loss + self.config.ddpg.bc_weight * self._demonstrated(demonstration)
            self.actor.eval()
        return figures | {"actor_loss": self.descend(self.actor_optimizer, loss)}

    def policy_loss(self, histories: Histories) -> tuple[Tensor, Losses]:
        """-E A / spread, A = Q - E Q under the softmax of the scores, and its figures.

        The spread is the standard deviation of Q over all items, the mean over the batch: so a step
        is as long whatever gamma is.
        """
        policy = self.actor.policy(histories)  # (B, V)
        q = self.critic.preferences(histories)
        with torch.no_grad():
            spread = ranks.mean(q.std(1).mean(), len(q)).clamp(min=1e-6)
            advantage = q.sub_((policy * q).sum(1, keepdim=True))
            entropy = torch.special.entr(policy).sum(1).mean()
        loss = -(policy * advantage).sum(1).mean() / spread
        return loss, {"q_spread": figure(spread), "entropy": figure(entropy)}

    def pairs(self) -> dict[str, tuple[nn.Module, nn.Module]]:
        """Every network that learns, with the target that follows it."""
        return {
            "actor": (self.actor, self.target_actor),
            "critic": (self.critic, self.target_critic),
        }

    def _move_targets(self) -> None:
        for source, target in self.pairs().values():
            with torch.no_grad():
                torch._foreach_lerp_(
                    list(target.parameters()), list(source.parameters()), self.config.ddpg.tau
                )

    # -- one step down

    def _set_lr(self, optimizer: torch.optim.Optimizer, lr: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = lr * group["lr_scale"]

    def descend(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> float | Tensor:
        """One step down the gradient, the average over ranks -> the loss, likewise.

        Raises Diverged, and changes nothing, where loss or gradient is no number. Off the CPU it is
        `check` that raises, later; but nothing changes from the first such loss on, since the
        optimizer itself skips the steps (`found_inf`, made for mixed precision).
        """
        optimizer.zero_grad()
        loss.backward()
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        value = ranks.averaged(parameters, loss.detach())
        norm = nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT_NORM)
        fine = torch.isfinite(norm + value)
        if read_every(self.device) == 1:
            if not fine:
                raise Diverged(f"the loss is {float(value)} and its gradient {float(norm)}: {HELP}")
        else:
            self.failed |= ~fine
            optimizer.found_inf = self.failed.float()
        optimizer.step()
        return figure(value)

    def check(self) -> None:
        """Raises Diverged where something has `failed` to be a number.

        Whoever keeps an agent's weights calls it before: see `agent.training.train`.
        """
        if self.failed:
            what = "a loss, a gradient, a score or a reward"
            raise Diverged(f"{what} was NaN or infinite shortly before: {HELP}")

    # -- what a checkpoint keeps

    def state_dict(self) -> dict[str, Any]:
        streams = {"generator": self.generator.get_state()}
        if self.own_generator is not self.generator:
            streams["own_generator"] = self.own_generator.get_state()
        states = {name: part.state_dict() for name, part in self._parts().items()}
        return states | streams | {"counts": [self.pretrained, self.updated]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if min(state["counts"]) < 0:
            raise ValueError(f"updates that were made are counted, not {state['counts']}")
        state = copy.deepcopy(state)  # Adam would go on writing into the moments it is given
        for name, part in self._parts().items():
            if isinstance(part, torch.optim.Optimizer):
                load_optimizer(part, state[name])
            else:
                part.load_state_dict(state[name])
        set_state(self.own_generator, state.get("own_generator", state["generator"]))
        set_state(self.generator, state["generator"])
        self.pretrained, self.updated = state["counts"]

    def _parts(self) -> dict[str, Any]:
        parts: dict[str, Any] = {}
        for name, (source, target) in self.pairs().items():
            optimizer = getattr(self, f"{name}_optimizer")
            parts |= {name: source, f"target_{name}": target, f"{name}_optimizer": optimizer}
        return parts
