"""The tasks of the suite: their environments, budgets and measures.

`TASKS` names each by a short name. Ids of other packages are written as every worker finds them:
`module:id`.
"""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from suite_envs import MEMORY_EPISODES, MEMORY_LENGTHS, MEMORY_SIZES

BUDGET = 1_000_000  # env steps of a task that names none


@dataclass(frozen=True)
class Task:
    """A task of the suite.

    Attributes:
        env: The environment's id.
        steps: Env steps of a training.
        env_config: Options of the environment.
        measure: "return" or "success", the mean over episodes.
        span: The lowest and the highest value of the measure that are worth telling apart.
        settings: Changes to the suite's PPO settings, for every policy.
        lstm: Options of RLlib's LSTM where this task has better ones.
        family: The tasks that are one curve together, over `number`.
        number: The task's place in its family.
    """

    env: str
    steps: int = BUDGET
    env_config: dict[str, Any] = field(default_factory=dict)
    measure: str = "return"
    span: tuple[float, float] = (-1.0, 1.0)
    settings: dict[str, Any] = field(default_factory=dict)
    lstm: dict[str, Any] = field(default_factory=dict)
    family: str | None = None
    number: int = 0


LSTM = {"use_lstm": True, "lstm_cell_size": 64, "fcnet_hiddens": [64], "vf_share_layers": True}
# RLlib's own example (examples/algorithms/ppo/stateless_cartpole_ppo.py): what it does not name is
# PPO's default. The filter and `vf_loss_coeff` keep returns of hundreds from the shared trunk.
RLLIB_CARTPOLE = {
    "mean_std_filter": True,
    "num_envs_per_env_runner": 8,
    "minibatch_size": 128,
    "lr": 3e-4,
    "lambda_": 1.0,
    "entropy_coeff": 0.0,
    "clip_param": 0.3,
    "vf_clip_param": 10.0,
    "vf_loss_coeff": 0.05,
    "grad_clip": None,
    "kl_coeff": 0.2,
    "max_seq_len": 35,
}
RLLIB_CARTPOLE_LSTM = {
    "vf_share_layers": False,
    "lstm_cell_size": 256,
    "fcnet_hiddens": [256, 256],
    "max_seq_len": 20,
}
# What rl-baselines3-zoo found for its LSTM, for 100,000 env steps (hyperparams/ppo_lstm.yml at
# 038ab16, and the cards of its trained policies). It divides rewards by their scale, where here the
# value loss is scaled; lets the clip follow the learning rate; and explores Pendulum by noise that
# depends on the state. RLlib has neither of the latter two.
ZOO_LSTM = {"lstm_cell_size": 256, "vf_share_layers": False, "head_fcnet_hiddens": [64]}
ZOO_CARTPOLE = {
    "mean_std_filter": True,
    "num_envs_per_env_runner": 8,
    "train_batch_size_per_learner": 256,
    "minibatch_size": 256,
    "num_epochs": 20,
    "lr": [[0, 1e-3], [100_000, 0.0]],
    "gamma": 0.98,
    "lambda_": 0.8,
    "entropy_coeff": 0.0,
    "vf_loss_coeff": 0.005,
    "max_seq_len": 32,
}
ZOO_PENDULUM = {
    "mean_std_filter": True,
    "num_envs_per_env_runner": 4,
    "train_batch_size_per_learner": 4096,
    "minibatch_size": 128,
    "num_epochs": 10,
    "lr": 1e-3,
    "gamma": 0.9,
    "entropy_coeff": 0.0,
    "vf_loss_coeff": 0.005,
}


def _popgym(name: str, steps: int = BUDGET, low: float = -1.0) -> dict[str, Task]:
    return {name: Task(f"popgym:popgym-{name}-v0", steps, span=(low, 1.0))}


def _cues(number: int) -> Task:
    options = {"cues": number, "corridor_length": 0}
    task = "rllib_elmur/TMazeMultiCue-v0"
    return Task(task, BUDGET, options, "success", (0.0, 1.0), family="MultiCue", number=number)


def _chain(family: str, number: int, length: int, bits: int) -> Task:
    return Task(
        "suite_envs:MemoryChain-v0",
        MEMORY_EPISODES * (length + 1),
        {"memory_length": length, "num_bits": bits},
        "success",
        (0.5, 1.0),
        family=family,
        number=number,
    )


