"""Pictures of one T-Maze, as text and as pixels, both drawn from the same grid of cells.

Long corridors are shown through a window that follows the agent; a bar under the picture tells
where in the whole corridor the agent stands.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rllib_elmur.envs.cues import right_turn
from rllib_elmur.envs.rule import EpisodeState

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
        cells: What each cell of the window is (height, columns + 2).
        agent: Row and column of the agent in `cells`.
        told: In words, what the agent's observation says of the cues.
        arrow: The direction of the arm that the agent is told: +1 up, -1 down or 0.
        lamps: Rows of lamps, and which of them are on.
        x: Position along the corridor.
        corridor_length: Position of the junction.
        time: Steps taken.
        time_limit: Steps after which the episode ends.
    """

    cells: NDArray[np.integer]
    agent: tuple[int, int]
    told: str
    arrow: int
    lamps: Sequence[NDArray[np.bool_]]
    x: int
    corridor_length: int
    time: int
    time_limit: int


def view(
    state: EpisodeState,
    row: int,
    longest_corridor: int,
    told: str,
    arrow: int = 0,
    arms: Sequence[int] = (1, -1),
    lamps: Sequence[NDArray[np.bool_]] = (),
) -> View:
    """Cuts out of one maze what is shown of it.

    Args:
        state: N episodes.
        row: Which one to show.
        longest_corridor: Sets the size of the picture, the same for all episodes.
        told: As in `View`.
        arrow: As in `View`.
        arms: y of the arms of a junction.
        lamps: As in `View`.

    Returns:
        The window.
    """
    columns = min(longest_corridor + 1, _WIDEST)
    length, x, y = (int(a[row]) for a in (state.corridor_length, state.x, state.y))
    turn = int(right_turn(state.cues, state.time)[row])
    first = min(max(x - columns // 2, 0), max(length + 1 - columns, 0))
    middle = max(arms) + 1

    # Column 0 of the cells is x = first - 1, so that the walls at both ends are seen.
    position = np.arange(first - 1, first + columns + 1)
    corridor = (position >= 0) & (position <= length)
    # Floor of two shades: the picture moves even where the window moves with the agent.
    cells = np.full((middle + 2 - min(arms), len(position)), _VOID)
    cells[middle] = np.where(corridor, np.where(position % 2, _ODD_FLOOR, _FLOOR), _VOID)
    for arm in arms:
        cells[middle - arm, position == length] = _GOAL if arm == turn else _ARM
    cells[(cells == _VOID) & _near(cells != _VOID)] = _WALL
    return View(
        cells=cells,
        agent=(middle - y, x - first + 1),
        told=told,
        arrow=arrow,
        lamps=lamps,
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

    ``#`` is wall, ``.`` floor, ``+`` the correct arm, ``-`` the other one, ``A`` the agent.

    Args:
        view: What is shown.

    Returns:
        A line in words, and one for each row of cells.
    """
    characters = _CHARACTERS[view.cells]
    characters[view.agent] = "A"
    words = f"step {view.time}/{view.time_limit}  x {view.x}/{view.corridor_length}  {view.told}"
    return "\n".join([words, *("".join(line).rstrip() for line in characters)])


def pixels(view: View) -> NDArray[np.uint8]:
    """Draws the window as a picture.

    The correct arm is green, the other ones red, the agent a blue disc, and a hint that the agent
    sees a yellow arrow on it. Below stand the lamps, and a bar that shows x as a part of the
    corridor.

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
    if view.arrow:
        depth = down * view.arrow + _CELL / 4
        tile[(np.abs(across) <= depth / 2) & (depth <= _CELL / 2)] = _CUE

    lamps = [_lamps(picture.shape[1], on) for on in view.lamps]
    bar = np.full((_CELL, picture.shape[1], 3), _COLOURS[_VOID], dtype=np.uint8)
    track = bar[_CELL // 3 : -_CELL // 3, _CELL:-_CELL]
    track[:] = _COLOURS[_FLOOR]
    walked = view.x / view.corridor_length if view.corridor_length else 1.0
    track[:, : round(walked * track.shape[1])] = _AGENT
    return np.concatenate([picture, *lamps, bar])


def _lamps(width: int, on: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Draws a row of lamps (_CELL, width, 3)."""
    row = np.full((_CELL, width, 3), _COLOURS[_VOID], dtype=np.uint8)
    edges = np.linspace(_CELL, width - _CELL, len(on) + 1).astype(int)
    for lit, left, right in zip(on, edges, edges[1:], strict=False):
        row[_CELL // 3 : -_CELL // 3, left + 1 : right - 1] = _CUE if lit else _COLOURS[_FLOOR]
    return row
