"""A saved policy acts where Ray is not installed, and what is wrong with a folder is said."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from acting_helpers import Logged, replayed, rllibs_episodes
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from plugin_helpers import BOTH, SMALL, ppo
from ray.rllib.connectors.env_to_module import FlattenObservations, MeanStdFilter
from safetensors.torch import load_file, save_file

import rllib_elmur
from rllib_elmur.acting.space_data import from_data, to_data
from rllib_elmur.errors import UserError

SPACES = [
    Box(-1, 1, (2, 3)),
    Box(np.array([-np.inf, 0.1], np.float32), np.array([1e-9, np.inf], np.float32)),
    Box(0, 255, (4, 4, 3), np.uint8),
    Box(-np.inf, np.inf, (), np.float64),
    Discrete(3, start=5),
    MultiDiscrete([2, 3], start=[1, 0]),
    MultiDiscrete(np.array([[2, 3], [4, 5]])),
    MultiBinary(4),
    MultiBinary([2, 3]),
    Dict({"b": Tuple([Discrete(2), Box(0, 1, (1,))]), "a": Dict({"c": MultiBinary(2)})}),
]

# In a process in which Ray cannot be imported and nothing can be unpickled.
WITHOUT_RAY = """
import json, pickle, sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, *args):
        absent = name.split(".")[0] in ("ray", "tree", "pandas", "pyarrow")
        return None if absent else self.finder.find_spec(name, *args)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
import numpy, torch, rllib_elmur
from rllib_elmur.errors import UserError
def refused(*arguments, **options):
    raise AssertionError("something is unpickled")
pickle.load = pickle.loads = pickle.Unpickler = torch.load = refused
policy = rllib_elmur.load_policy(sys.argv[1])
actions = []
for seen, rewards in json.load(sys.stdin):
    policy.reset()
    for observation, reward in zip(seen, rewards):
        actions.append(policy.act(observation, reward).tolist())
assert not [name for name in sys.modules if name.split(".")[0] == "ray"]
try:
    rllib_elmur.load_policy(sys.argv[2])
except ModuleNotFoundError as error:
    assert error.name == "ray" and "Ray is not installed" in str(error)
print(json.dumps(actions))
"""


@pytest.fixture
def policy(saved: Any) -> Any:
    """One with all that travels: parts, statistics, the step before, bounds of actions."""
    space = Dict({"a": Box(-9, 9, (2,)), "b": Discrete(3)})
    env = {"observation": space, "action": Box(-2, 3, (2,)), "lengths": [3, 9, 12]}
    config = ppo(Logged, env).env_runners(
        env_to_module_connector=lambda env, spaces, device: [FlattenObservations(), MeanStdFilter()]
    )
    path, algo = saved(rllib_elmur.use_elmur(config, **SMALL, **BOTH))
    loaded = rllib_elmur.load_policy(path)
    loaded.save(path / "saved")
    return loaded, path, rllibs_episodes(algo, 4)


def test_it_acts_where_ray_is_not_installed_and_unpickles_nothing(policy: Any) -> None:
    loaded, path, episodes = policy
    sent, expected = [], []
    for log in episodes:
        n = len(log["actions"])
        seen = [{"a": o["a"].tolist(), "b": int(o["b"])} for o in log["observations"][:n]]
        sent.append([seen, log["rewards"][:n]])
        loaded.reset()
        expected += [action.tolist() for action in replayed(loaded, log)]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_RAY, str(path / "saved"), str(path)],
        input=json.dumps(sent),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(json.loads(done.stdout), expected, rtol=0, atol=1e-6)


def test_only_what_acting_needs_is_saved(policy: Any) -> None:
    _, path, _ = policy
    folder = path / "saved"
    assert sorted(file.name for file in folder.iterdir()) == ["policy.json", "policy.safetensors"]
    names = {".".join(name.split(".")[:2]) for name in load_file(weights_of(folder))}
    assert names == {"network.encoder", "network.elmur", "network.pi", "piece.1"}
    assert json.loads((folder / "policy.json").read_text())["format"] == 4


def weights_of(folder: Path) -> Path:
    return folder / "policy.safetensors"


def change(folder: Path, **changes: Any) -> None:
    file = folder / "policy.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def drop(folder: Path) -> None:
    tensors = load_file(weights_of(folder))
    del tensors["network.pi.bias"]
    save_file(tensors, weights_of(folder))


def options_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "policy.json").read_text())["options"]


DAMAGES = {
    "another format": (
        lambda folder: change(folder, format=7),
        "has format 7, and this version of rllib_elmur reads format 4",
    ),
    "other sizes": (
        lambda folder: change(folder, options=options_of(folder) | {"d_model": 32}),
        "does not fit policy.json: .* has the shape .*16.* there and .*32.* here",
    ),
    "a weight missing": (drop, "does not fit policy.json: .* 'pi.bias' is on one side only"),
    "an option that there is not": (
        lambda folder: change(folder, options=options_of(folder) | {"d_modle": 16}),
        "d_modle=16 is not an option of ELMUR. Did you mean 'd_model'",
    ),
    "an option out of range": (
        lambda folder: change(folder, options=options_of(folder) | {"n_layers": 0}),
        "n_layers=0: must be an integer >= 1",
    ),
    "no JSON": (
        lambda folder: (folder / "policy.json").write_text('{"format": 4'),
        "not a policy that was saved whole",
    ),
    "a file cut short": (
        lambda folder: weights_of(folder).write_bytes(weights_of(folder).read_bytes()[:-9]),
        "not a policy that was saved whole: SafetensorError",
    ),
    "a file missing": (
        lambda folder: weights_of(folder).unlink(),
        "not a policy that was saved whole",
    ),
}


def test_what_is_wrong_with_a_folder_is_said_in_a_sentence(policy: Any) -> None:
    loaded, path, _ = policy
    for name, (damage, sentence) in DAMAGES.items():
        folder = path / name
        loaded.save(folder)
        damage(folder)
        with pytest.raises(UserError, match=sentence) as error:
            rllib_elmur.load_policy(folder)
        assert str(folder) in str(error.value)
    with pytest.raises(UserError, match="without `module_id`"):
        rllib_elmur.load_policy(path / "saved", module_id="first")


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_spaces_are_the_same_after_json(space: Any) -> None:
    again = from_data(json.loads(json.dumps(to_data(space), allow_nan=False)))
    assert again == space and again.dtype == space.dtype


def test_weights_keep_their_precision(policy: Any) -> None:
    loaded, path, episodes = policy
    loaded._actor.running.network.bfloat16()
    loaded.save(path / "half")
    half = rllib_elmur.load_policy(path / "half")
    assert half._actor.running.network.pi.weight.dtype == torch.bfloat16
    for expected, found in zip(
        replayed(loaded, episodes[0]), replayed(half, episodes[0]), strict=True
    ):
        np.testing.assert_array_equal(expected, found)
