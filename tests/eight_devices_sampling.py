"""Run by ``test_sharding.py`` with eight simulated devices: the same rows sampled, sharded and not.

Every device has rows of its own, and a step of decoding sends none of them.

The mesh comes as ``data,fsdp,tensor`` on the command line; a difference ends with an exception.
"""

import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "sampling"))
from test_generate import DECODER, PARAMS, PROMPTS, SAMPLER

from stepcoder_jax.config import MeshConfig
from stepcoder_jax.model.init import logical_axes
from stepcoder_jax.model.serving import serving_decoder, serving_params
from stepcoder_jax.placement import replicate, shard_params
from stepcoder_jax.sampling import generate
from stepcoder_jax.sampling.decode import decode_chunk, empty_state, resized
from stepcoder_jax.sharding import make_mesh

sizes = dict(zip(("data", "fsdp", "tensor"), map(int, sys.argv[1].split(",")), strict=True))
mesh = make_mesh(MeshConfig(**sizes))
keys = jax.random.split(jax.random.key(3), 6)
for temperature in (0.0, 0.9):
    settings = replace(SAMPLER.settings, temperature=temperature)
    sampler = replace(SAMPLER, settings=settings, slots=4)
    alone = serving_params(PARAMS, dtype=jnp.float32)
    expected = dict(sampler.generate(alone, PROMPTS, keys, samples=2))
    with jax.set_mesh(mesh):
        placed = shard_params(PARAMS, logical_axes(DECODER.config), mesh)
        served = serving_params(placed, dtype=jnp.float32)
        spread = replace(sampler, place=lambda tree: replicate(tree, mesh))
        found = dict(spread.generate(served, PROMPTS, keys, samples=2))
        # The same in a cache that grows with its rows; the second time nothing is compiled.
        generate._LEAST_GROWTH = 4
        dict(spread.generate(served, PROMPTS, keys, samples=2))
        compiled = decode_chunk._cache_size()
        grown = dict(spread.generate(served, PROMPTS, keys, samples=2))
        assert decode_chunk._cache_size() == compiled
        generate._LEAST_GROWTH = 64
    for row in range(6):
        assert found[row].tokens == expected[row].tokens == grown[row].tokens
        np.testing.assert_allclose(found[row].logprobs, expected[row].logprobs, atol=1e-5)
        np.testing.assert_allclose(grown[row].logprobs, found[row].logprobs, atol=1e-5)

with jax.set_mesh(mesh):
    settings, serving = SAMPLER.settings, serving_decoder(DECODER)
    state = empty_state(decoder=DECODER, settings=settings, slots=16, length=22)
    n_parts = sizes["data"] * sizes["fsdp"]
    for x in jax.tree.leaves(state):
        assert x.sharding.shard_shape(x.shape)[0] == 16 // n_parts, x.sharding
    shapes = [x.sharding.shard_shape(x.shape) for x in jax.tree.leaves(state.cache)]
    longer = resized(state, 30)
    for x, before in zip(jax.tree.leaves(longer.cache), shapes, strict=True):
        assert x.sharding.shard_shape(x.shape) == (*before[:2], 30, before[3])
    state = resized(longer, 22)
    stop_now, enough = replicate((jnp.zeros(16, bool), jnp.int32(16)), mesh)
    chunk = decode_chunk.lower(
        served, state, stop_now, enough, decoder=serving, settings=settings, steps=4
    )
    program = chunk.compile().as_text()
    assert "all-gather" not in program
    assert "all-to-all" not in program
