"""Makes the finite description of an environment by playing it, seed after seed."""

import copy
import pickle
from collections.abc import Callable, Collection
from itertools import count
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from rllib_elmur.envs.finite import END, FiniteTask

_NOT_OF_THE_EPISODE = {
    *("_np_random", "_np_random_seed", "spec", "metadata", "render_mode"),
    *("observation_space", "action_space"),
}
_START = "start"
_MOST_STEPS = 1_000  # of an episode that does not end by itself


def describe(
    env: gym.Env,
    state: Callable[[Any], Any] | None = None,
    correct: Callable[[Any], Collection[int]] | None = None,
    patience: int = 200,
    max_situations: int = 2_000,
) -> FiniteTask:
    """Describes an environment as a finite automaton, from its episodes.

    Plays the episodes of the seeds 0, 1, 2, ... with correct actions, until `patience` of them in
    a row have shown nothing new. Two moments of the same state are one situation, whatever came
    before: what was seen after one of them may be seen after the other, however often.

    Args:
        env: The environment. All that is random in an episode follows from the seed of its reset.
        state: From the unwrapped environment to what must be remembered: all that decides, with
            what will be seen then, which actions will be correct; a hashable value. All attributes
            of the environment if not given: leave out what only counts steps, and what was drawn
            but is still hidden.
        correct: From the unwrapped environment to the actions that are correct now. If not given:
            those with the largest reward in the next step, tried out on copies.
        patience: Episodes.
        max_situations: How many states there may be.

    Returns:
        The description. Where one episode ends and another one goes on, it goes on.

    Raises:
        ValueError: If there are more states, or if what is seen after a state does not decide
            which actions are correct.
    """
    if not isinstance(env.action_space, gym.spaces.Discrete) or env.action_space.start != 0:
        raise ValueError(f"actions {env.action_space} must be Discrete and begin at 0")
    if not isinstance(env.observation_space.sample(), (np.ndarray, np.integer)):
        raise ValueError(f"observations {env.observation_space} must be arrays or integers")
    right = _best_of_copies if correct is None else lambda wrapped: correct(wrapped.unwrapped)
    found = _Found(state or _attributes, right, max_situations)
    quiet = 0
    for seed in count():
        quiet = 0 if found.play(env, seed) else quiet + 1
        if quiet >= patience:
            return found.task(env.action_space.n)
    raise AssertionError


class _Found:
    """What the episodes have shown so far."""

    def __init__(self, state: Callable, correct: Callable, max_situations: int):
        self._state, self._correct, self._most = state, correct, max_situations
        self._situation: dict[Any, int] = {_START: 0}
        # Each edge, as it was first seen: source, what is seen, what is correct, target.
        self._edges: dict[tuple, tuple[int, NDArray, frozenset[int], int]] = {}
        # What is correct, and where it was found to be: by source, what is seen, and target.
        self._correct_of: dict[tuple, tuple[frozenset[int], int, int]] = {}
        self._examples: list[dict[str, str]] = []

    def play(self, env: gym.Env, seed: int) -> bool:
        """Plays an episode; returns whether it showed anything new."""
        before = len(self._edges)
        seen, _ = env.reset(seed=seed)
        generator = np.random.default_rng(seed)
        source, ended, step = 0, False, 0
        while not ended and step < _MOST_STEPS:
            shown, target = np.array(seen), self._number(env)
            right = frozenset(map(int, self._correct(env)))
            self._compare((source, shown.tobytes(), target), right, seed, step)
            action = generator.choice(sorted(right))
            seen, _, terminated, truncated, _ = env.step(int(action))
            ended = terminated or truncated
            edge = source, shown, right, END if ended else target
            self._edges.setdefault((source, shown.tobytes(), right, edge[3]), edge)
            source, step = target, step + 1
        return len(self._edges) > before

    def _compare(self, edge: tuple, right: frozenset[int], seed: int, step: int) -> None:
        first, *place = self._correct_of.setdefault(edge, (right, seed, step))
        if not right or right != first:
            raise ValueError(
                f"correct are {sorted(first)} in step {place[1]} of seed {place[0]}, and "
                f"{sorted(right)} in step {step} of seed {seed}, with the same `state` before and "
                "the same observation: `state` must hold what decides between them"
            )

    def _number(self, env: gym.Env) -> int:
        key = self._state(env.unwrapped)
        if key not in self._situation:
            self._examples.append({k: repr(v) for k, v in _plain(env.unwrapped).items()})
        number = self._situation.setdefault(key, len(self._situation))
        if len(self._situation) > self._most:
            raise ValueError(
                f"{type(env.unwrapped).__name__} has more than {self._most} states"
                f"{self._what_differs()}; give `state`, a function from the environment to what "
                "decides which actions are correct"
            )
        return number

    def _what_differs(self) -> str:
        """The attribute that took most values."""
        if not self._examples or not self._examples[0]:
            return ""
        values = {
            name: len({example.get(name) for example in self._examples})
            for name in self._examples[0]
        }
        name = max(values, key=values.__getitem__)
        return f", with {values[name]} values of its attribute {name!r}"

    def task(self, n_actions: int) -> FiniteTask:
        """All of it as one automaton."""
        goes_on = {key[:3] for key in self._edges if key[3] != END}
        kept = [e for key, e in self._edges.items() if key[3] != END or key[:3] not in goes_on]
        source, seen, right, target = zip(*kept, strict=True)
        return FiniteTask(
            start=np.array([0]),
            source=np.array(source),
            observation=np.stack(seen),
            correct=np.array([np.isin(np.arange(n_actions), sorted(each)) for each in right]),
            target=np.array(target),
        )


def _plain(env: Any) -> dict[str, Any]:
    """The attributes of an environment that may be part of an episode's state."""
    return {name: value for name, value in vars(env).items() if name not in _NOT_OF_THE_EPISODE}


def _attributes(env: Any) -> bytes:
    try:
        return pickle.dumps(_plain(env))
    except Exception as error:
        raise ValueError(
            f"the attributes of {type(env).__name__} cannot be compared ({error}); give `state`, "
            "a function from the environment to what decides which actions are correct"
        ) from error


def _best_of_copies(env: gym.Env) -> NDArray[np.int64]:
    assert isinstance(env.action_space, gym.spaces.Discrete)
    actions = np.arange(env.action_space.n)
    rewards = np.array([copy.deepcopy(env).step(int(action))[1] for action in actions])
    return np.flatnonzero(rewards == rewards.max())
