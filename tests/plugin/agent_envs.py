"""An environment whose agents act by a timetable, and what its episodes' logits should be."""

from collections import defaultdict
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from plugin_helpers import SMALL, learner_module, ppo
from ray.rllib.core.columns import Columns
from ray.rllib.env.multi_agent_env import MultiAgentEnv

import rllib_elmur
from rllib_elmur.plugin.train_rows import MASKED_STEPS

# Who sees something (and acts on it) at each time step.
TIMETABLES = {
    "all at once": lambda t: {"a", "b"},
    "in turns": lambda t: {"a"} if t % 2 else {"b"},
    "a manager": lambda t: {"a", "b"} if t % 7 == 0 else {"a"},
    "pauses": lambda t: {"a"} if t % 25 in range(6, 23) else {"a", "b"},
    "enters and leaves": lambda t: {"a"} | ({"b"} if 4 <= t < 17 else set()) | {f"c{t // 9}"},
}
LAST = {"enters and leaves": {"b": 17, **{f"c{i}": 9 * i + 9 for i in range(9)}}}


class Timetable(MultiAgentEnv):
    """Agents with random observations and rewards, who act when it is their time.

    Args:
        config: `table` names the timetable; `length` of an episode; `truncate` to end it so.
    """

    def __init__(self, config: Any = None):
        super().__init__()
        config = dict(config or {})
        self.name = config.get("table", "all at once")
        self.length, self.truncate = config.get("length", 40), config.get("truncate", False)
        agents = set().union(*(TIMETABLES[self.name](t) for t in range(self.length + 1)))
        self.agents = self.possible_agents = sorted(agents)
        self.observation_spaces = dict.fromkeys(self.agents, gym.spaces.Box(-1, 1, (3,)))
        action_space = config.get("action", gym.spaces.Discrete(3))
        self.action_spaces = dict.fromkeys(self.agents, action_space)
        self.t, self.left, self.random = 0, set(), np.random.default_rng(0)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        if seed is not None:
            self.random = np.random.default_rng(seed)
        self.t, self.left, self.acted = 0, set(), set()
        self.seen = TIMETABLES[self.name](0)
        return self._observations(self.seen), {}

    def step(self, actions: Any) -> Any:
        assert set(actions) == self.seen, (set(actions), self.seen)
        assert all(self.action_spaces[agent].contains(actions[agent]) for agent in actions)
        self.t += 1
        self.acted |= set(actions)
        last = LAST.get(self.name, {})
        leaving = {agent for agent in self.acted - self.left if last.get(agent) == self.t}
        self.left |= leaving
        done = self.t >= self.length
        self.seen = (TIMETABLES[self.name](self.t) - self.left) | leaving
        if done:
            self.seen = self.acted - (self.left - leaving)
        rewards = {agent: float(self.random.normal()) for agent in sorted({*actions, *self.seen})}
        over = {"__all__": done and not self.truncate} | dict.fromkeys(leaving, True)
        observations = self._observations(self.seen)
        self.seen -= leaving
        return observations, rewards, over, {"__all__": done and self.truncate}, {}

    def _observations(self, agents: set[str]) -> dict[str, Any]:
        return {agent: self.random.uniform(-1, 1, 3).astype(np.float32) for agent in sorted(agents)}


def agents_ppo(table: str, policies: str = "shared", env: Any = None, **options: Any) -> Any:
    """A PPO config of such an environment, with a small ELMUR as one policy or as one each."""
    config = several(ppo(Timetable, {"table": table, **(env or {})}), policies)
    return rllib_elmur.use_elmur(config, **{**SMALL, **options})


def several(config: Any, policies: str) -> Any:
    """Gives a config one policy for all agents, or one for agent a and one for the others."""
    config.env_runners(num_envs_per_env_runner=3)
    if policies == "shared":
        return config.multi_agent(policies={"p"}, policy_mapping_fn=lambda *a, **k: "p")
    return config.multi_agent(
        policies={"p", "q"}, policy_mapping_fn=lambda agent, *a, **k: "p" if agent == "a" else "q"
    )


