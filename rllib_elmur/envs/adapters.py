"""The scalar and the vector environment: one rule, with one episode or with N side by side."""

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from rllib_elmur.envs import checks
from rllib_elmur.envs.episodes import Episodes
from rllib_elmur.envs.finite import FiniteTask
from rllib_elmur.envs.fixed_options import FixedOptions
from rllib_elmur.envs.task import TMaze

RENDER_MODES = ["ansi", "rgb_array"]
_METADATA = {"render_modes": RENDER_MODES, "render_fps": 8}


class TMazeEnv(FixedOptions, gymnasium.Env[NDArray[np.float32], np.int64]):
    """A T-Maze as a `gymnasium.Env`.

    Observations are vectors (W,) of the task; actions are 0 right, 1 up, 2 left, 3 down, and those
    of further arms. An episode ends always as terminated; then ``info["success"]`` tells whether
    the turn was correct, or the share of correct turns. Every info holds the `corridor_length` of
    the corridor in which the agent stands.

    Args:
        render_mode: None, "ansi" (text) or "rgb_array" (picture).
        **options: Those of the task.

    Raises:
        ValueError: If an option is unknown or its value is not allowed.
    """

    metadata: dict[str, Any] = _METADATA
    task_class: ClassVar[type[TMaze]]

    def __init__(self, render_mode: str | None = None, **options: Any):
        checks.choice("render_mode", render_mode, (None, *RENDER_MODES))
        self.render_mode = render_mode
        self.task = self.task_class.from_options(options)
        self.observation_space = self.task.observation_space
        self.action_space = self.task.action_space
        self._episodes = Episodes(self.task, 1)
        self._ended = False
        self._seeded = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Starts the next episode, the first one of `seed` if that is given.

        Args:
            seed: Decides all that is random from here on.
            options: May hold "script", the observations (S, W) that the episode's first S time
                steps show to an agent that acts correctly.
        """
        super().reset(seed=seed)
        if seed is None and not self._seeded:
            seed = int(self.np_random.integers(2**63))
        if seed is not None:
            self._episodes.seed(0, seed)
            self._seeded = True
        script = (options or {}).get("script")
        self._episodes.start(np.zeros(1, dtype=np.int64), script)
        self._ended = False
        return self.task.observe(self._episodes.state)[0], self._info()

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Moves the agent; see `rllib_elmur.envs.rule.step`."""
        if self._ended:
            raise ResetNeeded("the episode has ended: call reset() before step()")
        action = checks.actions(action, shape=(), count=int(self.task.action_space.n))
        outcome = self.task.step(self._episodes.state, action[None])
        self._episodes.state = outcome.state
        self._ended = bool(outcome.ended[0])
        info = self._info()
        if self._ended:
            info["success"] = outcome.success[0].item()
        observation = self.task.observe(outcome.state)[0]
        return observation, float(outcome.reward[0]), self._ended, False, info

    def finite_task(self) -> FiniteTask:
        """The task as a finite automaton, of any corridor length."""
        return self.task.finite_task()

    def render(self) -> Any:
        """Returns a text, a picture (height, width, 3) uint8, or None without a render mode."""
        return self._episodes.render(0, self.render_mode)

    def _info(self) -> dict[str, Any]:
        return {"corridor_length": int(self._episodes.state.corridor_length[0])}


