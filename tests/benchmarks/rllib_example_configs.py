"""RLlib's examples with memory: their configs for PPO, with RLlib's LSTM or with ELMUR.

Each function is named after the file below `ray/rllib/examples` whose values it has. The env runner
is local, with an environment for each env runner that the example has.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gymnasium.spaces import Discrete
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module import (
    FlattenObservations,
    MeanStdFilter,
    PrevActionsPrevRewards,
)
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.examples.envs.classes.multi_agent import MultiAgentStatelessCartPole
from ray.rllib.examples.envs.classes.stateless_cartpole import StatelessCartPole
from ray.rllib.examples.rl_modules.classes import AlwaysSameHeuristicRLM, BeatLastHeuristicRLM
from ray.rllib.examples.rl_modules.classes.lstm_containing_rlm import LSTMContainingRLModule
from ray.tune import register_env
from suite_tasks import TASKS
from suite_training import Job, config_of
from torch import nn

from rllib_elmur import ELMURTorchRLModule, use_elmur

PEERS = ("RLlib's", "ELMUR's")
RETURN = "env_runners/episode_return_mean"


def custom_lstm_rl_module(peer: str) -> PPOConfig:
    """A module of the example's own that contains an LSTM: rl_modules/custom_lstm_rl_module.py."""
    config = PPOConfig().environment(StatelessCartPole)
    config.env_runners(num_envs_per_env_runner=2)
    config.training(
        train_batch_size_per_learner=1024,
        num_epochs=6,
        lr=0.0009,
        vf_loss_coeff=0.001,
        entropy_coeff=0.0,
    )
    if peer == "ELMUR's":
        return use_elmur(config)
    model = {"lstm_cell_size": 256, "dense_layers": [256, 256], "max_seq_len": 20}
    spec = RLModuleSpec(module_class=LSTMContainingRLModule, model_config=model)
    return config.rl_module(rl_module_spec=spec)


def prev_actions_prev_rewards(peer: str) -> PPOConfig:
    """The previous action and reward: connectors/prev_actions_prev_rewards.py."""
    config = PPOConfig().environment(StatelessCartPole)
    config.env_runners(num_envs_per_env_runner=2)
    config.training(num_epochs=6, lr=0.0003, train_batch_size=4000, vf_loss_coeff=0.01)
    if peer == "ELMUR's":
        return use_elmur(config, previous_action=True, previous_reward=True)
    config.env_runners(
        env_to_module_connector=lambda env, spaces, device: [
            PrevActionsPrevRewards(n_prev_rewards=1, n_prev_actions=1),
            FlattenObservations(),
        ]
    )
    model = DefaultModelConfig(
        use_lstm=True,
        max_seq_len=20,
        fcnet_hiddens=[32],
        fcnet_activation="linear",
        fcnet_kernel_initializer=nn.init.xavier_uniform_,
        fcnet_bias_initializer=nn.init.constant_,
        fcnet_bias_initializer_kwargs={"val": 0.0},
        vf_share_layers=True,
    )
    return config.rl_module(model_config=model)


def stateless_cartpole_ppo(peer: str) -> PPOConfig:
    """The suite's task, which has the values of algorithms/ppo/stateless_cartpole_ppo.py."""
    policy = "elmur" if peer == "ELMUR's" else "lstm"
    name = "StatelessCartPole"
    return config_of(Job(name, TASKS[name], policy, policy, seed=0, steps=0))


def multi_agent_stateless_cartpole_ppo(peer: str) -> PPOConfig:
    """Two policies: algorithms/ppo/multi_agent_stateless_cartpole_ppo.py, not in Ray's wheel."""
    config = PPOConfig().environment(MultiAgentStatelessCartPole, env_config={"num_agents": 2})
    config.env_runners(
        num_envs_per_env_runner=3,
        env_to_module_connector=lambda env, spaces, device: MeanStdFilter(multi_agent=True),
    )
    config.training(lr=0.0003, num_epochs=6, vf_loss_coeff=0.05)
    config.multi_agent(policies={"p0", "p1"}, policy_mapping_fn=lambda aid, *_, **__: f"p{aid}")
    if peer == "ELMUR's":
        return use_elmur(config)
    return config.rl_module(model_config=DefaultModelConfig(use_lstm=True, max_seq_len=20))


