"""The decoder of the Llama family as a Linen module: tokens in, normalised hidden states out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from stepcoder_jax.model.attention import attention
from stepcoder_jax.model.cache import KVCache
from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.model.rope import RopeAngles, apply_rope, rope_angles

Params = Mapping[str, Any]

REMAT_POLICIES: Mapping[str, Any] = {
    "layer": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}

_normal = nn.initializers.normal(stddev=0.02)


class Attention(nn.Module):
    """Grouped-query self-attention with rope, over the tokens given or over a cache."""

    config: ModelConfig
    dtype: DTypeLike
    param_dtype: DTypeLike
    backend: str

    def setup(self) -> None:
        """Declare the projections."""
        config = self.config
        self.query = self._projection(config.num_heads, "heads")
        self.key = self._projection(config.num_kv_heads, "kv_heads")
        self.value = self._projection(config.num_kv_heads, "kv_heads")
        self.output = nn.DenseGeneral(
            config.hidden_size,
            axis=(-2, -1),
            use_bias=False,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            kernel_init=nn.with_logical_partitioning(_normal, ("heads", "head_dim", "embed")),
        )
        if config.qk_norm:
            self.query_norm = rms_norm(self, "head_dim")
            self.key_norm = rms_norm(self, "head_dim")

    def _projection(self, heads: int, axis: str) -> nn.DenseGeneral:
        return nn.DenseGeneral(
            (heads, self.config.head_dim),
            use_bias=self.config.attention_bias,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            kernel_init=nn.with_logical_partitioning(_normal, ("embed", axis, "head_dim")),
            bias_init=nn.with_logical_partitioning(nn.initializers.zeros, (axis, "head_dim")),
        )

    def __call__(
        self,
        x: Float[Array, "B T D"],
        positions: Int[Array, "B T"],
        angles: RopeAngles,
        cache: KVCache | None,
        layer: Int[Array, ""],
    ) -> tuple[Float[Array, "B T D"], KVCache | None]:
        """Attend; with a cache, write the new keys and values first and attend to its slots."""
        query, key, value = self.query(x), self.key(x), self.value(x)
        if self.config.qk_norm:
            query, key = self.query_norm(query), self.key_norm(key)
        query, key = apply_rope(query, angles), apply_rope(key, angles)
        if cache is None:
            attended = attention(query, key, value, backend=self.backend)
        else:
            cache = cache.write(layer, key, value, positions)
            attended = attention(
                query,
                cache.keys[layer].astype(query.dtype),
                cache.values[layer].astype(query.dtype),
                positions=positions,
                backend=self.backend,
            )
        return self.output(attended), cache


class FeedForward(nn.Module):
    """down(silu(gate(x)) · up(x))."""

    config: ModelConfig
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """Apply the gated feed-forward to every token."""

        def dense(features: int, name: str, axes: tuple[str, str]) -> nn.Dense:
            return nn.Dense(
                features,
                use_bias=False,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                kernel_init=nn.with_logical_partitioning(_normal, axes),
                name=name,
            )

        width = self.config.intermediate_size
        gate = dense(width, "gate", ("embed", "mlp"))(x)
        up = dense(width, "up", ("embed", "mlp"))(x)
        return dense(self.config.hidden_size, "down", ("mlp", "embed"))(nn.silu(gate) * up)


class Layer(nn.Module):
    """One pre-norm transformer layer, in the carry form that ``nn.scan`` wants."""

    config: ModelConfig
    dtype: DTypeLike
    param_dtype: DTypeLike
    backend: str

    def setup(self) -> None:
        """Declare the parts."""
        self.attention_norm = rms_norm(self, "embed")
        self.attention = Attention(self.config, self.dtype, self.param_dtype, self.backend)
        self.mlp_norm = rms_norm(self, "embed")
        self.mlp = FeedForward(self.config, self.dtype, self.param_dtype)

    def __call__(
        self,
        carry: tuple[Float[Array, "B T D"], KVCache | None],
        layer: Int[Array, ""],
        positions: Int[Array, "B T"],
        angles: RopeAngles,
    ) -> tuple[tuple[Float[Array, "B T D"], KVCache | None], None]:
        """Return the new residual stream and cache; nothing is stacked over layers."""
        x, cache = carry
        attended, cache = self.attention(self.attention_norm(x), positions, angles, cache, layer)
        x = x + attended
        x = x + self.mlp(self.mlp_norm(x))
        return (x, cache), None


class Decoder(nn.Module):
    """Embedding, L layers, final norm. Logits are ``unembed(params, hidden)``.

    Attributes:
        config: sizes and options.
        dtype: of activations; norms, rope and softmax compute in float32 whatever it is.
        param_dtype: of parameters.
        attention: backend of ``attention``.
        remat: what the backward pass recomputes: ``none``, ``layer`` (everything inside a layer) or
            ``dots`` (everything but matrix products with weights).
    """

    config: ModelConfig
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32
    attention: str = "xla"
    remat: str = "none"

    @nn.compact
    def __call__(
        self,
        tokens: Int[Array, "B T"],
        positions: Int[Array, "B T"],
        cache: KVCache | None = None,
    ) -> tuple[Float[Array, "B T D"], KVCache | None]:
        """Run the tokens through all layers.

        Args:
            tokens: ids; right-padded rows need no mask, because no token sees what follows it.
            positions: position of each token in its row, from 0. Without a cache they run 0…T-1.
            cache: keys and values so far, or None. Each token's are written to the slot of its
                position, and it attends to the slots up to there; at positions ≥ S nothing is
                written.

        Returns:
            Hidden states after the final norm, and the cache with the tokens written (None without).
        """
        config = self.config
        embedding = self.param(
            "embedding",
            nn.with_logical_partitioning(_normal, ("vocab", "embed")),
            (config.vocab_size, config.hidden_size),
            self.param_dtype,
        )
        if not config.tie_word_embeddings:
            self.param(
                "unembedding",
                nn.with_logical_partitioning(_normal, ("embed", "vocab")),
                (config.hidden_size, config.vocab_size),
                self.param_dtype,
            )
        x = jnp.take(embedding, tokens, axis=0).astype(self.dtype)
        angles = rope_angles(positions, config.head_dim, config.rope_theta, config.rope_scaling)
        layers = self._layers()
        (x, cache), _ = layers((x, cache), jnp.arange(config.num_layers), positions, angles)
        return rms_norm(self, "embed", name="final_norm")(x), cache

    def _layers(self) -> nn.Module:
        scanned = nn.scan(
            _rematerialised(self.remat),
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=(0, nn.broadcast, nn.broadcast),
            length=self.config.num_layers,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )
        return scanned(self.config, self.dtype, self.param_dtype, self.attention, name="layers")


def _rematerialised(remat: str) -> type[Layer]:
    if remat == "none":
        return Layer
    if remat not in REMAT_POLICIES:
        allowed = ", ".join(["none", *REMAT_POLICIES])
        raise ValueError(f"remat = {remat!r} is unknown; allowed: {allowed}")
    # Inside a scan XLA cannot merge the recomputation with the original, so no barrier is needed.
    return nn.remat(Layer, prevent_cse=False, policy=REMAT_POLICIES[remat])


def rms_norm(module: nn.Module, axis: str, name: str | None = None) -> nn.RMSNorm:
    """Return the norm x / √(mean x² + ε) · scale, computed in float32, over the last axis."""
    return nn.RMSNorm(
        epsilon=module.config.rms_norm_eps,
        dtype=module.dtype,
        param_dtype=module.param_dtype,
        scale_init=nn.with_logical_partitioning(nn.initializers.ones, (axis,)),
        name=name,
    )


def unembed(params: Params, hidden: Float[Array, "*batch D"]) -> Float[Array, "*batch V"]:
    """Logits in float32 of any chunk of hidden states, from the tied or the separate matrix."""
    if "unembedding" in params:
        kernel = params["unembedding"].astype(hidden.dtype)
        return jnp.einsum("...d,dv->...v", hidden, kernel, preferred_element_type=jnp.float32)
    kernel = params["embedding"].astype(hidden.dtype)
    return jnp.einsum("...d,vd->...v", hidden, kernel, preferred_element_type=jnp.float32)
