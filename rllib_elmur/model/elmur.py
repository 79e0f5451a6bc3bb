"""ELMUR: one set of layers, two schedules."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from rllib_elmur.config import ELMURConfig
from rllib_elmur.model.equations import ELMURLayer
from rllib_elmur.model.fast.context import OwnSegment, Window
from rllib_elmur.model.fast.live import LiveBatch
from rllib_elmur.model.fast.positions import Positions
from rllib_elmur.model.fast.sequence import run_sequence
from rllib_elmur.model.fast.weights import Absorbed
from rllib_elmur.model.state import State


class ELMUR(nn.Module):
    """A transformer with external layer memory (ELMUR, arXiv:2510.07151).

    `forward` is the sequence schedule: whole segments, for training and batch evaluation. `live` is
    the step schedule: one token a row, for rollouts. However an episode is cut into calls of either
    schedule, outputs and final state agree.

    Args:
        config: The options.

    Attributes:
        start: What is added to an episode's first token, (d,); None without `mark_start`. It begins
            at unit size; a `PolicyNetwork` makes it as loud as its tokens are.
    """

    def __init__(self, config: ELMURConfig):
        super().__init__()
        self.config = config
        layers = nn.ModuleList(ELMURLayer(config) for _ in range(config.n_layers))
        self.layers = cast("Sequence[ELMURLayer]", layers)
        self.start = nn.Parameter(torch.randn(config.d_model)) if config.mark_start else None
        self.final_norm = nn.LayerNorm(config.d_model) if config.norm_first else nn.Identity()
        self.positions = Positions(config)
        self.attention_scope = OwnSegment if config.attention_window is None else Window
        self.absorbed = Absorbed(self.layers, self.positions)
        self.register_load_state_dict_post_hook(_watch)  # it may have replaced the parameters

    def initial_state(self, batch_size: int = 1) -> State:
        """The state of `batch_size` episodes at their start."""
        return State.initial(batch_size, self.config, self.layers[0].initial_memory)

    def forward(
        self, x: Tensor, state: State, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Runs T tokens a row, from any clock; gradient flows through every segment.

        Args:
            x: Tokens, (B, T, d).
            state: The state before the first token.
            lengths: Tokens that are data in each row, (B,) int64, T if None; the rest is padding,
                which writes nothing. At least one row must hold data.

        Returns:
            Outputs (B, T, d), zero at the padding, and the state after each row's last token.
        """
        if self.start is not None:  # only a row's first token may be its episode's
            first = self.mark(x[:, :1], state.clock[:, None])
            x = torch.cat([first, x[:, 1:]], dim=1)
        return run_sequence(self, x, state, lengths)

    def mark(self, x: Tensor, clock: Tensor) -> Tensor:
        """Adds the start's vector to the tokens (..., d) whose time step `clock` (...) is 0."""
        return x if self.start is None else x + (clock == 0)[..., None] * self.start.to(x.dtype)

    def live(self, state: State) -> LiveBatch:
        """Running episodes that stand at `state`, to be advanced in place, a token each a step."""
        return LiveBatch(self, state)

    def memory_parameters(self) -> list[nn.Parameter]:
        """The parameters of the memory track: what a slot begins with and what is written."""
        found = []
        for layer in self.layers:
            write = layer.tok2mem, layer.write_residual
            parts = *write, layer.memory_ffn, layer.memory_ffn_residual, layer.memory_norm
            found += [layer.initial_memory, *(p for part in parts for p in part.parameters())]
        return found

    def _apply(self, fn: Any, recurse: bool = True) -> "ELMUR":
        """Moves or converts the parameters (`to`)."""
        super()._apply(fn, recurse)
        self.absorbed.watch()
        return self


def _watch(model: ELMUR, _: object = None) -> None:
    model.absorbed.watch()
