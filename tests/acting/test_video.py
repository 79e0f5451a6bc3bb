"""An evaluation writes a video of each episode, where the environment draws pictures."""

import sys

import gymnasium as gym
import imageio.v2
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.env.multi_agent_env import MultiAgentEnv

import rllib_elmur
from rllib_elmur.errors import UserError
from rllib_elmur.runs.evaluate import evaluate
from rllib_elmur.runs.options import EvaluateOptions

MAZE = "rllib_elmur/TMazePassive-v0"


class Blind(gym.Env):
    """Draws nothing."""

    observation_space = Box(-1.0, 1.0, (1,))
    action_space = Discrete(2)

    def __init__(self, config=None):
        self.time = 0

    def reset(self, *, seed=None, options=None):
        self.time = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.time += 1
        return np.zeros(1, np.float32), 1.0, self.time == 3, False, {}


class Shown(Blind):
    """Says nothing of render modes, and draws all the same, as RLlib lets environments do."""

    def render(self):
        return np.full((34, 30, 3), 60 * self.time, np.uint8)


class Wordy(Shown):
    """Shows itself as text alone."""

    metadata = {"render_modes": ["ansi"]}  # noqa: RUF012 (as Gymnasium has it)


class ShownAgents(MultiAgentEnv, Shown):
    """The same with two agents."""

    render = Shown.render

    def __init__(self, config=None):
        super().__init__()
        self.agents = self.possible_agents = ["a", "b"]
        self.observation_spaces = dict.fromkeys(self.agents, Blind.observation_space)
        self.action_spaces = dict.fromkeys(self.agents, Blind.action_space)

    def reset(self, **options):
        return dict.fromkeys(self.agents, Shown.reset(self)[0]), {}

    def step(self, actions):
        seen, reward, over, *_ = Shown.step(self, None)
        both = (dict.fromkeys(self.agents, value) for value in (seen, reward))
        return *both, {"__all__": over}, {"__all__": False}, {}


@pytest.fixture
def policy_of(tmp_path):
    """Makes a policy for an environment, which has learned nothing."""

    def make(env, **env_config):
        config = PPOConfig().environment(env, env_config=env_config)
        if env is ShownAgents:
            config.multi_agent(policies={"p"}, policy_mapping_fn=lambda *a, **k: "p")
        config.env_runners(num_env_runners=0).debugging(log_level="ERROR")
        small = {"d_model": 8, "n_heads": 2, "d_ff": 8, "n_layers": 1, "max_seq_len": 10}
        algo = rllib_elmur.use_elmur(config, **small).build_algo()
        algo.save_to_path(str(tmp_path / "policy"))
        algo.stop()
        return tmp_path / "policy"

    return make


def pictures_in(file):
    return list(imageio.v2.get_reader(file).iter_data())


def test_each_episode_is_a_video_from_its_first_observation_to_its_last(policy_of, rllib, tmp_path):
    path, folder = policy_of(MAZE, corridor_length=2, slack=1.0), tmp_path / "new" / "videos"
    sweep = ("--sweep", "corridor_length=2,3", "--episodes", 2)
    code, printed = rllib("evaluate", path, *sweep, "--video", folder)
    assert code == 0 and f"Videos: {folder}" in printed
    for length in (2, 3):
        for number in range(2):
            file = folder / f"policy-corridor_length={length}-episode-{number}.mp4"
            pictures = pictures_in(file)
            assert 1 < len(pictures) <= 2 * length + 3
            assert pictures[0].std() > 10  # there is something to see
    assert len(list(folder.iterdir())) == 4


@pytest.mark.parametrize("env", [Shown, ShownAgents])
def test_an_environment_may_draw_without_a_word_on_render_modes(env, policy_of, tmp_path):
    [row] = evaluate([policy_of(env)], EvaluateOptions(episodes=1, video=tmp_path / "videos"))
    pictures = pictures_in(tmp_path / "videos" / "policy-episode-0.mp4")
    assert len(pictures) == row.episode_length + 1 == 4
    assert [round(p.mean() / 60) for p in pictures] == [0, 1, 2, 3]


def test_a_video_ends_where_the_episode_is_left(policy_of, tmp_path):
    path = policy_of(MAZE, corridor_length=50, slack=1.0)
    evaluate([path], EvaluateOptions(steps=7, video=tmp_path / "videos"))
    assert len(pictures_in(tmp_path / "videos" / "policy-episode-0.mp4")) == 8


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        (Blind, "--video: .*Blind.* draws no pictures: it has no render mode, and 'rgb_array' is"),
        (Wordy, "draws no pictures: its render modes are ansi, and"),
    ],
)
def test_an_environment_that_draws_nothing_is_one_sentence(env, sentence, policy_of, tmp_path):
    with pytest.raises(UserError, match=sentence):
        evaluate([policy_of(env)], EvaluateOptions(video=tmp_path / "videos"))
    assert not (tmp_path / "videos").exists()


def test_what_is_missing_and_what_excludes_each_other_is_said_first(monkeypatch, rllib, tmp_path):
    code, printed = rllib("evaluate", "none", "--render", "--video", tmp_path)
    assert code == 1 and "--render and --video" in printed
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    code, printed = rllib("evaluate", "none", "--video", tmp_path)
    assert code == 1 and "pip install 'rllib_elmur[video]'" in printed
