"""StepCoder in JAX: reinforcement learning for code language models from test execution.

Nothing is imported here: `import stepcoder_jax` must stay cheap enough for `--help`, and a process
that only needs the records or the report must not start JAX.
"""

__version__ = "0.1.0"
