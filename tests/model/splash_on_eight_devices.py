"""Run by ``test_splash.py`` with eight simulated devices: splash attention split over a mesh.

The mesh comes as ``data,fsdp,tensor`` on the command line, then the shape of a device's part of the
result; a difference from the reference ends with an exception.
"""

import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from attention_reference import causal_reference, random_heads, random_weight

from stepcoder_jax.config import MeshConfig
from stepcoder_jax.model.splash import splash_attention
from stepcoder_jax.placement import replicate
from stepcoder_jax.sharding import make_mesh

attend = partial(splash_attention, interpret=True)


@jax.jit
def value_and_gradients(heads: tuple, weight: jax.Array) -> tuple:
    result, pull = jax.vjp(attend, *heads)
    return (result, *pull(weight))


sizes = dict(zip(("data", "fsdp", "tensor"), map(int, sys.argv[1].split(",")), strict=True))
mesh = make_mesh(MeshConfig(**sizes))
heads = random_heads(9, 9, heads=4, kv_heads=2)
weight = random_weight(heads)
with jax.set_mesh(mesh):
    inputs = replicate(jax.tree.map(jnp.asarray, (heads, weight)), mesh)
    found = value_and_gradients(*inputs)
for a, b in zip(found, causal_reference(heads, weight), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)
part = found[0].sharding.shard_shape(found[0].shape)
assert ",".join(map(str, part)) == sys.argv[2], f"a device computed {part}"
