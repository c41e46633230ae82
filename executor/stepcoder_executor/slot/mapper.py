"""A process that says which characters of a program belong to the instructions that ran.

It reads programs and never runs one. It stands in the same sandbox as a slot, because a source can
be made to exhaust or crash a parser; done once for all programs in a process that stays warm, the
work costs a third of what it costs in each child.
"""

import ast
import functools
import gc
import resource
import sys
from array import array
from itertools import compress

from slot.child import compile_source, without_mark
from slot.messages import MAPPED, map_from_content
from slot.sandbox import enter
from slot.spans import SpanMap, map_lines, map_spans
from slot.warmup import SAMPLE
from slot.wire import frame, read_frame, write_all

_MAPPING_RECURSION = 50_000
_MAX_MEMORY_BYTES = 4 << 30
# RL asks for the same programs again and again: as many samples of a problem are alike.
_KEPT_MAPS, _LONGEST_KEPT = 512, 20_000
_OBJECTS_BETWEEN_COLLECTIONS = 100_000
_ROUNDS = 12


def prepare(control: int, rung: str) -> "Mapper":
    """A mapper on ``rung``, ready to serve. Raises what hinders it."""
    return Mapper(control, rung)


class Mapper:
    """Answers requests for spans, one after another."""

    def __init__(self, control: int, rung: str) -> None:
        self._control = control
        for _ in range(_ROUNDS):
            spans_of(SAMPLE, b"\1" * len(SAMPLE))
        self.notes = enter(rung).notes
        gc.freeze()
        # Syntax trees are many objects without a cycle among them.
        gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
        resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, _MAX_MEMORY_BYTES))

    def serve(self) -> None:
        """Answer every request until the broker has gone."""
        while True:
            try:
                content = read_frame(self._control)
            except EOFError:
                return
            source, executed = map_from_content(content)
            spans = spans_of(source.decode("utf-8", "surrogatepass"), executed)
            write_all(self._control, frame(MAPPED, spans.tobytes()))


def spans_of(source: str, executed: bytes) -> "array[int]":
    """Start and end, start and end … of the characters of ``source`` that ran.

    Args:
        source: a program that compiles.
        executed: for each code unit of the program and of what is nested in it, 1 if it ran.

    Returns:
        Half-open, sorted, disjoint spans in code points, none touching the next.
    """
    spans = (_map if len(source) <= _LONGEST_KEPT else _map.__wrapped__)(source)
    owners = set().union(*compress(spans.units, executed))
    shift = len(source) - len(without_mark(source))
    found = array("I")
    for k, owner in enumerate(spans.owners):
        if owner in owners:
            start = spans.starts[k]
            end = spans.starts[k + 1] if k + 1 < len(spans.starts) else len(source) - shift
            if found and found[-1] == start + shift:
                found[-1] = end + shift
            else:
                # What the source begins with and was compiled without goes with what follows.
                found.extend((start and start + shift, end + shift))
    return found


@functools.lru_cache(_KEPT_MAPS)
def _map(source: str) -> SpanMap:
    code, text = compile_source(source), without_mark(source)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(_MAPPING_RECURSION)
    try:
        return map_spans(text, ast.parse(text), code)
    except (RecursionError, MemoryError):
        return map_lines(text, code)
    finally:
        sys.setrecursionlimit(limit)
