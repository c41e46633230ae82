"""As ``eight_devices.py``, for a shared critic with the KL in the loss, and for groups without one.

Gradients are compared: the variants' steps are along them.
"""

import sys

import jax
import jax.numpy as jnp
from test_learner import CONFIG, rollouts
from test_learner_variants import STEP, VARIANTS, batch_of, fresh, models

from stepcoder_jax.config import MeshConfig
from stepcoder_jax.learner import init_state, update
from stepcoder_jax.model.init import critic_logical_axes, logical_axes
from stepcoder_jax.placement import shard_params, shard_rows
from stepcoder_jax.sharding import make_mesh

sizes = dict(zip(("data", "fsdp", "tensor"), map(int, sys.argv[1].split(",")), strict=True))
mesh = make_mesh(MeshConfig(**sizes))
axes = critic_logical_axes(CONFIG)
for name in ("shared", "grpo"):
    learner = VARIANTS[name]
    batch = batch_of(rollouts(), learner)
    expected, of_one, _ = update(fresh(learner), batch, learner=learner)
    policy, critic, _ = models(learner)
    with jax.set_mesh(mesh):
        state = init_state(
            learner,
            shard_params(policy, logical_axes(CONFIG), mesh),
            shard_params(critic, {part: axes[part] for part in critic}, mesh),
        )
        found, of_eight, _ = update(state, shard_rows(batch, mesh), learner=learner)
    start, one, eight = (
        jnp.concatenate([jax.device_get(x).ravel() for x in jax.tree.leaves((s.policy, s.critic))])
        for s in (fresh(learner), expected, found)
    )
    gradient = (one - start) / STEP
    assert jnp.linalg.norm(one - eight) / STEP <= 1e-5 * jnp.linalg.norm(gradient), name
    assert abs(of_one.policy_loss - of_eight.policy_loss) <= 1e-5 * abs(of_one.policy_loss), name
    assert bool(of_eight.policy_is_finite)
    split = [x for x in jax.tree.leaves(found.policy) if not x.sharding.is_fully_replicated]
    assert split or sizes["data"] == 8, "no parameter is split over the mesh"
