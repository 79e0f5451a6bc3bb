"""Registers the environment ids with RLlib, so that every worker of a cluster finds them.

Importing `ray.tune.registry` takes seconds (pandas, pyarrow, Tune), and `import rllib_elmur` alone
does not need it. So the ids are registered when that module is imported, which every use of RLlib
does: at once if it has been, else by a hook in the import system that then removes itself.
"""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from rllib_elmur.envs import ENVIRONMENTS

_RAY_REGISTRY = "ray.tune.registry"


def create_env(env_id: str, context: Mapping[str, Any]) -> Any:
    """Creates an environment from RLlib's `env_config`.

    Args:
        env_id: One of this package's ids.
        context: The options. RLlib adds `num_envs` when it wants the vector form
            (``gym_env_vectorize_mode=gymnasium.VectorizeMode.VECTOR_ENTRY_POINT``).

    Returns:
        The scalar environment, or the vector environment if `num_envs` is given.

    Raises:
        ValueError: If an option is unknown or its value is not allowed.
    """
    classes = ENVIRONMENTS[env_id]
    return (classes.vector if "num_envs" in context else classes.scalar)(**context)


def register_rllib_ids() -> None:
    """Registers the ids with `ray.tune.register_env`, once `ray.tune.registry` is imported."""
    if _RAY_REGISTRY in sys.modules:
        _register()
    elif not any(isinstance(finder, _AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport())


def _register() -> None:
    from ray.tune.registry import register_env

    from rllib_elmur.plugin.rllib_internals import call_after_init

    for env_id in ENVIRONMENTS:
        register_env(env_id, partial(create_env, env_id))
    # Ray hands its registrations to the first cluster and forgets them: a second `ray.init` of one
    # process would not know the ids.
    call_after_init(_register)


class _AfterImport(MetaPathFinder):
    """Import hook that registers the ids once `ray.tune.registry` has been loaded."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _RAY_REGISTRY:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _RegisteringLoader(spec.loader)
        return spec


class _RegisteringLoader(Loader):
    def __init__(self, loader: Loader):
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # From here on the module is as if this class had never been there.
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        _register()
