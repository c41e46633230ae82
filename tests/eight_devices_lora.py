"""As ``eight_devices.py``, with adapters: the step, and that merged matrices stay split as W is."""

import sys

import jax
import numpy as np
from test_learner import rollouts, train_batch
from test_lora_learner import ADAPTED, BASE, CONFIG, LORA, trained

from stepcoder_jax.config import MeshConfig
from stepcoder_jax.learner import init_state, update
from stepcoder_jax.model.init import logical_axes
from stepcoder_jax.model.lora import adapter_axes, critic_adapter_axes, merge
from stepcoder_jax.placement import shard_params, shard_rows
from stepcoder_jax.sharding import make_mesh

sizes = dict(zip(("data", "fsdp", "tensor"), map(int, sys.argv[1].split(",")), strict=True))
mesh = make_mesh(MeshConfig(**sizes))
batch = train_batch(rollouts())
expected, *_ = update(init_state(ADAPTED, *trained()), batch, learner=ADAPTED, frozen=BASE)
policy, critic = trained()
with jax.set_mesh(mesh):
    base = shard_params(BASE, logical_axes(CONFIG), mesh)
    policy = shard_params(policy, adapter_axes(CONFIG, LORA), mesh)
    critic = shard_params(critic, critic_adapter_axes(CONFIG, LORA), mesh)
    merged = merge(base, policy, LORA)
    state = init_state(ADAPTED, policy, critic)
    found, *_ = update(state, shard_rows(batch, mesh), learner=ADAPTED, frozen=base)
pairs = (jax.tree.leaves((s.policy, s.critic)) for s in (found, expected))
for a, b in zip(*pairs, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
for a, b in zip(jax.tree.leaves(merged), jax.tree.leaves(base), strict=True):
    assert a.sharding.is_equivalent_to(b.sharding, a.ndim), (a.sharding, b.sharding)
split = [x for x in jax.tree.leaves(found.policy) if not x.sharding.is_fully_replicated]
assert split or sizes["data"] == 8, "no adapter is split over the mesh"
