"""Options of an environment as attributes that can be read and not set."""

from dataclasses import fields
from typing import Any

from rllib_elmur.envs.task import TMaze


class FixedOptions:
    """Mixin of environments with a `task_class`: setting an option is an error, not in vain."""

    task: TMaze

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "task_class" in vars(cls):
            for field in fields(vars(cls)["task_class"]):
                setattr(cls, field.name, _fixed(field.name))


def _fixed(name: str) -> property:
    """A property that reads an option of the task."""

    def read(env: FixedOptions) -> Any:
        return getattr(env.task, name)

    def refuse(env: FixedOptions, value: Any) -> None:
        raise AttributeError(
            f"{name}={value!r} cannot be set: options of {type(env).__name__} are those it was "
            f"made with ({name}={read(env)!r}). Make it anew; in a training by RLlib a "
            "`rllib_elmur.Curriculum` does so."
        )

    return property(read, refuse, doc=f"The option `{name}` of the task.")
