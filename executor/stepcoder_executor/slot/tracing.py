"""Notes which instructions ran, in memory that outlives the process.

``sys.monitoring`` calls back for each instruction of the program's own code once, the first time it
runs; the callback writes the number of the test into the shared page and turns the event off.
"""

import mmap
import struct
import sys
import types
from collections.abc import Callable, Iterator

# The page after the progress words: how many code units, then for each the test that executed it.
_COUNT = struct.Struct("<Q")
_COUNT_AT = 32
_HITS_AT = 4096
MAX_UNITS = 1 << 23
PAGE_BYTES = _HITS_AT + 2 * MAX_UNITS
_TOOL = 3


class Tracer:
    """Coverage of one program in one child."""

    def __init__(self, code: types.CodeType, page: mmap.mmap) -> None:
        self._codes = list(all_codes(code))
        self._first: dict[int, int] = {}
        n_units = 0
        for one in self._codes:
            self._first[id(one)] = n_units
            n_units += len(one.co_code) >> 1
        n_units = min(n_units, MAX_UNITS)
        _COUNT.pack_into(page, _COUNT_AT, n_units)
        page[_HITS_AT : _HITS_AT + 2 * n_units] = bytes(2 * n_units)
        self._hits = memoryview(page)[_HITS_AT:].cast("H")
        self._test = [1]

    def start(self) -> None:
        """Begin to note what runs."""
        monitoring = sys.monitoring
        instruction = monitoring.events.INSTRUCTION
        monitoring.use_tool_id(_TOOL, "coverage")
        monitoring.register_callback(_TOOL, instruction, self._callback())
        for code in self._codes:
            monitoring.set_local_events(_TOOL, code, instruction)

    def stop(self) -> None:
        """Note nothing more, and let go of the page."""
        monitoring = sys.monitoring
        for code in self._codes:
            monitoring.set_local_events(_TOOL, code, 0)
        monitoring.register_callback(_TOOL, monitoring.events.INSTRUCTION, None)
        monitoring.free_tool_id(_TOOL)
        self._hits.release()

    def begin_test(self, k: int) -> None:
        """From now on, what runs for the first time is test ``k``'s."""
        self._test[0] = min(k + 1, 0xFFFF)

    def _callback(self) -> Callable[[types.CodeType, int], object]:
        first, hits, test = self._first, self._hits, self._test
        disable = sys.monitoring.DISABLE

        def note(code: types.CodeType, offset: int) -> object:
            unit = first[id(code)] + (offset >> 1)
            if unit < MAX_UNITS and not hits[unit]:
                hits[unit] = test[0]
            return disable

        return note


def all_codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A code object and those nested in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from all_codes(constant)


def read_hits(page: mmap.mmap) -> bytes:
    """The test that executed each code unit, whatever a program did to the page."""
    (n_units,) = _COUNT.unpack_from(page, _COUNT_AT)
    return page[_HITS_AT : _HITS_AT + 2 * min(n_units, MAX_UNITS)]


def clear_hits(page: mmap.mmap) -> None:
    """Forget the program before."""
    _COUNT.pack_into(page, _COUNT_AT, 0)
