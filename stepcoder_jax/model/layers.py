"""One transformer layer of the Llama family and its parts."""

from __future__ import annotations

from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from stepcoder_jax.masked import at_least_float32
from stepcoder_jax.model.attention import attention, cached_attention
from stepcoder_jax.model.cache import LayerCache
from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.model.few_rows import Products
from stepcoder_jax.model.product import Product
from stepcoder_jax.model.rope import RopeAngles, apply_rope
from stepcoder_jax.sharding import constrained

normal_init = nn.initializers.normal(stddev=0.02)

# The collection of variables that holds low-rank adapters, beside "params".
ADAPTERS = "adapters"


def on_axes(init: nn.initializers.Initializer, *axes: str | None) -> nn.initializers.Initializer:
    """Attach logical axis names to what ``init`` draws."""
    # The initializer returns a box, but Module.param hands out its content: an array, as the
    # declared type says.
    return cast(nn.initializers.Initializer, nn.with_logical_partitioning(init, axes))


def adapted(
    dense: nn.Dense | nn.DenseGeneral, x: Float[Array, "*batch"]
) -> Float[Array, "*outputs"]:
    """The layer's x W + bias, plus (x A) B where the variables hold an adapter of it.

    A is [in…, r] and B [r, out…] for a W of [in…, out…]; they are used in the result's dtype.
    """
    y = dense(x)
    adapter = dense.variables.get(ADAPTERS)
    if not adapter:
        return y
    a, b = adapter["a"], adapter["b"]
    low = jnp.tensordot(x.astype(y.dtype), a.astype(y.dtype), axes=a.ndim - 1)
    return y + jnp.tensordot(low, b.astype(y.dtype), axes=1)


def tokens_flat(x: Float[Array, "B T ..."], features: int = 1) -> Float[Array, "tokens ..."]:
    """All tokens along one axis: XLA's products for CPUs take half the time backwards then."""
    return x.reshape(-1, *x.shape[x.ndim - features :])


class RMSNorm(nn.Module):
    """x / √(mean x² + ε) · scale over the last axis, computed in at least float32.

    Attributes:
        epsilon: ε.
        axis: logical name of the axis.
        dtype: of the result.
        param_dtype: of the scale.
    """

    epsilon: float
    axis: str
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "*batch channels"]) -> Float[Array, "*batch channels"]:
        """Normalise."""
        scale = self.param(
            "scale",
            on_axes(nn.initializers.ones, self.axis),
            (x.shape[-1],),
            self.param_dtype,
        )
        wide = at_least_float32(x)
        root = jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + self.epsilon)
        return (wide * root * jnp.broadcast_to(scale.astype(wide.dtype), wide.shape)).astype(
            self.dtype
        )


