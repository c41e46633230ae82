"""The tokens that a draw is restricted to, found without sorting the vocabulary."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int, UInt32


def nucleus(probabilities: Float[Array, "B V"], top_p: float) -> Bool[Array, "B V"]:
    """The smallest set of most probable tokens whose mass reaches ``top_p``; ties all belong.

    Args:
      probabilities: float32, rows sum to 1.
      top_p: in (0, 1]; 1 keeps everything.

    Source: Holtzman et al., The Curious Case of Neural Text Degeneration (arXiv 1904.09751).
    """
    if top_p >= 1.0:
        return jnp.ones_like(probabilities, dtype=bool)
    return _head(probabilities, probabilities, top_p)


def most_probable(probabilities: Float[Array, "B V"], top_k: int) -> Bool[Array, "B V"]:
    """The ``top_k`` most probable tokens; ties all belong; 0 keeps everything."""
    if not 0 < top_k < probabilities.shape[-1]:
        return jnp.ones_like(probabilities, dtype=bool)
    return _head(probabilities, jnp.ones_like(probabilities), float(top_k))


def in_nucleus(
    probabilities: Float[Array, "B V"], tokens: Int[Array, " B"], top_p: float
) -> Bool[Array, " B"]:
    """Whether a token of each row is in its nucleus: what is more probable has less than top_p."""
    own = jnp.take_along_axis(probabilities, tokens[:, None], axis=-1)
    above = jnp.sum(jnp.where(probabilities > own, probabilities, 0.0), axis=-1)
    return above < top_p


def _head(
    probabilities: Float[Array, "B V"], weights: Float[Array, "B V"], enough: float
) -> Bool[Array, "B V"]:
    """The fewest most probable tokens whose weights sum to ``enough``.

    Float32 values that are not negative order like their bit patterns, so a bisection over the 31
    bits finds the exact threshold in 31 passes: a sort of a 50k vocabulary costs more on a CPU.
    """
    bits = jax.lax.bitcast_convert_type(probabilities, jnp.uint32)

    def halve(i: Int[Array, ""], low: UInt32[Array, " B"]) -> UInt32[Array, " B"]:
        trial = low | (jnp.uint32(1) << (30 - i).astype(jnp.uint32))
        sums = jnp.sum(jnp.where(bits >= trial[:, None], weights, 0.0), axis=-1)
        return jnp.where(sums >= enough, trial, low)

    lowest = jnp.zeros(probabilities.shape[0], jnp.uint32)
    threshold = jax.lax.fori_loop(0, 31, halve, lowest)
    return bits >= threshold[:, None]
