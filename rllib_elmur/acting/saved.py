"""A policy in a folder that needs no Ray: JSON and safetensors, of which nothing is unpickled.

`policy.json` holds spaces, options, pieces and the number of this layout, and `policy.safetensors`
the network's weights and what filters have learned. What only a training needs is left out: the
value head, APPO's target network, the optimizer.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rllib_elmur.acting.actions import Actions
from rllib_elmur.acting.inputs import Flatten, Normalize, Piece, Previous
from rllib_elmur.acting.network import RunningNetwork
from rllib_elmur.acting.policy import Actor, PlainActor, Policy
from rllib_elmur.acting.space_data import from_data, to_data
from rllib_elmur.config import ELMURConfig, check_names
from rllib_elmur.errors import OptionError, UserError
from rllib_elmur.model.action_mask import ActionMask, NoMask
from rllib_elmur.model.fitting import ForeignWeights, require_fitting
from rllib_elmur.model.network import PolicyNetwork

FORMAT = 4
"""Goes up with each change after which a version would misread the folder of another."""
_DATA, _TENSORS = "policy.json", "policy.safetensors"
_NETWORK = "network."
_PIECES = {"normalize": Normalize, "flatten": Flatten, "previous": Previous}


def is_saved(folder: Path) -> bool:
    """Whether a folder is one that `save` wrote."""
    return (folder / _DATA).is_file()


def save(actor: Actor, spaces: tuple[Any, Any], folder: Path) -> None:
    """Writes a policy.

    Args:
        actor: The policy's.
        spaces: Of the environment's observations and actions.
        folder: Where to; it is made if need be.

    Raises:
        UserError: If a part of the policy can be had with RLlib only.
    """
    if actor.needs_ray is not None:
        raise UserError(f"The policy cannot be saved: {actor.needs_ray} needs RLlib.")
    assert isinstance(actor, PlainActor) and isinstance(actor.running, RunningNetwork)
    running = actor.running
    network, actions = running.network, actor.actions
    tensors = {f"{_NETWORK}{name}": x for name, x in network.state_dict().items()}
    pieces = [_piece_data(piece, f"piece.{i}.", tensors) for i, piece in enumerate(actor.pieces)]
    data = {
        "format": FORMAT,
        "observation_space": to_data(spaces[0]),
        "action_space": to_data(spaces[1]),
        "policy_observation_space": to_data(running.mask.space),
        "action_mask": running.mask.path,
        "normalize_actions": bool(actions.normalize),
        "clip_actions": bool(actions.clip),
        "pieces": pieces,
        "options": dataclasses.asdict(network.elmur.config),
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: x.contiguous().cpu() for name, x in tensors.items()}, folder / _TENSORS)
    (folder / _DATA).write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def load(folder: Path) -> Policy:
    """Reads what `save` wrote.

    Raises:
        UserError: If it is of another format, or damaged.
    """
    try:
        data = json.loads((folder / _DATA).read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise UserError(
                f"{folder}: the saved policy has format {data['format']}, and this version of "
                f"rllib_elmur reads format {FORMAT}: use the version that saved it, or save it "
                "again from the checkpoint."
            )
        return _policy(data, load_file(folder / _TENSORS))
    except (UserError, OptionError) as error:
        raise UserError(_in_folder(folder, str(error))) from error
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        found = f"{type(error).__name__}: {error}"
        raise UserError(f"{folder}: not a policy that was saved whole: {found}") from error


def _in_folder(folder: Path, sentence: str) -> str:
    return sentence if sentence.startswith(str(folder)) else f"{folder}: {sentence}"


def _policy(data: dict[str, Any], tensors: dict[str, Tensor]) -> Policy:
    names = "observation_space", "action_space", "policy_observation_space"
    observation_space, action_space, seen = (from_data(data[name]) for name in names)
    path, options = data["action_mask"], data["options"]
    check_names(options, ELMURConfig.names())
    where = "the environment"
    mask = ActionMask(seen, tuple(path), action_space, where) if path else NoMask(seen)
    actions = Actions(action_space, data["normalize_actions"], data["clip_actions"])
    network = PolicyNetwork(mask.rest, actions.n_inputs, ELMURConfig(**options))
    weights = {
        name.removeprefix(_NETWORK): tensor
        for name, tensor in tensors.items()
        if name.startswith(_NETWORK)
    }
    try:
        require_fitting(network.state_dict(), weights)
    except ForeignWeights as error:
        raise UserError(f"{_TENSORS} does not fit {_DATA}: {error}") from error
    network.to(weights["pi.weight"].dtype).load_state_dict(weights)
    pieces = [_piece(part, f"piece.{i}.", tensors) for i, part in enumerate(data["pieces"])]
    running = RunningNetwork(network.eval(), mask, actions)
    return Policy(PlainActor(running, pieces, actions), observation_space, action_space)


def _piece_data(piece: Piece, prefix: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """What JSON can hold of a piece; its arrays go to the tensors."""
    [kind] = [name for name, of_class in _PIECES.items() if type(piece) is of_class]
    if isinstance(piece, Flatten):
        return {"kind": kind, "space": to_data(piece.space)}
    if isinstance(piece, Previous):
        return {"kind": kind, "action": piece.action, "reward": piece.reward}
    assert isinstance(piece, Normalize)
    for name in ("mean", "scale"):
        if getattr(piece, name) is not None:
            tensors[prefix + name] = torch.from_numpy(getattr(piece, name))
    return {"kind": kind, "clip": piece.clip}


def _piece(data: dict[str, Any], prefix: str, tensors: dict[str, Tensor]) -> Piece:
    options = {name: value for name, value in data.items() if name != "kind"}
    if data["kind"] == "flatten":
        return Flatten(from_data(options["space"]))
    if data["kind"] == "normalize":
        arrays = {name: tensors.get(prefix + name) for name in ("mean", "scale")}
        options |= {name: None if x is None else x.numpy() for name, x in arrays.items()}
    return _PIECES[data["kind"]](**options)
