"""Maps instructions to characters: which part of the source each instruction speaks for."""

import ast
import types
from array import array
from collections.abc import Iterator
from opcode import opmap
from typing import NamedTuple

from slot.nesting import Marks
from slot.painter import Painter
from slot.source_text import SourceText
from slot.syntax import Position, extent
from slot.tracing import all_codes

_JUMPING = (ast.Pass, ast.Continue, ast.Break)
_NOWHERE: Position = (None, None, None, None)
_BRANCHES = frozenset(op for name, op in opmap.items() if name.startswith("POP_JUMP_"))
_JUMPS = frozenset(op for name, op in opmap.items() if name.startswith("JUMP_"))


class SpanMap(NamedTuple):
    """Owners by character and by instruction.

    starts, owners: segment k goes from ``starts[k]`` to ``starts[k + 1]`` and is of ``owners[k]``;
        owner 0 is never executed.
    units: for each code unit of the program, then of what is nested in it, the owners it marks.
    """

    starts: "array[int]"
    owners: "array[int]"
    units: list[Marks]


def map_spans(source: str, tree: ast.Module, code: types.CodeType) -> SpanMap:
    """The span map of a program, from its text, its syntax tree and its compiled code."""
    leaving = {extent(node) for node in _jumping(source, tree)}
    codes = list(all_codes(code))
    places = [_places(one, leaving) for one in codes]
    painter = Painter(source, {place for some in places for place in some})
    painter.paint(tree)
    marks = {place: painter.marks(place) for some in places for place in some}
    units: list[Marks] = []
    for one, some in zip(codes, places, strict=True):
        table = [marks[place] for place in some]
        painter.mark_entry(one, table)
        units += table
    starts, owners = painter.segments()
    return SpanMap(starts=starts, owners=owners, units=units)


def map_lines(source: str, code: types.CodeType) -> SpanMap:
    """The span map by whole lines, for a program too deeply nested for :func:`map_spans`."""
    starts = array("I", SourceText(source).line_starts)
    owners = array("I", range(1, len(starts) + 1))
    units = [(line,) if line else () for one in all_codes(code) for line, *_ in one.co_positions()]
    return SpanMap(starts=starts, owners=owners, units=units)


def _jumping(source: str, tree: ast.Module) -> Iterator[ast.AST]:
    """Nodes that may consist of nothing but a jump."""
    if not any(word in source for word in ("continue", "break", "pass", "while")):
        return
    for node in ast.walk(tree):
        if isinstance(node, _JUMPING):
            yield node
        elif isinstance(node, ast.While) and isinstance(node.test, ast.Constant):
            yield node.test


def _places(code: types.CodeType, leaving: set[Position]) -> list[Position]:
    """Where each code unit comes from. Jumps come from nowhere: a compiler gives them places that
    did not run; but a ``continue`` may consist of nothing else.
    """
    return [
        _NOWHERE if unit in _BRANCHES or (unit in _JUMPS and place not in leaving) else place
        for place, unit in zip(code.co_positions(), code.co_code[::2], strict=True)
    ]