class TMazeVectorEnv(FixedOptions, VectorEnv[NDArray[np.float32], NDArray[np.integer], NDArray]):
    """N T-Mazes in one `gymnasium.vector.VectorEnv`, without a loop over them.

    Step by step it returns what `gymnasium.vector.SyncVectorEnv` over N `TMazeEnv` returns
    for the same seeds and actions. A finished episode is reset by the next step (next-step
    autoreset), whose action for it is ignored.

    Args:
        num_envs: Number of environments N.
        render_mode: None, "ansi" or "rgb_array".
        **options: Those of the task, the same for all.

    Raises:
        ValueError: If an option is unknown or its value is not allowed.
    """

    metadata: dict[str, Any] = _METADATA | {"autoreset_mode": AutoresetMode.NEXT_STEP}
    task_class: ClassVar[type[TMaze]]

    def __init__(self, num_envs: int = 1, render_mode: str | None = None, **options: Any):
        self.num_envs = checks.integer("num_envs", num_envs, low=1)
        checks.choice("render_mode", render_mode, (None, *RENDER_MODES))
        self.render_mode = render_mode
        self.task = self.task_class.from_options(options)
        self.single_observation_space = self.task.observation_space
        self.single_action_space = self.task.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._episodes = Episodes(self.task, self.num_envs)
        self._seeded = np.zeros(self.num_envs, dtype=np.bool_)
        self._ended = np.zeros(self.num_envs, dtype=np.bool_)

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Starts the next episode of all environments, or of those in a mask.

        Args:
            seed: None, one seed s that gives environment i the seed s + i, or one seed or None for
                each environment.
            options: May hold "reset_mask", a bool array (N,) of the environments to reset.

        Returns:
            Observations (N, W) and infos.

        Raises:
            ValueError: If the number of seeds or the mask does not fit.
        """
        super().reset(seed=seed if isinstance(seed, int) else None)
        seeds = self._seeds(seed)
        mask = np.ones(self.num_envs, dtype=np.bool_)
        if options is not None and "reset_mask" in options:
            mask = np.asarray(options["reset_mask"])
            if mask.shape != (self.num_envs,) or mask.dtype != np.bool_ or not mask.any():
                raise ValueError(
                    f"reset_mask={mask!r}: must be a bool array of shape ({self.num_envs},) "
                    "with at least one True"
                )
        rows = np.flatnonzero(mask)
        for row in rows:
            value = seeds[row]
            if value is None and not self._seeded[row]:
                value = int(self.np_random.integers(2**63))
            if value is not None:
                self._episodes.seed(row, value)
        self._seeded |= mask
        self._ended = self._ended & ~mask
        self._episodes.start(rows)
        return self.task.observe(self._episodes.state), self._infos(mask)

    def step(
        self, actions: Any
    ) -> tuple[NDArray[np.float32], NDArray, NDArray, NDArray, dict[str, Any]]:
        """Moves every agent; environments whose episode has ended are reset instead.

        Args:
            actions: Integers (N,).

        Returns:
            Observations (N, W), rewards, terminations and truncations (N,), infos.

        Raises:
            ValueError: If an action is not one of the action space.
        """
        count = int(self.task.action_space.n)
        actions = checks.actions(actions, (self.num_envs,), count, ignored=self._ended)
        restart = np.flatnonzero(self._ended)
        state, reward, ended, success = self.task.step(self._episodes.state, actions)
        self._episodes.state = state
        if len(restart):
            self._episodes.start(restart)
            reward[restart] = 0.0
            ended[restart] = success[restart] = False
        self._ended = ended

        infos = self._infos(np.ones(self.num_envs, dtype=np.bool_))
        if ended.any():
            infos |= {"success": success, "_success": ended.copy()}
        truncated = np.zeros(self.num_envs, dtype=np.bool_)
        return self.task.observe(self._episodes.state), reward, ended.copy(), truncated, infos

    def render(self) -> tuple[Any, ...] | None:
        """Returns a text or a picture of each environment, or None without a render mode."""
        if self.render_mode is None:
            return None
        return tuple(self._episodes.render(row, self.render_mode) for row in range(self.num_envs))

    def _infos(self, mask: NDArray[np.bool_]) -> dict[str, Any]:
        length = self._episodes.state.corridor_length * mask
        return {"corridor_length": length, "_corridor_length": mask}

    def _seeds(self, seed: int | list[int | None] | None) -> list[int | None]:
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, int):
            return [seed + row for row in range(self.num_envs)]
        seeds = [value if value is None else int(value) for value in seed]
        if len(seeds) != self.num_envs or any(s is not None and s < 0 for s in seeds):
            raise ValueError(f"seed={seed!r}: must be {self.num_envs} integers >= 0, or None")
        return seeds
