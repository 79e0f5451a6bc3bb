"""Several agents take no action that their masks forbid, in training and in an evaluation."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from agent_envs import Timetable, several
from gymnasium.spaces import Box, Dict, MultiBinary
from plugin_helpers import SMALL, ppo

import rllib_elmur
from rllib_elmur.plugin.train_rows import MASKED_STEPS
from rllib_elmur.runs.evaluate import evaluate
from rllib_elmur.runs.options import EvaluateOptions


class MaskedAgents(Timetable):
    """Allows each agent some actions at each step, and raises for one that is forbidden."""

    def __init__(self, config: Any = None):
        super().__init__(config)
        space = Dict({"observations": Box(-1, 1, (3,)), "action_mask": MultiBinary(3)})
        self.observation_spaces = dict.fromkeys(self.agents, space)

    def step(self, actions: Any) -> Any:
        for agent, action in actions.items():
            assert self.masks[agent][action], (agent, action, self.masks[agent])
        return super().step(actions)

    def _observations(self, agents: set[str]) -> dict[str, Any]:
        self.masks: dict[str, Any] = {}
        seen = super()._observations(agents)
        for agent in seen:
            mask = self.random.integers(2, size=3).astype(np.int8)
            mask[self.random.integers(3)] = 1
            self.masks[agent] = mask
        return {a: {"observations": x, "action_mask": self.masks[a]} for a, x in seen.items()}


@pytest.mark.parametrize(
    ("table", "policies"),
    [("all at once", "shared"), ("pauses", "one each"), ("enters and leaves", "one each")],
)
def test_no_agent_takes_a_forbidden_action(
    table: str, policies: str, tmp_path: Path, ray_is_quiet: Any
) -> None:
    config = several(ppo(MaskedAgents, {"table": table}), policies)
    algo = rllib_elmur.use_elmur(config, **SMALL, action_mask=True).build_algo()
    for _ in range(2):
        of_modules = algo.train()["learners"]
        del of_modules["__all_modules__"]
        for of_module in of_modules.values():
            assert np.isfinite(of_module["total_loss"]) and of_module["mean_kl_loss"] < 1
            assert of_module[MASKED_STEPS] == 0
    algo.save_to_path(str(tmp_path / "policies"))
    algo.stop()
    for explore in (False, True):
        options = EvaluateOptions(episodes=3, explore=explore)
        assert evaluate([tmp_path / "policies"], options)[0].episodes == 3
