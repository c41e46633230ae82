"""From scored rollouts to what optimizer steps consume: advantages, returns, weights."""

from functools import partial
from typing import assert_never

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from stepcoder_jax.advantages import Advantages, gae, grpo, rloo, whiten_advantages
from stepcoder_jax.importance import importance_weights
from stepcoder_jax.kl import token_kl, token_rewards
from stepcoder_jax.learner.batch_stats import BatchStats, batch_stats
from stepcoder_jax.learner.scoring import Scores
from stepcoder_jax.learner.settings import Learner
from stepcoder_jax.types import RolloutBatch, TrainBatch


@partial(jax.jit, static_argnames=("learner",))
def make_train_batch(
    rollouts: RolloutBatch, scores: Scores, *, beta: Float[Array, ""], learner: Learner
) -> tuple[TrainBatch, BatchStats]:
    """Rewards, advantages and weights over the global batch (METHOD.md §4 and §6).

    FGO has no part here: KL, advantages, whitening and returns are over the whole response.

    Args:
      beta: coefficient of the KL penalty in this iteration: the state's.
    """
    response, limit = rollouts.is_response, learner.ppo.log_ratio_limit
    divergence = token_kl(scores.old_logprobs, scores.ref_logprobs, response, learner.kl, limit)
    charged = beta if learner.kl.where == "reward" else 0.0
    rewards = token_rewards(rollouts.scores, divergence, response, charged)
    estimates = _estimate(rewards, rollouts, scores, learner)
    importance = _importance(rollouts, scores, learner)
    is_trained = response & rollouts.is_executed
    weights = rollouts.weights if importance is None else rollouts.weights * importance
    batch = TrainBatch(
        tokens=rollouts.tokens,
        is_response=response,
        is_trained=is_trained,
        weights=jnp.where(is_trained, weights, 0.0),
        old_logprobs=scores.old_logprobs,
        ref_logprobs=scores.ref_logprobs,
        old_values=scores.old_values,
        advantages=estimates.advantages,
        returns=estimates.returns,
    )
    gap = jnp.abs(rollouts.sampler_logprobs - scores.old_logprobs)
    stats = batch_stats(
        batch,
        beta=beta,
        divergence=divergence,
        entropy=scores.entropy,
        logprob_gap=gap,
        importance=importance,
        importance_cap=learner.importance_cap,
    )
    return batch, stats


@partial(jax.jit, static_argnames=("count",))
def minibatches(batch: TrainBatch, key: PRNGKeyArray, *, count: int) -> tuple[TrainBatch, ...]:
    """The rows in random order, dealt out to ``count`` batches of the same size."""
    order = jax.random.permutation(key, batch.tokens.shape[0]).reshape(count, -1)
    return tuple(jax.tree.map(lambda x, rows=rows: x[rows], batch) for rows in order)


def _estimate(
    rewards: Float[Array, "B T"], rollouts: RolloutBatch, scores: Scores, learner: Learner
) -> Advantages:
    """Advantages by ``ppo.advantage``: a group's see the rewards of a row as their sum."""
    response, ppo = rollouts.is_response, learner.ppo
    match ppo.advantage:
        case "gae":
            found = gae(rewards, scores.require_values(), response, ppo)
            whitened = whiten_advantages(found.advantages, response, ppo)
            return Advantages(advantages=whitened, returns=found.returns)
        case "grpo":
            above = grpo(jnp.sum(rewards, axis=1), response, learner.group_size)
            return Advantages(advantages=above, returns=None)
        case "rloo":
            above = rloo(jnp.sum(rewards, axis=1), response, learner.group_size)
            return Advantages(advantages=above, returns=None)
        case unknown:
            assert_never(unknown)


def _importance(
    rollouts: RolloutBatch, scores: Scores, learner: Learner
) -> Float[Array, "B T"] | None:
    """Weights of rollouts that an older policy sampled; None where the policy itself did."""
    if learner.importance_cap is None:
        return None
    return importance_weights(
        scores.old_logprobs,
        rollouts.sampler_logprobs,
        rollouts.is_response,
        learner.importance_cap,
        learner.ppo.log_ratio_limit,
    )
