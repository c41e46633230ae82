"""Python source as text: its syntax tree, and where its lines begin."""

import ast
import re
import warnings
from collections.abc import Sequence

LINE_BREAK = re.compile(r"\r\n|\r|\n")


def parse(source: str) -> ast.Module:
    """The syntax tree of a program, without a word about what Python only warns of.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: what `ast.parse` raises.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of invalid escapes, in solutions that run all the same
        return ast.parse(source)


def line_starts(source: str) -> list[int]:
    """Code point at which each line starts, with lines as Python's own tokenizer counts them."""
    return [0, *(line_break.end() for line_break in LINE_BREAK.finditer(source))]


def code_point(source: str, lines: Sequence[int], line: int, utf8_column: int) -> int:
    """Offset into `source` of a position in the syntax tree, whose columns are UTF-8 bytes.

    Args:
        lines: `line_starts(source)`.
        line: from 1.
    """
    start = lines[line - 1]
    text = source[start : lines[line]] if line < len(lines) else source[start:]
    return start + len(text.encode()[:utf8_column].decode())
