"""Few rows times a large matrix on a CPU, by a kernel in C++ in place of XLA's.

``few_rows.cc`` says why it is faster, and ``docs/generation.md`` by how much. It is compiled where
it runs, once, and called through XLA's foreign function interface.
"""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import jaxlib
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from stepcoder_jax.cache_dir import cache_dir
from stepcoder_jax.config import ConfigError
from stepcoder_jax.model.platform import cpu_flags, current_platform
from stepcoder_jax.shared_library import shared_library

Products = Literal["xla", "cpp"]

PRODUCTS = ("auto", "xla", "cpp")

_TARGET = "stepcoder_few_rows"
_SOURCE = Path(__file__).with_suffix(".cc")

# Where it was found to be faster than XLA's: matrices whose rows are shorter than a page, which the
# processor does not fetch ahead by itself, and not a single row.
_SHORTEST_LONG_ROW, _FEWEST, _MOST = 1024, 4, 64


@dataclass(frozen=True, kw_only=True)
class ChosenProducts:
    """What multiplies few rows, and what a run says of that, if anything."""

    products: Products
    remark: str | None = None


def require_products(wanted: str) -> None:
    """Raises ConfigError for an unknown name, and for ``cpp`` where it cannot be had."""
    if wanted not in PRODUCTS:
        raise ConfigError(f"sampling.products = {wanted!r}: one of {', '.join(PRODUCTS)}")
    missing = _missing() if wanted == "cpp" else None
    if missing is not None:
        raise ConfigError(f"sampling.products = 'cpp': {missing}; 'xla' runs anywhere")


def choose_products(wanted: str, *, rows: int, inputs: int, dtype: DTypeLike) -> ChosenProducts:
    """Decides what multiplies few rows on a CPU.

    ``auto`` is ``cpp`` where that was found to be faster and can be had: on one CPU device with
    AVX-512, for such rows and models; else ``xla``.

    Args:
      wanted: ``sampling.products``.
      rows: that are decoded together.
      inputs: of most matrices: the model's width.
      dtype: of the weights as they are held.

    Raises:
      ConfigError: an unknown name, or ``cpp`` where it cannot run or would have nothing to do.
    """
    require_products(wanted)
    has_work = _suits(rows, inputs, dtype)
    if wanted == "cpp" and not has_work:
        raise ConfigError(
            f"sampling.products = 'cpp': it multiplies {_FEWEST} to {_MOST} rows of fewer than"
            f" {_SHORTEST_LONG_ROW} float32 numbers, and here are {rows} (sampling.slots) of"
            f" {inputs} in {jnp.dtype(dtype).name}; 'xla' runs anywhere"
        )
    if wanted == "xla" or (wanted == "auto" and not (has_work and _is_worth_it())):
        return ChosenProducts(products="xla")
    missing = _missing()
    if missing is not None:
        caution = f"CAUTION: generation is slower than it could be (sampling.products): {missing}"
        return ChosenProducts(products="xla", remark=caution)
    remark = f"a kernel in C++ multiplies few rows (sampling.products: {wanted})"
    return ChosenProducts(products="cpp", remark=remark)


def suits(kernel: Float[Array, "N K"], rows: Float[Array, "B K"]) -> bool:
    """Whether :func:`few_rows_product` takes these, and is the faster way."""
    return rows.dtype == kernel.dtype and _suits(rows.shape[0], kernel.shape[1], kernel.dtype)


def _suits(rows: int, inputs: int, dtype: DTypeLike) -> bool:
    is_short = inputs < _SHORTEST_LONG_ROW
    return jnp.dtype(dtype) == jnp.float32 and is_short and _FEWEST <= rows <= _MOST


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
    except RuntimeError as error:  # NoLibraryError, or there is no home to keep it in
        return str(error)
    try:
        handler = ctypes.CDLL(str(path)).StepcoderFewRows
    except (OSError, AttributeError) as error:
        return f"{error}: remove {path} to have it compiled anew"
    jax.ffi.register_ffi_target(_TARGET, jax.ffi.pycapsule(handler), platform="cpu")
    return None
