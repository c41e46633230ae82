"""Drawing one token from tempered logits, restricted to the nucleus, without sorting."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int, Key, UInt32


def nucleus(probabilities: Float[Array, "B V"], top_p: float) -> Bool[Array, "B V"]:
    """The smallest set of most probable tokens whose mass reaches ``top_p``; ties all belong.

    Float32 values that are not negative order like their bit patterns, so a bisection over the 31
    bits finds the exact threshold in 31 passes: a sort of a 50k vocabulary costs more on a CPU.

    Args:
      probabilities: float32, rows sum to 1.
      top_p: in (0, 1]; 1 keeps everything.

    Source: Holtzman et al., The Curious Case of Neural Text Degeneration (arXiv 1904.09751).
    """
    if top_p >= 1.0:
        return jnp.ones_like(probabilities, dtype=bool)
    bits = jax.lax.bitcast_convert_type(probabilities, jnp.uint32)

    def halve(i: Int[Array, ""], low: UInt32[Array, " B"]) -> UInt32[Array, " B"]:
        trial = low | (jnp.uint32(1) << (30 - i).astype(jnp.uint32))
        mass = jnp.sum(jnp.where(bits >= trial[:, None], probabilities, 0.0), axis=-1)
        return jnp.where(mass >= top_p, trial, low)

    lowest = jnp.zeros(probabilities.shape[0], jnp.uint32)
    threshold = jax.lax.fori_loop(0, 31, halve, lowest)
    return bits >= threshold[:, None]


def draw(
    logits: Float[Array, "B V"],
    keys: Key[Array, " B"],
    temperature: float,
    top_p: float,
) -> tuple[Int[Array, " B"], Float[Array, " B"]]:
    """Draws a token a row, and says how probable it was.

    Args:
      logits: any float type.
      keys: one key a row, ``[B]``: a row's draw does not depend on the other rows.
      temperature: 0 takes the most probable token.
      top_p: restricts the draw, not the log-probability.

    Returns:
      int32 tokens, and their float32 log-probabilities at the temperature (at 1 when it is 0) over
      the whole vocabulary.
    """
    logits = logits.astype(jnp.float32)
    scaled = logits / temperature if temperature > 0 else logits
    logprobs = jax.nn.log_softmax(scaled, axis=-1)
    if temperature > 0:
        probabilities = jnp.exp(logprobs)
        kept = jnp.where(nucleus(probabilities, top_p), probabilities, 0.0)
        tokens = _inverse_cdf(kept, jax.vmap(jax.random.uniform)(keys))
    else:
        tokens = jnp.argmax(logits, axis=-1)
    chosen = jnp.take_along_axis(logprobs, tokens[:, None], axis=-1)[:, 0]
    return tokens.astype(jnp.int32), chosen


def _inverse_cdf(weights: Float[Array, "B V"], uniform: Float[Array, " B"]) -> Int[Array, " B"]:
    """First token at which the running sum passes ``uniform`` of the total; never a zero weight."""
    running = jnp.cumsum(weights, axis=-1)
    target = uniform * running[:, -1]
    token = jnp.sum(running <= target[:, None], axis=-1)
    # Rounding can leave the target at the very total: fall back on the last token with weight.
    size = weights.shape[-1]
    last = size - 1 - jnp.argmax(weights[:, ::-1] > 0, axis=-1)
    return jnp.minimum(token, last)
