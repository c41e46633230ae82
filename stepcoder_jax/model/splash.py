"""Splash attention: the fused causal kernel of TPUs; each device computes its rows and heads."""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import (
    BlockSizes,
    CausalMask,
    MultiHeadMask,
    SegmentIds,
    make_splash_mha,
)
from jaxtyping import Array, Float, Int

from stepcoder_jax.sharding import on_own_part, parts_of

LANES = 128  # blocks are multiples of it
MAX_BLOCK = 512  # a block's float32 logits are 1 MiB of a core's memory

QUERY_AXES = ("batch", "length", "heads", "head_dim")
KEY_AXES = ("batch", "length", "kv_heads", "head_dim")
TOKEN_AXES = ("batch", "length")


def splash_attention(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B T K H"],
    value: Float[Array, "B T K H"],
    segments: Int[Array, "B T"] | None = None,
    *,
    interpret: bool,
) -> Float[Array, "B T N H"]:
    """Causal softmax(q·k / √H)·v; query head n reads key/value head n // (N/K).

    Under a mesh (``jax.set_mesh``) rows and heads are split as ``sharding`` says. Where it splits
    query heads further than there are key/value heads, those are repeated first.

    Args:
        query: one row of queries per sequence; query t is at position t. Any length: it is filled
            up to whole blocks inside.
        key: keys of the same tokens.
        value: values of the same tokens.
        segments: as for ``attention``; ids are at least 0.
        interpret: run the kernel as ordinary operations, on any machine, slowly: for tests.

    Returns:
        The attended values in the dtype of ``query``; logits and softmax are float32. In bfloat16
        the scaled queries are rounded once more than by the other backends.
    """
    heads, kv_heads, parts = query.shape[2], key.shape[2], parts_of("heads")
    if heads % parts == 0:
        copies = math.lcm(kv_heads, parts) // kv_heads
        key, value = (jnp.repeat(x, copies, axis=2) for x in (key, value))
    attend = partial(_attend, interpret=interpret)
    arrays, axes = (query, key, value), (QUERY_AXES, KEY_AXES, KEY_AXES)
    if segments is None:
        return on_own_part(attend, arrays, axes=axes)
    return on_own_part(attend, (*arrays, segments), axes=(*axes, TOKEN_AXES))


def block_shape(length: int) -> tuple[int, int]:
    """Tokens per block and number of blocks, evened out so that the last is not mostly padding."""
    count = math.ceil(length / MAX_BLOCK)
    return math.ceil(length / count / LANES) * LANES, count


def _attend(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B T K H"],
    value: Float[Array, "B T K H"],
    segments: Int[Array, "B T"] | None = None,
    *,
    interpret: bool,
) -> Float[Array, "B T N H"]:
    length, heads, head_dim = query.shape[1:]
    block, count = block_shape(length)
    scaled = (query.astype(jnp.float32) / math.sqrt(head_dim)).astype(query.dtype)
    # What fills the last block comes after every token, so the causal mask hides it.
    padding = ((0, 0), (0, 0), (0, block * count - length), (0, 0))
    blocks = (jnp.pad(jnp.swapaxes(x, 1, 2), padding) for x in (scaled, key, value))
    kernel = make_splash_mha(
        MultiHeadMask([CausalMask((block * count, block * count))] * heads),
        block_sizes=BlockSizes(
            block_q=block,
            block_kv=block,
            block_q_dkv=block,
            block_kv_dkv=block,
            block_q_dq=block,
            block_kv_dq=block,
        ),
        head_shards=1,
        q_seq_shards=1,
        interpret=interpret,
    )
    ids = None
    if segments is not None:
        filled = jnp.pad(segments, ((0, 0), (0, block * count - length)))
        ids = SegmentIds(q=filled, kv=filled)
    return jnp.swapaxes(jax.vmap(kernel)(*blocks, ids)[:, :, :length], 1, 2)
