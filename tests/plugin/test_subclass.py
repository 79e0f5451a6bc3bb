"""A class derived from ELMUR's module works like the class itself; what is put in by hand warns."""

import json
import logging
import re
from pathlib import Path

import pytest
import torch
from plugin_helpers import (
    SMALL,
    RandomEnv,
    TwoAgents,
    learner_module,
    learner_of,
    ppo,
    train_batch,
    unmoved,
    weights,
)
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModule, RLModuleSpec

import rllib_elmur
from rllib_elmur.files import schema
from rllib_elmur.plugin import say_once
from rllib_elmur.plugin.env_runner import ELMUREnvRunner
from rllib_elmur.plugin.learner.classes import StablePPOTorchLearner
from rllib_elmur.plugin.review import what_is_off
from rllib_elmur.plugin.snapshots import SNAPSHOTS

LEARNERS = {"weight_decay": 0.5, "memory_lr_scale": 0.125}


class Bolder(rllib_elmur.ELMURTorchRLModule):
    """A policy whose preferences count twice."""

    def _forward(self, batch, **kwargs):
        return self._bolder(super()._forward(batch, **kwargs))

    def _forward_train(self, batch, **kwargs):
        return self._bolder(super()._forward_train(batch, **kwargs))

    @staticmethod
    def _bolder(outputs):
        doubled = 2 * outputs[Columns.ACTION_DIST_INPUTS]
        return {**outputs, Columns.ACTION_DIST_INPUTS: doubled}


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch):
    """As in a process that has not warned so far."""
    monkeypatch.setattr(say_once, "_said", set())


def warnings_of(caplog):
    return [r.getMessage() for r in caplog.records if r.name.split(".")[0] == "rllib_elmur"]


FILE = """
bolder:
  run: PPO
  env: plugin_helpers.RandomEnv
  config:
    env_config: {{lengths: [5, 12]}}
    num_env_runners: 0
    num_learners: 0
    num_envs_per_env_runner: 2
    train_batch_size_per_learner: 64
    minibatch_size: 32
    learner_config_dict: {learner}
    rl_module_spec:
      module_class: test_subclass.Bolder
      model_config: {model}
"""


def from_python(tmp_path):
    config = ppo(RandomEnv, {"lengths": [5, 12]})
    return rllib_elmur.use_elmur(config, module_class=Bolder, **SMALL, **LEARNERS)


def from_yaml(tmp_path):
    file = tmp_path / "bolder.yaml"
    file.write_text(FILE.format(learner=LEARNERS, model=json.dumps(SMALL)))
    [experiment] = schema.load(file)
    return experiment.trials[0].config


@pytest.mark.parametrize("way", [from_python, from_yaml])
def test_a_derived_class_gets_learner_env_runner_options_and_sparse_state(
    way, tmp_path, caplog, ray_is_quiet
):
    config = way(tmp_path)
    assert config.learner_class is StablePPOTorchLearner
    assert config.env_runner_cls is ELMUREnvRunner
    with caplog.at_level(logging.WARNING):
        algo = config.build_algo()
        before = weights(learner_module(algo))
        algo.train()
    assert warnings_of(caplog) == []
    assert isinstance(learner_module(algo), Bolder)
    assert unmoved(before, weights(learner_module(algo))) == []
    [(_, optimizer)] = learner_of(algo).get_optimizers_for_module("default_policy")
    first, memory, _ = optimizer.param_groups
    assert first["weight_decay"] == 0.5 and memory["lr"] == pytest.approx(0.125 * first["lr"])
    # The learner computes what the env runner computed, from snapshots.
    algo.env_runner.module.set_state(learner_module(algo).get_state(inference_only=True))
    algo.env_runner.sample(num_timesteps=13)
    episodes = algo.env_runner.sample(num_timesteps=40)
    assert all(SNAPSHOTS in episode.extra_model_outputs for episode in episodes)
    batch = train_batch(algo, episodes)
    with torch.no_grad():
        logits = learner_module(algo).forward_train(batch)[Columns.ACTION_DIST_INPUTS]
    error = (logits - batch[Columns.ACTION_DIST_INPUTS])[batch[Columns.LOSS_MASK]]
    assert error.abs().max() < 1e-5
    module = RLModule.from_checkpoint(
        Path(algo.save_to_path(str(tmp_path / "saved")))
        / "learner_group/learner/rl_module/default_policy"
    )
    assert isinstance(module, Bolder)
    algo.stop()


