"""A policy with an action mask never takes an action that the mask forbids, wherever it acts."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import tree
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from plugin_helpers import (
    SMALL,
    RandomEnv,
    elmur_ppo,
    learner_module,
    learner_of,
    train_batch,
    unmoved,
    weights,
)
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.utils.spaces.space_utils import get_base_struct_from_space
from rollouts import watch_steps

import rllib_elmur
from rllib_elmur.errors import UserError
from rllib_elmur.files import schema
from rllib_elmur.plugin import say_once
from rllib_elmur.plugin.snapshots import SNAPSHOTS
from rllib_elmur.proof.certify import require_rounded
from rllib_elmur.runs.evaluate import evaluate
from rllib_elmur.runs.options import EvaluateOptions

CONFIGS = {"PPO": PPOConfig, "IMPALA": IMPALAConfig, "APPO": APPOConfig}
WAYS = ["sparse", "pieces", "dense"]
PARTS = "mean_kl_loss", "entropy", "policy_loss", "mean_pi_loss", "vf_loss"
MASKS = {
    "Discrete": (Discrete(3), MultiBinary(3)),
    "MultiDiscrete": (MultiDiscrete([2, 4]), Box(0, 1, (6,), np.int8)),
    "Dict": (
        Dict({"turn": MultiDiscrete([3, 2]), "go": Discrete(4)}),
        Dict({"turn": MultiBinary(5), "go": Box(0, 1, (4,))}),
    ),
    "Tuple": (Tuple([Discrete(3), Discrete(2)]), Tuple([MultiBinary(3), MultiBinary(2)])),
}


class MaskedEnv(RandomEnv):
    """Allows some actions at each step, others at the next, and raises for one that is forbidden.

    Its last observation allows nothing.

    Args:
        config: That of `RandomEnv`, with a `mask` space; `dead_end` is the step at which nothing is
            allowed though the episode goes on.
    """

    def __init__(self, config: Any = None):
        config = {"lengths": [3, 12, 17], **dict(config or {})}
        super().__init__(config)
        self.seen = self.observation_space
        self.mask_space = config.get("mask", MultiBinary(3))
        self.dead_end = config.get("dead_end")
        self.observation_space = Dict({"observations": self.seen, "action_mask": self.mask_space})

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self._observation(), {}

    def step(self, action: Any) -> Any:
        taken = [np.ravel(part) for part in tree.flatten(action)]
        for allowed, number in zip(self.allowed, np.concatenate(taken), strict=True):
            assert allowed[number], f"{number} is forbidden by {allowed}"
        _, *outcome = super().step(action)
        return self._observation(over=outcome[1] or outcome[2]), *outcome

    def _observation(self, over: bool = False) -> Any:
        self.allowed, parts = [], []
        for leaf in tree.flatten(get_base_struct_from_space(self.action_space)):
            sizes = np.ravel(leaf.n if isinstance(leaf, Discrete) else leaf.nvec)
            choices = [self.np_random.integers(2, size=size) for size in sizes]
            for choice in choices:
                choice[self.np_random.integers(len(choice))] = 1
                if over or self.t == self.dead_end:
                    choice[:] = 0
            self.allowed += choices
            parts.append(np.concatenate(choices))
        struct = get_base_struct_from_space(self.mask_space)
        leaves = zip(tree.flatten(struct), parts, strict=True)
        mask = tree.unflatten_as(struct, [part.astype(leaf.dtype) for leaf, part in leaves])
        return {"observations": self.seen.sample(), "action_mask": mask}


def build(name: str, way: str, **options: Any) -> Any:
    env_config = options.pop("env_config", {})
    config = (
        CONFIGS[name]()
        .environment(MaskedEnv, env_config=env_config)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=2, rollout_fragment_length="auto")
        .learners(num_learners=0)
        .training(train_batch_size_per_learner=64, lr=1e-2)
        .evaluation(
            evaluation_interval=1,
            evaluation_duration=4,
            evaluation_config=CONFIGS[name].overrides(explore=False),
        )
        .reporting(min_time_s_per_iteration=0)
        .debugging(seed=0, log_level="ERROR")
    )
    if name == "PPO":
        config.training(minibatch_size=32, num_epochs=2)
    else:
        config.env_runners(rollout_fragment_length=16)
    rllib_elmur.use_elmur(config, **{**SMALL, "action_mask": True, **options})
    if way == "dense":
        config.env_runners(env_runner_cls=SingleAgentEnvRunner)
    elif way == "pieces":
        config.callbacks(on_episode_step=watch_steps)
    return config.build_algo()


def prefer_one(algo: Any) -> None:
    """Makes the policy all but certain of one action of each choice, which is often forbidden."""
    module = learner_module(algo)
    with torch.no_grad():
        for part in module.parameters():
            part.add_(0.2 * torch.randn_like(part))
        module.network.pi.bias[::2] += 10.0
    algo.env_runner.module.set_state(module.get_state(inference_only=True))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CONFIGS)
def test_training_and_evaluation_obey_the_mask_and_losses_stay_finite(
    name: str, way: str, ray_is_quiet: Any
) -> None:
    algo, losses, played = build(name, way), [], 0
    prefer_one(algo)
    learner, before = learner_of(algo), weights(learner_module(algo))
    compute_loss = learner.compute_loss_for_module

    def recording(**arguments: Any) -> Any:
        loss = compute_loss(**arguments)
        parts = learner.metrics.peek(("default_policy",))
        # Those of which a gradient would be left out without a word.
        parts = {key: part for key, part in parts.items() if key in PARTS}
        losses.append({"loss": float(loss.detach())} | tree.map_structure(float, parts))
        return loss

    learner.compute_loss_for_module = recording
    for _ in range(60):
        result = algo.train()  # the environment raises for what is forbidden
        played += result["evaluation"]["env_runners"]["num_episodes"]
        if len(losses) >= 6:
            break
    assert len(losses) >= 6 and played > 0
    assert np.isfinite([part for parts in losses for part in parts.values()]).all(), losses
    assert ("mean_kl_loss" in losses[0]) == (name != "IMPALA")
    after = weights(learner_module(algo))
    assert all(np.isfinite(value).all() for value in after.values())
    assert not [part for part in unmoved(before, after) if "target" not in part]
    algo.stop()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("space", MASKS)
def test_the_learner_computes_the_masked_logits_of_the_rollout(
    way: str, space: str, ray_is_quiet: Any
) -> None:
    action, mask = MASKS[space]
    algo = build("PPO", way, env_config={"action": action, "mask": mask})
    prefer_one(algo)
    algo.env_runner.sample(num_timesteps=9)
    episodes = algo.env_runner.sample(num_timesteps=80)
    assert all(
        (SNAPSHOTS in episode.extra_model_outputs) == (way != "dense") for episode in episodes
    )
    batch = train_batch(algo, episodes)
    module, real = learner_module(algo), batch[Columns.LOSS_MASK]
    with torch.no_grad():
        logits = module.forward_train(batch)[Columns.ACTION_DIST_INPUTS][real]
    stored = batch[Columns.ACTION_DIST_INPUTS][real]
    forbidden = torch.cat(tree.flatten(batch[Columns.OBS]["action_mask"]), -1)[real] == 0
    assert 0.2 < forbidden.float().mean() < 0.6
    assert ((stored < -1e8) == forbidden).all() and ((logits < -1e8) == forbidden).all()
    assert (logits - stored)[~forbidden].abs().max() < 1e-5
    distribution = module.get_train_action_dist_cls().from_logits(logits)
    actions = tree.map_structure(lambda part: part[real], batch[Columns.ACTIONS])
    assert (distribution.logp(actions) - batch[Columns.ACTION_LOGP][real]).abs().max() < 1e-5
    assert (distribution.logp(actions) <= 0).all() and torch.isfinite(distribution.entropy()).all()
    algo.stop()


def test_the_mask_is_no_input_of_the_policy() -> None:
    algo = elmur_ppo(MaskedEnv, action_mask=True).build_algo()
    module = algo.env_runner.module
    observation = {"observations": torch.randn(1, 1, 3), "action_mask": torch.ones(1, 1, 3)}
    state = {key: value[None] for key, value in module.get_initial_state().items()}

    def act(mask: list[int]) -> Any:
        batch = {"obs": {**observation, "action_mask": torch.tensor([[mask]])}, "state_in": state}
        return module.forward_inference(batch)

    free, bound = act([1, 1, 1]), act([1, 0, 1])
    logits, masked = (output["action_dist_inputs"][0, 0] for output in (free, bound))
    assert (logits[[0, 2]] == masked[[0, 2]]).all() and masked[1] < -1e8 < logits[1]
    for name, part in free["state_out"].items():
        assert (part == bound["state_out"][name]).all()
    algo.stop()


def test_previous_action_and_reward_stand_beside_a_mask() -> None:
    algo = elmur_ppo(
        MaskedEnv, action_mask=True, previous_action=True, previous_reward=True
    ).build_algo()
    prefer_one(algo)
    assert np.isfinite(algo.train()["learners"]["default_policy"]["total_loss"])
    algo.stop()


@pytest.mark.parametrize("way", ["sparse", "pieces"])
@pytest.mark.parametrize("dead_end", [0, 2])
def test_a_mask_that_forbids_everything_is_an_error_where_the_policy_has_to_act(
    way: str, dead_end: int, ray_is_quiet: Any
) -> None:
    algo = build("PPO", way, env_config={"dead_end": dead_end})
    with pytest.raises(ValueError, match="forbids every action") as error:
        algo.train()
    assert str(error.value).startswith("observation['action_mask'] forbids every action (row ")
    assert "the environment MaskedEnv returned it" in str(error.value)
    algo.stop()


def test_the_learner_refuses_steps_at_which_nothing_was_allowed(ray_is_quiet: Any) -> None:
    algo = build("PPO", "dense")
    batch = train_batch(algo, algo.env_runner.sample(num_timesteps=40))
    masks, module = batch[Columns.OBS]["action_mask"], learner_module(algo)
    # Padding, and an episode's last observation, allow nothing.
    assert (masks[~batch[Columns.LOSS_MASK]].sum(-1) == 0).any()
    module.forward_train(batch)
    masks[2, 1] = 0
    with pytest.raises(ValueError, match=r"forbids every action \(row 2 of the batch\)"):
        module.forward_train(batch)
    algo.stop()


def test_a_checkpoint_is_evaluated_with_its_mask(tmp_path: Path, ray_is_quiet: Any) -> None:
    for options in ({}, {"previous_action": True}):  # handed to the module, through connectors
        algo = build("PPO", "sparse", **options)
        prefer_one(algo)
        path = Path(algo.save_to_path(str(tmp_path / str(len(options)))))
        algo.stop()
        [row] = evaluate([path], EvaluateOptions(episodes=8))
        assert row.episodes == 8  # the environment raises for what is forbidden
        with pytest.raises(UserError, match="forbids every action"):
            evaluate([path], EvaluateOptions(episodes=8, env_config={"dead_end": 2}))


@pytest.mark.parametrize(
    ("env_config", "sentence"),
    [
        (
            {"mask": MultiBinary(4)},
            "observation['action_mask'] has the space MultiBinary(4): for the actions Discrete(3) "
            "it must be MultiBinary(3), or the same of Boxes from 0 to 1.",
        ),
        ({"mask": Box(-1, 1, (3,))}, "it must be MultiBinary(3)"),
        ({"mask": Discrete(3)}, "it must be MultiBinary(3)"),
        ({"mask": MultiBinary(4), "action": MultiDiscrete([2, 3])}, "it must be MultiBinary(5)"),
        (
            {"mask": MultiBinary(5), "action": Tuple([Discrete(3), Discrete(2)])},
            "it must be Tuple(MultiBinary(3), MultiBinary(2))",
        ),
        (
            {"mask": Dict({"a": MultiBinary(3)}), "action": Dict({"b": Discrete(3)})},
            "it must be Dict('b': MultiBinary(3))",
        ),
        (
            {"action": Box(-1, 1, (2,))},
            "action_mask=True: actions of the space Box(-1.0, 1.0, (2,), float32) cannot be masked",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value)[:50],
)
def test_a_mask_that_does_not_fit_the_actions_is_refused_at_build(
    env_config: dict[str, Any], sentence: str
) -> None:
    config = elmur_ppo(MaskedEnv, env_config, action_mask=True)
    with pytest.raises(ValueError, match="action_mask") as error:
        config.get_rl_module_spec(env=MaskedEnv(env_config)).build()
    assert sentence in str(error.value) and str(error.value).count(". ") == 0


def test_an_observation_without_a_mask_is_refused_at_build() -> None:
    config = elmur_ppo(RandomEnv, action_mask=True)
    with pytest.raises(
        ValueError, match="has no part 'action_mask': it must be a Dict of"
    ) as error:
        config.build_algo()
    assert "MultiBinary(3)" in str(error.value)


def test_a_mask_of_another_length_than_its_space_is_refused() -> None:
    config = elmur_ppo(MaskedEnv, action_mask=True)
    module = config.get_rl_module_spec(env=MaskedEnv()).build()
    with pytest.raises(ValueError, match=r"\['action_mask'\] has 2 entries: .* must have 3"):
        module.mask(torch.zeros(1, 1, 3), {"action_mask": torch.ones(1, 1, 2)})


def test_a_mask_that_is_only_read_is_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(say_once, "_said", set())
    config = elmur_ppo(MaskedEnv)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            config.get_rl_module_spec(env=MaskedEnv()).build()
    [warning] = [r.getMessage() for r in caplog.records if "action_mask" in r.getMessage()]
    assert "may take actions that are masked out" in warning and "action_mask=True" in warning


def test_a_policy_with_a_mask_cannot_be_certified() -> None:
    config = elmur_ppo(MaskedEnv, action_mask=True, memory_levels=2)
    module = config.get_rl_module_spec(env=MaskedEnv()).build()
    with pytest.raises(UserError, match="action_mask=True"):
        require_rounded(module)


def test_a_file_asks_for_the_mask_by_one_line(tmp_path: Path) -> None:
    file = tmp_path / "masked.yaml"
    file.write_text("""
masked:
  run: PPO
  env: test_action_mask.MaskedEnv
  config:
    rl_module_spec:
      module_class: rllib_elmur.ELMURTorchRLModule
      model_config: {action_mask: true}
""")
    [experiment] = schema.load(file)
    config = experiment.trials[0].config
    module = config.get_rl_module_spec(env=MaskedEnv()).build()
    logits = module.mask(torch.zeros(1, 3), {"action_mask": torch.tensor([[0, 1, 0]])})
    assert logits.argmax() == 1 and (logits < -1e8).sum() == 2
