"""An evaluation of several agents plays all their policies, and counts as RLlib does."""

import json
from typing import Any, ClassVar

import numpy as np
import pytest
from acting_helpers import Logged, LoggedAgents, assert_acts_alike, copied
from agent_envs import TIMETABLES, Timetable, agents_ppo, several
from plugin_helpers import SMALL, elmur_ppo, ppo
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.examples.rl_modules.classes.random_rlm import RandomRLModule
from test_acting_agents import BOTH, filtered_agents, two_agents

import rllib_elmur
from rllib_elmur.errors import UserError
from rllib_elmur.runs.evaluate import Interrupted, evaluate
from rllib_elmur.runs.options import EvaluateOptions


class Noted(Timetable):
    """Writes down all actions of each episode."""

    episodes: ClassVar[list[list[Any]]] = []

    def reset(self, **options: Any) -> Any:
        self.log: list[Any] = []
        Noted.episodes.append(self.log)
        return super().reset(**options)

    def step(self, actions: Any) -> Any:
        self.log.append(copied(actions))
        observations, rewards, over, cut, _ = super().step(actions)
        return observations, rewards, over, cut, {"__common__": {"success": self.t % 2 == 0}}


def beside_each_other() -> Any:
    """ELMUR for agent a, RLlib's LSTM for b, and one that acts at random for all others."""
    config = ppo(Noted, {"table": "enters and leaves"}).multi_agent(
        policies={"elmur", "lstm", "random"},
        policy_mapping_fn=lambda agent, *_, **__: {"a": "elmur", "b": "lstm"}.get(agent, "random"),
        policies_to_train=["elmur", "lstm"],
    )
    lstm = DefaultModelConfig(use_lstm=True, lstm_cell_size=8, max_seq_len=8)
    config.rl_module(
        rl_module_spec=MultiRLModuleSpec(
            rl_module_specs={
                "elmur": RLModuleSpec(
                    module_class=rllib_elmur.ELMURTorchRLModule, model_config=dict(SMALL)
                ),
                "lstm": RLModuleSpec(model_config=lstm),
                "random": RLModuleSpec(module_class=RandomRLModule),
            }
        )
    )
    return rllib_elmur.use_elmur(config)


def shared() -> Any:
    return rllib_elmur.use_elmur(several(ppo(Noted, {"table": "all at once"}), "shared"), **SMALL)


def played(path: Any, log: Any = Noted, **options: Any) -> tuple[list[Any], Any]:
    log.episodes.clear()
    [row] = evaluate([path], EvaluateOptions(**options))
    return list(log.episodes), row


@pytest.mark.parametrize("config", [two_agents, lambda: two_agents(**BOTH), filtered_agents])
def test_each_agent_acts_as_its_loaded_policy(config: Any, saved: Any) -> None:
    path, _ = saved(config())
    logs, row = played(path, LoggedAgents, episodes=3)
    assert len(logs) == row.episodes == 3
    for agent in ("first", "second"):
        policy = rllib_elmur.load_policy(path, module_id=agent)
        assert_acts_alike(policy, [log[agent] for log in logs])


def rllibs_returns(table: str, seeds: range) -> list[dict[str, float]]:
    """The returns by agent that RLlib counts where actions do not matter."""
    found = []
    for seed in seeds:
        env = Timetable({"table": table})
        episode = MultiAgentEpisode()
        episode.add_env_reset(observations=env.reset(seed=seed)[0])
        while not episode.is_done:
            actions = dict.fromkeys(env.seen, 0)
            seen, rewards, over, cut, _ = env.step(actions)
            episode.add_env_step(seen, actions, rewards, terminateds=over, truncateds=cut)
        found.append({agent: of.get_return() for agent, of in episode.agent_episodes.items()})
    return found


