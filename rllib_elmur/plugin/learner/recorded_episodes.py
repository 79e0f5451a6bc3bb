"""Updates from whole recorded episodes, by the weights that they update."""

from collections.abc import Callable, Iterator
from typing import Any, cast

from ray.rllib.algorithms.marwil import MARWILConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.utils.annotations import override
from ray.rllib.utils.typing import ModuleID

from rllib_elmur.plugin.memory_module import MemoryModule
from rllib_elmur.plugin.previous import PREVIOUS_ACTION, PREVIOUS_REWARD, join_recorded
from rllib_elmur.plugin.recordings import episodes_of
from rllib_elmur.plugin.rllib_internals import OwnBatches
from rllib_elmur.plugin.rows import require_finite_rewards


class FromEpisodes(OwnBatches, TorchLearner):
    """Makes each train batch of whole episodes, at least `train_batch_size_per_learner` env steps.

    RLlib makes such batches elsewhere and ahead of time, with the weights of the training's begin.
    Here the states of an episode's later rows, and MARWIL's values where an episode was cut short,
    are those of the present weights.
    """

    _episodes: Iterator[Any] | None = None

    def batches(
        self,
        *,
        training_data: TrainingData,
        batch_of: Callable[[TrainingData], Any],
        num_iters: int | None = None,
        num_total_minibatches: int = 0,
        num_epochs: int = 1,
        minibatch_size: int | None = None,
        shuffle_batch_per_epoch: bool = False,
        return_state: bool = False,  # RLlib's to heed; it comes along where learners are remote
        **iter_batches: Any,
    ) -> Iterator[Any]:
        """Yields `num_iters` train batches, or those of one pass over the recordings if None."""
        # MARWIL hands on what `RecordedEpisodes.sample` returned as one or as the other.
        [recordings] = cast("list[Any]", training_data.data_iterators or training_data.batch)
        config = cast("MARWILConfig", self.config)
        made, size = 0, config.train_batch_size_per_learner
        while num_iters is None or made < num_iters:
            is_new = self._episodes is None
            if self._episodes is None:
                self._episodes = episodes_of(recordings, **iter_batches)
            taken, n_steps = [], 0
            for episode in self._episodes:
                self._join_previous(episode)
                taken.append(episode.to_numpy())
                n_steps += len(episode)
                if n_steps >= size:
                    break
            else:
                self._episodes = None  # the next pass
            if taken:
                if config.beta:
                    require_finite_rewards(taken)
                batch = batch_of(TrainingData(episodes=taken))
                batch.count = n_steps  # MARWIL's connectors have appended a step to each episode
                yield batch
                made += 1
            elif is_new:
                raise ValueError(f"The data in input_={config.input_!r} hold no episode.")
            if self._episodes is None and num_iters is None:
                return

    def _join_previous(self, episode: Any) -> None:
        module = cast("MemoryModule", self.module[DEFAULT_MODULE_ID].unwrapped())
        config = module.model_config
        if config.get(PREVIOUS_ACTION) or config.get(PREVIOUS_REWARD):
            join_recorded(episode, module.observation_space, module.action_space)

    @override(TorchLearner)
    def compute_loss_for_module(
        self, *, module_id: ModuleID, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Any:
        """The algorithm's loss."""
        loss = super().compute_loss_for_module(
            module_id=module_id, config=config, batch=batch, fwd_out=fwd_out
        )
        if config.beta:
            return loss
        # Several learners wait for a gradient of every parameter; BC has none of the value head's.
        module = cast("MemoryModule", self.module[module_id].unwrapped())
        values = module.compute_values(batch, embeddings=fwd_out.get(Columns.EMBEDDINGS))
        return loss + 0.0 * values.sum()
