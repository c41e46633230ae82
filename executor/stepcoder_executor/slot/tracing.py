"""Notes which instructions ran, in memory that outlives the process.

``sys.monitoring`` calls back for each instruction of the program's own code once, the first time it
runs; the callback writes the number of the test into the shared page and turns the event off.
"""

import ast
import mmap
import struct
import sys
import types
from array import array
from collections.abc import Callable

from slot.spans import SpanMap, all_codes, map_lines, map_spans

# The page after the progress words: how many segments and owners, then hits, then the segments.
_COUNTS = struct.Struct("<II")
_COUNTS_AT = 32
_HITS_AT = 4096
MAX_OWNERS = 1 << 19
MAX_SEGMENTS = 1 << 20
_STARTS_AT = _HITS_AT + 2 * MAX_OWNERS
_OWNERS_AT = _STARTS_AT + 4 * MAX_SEGMENTS
PAGE_BYTES = _OWNERS_AT + 4 * MAX_SEGMENTS
_TOOL = 3
_MAPPING_RECURSION = 50_000


class Tracer:
    """Coverage of one program in one child."""

    def __init__(self, source: str, code: types.CodeType, page: mmap.mmap) -> None:
        self._code = code
        self._test = [1]
        self._hits = memoryview(page)[_HITS_AT:_STARTS_AT].cast("H")
        spans = _map(source, code)
        if spans.n_owners > MAX_OWNERS or len(spans.starts) > MAX_SEGMENTS:
            spans = map_lines(source, code)
        self._tables = spans.tables
        _publish(spans, page)

    def start(self) -> None:
        """Begin to note what runs."""
        monitoring = sys.monitoring
        monitoring.use_tool_id(_TOOL, "coverage")
        monitoring.register_callback(_TOOL, monitoring.events.INSTRUCTION, self._callback())
        for code in all_codes(self._code):
            monitoring.set_local_events(_TOOL, code, monitoring.events.INSTRUCTION)

    def close(self) -> None:
        """Let go of the page."""
        self._hits.release()

    def begin_test(self, k: int) -> None:
        """From now on, what runs for the first time is test ``k``'s."""
        self._test[0] = min(k + 1, 0xFFFF)

    def _callback(self) -> "Callable[[types.CodeType, int], object]":
        tables, hits, test = self._tables, self._hits, self._test
        disable = sys.monitoring.DISABLE

        def note(code: types.CodeType, offset: int) -> object:
            for owner in tables[id(code)][offset >> 1]:
                if not hits[owner]:
                    hits[owner] = test[0]
            return disable

        return note


def read_page(page: mmap.mmap) -> list[bytes]:
    """Segment starts, their owners, and the owners' hits, whatever a program did to the page."""
    n_segments, n_owners = _COUNTS.unpack_from(page, _COUNTS_AT)
    n_segments, n_owners = min(n_segments, MAX_SEGMENTS), min(n_owners, MAX_OWNERS)
    return [
        page[_STARTS_AT : _STARTS_AT + 4 * n_segments],
        page[_OWNERS_AT : _OWNERS_AT + 4 * n_segments],
        page[_HITS_AT : _HITS_AT + 2 * n_owners],
    ]


def clear_page(page: mmap.mmap) -> None:
    """Forget the program before."""
    _COUNTS.pack_into(page, _COUNTS_AT, 0, 0)


def _map(source: str, code: types.CodeType) -> SpanMap:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(_MAPPING_RECURSION)
    try:
        return map_spans(source, ast.parse(source), code)
    except (RecursionError, MemoryError):
        return map_lines(source, code)
    finally:
        sys.setrecursionlimit(limit)


def _publish(spans: SpanMap, page: mmap.mmap) -> None:
    _write(page, _HITS_AT, array("H", bytes(2 * spans.n_owners)))
    _write(page, _STARTS_AT, spans.starts)
    _write(page, _OWNERS_AT, spans.owners)
    _COUNTS.pack_into(page, _COUNTS_AT, len(spans.starts), spans.n_owners)


def _write(page: mmap.mmap, start: int, values: "array[int]") -> None:
    data = values.tobytes()
    page[start : start + len(data)] = data
