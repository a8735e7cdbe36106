"""From a config and weights of unknown origin to an actor: what may be believed of them.

Everything that the actor's memory depends on is checked before it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from recsys_rl.agent.build import GRADIENTS
from recsys_rl.agent.config import Config
from recsys_rl.agent.ddpg import new_state
from recsys_rl.agent.networks import Actor
from recsys_rl.baselines.registry import LINEAR_MODELS
from recsys_rl.data.devices import CPU, generator_on
from recsys_rl.data.ids import IdMap
from recsys_rl.release_config import checked, refuse_unregistered
from recsys_rl.release_files import WEIGHTS, BadRelease, Shapes, short
from recsys_rl.set_scorer import GAUSSIAN, NOISE, gaussian_width
from recsys_rl.states.linear import GatedLinear
from recsys_rl.states.registry import STATES

TYPES = {torch.float32: "F32", torch.int64: "I64", torch.int32: "I32", torch.bool: "BOOL"}


def expected_tensors(folder: Path, config: dict[str, Any], found: Shapes) -> Shapes:
    """The tensors that the weights of a config have; none of them is made.

    found: what the weights file claims; the width of a linear model stands nowhere else.
    """
    refuse_unregistered(folder, config, set(STATES), set(LINEAR_MODELS))
    try:
        parts, ids = checked(config)
        shape = found.get(GAUSSIAN, ("", []))[1]
        sizes = config["n_users"], len(ids), _width(shape, len(ids))
        try:
            with torch.device("meta"):
                actor = _actor(parts, *sizes)
        except RuntimeError:  # a state of one's own may have to compute something
            actor = _actor(parts, *sizes)
        tensors = actor.state_dict().items()
        return {name: (TYPES[tensor.dtype], list(tensor.shape)) for name, tensor in tensors}
    except (ValueError, RuntimeError, TypeError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise BadRelease(f"the config in {folder} is damaged: {reason}") from None


def restored(folder: Path, config: dict[str, Any], content: bytes) -> tuple[Actor, IdMap]:
    """The actor of a config that `expected_tensors` has seen, and its items. Raises BadRelease."""
    try:
        weights = load(content)
    except SafetensorError as error:
        raise BadRelease(f"{folder} is damaged: {WEIGHTS}: {short(str(error))}") from None
    if problem := _unusable(weights):
        raise BadRelease(f"{folder} is damaged: {WEIGHTS}: {problem}")
    parts, ids = checked(config)
    width = _width(weights[GAUSSIAN].shape if parts.state.linear else (), len(ids))
    actor = _actor(parts, config["n_users"], len(ids), width)
    actor.load_state_dict(weights)
    return actor, ids


def tensors_of(actor: Actor) -> dict[str, Tensor]:
    """What a release keeps of an actor. ValueError if no agent can compute with it."""
    tensors = {}
    for name, tensor in actor.state_dict().items():
        kind = torch.float32 if tensor.is_floating_point() else tensor.dtype
        tensors[name] = tensor.detach().to("cpu", kind).contiguous()
    if problem := _unusable(tensors):
        raise ValueError(f"this agent cannot be saved: {problem}")
    return tensors


def _unusable(weights: dict[str, Tensor]) -> str:
    """What no agent can compute with, in words, or nothing."""
    for name, tensor in weights.items():
        if not tensor.isfinite().all():
            return f"{name} holds numbers that are NaN or infinite"
    if NOISE in weights and not (weights[NOISE] > 0).all():
        return f"{NOISE} holds numbers that are not above 0"
    return ""


def _width(vectors: Sequence[int], n_items: int) -> int:
    """Width of a linear model, from the shape of its item vectors."""
    return gaussian_width(vectors[1] if len(vectors) == 2 else 1, n_items)


def _actor(config: Config, n_users: int, n_items: int, width: int) -> Actor:
    """An actor of the right shapes, its numbers still to come."""
    state = new_state(config.state, n_users, n_items)
    new_actor = GRADIENTS[config.ddpg.gradient].new_actor
    if not config.state.linear:
        return new_actor(config, state, None).float()  # whatever the default type
    vectors = state.item_vectors.weight.new_zeros(n_items, width, dtype=torch.float32)
    mean, noise = vectors[:, 0], torch.ones_like(vectors[:, 0])
    model = LINEAR_MODELS[config.state.linear](mean, vectors[:, 1:], noise, config.state.n)
    linear = GatedLinear(model, config.state.n, generator_on(CPU, 0))
    return new_actor(config, state, linear).float()
