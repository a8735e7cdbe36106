"""From a configuration and train rows to all that a training needs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from recsys_rl.agent import rank_states
from recsys_rl.agent.config import Config
from recsys_rl.agent.ddpg import DDPG
from recsys_rl.agent.demonstrations import (
    Demonstrations,
    LogMoments,
    LogWindows,
    OnPolicyDemonstrations,
)
from recsys_rl.agent.replay import CAPACITY, PrioritizedReplayBuffer, ReplayBuffer
from recsys_rl.agent.soft import SoftDDPG
from recsys_rl.agent.vector import VectorDDPG
from recsys_rl.baselines.registry import LINEAR_MODELS
from recsys_rl.data import ranks
from recsys_rl.data.devices import CPU, generator_on, refuse_precision, resolved
from recsys_rl.data.histories import POSITIVE
from recsys_rl.data.interactions import Interactions
from recsys_rl.data.notes import note
from recsys_rl.data.rewards import Reward
from recsys_rl.data.splits import split_holdout_users
from recsys_rl.embeddings.cooccurrence import Cooccurrence, refuse_likes, refuse_pairs
from recsys_rl.embeddings.pmf import PMF
from recsys_rl.embeddings.rating_factors import RatingFactors
from recsys_rl.envs.base import SessionEnv
from recsys_rl.envs.cold_start import ColdStartEnv
from recsys_rl.envs.logged import LoggedEnv
from recsys_rl.states.base import State
from recsys_rl.states.linear import LinearModel
from recsys_rl.states.registry import STATES

WIDEST = 1000  # item vectors on few items
LINEAR_WIDTH = 256  # components of a linear model
ROUNDS = 20  # of sessions that the replay keeps: returns of several steps age with their policy

COUNTED = "sequence", "likes"  # starts that are made of counts of pairs
GRADIENTS: dict[str, type[DDPG]] = {
    "expected": DDPG,  # of Q over the items
    "soft": SoftDDPG,  # the actor follows the softmax of Q
    "deterministic": VectorDDPG,  # of Q at one vector, as in the paper
}

MakeEnv = Callable[[Interactions, torch.Generator], SessionEnv]


class Training(NamedTuple):
    """What `agent.training.train` takes."""

    agent: DDPG
    environment: SessionEnv
    demonstrations: Demonstrations
    replay: ReplayBuffer


def build(
    config: Config,
    log: Interactions,
    *,
    agent_class: type[DDPG] | None = None,
    make_env: MakeEnv | None = None,
    embeddings: Any = None,
    reward: Reward | None = None,
) -> Training:
    """Embeddings, agent, environment, demonstrations and replay, from train rows alone.

    agent_class: another algorithm with the same methods, in place of the one whose gradient the
    configuration names. make_env: (rows of the users to meet,
    generator) -> environment, in place of the one that the configuration names. reward: a function
    of the stars, in place of the environment's own.
    """
    check(config, log, sessions=make_env is None)
    log = log.to(resolved(config.device))
    first, later = split_holdout_users(log, config.pretrain.holdout_share, config.seed)
    generator = generator_on(CPU, config.seed)
    if embeddings is None:
        embeddings = pretrained_embeddings(config, first, generator)
    linear = linear_model(config, first, generator)
    agent_class = agent_class or GRADIENTS[config.ddpg.gradient]
    agent = agent_class(config, log.n_users, log.n_items, embeddings, linear)
    state, session = agent.actor.state, config.env.n_seed + config.env.horizon
    if config.env.name != "logged" and state.session_items < session:
        raise ValueError(
            f"{config.state.name} keeps {state.session_items} items of a session, and this one has "
            f"{session}: make env.horizon smaller"
        )
    if make_env is None:
        make_env = _maker(config, state, {} if reward is None else {"reward": reward})
    elif reward is not None:
        raise ValueError("give the reward to the environment that make_env makes")
    environment = make_env(later, _stream(config, 1))
    check_limit(config, environment)
    check_device(agent.device, environment)
    environment.sessions = ranks.share(environment.sessions, "env.sessions")
    demonstrations = make_demonstrations(agent, environment, first, log, make_env)
    note_few_backups(config)
    training = Training(agent, environment, demonstrations, make_replay(agent, environment))
    rank_states.begin(training._asdict(), config.seed)
    return training


def check(config: Config, log: Interactions, sessions: bool = True) -> None:
    """Refuse, before anything is trained, what could not be trained: ValueError, in a sentence.

    Names that are not known, tables that take too much memory, rows that make no session. sessions:
    whether they are made of the rows, as the configuration says.
    """
    refuse_precision(resolved(config.device), config.precision)
    state, env = config.state, config.env
    if state.linear and state.linear not in LINEAR_MODELS:
        raise ValueError(
            f"there is no linear model {state.linear!r}: choose among {list(LINEAR_MODELS)}"
        )
    ddpg, believes = config.ddpg, hasattr(STATES.get(state.name, State), "ratings")
    if believes and config.precision != Config.precision:
        raise ValueError(
            f"{state.name} solves for what it believes of the ratings, which needs the precision "
            f'"{Config.precision}": not "{config.precision}"'
        )
    if ddpg.gradient == "soft" and not believes:
        raise ValueError(
            f'ddpg.gradient="soft" reads what a state believes of the ratings, and {state.name} '
            "believes nothing of them"
        )
    if (
        ddpg.gradient == "soft"
        and env.name == "logged"
        and (config.pretrain.updates or ddpg.bc_weight)
    ):
        raise ValueError(
            'ddpg.gradient="soft" emits no vector, and the next items of a log teach one: leave '
            "pretrain.updates and ddpg.bc_weight at 0, or choose another env.name"
        )
    start = STATES[state.name].pretrained if state.name in STATES else ""
    if env.name == "consequences" and start in COUNTED:
        raise ValueError(
            f"{state.name} starts from items that are rated together, and these sessions give "
            "factors of ratings: choose another state.name"
        )
    if state.contexts and (start not in COUNTED or state.embeddings == "random"):
        raise ValueError(
            f"state.contexts is for vectors that start from co-occurrence, and those of "
            f"{state.name} do not: leave it at 0"
        )
    if 0 < state.contexts < state.k:
        raise ValueError(
            f"state.contexts is {state.contexts}, and vectors of {state.k} numbers need as many: "
            f"it must be at least {state.k}, or 0"
        )
    if state.name == "affected" and env.name != "consequences":
        raise ValueError(
            f'state.name="affected" needs env.name="consequences", whose films have effects, and '
            f'not "{env.name}"'
        )
    if ddpg.gradient == "deterministic" and ddpg.updates and not ddpg.ou_sigma:
        raise ValueError(
            'ddpg.gradient="deterministic" explores by noise on the vector alone: give '
            "ddpg.ou_sigma, 0.2 for instance"
        )
    if state.embeddings != "random" and start in COUNTED:
        refuse_pairs(log.n_items, state.contexts or None)
    if state.k > max(log.n_items, WIDEST):
        raise ValueError(
            f"state.k is {state.k}, and {log.n_items} items have no more directions than that: it "
            f"must be at most {max(log.n_items, WIDEST)}"
        )
    if state.linear:
        refuse_likes(log)
    _, later = split_holdout_users(log, config.pretrain.holdout_share, config.seed)
    if sessions and env.name == "logged":
        LoggedEnv(later)
    elif sessions and env.name == "cold-start":
        ColdStartEnv(later, n_seed=env.n_seed)


def check_limit(config: Config, environment: SessionEnv) -> None:
    """ValueError where the configuration and an environment disagree on how sessions end."""
    horizon, gamma = config.env.horizon, config.ddpg.gamma
    if environment.horizon != horizon:
        raise ValueError(
            f"env.horizon is {horizon}, and the environment has {environment.horizon} steps: the "
            "critic counts the steps that are left, so make them the same"
        )
    if gamma == 1 and not environment.finite:
        raise ValueError("ddpg.gamma must be below 1: these sessions have no end that counts")


def check_device(device: torch.device, environment: SessionEnv) -> None:
    """ValueError where an agent and the sessions that it plays would not live together."""
    if environment.device != device:
        raise ValueError(
            f"the agent lives on {device} and its environment on {environment.device}: make the "
            "environment from tables that are there"
        )


def note_few_backups(config: Config) -> None:
    """A note where the targets cannot reach what Q is: it needs three times the horizon of gamma.

    Every update carries values `tau` of the way back over the steps of a return: `n_steps`, or
    fewer where exploring steps cut it.
    """
    ddpg, limit = config.ddpg, config.env.horizon
    steps = min(ddpg.n_steps, limit, 1 / max(ddpg.epsilon, 1 / limit))
    if config.env.name == "logged":  # the limit ends the collecting alone
        limit = math.inf
    reach = limit if ddpg.gamma == 1 else min(limit, 1 / (1 - ddpg.gamma))
    made, needed = ddpg.updates * ddpg.tau * steps, 3 * reach
    if ddpg.updates and made < needed:
        note(
            "Q will stay far from its returns: ddpg.updates x ddpg.tau x steps of a return (at "
            f"most ddpg.n_steps, and 1 / ddpg.epsilon) is {made:g}, and ddpg.gamma "
            f"{ddpg.gamma:g} needs {needed:g}: make one of them larger"
        )


def pretrained_embeddings(config: Config, log: Interactions, generator: torch.Generator) -> Any:
    """What the vectors of the configured state start from; None if they are random."""
    if config.state.embeddings == "random" or config.state.name not in STATES:
        return None
    kind, contexts = STATES[config.state.name].pretrained, config.state.contexts
    if kind in COUNTED:
        return EMBEDDINGS[kind](log, config.state.k, generator, contexts or None)
    return EMBEDDINGS[kind](log, config.state.k, generator)


def fit_pmf(log: Interactions, k: int, generator: torch.Generator) -> PMF:
    pmf = PMF(log.n_users, log.n_items, k, generator=generator, device=log.user.device)
    pmf.fit(log, generator=generator)
    return pmf


def fit_sequence(
    log: Interactions, k: int, generator: torch.Generator, contexts: int | None = None
) -> Cooccurrence:
    """From items that are rated near each other."""
    return Cooccurrence(log, k, generator, contexts=contexts)


def fit_likes(
    log: Interactions, k: int, generator: torch.Generator, contexts: int | None = None
) -> Cooccurrence:
    """From items that the same users like."""
    liked = log.select(log.rating >= POSITIVE)
    return Cooccurrence(liked, k, generator, reach=None, contexts=contexts)


EMBEDDINGS: dict[str, Callable[..., Any]] = {
    "ratings": RatingFactors.of,
    "pmf": fit_pmf,
    "sequence": fit_sequence,
    "likes": fit_likes,
}


def linear_model(
    config: Config, log: Interactions, generator: torch.Generator
) -> LinearModel | None:
    """The linear model beside the state, or None."""
    name = config.state.linear
    if not name:
        return None
    if name not in LINEAR_MODELS:
        raise ValueError(f"there is no linear model {name!r}: choose among {list(LINEAR_MODELS)}")
    fit = LINEAR_MODELS[name].fit
    return fit(log, LINEAR_WIDTH, generator, config.state.noise, config.state.n)


def _maker(config: Config, state: State, options: dict[str, Any]) -> MakeEnv:
    """The environment that the configuration names."""
    env = config.env

    def logged(log: Interactions, generator: torch.Generator) -> LoggedEnv:
        return LoggedEnv(
            log,
            sessions=env.sessions,
            n=state.session_items,
            horizon=env.horizon,
            reads_from=state.reads_from,
            generator=generator,
            **options,
        )

    def cold_start(users: Interactions, generator: torch.Generator) -> ColdStartEnv:
        return ColdStartEnv(
            users,
            sessions=env.sessions,
            horizon=env.horizon,
            n_seed=env.n_seed,
            generator=generator,
            n_candidates=config.pretrain.negatives,
            **options,
        )

    makers = {"logged": logged, "cold-start": cold_start}
    if env.name not in makers:
        raise ValueError(f'env.name="{env.name}" needs make_env: it is not made from a log')
    return makers[env.name]


def make_demonstrations(
    agent: DDPG, environment: SessionEnv, first: Interactions, log: Interactions, make: MakeEnv
) -> Demonstrations:
    """Logged: the next items of the log. Else on-policy: of `first` users while pretraining, later
    of all."""
    config = agent.config
    batch_size = ranks.share(config.pretrain.batch_size, "pretrain.batch_size")
    negatives = config.pretrain.negatives
    if config.env.name == "logged":
        if agent.actor.state.windows:
            generator = generator_on(CPU, config.seed + 2)
            return LogWindows(first, config.state.n, batch_size, generator, negatives)
        return LogMoments(environment, batch_size, negatives)
    while_pretraining, afterwards = make(first, _stream(config, 2)), None
    while_pretraining.sessions = batch_size
    if config.pretrain.holdout_share:
        afterwards = make(log, _stream(config, 3))
        afterwards.sessions = ranks.share(afterwards.sessions, "env.sessions")
    return OnPolicyDemonstrations(
        while_pretraining,
        lambda histories, excluded: agent.explore(histories, excluded).item,
        afterwards,
        lambda: agent.pretrained >= config.pretrain.updates,
        agent.actor.read,
    )


def make_replay(agent: DDPG, environment: SessionEnv) -> ReplayBuffer:
    """An empty replay buffer of the kind that the configuration names."""
    config, env, state = agent.config.ddpg, agent.config.env, agent.actor.state
    width = state.item_vectors.embedding_dim if agent.keeps_action else 0
    sessions = ranks.share(env.sessions, "env.sessions")
    played = sessions * env.horizon  # at once, so that they must fit
    capacity = max(played, min(CAPACITY, ROUNDS * played))
    form = state.session_items, agent.n_items, capacity
    beside = {"action": width, "shown": environment.shown_beside}
    beside |= {"n_users": agent.n_users, "device": agent.device}
    if config.replay == "uniform":
        return ReplayBuffer(*form, **beside)
    # beta reaches 1 with the last update, whatever the budget
    return PrioritizedReplayBuffer(*form, **beside, anneal=max(1, config.updates))


def _stream(config: Config, number: int) -> torch.Generator:
    return generator_on(resolved(config.device), config.seed + number)
