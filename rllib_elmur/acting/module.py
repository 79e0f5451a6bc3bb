"""Any RLModule in running episodes: RLlib's own ones, and classes derived from ELMUR's."""

from typing import Any

import numpy as np
import torch
import tree
from ray.rllib.core.columns import Columns
from ray.rllib.utils.numpy import convert_to_numpy
from ray.rllib.utils.torch_utils import convert_to_torch_tensor

from rllib_elmur.acting.inputs import Step
from rllib_elmur.acting.network import Memories
from rllib_elmur.plugin.columns import LIVE_BATCH, each_leaf
from rllib_elmur.plugin.module import is_elmur


class RunningModule:
    """A module with the state of each row; `forward_inference` chooses.

    Args:
        module: The module; recurrent or not.
    """

    def __init__(self, module: Any):
        self.needs_ray: str | None = f"its module's class, {type(module).__name__},"
        self._module = module
        self._initial = module.get_initial_state()
        self._memories = Memories(module.network.elmur) if is_elmur(type(module)) else None
        self._state: Any = None  # (N, ...) tensors

    def begin(self, rows: np.ndarray, n_rows: int) -> None:
        """Begins episodes in some rows of `n_rows`."""
        if self._memories is not None:
            self._memories.begin(rows, n_rows)
        elif self._initial:
            former, self._state = (
                self._state,
                tree.map_structure(
                    lambda x: torch.stack([torch.as_tensor(x)] * n_rows), self._initial
                ),
            )
            if former is not None:
                tree.map_structure(lambda new, old: _keep(new, old, rows), self._state, former)

    @torch.inference_mode()
    def act(self, step: Step, explore: bool) -> Any:
        """Chooses actions (B, ...) for the observations of some rows."""
        observation, rows = step.observation, step.rows
        require_allowed(self._module, observation, ~step.ended)
        if self._initial:  # stateful modules read (batch, time, ...)
            observation = each_leaf(lambda x: x[:, None], observation)
        batch: dict[str, Any] = {Columns.OBS: convert_to_torch_tensor(observation)}
        if self._memories is not None:
            output = self._memories.step(
                rows, lambda live: self._forward(batch | {LIVE_BATCH: live}, explore)
            )
        elif self._initial:
            state = tree.map_structure(lambda x: x[rows], self._state)
            output = self._forward(batch | {Columns.STATE_IN: state}, explore)
            tree.map_structure(
                lambda x, new: x.__setitem__(rows, new), self._state, output[Columns.STATE_OUT]
            )
        else:
            output = self._forward(batch, explore)
        action = output.get(Columns.ACTIONS)
        return convert_to_numpy(self._drawn(output, explore) if action is None else action)

    def _forward(self, batch: dict[str, Any], explore: bool) -> dict[str, Any]:
        if explore:
            return self._module.forward_exploration(batch)
        return self._module.forward_inference(batch)

    def _drawn(self, output: dict[str, Any], explore: bool) -> Any:
        logits = output[Columns.ACTION_DIST_INPUTS]
        logits = logits[:, 0] if self._initial else logits
        if explore:
            return self._module.get_exploration_action_dist_cls().from_logits(logits).sample()
        distribution = self._module.get_inference_action_dist_cls().from_logits(logits)
        return distribution.to_deterministic().sample()


def require_allowed(module: Any, observation: Any, acting: np.ndarray) -> None:
    """Raises a ValueError if a policy's action mask forbids every action where it acts."""
    if is_elmur(type(module)):
        module.mask.require_allowed(observation, acting)


def _keep(new: torch.Tensor, old: torch.Tensor, begun: np.ndarray) -> None:
    """Copies the rows of a former state that did not begin anew."""
    kept = np.setdiff1d(np.arange(min(len(old), len(new))), begun)
    new[kept] = old[kept]
