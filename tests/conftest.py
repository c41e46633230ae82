"""What holds in every test: one CPU device, strict shapes, a cache of what was compiled before.

A test of several devices starts its own process with `--xla_force_host_platform_device_count`: a
mesh takes every device there is, and eight of them on two cores make all other tests slow.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

CACHE = Path(__file__).parent.parent / ".cache" / "jax"

# Read when JAX is first imported, here and in every process that a test starts.
if os.environ.get("JAX_PLATFORMS") != "cuda":  # as `JAX_PLATFORMS=cuda pytest -m gpu` asks for
    os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

# Before any test imports the package: a wrong shape or dtype at a public signature fails the test.
install_import_hook("stepcoder_jax", "signature_check.checked")


@pytest.fixture(scope="module", autouse=True)
def nothing_compiled_is_kept() -> Iterator[None]:
    """Compiled programs hold memory maps; XLA aborts once a process has the kernel's 65,530."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()
