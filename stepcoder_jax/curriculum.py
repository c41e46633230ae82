"""CCCS: where in its canonical solution each problem's generation starts, and when that moves.

A problem with E conditional statements has `C = ceil(sqrt(E))` stages. Stage c gives away the
solution up to statement `s c`, with stride `s = ceil(E / C)`; stage 0 gives nothing away. Training
starts at stage C - 1 and moves down as the policy succeeds.

Source: StepCoder (arXiv 2402.01391), algorithm 1, which prints `min(c - 1, 0)` where only `max`
can be meant.
"""

import ast
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Int, Int32

from stepcoder_jax.config import CurriculumConfig

LINE_BREAK = re.compile(r"\r\n|\r|\n")


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
        prefixes: by stage, what of the canonical solution is given away; `prefixes[0]` is empty.
        parse_error: why the solution could not be read, in which case stage 0 is the only one.
    """

    problem_id: str
    prefixes: tuple[str, ...]
    parse_error: str | None


@dataclass(frozen=True, kw_only=True)
class CurriculumState:
    """Where every problem stands; part of the checkpoint.

    Attributes:
        stage: c, from C - 1 down to 0.
        pass_rate: rho, moving average of the pass rate since the stage was entered.
        visits: groups of rollouts so far.
    """

    stage: Int32[np.ndarray, " problems"]
    pass_rate: Float32[np.ndarray, " problems"]
    visits: Int32[np.ndarray, " problems"]


def conditional_statements(source: str, keywords: Sequence[str]) -> tuple[Statement, ...]:
    """Conditional statements of a program, nested ones and `async for` too, in source order.

    Args:
        source: Python.
        keywords: which to list, of "if", "elif", "for", "while", "match".

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: what `ast.parse` raises.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of invalid escapes, in solutions that run all the same
        tree = ast.parse(source)
    lines = line_starts(source)
    found = [_statement(node, source, lines) for node in ast.walk(tree)]
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


def plan_stages(
    problem_id: str, canonical_solution: str | None, config: CurriculumConfig
) -> ProblemCurriculum:
    """Find a problem's stages.

    Args:
        problem_id: whose they are.
        canonical_solution: None where there is none, which leaves stage 0.
        config: `enabled` and `statements`.

    Returns:
        Its stages. A solution that does not parse leaves stage 0 and says why in `parse_error`:
        count these for the user, since solutions for another Python may be many.
    """
    nothing = ProblemCurriculum(problem_id=problem_id, prefixes=("",), parse_error=None)
    if canonical_solution is None or not config.enabled:
        return nothing
    try:
        statements = conditional_statements(canonical_solution, config.statements)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return replace(nothing, parse_error=f"{type(error).__name__}: {error}")
    starts = [statements[index] for index in stage_starts(len(statements))]
    prefixes = tuple(prefix_before(canonical_solution, start) for start in starts)
    return replace(nothing, prefixes=("", *prefixes))


def initial_state(problems: Sequence[ProblemCurriculum]) -> CurriculumState:
    """Every problem at its last stage, with a pass rate of 0."""
    return CurriculumState(
        stage=np.array([len(problem.prefixes) - 1 for problem in problems], np.int32),
        pass_rate=np.zeros(len(problems), np.float32),
        visits=np.zeros(len(problems), np.int32),
    )


def update(
    state: CurriculumState,
    indices: Int[np.ndarray, " groups"],
    fractions: Float32[np.ndarray, " groups"],
    config: CurriculumConfig,
) -> CurriculumState:
    """State after some groups of rollouts.

    `rho <- (1 - alpha) rho + alpha fraction`; if `rho > threshold`, `c <- max(c - 1, 0); rho <- 0`.

    Args:
        state: is left as it is.
        indices: problem of each group; a problem that comes twice moves twice, in order.
        fractions: share of the group with a passing program, in [0, 1]. Leave out groups in which
            nothing was judged.
        config: `alpha`, `threshold`.

    Raises:
        ValueError: a fraction outside [0, 1].
    """
    stage, pass_rate, visits = state.stage.copy(), state.pass_rate.copy(), state.visits.copy()
    for index, fraction in zip(indices, fractions, strict=True):
        if not 0 <= fraction <= 1:
            raise ValueError(f"pass fraction of problem {index} is {fraction}; it must be in [0,1]")
        rate = np.float32(1 - config.alpha) * pass_rate[index] + np.float32(config.alpha) * fraction
        moves = rate > config.threshold
        pass_rate[index] = 0.0 if moves else rate
        stage[index] = max(stage[index] - moves, 0)
        visits[index] += 1
    return CurriculumState(stage=stage, pass_rate=pass_rate, visits=visits)


def stage_histogram(state: CurriculumState) -> Int[np.ndarray, " stages"]:
    """Count the problems at each stage, from 0 up to the highest in use."""
    return np.bincount(state.stage, minlength=1)


def to_arrays(state: CurriculumState) -> dict[str, np.ndarray]:
    """Lay the state out for a checkpoint."""
    return {"stage": state.stage, "pass_rate": state.pass_rate, "visits": state.visits}


def from_arrays(
    arrays: Mapping[str, np.ndarray], problems: Sequence[ProblemCurriculum]
) -> CurriculumState:
    """Read back what `to_arrays` wrote.

    Raises:
        ValueError: it was saved for another number of problems.
    """
    state = CurriculumState(
        stage=np.asarray(arrays["stage"], np.int32),
        pass_rate=np.asarray(arrays["pass_rate"], np.float32),
        visits=np.asarray(arrays["visits"], np.int32),
    )
    sizes = [len(array) for array in (state.stage, state.pass_rate, state.visits)]
    if sizes != [len(problems)] * 3:
        raise ValueError(
            f"the saved curriculum has {sizes} entries (stage, pass_rate, visits) but the training"
            f" set has {len(problems)} problems: resume with the data the run began with"
        )
    return state


def line_starts(source: str) -> list[int]:
    """Code point at which each line starts, with lines as Python's own tokenizer counts them."""
    return [0, *(line_break.end() for line_break in LINE_BREAK.finditer(source))]


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
    start = _code_point(source, lines, node.lineno, node.col_offset)
    end = _code_point(source, lines, node.end_lineno or node.lineno, node.end_col_offset or 0)
    is_elif = keyword == "if" and source.startswith("elif", start)
    return Statement(keyword="elif" if is_elif else keyword, start=start, end=end)


def _code_point(source: str, lines: Sequence[int], line: int, utf8_column: int) -> int:
    """Offset into `source` of a position in the syntax tree, whose columns are UTF-8 bytes."""
    start = lines[line - 1]
    text = source[start : lines[line]] if line < len(lines) else source[start:]
    return start + len(text.encode()[:utf8_column].decode())
