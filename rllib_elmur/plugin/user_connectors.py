"""The connector pieces that a config's own builder makes."""

from typing import Any

from ray.rllib.connectors.connector_v2 import ConnectorV2


def pieces_of(builder: Any, *args: Any) -> list[ConnectorV2]:
    """The pieces that a connector builder returns, one or several, as a list.

    Args:
        builder: What a config's ``..._connector=`` was given; None makes no piece.
        args: RLlib's arguments for the builder.
    """
    pieces = [] if builder is None else builder(*args)
    return list(pieces) if isinstance(pieces, (list, tuple)) else [pieces]
