"""What a device can do at most, measured, and what a piece of work asks of it at least."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stepcoder_jax.bench.settings import BenchSettings
from stepcoder_jax.model.weights import policy_shapes
from stepcoder_jax.plan.chips import CHIPS, Chip

_COPIED_BYTES = 2**29


def seconds_of(work: Callable[[], Any], runs: int) -> list[float]:
    """Of one call, and of ``runs`` more; the first compiles."""
    seconds = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        jax.block_until_ready(work())
        seconds.append(time.perf_counter() - started)
    return seconds


def matmul_rate(dtype: str, repeats: int = 5) -> float:
    """Floating-point operations a second of products of two square matrices, at best."""
    size, count = (2048, 1) if jax.default_backend() == "cpu" else (8192, 10)
    x = jax.random.normal(jax.random.key(0), (size, size), dtype) / np.sqrt(size).astype(dtype)

    @jax.jit
    def products(x: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, count, lambda _, y: (y @ x).astype(dtype), x)

    return 2 * size**3 * count / min(seconds_of(lambda: products(x), repeats)[1:])


def memory_rate(repeats: int = 5) -> float:
    """Bytes a second, read and written, of a copy of half a GiB, at best."""
    count = 1 if jax.default_backend() == "cpu" else 20
    x = jnp.zeros(_COPIED_BYTES // 4, jnp.float32)

    @jax.jit
    def copies(x: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, count, lambda _, y: y + 1.0, x)

    return 2 * _COPIED_BYTES * count / min(seconds_of(lambda: copies(x), repeats)[1:])


def known_chip() -> Chip | None:
    """The accelerator that JAX computes on, if its maker's figures are in ``CHIPS``."""
    kind = jax.devices()[0].device_kind.lower()
    named = [c for c in CHIPS.values() if all(part in kind for part in c.name.split("-"))]
    return named[0] if len(named) == 1 else None


def update_flops(settings: BenchSettings) -> int:
    """Of an update: 6 × parameters × tokens, policy and critic.

    Of the output layer the tokens of responses alone; attention's own products do not count, nor
    what is computed again.
    """
    config, rows = settings.config, settings.rows_together
    table, layers = config.vocab_size * config.hidden_size, _layer_parameters(settings)
    tokens = settings.prompt_tokens + settings.response_tokens
    return 6 * rows * (2 * layers * tokens + table * settings.response_tokens)


def sampling_bytes(settings: BenchSettings, lengths: np.ndarray) -> int:
    """The least that decoding reads: all weights once a step, and each row's keys and values.

    A step is one token of as many rows as are decoded together. Reading the prompts is not counted.

    Args:
      lengths: tokens of each response.
    """
    config, size = settings.config, jnp.dtype(settings.dtype).itemsize
    weights = _layer_parameters(settings) + config.vocab_size * config.hidden_size
    steps = -(-int(lengths.sum()) // settings.rows_together)
    a_token = 2 * config.num_layers * config.num_kv_heads * config.head_dim
    seen = settings.prompt_tokens * lengths + lengths * (lengths + 1) // 2
    return size * (steps * weights + a_token * int(seen.sum()))


def _layer_parameters(settings: BenchSettings) -> int:
    """Parameters of the layers alone."""
    config = settings.config
    tables = config.vocab_size * config.hidden_size * (1 if config.tie_word_embeddings else 2)
    return sum(x.size for x in jax.tree.leaves(policy_shapes(config))) - tables
