"""How the episodes of an evaluation are shown: as text, in a window, or as videos."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from rllib_elmur.errors import UserError
from rllib_elmur.runs.options import EvaluateOptions
from rllib_elmur.runs.play import Game

_FPS = 30  # where the environment names no `render_fps`, as Gymnasium has it


def render_mode(options: EvaluateOptions, env: Any, metadata: dict[str, Any]) -> str | None:
    """The `render_mode` that the environment is to be made with; None: it is not told any.

    Args:
        options: With `render` or `video`.
        env: The environment, by class or id.
        metadata: What it says of itself.

    Raises:
        UserError: If it cannot be shown so.
    """
    modes = metadata.get("render_modes") or ()
    if options.video is not None:
        if "rgb_array" in modes:
            return "rgb_array"
        if modes:
            raise UserError(_draws_nothing(env, modes))
        return None  # RLlib asks for `render` alone
    for mode in ("ansi", "human"):  # text if the environment can, else its own window
        if mode in modes:
            return mode
    raise UserError(f"--render: env={env!r} shows itself neither as text nor in a window.")


def _draws_nothing(env: Any, modes: Any) -> str:
    found = f"its render modes are {', '.join(modes)}" if modes else "it has no render mode"
    return f"--video: env={env!r} draws no pictures: {found}, and 'rgb_array' is needed."


def shown_by(game: Game) -> Any:
    """What the first environment shows; None if it shows nothing."""
    try:
        return game.render()
    except NotImplementedError:  # of Gymnasium's own class
        return None


def require_writer() -> Any:
    """The package that writes videos.

    Raises:
        UserError: If it is not installed.
    """
    try:
        import imageio.v2
        import imageio_ffmpeg  # noqa: F401, without which `imageio` writes no .mp4
    except ImportError as error:
        raise UserError(f"--video: {error}; pip install 'rllib_elmur[video]' brings it.") from error
    return imageio.v2


class Videos:
    """A file for each episode, written picture by picture: an episode may be long.

    Args:
        folder: Where the files are; it is made if need be.
        names: What they begin with: the checkpoint and the swept options.
        env: The environment, by class or id.
        metadata: What it says of itself.
    """

    def __init__(self, folder: Path, names: list[str], env: Any, metadata: dict[str, Any]):
        self._folder, self._env, self._metadata = folder.expanduser(), env, metadata
        self._prefix = re.sub(r"[^\w.=-]+", "-", "-".join(names))
        self._writer: Any = None
        self._number = 0

    def add(self, picture: Any) -> None:
        """Adds a picture (height, width, 3) to the running episode's video.

        Raises:
            UserError: If it is none.
        """
        if not isinstance(picture, np.ndarray) or picture.ndim != 3:
            raise UserError(_draws_nothing(self._env, self._metadata.get("render_modes")))
        if self._writer is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            file = self._folder / f"{self._prefix}-episode-{self._number}.mp4"
            fps = self._metadata.get("render_fps") or _FPS
            self._writer = require_writer().get_writer(file, fps=fps, macro_block_size=2)
        self._writer.append_data(picture)

    def end(self) -> None:
        """Ends the running episode's video."""
        if self._writer is not None:
            self._writer.close()
            self._writer, self._number = None, self._number + 1
