"""Run by ``test_sharding.py`` with eight simulated devices: one PPO step, sharded and not.

The mesh comes as ``data,fsdp,tensor`` on the command line; a difference ends with an exception.
"""

import sys

import jax
import numpy as np
from test_learner import LEARNER, params, rollouts, train_batch

from stepcoder_jax.config import MeshConfig
from stepcoder_jax.learner import init_state, update
from stepcoder_jax.model.config import SHAPES
from stepcoder_jax.model.init import critic_logical_axes, logical_axes
from stepcoder_jax.placement import shard_params, shard_rows
from stepcoder_jax.sharding import make_mesh

config = SHAPES["tiny-test"]
sizes = dict(zip(("data", "fsdp", "tensor"), map(int, sys.argv[1].split(",")), strict=True))
mesh = make_mesh(MeshConfig(**sizes))
batch = train_batch(rollouts())
policy, critic = params()
expected, expected_stats, _ = update(init_state(LEARNER, policy, critic), batch, learner=LEARNER)
policy, critic = params()
with jax.set_mesh(mesh):
    state = init_state(
        LEARNER,
        shard_params(policy, logical_axes(config), mesh),
        shard_params(critic, critic_logical_axes(config), mesh),
    )
    found, stats, _ = update(state, shard_rows(batch, mesh), learner=LEARNER)
np.testing.assert_allclose(stats.policy_loss, expected_stats.policy_loss, rtol=1e-5, atol=1e-6)
for a, b in zip(jax.tree.leaves(found.policy), jax.tree.leaves(expected.policy), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
split = [x for x in jax.tree.leaves(found.policy) if not x.sharding.is_fully_replicated]
assert split or sizes["data"] == 8, "no parameter is split over the mesh"
