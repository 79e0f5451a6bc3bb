"""Where RLlib's dense state is stored, one warning says why, what it costs and what mends it."""

import logging
import sys

import gymnasium as gym
import numpy as np
import pytest
import torch
from plugin_helpers import SMALL, RandomEnv, TwoAgents, elmur_ppo, learner_of, ppo
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

import rllib_elmur
from rllib_elmur.plugin import dense_state, rllib_internals, say_once
from rllib_elmur.plugin.agents.runner import ELMURMultiAgentEnvRunner
from rllib_elmur.plugin.connectors import BatchToModule
from rllib_elmur.plugin.env_runner import ELMUREnvRunner
from rllib_elmur.plugin.review import what_is_off
from rllib_elmur.plugin.rllib_internals import pipelines
from rllib_elmur.plugin.snapshots import pack_rows


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch):
    """As in a process that has not warned so far."""
    monkeypatch.setattr(say_once, "_said", set())


class Nothing(ConnectorV2):
    """A piece that leaves the batch as it is."""

    def __call__(self, *, batch, **kwargs):
        return batch


class LaterPPOConfig(PPOConfig):
    """PPO of a later RLlib, with one more default piece behind the others."""

    def build_env_to_module_connector(self, *args, **kwargs):
        pipeline = super().build_env_to_module_connector(*args, **kwargs)
        pipeline.append(Nothing())
        return pipeline


def one_more_piece(monkeypatch):
    config = LaterPPOConfig().update_from_dict(ppo(RandomEnv).to_dict())
    return rllib_elmur.use_elmur(config, **SMALL)


def a_name_less(monkeypatch):
    names = {("rllib.env.env_runner", "2.54", "2.60"): "_reset_envs_and_episodes _renamed"}
    monkeypatch.setattr(rllib_internals, "_OF_SAMPLING", names)
    return elmur_ppo()


def a_learner_connector_afterwards(monkeypatch):
    return elmur_ppo().learners(learner_connector=lambda *spaces: [])


def an_env_runner_before(monkeypatch):
    config = ppo(RandomEnv).env_runners(env_runner_cls=SingleAgentEnvRunner)
    return rllib_elmur.use_elmur(config, **SMALL)


def an_env_runner_afterwards(monkeypatch):
    return elmur_ppo().env_runners(env_runner_cls=SingleAgentEnvRunner)


def rllibs_env_runner_afterwards(monkeypatch):
    return elmur_ppo().env_runners(env_runner_cls=None)


def rllibs_env_runner_of_several_agents(monkeypatch):
    config = ppo(TwoAlike).multi_agent(
        policies={"shared"}, policy_mapping_fn=lambda *args, **kwargs: "shared"
    )
    return rllib_elmur.use_elmur(config, **SMALL).env_runners(env_runner_cls=None)


def several_agents_and_a_learner_connector_afterwards(monkeypatch):
    config = rllibs_env_runner_of_several_agents(monkeypatch).env_runners(
        env_runner_cls=ELMURMultiAgentEnvRunner
    )
    return config.learners(learner_connector=lambda *spaces: [])


class TwoAlike(TwoAgents):
    """Two agents with the same spaces."""

    def __init__(self, config=None):
        super().__init__(config)
        self.observation_spaces["second"] = self.observation_spaces["first"]
        self.action_spaces["second"] = self.action_spaces["first"]


CASES = {
    one_more_piece: ("default connector pieces", "ray[rllib] 2."),
    a_name_less: ("no _renamed", "ray[rllib] 2."),
    a_learner_connector_afterwards: (
        "`config.learners(learner_connector=...)`",
        "`rllib_elmur.use",
    ),
    an_env_runner_before: ("env_runner_cls=SingleAgentEnvRunner", "ELMUREnvRunner"),
    an_env_runner_afterwards: ("env_runner_cls=SingleAgentEnvRunner", "ELMUREnvRunner"),
    rllibs_env_runner_afterwards: ("env_runner_cls=None", "ELMUREnvRunner"),
    rllibs_env_runner_of_several_agents: ("env_runner_cls=None", "ELMURMultiAgentEnvRunner"),
    several_agents_and_a_learner_connector_afterwards: (
        "`config.learners(learner_connector=...)`",
        "`rllib_elmur.use",
    ),
}


def warnings_of(caplog):
    return [r.getMessage() for r in caplog.records if r.name.split(".")[0] == "rllib_elmur"]


def bytes_of(module):
    return dense_state.bytes_per_step(module.network.elmur, module.model_config["max_seq_len"])


