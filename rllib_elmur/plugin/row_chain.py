"""Runs the rows of one episode one after another, where only the state of its first is known."""

from typing import Any

import torch
import tree
from torch import Tensor

from rllib_elmur.model.network import PolicyNetwork
from rllib_elmur.model.state import State

# A column (B,): 0 where a row begins in its STATE_IN, and k where it is the k-th row after that
# one; it then begins in the state that the row before it in the batch ends in.
ROW_NUMBER = "row_number"


def run_rows(
    network: PolicyNetwork, observation: Any, state: State, lengths: Tensor | None, numbers: Tensor
) -> tuple[Tensor, State]:
    """Runs rows in passes: the first row of each episode, then each second one, and so on.

    The state goes from row to row by the present weights. Gradient ends with a row.

    Args:
        network: The policy.
        observation: Tensors of (B, T, *space), nested as the space is.
        state: The state before each row; used where its number is 0.
        lengths: Observations that are data in each row, (B,); all if None.
        numbers: The column `ROW_NUMBER`, (B,).

    Returns:
        Features (B, T, d) and the state after each row.
    """
    order, passes = [], []
    for number in range(int(numbers.max()) + 1):
        rows = (numbers == number).nonzero()[:, 0]
        if number:
            place = torch.searchsorted(order[-1], rows - 1)
            begin = State(*(part[place].detach() for part in passes[-1][1]))
        else:
            begin = State(*(part[rows] for part in state))
        parts = tree.map_structure(lambda x, rows=rows: x[rows], observation)
        order.append(rows)
        passes.append(network(parts, begin, None if lengths is None else lengths[rows]))
    places = torch.cat(order).argsort()
    features, states = zip(*passes, strict=True)
    after = (torch.cat(parts)[places] for parts in zip(*states, strict=True))
    return torch.cat(features)[places], State(*after)
