"""Names from RLlib's former stack and former command, and what does their work today."""

from rllib_elmur.errors import UserError

#: Keys of a `config` mapping.
CONFIG_KEYS = {
    "num_workers": "num_env_runners",
    "num_rollout_workers": "num_env_runners",
    "num_envs_per_worker": "num_envs_per_env_runner",
    "num_cpus_per_worker": "num_cpus_per_env_runner",
    "num_gpus_per_worker": "num_gpus_per_env_runner",
    "num_cpus_for_driver": "num_cpus_for_main_process",
    "num_gpus": "num_learners and num_gpus_per_learner",
    "num_learner_workers": "num_learners",
    "num_cpus_per_learner_worker": "num_cpus_per_learner",
    "num_gpus_per_learner_worker": "num_gpus_per_learner",
    "sgd_minibatch_size": "minibatch_size",
    "num_sgd_iter": "num_epochs",
    "train_batch_size": "train_batch_size_per_learner",
    "shuffle_sequences": "shuffle_batch_per_epoch",
    "lr_schedule": "lr: [[0, 3.0e-4], [100000, 1.0e-5]] (env steps and values)",
    "entropy_coeff_schedule": "entropy_coeff: [[0, 0.01], [100000, 0.0]] (env steps and values)",
    "model": "model_config (RLlib's default module) or rl_module_spec (a module of your own)",
    "exploration_config": "rl_module_spec: exploration is the module's `forward_exploration`",
    "framework": "nothing: RLlib's new API stack is PyTorch only; leave the key out",
    "framework_str": "nothing: RLlib's new API stack is PyTorch only; leave the key out",
    "eager_tracing": "nothing: RLlib's new API stack is PyTorch only; leave the key out",
    "eager_max_retraces": "nothing: RLlib's new API stack is PyTorch only; leave the key out",
    "tf_session_args": "nothing: RLlib's new API stack is PyTorch only; leave the key out",
    "local_tf_session_args": "nothing: RLlib's new API stack is PyTorch only; leave the key out",
    "evaluation_num_workers": "evaluation_num_env_runners",
    "evaluation_num_episodes": "evaluation_duration and evaluation_duration_unit: episodes",
    "min_iter_time_s": "min_time_s_per_iteration",
    "timesteps_per_iteration": "min_sample_timesteps_per_iteration",
    "metrics_smoothing_episodes": "metrics_num_episodes_for_smoothing",
    "collect_metrics_timeout": "metrics_episode_collection_timeout_s",
    "custom_eval_function": "custom_evaluation_function",
    "create_env_on_driver": "create_env_on_local_worker",
    "ignore_worker_failures": "ignore_env_runner_failures",
    "recreate_failed_workers": "restart_failed_env_runners",
    "observation_filter": "env_to_module_connector with RLlib's MeanStdFilter",
    "remote_worker_envs": "gym_env_vectorize_mode: async",
    "horizon": "a time limit in the environment (gymnasium's TimeLimit)",
    "soft_horizon": "a time limit in the environment (gymnasium's TimeLimit)",
    "no_done_at_end": "a time limit in the environment (gymnasium's TimeLimit)",
    "monitor": "render_env, or gymnasium's RecordVideo wrapper",
    "simple_optimizer": "nothing: leave the key out",
    "use_critic": "nothing for PPO; for `use_gae`, see the algorithm's config",
    "multiagent": "policies, policy_mapping_fn and policies_to_train as keys of their own",
    "optimizer": "lr, grad_clip, and a Learner class (learner_class) for anything else",
    "_enable_learner_api": "nothing: the new API stack is the default; leave the key out",
    "_enable_rl_module_api": "nothing: the new API stack is the default; leave the key out",
    "_enable_new_api_stack": "nothing: the new API stack is the default; leave the key out",
}

#: Keys of a `stop` mapping.
STOP_KEYS = {
    "timesteps_total": "num_env_steps_sampled_lifetime",
    "num_env_steps_sampled": "num_env_steps_sampled_lifetime",
    "num_env_steps_trained": "num_env_steps_sampled_lifetime",
    "agent_timesteps_total": "num_env_steps_sampled_lifetime",
    "episode_reward_mean": "env_runners/episode_return_mean",
    "sampler_results/episode_reward_mean": "env_runners/episode_return_mean",
    "env_runners/episode_reward_mean": "env_runners/episode_return_mean",
    "episode_return_mean": "env_runners/episode_return_mean",
    "episode_len_mean": "env_runners/episode_len_mean",
    "evaluation/episode_reward_mean": "evaluation/env_runners/episode_return_mean",
    "success": "env_runners/success",
}

#: Keys of an experiment.
EXPERIMENT_KEYS = {
    "checkpoint_freq": "checkpoint_config: {checkpoint_frequency: ...}",
    "checkpoint_at_end": "checkpoint_config: {checkpoint_at_end: true}",
    "keep_checkpoints_num": "checkpoint_config: {num_to_keep: ...}",
    "checkpoint_score_attr": "checkpoint_config: {checkpoint_score_attribute: ...}",
    "local_dir": "the option --storage-path",
    "storage_path": "the option --storage-path",
    "restore": "the option --restore",
    "resources_per_trial": "num_env_runners, num_learners and their num_cpus_per_... in config",
    "trial_resources": "num_env_runners, num_learners and their num_cpus_per_... in config",
    "max_failures": "restart_failed_env_runners in config, or --resume after a failure",
    "time_total_s": "stop: {time_total_s: ...}",
}

#: Arguments of the former command's verbs.
ARGUMENTS = {
    "train": {
        "run": "write a file with `run` and `env` and use `rllib train file FILE`",
        "--run": "write a file with `run` and `env` and use `rllib train file FILE`",
        "--algo": "write a file with `run` and `env` and use `rllib train file FILE`",
        "--env": "write a file with `run` and `env` and use `rllib train file FILE`",
        "-f": "use `rllib train file FILE`",
        "--config": "write it into the file's `config`",
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
    table = ARGUMENTS.get(verb, {})
    if verb == "train" and arguments[1:2] not in (["run"], []):
        table = {key: text for key, text in table.items() if key != "run"}
    for argument in arguments if verb == "rollout" else arguments[1:]:
        name = argument.split("=", 1)[0]
        if name in table:
            raise UserError(f"{name} is gone with the former command: {table[name]}.")
