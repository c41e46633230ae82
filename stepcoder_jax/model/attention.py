"""Causal attention with grouped key/value heads: one function, its backend a value."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

BACKENDS = ("xla", "cudnn")


def attention(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B S K H"],
    value: Float[Array, "B S K H"],
    *,
    positions: Int[Array, "B T"] | None = None,
    backend: str = "xla",
) -> Float[Array, "B T N H"]:
    """Softmax(q·k / √H)·v, query head n reading key/value head n // (N/K).

    Args:
        query: one row of queries per sequence.
        key: keys; key slot s belongs to position s of its row.
        value: values, as keys.
        positions: position of each query, which then attends to slots ≤ its position. None: query
            t is at position t (S = T), which fused kernels know without a mask.
        backend: ``xla`` runs anywhere; ``cudnn`` is the fused kernel of NVIDIA GPUs and takes
            bfloat16 or float16 only.

    Returns:
        The attended values in the dtype of ``query``; logits and softmax are float32.

    Raises:
        ValueError: an unknown backend.
    """
    if backend not in BACKENDS:
        raise ValueError(
            f"attention backend {backend!r} is unknown; allowed: {', '.join(BACKENDS)}"
        )
    if positions is None:
        return jax.nn.dot_product_attention(
            query, key, value, is_causal=True, implementation=backend
        )
    mask = _visible_slots(positions, key.shape[1])
    return jax.nn.dot_product_attention(query, key, value, mask=mask, implementation=backend)


def _visible_slots(positions: Int[Array, "B T"], slots: int) -> Bool[Array, "B 1 T S"]:
    return jnp.arange(slots) <= positions[:, None, :, None]
