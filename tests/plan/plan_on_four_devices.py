"""Run by ``test_plan.py`` with four simulated devices: the plan against what the trainer does.

The mesh comes as ``data,fsdp,tensor`` on the command line; a difference ends with an exception.
"""

import sys

import jax
import jax.numpy as jnp
from plan_recipes import MODEL, recipe

from stepcoder_jax.learner import first_critic, init_state
from stepcoder_jax.model.init import critic_logical_axes, init_policy, logical_axes
from stepcoder_jax.placement import shard_params
from stepcoder_jax.plan.blueprint import Blueprint
from stepcoder_jax.plan.collectives import collectives
from stepcoder_jax.plan.compiled import compile_program
from stepcoder_jax.plan.hlo import parse
from stepcoder_jax.plan.memory import device_bytes
from stepcoder_jax.plan.outlook import on_mesh
from stepcoder_jax.plan.products import compiled_products, traced_products
from stepcoder_jax.plan.programs import updating
from stepcoder_jax.sharding import MESH_AXES, make_mesh

sizes = map(int, sys.argv[1].split(","))
config = recipe(**dict(zip(MESH_AXES, sizes, strict=True)))
mesh = make_mesh(config.mesh)
plan = Blueprint(config=config, model=MODEL, mesh=mesh)
with on_mesh(plan):
    policy = shard_params(init_policy(jax.random.key(0), MODEL), logical_axes(MODEL), mesh)
    critic = first_critic("separate", policy, MODEL)
    critic = shard_params(critic, critic_logical_axes(MODEL), mesh)
    state = init_state(plan.learner, policy, critic)
    for planned, real in zip(jax.tree.leaves(plan.state), jax.tree.leaves(state), strict=True):
        assert (planned.shape, planned.dtype) == (real.shape, real.dtype)
        # Numbers are put anywhere at first.
        assert jnp.ndim(real) == 0 or planned.sharding.is_equivalent_to(real.sharding, real.ndim)

    program = updating(plan)
    compiled = compile_program(program)
    traced = program.function.trace(*program.arguments, **program.static, **program.arrays)

given = compiled.memory_analysis().argument_size_in_bytes
unread = device_bytes(program.arguments) - given
# The program does not read the log-probabilities of the reference: its KL is in the rewards.
assert unread == device_bytes(program.arguments[1].ref_logprobs), unread
module = parse(compiled.as_text())
asked = traced_products(traced.jaxpr.jaxpr, mesh.size).flops
done = compiled_products(module) * mesh.size
if mesh.shape["data"] == 4:
    # Split over rows alone, nothing is computed twice, and each gradient travels whole.
    assert abs(done / asked - 1) < 0.01, done / asked
    parameters = sum(x.size for x in jax.tree.leaves((plan.policy, plan.critic)))
    sent = sum(c.total_bytes for c in collectives(module, mesh.size) if c.kind == "all-reduce")
    # The tied matrix has two gradients: as the embedding and as the output layer.
    parameters += MODEL.vocab_size * MODEL.hidden_size
    assert abs(sent / (4 * parameters) - 1) < 0.001, (sent, parameters)
else:
    assert any(c.group == 4 for c in collectives(module, mesh.size))
