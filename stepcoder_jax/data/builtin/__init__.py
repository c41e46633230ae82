"""The built-in problem set: hand-written problems, and families that generate any number more."""

from stepcoder_jax.data.builtin.problems import builtin_problems
from stepcoder_jax.data.builtin.splits import SPLITS

__all__ = ["SPLITS", "builtin_problems"]
