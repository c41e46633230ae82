"""Run by ``test_source.py`` with eight simulated devices: sharded reading equals whole reading.

    python eight_device_weights.py DATA,FSDP,TENSOR FILE…

A difference, a parameter elsewhere than asked for, or a byte read twice ends with an exception.
"""

import sys

import jax
import numpy as np

from stepcoder_jax.config import MeshConfig
from stepcoder_jax.model.load import load_model, open_model
from stepcoder_jax.model.source import TensorSource, read_params
from stepcoder_jax.model.weights import Index
from stepcoder_jax.sharding import make_mesh
from stepcoder_jax.starting_model import placement


class Counted:
    """A source that counts the elements read."""

    def __init__(self, source: TensorSource) -> None:
        self.path, self.tensors, self.dtypes = source.path, source.tensors, source.dtypes
        self.source, self.elements = source, 0

    def read(self, name: str, index: Index) -> np.ndarray:
        block = self.source.read(name, index)
        self.elements += block.size
        return block


sizes = dict(zip(("data", "fsdp", "tensor"), map(int, sys.argv[1].split(",")), strict=True))
place = placement(make_mesh(MeshConfig(**sizes)))
for path in sys.argv[2:]:
    whole = load_model(path).params
    with open_model(path) as stored:
        counted = Counted(stored.source)
        found = read_params(stored.config, counted, place)
        shardings = place(stored.config)
    jax.tree.map(np.testing.assert_array_equal, found, whole)
    assert jax.tree.map(lambda x: x.sharding, found) == shardings
    # Devices that hold the same part get it from one reading.
    assert counted.elements == sum(x.size for x in jax.tree.leaves(whole))
    assert not found["layers"]["mlp"]["gate"]["kernel"].sharding.is_fully_replicated
