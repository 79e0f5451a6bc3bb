"""The example of serving, from HTTP to the policy and back."""

import importlib.util
import json
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from acting_helpers import Logged
from plugin_helpers import BOTH, elmur_ppo

import rllib_elmur

EXAMPLE = Path(__file__).parents[2] / "examples" / "serve_policy.py"


@pytest.fixture
def served(saved: Any) -> Any:
    """A policy, the address at which it is served, and the episodes of its environments."""
    try:
        from ray import serve

        spec = importlib.util.spec_from_file_location("serve_policy", EXAMPLE)
        example = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(example)
    except ImportError as error:
        pytest.skip(f"ray[serve] is not installed: {error}")
    path, _ = saved(elmur_ppo(Logged, **BOTH))
    rllib_elmur.load_policy(path).save(path / "saved")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve.start(http_options={"port": port})
    serve.run(example.Sessions.options(ray_actor_options={"num_cpus": 0}).bind(str(path / "saved")))
    yield rllib_elmur.load_policy(path), f"http://127.0.0.1:{port}/sessions"
    serve.shutdown()


def ask(address: str, data: Any = None, method: str | None = None) -> Any:
    body = None if data is None else json.dumps(data).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(address, body, headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def test_sessions_act_over_http_each_with_its_own_memory(served: Any) -> None:
    policy, address = served
    seen = np.random.default_rng(0).uniform(-1, 1, (3, 12, 3)).round(3)
    expected = []
    for episode in seen:
        policy.reset()
        expected.append([int(policy.act(x, 0.1 * t)) for t, x in enumerate(episode)])

    def act(session: str, episode: int, t: int) -> None:
        step = {"observation": seen[episode, t].tolist(), "reward": 0.1 * t}
        assert ask(f"{address}/{session}", step) == {"action": expected[episode][t]}

    for t in range(12):
        act("anna", 0, t)
        if t % 2 == 0:
            act("ben", 1, t // 2)
    assert ask(address) == {"anna": 0, "ben": 1}
    ask(f"{address}/anna", method="DELETE")
    for t in range(12):
        act("carla", 2, t)  # in the row of the one that has ended
    act("ben", 1, 6)
    assert ask(address) == {"ben": 1, "carla": 0}
    for session, data, method, code, words in (
        ("ben", {"observation": [1, 2], "reward": 0}, None, 422, "observation has shape (2,)"),
        ("ben", {"observation": [1, 2, 3]}, None, 422, "reads the reward"),
        ("dora", {"observation": [1]}, None, 422, "observation has shape (1,)"),
        ("anna", None, "DELETE", 404, "no session 'anna'"),
    ):
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(f"{address}/{session}", data, method)
        assert refused.value.code == code and words in refused.value.read().decode()
    act("ben", 1, 7)  # goes on as if nobody had asked wrongly
    act("dora", 0, 0)
    assert ask(address) == {"ben": 1, "carla": 0, "dora": 2}
