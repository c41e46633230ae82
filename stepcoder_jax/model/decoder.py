"""The decoder of the Llama family as a Linen module: tokens in, normalised hidden states out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from stepcoder_jax.model.cache import KVCache, LayerCache
from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.model.few_rows import Products
from stepcoder_jax.model.head_product import head_product
from stepcoder_jax.model.layers import ADAPTERS, Layer, RMSNorm, normal_init, on_axes
from stepcoder_jax.model.rope import RopeAngles, rope_angles

Params = Mapping[str, Any]


def _is_product_or_kernel(primitive: Any, *args: Any, **params: Any) -> bool:
    """Products with weights, and the forward pass of cuDNN's attention, with its residuals."""
    is_product: bool = jax.checkpoint_policies.dots_with_no_batch_dims_saveable(
        primitive, *args, **params
    )
    return is_product or primitive.name == "dot_product_attention_fwd_wrapper"


REMAT_POLICIES: Mapping[str, Any] = {
    "layer": jax.checkpoint_policies.nothing_saveable,
    "dots": _is_product_or_kernel,
}


class Decoder(nn.Module):
    """Embedding, L layers, final norm. Logits are ``unembed(params, hidden)``.

    Attributes:
        config: sizes and options.
        dtype: of activations; norms, rope and softmax compute in float32 whatever it is.
        param_dtype: of parameters.
        attention: backend of ``attention``.
        remat: what the backward pass recomputes: ``none``, ``layer`` (everything inside a layer) or
            ``dots`` (everything but matrix products with weights and cuDNN's attention).
        unroll: the layers are compiled one by one, not as one loop's body.
        serving: for generation: parameters are those of ``serving_params``, a cache is returned.
        products: what multiplies few rows on a CPU then: XLA, or the kernel of ``few_rows``.
    """

    config: ModelConfig
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32
    attention: str = "xla"
    remat: str = "none"
    unroll: bool = False
    serving: bool = False
    products: Products = "xla"

    @nn.compact
    def __call__(
        self,
        tokens: Int[Array, "B T"],
        positions: Int[Array, "B T"],
        cache: KVCache | None = None,
        segments: Int[Array, "B T"] | None = None,
    ) -> tuple[Float[Array, "B T D"], KVCache | None]:
        """Run the tokens through all layers.

        Args:
            tokens: ids; right-padded rows need no mask, because no token sees what follows it.
            positions: position of each token in its sequence, from 0. Without a cache they run
                0…T-1, or begin anew with every segment.
            cache: when serving, keys and values so far, or None at the beginning of the rows.
                Each token's are written to the slot of its position, and it attends to the slots
                up to there; at positions ≥ S nothing is written.
            segments: of packed rows, as for ``attention``; never when serving.

        Returns:
            Hidden states after the final norm. When serving, also the cache with the tokens
            written; one with T slots where none was given.
        """
        config = self.config
        embedding = self.param(
            "embedding",
            on_axes(normal_init, "vocab", "embed"),
            (config.vocab_size, config.hidden_size),
            self.param_dtype,
        )
        if not config.tie_word_embeddings and not self.serving:
            self.param(
                "unembedding",
                on_axes(normal_init, "embed", "vocab"),
                (config.hidden_size, config.vocab_size),
                self.param_dtype,
            )
        x = jnp.take(embedding, tokens, axis=0).astype(self.dtype)
        angles = rope_angles(positions, config.head_dim, config.rope_theta, config.rope_scaling)
        if self.serving:
            x, cache = self._serve(x, positions, angles, cache)
        else:
            x, _ = self._layers()(x, positions, angles, segments)
        final_norm = RMSNorm(
            config.rms_norm_eps, "embed", self.dtype, self.param_dtype, name="final_norm"
        )
        return final_norm(x), cache

    def _layers(self) -> nn.Module:
        scanned = nn.scan(
            _rematerialised(self.remat, self.unroll),
            variable_axes={"params": 0, ADAPTERS: 0},
            split_rngs={"params": True},
            in_axes=(nn.broadcast, nn.broadcast, nn.broadcast),
            length=self.config.num_layers,
            unroll=self.config.num_layers if self.unroll else 1,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )
        return scanned(self.config, self.dtype, self.param_dtype, self.attention, name="layers")

    def _serve(
        self,
        x: Float[Array, "B T D"],
        positions: Int[Array, "B T"],
        angles: RopeAngles,
        cache: KVCache | None,
    ) -> tuple[Float[Array, "B T D"], KVCache]:
        caches = []
        known = [None] * self.config.num_layers if cache is None else cache.layers
        for i, layer_cache in enumerate(known):
            layer = Layer(
                self.config,
                self.dtype,
                self.param_dtype,
                self.attention,
                serving=True,
                products=self.products,
                name=f"layer_{i}",
            )
            x, written = layer(x, positions, angles, cache=layer_cache)
            # A layer that serves always returns one.
            caches.append(cast(LayerCache, written))
        return x, KVCache(layers=tuple(caches))


def _rematerialised(remat: str, unroll: bool) -> type[Layer]:
    if remat == "none":
        return Layer
    if remat not in REMAT_POLICIES:
        allowed = ", ".join(["none", *REMAT_POLICIES])
        raise ValueError(f"remat = {remat!r} is unknown; allowed: {allowed}")
    # Inside a loop XLA cannot merge the recomputation with the original, so no barrier is needed.
    return nn.remat(Layer, prevent_cse=unroll, policy=REMAT_POLICIES[remat])


def unembed(params: Params, hidden: Float[Array, "*batch D"]) -> Float[Array, "*batch V"]:
    """Logits, at least float32, of any chunk of hidden states; the matrix is tied or separate."""
    if "unembedding" in params:
        return head_product(hidden, params["unembedding"], "...d,dv->...v")
    return head_product(hidden, params["embedding"], "...d,vd->...v")
