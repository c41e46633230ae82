"""Where in a program its error is, as far as the executor's result says.

RLTF (arXiv 2307.04349) sorts errors by how much of the program is to blame: one line, the whole of
it, or nothing in particular. The classes are those of its published code (`program_feedback.py`),
with the words that Python 3.12 has for the same errors.
"""

import re

from stepcoder_executor import Result, TestResult, Verdict

from stepcoder_jax.source_text import line_starts

# The executor puts the line at the end, where nothing of an exception's own text follows it.
LINE = re.compile(r" ?\(line (\d+)\)(?:; trusted: false)?\Z")

# Compile errors that no one line is to blame for.
NOWHERE = (
    "inconsistent use of tabs and spaces",
    "unindent does not match any outer indentation",
    "unterminated triple-quoted",
    "duplicate argument",
    "import * only allowed at module level",
)


def error_span(program: str, result: Result) -> tuple[int, int] | None:
    """Half-open code points of a program that are to blame for what became of it.

    * A line: an exception's innermost line in the program, or that of a syntax error.
    * The whole program: a time limit, endless recursion, or a syntax error in the last line, where
      the program breaks off.
    * Nothing: a wrong answer, a `RuntimeError`, a limit of memory or output, a process that died,
      and what has no line.

    Args:
        program: the text that was executed.
        result: what the executor says of it.
    """
    culprit = next((test for test in result.tests if test.verdict is result.verdict), None)
    if culprit is None:
        return None
    match culprit.verdict:
        case Verdict.TIMEOUT:
            return 0, len(program)
        case Verdict.COMPILE_ERROR:
            return _of_compile_error(program, culprit)
        case Verdict.RUNTIME_ERROR:
            return _of_exception(program, culprit)
        case _:
            return None


def _of_compile_error(program: str, test: TestResult) -> tuple[int, int] | None:
    if any(words in test.detail for words in NOWHERE):
        return None
    span = _line_span(program, test)
    if span is not None and not program[span[1] :].strip():
        return 0, len(program)
    return span


def _of_exception(program: str, test: TestResult) -> tuple[int, int] | None:
    match test.detail.partition(":")[0]:
        case "RecursionError":
            return 0, len(program)
        case "RuntimeError":
            return None
        case _:
            return _line_span(program, test)


def _line_span(program: str, test: TestResult) -> tuple[int, int] | None:
    """The line that a detail names, without its break; None if it names none of the program's."""
    found = LINE.search(test.detail)
    starts = [*line_starts(program), len(program)]
    line = int(found[1]) if found else 0
    if not 1 <= line < len(starts):
        return None
    start, end = starts[line - 1], starts[line]
    return start, start + len(program[start:end].rstrip("\r\n"))