def rock_paper_scissors_heuristic_vs_learned(peer: str) -> PPOConfig:
    """Against two simple players: multi_agent/rock_paper_scissors_heuristic_vs_learned.py."""
    import random

    def player(agent: str, episode: Any, **_: Any) -> str:
        return "learned" if agent == "player_0" else random.choice(["always_same", "beat_last"])

    config = _rock_paper_scissors()
    config.env_runners(
        env_to_module_connector=lambda env, spaces, device: FlattenObservations(
            multi_agent=True, agent_ids={"player_0"}
        )
    )
    config.multi_agent(
        policies={"always_same", "beat_last", "learned"},
        policy_mapping_fn=player,
        policies_to_train=["learned"],
    )
    spaces = {"observation_space": Discrete(4), "action_space": Discrete(3)}
    specs = {
        "always_same": RLModuleSpec(module_class=AlwaysSameHeuristicRLM, **spaces),
        "beat_last": RLModuleSpec(module_class=BeatLastHeuristicRLM, **spaces),
    }
    return _with_player(config, peer, "learned", specs)


def rock_paper_scissors_learned_vs_learned(peer: str) -> PPOConfig:
    """ELMUR against RLlib's LSTM: multi_agent/rock_paper_scissors_learned_vs_learned.py."""
    config = _rock_paper_scissors()
    config.env_runners(
        env_to_module_connector=lambda env, spaces, device: FlattenObservations(multi_agent=True)
    )
    config.multi_agent(
        policies={"p0", "p1"},
        policy_mapping_fn=lambda aid, *_, **__: aid.replace("player_", "p"),
    )
    return _with_player(config, peer, "p0", {"p1": RLModuleSpec(model_config=_player_lstm())})


def _rock_paper_scissors() -> PPOConfig:
    from pettingzoo.classic import rps_v2
    from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv

    register_env("pettingzoo_rps", lambda _: ParallelPettingZooEnv(rps_v2.parallel_env()))
    config = PPOConfig().environment("pettingzoo_rps").env_runners(num_envs_per_env_runner=2)
    return config.training(vf_loss_coeff=0.005)


def _player_lstm() -> DefaultModelConfig:
    return DefaultModelConfig(
        use_lstm=True, fcnet_hiddens=[32], lstm_cell_size=256, max_seq_len=15, vf_share_layers=True
    )


def _with_player(
    config: PPOConfig, peer: str, name: str, others: dict[str, RLModuleSpec]
) -> PPOConfig:
    """Gives a config the module of the player that is measured, beside those of the others."""
    is_elmur = peer == "ELMUR's"
    spec = RLModuleSpec(model_config=_player_lstm())
    if is_elmur:
        spec = RLModuleSpec(module_class=ELMURTorchRLModule)
    config.rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs={**others, name: spec}))
    return use_elmur(config) if is_elmur else config


@dataclass(frozen=True)
class Example:
    """An example of RLlib's.

    Attributes:
        config: Makes its config, for one of `PEERS`.
        steps: Env steps of a training.
        stop: The reward at which it stops, if it is one of learning.
        metric: The mean return that this is about.
    """

    config: Callable[[str], PPOConfig]
    steps: int
    stop: float | None
    metric: str = RETURN


EXAMPLES = {
    made.config.__name__: made
    for made in (
        Example(custom_lstm_rl_module, 60_000, 300.0),
        Example(prev_actions_prev_rewards, 72_000, 200.0),
        Example(stateless_cartpole_ppo, 72_000, 350.0),
        Example(multi_agent_stateless_cartpole_ppo, 40_000, 600.0),  # of both agents
        Example(
            rock_paper_scissors_heuristic_vs_learned,
            20_000,
            6.0,
            "env_runners/module_episode_returns_mean/learned",
        ),
        Example(
            rock_paper_scissors_learned_vs_learned,
            20_000,
            None,
            "env_runners/module_episode_returns_mean/p0",
        ),
    )
}
