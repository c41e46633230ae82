"""The tokens that a draw is restricted to, found without sorting the vocabulary."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int, UInt32

# Float32 that nothing flushes to zero.
SMALLEST = float(jnp.finfo(jnp.float32).tiny)


def nucleus(weights: Float[Array, "B V"], top_p: float) -> Bool[Array, "B V"]:
    """The smallest set of most probable tokens that has ``top_p`` of the mass; ties all belong.

    Args:
      weights: float32, as large as the probabilities or in proportion to them.
      top_p: in (0, 1]; 1 keeps everything.

    Source: Holtzman et al., The Curious Case of Neural Text Degeneration (arXiv 1904.09751).
    """
    if top_p >= 1.0:
        return jnp.ones_like(weights, dtype=bool)
    return _head(weights, weights, nucleus_mass(jnp.sum(weights, axis=-1), top_p))


def nucleus_mass(total: Float[Array, " B"], top_p: float) -> Float[Array, " B"]:
    """What a nucleus holds at least: never 0, which nothing at all would do for."""
    return jnp.maximum(top_p * total, SMALLEST)


def most_probable(weights: Float[Array, "B V"], top_k: int) -> Bool[Array, "B V"]:
    """The ``top_k`` most probable tokens; ties all belong; 0 keeps everything."""
    if not 0 < top_k < weights.shape[-1]:
        return jnp.ones_like(weights, dtype=bool)
    return _head(weights, jnp.ones_like(weights), jnp.full(weights.shape[0], float(top_k)))


def in_nucleus(
    weights: Float[Array, "B V"], tokens: Int[Array, " B"], mass: Float[Array, " B"]
) -> Bool[Array, " B"]:
    """Whether a token of each row is in its nucleus: what is more probable has less than ``mass``.

    Args:
      mass: of the nucleus at least, in the scale of the weights.
    """
    own = jnp.take_along_axis(weights, tokens[:, None], axis=-1)
    return jnp.sum(jnp.where(weights > own, weights, 0.0), axis=-1) < mass


def _head(
    order: Float[Array, "B V"], weights: Float[Array, "B V"], enough: Float[Array, " B"]
) -> Bool[Array, "B V"]:
    """The fewest tokens, largest ``order`` first, whose weights sum to ``enough``.

    Float32 values that are not negative order like their bit patterns, so a bisection over the 31
    bits finds the exact threshold in 31 passes: a sort of a 50k vocabulary costs more on a CPU.
    """
    bits = jax.lax.bitcast_convert_type(order, jnp.uint32)

    def halve(i: Int[Array, ""], low: UInt32[Array, " B"]) -> UInt32[Array, " B"]:
        trial = low | (jnp.uint32(1) << (30 - i).astype(jnp.uint32))
        sums = jnp.sum(jnp.where(bits >= trial[:, None], weights, 0.0), axis=-1)
        return jnp.where(sums >= enough, trial, low)

    lowest = jnp.zeros(order.shape[0], jnp.uint32)
    threshold = jax.lax.fori_loop(0, 31, halve, lowest)
    return bits >= threshold[:, None]