class Attention(nn.Module):
    """Grouped-query self-attention with rope, over the tokens given or over a cache.

    Attributes:
        serving: parameters are those of ``serving_params``, and a cache is returned.
    """

    config: ModelConfig
    dtype: DTypeLike
    param_dtype: DTypeLike
    backend: str
    serving: bool = False
    products: Products = "xla"

    def setup(self) -> None:
        """Declare the projections."""
        config = self.config
        self.output: Product | nn.DenseGeneral
        if self.serving:
            heads = config.num_heads + 2 * config.num_kv_heads
            self.query_key_value = Product(
                heads * config.head_dim, self.dtype, config.attention_bias, self.products
            )
            self.output = Product(config.hidden_size, self.dtype, products=self.products)
        else:
            self.query = self._projection(config.num_heads, "heads")
            self.key = self._projection(config.num_kv_heads, "kv_heads")
            self.value = self._projection(config.num_kv_heads, "kv_heads")
            self.output = nn.DenseGeneral(
                config.hidden_size,
                axis=(-2, -1),
                use_bias=False,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                kernel_init=on_axes(normal_init, "heads", "head_dim", "embed"),
            )
        if config.qk_norm:
            self.query_norm = RMSNorm(config.rms_norm_eps, "head_dim", self.dtype, self.param_dtype)
            self.key_norm = RMSNorm(config.rms_norm_eps, "head_dim", self.dtype, self.param_dtype)

    def _projection(self, heads: int, axis: str) -> nn.DenseGeneral:
        return nn.DenseGeneral(
            (heads, self.config.head_dim),
            use_bias=self.config.attention_bias,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            kernel_init=on_axes(normal_init, "embed", axis, "head_dim"),
            bias_init=on_axes(nn.initializers.zeros, axis, "head_dim"),
        )

    def _projected(self, x: Float[Array, "B T D"]) -> list[jax.Array]:
        """Queries, keys and values, ``[B, T, heads, H]``."""
        if not self.serving:
            layers = (self.query, self.key, self.value)
            projected = [adapted(layer, tokens_flat(x)) for layer in layers]
            return [heads.reshape(*x.shape[:-1], *heads.shape[1:]) for heads in projected]
        n_query, n_key = self.config.num_heads, self.config.num_kv_heads
        heads = self.query_key_value(x).reshape(*x.shape[:-1], -1, self.config.head_dim)
        return jnp.split(heads, [n_query, n_query + n_key], axis=-2)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        positions: Int[Array, "B T"],
        angles: RopeAngles,
        segments: Int[Array, "B T"] | None = None,
        cache: LayerCache | None = None,
    ) -> tuple[Float[Array, "B T D"], LayerCache | None]:
        """Attend; with a cache, write the new keys and values first and attend to its slots."""
        query, key, value = self._projected(x)
        if self.config.qk_norm:
            query, key = self.query_norm(query), self.key_norm(key)
        query, key = apply_rope(query, angles), apply_rope(key, angles)
        if cache is None:
            attended = attention(query, key, value, backend=self.backend, segments=segments)
            cache = LayerCache.of(key, value) if self.serving else None
        else:
            cache = cache.write(key, value, positions)
            attended = cached_attention(
                query, cache.keys, cache.values, positions, backend=self.backend
            )
        if isinstance(self.output, Product):
            return self.output(attended.reshape(*x.shape[:-1], -1)), cache
        return adapted(self.output, tokens_flat(attended, 2)).reshape(x.shape), cache


class FeedForward(nn.Module):
    """down(silu(gate(x)) · up(x)). ``serving`` as in ``Attention``."""

    config: ModelConfig
    dtype: DTypeLike
    param_dtype: DTypeLike
    serving: bool = False
    products: Products = "xla"

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """Apply the gated feed-forward to every token."""
        width, hidden = self.config.intermediate_size, self.config.hidden_size
        if self.serving:
            wide = Product(2 * width, self.dtype, products=self.products, name="gate_up")
            narrow = Product(hidden, self.dtype, products=self.products, name="down")
            gate, up = jnp.split(wide(x), 2, axis=-1)
            return narrow(nn.silu(gate) * up)

        def dense(features: int, name: str, axes: tuple[str, str]) -> nn.Dense:
            return nn.Dense(
                features,
                use_bias=False,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                kernel_init=on_axes(normal_init, *axes),
                name=name,
            )

        flat = tokens_flat(x)
        gate = adapted(dense(width, "gate", ("embed", "mlp")), flat)
        up = adapted(dense(width, "up", ("embed", "mlp")), flat)
        down = adapted(dense(hidden, "down", ("mlp", "embed")), nn.silu(gate) * up)
        return down.reshape(x.shape)


class Layer(nn.Module):
    """One pre-norm transformer layer, in the carry form that ``nn.scan`` wants."""

    config: ModelConfig
    dtype: DTypeLike
    param_dtype: DTypeLike
    backend: str
    serving: bool = False
    products: Products = "xla"

    def setup(self) -> None:
        """Declare the parts."""
        epsilon = self.config.rms_norm_eps
        kinds = (self.config, self.dtype, self.param_dtype)
        self.attention_norm = RMSNorm(epsilon, "embed", self.dtype, self.param_dtype)
        self.attention = Attention(*kinds, self.backend, self.serving, self.products)
        self.mlp_norm = RMSNorm(epsilon, "embed", self.dtype, self.param_dtype)
        self.mlp = FeedForward(*kinds, self.serving, self.products)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        positions: Int[Array, "B T"],
        angles: RopeAngles,
        segments: Int[Array, "B T"] | None = None,
        cache: LayerCache | None = None,
    ) -> tuple[Float[Array, "B T D"], LayerCache | None]:
        """Return the new residual stream and, when serving, the layer's cache."""
        normed = self.attention_norm(x)
        attended, cache = self.attention(normed, positions, angles, segments, cache)
        x = constrained(x + attended, ("batch",))
        return constrained(x + self.mlp(self.mlp_norm(x)), ("batch",)), cache
