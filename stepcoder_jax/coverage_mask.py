"""FGO: executed characters of a program to a mask over the tokens that wrote it.

Plain NumPy, one response at a time. Offsets are code points of the executed program, which is the
curriculum's prefix followed by the response up to the stop rule.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import assert_never

import numpy as np
from jaxtyping import Bool, Int
from stepcoder_executor import Verdict

from stepcoder_jax.config import FGOConfig
from stepcoder_jax.source_text import line_starts

type Spans = Sequence[tuple[int, int]]


def mark_executed(
    program: str,
    covered: Spans,
    token_spans: Int[np.ndarray, "R 2"],
    is_end: Bool[np.ndarray, " R"],
    verdict: Verdict,
    fgo: FGOConfig,
) -> Bool[np.ndarray, " R"]:
    """Mark the response tokens that FGO calls executed.

    Args:
        program: the text that was executed.
        covered: its executed spans, half-open, from the executor.
        token_spans: of each response token in `program`, half-open.
        is_end: tokens that end the response.
        verdict: a program that does not compile counts whole, or its -1 could never teach anything.
        fgo: `granularity`: "line" spreads what was executed over its lines.

    Source: StepCoder (arXiv 2402.01391), Fine-Grained Optimization, which works by lines.
    """
    if verdict is Verdict.COMPILE_ERROR:
        return np.ones(len(token_spans), bool)
    match fgo.granularity:
        case "expression":
            spans = covered
        case "line":
            spans = whole_lines(program, covered)
        case unknown:
            assert_never(unknown)
    return executed_tokens(program, spans, token_spans, is_end)


def executed_tokens(
    program: str,
    covered: Spans,
    token_spans: Int[np.ndarray, "R 2"],
    is_end: Bool[np.ndarray, " R"],
) -> Bool[np.ndarray, " R"]:
    r"""Mark the tokens that hold an executed character.

    A prefix `def f(a):\n` and a response that is called with a true `a`, so that `g()` never runs:

        token     ' '  'return' ' 1' ' if' ' a' ' else' ' g' '()\n' '\n'  'END' 'x'
        start     10   11       17   19    22   24      29   31     34    35    35
        end       11   17       19   22    24   29      31   34     35    35    35
        covered   no   yes      yes  yes   yes  yes     no   no     no    no    no
        is_end    no   no       no   no    no   no      no   no     no    yes   no
        executed  yes  yes      yes  yes   yes  yes     no   no     yes   yes   no

    * A token is executed if any of its characters that is not white space is covered, also when it
      straddles the end of the prefix or of the program.
    * A token of white space alone, or of nothing (the first part of a character that several tokens
      write), goes with the token that follows.
    * Tokens that end the response always count: stopping is a decision of the policy's, and the
      tests judged where it stopped.
    * Tokens behind the end of the program took no part and never count.

    Args:
        program: the executed text.
        covered: its executed spans, half-open; parts outside of it are ignored.
        token_spans: of each response token, half-open, ascending.
        is_end: tokens that end the response: the end token, or those of a stop string.
    """
    is_ink = _is_ink(program)
    ink = np.append(0, np.cumsum(is_ink))
    covered_ink = np.append(0, np.cumsum(is_ink & _mark(covered, len(program))))
    starts, ends = np.clip(token_spans, 0, len(program)).reshape(-1, 2).T
    is_blank = (ink[ends] == ink[starts]) & (token_spans[:, 0] < len(program))
    executed = is_end | (covered_ink[ends] > covered_ink[starts])
    return _take_from_next(executed, is_blank & ~is_end)


def whole_lines(program: str, covered: Spans) -> list[tuple[int, int]]:
    """List the lines, with their breaks, on which any character but white space is covered."""
    hit = _is_ink(program) & _mark(covered, len(program))
    bounds = pairwise([*line_starts(program), len(program)])
    return [(start, end) for start, end in bounds if hit[start:end].any()]


def mark_trained(
    executed: Bool[np.ndarray, " R"],
    is_end: Bool[np.ndarray, " R"],
    fgo: FGOConfig,
    rng: np.random.Generator,
) -> Bool[np.ndarray, " R"]:
    """Mark the response tokens that the policy loss counts.

    Args:
        executed: from `mark_executed`.
        is_end: tokens that end the response.
        fgo: `mask`: "executed" is FGO; "all" is plain PPO; "random_same_sparsity", the control,
            counts as many tokens of the row as "executed" does, whichever they are, but for
            those that end the response: they count in both.
        rng: draws the control.
    """
    match fgo.mask:
        case "executed":
            return executed
        case "all":
            return np.ones_like(executed)
        case "random_same_sparsity":
            marked = executed.copy()
            marked[~is_end] = rng.permutation(executed[~is_end])
            return marked
        case unknown:
            assert_never(unknown)


def _is_ink(program: str) -> Bool[np.ndarray, " length"]:
    return np.array([not character.isspace() for character in program], bool)


def _mark(spans: Spans, length: int) -> Bool[np.ndarray, " length"]:
    marked = np.zeros(length, bool)
    for start, end in spans:
        marked[max(start, 0) : max(end, 0)] = True
    return marked


def _take_from_next(
    values: Bool[np.ndarray, " R"], is_blank: Bool[np.ndarray, " R"]
) -> Bool[np.ndarray, " R"]:
    """Give each blank position the value of the next that is not; False where none follows."""
    count = len(values)
    sources = np.where(is_blank, count, np.arange(count))
    nearest = np.minimum.accumulate(sources[::-1])[::-1]
    return np.append(values, False)[nearest]
