"""The jitted half of generation: one state record, prefill, placing rows, a chunk of decode steps.

Parameters and decoder are those for serving (``model.serving``) everywhere here. On a mesh every
device has rows of its own, and of the cache the heads that ``sharding`` gives it.
"""

from dataclasses import dataclass, fields, replace
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int, Key

from stepcoder_jax.model import apply
from stepcoder_jax.model.cache import KVCache, LayerCache, init_cache
from stepcoder_jax.model.decoder import Decoder
from stepcoder_jax.model.serving import next_logits
from stepcoder_jax.sampling.draw import draw
from stepcoder_jax.sharding import constrained
from stepcoder_jax.types import Params


@dataclass(frozen=True, kw_only=True)
class DecodeSettings:
    """What a compiled decode step depends on besides shapes.

    Attributes:
      top_k: 0 for no restriction; applied before ``top_p``.
      end_token: id that ends a row.
      pad_token: id written behind the end.
      max_new_tokens: R.
    """

    temperature: float
    top_p: float
    top_k: int = 0
    end_token: int
    pad_token: int
    max_new_tokens: int


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class ReadPrompts:
    """Prompts that have been read, from which rows can begin.

    Attributes:
      lengths: tokens of each prompt.
      hidden: state of each prompt's last token, behind the final norm.
      cache: keys and values of the prompts.
    """

    lengths: Int[Array, " G"]
    hidden: Float[Array, "G D"]
    cache: KVCache


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class DecodeState:
    """Rows in the middle of their responses, each in a slot.

    Attributes:
      tokens: response so far, ``pad_token`` beyond.
      logprobs: float32 of those tokens; 0 beyond.
      written: response tokens of each row.
      budget: response tokens at which each row ends.
      position: place in the row, prompt included, that the next token will have.
      hidden: state of each row's last token, behind the final norm. The logits that follow from it
        are many times as large, and are there only while the next token is drawn.
      is_done: slots whose row has ended, or that never had one; nothing of them changes.
      keys: one PRNG key a row. The k-th token of a row is drawn with ``fold_in(key, k)``, so it
        depends on the row's own key, prompt and past only.
      cache: keys and values of prompt and response; the cache's slot = position.
    """

    tokens: Int[Array, "S R"]
    logprobs: Float[Array, "S R"]
    written: Int[Array, " S"]
    budget: Int[Array, " S"]
    position: Int[Array, " S"]
    hidden: Float[Array, "S D"]
    is_done: Bool[Array, " S"]
    keys: Key[Array, " S"]
    cache: KVCache


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Placing:
    """The rows that begin, each field of every slot; where none does, only ``is_new`` holds.

    Attributes:
      is_new: slots in which a row begins.
      prompts: place of the row's prompt among the prompts read.
      budget: response tokens at which it ends.
      keys: its PRNG key.
    """

    is_new: Bool[Array, " S"]
    prompts: Int[Array, " S"]
    budget: Int[Array, " S"]
    keys: Key[Array, " S"]


@partial(jax.jit, static_argnames=("decoder", "settings", "slots", "length"))
def empty_state(
    *, decoder: Decoder, settings: DecodeSettings, slots: int, length: int
) -> DecodeState:
    """Slots without rows, each with room for ``length`` tokens of prompt and response."""
    shape = (slots, settings.max_new_tokens)
    state = DecodeState(
        tokens=jnp.full(shape, settings.pad_token, jnp.int32),
        logprobs=jnp.zeros(shape, jnp.float32),
        written=jnp.zeros(slots, jnp.int32),
        budget=jnp.zeros(slots, jnp.int32),
        position=jnp.zeros(slots, jnp.int32),
        hidden=jnp.zeros((slots, decoder.config.hidden_size), decoder.dtype),
        is_done=jnp.ones(slots, bool),
        keys=jax.random.split(jax.random.key(0), slots),
        cache=init_cache(decoder.config, slots, length, decoder.dtype),
    )
    return _split_rows(state)


def resized(state: DecodeState, length: int) -> DecodeState:
    """The same rows with room for ``length`` tokens each, which those that go on must need no less.

    A layer at a time, and what it was copied from is let go: two caches never lie side by side.
    So ``state`` is of no use afterwards, unless it has that length: then it is what is returned.
    """
    if length == state.cache.slots:
        return state
    layers = []
    for layer in state.cache.layers:
        layers.append(_resized(layer, length=length))
        for array in jax.tree.leaves(layer):
            array.delete()
    return replace(state, cache=KVCache(layers=tuple(layers)))


