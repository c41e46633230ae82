"""The key/value cache: an argument of the decoder, returned with the new tokens written in it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from stepcoder_jax.model.config import ModelConfig


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class KVCache:
    """Keys and values of every layer; slot s of a row holds its token at position s.

    A slot is meaningful from the moment its position is written; attention never looks beyond the
    query's own position, so stale or padding slots above it need no mask and no clearing.
    """

    keys: Float[Array, "L B K S H"]
    values: Float[Array, "L B K S H"]

    @property
    def slots(self) -> int:
        """Longest sequence a row can hold, in tokens."""
        return self.keys.shape[3]

    def write(
        self,
        layer: Int[Array, ""],
        key: Float[Array, "B T K H"],
        value: Float[Array, "B T K H"],
        positions: Int[Array, "B T"],
    ) -> KVCache:
        """Put a layer's new keys and values at their positions; positions ≥ S write nothing."""
        rows = jnp.arange(key.shape[0])[:, None]
        at = (layer, rows, slice(None), positions)
        return replace(
            self,
            keys=self.keys.at[at].set(key.astype(self.keys.dtype), mode="drop"),
            values=self.values.at[at].set(value.astype(self.values.dtype), mode="drop"),
        )


def init_cache(config: ModelConfig, batch: int, slots: int, dtype: DTypeLike) -> KVCache:
    """Return an empty cache for ``batch`` rows of at most ``slots`` tokens."""
    shape = (config.num_layers, batch, config.num_kv_heads, slots, config.head_dim)
    return KVCache(keys=jnp.zeros(shape, dtype), values=jnp.zeros(shape, dtype))
