"""The PPO learner: scoring of rollouts, advantages, and one jitted step for policy and critic."""

from stepcoder_jax.learner.scoring import Scores, policy_logprobs, score, state_values
from stepcoder_jax.learner.settings import CriticKind, Learner
from stepcoder_jax.learner.stats import CriticStats, PolicyStats
from stepcoder_jax.learner.steps import (
    adapt_beta,
    first_critic,
    init_state,
    update,
    update_critic,
)
from stepcoder_jax.learner.train_batch import BatchStats, make_train_batch, minibatches

__all__ = [
    "BatchStats",
    "CriticKind",
    "CriticStats",
    "Learner",
    "PolicyStats",
    "Scores",
    "adapt_beta",
    "first_critic",
    "init_state",
    "make_train_batch",
    "minibatches",
    "policy_logprobs",
    "score",
    "state_values",
    "update",
    "update_critic",
]
