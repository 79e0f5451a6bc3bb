"""Keys of files for RLlib's former API stack, and what does their work today."""

_FILTER = "ray.rllib.connectors.env_to_module.MeanStdFilter"

_IN_MODEL = "in the model_config of rl_module_spec with rllib_elmur.ELMURTorchRLModule"
_NO_BURN_IN = (
    "nothing: every training sequence begins with the state that the policy had there; leave the "
    "key out"
)

#: Keys of memory, wherever they stand in a `config`: attention nets, and sequences of replay.
MEMORY_KEYS = {
    "use_attention": "rl_module_spec: {module_class: rllib_elmur.ELMURTorchRLModule}, whose memory "
    "takes the place of RLlib's attention nets",
    "attention_num_transformer_units": f"n_layers {_IN_MODEL}",
    "attention_dim": f"d_model {_IN_MODEL}",
    "attention_num_heads": f"n_heads {_IN_MODEL}",
    "attention_head_dim": f"d_model and n_heads {_IN_MODEL}: a head has d_model / n_heads",
    "attention_memory_inference": f"attention_window and memory_slots {_IN_MODEL}",
    "attention_memory_training": f"attention_window and max_seq_len {_IN_MODEL}",
    "attention_position_wise_mlp_dim": f"d_ff {_IN_MODEL}",
    "attention_init_gru_gate_bias": "nothing: ELMUR has no gates; leave the key out",
    "attention_use_n_prev_actions": f"previous_action {_IN_MODEL}",
    "attention_use_n_prev_rewards": f"previous_reward {_IN_MODEL}",
    "burn_in": _NO_BURN_IN,
    "replay_burn_in": _NO_BURN_IN,
    "replay_buffer_burn_in": _NO_BURN_IN,
    "zero_init_states": _NO_BURN_IN,
    "replay_zero_init_states": _NO_BURN_IN,
}

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
    "observation_filter": f"env_to_module_connector: {_FILTER}",
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