def outputs(episode):
    if isinstance(episode, MultiAgentEpisode):
        return [part.extra_model_outputs for part in episode.agent_episodes.values()]
    return [episode.extra_model_outputs]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_one_warning_names_the_reason_the_bytes_and_the_line_and_training_goes_on(
    case, monkeypatch, caplog, ray_is_quiet
):
    why, mend = CASES[case]
    with caplog.at_level(logging.WARNING):
        algo = case(monkeypatch).build_algo()
        algo.train()
    [warning] = warnings_of(caplog)
    assert why in warning and mend in warning
    (module,) = dict(learner_of(algo).module.items()).values()
    dense, sparse = bytes_of(module)
    assert f"{dense:,} bytes per env step in place of about {sparse:,}" in warning
    for episode in algo.env_runner.sample(num_timesteps=9):
        assert all(Columns.STATE_OUT in stored for stored in outputs(episode))
    algo.stop()


def test_the_bytes_are_those_that_are_stored_and_sparse_ones_are_few(ray_is_quiet):
    algo = an_env_runner_afterwards(None).build_algo()
    [episode] = algo.env_runner.sample(num_timesteps=1)[:1]
    stored = episode.get_extra_model_outputs(Columns.STATE_OUT, 0)
    dense, sparse = bytes_of(algo.get_module())
    assert dense == sum(part.nbytes for part in stored.values())
    assert sparse < dense / 5
    algo.stop()


@pytest.mark.parametrize("options", [{}, {"memory_levels": 2}, {"attention_window": 5}], ids=str)
def test_the_bytes_of_snapshots_are_those_in_the_midst_of_an_episode(options):
    module = RLModuleSpec(
        module_class=rllib_elmur.ELMURTorchRLModule,
        observation_space=gym.spaces.Box(-1, 1, (3,)),
        action_space=gym.spaces.Discrete(2),
        model_config=SMALL | options,
    ).build()
    live, elmur, sizes = module.get_live_batch(1), module.network.elmur, []
    for _ in range(30 + SMALL["segment_length"]):
        module.forward_inference({"obs": torch.randn(1, 1, 3), "live_batch": live})
        sizes.append(len(pack_rows(live.state([0]), elmur)[0]))
    mean = np.mean(sizes[30:]) / SMALL["max_seq_len"]
    assert bytes_of(module)[1] == pytest.approx(mean, abs=1)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_what_a_config_alone_tells_is_said_before_anything_starts(case, monkeypatch):
    said = what_is_off(case(monkeypatch))
    if case in (one_more_piece, a_name_less):
        assert said is None  # it shows in RLlib's parts
        return
    assert all(part in said for part in CASES[case])
    assert "bytes per env step in place of about" in said


def test_nothing_is_said_of_a_config_with_all_of_it_or_without_elmur():
    assert what_is_off(elmur_ppo()) is None
    assert what_is_off(ppo(RandomEnv)) is None


class Derived(ELMUREnvRunner):
    """A user's env runner."""


@pytest.mark.parametrize(
    "prepare",
    [
        lambda config: config,
        lambda config: config.env_runners(env_runner_cls=Derived),
        lambda config: config.env_runners(env_to_module_connector=lambda *a: Nothing()),
        lambda config: config.evaluation(evaluation_interval=1, evaluation_duration=2),
    ],
    ids=["as it is", "derived env runner", "connector", "evaluation"],
)
def test_nothing_is_said_where_the_state_is_sparse(prepare, caplog, ray_is_quiet):
    with caplog.at_level(logging.WARNING):
        algo = prepare(elmur_ppo()).build_algo()
        algo.train()
    assert warnings_of(caplog) == []
    env_to_module, _ = pipelines(algo.env_runner)
    assert any(isinstance(piece, BatchToModule) for piece in env_to_module.connectors)
    algo.stop()


def test_a_remote_env_runner_repeats_no_warning(caplog, ray_is_quiet):
    config = a_learner_connector_afterwards(None).env_runners(num_env_runners=1)
    config.environment("rllib_elmur/TMazePassive-v0", env_config={})
    with caplog.at_level(logging.WARNING):
        algo = config.build_algo()
        algo.train()
    assert len(warnings_of(caplog)) == 1
    said = algo.env_runner_group.foreach_env_runner(
        lambda runner: list(sys.modules["rllib_elmur.plugin.say_once"]._said),
        local_env_runner=False,
    )
    assert said == [[]]
    algo.stop()
