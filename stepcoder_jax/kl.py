"""Per-token KL estimates against the reference policy, and the rewards shaped by them."""

from typing import assert_never

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from stepcoder_jax.config import KLConfig
from stepcoder_jax.masked import at_least_float32

# The largest relative error that the controller reacts to.
LARGEST_ERROR = 0.2


def k1(log_ratio: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`log pi/ref`: unbiased, of either sign, high variance."""
    return log_ratio


def k2(log_ratio: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`(log pi/ref)^2 / 2`: biased, never negative; its gradient is an unbiased one of the KL."""
    return 0.5 * log_ratio**2


def k3(log_ratio: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`ref/pi - 1 + log pi/ref`: unbiased, never negative, low variance."""
    return jnp.expm1(-log_ratio) + log_ratio


def token_kl(
    logprobs: Float[Array, "B T"],
    ref_logprobs: Float[Array, "B T"],
    is_response: Bool[Array, "B T"],
    kl: KLConfig,
    log_ratio_limit: float,
) -> Float[Array, "B T"]:
    """Estimate of KL(policy || reference) at each response token; 0 elsewhere.

    Args:
        logprobs: the policy's, of tokens that the policy sampled.
        ref_logprobs: the reference's, of the same tokens at the same temperature.
        is_response: the tokens that count.
        kl: `estimator`, one of "k1", "k2", "k3".
        log_ratio_limit: the log-ratio is clamped to +- this before it is used.

    Source: Schulman, Approximating KL Divergence (joschu.net/blog/kl-approx.html), whose `r` is
    ref/pi.
    """
    difference = at_least_float32(logprobs) - at_least_float32(ref_logprobs)
    log_ratio = jnp.clip(jnp.where(is_response, difference, 0.0), -log_ratio_limit, log_ratio_limit)
    match kl.estimator:
        case "k1":
            return k1(log_ratio)
        case "k2":
            return k2(log_ratio)
        case "k3":
            return k3(log_ratio)
        case unknown:
            assert_never(unknown)


def token_rewards(
    scores: Float[Array, " B"],
    kl: Float[Array, "B T"],
    is_response: Bool[Array, "B T"],
    beta: float | Float[Array, ""],
) -> Float[Array, "B T"]:
    """`r_t = -beta KL_t`, plus the row's score at its last response token; 0 outside.

    Float32 whatever comes in: a score of -0.3 put into a buffer shaped like the token ids would
    become 0.

    Args:
        scores: one per row, from the verdict.
        kl: estimates from `token_kl`; zeros when the penalty is in the loss instead.
        is_response: the tokens that count. A row without any gets no reward.
        beta: weight of the penalty, >= 0.

    Source: Ouyang et al. (arXiv 2203.02155), equation 2.
    """
    responses_left = jnp.cumsum(is_response[:, ::-1], axis=1)[:, ::-1]
    is_last = is_response & (responses_left == 1)
    penalties = jnp.where(is_response, -beta * at_least_float32(kl), 0.0)
    return penalties + jnp.where(is_last, at_least_float32(scores)[:, None], 0.0)


def next_beta(
    beta: Float[Array, ""], kl_nats: Float[Array, ""], responses: Float[Array, ""], kl: KLConfig
) -> Float[Array, ""]:
    r"""The coefficient of the next iteration.

    .. math::
        e = \mathrm{clip}(KL / KL_{target} - 1, -0.2, 0.2), \qquad
        \beta' = \beta (1 + e \, n / n_{horizon})

    Args:
        beta: this iteration's.
        kl_nats: divergence of policy and reference, nats a response, mean over the responses.
        responses: how many there were (n).
        kl: `controller`, one of "fixed", which leaves beta alone, and "adaptive"; `target`,
            `horizon`.

    Source: Ziegler et al. (arXiv 1909.08593), section 2.2, whose K is 1 / horizon for one response.
    """
    match kl.controller:
        case "fixed":
            return beta
        case "adaptive":
            error = jnp.clip(kl_nats / kl.target - 1.0, -LARGEST_ERROR, LARGEST_ERROR)
            return beta * (1.0 + error * responses / kl.horizon)
        case unknown:
            assert_never(unknown)
