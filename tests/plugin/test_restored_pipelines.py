"""Acting with pipelines that are restored from a checkpoint, by the recipe of RLlib's examples."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plugin_helpers import BOTH, ENV, Doubled, RandomEnv, elmur_ppo, shake
from ray.rllib.connectors.env_to_module import EnvToModulePipeline
from ray.rllib.connectors.module_to_env import ModuleToEnvPipeline
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

N_STEPS = 60


class Recipe:
    """RLlib's own loop: restored pipelines, a restored module, empty shared data at each step."""

    def __init__(self, path: Path, env: RandomEnv):
        runner = path / "env_runner"
        module = path / "learner_group" / "learner" / "rl_module" / DEFAULT_MODULE_ID
        self.to_module = EnvToModulePipeline.from_checkpoint(
            str(runner / "env_to_module_connector")
        )
        self.to_env = ModuleToEnvPipeline.from_checkpoint(str(runner / "module_to_env_connector"))
        self.module = RLModule.from_checkpoint(str(module))
        self.env = env

    def begin(self, seed: int | None = None) -> SingleAgentEpisode:
        observation, _ = self.env.reset(seed=seed)
        return SingleAgentEpisode(
            observations=[observation],
            observation_space=self.env.observation_space,
            action_space=self.env.action_space,
        )

    def step(self, episode: SingleAgentEpisode) -> np.ndarray:
        """Takes a step of an episode; returns the logits."""
        shared_data: dict[str, Any] = {}
        keywords: dict[str, Any] = {"rl_module": self.module, "explore": False}
        batch = self.to_module(episodes=[episode], shared_data=shared_data, **keywords)
        outputs = self.module.forward_inference(batch)
        to_env = self.to_env(batch=outputs, episodes=[episode], shared_data=shared_data, **keywords)
        action = to_env.pop(Columns.ACTIONS_FOR_ENV, to_env[Columns.ACTIONS])[0]
        observation, reward, terminated, truncated, _ = self.env.step(action)
        outputs = {name: column[0] for name, column in to_env.items()}
        episode.add_env_step(
            observation,
            action,
            reward,
            terminated=terminated,
            truncated=truncated,
            extra_model_outputs=outputs,
        )
        return np.asarray(outputs[Columns.ACTION_DIST_INPUTS])


@pytest.fixture(params=["plain", "previous", "connector"])
def saved(request: Any, tmp_path: Path) -> tuple[Path, Any]:
    options = BOTH if request.param == "previous" else {}
    config = elmur_ppo(RandomEnv, ENV, **options).env_runners(num_envs_per_env_runner=1)
    if request.param == "connector":
        config.env_runners(env_to_module_connector=lambda *arguments: Doubled())
    algo = config.build_algo()
    shake(algo)
    algo.save_to_path(str(tmp_path))
    return tmp_path, algo


def test_the_recipe_of_rllibs_examples_acts_as_the_env_runner_does(saved: Any) -> None:
    path, algo = saved
    played = algo.env_runner.sample(num_episodes=8, explore=False)
    wanted = np.concatenate(
        [episode.get_extra_model_outputs(Columns.ACTION_DIST_INPUTS) for episode in played]
    )
    env = RandomEnv(ENV)
    recipe = Recipe(path, env)
    episode, found = recipe.begin(seed=0), []
    for _ in range(len(wanted)):
        found.append(recipe.step(episode))
        if episode.is_done:
            episode = recipe.begin()
    np.testing.assert_allclose(np.stack(found), wanted, atol=1e-4)


def test_episodes_that_take_turns_in_one_pipeline_are_refused_and_not_mixed_up(saved: Any) -> None:
    path, _ = saved
    recipe = Recipe(path, RandomEnv({"lengths": [50]}))
    first = recipe.begin(seed=0)
    for _ in range(3):
        recipe.step(first)
    second = recipe.begin(seed=1)
    for _ in range(3):
        recipe.step(second)
    with pytest.raises(RuntimeError, match="other episodes in between"):
        recipe.step(first)
    third = recipe.begin()
    for _ in range(3):
        recipe.step(third)
