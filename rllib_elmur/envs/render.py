"""Pictures of one T-Maze, as text and as pixels, both drawn from the same grid of cells.

Long corridors are shown through a window that follows the agent; a bar under the picture tells
where in the whole corridor the agent stands.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rllib_elmur.envs.cues import observed_cue, right_turn
from rllib_elmur.envs.rule import State

_WIDEST = 32  # columns of a window
_CELL = 24  # pixels
_VOID, _WALL, _FLOOR, _ODD_FLOOR, _GOAL, _ARM = range(6)
_CHARACTERS = np.array([" ", "#", ".", ".", "+", "-"])
_COLOURS = np.array(
    [
        [250, 250, 248],
        [62, 68, 81],
        [226, 226, 220],
        [212, 212, 206],
        [120, 190, 130],
        [222, 176, 168],
    ],
    np.uint8,
)
_AGENT, _CUE, _GRID = (np.array(c, np.uint8) for c in ([40, 98, 190], [255, 214, 90], [200] * 3))


class View(NamedTuple):
    """What is shown of one maze.

    Attributes:
        cells: What each cell of the window is (5, columns + 2).
        agent: Row and column of the agent in `cells`.
        cue: The cue in the agent's observation: +1, -1 or 0.
        right_turn: +1 (up) or -1 (down).
        x: Position along the corridor.
        corridor_length: Position of the junction.
        time: Steps taken.
        time_limit: Steps after which the episode ends.
    """

    cells: NDArray[np.integer]
    agent: tuple[int, int]
    cue: int
    right_turn: int
    x: int
    corridor_length: int
    time: int
    time_limit: int


def view(state: State, row: int, longest_corridor: int) -> View:
    """Cuts out of one maze what is shown of it.

    Args:
        state: N episodes.
        row: Which one to show.
        longest_corridor: Sets the size of the picture, the same for all episodes.

    Returns:
        The window.
    """
    columns = min(longest_corridor + 1, _WIDEST)
    length, x, y = (int(a[row]) for a in (state.corridor_length, state.x, state.y))
    turn = int(right_turn(state.cues, state.time)[row])
    first = min(max(x - columns // 2, 0), max(length + 1 - columns, 0))

    # Column 0 of the cells is x = first - 1, so that the walls at both ends are seen.
    position = np.arange(first - 1, first + columns + 1)
    corridor = (position >= 0) & (position <= length)
    arm = position == length
    floor = np.zeros((5, len(position)), dtype=np.bool_)
    floor[2] = corridor
    floor[[1, 3]] = arm
    # Floor of two shades: the picture moves even where the window moves with the agent.
    cells = np.where(floor, np.where(position % 2, _ODD_FLOOR, _FLOOR), _VOID)
    cells[[1, 3]] = np.where(arm, [[_GOAL if turn > 0 else _ARM], [_GOAL if turn < 0 else _ARM]], 0)
    cells[(cells == _VOID) & _near(floor)] = _WALL
    return View(
        cells=cells,
        agent=(2 - y, x - first + 1),
        cue=int(np.sign(observed_cue(state.cues, state.time)[row].sum())),
        right_turn=turn,
        x=x,
        corridor_length=length,
        time=int(state.time[row]),
        time_limit=int(state.time_limit[row]),
    )


def _near(floor: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Marks the cells that touch the floor, corners included."""
    wide = np.pad(floor, 1)
    rows, columns = floor.shape
    shifted = [wide[i : i + rows, j : j + columns] for i in range(3) for j in range(3)]
    return np.any(shifted, axis=0)


def text(view: View) -> str:
    """Draws the window with characters.

    ``#`` is wall, ``.`` floor, ``+`` the right arm, ``-`` the other one, ``A`` the agent.

    Args:
        view: What is shown.

    Returns:
        Six lines, the first one in words.
    """
    characters = _CHARACTERS[view.cells]
    characters[view.agent] = "A"
    cue = {1: "up", -1: "down", 0: "none"}[view.cue]
    words = (
        f"step {view.time}/{view.time_limit}  x {view.x}/{view.corridor_length}  hint seen: {cue}"
    )
    return "\n".join([words, *("".join(line).rstrip() for line in characters)])


def pixels(view: View) -> NDArray[np.uint8]:
    """Draws the window as a picture.

    The right arm is green, the other one red, the agent a blue disc, and a hint that the agent sees
    a yellow arrow on it. The bar below shows x as a part of the corridor.

    Args:
        view: What is shown.

    Returns:
        The picture (height, width, 3).
    """
    cells = view.cells.repeat(_CELL, axis=0).repeat(_CELL, axis=1)
    picture = _COLOURS[cells]
    # Thin lines between floor cells make single steps visible.
    lines = np.zeros(cells.shape, dtype=np.bool_)
    lines[::_CELL] = lines[:, ::_CELL] = True
    picture[lines & (cells >= _FLOOR)] = _GRID

    top, left = (_CELL * k for k in view.agent)
    tile = picture[top : top + _CELL, left : left + _CELL]
    down, across = np.mgrid[:_CELL, :_CELL] - (_CELL - 1) / 2
    tile[down**2 + across**2 <= (0.42 * _CELL) ** 2] = _AGENT
    if view.cue:
        depth = down * view.cue + _CELL / 4
        tile[(np.abs(across) <= depth / 2) & (depth <= _CELL / 2)] = _CUE

    bar = np.full((_CELL, picture.shape[1], 3), _COLOURS[_VOID], dtype=np.uint8)
    track = bar[_CELL // 3 : -_CELL // 3, _CELL:-_CELL]
    track[:] = _COLOURS[_FLOOR]
    track[:, : round(view.x / view.corridor_length * track.shape[1])] = _AGENT
    return np.concatenate([picture, bar])