def by_hand(module_class=rllib_elmur.ELMURTorchRLModule, env=RandomEnv):
    spec = RLModuleSpec(module_class=module_class, model_config=SMALL | {"memory_levels": 2})
    return ppo(env).rl_module(rl_module_spec=spec)


def of_two(config):
    config.multi_agent(
        policies={"first", "second"}, policy_mapping_fn=lambda agent, episode, **kwargs: agent
    )
    lstm = DefaultModelConfig(use_lstm=True, lstm_cell_size=8, max_seq_len=5, fcnet_hiddens=[8])
    parts = {
        "first": RLModuleSpec(module_class=rllib_elmur.ELMURTorchRLModule, model_config=SMALL),
        "second": RLModuleSpec(model_config=lstm),
    }
    return config.rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs=parts))


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (
            lambda: by_hand(),
            ", d_model=16, n_layers=2, d_ff=16, segment_length=3, memory_slots=2, "
            "attention_window=None, rotate_distances=False",
        ),
        (lambda: by_hand(Bolder), ", module_class=Bolder, d_model=16"),
        (lambda: of_two(ppo(TwoAgents)), ", d_model=16"),
    ],
    ids=["spec", "subclass", "several modules"],
)
def test_what_is_put_in_by_hand_says_once_what_is_off_and_what_mends_it(
    config, line, caplog, ray_is_quiet
):
    made = config()
    said = what_is_off(made)
    with caplog.at_level(logging.WARNING):
        algo = made.build_algo()
        for _ in range(2):
            algo.train()
    [warning] = warnings_of(caplog)
    assert said.split(":")[1:] == warning.split(":")[1:]
    assert re.search(r"\d bytes per env step in place of about \d", warning)
    assert "learner" in warning and f"`rllib_elmur.use_elmur(config{line}" in warning
    algo.stop()


def test_use_elmur_after_a_spec_of_several_modules_keeps_them_and_gives_them_all_of_it(
    caplog, ray_is_quiet
):
    config = rllib_elmur.use_elmur(of_two(ppo(TwoAgents)), memory_levels=2, **LEARNERS)
    with caplog.at_level(logging.WARNING):
        algo = config.build_algo()
        before = {key: weights(learner_module(algo, key)) for key in ("first", "second")}
        algo.train()
    assert warnings_of(caplog) == []
    for key, old in before.items():
        assert unmoved(old, weights(learner_module(algo, key))) == []
    elmur = learner_module(algo, "first")
    assert elmur.network.elmur.config.memory_levels == 2
    assert elmur.network.elmur.config.d_model == SMALL["d_model"]
    assert elmur.model_config["max_seq_len"] == SMALL["max_seq_len"]
    [(_, optimizer)] = learner_of(algo).get_optimizers_for_module("first")
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.5, 0.0]
    [(_, optimizer)] = learner_of(algo).get_optimizers_for_module("second")
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0]
    algo.stop()


def test_a_spec_by_hand_after_use_elmur_goes_without_nothing_and_a_warning(caplog, ray_is_quiet):
    config = rllib_elmur.use_elmur(ppo(RandomEnv), **SMALL)
    spec = RLModuleSpec(module_class=rllib_elmur.ELMURTorchRLModule, model_config=SMALL)
    with caplog.at_level(logging.WARNING):
        algo = config.rl_module(rl_module_spec=spec).build_algo()
        algo.train()
    assert warnings_of(caplog) == []
    algo.stop()


class OwnLearner(PPOTorchLearner):
    """A learner of the user's."""


def test_a_config_whose_learner_is_the_users_is_not_by_hand():
    config = rllib_elmur.use_elmur(ppo(RandomEnv).learners(learner_class=OwnLearner), **SMALL)
    assert config.learner_class is OwnLearner
    module = config.get_rl_module_spec(env=RandomEnv()).build()
    assert module.is_attached


@pytest.mark.parametrize(
    ("name", "of_spec", "asked_for"),
    [("memory_levels", 2, None), ("memory_levels", 3, 2), ("previous_action", True, False)],
)
def test_what_is_asked_for_overrules_a_spec_of_several_modules_also_if_it_is_a_default(
    name, of_spec, asked_for
):
    config = of_two(ppo(TwoAgents))
    part = config.rl_module_spec.rl_module_specs["first"]
    part.model_config = {**SMALL, name: of_spec}
    rllib_elmur.use_elmur(config, **{name: asked_for})
    options = config.rl_module_spec.rl_module_specs["first"].model_config
    assert options[name] is asked_for
    assert options["d_model"] == SMALL["d_model"]
