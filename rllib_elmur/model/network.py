"""The whole policy: encoder, memory, policy head."""

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector.utils import create_empty_array
from torch import Tensor, nn

from rllib_elmur.config import ELMURConfig
from rllib_elmur.model.elmur import ELMUR
from rllib_elmur.model.encoder import build_encoder
from rllib_elmur.model.fast.live import LiveBatch
from rllib_elmur.model.fast.ops import take
from rllib_elmur.model.nested import each_part, values_of
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
        if self.elmur.start is not None:
            # As loud as a token: louder, it would hide what the first observation says.
            zeros = create_empty_array(observation_space, n=1, fn=np.zeros)
            with torch.no_grad():
                token = self.encoder(each_part(lambda x: torch.as_tensor(x)[None], zeros))
                self.elmur.start.mul_(token.square().mean().sqrt())

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
        return self.elmur(self._encode(observation, lengths), state, lengths)

    def _encode(self, observation: Any, lengths: Tensor | None) -> Tensor:
        """Tokens (B, T, d); those of padding are zeros, and nothing is computed for them."""
        if lengths is None:
            return self.encoder(observation)
        _, first = next(values_of(observation))
        n_rows, n_steps = first.shape[:2]
        is_data = torch.arange(n_steps, device=lengths.device) < lengths[:, None]
        at = is_data.flatten().nonzero().squeeze(-1)  # (R,)
        data = each_part(lambda x: take(x.flatten(0, 1), at)[None], observation)
        tokens = self.encoder(data)[0]  # (R, d)
        padded = tokens.new_zeros(n_rows * n_steps, tokens.shape[-1])
        return padded.index_copy(0, at, tokens).unflatten(0, (n_rows, n_steps))

    @torch.no_grad()
    def step(self, observation: Any, live: LiveBatch) -> Tensor:
        """Advances running episodes by one observation each.

        Args:
            observation: Tensors of (B, T = 1, *space), nested as the space is.
            live: The episodes, from `elmur.live`; advanced in place.

        Returns:
            Features (B, T = 1, d), without gradient.

        Raises:
            ValueError: If there are more observations than one a row.
        """
        tokens = self.encoder(observation)  # (B, T, d)
        if tokens.shape[1] != 1:
            raise ValueError(
                f"The batch holds {tokens.shape[1]} time steps: a live batch takes one at a time."
            )
        return live.step(tokens[:, 0])[:, None]
