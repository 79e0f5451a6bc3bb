"""Connector pieces of the user's, before which or behind which ours stand."""

from typing import Any

from ray.rllib.connectors.connector_v2 import ConnectorV2


def users_pieces(builder: Any, *args: Any) -> list[ConnectorV2]:
    """What a builder of a config returns, one piece or several, as a list; none without builder."""
    pieces = [] if builder is None else builder(*args)
    return list(pieces) if isinstance(pieces, (list, tuple)) else [pieces]