@pytest.mark.parametrize("table", TIMETABLES)
def test_returns_are_counted_as_rllib_counts_them(table: str, saved: Any) -> None:
    path, _ = saved(agents_ppo(table, "two"))
    [row] = evaluate([path], EvaluateOptions(episodes=4))
    expected = rllibs_returns(table, range(1_000_003, 1_000_007))
    assert row.episode_length == 40
    assert row.episode_return == pytest.approx(np.mean([sum(r.values()) for r in expected]))
    by_agent = {a: np.mean([r[a] for r in expected]) for a in expected[0]}
    assert row.agent_episode_returns_mean == pytest.approx(by_agent)
    others = [sum(value for a, value in r.items() if a != "a") for r in expected]
    by_module = {"p": by_agent["a"], "q": np.mean(others)}
    assert row.module_episode_returns_mean == pytest.approx(by_module)


def test_modules_that_are_not_elmurs_play_too(saved: Any, rllib: Any, tmp_path: Any) -> None:
    path, _ = saved(beside_each_other())
    out = tmp_path / "rows.json"
    code, printed = rllib("evaluate", path, "--episodes", 5, "--out", out)
    assert code == 0, printed
    assert all(f"return of {module}" in printed for module in ("elmur", "lstm", "random"))
    [row] = json.loads(out.read_text())
    assert row["episodes"] == 5 and row["success"] == 1.0
    by_agent = [f"agent_episode_returns_mean/{agent}" for agent in ("a", "b", "c0", "c4")]
    by_module = [f"module_episode_returns_mean/{m}" for m in ("elmur", "lstm", "random")]
    assert all(name in row for name in by_agent)
    assert sum(row[name] for name in by_module) == pytest.approx(row["episode_return"])


def test_seeds_steps_and_drawn_actions_are_those_that_are_asked_for(saved: Any) -> None:
    path, _ = saved(shared())
    first, row = played(path, episodes=3)
    again, _ = played(path, episodes=3)
    other, _ = played(path, episodes=3, seed=1)
    drawn, _ = played(path, episodes=3, explore=True)
    redrawn, _ = played(path, episodes=3, explore=True)
    assert first == again and drawn == redrawn
    assert first != other and first != drawn
    assert [step["a"] for step in drawn[0]] != [step["b"] for step in drawn[0]]
    assert row.episode_length == 40
    _, row = played(path, steps=100)
    assert (row.episodes, row.unfinished, row.unfinished_length) == (2, 1, 20)
    _, row = played(path, episodes=3, max_episode_steps=10)
    assert (row.episodes, row.unfinished) == (0, 3)


def test_ctrl_c_keeps_what_was_played(saved: Any) -> None:
    path, _ = saved(shared())

    def stop(moment: Any) -> None:
        if moment.step >= 20:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as stopped:
        evaluate([path], EvaluateOptions(episodes=2), stop)
    [row] = stopped.value.rows
    assert (row.episodes, row.unfinished, row.unfinished_length) == (0, 2, 20)


def test_sides_may_be_drawn_by_the_episodes_id(saved: Any) -> None:
    config = ppo(Noted, {"table": "all at once"}).multi_agent(
        policies={"p", "q"},
        policy_mapping_fn=lambda agent, episode, **_: (
            "p" if hash(episode.id_) % 2 == (agent == "a") else "q"
        ),
    )
    path, _ = saved(rllib_elmur.use_elmur(config, **SMALL))
    (_, row), (_, again) = (played(path, episodes=6) for _ in range(2))
    assert row.agent_episode_returns_mean != row.module_episode_returns_mean
    assert row.module_episode_returns_mean == again.module_episode_returns_mean
    assert set(row.module_episode_returns_mean) == {"p", "q"}


def test_what_does_not_fit_is_one_sentence(saved: Any) -> None:
    of_two, _ = saved(two_agents(), "two")
    of_one, _ = saved(elmur_ppo(Logged), "one")
    for path, options, sentence in (
        (of_two, {"env": "CartPole-v1"}, "is of one agent, and"),
        (of_one, {"env_config": {}, "env": "plugin_helpers.TwoAgents"}, "is of several agents"),
        (of_two, {"env_config": {"same": True}}, "agent 'first' was trained for the action space"),
        (of_two, {"env": "agent_envs.Timetable"}, "agent 'a' of the environment was not in"),
    ):
        with pytest.raises(UserError, match=sentence):
            evaluate([path], EvaluateOptions(episodes=1, **options))