@partial(jax.jit, static_argnames=("length",))
def _resized(layer: LayerCache, *, length: int) -> LayerCache:
    return _split_heads(layer.resized(length), "batch")


@partial(jax.jit, static_argnames=("decoder",))
def prefill(
    params: Params, prompts: Int[Array, "G P"], lengths: Int[Array, " G"], *, decoder: Decoder
) -> ReadPrompts:
    """Reads right-padded prompts, each at least one token long, once each."""
    prompts = constrained(prompts, ("batch",))
    read = apply.prefill(decoder, params, prompts)
    last = jnp.take_along_axis(read.hidden, (lengths - 1)[:, None, None], axis=1)[:, 0]
    return ReadPrompts(lengths=lengths, hidden=last, cache=read.cache)


@partial(jax.jit, static_argnames=("settings",), donate_argnames=("state",))
def place_rows(
    state: DecodeState, read: ReadPrompts, placing: Placing, *, settings: DecodeSettings
) -> DecodeState:
    """Begins rows in slots whose rows have ended: one of a prompt, or several."""
    # A prompt's rows may lie on any device: its cache goes to all of them, once.
    read = replace(read, cache=_split_heads(read.cache, None))
    is_new, prompts = placing.is_new, placing.prompts

    def put(old: Array, new: Array) -> Array:
        return jnp.where(is_new.reshape(-1, *[1] * (old.ndim - 1)), new, old)

    def copy(old: Float[Array, "S K slots H"], read: Float[Array, "G K P H"]) -> Array:
        width = read.shape[2]
        return old.at[:, :, :width].set(put(old[:, :, :width], read[prompts]))

    state = replace(
        state,
        tokens=put(state.tokens, jnp.full_like(state.tokens, settings.pad_token)),
        logprobs=put(state.logprobs, jnp.zeros_like(state.logprobs)),
        written=put(state.written, jnp.zeros_like(state.written)),
        budget=put(state.budget, placing.budget),
        position=put(state.position, read.lengths[prompts]),
        hidden=put(state.hidden, read.hidden[prompts]),
        is_done=state.is_done & ~is_new,
        keys=put(state.keys, placing.keys),
        cache=jax.tree.map(copy, state.cache, read.cache),
    )
    return _split_rows(state)


@partial(jax.jit, static_argnames=("decoder", "settings", "steps"), donate_argnames=("state",))
def decode_chunk(
    params: Params,
    state: DecodeState,
    stop_now: Bool[Array, " S"],
    enough_done: Int[Array, ""],
    *,
    decoder: Decoder,
    settings: DecodeSettings,
    steps: int,
) -> DecodeState:
    """Up to ``steps`` more tokens a row.

    Args:
      stop_now: rows that the host wants ended (a stop string was found).
      enough_done: returns early when so many slots have no row, or only one that has ended.
    """
    state = _split_rows(replace(state, is_done=state.is_done | stop_now))

    def unfinished(carry: tuple[Int[Array, ""], DecodeState]) -> Bool[Array, ""]:
        taken, state = carry
        return (taken < steps) & (jnp.sum(state.is_done) < enough_done)

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
    logits = constrained(next_logits(params, state.hidden, decoder.products), ("batch",))
    token, logprob = draw(logits, keys, settings.temperature, settings.top_p, settings.top_k)
    is_open = ~state.is_done
    # A row that has ended writes out of range, which drops the write.
    at = jnp.where(is_open, state.written, settings.max_new_tokens)
    written = state.written + is_open
    ended = (token == settings.end_token) | (written >= state.budget)
    where = jnp.where(is_open, state.position, state.cache.slots)
    read = apply.decode(decoder, params, token, where, state.cache)
    state = replace(
        state,
        tokens=_write(state.tokens, at, token),
        logprobs=_write(state.logprobs, at, logprob),
        written=written,
        position=state.position + is_open,
        hidden=read.hidden[:, 0],
        is_done=state.is_done | ended,
        cache=read.cache,
    )
    return _split_rows(state)


@jax.vmap
def _write(row: Array, at: Int[Array, ""], entry: Array) -> Array:
    return row.at[at].set(entry, mode="drop")


def _split_rows(state: DecodeState) -> DecodeState:
    """The slots, shared out over the mesh."""
    names = [f.name for f in fields(state) if f.name != "cache"]
    rows = {name: constrained(getattr(state, name), ("batch",)) for name in names}
    return replace(state, **rows, cache=_split_heads(state.cache, "batch"))


def _split_heads[Cache: (KVCache, LayerCache)](cache: Cache, rows: str | None) -> Cache:
    return jax.tree.map(lambda x: constrained(x, (rows, "kv_heads")), cache)
