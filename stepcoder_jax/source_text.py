"""Python source as text: its syntax tree, and where its lines begin."""

import ast
import re
import warnings

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
