"""The value model: a backbone, its own or the policy's, and a scalar head that starts at zero."""

from __future__ import annotations

from dataclasses import replace

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.model.decoder import Decoder
from stepcoder_jax.model.layers import on_axes


def backbone_config(config: ModelConfig) -> ModelConfig:
    """Return the config of a decoder that never makes logits, hence has no separate unembedding."""
    return replace(config, tie_word_embeddings=True)


class Critic(nn.Module):
    """Decoder backbone, then one number a token. Fields as in ``Decoder``."""

    config: ModelConfig
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32
    attention: str = "xla"
    remat: str = "none"
    unroll: bool = False

    @nn.compact
    def __call__(
        self, tokens: Int[Array, "B T"], positions: Int[Array, "B T"]
    ) -> Float[Array, "B T"]:
        """Return the float32 output of the head at each token, having read that token too."""
        backbone = Decoder(
            config=backbone_config(self.config),
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            attention=self.attention,
            remat=self.remat,
            unroll=self.unroll,
            name="backbone",
        )
        hidden, _ = backbone(tokens, positions)
        return value_head(self.param_dtype, name="head")(hidden)[..., 0]


def value_head(param_dtype: DTypeLike = jnp.float32, name: str | None = None) -> nn.Dense:
    """One number a token from its hidden state, in float32; zero at first."""
    return nn.Dense(
        1,
        use_bias=False,
        dtype=jnp.promote_types(param_dtype, jnp.float32),
        param_dtype=param_dtype,
        kernel_init=on_axes(nn.initializers.zeros, "embed", None),
        name=name,
    )
