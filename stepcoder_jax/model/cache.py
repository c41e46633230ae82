"""The key/value cache: an argument of the decoder, returned with the new tokens written in it."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.model.product import held, held_dtype


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class LayerCache:
    """Keys and values of one layer; slot s of a row holds its token at position s.

    A slot is meaningful from the moment its position is written; attention never looks beyond the
    query's own position, so stale or padding slots above it need no mask and no clearing. Every
    layer has arrays of its own: a stacked cache would be copied layer by layer to be read.
    """

    keys: Float[Array, "B K S H"]
    values: Float[Array, "B K S H"]

    @classmethod
    def of(cls, key: Float[Array, "B T K H"], value: Float[Array, "B T K H"]) -> LayerCache:
        """The cache that holds just these tokens, from position 0."""
        keys, values = (jnp.swapaxes(held(x, x.dtype), 1, 2) for x in (key, value))
        return cls(keys=keys, values=values)

    def write(
        self,
        key: Float[Array, "B T K H"],
        value: Float[Array, "B T K H"],
        positions: Int[Array, "B T"],
    ) -> LayerCache:
        """Put new keys and values at their positions; positions ≥ S write nothing."""
        # A row at a time, so that a mesh that splits rows has nothing to send.
        return LayerCache(
            keys=_write_rows(self.keys, held(key, key.dtype), positions),
            values=_write_rows(self.values, held(value, value.dtype), positions),
        )

    def resized(self, slots: int) -> LayerCache:
        """With more slots, which hold nothing yet, or without the last ones."""

        def fitted(x: Float[Array, "B K S H"]) -> Float[Array, "B K slots H"]:
            more = max(0, slots - x.shape[2])
            return jnp.pad(x, ((0, 0), (0, 0), (0, more), (0, 0)))[:, :, :slots]

        return jax.tree.map(fitted, self)


@jax.vmap
def _write_rows(
    old: Float[Array, "K S H"], new: Float[Array, "T K H"], at: Int[Array, " T"]
) -> Array:
    return old.at[:, at].set(jnp.swapaxes(new, 0, 1), mode="drop")


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class KVCache:
    """The caches of all layers, the first layer's first."""

    layers: tuple[LayerCache, ...]

    @property
    def slots(self) -> int:
        """Longest sequence a row can hold, in tokens."""
        return self.layers[0].keys.shape[2]


def init_cache(config: ModelConfig, batch: int, slots: int, dtype: DTypeLike) -> KVCache:
    """Return an empty cache of numbers of ``dtype``, ``batch`` rows of at most ``slots`` tokens."""
    shape, dtype = (batch, config.num_kv_heads, slots, config.head_dim), held_dtype(dtype)
    return KVCache(
        layers=tuple(
            LayerCache(keys=jnp.zeros(shape, dtype), values=jnp.zeros(shape, dtype))
            for _ in range(config.num_layers)
        )
    )
