"""The whole policy: encoder, memory, policy head."""

from typing import Any

import gymnasium as gym
import torch
from torch import Tensor, nn

from rllib_elmur.config import ELMURConfig
from rllib_elmur.model.elmur import ELMUR
from rllib_elmur.model.encoder import build_encoder
from rllib_elmur.model.live import LiveBatch
from rllib_elmur.model.state import State


class PolicyNetwork(nn.Module):
    """Observation -> encoder -> ELMUR -> features, and the policy head `pi` on them.

    Args:
        observation_space: What the encoder is built for, see `build_encoder`.
        n_action_inputs: Parameters of the action distribution.
        config: The options.
    """

    def __init__(self, observation_space: gym.Space, n_action_inputs: int, config: ELMURConfig):
        super().__init__()
        self.encoder = build_encoder(observation_space, config.d_model)
        self.elmur = ELMUR(config)
        self.pi = nn.Linear(config.d_model, n_action_inputs)
        # A nearly uniform first policy: PPO's first updates then depend on reward, not on chance.
        nn.init.orthogonal_(self.pi.weight, gain=0.01)
        nn.init.zeros_(self.pi.bias)
        self._live: tuple[State | None, LiveBatch | None] = None, None

    def forward(
        self, observation: Any, state: State, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Features of a batch of sequences, for `pi` and for a value head of the caller's.

        Args:
            observation: Tensors of (B, T, *space), nested as the space is.
            state: The state before the first observation.
            lengths: Observations that are data in each row, (B,); all if None.

        Returns:
            Features (B, T, d) and the state after the last observation.
        """
        self._live = None, None  # what is trained is about to change
        return self.elmur(self.encoder(observation), state, lengths)

    @torch.no_grad()
    def act(self, observation: Any, state: State | LiveBatch) -> tuple[Tensor, State | LiveBatch]:
        """The same without gradient, for acting.

        A caller that hands back the state of the last call, the very tensors, for one more
        observation goes on where that call stopped; any other state is served from its tokens.

        Args:
            observation: Tensors of (B, T, *space), nested as the space is.
            state: The state before the first observation; it must not be written in place. Or a
                `LiveBatch`, which takes one observation (T = 1) and is advanced.

        Returns:
            Features (B, T, d) and the state after the last observation.
        """
        tokens = self.encoder(observation)
        if isinstance(state, LiveBatch):
            return state.step(tokens[:, 0])[:, None], state
        last, live = self._live
        continues = last is not None and all(a is b for a, b in zip(last, state, strict=True))
        if continues and tokens.shape[1] == 1:
            live = live or LiveBatch(self.elmur, state)
            features = live.step(tokens[:, 0])[:, None]
            state = live.state(range(len(tokens)))
        else:
            features, state = self.elmur(tokens, state)
            live = None
        self._live = state, live
        return features, state
