"""What people report of recurrent policies elsewhere; `docs/situations.md` links the reports."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from fragments import TOLERANCE
from plugin_helpers import (
    SMALL,
    RandomEnv,
    batched,
    elmur_ppo,
    learner_module,
    ppo,
    shake,
    train_batch,
    unmoved,
    weights,
)
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.connectors.env_to_module import MeanStdFilter
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.examples.envs.classes.multi_agent.rock_paper_scissors import RockPaperScissors
from ray.rllib.examples.rl_modules.classes.rock_paper_scissors_heuristic_rlm import (
    AlwaysSameHeuristicRLM,
    BeatLastHeuristicRLM,
)

import rllib_elmur
from rllib_elmur.plugin.rllib_internals import pipelines

BOX = gym.spaces.Box(-1, 1, (2,))


def disagreement(algo: Any, n_steps: int) -> float:
    """The largest difference between logits of a rollout and those that the learner computes."""
    shake(algo)
    batch = train_batch(algo, algo.env_runner.sample(num_timesteps=n_steps))
    with torch.no_grad():
        logits = learner_module(algo).unwrapped().forward_train(batch)[Columns.ACTION_DIST_INPUTS]
    real = batch[Columns.LOSS_MASK].bool()
    return float((logits - batch[Columns.ACTION_DIST_INPUTS]).abs()[real].max())


class BadReward(RandomEnv):
    """Gives `reward` in the sixth step of each episode."""

    def __init__(self, config: Any = None):
        super().__init__(config)
        self.reward = config["reward"]

    def step(self, action: Any) -> Any:
        observation, reward, *rest = super().step(action)
        return observation, self.reward if self.t == 6 else reward, *rest


@pytest.mark.parametrize("reward", [float("nan"), float("inf")])
def test_a_reward_that_is_not_finite_is_named_and_no_weight_moves(reward: float) -> None:
    algo = elmur_ppo(BadReward, {"reward": reward}).build_algo()
    before = weights(learner_module(algo))
    with pytest.raises(ValueError, match=f"reward of time step 5 of an episode is {reward}"):
        algo.train()
    assert len(unmoved(before, weights(learner_module(algo)))) == len(before)
    algo.stop()


class AnyOrder(RandomEnv):
    """The parts of its observations come in turn in the one order and in the other."""

    def __init__(self, config: Any = None):
        super().__init__({"observation": gym.spaces.Dict(first=BOX, second=BOX)})

    def reset(self, **options: Any) -> Any:
        observation, info = super().reset(**options)
        return self._turned(observation), info

    def step(self, action: Any) -> Any:
        observation, *rest = super().step(action)
        return self._turned(observation), *rest

    def _turned(self, observation: dict[str, Any]) -> dict[str, Any]:
        names = sorted(observation, reverse=self.t % 2 == 0)
        return {name: observation[name] for name in names}


class AnyType(RandomEnv):
    """Its observations are in turn arrays of float64 and lists, its space is of float32."""

    def reset(self, **options: Any) -> Any:
        observation, info = super().reset(**options)
        return self._other(observation), info

    def step(self, action: Any) -> Any:
        observation, *rest = super().step(action)
        return self._other(observation), *rest

    def _other(self, observation: np.ndarray) -> Any:
        other = observation.astype(np.float64)
        return other.tolist() if self.t % 2 else other


@pytest.mark.filterwarnings("ignore:.*obs returned by:UserWarning")
@pytest.mark.parametrize("env", [AnyOrder, AnyType])
def test_observations_in_any_order_of_their_parts_and_of_another_type_are_one(env: Any) -> None:
    algo = elmur_ppo(env).build_algo()
    assert disagreement(algo, 60) <= TOLERANCE
    algo.train()
    algo.stop()


def test_rows_may_be_as_long_as_fragments_in_any_number_of_environments() -> None:
    config = elmur_ppo(RandomEnv, {"lengths": [300]}, max_seq_len=256)
    config.env_runners(num_envs_per_env_runner=7, rollout_fragment_length=256)
    config.training(train_batch_size_per_learner=1780, minibatch_size=512, num_epochs=1)
    algo = config.build_algo()
    assert disagreement(algo, 1780) <= TOLERANCE
    algo.train()
    algo.stop()


class Frozen(rllib_elmur.ELMURTorchRLModule):
    """Its encoder does not learn."""

    def setup(self) -> None:
        super().setup()
        self.network.encoder.requires_grad_(False)


def test_what_a_derived_class_freezes_stays_even_under_weight_decay() -> None:
    options = {**SMALL, "encoder_weight_decay": 1.0, "weight_decay": 1.0}
    algo = rllib_elmur.use_elmur(ppo(), module_class=Frozen, **options).build_algo()
    before = weights(learner_module(algo))
    algo.train()
    names = unmoved(before, weights(learner_module(algo)))
    assert names and all("encoder" in name for name in names)
    assert sum("encoder" in name for name in before) == len(names)
    algo.stop()


def test_the_mode_of_the_module_changes_nothing() -> None:
    algo = elmur_ppo().build_algo()
    module, outputs = algo.env_runner.module, []
    state = {name: torch.as_tensor(x)[None] for name, x in module.get_initial_state().items()}
    for mode in (True, False):
        batch = {Columns.OBS: batched(np.ones(3, np.float32)), Columns.STATE_IN: state}
        outputs.append(module.train(mode).forward_inference(batch)[Columns.ACTION_DIST_INPUTS])
    assert torch.equal(*outputs)
    algo.stop()


def rock_paper_scissors() -> Any:
    """A config in which a policy with memory plays against two that know no more than a rule."""
    specs = {
        "learned": RLModuleSpec(module_class=rllib_elmur.ELMURTorchRLModule),
        "same": RLModuleSpec(module_class=AlwaysSameHeuristicRLM),
        "beats": RLModuleSpec(module_class=BeatLastHeuristicRLM),
    }
    others = ["same", "beats"]
    config = ppo(RockPaperScissors).multi_agent(
        policies=set(specs),
        policy_mapping_fn=lambda agent, episode: (
            "learned" if agent == "player1" else others[hash(episode.id_) % 2]
        ),
        policies_to_train=["learned"],
    )
    config.env_runners(num_envs_per_env_runner=1)
    config.rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs=specs))
    return rllib_elmur.use_elmur(config, **SMALL)


def test_it_learns_against_policies_that_follow_a_rule() -> None:
    algo = rock_paper_scissors().build_algo()
    before = weights(learner_module(algo, "learned"))
    result = algo.train()
    assert unmoved(before, weights(learner_module(algo, "learned"))) == []
    learned = [name for name, part in result["learners"].items() if "policy_loss" in part]
    assert learned == ["learned"]
    algo.stop()


def test_a_policy_is_added_while_a_training_runs() -> None:
    config = ppo(RockPaperScissors).multi_agent(
        policies={"main"}, policy_mapping_fn=lambda agent, episode: "main"
    )
    config.env_runners(num_envs_per_env_runner=1)
    algo = rllib_elmur.use_elmur(config, **SMALL).build_algo()
    algo.train()
    spec = RLModuleSpec.from_module(learner_module(algo, "main").unwrapped())
    algo.add_module(
        "league",
        spec,
        new_agent_to_module_mapping_fn=lambda agent, episode: (
            "main" if agent == "player1" else "league"
        ),
        new_should_module_be_updated=["main", "league"],
    )
    before = weights(learner_module(algo, "league"))
    result = algo.train()
    assert unmoved(before, weights(learner_module(algo, "league"))) == []
    assert {"main", "league"} <= set(result["learners"])
    algo.stop()


def test_remote_env_runners_get_the_filters_of_a_restored_training(tmp_path: Path) -> None:
    config = elmur_ppo("CartPole-v1")
    config.env_runners(
        num_env_runners=1, env_to_module_connector=lambda env, spaces, device: MeanStdFilter()
    )
    algo = config.build_algo()
    algo.train()
    algo.save_to_path(tmp_path)
    algo.stop()
    restored = Algorithm.from_checkpoint(tmp_path)
    [learned] = restored.env_runner_group.foreach_env_runner(
        lambda runner: next(
            piece.get_state()
            for piece in pipelines(runner)[0].connectors
            if isinstance(piece, MeanStdFilter)
        ),
        local_env_runner=False,
    )
    [statistics] = [state["running_stats"][0] for state in learned.values()]
    assert statistics["num_pushes"] > 0
    restored.stop()
