"""Few rows times a large matrix on a CPU, by a kernel in C++ in place of XLA's.

``few_rows.cc`` says why it is faster, and ``docs/generation.md`` by how much. It is compiled where
it runs, once, and called through XLA's foreign function interface.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import jaxlib
from jaxtyping import Array, Float

from stepcoder_jax.cache_dir import cache_dir
from stepcoder_jax.config import ConfigError
from stepcoder_jax.model.platform import cpu_flags, current_platform
from stepcoder_jax.shared_library import NoLibraryError, shared_library

Products = Literal["xla", "cpp"]

PRODUCTS = ("auto", "xla", "cpp")

_TARGET = "stepcoder_few_rows"
_SOURCE = Path(__file__).with_suffix(".cc")

# Where it was found to be faster than XLA's: matrices whose rows are shorter than a page, which the
# processor does not fetch ahead by itself, and not a single row.
_SHORTEST_LONG_ROW, _FEWEST, _MOST = 1024, 4, 64


def resolved_products(wanted: str) -> Products:
    """What multiplies few rows on a CPU: what ``sampling.products`` says, ``auto`` decided.

    ``auto`` is ``cpp`` where that was found to be faster and can be had: one CPU device with
    AVX-512, and a compiler; else ``xla``.

    Raises:
      ConfigError: an unknown name, or ``cpp`` where it cannot run.
    """
    if wanted not in PRODUCTS:
        raise ConfigError(f"sampling.products = {wanted!r}: one of {', '.join(PRODUCTS)}")
    if wanted == "xla" or (wanted == "auto" and not _is_worth_it()):
        return "xla"
    missing = _missing()
    if missing is not None and wanted == "cpp":
        raise ConfigError(f"sampling.products = 'cpp': {missing}; 'xla' runs anywhere")
    return "xla" if missing else "cpp"


def products_caution(wanted: str) -> str | None:
    """What is said where ``auto`` would have been ``cpp`` if that could be had."""
    missing = _missing() if wanted == "auto" and _is_worth_it() else None
    if missing is None:
        return None
    return f"CAUTION: small models generate slower (sampling.products): {missing}"


def suits(kernel: Float[Array, "N K"], rows: Float[Array, "B K"]) -> bool:
    """Whether :func:`few_rows_product` takes these, and is the faster way."""
    is_float32 = kernel.dtype == rows.dtype == jnp.float32
    is_short = kernel.shape[1] < _SHORTEST_LONG_ROW
    return is_float32 and is_short and _FEWEST <= rows.shape[0] <= _MOST


def few_rows_product(kernel: Float[Array, "N K"], rows: Float[Array, "B K"]) -> Float[Array, "N B"]:
    """Kernel · rowsᵀ in float32, on one CPU device; of any shape.

    Every sum runs over K in order: a row's result does not depend, to the last bit, on the other
    rows, on how many there are, nor on the number of threads. There is no derivative.

    Raises:
      RuntimeError: it could not be compiled.
    """
    missing = _missing()
    if missing is not None:
        raise RuntimeError(missing)
    shape = jax.ShapeDtypeStruct((kernel.shape[0], rows.shape[0]), jnp.float32)
    product: Array = jax.ffi.ffi_call(_TARGET, shape)(kernel, rows)
    return product


def _is_worth_it() -> bool:
    return current_platform() == "cpu" and jax.device_count() == 1 and "avx512f" in cpu_flags()


def _missing() -> str | None:
    """Why the kernel cannot be used here; None where it can."""
    if current_platform() != "cpu" or jax.device_count() != 1:
        return f"it is for one CPU device, here are {jax.device_count()} ({current_platform()})"
    return _unregistered()


@functools.cache
def _unregistered() -> str | None:
    """Compiles the kernel and makes it known to XLA; returns what was in the way."""
    try:
        path = shared_library(
            _SOURCE,
            include=Path(jax.ffi.include_dir()),
            folder=cache_dir() / "lib",
            kind=(jaxlib.__version__, *cpu_flags()),
        )
        library = ctypes.CDLL(str(path))
    except (NoLibraryError, OSError) as error:
        return str(error)
    jax.ffi.register_ffi_target(
        _TARGET, jax.ffi.pycapsule(library.StepcoderFewRows), platform="cpu"
    )
    return None
