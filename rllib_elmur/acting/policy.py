"""A trained policy: observations in, actions out, its memory inside."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from rllib_elmur.acting.actions import Actions
from rllib_elmur.acting.batches import as_batch, row_of
from rllib_elmur.acting.inputs import Piece, Step
from rllib_elmur.model.fast.live import Rows


class Running(Protocol):
    """A network or module with what it remembers of the episodes that it acts in."""

    needs_ray: str | None

    def begin(self, rows: np.ndarray, n_rows: int) -> None:
        """Begins episodes in some rows of `n_rows`."""
        ...

    def act(self, step: Step, explore: bool) -> Any:
        """Chooses actions (B, ...) for the observations of some rows."""
        ...


class Actor(Protocol):
    """All between what an environment returns and what it takes.

    Attributes:
        reads_reward: Whether it needs the reward of the step before.
        needs_ray: Which part of it only RLlib can run; None: none.
    """

    reads_reward: bool
    needs_ray: str | None

    def begin(self, rows: np.ndarray, n_rows: int) -> None:
        """Begins episodes in some rows of `n_rows`."""
        ...

    def act(self, step: Step, explore: bool) -> Any:
        """Returns the environment's next actions, (B, ...)."""
        ...


class PlainActor:
    """Pieces of plain data before what chooses, and the action space's bounds behind it.

    Args:
        running: What chooses.
        pieces: What observations go through.
        actions: The actions.
    """

    def __init__(self, running: Running, pieces: Sequence[Piece], actions: Actions):
        self.running, self.pieces, self.actions = running, pieces, actions
        self.reads_reward = any(piece.reads_reward for piece in pieces)
        self.needs_ray = running.needs_ray

    def begin(self, rows: np.ndarray, n_rows: int) -> None:
        """Begins episodes in some rows of `n_rows`."""
        for piece in self.pieces:
            piece.begin(rows, n_rows, self.actions.space)
        self.running.begin(rows, n_rows)

    def act(self, step: Step, explore: bool) -> Any:
        """Returns the environment's next actions, (B, ...)."""
        for piece in self.pieces:
            step.observation = piece(step)
        chosen = self.running.act(step, explore)
        for piece in self.pieces:
            piece.end(step.rows, chosen, self.actions.space)
        return self.actions.for_env(chosen)


class Policy:
    """A trained policy that acts in one episode, or in many side by side.

    It takes what an environment returns and gives what the environment takes: what connectors made
    of observations in training, the memory and the action space's bounds are inside. What filters
    have learned is frozen. `load_policy` makes one.

    Attributes:
        observation_space: Of the environment.
        action_space: Of the environment.
    """

    def __init__(self, actor: Actor, observation_space: gym.Space, action_space: gym.Space):
        self._actor = actor
        self.observation_space, self.action_space = observation_space, action_space
        self._begun = np.zeros(0, bool)  # of each row, whether its episode has

    def act(
        self,
        observation: Any,
        reward: Any = None,
        *,
        rows: Rows | None = None,
        ended: Any = None,
        explore: bool = False,
        info: Any = None,
    ) -> Any:
        """Chooses the next action of one episode, or of each of B episodes.

        Args:
            observation: What the environment returned; of B episodes, with an axis of B in front
                of each array, as vector environments return it.
            reward: Of the step before, for a policy that reads it (`previous_reward`); what is
                given at an episode's start is not looked at.
            rows: Which episodes these are, B numbers; those that are not named stand still. None:
                all. A number that is new begins an episode.
            ended: Which episodes this observation ends, a mask (B,). Their actions do not matter,
                and their rows begin a new episode with the next observation, as environments do
                that reset themselves in the step after an end (Gymnasium's next-step autoreset).
            explore: Whether to draw from the distribution of actions, not to take the likeliest.
            info: What the environment or the vector environment returned as such, for connectors
                of your own that read it.

        Returns:
            An action of the environment's, or nested arrays (B, ...).

        Raises:
            ValueError: If the observation is not of `observation_space` or not finite, if its
                action mask forbids everything, if a reward is missing, or if there are other rows
                than before without a `reset`.
        """
        batch, size = as_batch(self.observation_space, observation)
        index = self._index(rows, size)
        begun = self._begun[index]
        over = np.zeros(len(index), bool)
        over = over if ended is None else _of_each(ended, "ended", over)
        info = [info] if size is None and isinstance(info, dict) else info
        step = Step(index, batch, over, self._reward(reward, begun), info)
        if not begun.all():
            self._actor.begin(index[~begun], len(self._begun))
            self._begun[index] = True
        actions = self._actor.act(step, explore)
        self._begun[index[over]] = False
        return row_of(actions, 0) if size is None else actions

    def reset(self, rows: Rows | None = None) -> None:
        """Lets the next observation of some rows be the first of an episode.

        Args:
            rows: Their numbers, or a mask of all rows. None: all rows, of which there may then be
                another number.
        """
        if rows is None:
            self._begun = np.zeros(0, bool)
            return
        index = np.asarray(rows)
        index = index.nonzero()[0] if index.dtype == bool else index.astype(np.int64)
        self._begun[index[index < len(self._begun)]] = False

    def save(self, folder: str | Path) -> None:
        """Writes the policy to a folder that `load_policy` reads where Ray is not installed.

        Args:
            folder: It gets two files: `policy.json` (spaces, options, what connectors do) and
                `policy.safetensors` (weights, what filters have learned). What only a training
                needs, such as the value head, is left out.

        Raises:
            UserError: If a part of the policy, which the message names, needs RLlib.
        """
        from rllib_elmur.acting import saved

        spaces = self.observation_space, self.action_space
        saved.save(self._actor, spaces, Path(folder).expanduser())

    def _index(self, rows: Rows | None, size: int | None) -> np.ndarray:
        """The numbers of an act's rows, for all of which there is a place then."""
        n = 1 if size is None else size
        if rows is None:
            if len(self._begun) not in (0, n):
                raise ValueError(
                    f"The observation is of {n} episodes, and this policy acts in "
                    f"{len(self._begun)}: say which these are (`act(..., rows=...)`), or begin "
                    "anew with `reset()`."
                )
            index = np.arange(n)
        else:
            index = np.asarray(rows, np.int64).reshape(-1)
            if len(index) != n or len(np.unique(index)) != n or (index < 0).any():
                raise ValueError(
                    f"rows={index.tolist()}: must be {n} different numbers from 0 on, one for each "
                    "episode of the observation."
                )
        missing = int(index.max()) + 1 - len(self._begun)
        if missing > 0:
            self._begun = np.concatenate([self._begun, np.zeros(missing, bool)])
        return index

    def _reward(self, reward: Any, begun: np.ndarray) -> np.ndarray | None:
        if reward is not None:
            return np.where(begun, _of_each(reward, "reward", np.zeros(len(begun))), 0.0)
        if self._actor.reads_reward and begun.any():
            raise ValueError(
                "This policy reads the reward of the step before: hand it in, as in "
                "`act(observation, reward)`."
            )
        return None


def _of_each(value: Any, name: str, like: np.ndarray) -> np.ndarray:
    """A number or flag of each episode, of the type of `like`."""
    found = np.asarray(value, like.dtype).reshape(-1)
    if len(found) != len(like):
        raise ValueError(
            f"{name}={value!r}: must be one for each of the observation's {len(like)} episodes."
        )
    return found
