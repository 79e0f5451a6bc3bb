"""The finite description of an environment, and whether it is true to the environment."""

from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from rllib_elmur.envs.finite import END, FiniteTask
from rllib_elmur.errors import UserError

Describe = Callable[[gym.Env], FiniteTask]
"""A function from an environment to its finite description."""

_EPISODES, _STEPS = 200, 10_000
_VISITS = 32  # for each edge of a situation, before one that was never seen is doubted


def finite_task_of(env: gym.Env, describe: Describe | None = None) -> FiniteTask:
    """Returns the finite description of an environment, which was held against it.

    Args:
        env: The environment.
        describe: What describes it, in place of its own method `finite_task`.

    Raises:
        UserError: If there is none, if it is too large to list, or if it is not true.
    """
    name = type(env.unwrapped).__name__
    own = getattr(env.unwrapped, "finite_task", None)
    describes: Callable[[], FiniteTask] | None = own if describe is None else partial(describe, env)
    if describes is None:
        raise UserError(
            f"{name} has no finite description: give a function that describes it (`task`), or a "
            "method `finite_task` that returns an `rllib_elmur.envs.FiniteTask`."
        )
    try:
        task = describes()
    except ValueError as error:
        raise UserError(f"{name}: {str(error).rstrip('.')}.") from error
    if not isinstance(task, FiniteTask):
        raise UserError(
            f"{name}: its description must be an `rllib_elmur.envs.FiniteTask`, not "
            f"{type(task).__name__}."
        )
    _check_spread(task, name)
    _Comparison(task, env).run()
    return task


def _check_spread(task: FiniteTask, name: str) -> None:
    if task.spread is None:
        return
    spread, shape = np.asarray(task.spread), task.observation.shape[1:]
    if spread.shape != shape or not (np.isfinite(spread) & (spread >= 0)).all():
        raise UserError(
            f"the finite description of {name} has spread={_text(spread)}: must be numbers >= 0 of "
            f"an observation's shape {shape}."
        )


class _Comparison:
    """Plays episodes with the correct actions of a description, and looks each step up in it."""

    def __init__(self, task: FiniteTask, env: gym.Env):
        self._task, self._env = task, env
        self._edges: dict[tuple[int, bytes], list[int]] = defaultdict(list)
        # What may lie anywhere in its spread does not tell one edge from another.
        self._exact = 1 if task.spread is None else np.asarray(task.spread) == 0
        for edge, source in enumerate(task.source):
            self._edges[int(source), self._bytes(task.observation[edge])].append(edge)
        self._visits: Counter[int] = Counter()
        self._seen: set[int] = set()

    def run(self) -> None:
        """Raises a UserError at the first difference."""
        steps = 0
        for episode in range(_EPISODES):
            steps += self._play(episode, _STEPS - steps)
            if steps >= _STEPS:
                break
        degree = Counter(self._task.source.tolist())
        for edge, source in enumerate(self._task.source.tolist()):
            enough = self._visits[source] >= _VISITS * degree[source]
            if enough and edge not in self._seen and not self._shown_by_script(edge):
                raise self._error(
                    f"lets {_text(self._task.observation[edge])} be seen in situation {source}, "
                    f"where the environment did not show it in {self._visits[source]} visits"
                )

    def _play(self, episode: int, most: int) -> int:
        """One episode; returns its steps."""
        generator = np.random.default_rng(episode)
        seen, _ = self._env.reset(seed=episode)
        situations = set(self._task.start.tolist())
        for step in range(most):
            where = f"in step {step} of the episode of seed {episode}"
            alike = [e for s in situations for e in self._edges.get((s, self._bytes(seen)), ())]
            edges = [edge for edge in alike if self._covers(edge, seen)]
            if not edges:
                raise self._error(f"lacks {_text(seen)}, which the environment shows {where}")
            self._visits.update(situations)
            self._seen.update(edges)
            correct = self._task.correct[edges].all(axis=0)
            if not correct.any():
                raise self._error(
                    f"does not say what is correct {where}: what was seen until then leads to "
                    f"{len(edges)} situations without a correct action in common"
                )
            action = generator.choice(np.flatnonzero(correct))
            seen, _, terminated, truncated, info = self._env.step(int(action))
            if terminated or truncated:
                if "success" in info and not np.all(np.asarray(info["success"]) == 1):
                    raise self._error(
                        f"calls actions correct that end without success {where} "
                        f"(success {info['success']})"
                    )
                return step + 1
            situations = set(self._task.target[edges].tolist()) - {END}
            if not situations:
                raise self._error(f"ends {where}, where the environment goes on")
        return most

    def _shown_by_script(self, edge: int) -> bool:
        """Whether the environment shows an edge if it is asked to, by the option `script`."""
        path = self._way_to(edge)
        script = self._task.observation[path]
        seen, _ = self._env.reset(seed=0, options={"script": script})
        for place, wanted in enumerate(path):
            if self._bytes(seen) != self._bytes(script[place]):
                return False
            action = int(self._task.correct[wanted].argmax())
            seen, _, terminated, truncated, _ = self._env.step(action)
            if (terminated or truncated) and place + 1 < len(path):
                return False
        return True

    def _way_to(self, edge: int) -> list[int]:
        """A shortest path from a start to an edge whose situation was visited."""
        ways: dict[int, list[int]] = {int(start): [] for start in self._task.start}
        waiting = list(ways)
        for here in waiting:
            if here == self._task.source[edge]:
                break
            for way in np.flatnonzero(self._task.source == here):
                target = int(self._task.target[way])
                if target != END and target not in ways:
                    ways[target] = [*ways[here], int(way)]
                    waiting.append(target)
        return [*ways[int(self._task.source[edge])], edge]

    def _bytes(self, observation: Any) -> bytes:
        # A zero may have a sign, which no policy sees.
        exact = np.asarray(observation, self._task.observation.dtype) * self._exact + 0
        return exact.astype(self._task.observation.dtype).tobytes()

    def _covers(self, edge: int, observation: Any) -> bool:
        """Whether what is seen lies within the spread of an edge that is like it elsewhere."""
        spread = self._task.spread
        if spread is None:
            return True
        center = self._task.observation[edge]
        far = np.abs(np.asarray(observation) - center)
        # What is seen was rounded to float32.
        return bool((far <= spread + 1e-6 * (spread + np.abs(center))).all())

    def _error(self, difference: str) -> UserError:
        name = type(self._env.unwrapped).__name__
        return UserError(f"the finite description of {name} {difference}.")


def _text(observation: NDArray | Any) -> str:
    return np.array2string(np.asarray(observation), separator=", ", threshold=12)
