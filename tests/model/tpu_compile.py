"""Run by ``test_splash.py`` where libtpu is: compiles a decoder's loss for a TPU slice not here.

On the command line: the slice, the mesh as ``data,fsdp,tensor``, and the shape of the queries
in a device's kernels. Kernels missing from what was compiled end with an exception.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.topologies import get_topology_desc
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from stepcoder_jax.logprobs import token_logprobs
from stepcoder_jax.model.apply import hidden_states
from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.model.decoder import Decoder, unembed
from stepcoder_jax.model.init import init_policy, logical_axes
from stepcoder_jax.sharding import MESH_AXES, partition_spec

KERNELS = {"splash_mha_fwd_residuals", "splash_mha_dq_no_residuals", "splash_mha_dkv_no_residuals"}

config = ModelConfig(
    vocab_size=512,
    hidden_size=256,
    intermediate_size=512,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=64,
    max_position_embeddings=1024,
)
decoder = Decoder(config=config, dtype=jnp.bfloat16, attention="splash", remat="layer")


def loss(params: dict, tokens: jax.Array) -> jax.Array:
    hidden = hidden_states(decoder, params, tokens)
    scored = token_logprobs(hidden, lambda x: unembed(params, x), tokens, 1.0, 2048, False)
    return -scored.logprobs.mean()


slice_name, sizes, part = sys.argv[1:]
devices = np.array(get_topology_desc(platform="tpu", topology_name=slice_name).devices)
shape = tuple(map(int, sizes.split(",")))
mesh = Mesh(devices.reshape(shape), MESH_AXES, axis_types=(AxisType.Auto,) * 3)


def placed(x: jax.ShapeDtypeStruct, axes: PartitionSpec) -> jax.ShapeDtypeStruct:
    sharding = NamedSharding(mesh, partition_spec(tuple(axes)))
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)


params = jax.eval_shape(lambda: init_policy(jax.random.key(0), config))
params = jax.tree.map(placed, params, logical_axes(config))
tokens = placed(jax.ShapeDtypeStruct((8, 200), jnp.int32), PartitionSpec("batch"))
with jax.set_mesh(mesh):
    compiled = jax.jit(jax.value_and_grad(loss)).lower(params, tokens).compile()
calls = [line for line in compiled.as_text().splitlines() if '"tpu_custom_call"' in line]
found = {name for name in KERNELS if any(name in line for line in calls)}
assert found == KERNELS, f"of the kernels, only {found} are among {len(calls)} custom calls"
assert all(f"bf16[{part}]" in line for line in calls), "\n".join(calls)
