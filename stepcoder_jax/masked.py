"""Sums, means and whitening over the True positions of a mask.

Every function here selects before it computes, so an inf or NaN at a masked position reaches
neither the value nor the gradient.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

VARIANCE_FLOOR = 1e-8


def at_least_float32(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Widen half precision to float32; float32 and float64 pass through."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def masked_sum(x: Float[Array, "*shape"], mask: Bool[Array, "*shape"]) -> Float[Array, ""]:
    """Sum of `x` where `mask` is True, in at least float32; 0 for an empty mask.

    To stay safe in the gradient, `x` itself must be computed from inputs that are finite
    everywhere: select the inputs first (`jnp.where(mask, inputs, 0)`), then apply `exp` or `log`.
    """
    return jnp.sum(jnp.where(mask, at_least_float32(x), 0.0))


def masked_mean(
    x: Float[Array, "*shape"],
    mask: Bool[Array, "*shape"],
    denominator: Float[Array, ""] | Int[Array, ""] | float,
) -> Float[Array, ""]:
    """`masked_sum(x, mask) / denominator`; 0 where the denominator is 0.

    The denominator is the caller's, because it is usually a count over more than the rows at
    hand: micro-batch means over one global denominator add up to the mean of the whole batch.

    Args:
        x: values, any shape.
        mask: which of them count.
        denominator: a count of tokens, >= 0.
    """
    total = masked_sum(x, mask)
    count = jnp.asarray(denominator, dtype=total.dtype)
    return jnp.where(count > 0, total / jnp.where(count > 0, count, 1.0), 0.0)


def masked_whiten(
    x: Float[Array, "*shape"], mask: Bool[Array, "*shape"], lost_degrees: int
) -> Float[Array, "*shape"]:
    """Shift and scale to mean 0 and variance 1 over the True positions; 0 elsewhere.

    `(x - mean) / sqrt(variance + 1e-8)`, where the variance divides by `count - lost_degrees`.
    With no more values than lost degrees the variance is taken as 0, so one value alone becomes 0.

    Args:
        x: values, any shape.
        mask: which of them count.
        lost_degrees: 1 for the unbiased variance, 0 for the population variance.
    """
    inside = jnp.where(mask, at_least_float32(x), 0.0)
    count = jnp.sum(mask)
    centred = jnp.where(mask, inside - masked_mean(inside, mask, count), 0.0)
    variance = masked_mean(centred**2, mask, jnp.maximum(count - lost_degrees, 0))
    return centred / jnp.sqrt(variance + VARIANCE_FLOOR)
