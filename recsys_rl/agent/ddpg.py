"""The DDPG agent.

Sources: Liu et al., arXiv 1810.12027 (DRR); Lillicrap et al., arXiv 1509.02971 (DDPG); Fujimoto &
Gu, arXiv 2106.06860 (a supervised term beside Q). `docs/method.md` lists every deviation.

B = batch, k = width of the vectors, V = n_items.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys_rl.agent.config import Config
from recsys_rl.agent.demonstrations import Demonstration
from recsys_rl.agent.exploration import OUNoise, epsilon_greedy
from recsys_rl.agent.networks import CRITICS, Actor, Critic
from recsys_rl.agent.replay import Transitions
from recsys_rl.data.histories import Histories
from recsys_rl.envs.base import best_item
from recsys_rl.states.base import State
from recsys_rl.states.linear import GatedLinear, LinearModel
from recsys_rl.states.registry import STATES

MAX_GRADIENT_NORM = 1.0
Losses = dict[str, float]


class Diverged(RuntimeError):
    """A loss, a gradient or a reward is NaN or infinite."""


class DDPG:
    """Deep deterministic policy gradient over lists of items, with a supervised term beside Q.

    The critic learns the value of the item that was shown, not of the vector that was emitted: many
    vectors lead to the same item, the reward depends on the item alone, and Q over vectors would be
    a staircase whose gradient is zero almost everywhere. Actor and critic each read the histories
    through a state representation of their own.

    embeddings: what the state's vectors start from; linear: a model of the user that the state
    reads. Both are fitted on the train rows by whoever builds the agent (`agent.build`).
    """

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
        self.generator = torch.Generator().manual_seed(config.seed)
        self.actor = Actor(self._state(), self._linear()).eval()
        self.critic = self.new_critic()
        self.actor.initialise(self.generator)
        self.critic.initialise(self.generator)
        self.target_actor = copy.deepcopy(self.actor).requires_grad_(False)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.actor_optimizer = self.new_optimizer(self.actor, config.pretrain.lr)
        self.critic_optimizer = self.new_optimizer(self.critic, config.ddpg.critic_lr)
        self.noise = OUNoise(config.env.sessions, config.state.k, config.ddpg.ou_sigma)
        self.pretrained = self.updated = 0  # updates made in each stage

    def _state(self) -> State:
        config = self.config.state
        if config.name not in STATES:
            raise ValueError(f"there is no state {config.name!r}: choose among {list(STATES)}")
        state = STATES[config.name](self.n_users, self.n_items, config.k, config.n)
        state.initialise(self.generator)
        if config.embeddings != "random":
            if self.embeddings is None:
                raise ValueError(f'state.embeddings="{config.embeddings}" needs embeddings')
            state.start_from(self.embeddings)
        if config.embeddings == "frozen":
            for name, parameter in state.named_parameters():
                parameter.requires_grad_("vectors" not in name)
        return state

    def _linear(self) -> GatedLinear | None:
        if self.linear_model is None:
            return None
        return GatedLinear(self.linear_model, self.config.state.n, self.generator)

    def new_critic(self) -> Critic:
        state = self._state()
        critic = CRITICS[state.critic](state, self._linear()).eval()
        if state.critic_copies_actor:
            critic.state.requires_grad_(False)
        return critic

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
        return torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)

    # -- acting

    def score(self, histories: Histories) -> Tensor:
        """Scores of all items -> float32 [B, V]."""
        return self.actor.score(histories)

    @torch.no_grad()
    def act(self, histories: Histories, excluded: Tensor) -> Tensor:
        """The best item that is not excluded (bool [B, V]) -> int64 [B]."""
        return best_item(self.actor.scores(histories), excluded)

    @torch.no_grad()
    def explore(self, histories: Histories, excluded: Tensor) -> Tensor:
        """Ornstein-Uhlenbeck noise on the action, and a share epsilon of random items."""
        action, config = self.actor(histories), self.config.ddpg
        if config.ou_sigma:  # not on a bias, which is no choice of the actor's
            noise = self.noise.sample(self.generator)
            action = action + F.pad(noise, (0, action.shape[1] - noise.shape[1]))
        item = best_item(self.actor.scores(histories, action), excluded)
        return epsilon_greedy(item, excluded, config.epsilon, self.generator)

    # -- supervised pretraining

    def pretrain(self, demonstration: Demonstration) -> Losses:
        """One update towards what users rated next, or like."""
        config = self.config.pretrain
        done = self.pretrained / config.updates
        share = min(done / 0.05, (1 - done) / 0.95)
        self._set_lr(self.actor_optimizer, config.lr * max(share, 0.01))
        self.actor.train()
        loss = demonstration.loss(self.actor)
        self.actor.eval()
        self.descend(self.actor_optimizer, loss)
        self.pretrained += 1
        return {"pretrain_loss": float(loss.detach())}

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

    @torch.no_grad()
    def targets(self, batch: Transitions) -> Tensor:
        """y = r + gamma (1 - terminated) E Q'(s', pi'(s')), float32 [B]."""
        after = self.target_actor.read(batch.next_histories)
        following = self.target_critic.expected(after, self.target_actor.policy(after))
        return batch.reward + self.config.ddpg.gamma * (~batch.terminated) * following

    def update(
        self, batch: Transitions, weights: Tensor, demonstration: Demonstration
    ) -> tuple[Losses, Tensor]:
        """One update of critic, actor and targets -> (losses, TD errors [B]).

        weights: importance weights of the batch, float32 [B]. demonstration: for the supervised
        term.
        """
        batch = batch._replace(histories=self.actor.read(batch.histories))
        losses, td_error = self.improve_critic(batch, weights)
        left = 1 - self.updated / max(1, self.config.ddpg.updates)
        self._set_lr(self.actor_optimizer, self.config.ddpg.actor_lr * max(left, 0.0))
        if self.updated >= self.config.ddpg.warmup:
            losses |= self.improve_actor(batch.histories, demonstration)
        self._move_targets()
        self.updated += 1
        return losses, td_error

    def improve_critic(self, batch: Transitions, weights: Tensor) -> tuple[Losses, Tensor]:
        """Weighted squared TD error; dropout where the critic's state learns."""
        self.critic.train(not self.critic.state.critic_copies_actor)
        td_error = self.critic(batch.histories, batch.item) - self.targets(batch)
        self.critic.eval()
        loss = (weights * td_error.square()).mean()
        self.descend(self.critic_optimizer, loss)
        return {"critic_loss": float(loss.detach())}, td_error.detach()

    def improve_actor(self, histories: Histories, demonstration: Demonstration) -> Losses:
        """-E Q / mean |Q| + bc_weight x supervised loss (Fujimoto & Gu, arXiv 2106.06860)."""
        q = self.critic.expected(histories, self.actor.policy(histories))
        loss = -q.mean() / q.detach().abs().mean().clamp(min=1e-6)
        if self.config.ddpg.bc_weight:
            self.actor.train()
            loss = loss + self.config.ddpg.bc_weight * demonstration.loss(self.actor)
            self.actor.eval()
        self.descend(self.actor_optimizer, loss)
        return {"q": float(q.detach().mean()), "actor_loss": float(loss.detach())}

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

    def descend(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        """Raises Diverged, and changes nothing, where loss or gradient is no number."""
        optimizer.zero_grad()
        loss.backward()
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT_NORM, foreach=True)
        if not torch.isfinite(norm + loss.detach()):
            raise Diverged(
                f"the loss is {float(loss.detach())} and its gradient {float(norm)}: "
                "a smaller learning rate may help"
            )
        optimizer.step()

    # -- what a checkpoint keeps

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._parts().items()} | {
            "generator": self.generator.get_state(),
            "noise": self.noise.x,
            "counts": [self.pretrained, self.updated],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        state = copy.deepcopy(state)  # Adam would go on writing into the moments it is given
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.generator.set_state(state["generator"])
        self.noise.x = state["noise"]
        self.pretrained, self.updated = state["counts"]

    def _parts(self) -> dict[str, Any]:
        parts: dict[str, Any] = {}
        for name, (source, target) in self.pairs().items():
            optimizer = getattr(self, f"{name}_optimizer")
            parts |= {name: source, f"target_{name}": target, f"{name}_optimizer": optimizer}
        return parts
