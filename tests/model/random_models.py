"""Small random models and texts that several tests share."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractDevice, AbstractMesh, AxisType

from stepcoder_jax.model.cache import KVCache
from stepcoder_jax.model.config import SHAPES, ModelConfig
from stepcoder_jax.model.decoder import Decoder, unembed
from stepcoder_jax.model.init import init_policy
from stepcoder_jax.model.rope_frequencies import LinearRope
from stepcoder_jax.model.serving import next_logits, serving_decoder, serving_params
from stepcoder_jax.sharding import MESH_AXES

TINY = SHAPES["tiny-test"]

TEXTS = ["def add(a, b):\n    return a + b\n", "for i in range(10):\n    print(i)\n"] * 3

VARIANTS = {
    "tied": replace(TINY, num_layers=3),
    "untied": replace(TINY, num_layers=2, tie_word_embeddings=False),
    "bias": replace(TINY, num_layers=2, attention_bias=True, num_kv_heads=1),
    "qk_norm": replace(TINY, num_layers=2, qk_norm=True, num_kv_heads=4),
}

# With a row for each token that the test tokenizer may have.
LOADABLE = {
    name: replace(config, vocab_size=300)
    for name, config in (
        VARIANTS | {"linear": replace(VARIANTS["tied"], rope_scaling=LinearRope(factor=4.0))}
    ).items()
}


def one_device_of(platform: str) -> jax.sharding.use_abstract_mesh:
    """A mesh of one device of a platform that need not be here: enough to trace for it."""
    device = AbstractDevice(device_kind=platform, num_cores=1, platform=platform)
    mesh = AbstractMesh((1, 1, 1), MESH_AXES, (AxisType.Auto,) * 3, abstract_device=device)
    return jax.sharding.use_abstract_mesh(mesh)


def random_params(config: ModelConfig, seed: int = 0) -> dict:
    """Parameters far from their initial zeros and ones, so that every one of them matters."""
    generator = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: init_policy(jax.random.key(0), config))

    def draw(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        return jnp.asarray(0.3 * generator.standard_normal(leaf.shape), jnp.float32)

    return jax.tree.map(draw, shapes)


def random_tokens(rows: int, length: int, seed: int = 7) -> jax.Array:
    generator = np.random.default_rng(seed)
    return jnp.asarray(generator.integers(0, TINY.vocab_size, (rows, length)), jnp.int32)


def positions_of(tokens: jax.Array) -> jax.Array:
    return jnp.broadcast_to(jnp.arange(tokens.shape[1], dtype=jnp.int32), tokens.shape)


@partial(jax.jit, static_argnums=0)
def logits_of(decoder: Decoder, params: dict, tokens: jax.Array) -> jax.Array:
    hidden, _ = decoder.apply({"params": params}, tokens, positions_of(tokens))
    return unembed(params, hidden)


@partial(jax.jit, static_argnums=0)
def cached_logits_of(
    decoder: Decoder, params: dict, tokens: jax.Array, positions: jax.Array, cache: KVCache
) -> tuple[jax.Array, KVCache]:
    weights = serving_params(params, dtype=decoder.dtype)
    hidden, cache = serving_decoder(decoder).apply({"params": weights}, tokens, positions, cache)
    logits = next_logits(weights, hidden.reshape(-1, hidden.shape[-1]))
    return logits.reshape(*tokens.shape, -1), cache
