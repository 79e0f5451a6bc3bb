"""ELMUR, a transformer with external layer memory, as a policy for Ray RLlib.

Importing the package makes its environment ids known to Gymnasium and, where Ray is installed, to
RLlib's registry. The public names are loaded when first used, so that ``from rllib_elmur import
ELMUR`` needs no Ray.
"""

from importlib import import_module, util
from typing import TYPE_CHECKING, Any

from rllib_elmur.envs import register_gymnasium_ids
from rllib_elmur.plugin.ray_versions import require_ray

if TYPE_CHECKING:
    from rllib_elmur.acting.load import load_policy as load_policy
    from rllib_elmur.config import PAPER as PAPER
    from rllib_elmur.config import ELMURConfig as ELMURConfig
    from rllib_elmur.model.elmur import ELMUR as ELMUR
    from rllib_elmur.plugin.curriculum import Curriculum as Curriculum
    from rllib_elmur.plugin.module import ELMURTorchRLModule as ELMURTorchRLModule
    from rllib_elmur.plugin.ppo_settings import PPO_SETTINGS as PPO_SETTINGS
    from rllib_elmur.plugin.use import use_elmur as use_elmur
    from rllib_elmur.proof.callback import CertifyMemory as CertifyMemory
    from rllib_elmur.proof.certify import certify as certify

__version__ = "0.1.0"

_PUBLIC = {
    "ELMURConfig": "rllib_elmur.config",
    "PAPER": "rllib_elmur.config",
    "PPO_SETTINGS": "rllib_elmur.plugin.ppo_settings",
    "ELMUR": "rllib_elmur.model.elmur",
    "ELMURTorchRLModule": "rllib_elmur.plugin.module",
    "use_elmur": "rllib_elmur.plugin.use",
    "load_policy": "rllib_elmur.acting.load",
    "certify": "rllib_elmur.proof.certify",
    "CertifyMemory": "rllib_elmur.proof.callback",
    "Curriculum": "rllib_elmur.plugin.curriculum",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        if _PUBLIC[name].split(".")[1] in ("plugin", "proof"):
            require_ray()
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'rllib_elmur' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))


register_gymnasium_ids()
if util.find_spec("ray") is not None:
    from rllib_elmur.plugin.registry import register_rllib_ids

    register_rllib_ids()
