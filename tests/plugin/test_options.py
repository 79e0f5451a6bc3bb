"""The options of learner and policy: where they travel, what is said of wrong ones."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from plugin_helpers import SMALL, RandomEnv, elmur_ppo, learner_of, ppo, tuned
from ray import cloudpickle, tune
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModule, RLModuleSpec

import rllib_elmur
from rllib_elmur.plugin.learner.classes import StablePPOTorchLearner
from rllib_elmur.plugin.learner.options import LearnerOptions

LEARNERS = {"memory_lr_scale": 0.25, "weight_decay": 0.5, "encoder_weight_decay": 2.0}


def group_options(groups: list[dict[str, Any]]) -> dict[str, float]:
    """The options in the parameter groups of an optimizer."""
    first, memory, encoder = groups
    return {
        "memory_lr_scale": memory["lr"] / first["lr"],
        "weight_decay": memory["weight_decay"],
        "encoder_weight_decay": encoder["weight_decay"],
    }


def options_in_force(algo: Any) -> dict[str, float]:
    [(_, optimizer)] = learner_of(algo).get_optimizers_for_module("default_policy")
    return group_options(optimizer.param_groups)


def test_options_of_the_learner_stand_in_rllibs_dict_and_those_that_stood_there_stay() -> None:
    config = PPOConfig().learners(learner_config_dict={"weight_decay": 0.5, "memory_lr_scale": 0.1})
    rllib_elmur.use_elmur(config, memory_lr_scale=0.2, encoder_weight_decay=2.0)
    assert config.learner_config_dict == {
        "weight_decay": 0.5,
        "memory_lr_scale": 0.2,
        "encoder_weight_decay": 2.0,
    }
    assert not set(config.rl_module_spec.model_config) & set(LearnerOptions.names())


@pytest.mark.parametrize("way", ["by name", "before", "afterwards"])
def test_every_way_to_say_them_puts_them_in_force(way: str) -> None:
    config = ppo(RandomEnv)
    if way == "before":
        config.learners(learner_config_dict=LEARNERS)
    rllib_elmur.use_elmur(config, **SMALL, **(LEARNERS if way == "by name" else {}))
    if way == "afterwards":
        config.learners(learner_config_dict=LEARNERS)
    algo = config.build_algo()
    assert options_in_force(algo) == pytest.approx(LEARNERS)
    algo.stop()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"weight_decai": 0.5}, "weight_decai=0.5 is not an option.*Did you mean 'weight_decay'"),
        ({"weight_decay": -0.5}, "weight_decay=-0.5: must be a number >= 0.0"),
        ({"memory_lr_scale": "0.1"}, "memory_lr_scale='0.1': must be a number"),
    ],
)
def test_wrong_options_of_the_learner_are_named_wherever_they_stand(
    wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        rllib_elmur.use_elmur(ppo(), **wrong)
    with pytest.raises(ValueError, match=message):
        rllib_elmur.use_elmur(ppo().learners(learner_config_dict=wrong))
    with pytest.raises(ValueError, match=message):
        elmur_ppo().learners(learner_config_dict=wrong).build_algo()


class Derived(StablePPOTorchLearner):
    """A user's learner that reads a key of its own."""


def test_a_learner_of_the_user_may_have_keys_of_its_own() -> None:
    config = ppo().learners(learner_class=Derived, learner_config_dict={"mine": 1})
    rllib_elmur.use_elmur(config, **SMALL, **LEARNERS)
    assert config.learner_class is Derived
    algo = config.build_algo()
    assert options_in_force(algo) == pytest.approx(LEARNERS)
    algo.stop()
    with pytest.raises(ValueError, match="weight_decay=-1: must be a number"):
        rllib_elmur.use_elmur(config, weight_decay=-1)


def test_an_option_of_the_learner_among_the_models_is_told_where_it_belongs() -> None:
    spec = RLModuleSpec(
        module_class=rllib_elmur.ELMURTorchRLModule, model_config={"weight_decay": 0.5}
    )
    with pytest.raises(ValueError, match=r"weight_decay=0.5 is an option of the learner.*`learner"):
        ppo().rl_module(rl_module_spec=spec).build_algo()


@pytest.mark.parametrize("part", ["previous_action", "previous_reward"])
def test_what_changes_the_observation_space_is_not_searched_over(part: str) -> None:
    with pytest.raises(ValueError, match=f"{part}=.*: must be a bool, and cannot be searched"):
        rllib_elmur.use_elmur(ppo(), **{part: tune.choice([True, False])})


def test_a_spec_by_hand_with_short_sequences_is_warned_of() -> None:
    options = SMALL | {"max_seq_len": 2 * SMALL["segment_length"] - 1}
    spec = RLModuleSpec(module_class=rllib_elmur.ELMURTorchRLModule, model_config=options)
    with pytest.warns(UserWarning, match="max_seq_len=5 is less than two segments"):
        ppo().rl_module(rl_module_spec=spec).build_algo().stop()


def test_tune_chooses_options_of_the_learner_and_the_length_of_sequences(tmp_path: Path) -> None:
    chosen = {
        "weight_decay": tune.grid_search([0.25, 0.5]),
        "memory_lr_scale": tune.choice([0.125]),
        "max_seq_len": tune.choice([9]),
    }
    config = rllib_elmur.use_elmur(
        ppo("rllib_elmur/TMazePassive-v0"), encoder_weight_decay=1.0, **SMALL | chosen
    )
    results = tuned(config, tmp_path)
    assert not results.errors
    decays = set()
    for result in results:
        learner = Path(result.checkpoint.path) / "learner_group" / "learner"
        state = cloudpickle.loads((learner / "state.pkl").read_bytes())
        [optimizer] = state["optimizer"].values()
        options = group_options(optimizer["state"]["param_groups"])
        assert options["encoder_weight_decay"] == 1.0
        assert options["memory_lr_scale"] == pytest.approx(0.125)
        decays.add(options["weight_decay"])
        module = RLModule.from_checkpoint(learner / "rl_module" / "default_policy")
        assert module.model_config["max_seq_len"] == 9
    assert decays == {0.25, 0.5}


TYPED = """
from ray.rllib.algorithms.ppo import PPOConfig
from rllib_elmur import use_elmur
config: PPOConfig = use_elmur(PPOConfig(), segment_length=3, weight_decay=0.5, max_seq_len=9)
config.training(use_kl_loss=True)
"""


@pytest.mark.skipif(shutil.which("ty") is None, reason="the type checker is not installed")
@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("", None),
        ("use_elmur(PPOConfig()).no_such_method()", "no_such_method"),
        ("use_elmur(PPOConfig(), previous_action=3)", "previous_action"),
    ],
)
def test_a_type_checker_knows_the_arguments_and_the_configs_own_type(
    line: str, error: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "typed.py"
    file.write_text(TYPED + line + "\n")
    done = subprocess.run(
        ["ty", "check", "--python", sys.prefix, str(file)], capture_output=True, text=True
    )
    assert (done.returncode == 0) is (error is None), done.stdout
    assert error is None or error in done.stdout
