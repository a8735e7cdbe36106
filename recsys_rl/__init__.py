"""Reinforcement learning for recommendation: the DRR framework on MovieLens.

The names below are imported when they are first used, so that `import recsys_rl` loads neither
PyTorch nor pandas. The environments are registered with Gymnasium, by name only, once both are
imported. Forked processes compute with one thread (`recsys_rl.data.forks`).
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

try:
    if sys.version_info < (3, 11):  # noqa: UP036  # older ones have to read this file, too
        raise ImportError(
            "Python 3.11 or newer is needed, and this is {}.{}".format(*sys.version_info)
        )
    if find_spec("gymnasium") is None:  # and most likely nothing else is there, either
        raise ImportError("gymnasium is not installed")
except ImportError as error:
    sentence = f"{error}: use the Python of an environment that was made as README.md says"
    if sys.argv[:1] != ["-m"]:
        raise ImportError(sentence) from None
    print(f"recsys_rl: {sentence}", file=sys.stderr)  # while Python looks for recsys_rl.train
    sys.exit(2)

from recsys_rl.data import forks as forks  # what is forked from here on computes, and never waits

_EXPORTS = {
    "Config": "recsys_rl.agent.config",
    "DDPG": "recsys_rl.agent.ddpg",
    "Interactions": "recsys_rl.data.interactions",
    "Recommender": "recsys_rl.serving",
    "build": "recsys_rl.agent.build",
    "config_of": "recsys_rl.experiments",
    "task_of": "recsys_rl.tasks.registry",
}
__all__ = sorted(_EXPORTS)

ENVIRONMENTS = {
    "recsys_rl/ColdStart-v0": "recsys_rl.envs.registration:GymColdStartEnv",
    "recsys_rl/Simulated-v0": "recsys_rl.envs.gym_simulated:GymSimulatedEnv",
    "recsys_rl/UserLeaves-v0": "recsys_rl.envs.gym_user_leaves:GymUserLeavesEnv",
    "recsys_rl/Elicitation-v0": "recsys_rl.envs.gym_elicitation:GymElicitationEnv",
}


def _register() -> None:
    import gymnasium

    for name, entry_point in ENVIRONMENTS.items():
        if name not in gymnasium.registry:
            gymnasium.register(name, entry_point)


class _AfterGymnasium:
    """Registers as soon as Gymnasium is imported, which takes too long to be done for all."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != "gymnasium":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: Any) -> None:
                execute(module)
                _register()

            spec.loader.exec_module = execute_and_register
        return spec


if "gymnasium" in sys.modules:
    _register()
else:
    sys.meta_path.insert(0, _AfterGymnasium())


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)
