"""What kind of device a computation is compiled for."""

import functools
from pathlib import Path

import jax

# What CPUs call their products of bfloat16, as Linux lists it; XLA's kernels use either.
_BFLOAT16_UNITS = {"amx_bf16", "avx512_bf16"}


def current_platform() -> str:
    """``cpu``, ``gpu`` or ``tpu``: of the current mesh, else of JAX's default devices.

    A mesh's devices may be described only: that is how one compiles ahead of time for another
    machine.
    """
    device = jax.sharding.get_abstract_mesh().abstract_device
    return jax.default_backend() if device is None else device.platform


def multiplies_bfloat16() -> bool:
    """Whether bfloat16 products are faster there than the same numbers' in float32."""
    return current_platform() != "cpu" or bool(_BFLOAT16_UNITS & cpu_flags())


@functools.cache
def cpu_flags() -> frozenset[str]:
    """What this machine's CPU can do, by the names that Linux gives; empty where it is another."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.exists() else []
    found = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return frozenset(next(found, "").split())
