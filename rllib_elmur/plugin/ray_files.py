"""The files of RLlib's checkpoints and of Tune's experiments that this package reads.

Any release of Ray may lay them out anew. `NAMES` says which module of Ray defines each name, and in
which versions the name was read there, as `PRIVATE_NAMES` does in `plugin.rllib_internals`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ray.cloudpickle

NAMES = {
    ("rllib.core", "2.56", "2.60"): (
        "learner_group learner rl_module env_runner eval_env_runner env_to_module_connector"
        " module_to_env_connector"
    ),
    ("rllib.utils.checkpoints", "2.56", "2.60"): (
        "metadata.json class_and_ctor_args.pkl state_file class_and_ctor_args_file class"
        " ctor_args_and_kwargs"
    ),
    ("rllib.algorithms.algorithm", "2.56", "2.60"): "rllib_checkpoint.json",
    ("train._internal.storage", "2.56", "2.60"): "checkpoint_",
    ("tune.impl.tuner_internal", "2.56", "2.60"): "tuner.pkl",
    ("tune.execution.tune_controller", "2.56", "2.60"): "experiment_state-{}.json",
    ("tune.experiment.trial", "2.56", "2.60"): "stopping_criterion",
}
METADATA = "metadata.json"
_MODULES = Path("learner_group", "learner", "rl_module")
_ENV_RUNNER, _EVALUATION_RUNNER = "env_runner", "eval_env_runner"
_TO_MODULE, _FROM_MODULE = "env_to_module_connector", "module_to_env_connector"
_ALGORITHM_METADATA, _CONSTRUCTED = "rllib_checkpoint.json", "class_and_ctor_args.pkl"
_CHECKPOINT = "checkpoint_"
_EXPERIMENT, _STATES = "tuner.pkl", "experiment_state-{}.json".format("*")


class Constructed(NamedTuple):
    """What an object of a checkpoint was constructed of."""

    of_class: type
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]


def constructed(folder: str | Path, filesystem: Any = None) -> Constructed:
    """Reads what the object that was saved to a folder was constructed of."""
    content = _content(folder, _CONSTRUCTED, filesystem)
    if content is None:
        raise FileNotFoundError(f"{folder}: no {_CONSTRUCTED}.")
    saved = ray.cloudpickle.loads(content)
    return Constructed(saved["class"], *saved["ctor_args_and_kwargs"])


def metadata_of(folder: str | Path, filesystem: Any = None) -> dict[str, Any] | None:
    """The metadata of the object that was saved to a folder; None without any."""
    content = _content(folder, METADATA, filesystem)
    return None if content is None else json.loads(content)


def _content(folder: str | Path, name: str, filesystem: Any) -> bytes | None:
    """What a file of a folder holds; None if there is no such file.

    Args:
        folder: The folder.
        name: The file.
        filesystem: The PyArrow file system of the folder; None: the folder may be a URI.
    """
    import pyarrow.fs

    if filesystem is None:
        filesystem, folder = pyarrow.fs.FileSystem.from_uri(str(folder))
    file = Path(folder, name).as_posix()
    if filesystem.get_file_info(file).type == pyarrow.fs.FileType.NotFound:
        return None
    with filesystem.open_input_stream(file) as stream:
        return stream.read()


def pipelines_of(checkpoint: Path) -> tuple[Path, Path] | None:
    """The folders of both pipelines in an algorithm's checkpoint: to the module, and from it.

    Without an env runner in its own process an algorithm holds the pipelines itself. One that
    learns from recordings has those of its evaluation, or none.
    """
    for folder in (checkpoint / _ENV_RUNNER, checkpoint, checkpoint / _EVALUATION_RUNNER):
        if (folder / _TO_MODULE).is_dir():
            return folder / _TO_MODULE, folder / _FROM_MODULE
    return None


def modules_of(checkpoint: Path) -> dict[str, Path]:
    """The folders of the modules in an algorithm's checkpoint, by their ids in sorted order."""
    folders = filter(Path.is_dir, (checkpoint / _MODULES).glob("*"))
    return {folder.name: folder for folder in sorted(folders)}


def has_modules(folder: Path) -> bool:
    """Whether a folder is an algorithm's checkpoint, as far as it has a place for modules."""
    return (folder / _MODULES).is_dir()


def is_algorithm(folder: Path) -> bool:
    """Whether a folder is the checkpoint of a whole algorithm."""
    return (folder / _ALGORITHM_METADATA).is_file()


def checkpoints_below(folder: Path) -> list[Path]:
    """The folders of Tune's checkpoints in a folder of results, the newest first."""
    below = folder.glob(f"**/{_CHECKPOINT}*")
    return sorted(below, key=lambda found: found.stat().st_mtime, reverse=True)


def is_whole(checkpoint: Path) -> bool:
    """Whether no file of an algorithm's checkpoint is missing or cut short.

    A training that was killed, or whose disk was full, leaves the last one as far as it came. Each
    component's metadata name the pickles beside them, and each pickle ends with a full stop. The
    algorithm's own state is written last, behind the env runner, which not every algorithm has.
    """
    components = [checkpoint / part for part in _MODULES.parents]
    components += filter(Path.is_dir, [checkpoint / _ENV_RUNNER])
    try:
        for folder in {*components, checkpoint / _MODULES, *modules_of(checkpoint).values()}:
            name = _ALGORITHM_METADATA if folder == checkpoint else METADATA
            metadata = json.loads((folder / name).read_text())
            named = f"{metadata['state_file']}.pkl", metadata["class_and_ctor_args_file"]
            if not all((folder / file).is_file() for file in named):
                return False
        # Files are copied side by side: any of them, such as a connector's, may be cut short.
        if not all(file.read_bytes().endswith(b".") for file in checkpoint.rglob("*.pkl")):
            return False
    except (OSError, ValueError, KeyError):
        return False
    return True


def holds_experiment(folder: Path) -> bool:
    """Whether Tune has begun an experiment in a folder."""
    return (folder / _EXPERIMENT).exists()


def experiments_in(storage: Path, pattern: str) -> list[Path]:
    """The folders of Tune's experiments whose names match a pattern."""
    return [path.parent for path in storage.glob(f"{pattern}/{_EXPERIMENT}")]


def put_broken_states_aside(experiment: Path) -> bool:
    """Leaves Tune a whole state to resume from: Tune waits for ever on one that is cut short.

    Returns:
        Whether there is one.
    """
    for path in sorted(experiment.glob(_STATES), reverse=True):  # the newest first
        try:
            json.loads(path.read_text())
            return True
        except ValueError:
            path.rename(path.with_suffix(".broken"))
    return False


def number_of(trial: Any) -> str:
    """The number of one of Tune's trials in its experiment, such as ``"00003"``."""
    return trial.trial_id.rsplit("_", 1)[-1]


def set_stop(trial: Any, criteria: Mapping[str, float]) -> None:
    """Sets the criteria that end one of Tune's trials."""
    trial.stopping_criterion = dict(criteria)
