"""Memory that compiling took: the C library keeps it, hundreds of megabytes, unless it is asked."""

import ctypes
import functools
import sys
from typing import Any

import jax

_COMPILED = "/jax/core/compile/backend_compile_duration"
# Of programs that took less there is nothing to speak of, and asking takes milliseconds.
_LEAST_S = 0.5


@functools.cache
def return_compilers_memory() -> None:
    """From now on, has memory returned to the system after each program that took long to compile.

    For Linux with glibc; elsewhere it does nothing. Asked for again, it does nothing more.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is None:
        return

    def returned(event: str, duration_secs: float, **kwargs: Any) -> None:
        if event == _COMPILED and duration_secs >= _LEAST_S:
            trim(0)

    jax.monitoring.register_event_duration_secs_listener(returned)