# The README's example.
MAZE = {"corridor_length": [3, 30], "penalty_rule": "standing_still", "slack": 2.0}


def _tmaze(length: int, steps: int) -> dict[str, Task]:
    options = {"corridor_length": length}
    task = Task("rllib_elmur/TMazePassive-v0", steps, options, "success", (0.0, 1.0))
    return {f"TMazePassive{length}": task}


def _minigrid(size: int, steps: int) -> dict[str, Task]:
    task = Task("suite_envs:MiniGridMemory-v0", steps, {"size": size}, span=(0.0, 1.0))
    return {f"MiniGrid-MemoryS{size}": task}


TASKS: dict[str, Task] = {
    **_popgym("RepeatFirstEasy", 500_000),
    **_popgym("RepeatFirstMedium", 1_000_000),
    **_popgym("RepeatFirstHard", 2_000_000),
    **_popgym("RepeatPreviousEasy", 500_000),
    **_popgym("RepeatPreviousMedium", 3_000_000),
    **{f"MultiCue{n}": _cues(n) for n in (2, 4, 6, 8, 16)},
    **_popgym("AutoencodeEasy", 3_000_000),
    **_popgym("CountRecallEasy", 2_000_000),
    **_popgym("HigherLowerEasy"),
    **_popgym("MultiarmedBanditEasy"),
    **_popgym("PositionOnlyCartPoleEasy", low=0.0),
    **_popgym("NoisyPositionOnlyCartPoleHard", low=0.0),
    **_popgym("PositionOnlyPendulumEasy", low=0.0),
    "StatelessCartPole": Task(
        "suite_envs:StatelessCartPole-v0",
        200_000,
        span=(0.0, 350.0),
        settings=RLLIB_CARTPOLE,
        lstm=RLLIB_CARTPOLE_LSTM,
    ),
    "CartPoleNoVel": Task(
        "suite_envs:CartPoleNoVel-v1",
        100_000,
        span=(0.0, 500.0),
        settings=ZOO_CARTPOLE,
        lstm=ZOO_LSTM,
    ),
    "PendulumNoVel": Task(
        "suite_envs:PendulumNoVel-v1",
        100_000,
        span=(-1200.0, -200.0),
        settings=ZOO_PENDULUM,
        lstm=ZOO_LSTM,
    ),
    **{f"memory_len{n}": _chain("memory_len", n, n, 1) for n in MEMORY_LENGTHS},
    **{f"memory_size{n}": _chain("memory_size", n, 2, n) for n in MEMORY_SIZES},
    "TMaze": Task("rllib_elmur/TMazePassive-v0", 250_000, MAZE, "success", (0.0, 1.0)),
    **_tmaze(50, 1_000_000),
    **_tmaze(100, 2_000_000),
    **_tmaze(250, 4_000_000),
    **_minigrid(7, 1_000_000),
    **_minigrid(9, 2_000_000),
}


def task_of(name: str) -> Task:
    """The task of a name; an environment id is a task with nothing of its own."""
    return TASKS.get(name, Task(name))


def chosen(patterns: list[str]) -> dict[str, Task]:
    """The tasks of some names, in the order asked for.

    Args:
        patterns: Short names, with `*` and `?` as in file names; environment ids written as
            `module:id`; or "popgym".

    Raises:
        ValueError: If a pattern fits no task and is no id.
    """
    found: dict[str, Task] = {}
    for pattern in patterns:
        names = [name for name in TASKS if fnmatchcase(name, pattern)]
        if names:
            found |= {name: TASKS[name] for name in names}
        elif pattern == "popgym":
            found |= {f"popgym:{name}": task_of(f"popgym:{name}") for name in _popgym_ids()}
        elif ":" in pattern or "/" in pattern:
            found[pattern] = task_of(pattern)
        else:
            raise ValueError(
                f"--tasks {pattern}: must be 'popgym' (all of POPGym), an environment id written "
                f"as module:id, or fit one of {', '.join(TASKS)}."
            )
    return found


def _popgym_ids() -> list[str]:
    """All ids of POPGym that can be made here; its labyrinths need a package of their own."""
    import gymnasium as gym
    import popgym  # noqa: F401 (registers the ids)

    return [name for name in gym.registry if name.startswith("popgym-")]
