"""Runs one episode of a million steps; prints latency and resident memory, early and late."""

import json
import statistics
import time

import gymnasium as gym
import torch
from peers import OPTIONS, resident, status_of

from rllib_elmur.config import ELMURConfig
from rllib_elmur.model.network import PolicyNetwork

WINDOW, EARLY, LATE = 200, 1_000, 1_000_000


def main() -> None:
    """Steps one row; measures a window of steps before each of the two marks."""
    network = PolicyNetwork(gym.spaces.Box(-1, 1, (4,)), 4, ELMURConfig(n_layers=1, **OPTIONS))
    elmur, x = network.elmur, torch.randn(1, 1, 4)
    live = elmur.live(elmur.initial_state(1))
    figures = []
    with torch.no_grad():
        for begin, end in ((0, EARLY), (EARLY, LATE)):
            for _ in range(begin, end - WINDOW):
                network.step(x, live)
            seconds = []
            for _ in range(WINDOW):
                start = time.perf_counter()
                network.step(x, live)
                seconds.append(time.perf_counter() - start)
            figures.append(
                {"latency": statistics.median(seconds) * 1e6, "memory": resident(status_of())}
            )
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
