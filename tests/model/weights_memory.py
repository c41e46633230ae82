"""Run by ``test_source.py``: what reading a model costs the host beside the model itself.

    python weights_memory.py FOLDER DATA,FSDP,TENSOR

Prints, in bytes: how far the peak of the process rose while the weights of FOLDER were read onto
that mesh, what all devices hold afterwards, and the most that one holds of one parameter.
"""

import resource
import sys
from pathlib import Path

import jax

from stepcoder_jax.config import MeshConfig
from stepcoder_jax.model.load import read_config
from stepcoder_jax.model.safetensors_folder import SafetensorsFolder
from stepcoder_jax.model.source import read_params
from stepcoder_jax.sharding import make_mesh
from stepcoder_jax.starting_model import placement


def peak_bytes() -> int:
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage would begin at what the process that started this one held.
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


folder, sizes = Path(sys.argv[1]), map(int, sys.argv[2].split(","))
mesh = make_mesh(MeshConfig(**dict(zip(("data", "fsdp", "tensor"), sizes, strict=True))))
config, source = read_config(folder / "config.json"), SafetensorsFolder(folder)
before = peak_bytes()
leaves = jax.tree.leaves(read_params(config, source, placement(mesh)))
after = peak_bytes()
parts = [shard.data.nbytes for leaf in leaves for shard in leaf.addressable_shards]
print(after - before, sum(parts), max(parts))