def shake_all(algo: Any, scale: float = 0.2) -> None:
    """Makes the outputs of all policies depend strongly on everything that was seen."""
    multi = algo.learner_group._learner.module
    with torch.no_grad():
        for _, module in multi.items():
            for parameter in module.parameters():
                parameter.add_(scale * torch.randn_like(parameter))
    algo.env_runner.module.set_state(multi.get_state(inference_only=True))


def sampled(algo: Any, n_calls: int = 30, longest: int = 40) -> list[Any]:
    """Episodes and fragments, cut at random places: in pauses, too."""
    random = np.random.default_rng(0)
    episodes = []
    for _ in range(n_calls):
        episodes += algo.env_runner.sample(num_timesteps=int(random.integers(1, longest)))
    return episodes


def agents_batch(algo: Any, episodes: list[Any]) -> dict[str, Any]:
    """The batch that the learner makes of sampled episodes, by module."""
    learner = algo.learner_group._learner
    return learner._learner_connector(
        rl_module=learner.module,
        batch={},
        episodes=episodes,
        shared_data={},
        metrics=learner.metrics,
    )


class Course:
    """All that one agent has seen and answered in one episode, over all fragments."""

    def __init__(self) -> None:
        self.observations: list[Any] = []
        self.logits: list[Any] = []
        self.module_id = ""


def courses(episodes: list[Any]) -> dict[Any, Course]:
    """What each agent of each episode saw and answered; no step is missing or there twice."""
    found: dict[Any, Course] = defaultdict(Course)
    for episode in episodes:
        for agent_id, of_agent in episode.agent_episodes.items():
            course = found[episode.id_, agent_id]
            course.module_id = of_agent.module_id
            assert of_agent.t_started == len(course.logits)
            course.observations += list(of_agent.get_observations(slice(0, len(of_agent))))
            course.logits += list(of_agent.get_extra_model_outputs(Columns.ACTION_DIST_INPUTS))
            assert len(course.observations) == len(course.logits)
    return found


def worst_error_of_acting(algo: Any, episodes: list[Any]) -> float:
    """The logits that agents acted by, against those of each agent's course in one piece."""
    worst = 0.0
    for course in courses(episodes).values():
        module = learner_module(algo, course.module_id)
        state = {name: part[None] for name, part in module.get_initial_state().items()}
        observations = torch.as_tensor(np.array(course.observations))[None]
        batch = {Columns.OBS: observations, Columns.STATE_IN: state}
        with torch.no_grad():
            logits = module.forward_train(batch)[Columns.ACTION_DIST_INPUTS][0].numpy()
        worst = max(worst, np.abs(logits - np.array(course.logits)).max())
    return worst


def worst_error_of_learner(algo: Any, batch: dict[str, Any]) -> tuple[float, int]:
    """The learner's logits against those that agents acted by, and over how many steps."""
    worst, n_steps = 0.0, 0
    for module_id, of_module in batch.items():
        logits = learner_module(algo, module_id).forward_train(of_module)
        difference = logits[Columns.ACTION_DIST_INPUTS] - of_module[Columns.ACTION_DIST_INPUTS]
        mask = of_module[Columns.LOSS_MASK]
        assert of_module[Columns.ACTION_DIST_INPUTS][mask].std() > 0.2  # so that an error shows
        worst = max(worst, difference[mask].abs().max().item())
        n_steps += int(mask.sum())
    return worst, n_steps


def masked_of(algo: Any) -> int:
    """Steps that the learner has masked out, over all modules."""
    learner = algo.learner_group._learner
    ids = dict(learner.module.items())
    return sum(int(learner.metrics.peek((id_, MASKED_STEPS), default=0)) for id_ in ids)
