"""The PPO losses: pure functions of arrays and of their own config record.

Each takes the denominator of its mean as an argument, a count over the whole global batch, so that
the losses (and gradients) of micro-batches add up exactly to those of the batch.
"""

from dataclasses import dataclass
from typing import assert_never

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from stepcoder_jax.config import KLConfig, PPOConfig
from stepcoder_jax.kl import k3, token_kl
from stepcoder_jax.masked import at_least_float32, masked_mean, masked_sum

type Count = Float[Array, ""] | Int[Array, ""] | float


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class PolicyLoss:
    """The clipped surrogate and what it went through.

    All but the two extremes are sums over trained tokens divided by the loss's denominator: add
    them over micro-batches. Take the largest `ratio_max` and the smallest `ratio_min`.
    """

    loss: Float[Array, "*pieces"]
    clip_fraction: Float[Array, "*pieces"]  # tokens whose gradient the clip took away
    approx_kl: Float[Array, "*pieces"]  # KL(old || new) by the k3 estimator
    ratio_mean: Float[Array, "*pieces"]
    ratio_max: Float[Array, "*pieces"]  # 1 where no token is trained
    ratio_min: Float[Array, "*pieces"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class ValueLoss:
    """The clipped squared error and the share of tokens where the clip decided it."""

    loss: Float[Array, "*pieces"]
    clip_fraction: Float[Array, "*pieces"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class ResponseRatios:
    """By response what `PolicyLoss` is by token, summed and divided by the number of responses."""

    ratio_mean: Float[Array, "*pieces"]  # of geometric means over the trained tokens
    clip_fraction: Float[Array, "*pieces"]  # of the trained tokens of each
    approx_kl: Float[Array, "*pieces"]  # nats a response


def policy_loss(
    logprobs: Float[Array, "B T"],
    old_logprobs: Float[Array, "B T"],
    advantages: Float[Array, "B T"],
    weights: Float[Array, "B T"],
    is_trained: Bool[Array, "B T"],
    ppo: PPOConfig,
    denominator: Count,
) -> PolicyLoss:
    r"""PPO's clipped surrogate, summed over the trained tokens.

    .. math::
        L = \frac{1}{N} \sum_{t \in trained}
            w_t \max\big(-\rho_t A_t,\; -\mathrm{clip}(\rho_t, 1 - \epsilon, 1 + \epsilon) A_t\big),
        \qquad \rho_t = \pi(a_t) / \pi_{old}(a_t)

    Args:
        logprobs: the policy's, of token t given the tokens before it.
        old_logprobs: the same at the start of the iteration, a constant.
        advantages: whitened or not, a constant.
        weights: what each token counts (w), a constant. N stays a count of tokens.
        is_trained: response tokens that some unit test executed.
        ppo: `clip_ratio` (epsilon), `log_ratio_limit`.
        denominator: N, from `loss_denominator` over the global batch.

    Source: Schulman et al. (arXiv 1707.06347), equation 7; StepCoder (arXiv 2402.01391),
    which sums over m = 1 and leaves the denominator open.
    """
    log_ratio = _log_ratio(logprobs, old_logprobs, is_trained, ppo)
    ratio = jnp.exp(log_ratio)
    weight = jnp.where(is_trained, at_least_float32(weights), 0.0)
    unclipped, clipped = _surrogates(ratio, advantages, is_trained, ppo)

    def mean(x: Float[Array, "B T"]) -> Float[Array, ""]:
        return masked_mean(x, is_trained, denominator)

    return PolicyLoss(
        loss=mean(weight * jnp.maximum(unclipped, clipped)),
        clip_fraction=mean((clipped > unclipped).astype(jnp.float32)),
        approx_kl=mean(k3(-log_ratio)),
        ratio_mean=mean(ratio),
        ratio_max=jnp.max(ratio),
        ratio_min=jnp.min(ratio),
    )


def response_ratios(
    logprobs: Float[Array, "B T"],
    old_logprobs: Float[Array, "B T"],
    advantages: Float[Array, "B T"],
    is_trained: Bool[Array, "B T"],
    ppo: PPOConfig,
    responses: Count,
) -> ResponseRatios:
    """What the surrogate went through, each response counted once however long it is.

    Args:
        logprobs, old_logprobs, advantages, is_trained, ppo: as for `policy_loss`.
        responses: rows of the global batch with a trained token.

    Source: the geometric mean is the ratio of GSPO, Zheng et al. (arXiv 2507.18071), equation 7.
    """
    log_ratio = _log_ratio(logprobs, old_logprobs, is_trained, ppo)
    unclipped, clipped = _surrogates(jnp.exp(log_ratio), advantages, is_trained, ppo)
    tokens = jnp.sum(is_trained, axis=1).astype(log_ratio.dtype)
    count = jnp.maximum(tokens, 1.0)

    def mean(row: Float[Array, " B"]) -> Float[Array, ""]:
        return masked_mean(row, tokens > 0, responses)

    return ResponseRatios(
        ratio_mean=mean(jnp.exp(jnp.sum(log_ratio, axis=1) / count)),
        clip_fraction=mean(jnp.sum(clipped > unclipped, axis=1) / count),
        approx_kl=mean(jnp.sum(k3(-log_ratio), axis=1)),
    )


def value_loss(
    values: Float[Array, "B T"],
    old_values: Float[Array, "B T"],
    returns: Float[Array, "B T"],
    is_response: Bool[Array, "B T"],
    ppo: PPOConfig,
    denominator: Count,
) -> ValueLoss:
    r"""Half the squared error, pessimistic about moves beyond the clip.

    .. math::
        L = \frac{1}{2N} \sum_t \max\big((V_t - R_t)^2,\;
            (\mathrm{clip}(V_t, V^{old}_t - c, V^{old}_t + c) - R_t)^2\big)

    Args:
        values: the critic's, before token t.
        old_values: the same at the start of the iteration, a constant.
        returns: from `gae`, unwhitened, a constant.
        is_response: the tokens that count, executed or not.
        ppo: `value_clip` (c). The weight of this loss is the caller's.
        denominator: N, the response tokens of the global batch.
    """
    new = jnp.where(is_response, at_least_float32(values), 0.0)
    old = jnp.where(is_response, at_least_float32(old_values), 0.0)
    target = jnp.where(is_response, at_least_float32(returns), 0.0)
    unclipped = (new - target) ** 2
    clipped = (jnp.clip(new, old - ppo.value_clip, old + ppo.value_clip) - target) ** 2
    return ValueLoss(
        loss=0.5 * masked_mean(jnp.maximum(unclipped, clipped), is_response, denominator),
        clip_fraction=masked_mean(
            (clipped > unclipped).astype(jnp.float32), is_response, denominator
        ),
    )


def kl_loss(
    logprobs: Float[Array, "B T"],
    ref_logprobs: Float[Array, "B T"],
    is_response: Bool[Array, "B T"],
    kl: KLConfig,
    beta: Float[Array, ""],
    log_ratio_limit: float,
    denominator: Count,
) -> Float[Array, ""]:
    """`beta` times the mean KL estimate over the response, for `kl.where == "loss"`.

    Choose "k2" or "k3" here: the gradient of "k1" is `grad log pi`, whose mean over samples is 0.

    Args:
        logprobs: the policy's.
        ref_logprobs: the reference's, a constant.
        is_response: the tokens that count, executed or not.
        kl: `estimator`.
        beta: the coefficient, a constant.
        log_ratio_limit: clamp of the log-ratio.
        denominator: the response tokens of the global batch.
    """
    estimates = token_kl(logprobs, ref_logprobs, is_response, kl, log_ratio_limit)
    return beta * masked_mean(estimates, is_response, denominator)


def entropy_bonus(
    entropy: Float[Array, "B T"],
    is_response: Bool[Array, "B T"],
    ppo: PPOConfig,
    denominator: Count,
) -> Float[Array, ""]:
    """`entropy_coef` times the mean entropy over the response: subtract it from the loss."""
    return ppo.entropy_coef * masked_mean(entropy, is_response, denominator)


def loss_denominator(
    is_trained: Bool[Array, "B T"], is_response: Bool[Array, "B T"], ppo: PPOConfig
) -> Float[Array, ""]:
    """How many tokens the policy loss is a mean over, by `ppo.loss_denominator`.

    Args:
        is_trained: of the whole global batch, like
        is_response: the same.
        ppo: "trained_tokens" keeps the size of a step whatever the share executed;
            "response_tokens" lets it shrink with that share.
    """
    match ppo.loss_denominator:
        case "trained_tokens":
            counted = is_trained
        case "response_tokens":
            counted = is_response
        case unknown:
            assert_never(unknown)
    return jnp.sum(counted, dtype=jnp.float32)


def explained_variance(
    values: Float[Array, "B T"], returns: Float[Array, "B T"], is_response: Bool[Array, "B T"]
) -> Float[Array, ""]:
    """`1 - Var(returns - values) / Var(returns)` over the response; 0 where returns never vary."""
    target = jnp.where(is_response, at_least_float32(returns), 0.0)
    residual = jnp.where(is_response, target - at_least_float32(values), 0.0)
    spread = _squared_deviation(target, is_response)
    unexplained = _squared_deviation(residual, is_response)
    return jnp.where(spread > 0, 1.0 - unexplained / jnp.where(spread > 0, spread, 1.0), 0.0)


def _log_ratio(
    logprobs: Float[Array, "B T"],
    old_logprobs: Float[Array, "B T"],
    is_trained: Bool[Array, "B T"],
    ppo: PPOConfig,
) -> Float[Array, "B T"]:
    difference = at_least_float32(logprobs) - at_least_float32(old_logprobs)
    inside = jnp.where(is_trained, difference, 0.0)
    return jnp.clip(inside, -ppo.log_ratio_limit, ppo.log_ratio_limit)


def _surrogates(
    ratio: Float[Array, "B T"],
    advantages: Float[Array, "B T"],
    is_trained: Bool[Array, "B T"],
    ppo: PPOConfig,
) -> tuple[Float[Array, "B T"], Float[Array, "B T"]]:
    """The negative gains of every token, unclipped and clipped."""
    gain = jnp.where(is_trained, at_least_float32(advantages), 0.0)
    return -gain * ratio, -gain * jnp.clip(ratio, 1.0 - ppo.clip_ratio, 1.0 + ppo.clip_ratio)


def _squared_deviation(x: Float[Array, "B T"], is_response: Bool[Array, "B T"]) -> Float[Array, ""]:
    mean = masked_mean(x, is_response, jnp.sum(is_response))
    return masked_sum((x - mean) ** 2, is_response)
