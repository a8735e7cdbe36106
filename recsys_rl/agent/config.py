"""All that decides what an agent becomes."""

from __future__ import annotations

from dataclasses import dataclass

from recsys_rl.baselines.registry import LINEAR
from recsys_rl.states.registry import STATES


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
    trust_put_back: bool = False  # stage 2 starts with the trust of before stage 1
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
        if self.trust_put_back and not self.profile:
            raise ValueError("trust_put_back must be False without a profile: there is no trust")
        if self.session_memory not in (0, self.n) and self.state != "seq":
            raise ValueError(f"DRR-{self.state} reads n films: session_memory must be 0")
