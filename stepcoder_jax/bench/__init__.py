"""``stepcoder bench``: sampling, the update, and a whole iteration on made-up weights and data."""

from stepcoder_jax.bench.run import run_bench
from stepcoder_jax.bench.settings import BenchSettings

__all__ = ["BenchSettings", "run_bench"]
