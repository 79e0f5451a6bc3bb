"""Recorded episodes, whole and in their order, as data for BC and MARWIL."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import ray
import tree
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.offline.offline_data import OfflineData
from ray.rllib.offline.offline_prelearner import SCHEMA
from ray.rllib.utils.annotations import override
from ray.rllib.utils.compression import unpack_if_needed

_ITEM = "item"  # the only column of a recording with `output_write_episodes=True`


class RecordedEpisodes(OfflineData):
    """Hands learners recorded episodes as they are.

    RLlib cuts recordings into pieces that begin anywhere and hands them to learners as batches,
    cut anew. A policy with memory needs an episode from its start.

    Raises:
        ValueError: If the config asks for something that is done to pieces of episodes, or if the
            data hold no episodes.
    """

    def __init__(self, config: Any):
        _require_whole_episodes(config)
        _packers()
        super().__init__(config)
        schema = SCHEMA | config.input_read_schema
        wanted = _ITEM if config.input_read_episodes else schema[Columns.EPS_ID]
        found = self.data.schema().names
        if wanted not in found:
            raise ValueError(
                f"input_read_episodes={config.input_read_episodes}: the data in {config.input_!r} "
                f"must have a column {wanted!r}, and have {', '.join(found)}. Record whole "
                "episodes with `config.offline_data(output=..., output_write_episodes=True)`."
            )
        if not config.input_read_episodes:
            if config.beta and schema[Columns.REWARDS] not in found:
                raise ValueError(
                    f"beta={config.beta}: advantages need rewards, and the data in "
                    f"{config.input_!r} have {', '.join(found)}. beta must be 0, or a column "
                    f"{schema[Columns.REWARDS]!r} be there."
                )
            packed = _pack_rows(self.data, schema, config.input_compress_columns or [])
            self.data = ray.data.from_items(packed)
        if config.materialize_mapped_data:  # RLlib's default: files are read once
            self.data = self.data.materialize()
        # Parts of their own: learners that share a stream wait for each other at its end. Ray Data
        # splits in tasks, which need a CPU: now, before the learners have taken all of them.
        learners = config.num_learners
        parts = self.data.split(learners, equal=True) if learners > 1 else [self.data]
        self.batch_iterators = [part.iterator() for part in parts]

    @override(OfflineData)
    def sample(
        self,
        num_samples: int,
        return_iterator: bool = False,
        num_shards: int = 1,
        module_state: Any = None,
    ) -> Any:
        """Returns an iterator over recorded episodes for each learner (see `episodes_of`)."""
        return self.batch_iterators


def episodes_of(iterator: Any, **iter_batches: Any) -> Iterator[SingleAgentEpisode]:
    """The episodes of one pass over an iterator of `RecordedEpisodes`.

    Args:
        iterator: The iterator.
        **iter_batches: The config's `iter_batches_kwargs`.

    Raises:
        ValueError: If a recorded episode does not begin at its start.
    """
    msgpack, codec = _packers()
    for batch in iterator.iter_batches(batch_size=32, batch_format="numpy", **iter_batches):
        for item in batch[_ITEM]:
            state = msgpack.unpackb(item, object_hook=codec.decode)
            episode = SingleAgentEpisode.from_state(state)
            if episode.t_started:
                raise ValueError(
                    f"The recorded episode {episode.id_} begins at time step {episode.t_started}, "
                    "and what came before it is not known: record whole episodes, such as with "
                    "`config.env_runners(batch_mode='complete_episodes')`."
                )
            # The states of the weights that it was recorded with.
            for column in (Columns.STATE_IN, Columns.STATE_OUT):
                episode.extra_model_outputs.pop(column, None)
            if len(episode):
                yield episode


def _pack_rows(data: Any, schema: dict[str, str], compressed: list[str]) -> list[dict[str, bytes]]:
    """Packs rows, a time step each, as episodes; in this process, which reads them in order."""
    data.context.execution_options.preserve_order = True
    episodes: dict[Any, list[dict[str, np.ndarray]]] = {}
    for batch in data.iter_batches(batch_size=4096, batch_format="numpy"):
        ids = batch[schema[Columns.EPS_ID]]
        begins = (ids[1:] != ids[:-1]).nonzero()[0] + 1
        for part in np.split(np.arange(len(ids)), begins):
            columns = {name: column[part] for name, column in batch.items()}
            episodes.setdefault(ids[part[0]], []).append(columns)
    return [
        {_ITEM: _pack_episode(_joined(parts, schema[Columns.T]), schema, compressed)}
        for parts in episodes.values()
    ]


def _joined(parts: list[dict[str, np.ndarray]], time: str) -> dict[str, np.ndarray]:
    """Joins the rows of an episode, in the order of the column `time` if there is one."""
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if time in rows:
        order = np.argsort(rows[time], kind="stable")
        rows = {name: column[order] for name, column in rows.items()}
    return rows


def _pack_episode(
    rows: dict[str, np.ndarray], schema: dict[str, str], compressed: list[str]
) -> bytes:
    """Packs the rows of one episode as RLlib packs a whole episode.

    Imitation needs observations and actions alone: without rewards they are 0, without a column
    that says so an episode is whole, and without what followed the last observation stands twice.

    Raises:
        ValueError: If the rows do not follow one another.
    """

    def items(name: str, key: str | None = None) -> list[Any]:
        packed = (key or name) in compressed
        column = rows[schema.get(name, name)]
        return [unpack_if_needed(item) if packed else item for item in column]

    has = {name for name in (*schema, *rows) if schema.get(name, name) in rows}
    id_ = str(rows[schema[Columns.EPS_ID]][0])
    observations = items(Columns.OBS)
    following = [*observations[1:], observations[-1]]
    if Columns.NEXT_OBS in has:
        following = items(Columns.NEXT_OBS, Columns.OBS)
        _require_one_way(id_, observations, following)
    ends = {
        name: bool(items(name)[-1])
        for name in (Columns.TERMINATEDS, Columns.TRUNCATEDS)
        if name in has
    }
    rewards = items(Columns.REWARDS) if Columns.REWARDS in has else [0.0] * len(observations)
    more = set(rows) - set(schema) - set(schema.values()) - {"type"}
    episode = SingleAgentEpisode(
        id_=id_,
        observations=[*observations, following[-1]],
        actions=items(Columns.ACTIONS),
        rewards=[float(reward) for reward in rewards],
        terminated=ends.get(Columns.TERMINATEDS, not ends),
        truncated=ends.get(Columns.TRUNCATEDS, False),
        extra_model_outputs={name: items(name) for name in more},
        len_lookback_buffer=0,
    )
    msgpack, codec = _packers()
    return msgpack.packb(episode.get_state(), default=codec.encode)


def _require_one_way(id_: str, observations: list[Any], following: list[Any]) -> None:
    for before, after in zip(following[:-1], observations[1:], strict=True):
        pairs = zip(tree.flatten(before), tree.flatten(after), strict=True)
        if not all(np.array_equal(a, b) for a, b in pairs):
            raise ValueError(
                f"The rows of the recorded episode {id_} do not follow one another: an "
                f"{Columns.OBS!r} is not the {Columns.NEXT_OBS!r} of the row before it. A column "
                f"{Columns.T!r} with the time steps puts rows in order."
            )


def _packers() -> tuple[Any, Any]:
    """The packages `msgpack` and `msgpack_numpy`, with which RLlib packs recorded episodes.

    Raises:
        ImportError: If they are not installed; RLlib does not bring them along.
    """
    try:
        import msgpack
        import msgpack_numpy
    except ImportError as error:
        raise ImportError(
            "Recorded episodes are read with msgpack and msgpack-numpy, as RLlib writes them: "
            "`pip install 'rllib_elmur[offline]'`."
        ) from error
    return msgpack, msgpack_numpy


def _require_whole_episodes(config: Any) -> None:
    """Raises a ValueError for settings that are about pieces of episodes."""
    for name in (
        "input_read_sample_batches",
        "prelearner_class",
        "prelearner_buffer_class",
        "prelearner_use_recorded_module_states",
        "ignore_final_observation",
    ):
        if getattr(config, name):
            raise ValueError(
                f"{name}={getattr(config, name)!r} is not supported by ELMUR, which learns from "
                "whole episodes and computes their states anew. Leave it out."
            )
    if config.num_learners > 1 and not config.dataset_num_iters_per_learner:
        raise ValueError(
            f"dataset_num_iters_per_learner={config.dataset_num_iters_per_learner!r} with "
            f"num_learners={config.num_learners}: must be a number, such as 10, as learners "
            "update together and their episodes differ in length."
        )
