"""Arranges the zygote's memory so that forks copy little of it.

After a fork, the first write to a page by either side costs a page fault and a copy, and these
were two thirds of what a short program cost. Most such writes change nothing that matters: counts
of references to objects that live for ever, and new objects in the gaps between old ones.
"""

import contextlib
import ctypes
import gc
import sysconfig
import types
from itertools import chain

# The allocator of small objects: blocks of a size stand together in pools, each after a header.
_POOL_BYTES, _POOL_HEADER_BYTES = 16384, 48
_STEP_BYTES, _LARGEST_BYTES = 16, 512
_MAX_POOLS_FILLED = 8
_LARGE_BYTES, _LEAST_BYTES = 110_000, 24
_MAX_CHUNKS_FILLED = 8192
_BYTES_HEAD = bytes(0).__sizeof__()

_kept: list[object] = []


def settle() -> None:
    """Do it, when everything has been imported and run once: what exists now is never freed."""
    gc.collect()
    _make_immortal()
    gc.collect()
    _fill_heap()
    _fill_pools()
    gc.freeze()


def _make_immortal() -> None:
    """Give objects the reference count of None, which the interpreter never changes."""
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        # There the count is kept in another way.
        return
    tracked = gc.get_objects()
    # The collector does not look into code.
    codes = [one.__code__ for one in tracked if type(one) is types.FunctionType]
    constants = chain.from_iterable(code.co_consts for code in codes)
    addresses = {*map(id, tracked), *map(id, gc.get_referents(*tracked)), *map(id, constants)}
    at = ctypes.c_uint32.from_address
    count = at(id(None)).value
    for address in addresses:
        at(address).value = count


def _fill_pools() -> None:
    """Fill the gaps of every pool, so that new objects get pages of their own, one after another.

    A block that stands right behind a header is the first of a new pool: the old ones were full.
    """
    for size in range(_STEP_BYTES, _LARGEST_BYTES + 1, _STEP_BYTES):
        for number in range(_MAX_POOLS_FILLED * _POOL_BYTES // size):
            block = _block(size, number)
            if id(block) % _POOL_BYTES == _POOL_HEADER_BYTES:
                break
            _kept.append(block)


def _block(size: int, number: int) -> object:
    """A new object of just ``size`` bytes; no kind here keeps old ones for reuse."""
    if size == _STEP_BYTES:
        return object()
    if size < _BYTES_HEAD:
        return (1 << 40) + number
    return bytes(size - _BYTES_HEAD)


def _fill_heap() -> None:
    """Fill the gaps of the C library's heap with chunks that are never freed, largest first."""
    libc = ctypes.CDLL(None)
    with contextlib.suppress(AttributeError):
        libc.gnu_get_libc_version  # noqa: B018
        malloc, free = libc.malloc, libc.free
        malloc.restype, malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
        free.argtypes = [ctypes.c_void_p]
        end = malloc(_LARGE_BYTES)
        free(end)
        n_filled, size = 0, _LARGE_BYTES
        while size > _LEAST_BYTES:
            while n_filled < _MAX_CHUNKS_FILLED and (chunk := malloc(size)) < end:
                n_filled += 1
            free(chunk)
            size -= max(size // 32, _STEP_BYTES)
