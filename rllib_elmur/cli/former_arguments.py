"""Arguments of the former `rllib` command, and what does their work today."""

from rllib_elmur.errors import UserError

_ARGUMENTS = {
    "train": {
        "run": "use `rllib train --run ALGORITHM --env ID`",
        "--algo": "use --run",
        "-f": "use `rllib train file FILE`",
        "--framework": "RLlib's new API stack is PyTorch only; leave the option out",
        "--torch": "RLlib's new API stack is PyTorch only; leave the option out",
        "--eager": "RLlib's new API stack is PyTorch only; leave the option out",
        "--trace": "eager tracing was TensorFlow's; leave the option out",
        "--local-dir": "use --storage-path",
        "--upload-dir": "use --storage-path, which takes cloud storage as well",
        "--local-mode": "Ray has no local mode any more; set num_env_runners: 0 in the config",
        "--resources-per-trial": "set num_env_runners, num_learners and their num_cpus_per_...",
        "--scheduler": "use Ray Tune's Tuner in Python",
        "--scheduler-config": "use Ray Tune's Tuner in Python",
        "--max-num-agents": "leave the option out",
        "--ray-num-nodes": "start a cluster and use --ray-address",
        "--ray-object-store-memory": "use `ray start --object-store-memory` and --ray-address",
        "--ray-ui": "use `ray start` and --ray-address",
        "--checkpoint-score-attr": "write checkpoint_config: {checkpoint_score_attribute: ...}",
        "--keep-ckpt-num": "use --keep-checkpoints-num",
        "--override": "change the file",
        "--wandb-key": "use Ray Tune's Tuner in Python with its Weights & Biases callback",
        "--wandb-project": "use Ray Tune's Tuner in Python with its Weights & Biases callback",
    },
    "evaluate": {
        "--run": "the checkpoint says which algorithm it is of; leave the option out",
        "--algo": "the checkpoint says which algorithm it is of; leave the option out",
        "--config": "use --env-config for the environment's options",
        "--local-mode": "evaluation needs no Ray cluster; leave the option out",
        "--save-info": "use --out",
        "--use-shelve": "use --out",
        "--track-progress": "a progress bar is always there; leave the option out",
    },
    "rollout": {"rollout": "use `rllib evaluate CHECKPOINT`"},
}


def refuse_former_arguments(arguments: list[str]) -> None:
    """Says what to do instead of an argument that the former `rllib` command took.

    Raises:
        UserError: If one is among the arguments.
    """
    verb = arguments[0] if arguments else ""
    table = _ARGUMENTS.get(verb, {})
    if verb == "train" and arguments[1:2] not in (["run"], []):
        table = {key: text for key, text in table.items() if key != "run"}
    for argument in arguments if verb == "rollout" else arguments[1:]:
        name = argument.split("=", 1)[0]
        if name in table:
            raise UserError(f"{name} is gone with the former command: {table[name]}.")
