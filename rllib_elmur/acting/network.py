"""ELMUR's network with the memories of the episodes that it acts in."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rllib_elmur.acting.actions import Actions
from rllib_elmur.acting.inputs import Step
from rllib_elmur.model.action_mask import ActionMask, NoMask
from rllib_elmur.model.elmur import ELMUR
from rllib_elmur.model.fast.live import LiveBatch
from rllib_elmur.model.finite import require_finite
from rllib_elmur.model.nested import each_part
from rllib_elmur.model.network import PolicyNetwork


class Memories:
    """A live batch whose rows begin at any time, and of which any rows may go on alone.

    Args:
        elmur: The model.
    """

    def __init__(self, elmur: ELMUR):
        self._elmur = elmur
        self._live: LiveBatch | None = None

    def begin(self, rows: np.ndarray, n_rows: int) -> None:
        """Begins episodes in some rows of `n_rows`."""
        live = self._live
        size = 0 if live is None else len(live.clock)
        if live is None or len(rows) == n_rows:
            # Not reset: how sums are rounded hangs on the steps that a batch has taken, and the
            # same episodes are to bring the same actions.
            self._live = self._new(n_rows)
        elif n_rows > size:
            # Sessions come one by one: not each of them is to copy those before it.
            self._live = self._new(max(n_rows, 2 * size))
            self._live.put(range(size), live)
            self._live.reset(rows)
        else:
            live.reset(rows)

    def step(self, rows: np.ndarray, run: Callable[[LiveBatch], Any]) -> Any:
        """Returns what `run` makes of a live batch that holds these rows in this order."""
        live = self._live
        assert live is not None, "an act begins its rows"
        if len(rows) == len(live.clock) and (rows == np.arange(len(rows))).all():
            return run(live)
        part = live.take(rows)
        output = run(part)
        live.put(rows, part)
        return output

    def _new(self, n_rows: int) -> LiveBatch:
        return self._elmur.live(self._elmur.initial_state(n_rows))


class RunningNetwork:
    """The network in running episodes.

    Args:
        network: The policy's.
        mask: What forbids actions.
        actions: What its head's numbers mean.
    """

    needs_ray = None

    def __init__(self, network: PolicyNetwork, mask: NoMask | ActionMask, actions: Actions):
        self.network, self.mask, self._actions = network, mask, actions
        self._memories = Memories(network.elmur)
        self._device = network.pi.weight.device

    def begin(self, rows: np.ndarray, n_rows: int) -> None:
        """Begins episodes in some rows of `n_rows`."""
        self._memories.begin(rows, n_rows)

    @torch.inference_mode()
    def act(self, step: Step, explore: bool) -> Any:
        """Chooses actions (B, ...) for the observations of some rows."""
        observation = each_part(self._with_time, step.observation)
        self.mask.require_allowed(observation, ~step.ended[:, None])
        features = self._memories.step(step.rows, lambda live: self.network.step(observation, live))
        require_finite(features, observation, "the environment")
        inputs = self.mask(self.network.pi(features), observation)[:, 0]
        return self._actions.draw(inputs.float().numpy(force=True), explore)

    def _with_time(self, array: np.ndarray) -> Tensor:
        """A tensor (B, T = 1, ...)."""
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)[:, None]
