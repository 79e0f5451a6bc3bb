"""T-Maze environments: tasks that ask for memory and for nothing else. They need only NumPy."""

from typing import NamedTuple

import gymnasium

from rllib_elmur.envs.endless import TMazeEndlessEnv, TMazeEndlessVectorEnv
from rllib_elmur.envs.explore import describe
from rllib_elmur.envs.finite import END, FiniteTask
from rllib_elmur.envs.multi_cue import TMazeMultiCueEnv, TMazeMultiCueVectorEnv
from rllib_elmur.envs.passive import TMazePassiveEnv, TMazePassiveVectorEnv
from rllib_elmur.envs.runes import TMazeRuneEnv, TMazeRuneVectorEnv


class EnvClasses(NamedTuple):
    """The two forms of one environment.

    Attributes:
        scalar: The `gymnasium.Env`; takes the options of its task.
        vector: The `gymnasium.vector.VectorEnv`; takes `num_envs` as well.
    """

    scalar: type[gymnasium.Env]
    vector: type[gymnasium.vector.VectorEnv]


ENVIRONMENTS = {
    "rllib_elmur/TMazePassive-v0": EnvClasses(TMazePassiveEnv, TMazePassiveVectorEnv),
    "rllib_elmur/TMazeEndless-v0": EnvClasses(TMazeEndlessEnv, TMazeEndlessVectorEnv),
    "rllib_elmur/TMazeMultiCue-v0": EnvClasses(TMazeMultiCueEnv, TMazeMultiCueVectorEnv),
    "rllib_elmur/TMazeRune-v0": EnvClasses(TMazeRuneEnv, TMazeRuneVectorEnv),
}
"""Environment id -> its classes, for Gymnasium's registry and for RLlib's."""

__all__ = [
    "END",
    "ENVIRONMENTS",
    "EnvClasses",
    "FiniteTask",
    "TMazeEndlessEnv",
    "TMazeEndlessVectorEnv",
    "TMazeMultiCueEnv",
    "TMazeMultiCueVectorEnv",
    "TMazePassiveEnv",
    "TMazePassiveVectorEnv",
    "TMazeRuneEnv",
    "TMazeRuneVectorEnv",
    "describe",
    "register_gymnasium_ids",
]


def register_gymnasium_ids() -> None:
    """Makes the ids known to `gymnasium.make` and `gymnasium.make_vec`, once."""
    for env_id, classes in ENVIRONMENTS.items():
        if env_id not in gymnasium.registry:
            scalar, vector = (f"{__name__}:{cls.__name__}" for cls in classes)
            gymnasium.register(env_id, entry_point=scalar, vector_entry_point=vector)
