"""Settings of PPO that a policy with a memory learns well with."""

from typing import Any

# For `AlgorithmConfig.training`, with 16 environments.
PPO_SETTINGS: dict[str, Any] = {
    "train_batch_size_per_learner": 4000,
    "minibatch_size": 1000,
    "num_epochs": 6,
    # A batch holds few episodes, and where these are long it says little about what is rare in it:
    # at 5e-4 that is unlearned again; with 2e-4 from the start everything is learned later.
    "lr": [[0, 5e-4], [500_000, 2e-4], [2_000_000, 1e-4]],
    "gamma": 0.99,
    "lambda_": 0.95,
    "entropy_coeff": 0.01,
    "clip_param": 0.2,
    "vf_clip_param": 1e6,  # returns have the scale of their task
    "vf_loss_coeff": 0.5,
    "grad_clip": 0.5,
    # Without it, what was learned is lost now and then.
    "use_kl_loss": True,
    "kl_coeff": 0.3,
}
