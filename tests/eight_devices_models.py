"""Run by ``test_sharding.py`` with eight simulated devices: models of every family on every mesh.

Names of models on the command line. Each must have the loss and the greedy tokens that it has on
one device, on every data × fsdp × tensor mesh of the eight; a difference ends with an exception.
"""

import sys
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "sampling"))
sys.path.insert(0, str(Path(__file__).parent / "model"))
from random_models import TINY, random_params
from test_generate import PROMPTS, SAMPLER

from stepcoder_jax.config import MeshConfig
from stepcoder_jax.logprobs import token_logprobs
from stepcoder_jax.model.apply import hidden_states
from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.model.decoder import Decoder, Params, unembed
from stepcoder_jax.model.init import logical_axes
from stepcoder_jax.model.rope_frequencies import LinearRope
from stepcoder_jax.model.serving import serving_params
from stepcoder_jax.placement import replicate, shard_params, shard_rows
from stepcoder_jax.sampling.generate import Sampler
from stepcoder_jax.sharding import make_mesh

# Eight devices divide vocabulary, heads and feed-forward; a tensor axis of 4 or 8 not the kv-heads.
LLAMA = replace(TINY, vocab_size=16, num_layers=2, num_heads=8, tie_word_embeddings=False)
MODELS = {
    "llama": LLAMA,
    "qwen2": replace(LLAMA, attention_bias=True, tie_word_embeddings=True),
    "qwen3": replace(LLAMA, qk_norm=True, head_dim=8),
    "mistral": replace(LLAMA, num_kv_heads=1, rope_theta=1e6),
    "deepseek": replace(LLAMA, num_kv_heads=8, rope_scaling=LinearRope(factor=4.0)),
}
MESHES = [sizes for sizes in product((1, 2, 4, 8), repeat=3) if np.prod(sizes) == 8]
ROWS = np.random.default_rng(0).integers(0, 16, (8, 12)).astype(np.int32)


@partial(jax.jit, static_argnames=("decoder",))
def loss(params: Params, tokens: jax.Array, *, decoder: Decoder) -> jax.Array:
    """Mean negative log-probability of all tokens behind the first."""
    hidden = hidden_states(decoder, params, tokens)
    scored = token_logprobs(hidden, partial(unembed, params), tokens, 1.0, 1000, False)
    return -jnp.mean(scored.logprobs[:, 1:])


def greedy(params: Params, sampler: Sampler) -> list[tuple[int, ...]]:
    """The most probable continuation of each prompt."""
    served = serving_params(params, dtype=jnp.float32)
    keys = jax.random.split(jax.random.key(0), len(PROMPTS))
    rows = dict(sampler.generate(served, PROMPTS, keys, samples=1))
    return [rows[row].tokens for row in sorted(rows)]


def check(config: ModelConfig) -> None:
    """Compares every mesh with one device."""
    decoder, params = Decoder(config=config), random_params(config)
    settings = replace(SAMPLER.settings, temperature=0.0)
    sampler = replace(SAMPLER, decoder=decoder, settings=settings)
    expected, expected_tokens = loss(params, ROWS, decoder=decoder), greedy(params, sampler)
    assert len(set(expected_tokens)) > 1
    for sizes in MESHES:
        mesh = make_mesh(MeshConfig(**dict(zip(("data", "fsdp", "tensor"), sizes, strict=True))))
        with jax.set_mesh(mesh):
            placed = shard_params(params, logical_axes(config), mesh)
            found = loss(placed, shard_rows(ROWS, mesh), decoder=decoder)
            spread = replace(sampler, place=partial(replicate, mesh=mesh))
            tokens = greedy(placed, spread)
        np.testing.assert_allclose(found, expected, rtol=1e-5, err_msg=str(sizes))
        assert tokens == expected_tokens, sizes


assert len(MESHES) == 10
for name in sys.argv[1:]:
    check(MODELS[name])
