"""The cue schedule: what the agent is told, when, and what of it counts.

A hint at the start is one cue. A correction is a second cue with a later begin, a distractor a cue
with value 0, several cues are several columns. All of them read the schedule with the two functions
below.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class CueSchedule(NamedTuple):
    """The cues of N episodes, at most C in each, ordered by time and not overlapping.

    Attributes:
        begin: First time step at which the cue is observed (N, C), int64.
        end: First time step at which it no longer is (N, C), int64.
        value: What it says about the correct turn (N, C), int64: y of an arm (+1 up, -1 down), 0
            nothing.
        shows: What the observation holds while it is observed (N, C, W), float32; W is the number
            of entries that the observation keeps for cues.
    """

    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    value: NDArray[np.int64]
    shows: NDArray[np.float32]


def observed_cue(cues: CueSchedule, time: NDArray[np.int64]) -> NDArray[np.float32]:
    """Returns what the observation at a time step shows of the cues, 0 where none is given.

    Args:
        cues: The schedule of N episodes.
        time: Time step of each episode (N,).

    Returns:
        The cue entries of the observation (N, W).
    """
    now = time[:, None]
    given = (cues.begin <= now) & (now < cues.end)
    return (cues.shows * given[:, :, None]).sum(axis=1)


def right_turn(cues: CueSchedule, time: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the turn that the cues given so far call for: the last one that says anything.

    Args:
        cues: The schedule of N episodes.
        time: Time step of each episode (N,).

    Returns:
        y of an arm, such as +1 (up) or -1 (down), or 0 (no cue yet) for each episode (N,).
    """
    counts = (cues.begin <= time[:, None]) & (cues.value != 0)
    # Cues are ordered by time, so the last column that counts is the newest one.
    last = cues.value.shape[1] - 1 - counts[:, ::-1].argmax(axis=1)
    rows = np.arange(len(time))
    return cues.value[rows, last] * counts[rows, last]
