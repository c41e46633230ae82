"""The branches of a program, and which of them were taken.

An arm is a piece of code that a condition decides about: what an ``if``, ``elif``, ``else``, loop,
``case`` or ``except`` leads to, both values of a conditional expression, the later operands of
``and`` and ``or``. Where an ``if`` has no ``else``, ``explicit`` gives it one, so that not taking
it can be seen too.
"""

import ast
from collections.abc import Iterator, Sequence

from stepcoder_jax.source_text import code_point, line_starts, parse

Span = tuple[int, int]


def explicit(source: str) -> str:
    """The same program with an ``else: pass`` where there is none; itself if it cannot be read."""
    try:
        tree = parse(source)
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and not node.orelse:
                node.orelse = [ast.Pass()]
        return ast.unparse(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return source


def arms(source: str) -> tuple[Span, ...]:
    """Half-open code points of every arm, in no order; none where the source cannot be read."""
    lines = line_starts(source)
    try:
        groups = [group for node in ast.walk(parse(source)) for group in _arms_of(node)]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    return tuple(_span(group, source, lines) for group in groups)


def taken(every: Sequence[Span], covered: Sequence[Span]) -> frozenset[int]:
    """Which of the arms were entered.

    Args:
      every: of ``arms``.
      covered: spans of the same source that ran, as the executor gives them.
    """
    return frozenset(
        index
        for index, (start, end) in enumerate(every)
        if any(first < end and start < last for first, last in covered)
    )


def _arms_of(node: ast.AST) -> Iterator[Sequence[ast.stmt] | Sequence[ast.expr]]:
    match node:
        case ast.If(body=body, orelse=orelse):
            yield body
            # An elif is an arm too: the condition before it was false.
            if orelse:
                yield orelse
        case ast.For(body=body) | ast.AsyncFor(body=body) | ast.While(body=body):
            yield body
        case ast.ExceptHandler(body=body) | ast.match_case(body=body):
            yield body
        case ast.IfExp(body=value, orelse=other):
            yield [value]
            yield [other]
        case ast.BoolOp(values=values):
            yield from ([value] for value in values[1:])


def _span(
    group: Sequence[ast.stmt] | Sequence[ast.expr], source: str, lines: Sequence[int]
) -> Span:
    first, last = group[0], group[-1]
    end_line, end_column = last.end_lineno or last.lineno, last.end_col_offset or 0
    return (
        code_point(source, lines, first.lineno, first.col_offset),
        code_point(source, lines, end_line, end_column),
    )
