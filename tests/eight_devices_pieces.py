"""Run by ``test_sharding.py`` with eight simulated devices: pieces of a batch are everybody's work.

The mesh comes as ``data,fsdp,tensor`` on the command line; a difference ends with an exception.
"""

import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from test_learner import LEARNER, params, rollouts

from stepcoder_jax.config import MeshConfig
from stepcoder_jax.learner import score
from stepcoder_jax.model.config import SHAPES
from stepcoder_jax.model.init import critic_logical_axes, logical_axes
from stepcoder_jax.placement import shard_params, shard_rows
from stepcoder_jax.sharding import make_mesh

PIECES = 2
config = SHAPES["tiny-test"]
sizes = dict(zip(("data", "fsdp", "tensor"), map(int, sys.argv[1].split(",")), strict=True))
mesh = make_mesh(MeshConfig(**sizes))
data = rollouts()
rows = [jnp.concatenate([x] * 4) for x in (data.tokens, data.is_response)]
learner = replace(LEARNER, logprob_chunk_tokens=4096)
policy, critic = params()


def compiled(policy, critic, rows):
    lowered = score.lower(policy, policy, critic, *rows, learner=learner, pieces=PIECES)
    return lowered.compile()


alone = compiled(policy, critic, rows)
expected = alone(policy, policy, critic, *rows)
with jax.set_mesh(mesh):
    placed = (
        shard_params(policy, logical_axes(config), mesh),
        shard_params(critic, critic_logical_axes(config), mesh),
        shard_rows(rows, mesh),
    )
    together = compiled(*placed)
    found = together(placed[0], placed[0], placed[1], *placed[2])
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, expected)
share = together.cost_analysis()["flops"] / alone.cost_analysis()["flops"]
parts = sizes["data"] * sizes["fsdp"]
assert share < 1.3 / parts, f"a device computes {share:.3f} of all, of rows it has 1/{parts}"
