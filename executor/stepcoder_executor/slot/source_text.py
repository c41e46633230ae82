"""Places in a source text: offsets of syntax nodes, and where the lines around them begin."""

import re
from array import array
from bisect import bisect_right
from typing import Any

_LINE_END = re.compile(r"\r\n|\r|\n")


class SourceText:
    """A source with its line starts. All offsets are in code points."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.line_starts = [0, *(match.end() for match in _LINE_END.finditer(source))]
        self._is_ascii = source.isascii()
        self._columns: dict[int, array[int] | range] = {}

    def start(self, node: Any) -> int:
        """Where a node begins."""
        if self._is_ascii:
            return self.line_starts[node.lineno - 1] + node.col_offset
        return self._offset(node.lineno, node.col_offset)

    def end(self, node: Any) -> int:
        """Where a node ends."""
        if self._is_ascii:
            return self.line_starts[node.end_lineno - 1] + node.end_col_offset
        return self._offset(node.end_lineno, node.end_col_offset)

    def next_line(self, end: int) -> int:
        """The start of the line after ``end``, or ``end`` if a statement follows on this line."""
        line = bisect_right(self.line_starts, end)
        start = self.line_starts[line] if line < len(self.line_starts) else len(self.source)
        rest = self.source[end:start].strip("; \t\f\r\n")
        return end if rest and rest[0] != "#" else start

    def lead(self, start: int) -> int:
        """Where the comment and blank lines begin that lead to the statement at ``start``."""
        line = bisect_right(self.line_starts, start) - 1
        if self.source[self.line_starts[line] : start].strip():
            return start
        while line > 0 and self._is_silent(line - 1):
            line -= 1
        return self.line_starts[line]

    def _is_silent(self, line: int) -> bool:
        text = self.source[self.line_starts[line] : self.line_starts[line + 1]].strip()
        return not text or text[0] == "#"

    def _offset(self, line: int, column: int) -> int:
        columns = self._columns.get(line)
        if columns is None:
            columns = self._columns[line] = self._columns_of(line)
        return self.line_starts[line - 1] + columns[min(column, len(columns) - 1)]

    def _columns_of(self, line: int) -> "array[int] | range":
        """The character to which each byte of a line belongs: a column counts bytes of UTF-8."""
        start, *end = self.line_starts[line - 1 : line + 1]
        text = self.source[start : end[0] if end else None]
        if text.isascii():
            return range(len(text) + 1)
        columns = array("I")
        for index, character in enumerate(text):
            columns.extend((index,) * len(character.encode("utf-8", "surrogatepass")))
        columns.append(len(text))
        return columns
