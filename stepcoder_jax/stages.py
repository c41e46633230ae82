"""The stages of a problem: how much of its canonical solution each gives away.

A problem with E conditional statements has `C = ceil(sqrt(E))` stages. Stage c gives away the
solution up to statement `s c`, with stride `s = ceil(E / C)`; stage 0 gives nothing away.

Source: StepCoder (arXiv 2402.01391), algorithm 1.
"""

import ast
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import assert_never

import numpy as np

from stepcoder_jax.config import CurriculumConfig
from stepcoder_jax.source_text import code_point, line_starts, parse


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A conditional statement of a solution: its keyword and its half-open code points."""

    keyword: str
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class ProblemCurriculum:
    """A problem's stages.

    Attributes:
        problem_id: whose they are.
        prefixes: by stage, what of the canonical solution is given away; `prefixes[0]` is empty,
            but with a fixed fraction, where it is all there is.
        statements: E, conditional statements of the solution; 0 where it could not be read.
        parse_error: why the solution could not be read, in which case stage 0 is the only one.
    """

    problem_id: str
    prefixes: tuple[str, ...]
    statements: int
    parse_error: str | None


def conditional_statements(source: str, keywords: Sequence[str]) -> tuple[Statement, ...]:
    """Conditional statements of a program, nested ones and `async for` too, in source order.

    Args:
        source: Python.
        keywords: which to list, of "if", "elif", "for", "while", "match".

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: what `ast.parse` raises.
    """
    lines = line_starts(source)
    found = [_statement(node, source, lines) for node in ast.walk(parse(source))]
    wanted = [each for each in found if each is not None and each.keyword in keywords]
    return tuple(sorted(wanted, key=lambda statement: statement.start))


def stage_count(statements: int) -> int:
    """`C = ceil(sqrt(E))`, exact for any size; 1 for E = 0."""
    return math.isqrt(max(statements - 1, 0)) + 1


def stage_starts(statements: int) -> tuple[int, ...]:
    """Index `s c` of the statement that stage c = 1 .. C - 1 starts at; always below E."""
    stages = stage_count(statements)
    stride = math.ceil(statements / stages)
    return tuple(stride * stage for stage in range(1, stages))


def prefix_before(source: str, statement: Statement) -> str:
    """Everything before the line that a statement starts on.

    The cut is a line boundary, so the response writes the indentation of its first line itself. A
    compound statement starts its line: only lines of a lone backslash can come before it there.
    """
    starts = line_starts(source)
    line = int(np.searchsorted(starts, statement.start, side="right")) - 1
    while line > 0 and source[starts[line - 1] : starts[line]].strip() == "\\":
        line -= 1
    return source[: starts[line]]


def fixed_prefix(source: str, fraction: float) -> str:
    """The first `floor(fraction * lines)` lines of a program, or fewer: a statement must follow.

    The cut is moved back to a line that a statement begins on, a decorated one with its first
    decorator: never within a string, brackets or a continued line.

    Args:
        source: Python.
        fraction: in [0, 1).

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: what `ast.parse` raises.
    """
    starts = line_starts(source)
    lines = len(starts) - (starts[-1] == len(source))
    bound = starts[math.floor(fraction * lines)]
    places = [_first_place(node) for node in ast.walk(parse(source)) if isinstance(node, ast.stmt)]
    offsets = [code_point(source, starts, line, column) for line, column in places]
    heads = [
        head
        for offset, (line, _) in zip(offsets, places, strict=True)
        if (head := starts[line - 1]) <= bound and not source[head:offset].strip()
    ]
    return source[: max(heads, default=0)]


def plan_stages(
    problem_id: str, canonical_solution: str | None, config: CurriculumConfig
) -> ProblemCurriculum:
    """Find a problem's stages.

    Args:
        problem_id: whose they are.
        canonical_solution: None where there is none, which leaves stage 0.
        config: `enabled`, `statements`, and `start` with its `fraction`.

    Returns:
        Its stages. A solution that does not parse leaves stage 0 and says why in `parse_error`:
        count these for the user, since solutions for another Python may be many.
    """
    nothing = ProblemCurriculum(
        problem_id=problem_id, prefixes=("",), statements=0, parse_error=None
    )
    if canonical_solution is None:
        return nothing
    try:
        statements = conditional_statements(canonical_solution, config.statements)
        prefixes = _prefixes(canonical_solution, statements, config)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return replace(nothing, parse_error=f"{type(error).__name__}: {error}")
    return replace(nothing, prefixes=prefixes, statements=len(statements))


def _prefixes(
    solution: str, statements: Sequence[Statement], config: CurriculumConfig
) -> tuple[str, ...]:
    if not config.enabled:
        return ("",)
    match config.start:
        case "fixed_fraction":
            return (fixed_prefix(solution, config.fraction),)
        case "stages":
            starts = [statements[index] for index in stage_starts(len(statements))]
            return ("", *(prefix_before(solution, start) for start in starts))
        case unknown:
            assert_never(unknown)


def _statement(node: ast.AST, source: str, lines: Sequence[int]) -> Statement | None:
    match node:
        case ast.If():
            keyword = "if"
        case ast.For() | ast.AsyncFor():
            keyword = "for"
        case ast.While():
            keyword = "while"
        case ast.Match():
            keyword = "match"
        case _:
            return None
    start = code_point(source, lines, node.lineno, node.col_offset)
    end = code_point(source, lines, node.end_lineno or node.lineno, node.end_col_offset or 0)
    is_elif = keyword == "if" and source.startswith("elif", start)
    return Statement(keyword="elif" if is_elif else keyword, start=start, end=end)


def _first_place(node: ast.stmt) -> tuple[int, int]:
    """Line and column that a statement begins at; a decorated one begins with its decorators."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() if node.decorator_list:
            # The sign before a decorator is not part of its expression.
            first = node.decorator_list[0]
            return first.lineno, 0
        case _:
            return node.lineno, node.col_offset
