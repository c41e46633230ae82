"""What optimizer steps report."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from stepcoder_jax.losses import PolicyLoss, ResponseRatios, ValueLoss


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class PolicyStats:
    """Of one optimizer step on the policy: means over the trained tokens, and two extremes.

    Attributes:
      response_ratio_mean: of each response's geometric-mean ratio, mean over responses.
      response_clip_fraction: share of a response's trained tokens, mean over responses.
      response_approx_kl: nats a response, mean over responses.
      policy_is_finite: whether loss and gradient are; else the policy is as it was.
    """

    policy_loss: Float[Array, ""]
    clip_fraction: Float[Array, ""]
    approx_kl: Float[Array, ""]
    ratio_mean: Float[Array, ""]
    ratio_max: Float[Array, ""]
    ratio_min: Float[Array, ""]
    response_ratio_mean: Float[Array, ""]
    response_clip_fraction: Float[Array, ""]
    response_approx_kl: Float[Array, ""]
    policy_grad_norm: Float[Array, ""]
    policy_is_finite: Bool[Array, ""]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class CriticStats:
    """Of the critic's optimizer steps, or of one: means over response tokens, then over steps.

    Attributes:
      critic_is_finite: whether loss and gradient of every step are; those that were not have left
        the critic as it was.
    """

    value_loss: Float[Array, "*steps"]
    value_clip_fraction: Float[Array, "*steps"]
    critic_grad_norm: Float[Array, "*steps"]
    critic_is_finite: Bool[Array, "*steps"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class PolicyPiece:
    """Of one micro-batch; stacked over micro-batches when they are done.

    Attributes:
      total: the whole loss of the policy, KL and entropy included.
    """

    total: Float[Array, "*pieces"]
    tokens: PolicyLoss
    responses: ResponseRatios


def policy_stats(pieces: PolicyPiece, grad_norm: Float[Array, ""]) -> PolicyStats:
    """A step's, from those of its micro-batches."""
    tokens, responses = pieces.tokens, pieces.responses
    return PolicyStats(
        policy_loss=jnp.sum(tokens.loss),
        clip_fraction=jnp.sum(tokens.clip_fraction),
        approx_kl=jnp.sum(tokens.approx_kl),
        ratio_mean=jnp.sum(tokens.ratio_mean),
        ratio_max=jnp.max(tokens.ratio_max),
        ratio_min=jnp.min(tokens.ratio_min),
        response_ratio_mean=jnp.sum(responses.ratio_mean),
        response_clip_fraction=jnp.sum(responses.clip_fraction),
        response_approx_kl=jnp.sum(responses.approx_kl),
        policy_grad_norm=grad_norm,
        policy_is_finite=jnp.all(jnp.isfinite(pieces.total)) & jnp.isfinite(grad_norm),
    )


def critic_stats(pieces: ValueLoss, grad_norm: Float[Array, ""]) -> CriticStats:
    """A step's, from those of its micro-batches."""
    return CriticStats(
        value_loss=jnp.sum(pieces.loss),
        value_clip_fraction=jnp.sum(pieces.clip_fraction),
        critic_grad_norm=grad_norm,
        critic_is_finite=jnp.all(jnp.isfinite(pieces.loss)) & jnp.isfinite(grad_norm),
    )


def over_steps(stats: CriticStats) -> CriticStats:
    """Those of several steps as one."""
    return CriticStats(
        value_loss=jnp.mean(stats.value_loss),
        value_clip_fraction=jnp.mean(stats.value_clip_fraction),
        critic_grad_norm=jnp.mean(stats.critic_grad_norm),
        critic_is_finite=jnp.all(stats.critic_is_finite),
    )
