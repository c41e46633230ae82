"""What holds in every test: the CPU, strict shapes, and a compilation cache that outlives the run."""

import os
from pathlib import Path

CACHE = Path(__file__).parent.parent / ".cache" / "jax"

# Read when JAX is first imported, here and in every process that a test starts.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")

from jaxtyping import install_import_hook

# Before any test imports the package: a wrong shape or dtype at a public signature fails the test.
install_import_hook("stepcoder_jax", "beartype.beartype")
