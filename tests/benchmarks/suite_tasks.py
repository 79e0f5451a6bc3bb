"""The tasks of the suite: who wrote them, at which budget they are trained, and small wrappers.

`TASKS` names each by a short name; an environment id is a task as well, with RLlib's own form of
it. Ids of other packages are written as Gymnasium takes them on any worker: `module:id`.
"""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

BUDGET = 1_000_000  # env steps of a task that names none


@dataclass(frozen=True)
class Task:
    """A task of the suite.

    Attributes:
        env: The environment's id.
        steps: Env steps of a training.
        env_config: Options of the environment.
        settings: Changes to the suite's PPO settings, for every policy.
        span: The lowest and the highest return worth telling apart.
    """

    env: str
    steps: int = BUDGET
    env_config: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    span: tuple[float, float] = (-1.0, 1.0)


def _popgym(name: str, steps: int = BUDGET, low: float = -1.0) -> dict[str, Task]:
    return {name: Task(f"popgym:popgym-{name}-v0", steps, span=(low, 1.0))}


def _cues(n: int) -> dict[str, Task]:
    return {f"MultiCue{n}": Task("rllib_elmur/TMazeMultiCue-v0", BUDGET, {"cues": n})}


TASKS: dict[str, Task] = {
    **_popgym("RepeatFirstEasy", 500_000),
    **_popgym("RepeatFirstMedium", 1_000_000),
    **_popgym("RepeatFirstHard", 2_000_000),
    **_popgym("RepeatPreviousEasy", 500_000),
    **_popgym("RepeatPreviousMedium", 3_000_000),
    **{name: task for n in (2, 4, 8, 16) for name, task in _cues(n).items()},
    **_popgym("AutoencodeEasy", 3_000_000),
    **_popgym("CountRecallEasy", 2_000_000),
    **_popgym("HigherLowerEasy"),
    **_popgym("MultiarmedBanditEasy"),
    **_popgym("PositionOnlyCartPoleEasy", low=0.0),
    **_popgym("NoisyPositionOnlyCartPoleHard", low=0.0),
    **_popgym("PositionOnlyPendulumEasy", low=0.0),
}


def chosen(patterns: list[str]) -> dict[str, Task]:
    """The tasks of some names, in the order asked for.

    Args:
        patterns: Short names, with `*` and `?` as in file names; or environment ids.

    Raises:
        ValueError: If a pattern fits no task and is no id.
    """
    found: dict[str, Task] = {}
    for pattern in patterns:
        names = [name for name in TASKS if fnmatchcase(name, pattern)]
        if names:
            found |= {name: TASKS[name] for name in names}
        elif pattern == "popgym":
            found |= {name: Task(f"popgym:{name}") for name in _popgym_ids()}
        elif ":" in pattern or "/" in pattern:
            found[pattern] = Task(pattern)
        else:
            raise ValueError(
                f"--tasks {pattern}: must be 'popgym' (all of POPGym), an environment id written "
                f"as module:id, or fit one of {', '.join(TASKS)}."
            )
    return found


def _popgym_ids() -> list[str]:
    """All ids of POPGym that can be made here; its labyrinths need a package of their own."""
    import gymnasium as gym
    import popgym  # noqa: F401

    return [name for name in gym.registry if name.startswith("popgym-")]
