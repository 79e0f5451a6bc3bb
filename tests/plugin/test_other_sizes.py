"""Weights of a module with other sizes are refused by the option, wherever they come in."""

import dataclasses

import gymnasium as gym
import pytest
from plugin_helpers import SMALL, RandomEnv, elmur_ppo, learner_module
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from small_training import SMALL as FILE

import rllib_elmur
from rllib_elmur.config import ELMURConfig
from rllib_elmur.errors import OptionError
from rllib_elmur.model.network import PolicyNetwork
from rllib_elmur.plugin.saved_weights import SIZES

OTHER = {
    "d_model": 32,
    "n_layers": 3,
    "n_heads": 1,
    "d_ff": 8,
    "segment_length": 4,
    "memory_slots": 3,
    "attention_window": 5,
    "lru_blend": 0.5,
    "distance_scale": 8.0,
    "rotate_distances": True,
    "read_empty_slots": False,
    "mark_start": True,
    "memory_init_std": 0.2,
    "learned_memory": False,
    "memory_levels": 3,
    "memory_commitment": 0.1,
    "write_before_read": False,
    "detach_memory": True,
    "norm_first": True,
}


def shapes(**options):
    former = {"rotate_distances": False, "read_empty_slots": True, "mark_start": False}
    config = ELMURConfig(**{**former, **options})
    network = PolicyNetwork(gym.spaces.Box(-1, 1, (3,)), 4, config)
    return {name: value.shape for name, value in network.state_dict().items()}


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(ELMURConfig)])
def test_the_sizes_are_the_options_that_parameters_hang_on(name):
    assert (shapes(**{name: OTHER[name]}) != shapes()) == (name in SIZES)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    algo = elmur_ppo().build_algo()
    path = algo.save_to_path(str(tmp_path_factory.mktemp("saved")))
    algo.stop()
    return path


@pytest.mark.parametrize("name", SIZES)
def test_a_restored_training_says_which_size_differs(name, saved):
    algo = elmur_ppo(**{name: OTHER[name]}).build_algo()
    with pytest.raises(OptionError) as error:
        algo.restore_from_path(saved)
    values = f"{name}={SMALL.get(name, False)!r}", f"{name}={OTHER[name]!r}"
    assert f"saved with {values[0]}, and this one has {values[1]}" in str(error.value)
    assert error.value.options == (name,)
    algo.stop()


def test_options_that_change_no_size_may_change_with_a_restored_training(saved):
    algo = elmur_ppo(memory_levels=3, lru_blend=0.5).build_algo()
    algo.restore_from_path(saved)
    algo.stop()


def test_a_spec_that_loads_weights_says_it_too(saved):
    module = f"{saved}/learner_group/learner/rl_module/default_policy"
    env = RandomEnv()
    spec = RLModuleSpec(
        module_class=rllib_elmur.ELMURTorchRLModule,
        observation_space=env.observation_space,
        action_space=env.action_space,
        model_config={**SMALL, "memory_slots": 5, "n_layers": 1},
    )
    with pytest.raises(OptionError, match=r"n_layers=2 and memory_slots=2.* n_layers=1 and mem"):
        spec.build().restore_from_path(module)


def test_other_spaces_are_named(saved):
    algo = elmur_ppo(env_config={"observation": gym.spaces.Box(-1, 1, (7,))}).build_algo()
    with pytest.raises(ValueError, match=r"saved for the observation space Box.*\(3,\).*\(7,\)"):
        algo.restore_from_path(saved)
    algo.stop()


def test_weights_without_a_checkpoint_name_a_parameter(saved):
    algo, other = elmur_ppo().build_algo(), elmur_ppo(d_ff=8).build_algo()
    with pytest.raises(ValueError, match=r"'network.elmur.layers.0.* has the shape"):
        learner_module(other).set_state(learner_module(algo).get_state())
    again = Algorithm.from_checkpoint(saved)  # of its own sizes
    for made in (algo, other, again):
        made.stop()


def test_the_command_says_it_before_anything_starts(rllib, saved, tmp_path):
    file = tmp_path / "small.yaml"
    file.write_text(FILE)
    code, output = rllib("train", "file", file, "--restore", saved, "--storage-path", tmp_path)
    assert code == 1 and "--restore" in output and "Traceback" not in output
    assert "n_layers=2" in output and "n_layers=1" in output
