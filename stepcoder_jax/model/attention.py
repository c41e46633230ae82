"""Causal attention with grouped key/value heads: one function, its backend a value."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from stepcoder_jax.config import ConfigError
from stepcoder_jax.model.platform import current_platform
from stepcoder_jax.model.splash import splash_attention

# Backend -> the platform it needs, as JAX and as people call it.
NEEDED = {"cudnn": ("gpu", "an NVIDIA GPU"), "splash": ("tpu", "a TPU")}
BACKENDS = ("xla", *NEEDED)

# Queries of a block, and blocks of a row, where attention is computed block by block: each block
# is compiled for itself.
_LEAST_BLOCK, _MOST_BLOCKS = 64, 8


def attention(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B T K H"],
    value: Float[Array, "B T K H"],
    *,
    backend: str,
    segments: Int[Array, "B T"] | None = None,
) -> Float[Array, "B T N H"]:
    """Causal softmax(q·k / √H)·v; query head n reads key/value head n // (N/K).

    Args:
        query: one row of queries per sequence; query t is at position t.
        key: keys of the same tokens.
        value: values of the same tokens.
        backend: ``xla`` runs anywhere; ``cudnn`` is the fused kernel of NVIDIA GPUs and takes
            bfloat16 or float16 only; ``splash`` is the fused kernel of TPUs.
        segments: where rows are packed, which of its row's sequences a token is of: it attends to
            that one alone. None: a row is one sequence. Not with ``cudnn``.

    Returns:
        The attended values in the dtype of ``query``; logits and softmax are float32.

    Raises:
        ConfigError: an unknown backend, or one that cannot run on the devices of the current mesh
            (without one: on JAX's default devices), with this dtype or with packed rows.
    """
    _require_usable(backend, query.dtype)
    if backend == "cudnn" and segments is not None:
        raise ConfigError(
            "model.attention = 'cudnn' does not keep packed sequences apart:"
            " set sft.packing = false, or model.attention = 'xla'"
        )
    if backend == "splash":
        return splash_attention(query, key, value, segments, interpret=False)
    if backend == "xla" and current_platform() == "cpu":
        return _blockwise_attention(query, key, value, segments)
    if backend == "cudnn":
        return _cudnn_attention(query, key, value)
    mask = None if segments is None else _is_same(segments, segments)
    return jax.nn.dot_product_attention(query, key, value, mask=mask, is_causal=True)


def _cudnn_attention(
    query: Float[Array, "B T N H"], key: Float[Array, "B T K H"], value: Float[Array, "B T K H"]
) -> Float[Array, "B T N H"]:
    # JAX refuses gradients at odd lengths. Behind the last token nothing is seen by any.
    length = query.shape[1]
    padding = ((0, 0), (0, length % 2), (0, 0), (0, 0))
    heads = (jnp.pad(x, padding) for x in (query, key, value))
    attended = jax.nn.dot_product_attention(*heads, is_causal=True, implementation="cudnn")
    return attended[:, :length]


def _is_same(queries: Int[Array, "B T"], keys: Int[Array, "B S"]) -> Bool[Array, "B 1 T S"]:
    """Whether query and key are of one segment."""
    return (queries[:, :, None] == keys[:, None, :])[:, None]


def _blockwise_attention(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B T K H"],
    value: Float[Array, "B T K H"],
    segments: Int[Array, "B T"] | None,
) -> Float[Array, "B T N H"]:
    """Causal attention a block of queries at a time: the keys behind a block are left out."""
    keys, values = jnp.swapaxes(key, 1, 2), jnp.swapaxes(value, 1, 2)
    length = query.shape[1]
    width = max(_LEAST_BLOCK, -(-length // _MOST_BLOCKS))
    blocks = []
    for begin in range(0, length, width):
        end = min(begin + width, length)
        is_visible = jnp.arange(end)[None] <= jnp.arange(begin, end)[:, None]
        visible = jnp.broadcast_to(is_visible, (query.shape[0], 1, *is_visible.shape))
        if segments is not None:
            visible &= _is_same(segments[:, begin:end], segments[:, :end])
        blocks.append(
            _grouped_attention(query[:, begin:end], keys[:, :, :end], values[:, :, :end], visible)
        )
    return jnp.concatenate(blocks, axis=1)


def cached_attention(
    query: Float[Array, "B T N H"],
    keys: Float[Array, "B K S H"],
    values: Float[Array, "B K S H"],
    positions: Int[Array, "B T"],
    *,
    backend: str,
) -> Float[Array, "B T N H"]:
    """As ``attention``, over the slots of a cache: a query sees slots ≤ its position.

    Every backend computes this as ``xla`` does. The kernel of ``splash`` is for as many queries as
    keys, and decoding has one query a row; that of ``cudnn`` was no faster on an H200, and wants
    the cache laid out otherwise, of which it takes a copy.

    Args:
        query: queries of the new tokens.
        keys: a layer's cached keys, slot s holding position s; heads before slots, so that the
            products below read them as they lie. Its type may be wider than that of ``query``.
        values: a layer's cached values, as keys.
        positions: position of each query.
        backend: as in ``attention``.

    Returns:
        The attended values in the dtype of ``query``; logits and softmax are float32.

    Raises:
        ConfigError: as ``attention``.
    """
    _require_usable(backend, query.dtype)
    is_visible = jnp.arange(keys.shape[2])[None, None, None] <= positions[:, None, :, None]
    return _grouped_attention(query, keys, values, is_visible)


def _grouped_attention(
    query: Float[Array, "B T N H"],
    keys: Float[Array, "B K S H"],
    values: Float[Array, "B K S H"],
    is_visible: Bool[Array, "B 1 T S"],
) -> Float[Array, "B T N H"]:
    batch, length, heads, head_dim = query.shape
    kv_heads = keys.shape[1]
    # The queries of a group read the same keys: one product a key/value head, of whole matrices.
    grouped = query.reshape(batch, length, kv_heads, -1, head_dim).astype(keys.dtype)
    grouped = jnp.swapaxes(grouped, 1, 2).reshape(batch, kv_heads, -1, head_dim)
    wide = jnp.promote_types(query.dtype, jnp.float32)
    logits = jnp.einsum("bkqh,bksh->bkqs", grouped, keys, preferred_element_type=wide) / math.sqrt(
        head_dim
    )
    is_visible = jnp.repeat(is_visible, heads // kv_heads, axis=2)
    logits = jnp.where(is_visible, logits, jnp.finfo(wide).min)
    weights = jax.nn.softmax(logits, axis=-1).astype(query.dtype).astype(values.dtype)
    attended = jnp.einsum("bkqs,bksh->bkqh", weights, values).astype(query.dtype)
    attended = attended.reshape(batch, kv_heads, length, -1, head_dim)
    return jnp.swapaxes(attended, 1, 2).reshape(batch, length, heads, head_dim)


def _require_usable(backend: str, dtype: jnp.dtype) -> None:
    if backend not in BACKENDS:
        allowed = ", ".join(BACKENDS)
        raise ConfigError(f"model.attention = {backend!r} is unknown; allowed: {allowed}")
    if backend in NEEDED:
        _require_platform(backend, *NEEDED[backend])
    if backend == "cudnn" and dtype not in (jnp.bfloat16, jnp.float16):
        raise ConfigError(
            f"model.attention = 'cudnn' takes bfloat16 or float16, not {dtype}:"
            " set model.dtype = 'bfloat16', or model.attention = 'xla'"
        )


def _require_platform(backend: str, platform: str, device: str) -> None:
    if platform != (there := current_platform()):
        raise ConfigError(
            f"model.attention = {backend!r} needs {device}, and JAX computes on {there!r} here:"
            " model.attention = 'xla' runs anywhere"
        )
