"""The rule of the T-Maze, as pure functions over N episodes side by side.

A corridor leads from x = 0 to the junction at x = corridor length, where an arm goes up and one
goes down, and perhaps further ones beyond these. Nothing here draws a random number except the
noise of the observation, and nothing is kept: `step` maps a state and actions to the next state.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rllib_elmur.envs.cues import CueSchedule, observed_cue, right_turn
from rllib_elmur.envs.random_numbers import random_integers, random_reals

RIGHT, UP, LEFT, DOWN = range(4)
NUM_ACTIONS = 4
MAX_ARMS = 32

ARM_OF_ACTION = np.array(
    [0, 1, 0, -1, *(side * n for n in range(2, MAX_ARMS // 2 + 1) for side in (1, -1))]
)
"""y of the arm that an action turns into: +1 up, -1 down, then +2, -2, +3, ...; 0 for none."""

PenaltyRule = Literal["behind_schedule", "standing_still"]

# Counter 4t of an episode's seed draws the noise of time step t; 1 to 3 are free for what an
# episode draws at its start, and 4t + 1 to 4t + 3 for what it draws on the way.
COUNTERS_PER_STEP = 4


class EpisodeState(NamedTuple):
    """N episodes of a T-Maze.

    Attributes:
        seed: Seed of the episode (N,), uint64.
        time: Steps taken (N,), int64.
        x: Position along the corridor (N,), int64.
        y: 0 in the corridor, +1 in the upper arm, -1 in the lower one (N,), int64.
        begin: Time at which the corridor is entered; until then no agent moves (N,), int64.
        corridor_length: Position of the junction (N,), int64.
        time_limit: Number of steps after which the episode ends (N,), int64.
        junctions: Junctions still to come, the corridor's own included (N,), int64.
        correct_turns: How many turns of the episode were correct so far (N,), int64.
        penalty: Reward of a step that the penalty rule charges (N,), float64, <= 0.
        cues: The cue schedule.
        script: Observations that the first S time steps show to an agent that acts correctly,
            whatever the seed (S, 3 + W), float32; none as a rule. All N episodes have the same.
    """

    seed: NDArray[np.uint64]
    time: NDArray[np.int64]
    x: NDArray[np.int64]
    y: NDArray[np.int64]
    begin: NDArray[np.int64]
    corridor_length: NDArray[np.int64]
    time_limit: NDArray[np.int64]
    junctions: NDArray[np.int64]
    correct_turns: NDArray[np.int64]
    penalty: NDArray[np.float64]
    cues: CueSchedule
    script: NDArray[np.float32]


class Outcome(NamedTuple):
    """What one step of N episodes led to.

    Attributes:
        state: The state after the step.
        reward: Reward (N,), float64.
        ended: Whether the episode is over (N,), bool.
        success: Whether it ended with the correct turn (N,), bool; or, in a task of several
            questions, the share of those that were answered correctly, float64.
    """

    state: EpisodeState
    reward: NDArray[np.float64]
    ended: NDArray[np.bool_]
    success: NDArray


def step(
    state: EpisodeState, action: NDArray[np.integer], goal_reward: float, penalty_rule: PenaltyRule
) -> Outcome:
    """Moves every agent once.

    Args:
        state: N episodes.
        action: 0 right, 1 up, 2 left, 3 down, 4 and more further arms (N,).
        goal_reward: Reward of the correct turn.
        penalty_rule: Which steps pay the state's penalty: "behind_schedule" those after which
            x is smaller than the number of steps taken in the corridor, "standing_still" those
            that do not bring the agent closer to the junction. The last step of an episode never
            pays.

    Returns:
        The state after the move, rewards and endings.
    """
    time = state.time + 1
    inside = state.time >= state.begin
    at_junction = is_at_junction(state)
    forward = (action == RIGHT) & inside & ~at_junction
    back = (action == LEFT) & (state.x > 0)
    x = state.x + forward - back

    # Off the junction, up and down are walls.
    y = at_junction * ARM_OF_ACTION[action]
    turned = y != 0
    success = turned & (y == right_turn(state.cues, state.time))

    ended = turned | (time >= state.time_limit)
    still = inside & ~forward
    charged = still if penalty_rule == "standing_still" else x < time - state.begin
    reward = np.where(charged & ~ended, state.penalty, 0.0) + goal_reward * success
    correct_turns = state.correct_turns + success
    return Outcome(
        state._replace(time=time, x=x, y=y, correct_turns=correct_turns), reward, ended, success
    )


def is_at_junction(state: EpisodeState) -> NDArray[np.bool_]:
    """Returns whether the agents are in their corridor and at its junction (N,)."""
    return (state.x == state.corridor_length) & (state.time >= state.begin)


def observe(state: EpisodeState, noise_bound: float | None = None) -> NDArray[np.float32]:
    """Returns what the agents see.

    Args:
        state: N episodes.
        noise_bound: The noise is a real number of at most this size; None: -1, 0 or +1.

    Returns:
        Observations (N, 3 + W), see `compose_observation`.
    """
    counter = state.time * COUNTERS_PER_STEP
    if noise_bound is None:
        noise = random_integers(state.seed, counter, -1, 1)
    else:
        noise = noise_bound * random_reals(state.seed, counter)
    if len(state.script):
        scripted = state.script[state.time.clip(max=len(state.script) - 1), -1]
        noise = np.where(state.time < len(state.script), scripted, noise)
    return compose_observation(
        y=state.y,
        cue=observed_cue(state.cues, state.time),
        at_junction=is_at_junction(state),
        noise=noise,
    )


def compose_observation(
    y: NDArray[np.integer],
    cue: NDArray[np.floating],
    at_junction: NDArray[np.bool_],
    noise: NDArray[np.number],
) -> NDArray[np.float32]:
    """Puts an observation together: the only place that knows its layout.

    Args:
        y: 0 in the corridor, else that of an arm (N,).
        cue: What is shown of the cues (N, W), 0 for nothing.
        at_junction: Whether the agent stands at the junction's x (N,).
        noise: From -1 to 1 (N,).

    Returns:
        [y, cue, at-junction flag, noise] as float32 (N, 3 + W).
    """
    observation = np.empty((len(y), 3 + cue.shape[1]), dtype=np.float32)
    observation[:, 0] = y
    observation[:, 1:-2] = cue
    observation[:, -2] = at_junction
    observation[:, -1] = noise
    return observation


def replace_episodes(
    state: EpisodeState, rows: NDArray[np.integer], fresh: EpisodeState
) -> EpisodeState:
    """Puts fresh episodes in the place of some.

    Args:
        state: N episodes; left as they are.
        rows: Which of them to replace (K,).
        fresh: K episodes.

    Returns:
        N episodes.
    """

    def put(old: NDArray, new: NDArray) -> NDArray:
        old = old.copy()
        old[rows] = new
        return old

    cues = CueSchedule(*map(put, state.cues, fresh.cues))
    arrays = (put(old, new) for old, new in zip(state[:-2], fresh[:-2], strict=True))
    return EpisodeState(*arrays, cues=cues, script=state.script)
