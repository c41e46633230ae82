"""Drawing one token a row from tempered logits."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int, Key

from stepcoder_jax.model.platform import current_platform
from stepcoder_jax.sampling.nucleus import (
    SMALLEST,
    in_nucleus,
    most_probable,
    nucleus,
    nucleus_mass,
)

# A row whose draws have all been refused takes one from the nucleus itself: at top_p = 0.9 that
# happens once in 10^12 tokens, and the tokens have the same distribution either way.
_MAX_TRIALS = 12
# Draws that a row makes before anybody looks whether one of them holds. One is nearly as likely to
# do for a few rows, and on a CPU looking costs nothing; elsewhere the host has to be asked.
_AT_ONCE = {"cpu": 1, "gpu": 4, "tpu": 4}
_BLOCK = 256


def draw(
    logits: Float[Array, "B V"],
    keys: Key[Array, " B"],
    temperature: float,
    top_p: float,
    top_k: int = 0,
) -> tuple[Int[Array, " B"], Float[Array, " B"]]:
    """Draws a token a row, and says how probable it was.

    Args:
      logits: any float type.
      keys: one key a row, ``[B]``: a row's draw does not depend on the other rows.
      temperature: 0 takes the most probable token.
      top_p: restricts the draw, not the log-probability; 1 is no restriction.
      top_k: restricts the draw before ``top_p`` does; 0 is no restriction.

    Returns:
      int32 tokens, and their float32 log-probabilities at the temperature (at 1 when it is 0) over
      the whole vocabulary.
    """
    logits = logits.astype(jnp.float32)
    # The largest is taken off first, so that nothing is lost however large a tempered logit is.
    scaled = logits - jnp.max(logits, axis=-1, keepdims=True)
    if temperature > 0:
        scaled = scaled / max(temperature, SMALLEST)
    # Written down once: what reads them would compute each of them again. They are not normalised,
    # which nothing below needs and would be one more pass over the vocabulary.
    weights = jax.lax.optimization_barrier(jnp.exp(scaled))
    blocks = _in_blocks(weights)
    normaliser = jnp.log(blocks.total)
    if temperature > 0:
        if top_k > 0:
            weights = jnp.where(most_probable(weights, top_k), weights, 0.0)
            blocks = _in_blocks(weights)
        tokens = _restricted(weights, blocks, keys, top_p)
    else:
        tokens = jnp.argmax(logits, axis=-1)
    chosen = jnp.take_along_axis(scaled, tokens[:, None], axis=-1)[:, 0]
    return tokens.astype(jnp.int32), chosen - normaliser


class _Trials(NamedTuple):
    """Draws so far: how many a row, the one that each row takes, and which rows have theirs."""

    number: Int[Array, ""]
    tokens: Int[Array, " B"]
    is_content: Bool[Array, " B"]


class _Blocks(NamedTuple):
    """Weights of a row in blocks, with the sum of each: a running sum over all would be slow."""

    weights: Float[Array, "B blocks block"]
    masses: Float[Array, "B blocks"]

    @property
    def total(self) -> Float[Array, " B"]:
        """The sum of a row."""
        return jnp.sum(self.masses, axis=-1)


def _restricted(
    weights: Float[Array, "B V"], blocks: _Blocks, keys: Key[Array, " B"], top_p: float
) -> Int[Array, " B"]:
    """One draw a row from its nucleus: draws from the whole row until one lies in there.

    To see whether a token lies in the nucleus takes one pass over the row, to find the nucleus
    many. The distribution is the same: rejection from the whole row.
    """
    at_once, mass = _AT_ONCE[current_platform()], nucleus_mass(blocks.total, top_p)
    if top_p >= 1.0:
        return _inverse_cdf(blocks, jax.vmap(jax.random.uniform)(keys)[:, None])[:, 0]

    def try_some(trials: _Trials) -> _Trials:
        numbers = trials.number + jnp.arange(at_once)
        fresh = jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))(keys, numbers)
        found = _inverse_cdf(blocks, jax.vmap(jax.vmap(jax.random.uniform))(fresh))
        tokens, is_content = trials.tokens, trials.is_content
        for one in found.T:
            tokens = jnp.where(is_content, tokens, one)
            is_content |= in_nucleus(weights, one, mass)
        return _Trials(trials.number + at_once, tokens, is_content)

    def is_wanted(trials: _Trials) -> Bool[Array, ""]:
        return (trials.number < _MAX_TRIALS) & ~jnp.all(trials.is_content)

    def insist(trials: _Trials) -> Int[Array, " B"]:
        trials = jax.lax.while_loop(is_wanted, try_some, trials)

        def from_the_nucleus() -> Int[Array, " B"]:
            kept = jnp.where(nucleus(weights, top_p), weights, 0.0)
            uniform = jax.vmap(jax.random.uniform)(keys)
            tokens = _inverse_cdf(_in_blocks(kept), uniform[:, None])[:, 0]
            return jnp.where(trials.is_content, trials.tokens, tokens)

        return jax.lax.cond(jnp.all(trials.is_content), lambda: trials.tokens, from_the_nucleus)

    n_rows = weights.shape[0]
    none = _Trials(jnp.int32(0), jnp.zeros(n_rows, jnp.int32), jnp.zeros(n_rows, bool))
    trials = try_some(none)
    # Nearly always enough, so that a device has one thing to ask the host at a token, not two.
    return jax.lax.cond(jnp.all(trials.is_content), lambda _: trials.tokens, insist, trials)


def _in_blocks(weights: Float[Array, "B V"]) -> _Blocks:
    n_rows, n_tokens = weights.shape
    n_blocks = -(-n_tokens // _BLOCK)
    blocks = jnp.pad(weights, ((0, 0), (0, n_blocks * _BLOCK - n_tokens)))
    blocks = blocks.reshape(n_rows, n_blocks, _BLOCK)
    return _Blocks(blocks, jnp.sum(blocks, axis=-1))


def _inverse_cdf(blocks: _Blocks, uniform: Float[Array, "B K"]) -> Int[Array, "B K"]:
    """The tokens at which the running sum passes ``uniform`` of the total; never a zero weight."""
    masses = blocks.masses
    target = uniform * blocks.total[:, None]
    block = _first_beyond(masses[:, None], target)
    inside = jnp.take_along_axis(blocks.weights, block[..., None], axis=1)
    is_before = jnp.arange(masses.shape[1])[None, None] < block[..., None]
    rest = target - jnp.sum(jnp.where(is_before, masses[:, None], 0.0), axis=-1)
    return block * _BLOCK + _first_beyond(inside, rest)


def _first_beyond(weights: Float[Array, "B #K N"], target: Float[Array, "B K"]) -> Array:
    """First place at which the running sum passes ``target``; never one without weight."""
    place = jnp.sum(jnp.cumsum(weights, axis=-1) <= target[..., None], axis=-1)
    # Rounding can leave the target at the very total, or below 0: the ends with weight hold.
    first = jnp.argmax(weights > 0, axis=-1)
    last = weights.shape[-1] - 1 - jnp.argmax(weights[..., ::-1] > 0, axis=-1)
    return jnp.clip(place, first, last)
