"""Run by ``test_two_processes.py``: one of several processes, each with one device and its rows.

Command line: port, process, processes, ``data,tensor`` of the mesh. Prints the losses of two steps.
"""

import json
import sys

import jax
import numpy as np

from stepcoder_jax.config import MeshConfig, OptimizerConfig
from stepcoder_jax.data.order import ProblemOrder, own_rows
from stepcoder_jax.model.config import SHAPES
from stepcoder_jax.model.decoder import Decoder
from stepcoder_jax.model.init import init_policy, logical_axes
from stepcoder_jax.placement import place_own_rows, shard_params
from stepcoder_jax.sft import SFTBatch, SFTStep, init_sft_state, sft_update
from stepcoder_jax.sharding import make_mesh

port, process, processes, sizes = sys.argv[1:]
if int(processes) > 1:
    jax.distributed.initialize(f"127.0.0.1:{port}", int(processes), int(process))
assert jax.process_count() == int(processes)
data, tensor = map(int, sizes.split(","))
mesh = make_mesh(MeshConfig(data=data, tensor=tensor))
config = SHAPES["tiny-test"]
step = SFTStep(
    policy=Decoder(config=config),
    optimizer=OptimizerConfig(name="momentum", learning_rate=1.0),
    total_steps=2,
    logprob_chunk_tokens=1000,
)
generator = np.random.default_rng(0)
tokens = generator.integers(0, config.vocab_size, (8, 12)).astype(np.int32)
is_answer = np.arange(12) >= generator.integers(1, 12, 8)[:, None]
losses = []
with jax.set_mesh(mesh):
    policy = shard_params(init_policy(jax.random.key(0), config), logical_axes(config), mesh)
    state = init_sft_state(step, policy)
    order = ProblemOrder(len(tokens), seed=0)
    own = own_rows(6, "sft.batch", process=jax.process_index(), processes=jax.process_count())
    for number in range(2):
        chosen = order.take(6 * number, 6)[own]
        fields = {"tokens": tokens[chosen], "is_answer": is_answer[chosen]}
        batch = SFTBatch(**place_own_rows(fields, 6, mesh))
        assert batch.tokens.shape == (6, tokens.shape[1])
        state, loss = sft_update(state, batch, step=step)
        losses.append(float(loss))
print(json.dumps({"own": [own.start, own.stop], "losses": losses}))
