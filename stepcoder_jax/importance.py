"""Weights of tokens that an older policy sampled."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from stepcoder_jax.masked import at_least_float32


def importance_weights(
    logprobs: Float[Array, "B T"],
    sampler_logprobs: Float[Array, "B T"],
    is_response: Bool[Array, "B T"],
    cap: float,
    log_ratio_limit: float,
) -> Float[Array, "B T"]:
    """`min(pi / behaviour, cap)` at each response token; 0 elsewhere. A constant: no gradient.

    Args:
        logprobs: of the policy that is about to be trained.
        sampler_logprobs: of the policy that sampled the tokens, at the same temperature.
        is_response: the tokens that count.
        cap: the largest weight, >= 1.
        log_ratio_limit: the log-ratio is clamped to +- this before it is used.

    Source: truncated importance sampling (Ionides 2008), one ratio a token, as Espeholt et al.
    (arXiv 1802.01561) use it with their rho.
    """
    difference = at_least_float32(logprobs) - at_least_float32(sampler_logprobs)
    log_ratio = jnp.clip(jnp.where(is_response, difference, 0.0), -log_ratio_limit, log_ratio_limit)
    return jnp.where(is_response, jnp.minimum(jnp.exp(log_ratio), cap), 0.0)
