"""The live batch of the running episodes, in the data that both pipelines of a runner share."""

from typing import Any

import numpy as np

from rllib_elmur.model.fast.live import LiveBatch
from rllib_elmur.plugin.columns import LIVE_BATCH
from rllib_elmur.plugin.memory_module import MemoryModule


def live_batch(module: MemoryModule, steps: np.ndarray, shared_data: dict[str, Any]) -> LiveBatch:
    """Returns the live batch of the running episodes, after a reset of rows that begin."""
    live, elmur = shared_data.get(LIVE_BATCH), module.network.elmur
    if live is None or len(live.clock) != len(steps):
        live = shared_data[LIVE_BATCH] = module.get_live_batch(len(steps))
    elif live.elmur is not elmur:  # the runner has made its module anew
        live = shared_data[LIVE_BATCH] = elmur.live(live.state(range(len(steps))))
    started = (steps == 0).nonzero()[0]
    if len(started):
        live.reset(started)
    if not np.array_equal(live.clock, steps):
        raise RuntimeError(
            f"The episodes stand at time steps {steps.tolist()}, the policy's memory at "
            f"{live.clock.tolist()}: steps were taken without the policy (random_actions=True), or "
            "the connector pipeline was handed other episodes in between. Start new episodes "
            "(`sample(force_reset=True)`, or a reset and a new `SingleAgentEpisode`)."
        )
    return live


class KeptLiveBatch:
    """Keeps the live batch from call to call of a pipeline.

    An env runner keeps the shared data itself. RLlib's examples of acting with restored pipelines
    begin with empty ones at each step, and find the live batch of the step before in them.
    """

    def __init__(self) -> None:
        self._live: LiveBatch | None = None
        self._ids: tuple[str, ...] = ()

    def hand_on(self, ids: tuple[str, ...], steps: np.ndarray, shared_data: dict[str, Any]) -> None:
        """Puts the live batch into shared data without one, if these episodes are those it is of.

        Args:
            ids: The episodes, row by row. One that begins may stand in the row of another.
            steps: Time steps that each has taken, (B,).
            shared_data: Those of the call.
        """
        if LIVE_BATCH in shared_data or len(ids) != len(self._ids):
            return
        rows = zip(ids, self._ids, steps, strict=True)
        if all(id_ == former or step == 0 for id_, former, step in rows):
            shared_data[LIVE_BATCH] = self._live

    def keep(self, ids: tuple[str, ...], shared_data: dict[str, Any]) -> None:
        """Keeps the live batch of a call, and which episodes it is of."""
        self._live, self._ids = shared_data[LIVE_BATCH], ids
