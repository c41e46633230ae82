"""The jitted half of generation: one state record, prefill, and a chunk of decode steps."""

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int, Key

from stepcoder_jax.model.apply import decode, row_positions
from stepcoder_jax.model.cache import KVCache, init_cache
from stepcoder_jax.model.decoder import Decoder, unembed
from stepcoder_jax.sampling.nucleus import draw
from stepcoder_jax.types import Params


@dataclass(frozen=True, kw_only=True)
class DecodeSettings:
    """What a compiled decode step depends on besides shapes.

    Attributes:
      end_token: id that ends a row.
      pad_token: id written behind the end.
      max_new_tokens: R.
    """

    temperature: float
    top_p: float
    end_token: int
    pad_token: int
    max_new_tokens: int


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class DecodeState:
    """Rows in the middle of their responses.

    Attributes:
      tokens: response so far, ``pad_token`` beyond.
      logprobs: float32 of those tokens; 0 beyond.
      written: response tokens of each row.
      position: place in the row, prompt included, that the next token will have.
      logits: of the next token of each row.
      is_done: rows that have ended; they are carried along and nothing of them changes.
      keys: one PRNG key a row. The k-th token of a row is drawn with ``fold_in(key, k)``, so it
        depends on the row's own key, prompt and past only.
      cache: keys and values of prompt and response; slot = position.
    """

    tokens: Int[Array, "B R"]
    logprobs: Float[Array, "B R"]
    written: Int[Array, " B"]
    position: Int[Array, " B"]
    logits: Float[Array, "B V"]
    is_done: Bool[Array, " B"]
    keys: Key[Array, " B"]
    cache: KVCache


@partial(jax.jit, static_argnames=("decoder", "settings", "samples"))
def prefill(
    params: Params,
    prompts: Int[Array, "G P"],
    lengths: Int[Array, " G"],
    keys: Key[Array, " B"],
    is_done: Bool[Array, " B"],
    *,
    decoder: Decoder,
    settings: DecodeSettings,
    samples: int,
) -> DecodeState:
    """Reads right-padded prompts once each and opens ``samples`` rows for every one.

    Args:
      prompts: ids, right-padded.
      lengths: tokens of each prompt, at least 1.
      keys: one a row, B = G × samples; the rows of a prompt are adjacent.
      is_done: rows that only fill the batch up.
    """
    rows, width = prompts.shape
    slots = width + settings.max_new_tokens
    cache = init_cache(decoder.config, rows, slots, decoder.dtype)
    read = decode(decoder, params, prompts, row_positions(prompts), cache)
    last = jnp.take_along_axis(read.hidden, (lengths - 1)[:, None, None], axis=1)[:, 0]
    shape = (rows * samples, settings.max_new_tokens)
    return DecodeState(
        tokens=jnp.full(shape, settings.pad_token, jnp.int32),
        logprobs=jnp.zeros(shape, jnp.float32),
        written=jnp.zeros(shape[0], jnp.int32),
        position=jnp.repeat(lengths, samples),
        logits=jnp.repeat(unembed(params, last), samples, axis=0),
        is_done=is_done,
        keys=keys,
        cache=jax.tree.map(lambda x: jnp.repeat(x, samples, axis=1), read.cache),
    )


@partial(jax.jit, static_argnames=("decoder", "settings", "steps"), donate_argnames=("state",))
def decode_chunk(
    params: Params,
    state: DecodeState,
    stop_now: Bool[Array, " B"],
    *,
    decoder: Decoder,
    settings: DecodeSettings,
    steps: int,
) -> DecodeState:
    """Up to ``steps`` more tokens a row; returns early when every row has ended.

    Args:
      stop_now: rows that the host wants ended (a stop string was found).
    """
    state = replace(state, is_done=state.is_done | stop_now)

    def unfinished(carry: tuple[Int[Array, ""], DecodeState]) -> Bool[Array, ""]:
        taken, state = carry
        return (taken < steps) & ~jnp.all(state.is_done)

    def step(
        carry: tuple[Int[Array, ""], DecodeState],
    ) -> tuple[Int[Array, ""], DecodeState]:
        return carry[0] + 1, decode_step(params, carry[1], decoder, settings)

    return jax.lax.while_loop(unfinished, step, (jnp.int32(0), state))[1]


def decode_step(
    params: Params, state: DecodeState, decoder: Decoder, settings: DecodeSettings
) -> DecodeState:
    """Draws the next token of every row, writes it, and reads it."""
    keys = jax.vmap(jax.random.fold_in)(state.keys, state.written)
    token, logprob = draw(state.logits, keys, settings.temperature, settings.top_p)
    is_open = ~state.is_done
    rows = jnp.arange(token.shape[0])
    # A row that has ended writes out of range, which drops the write.
    at = (rows, jnp.where(is_open, state.written, settings.max_new_tokens))
    written = state.written + is_open
    ended = (token == settings.end_token) | (written >= settings.max_new_tokens)
    where = jnp.where(is_open, state.position, state.cache.slots)
    read = decode(decoder, params, token[:, None], where[:, None], state.cache)
    return replace(
        state,
        tokens=state.tokens.at[at].set(token, mode="drop"),
        logprobs=state.logprobs.at[at].set(logprob, mode="drop"),
        written=written,
        position=state.position + is_open,
        logits=unembed(params, read.hidden[:, 0]),
        is_done=state.is_done | ended,
        cache=read.cache,
    )
