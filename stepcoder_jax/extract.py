"""The program in an answer that has text and Markdown fences around it.

One rule for training, evaluation and samples of others: the first fenced block that is labelled
Python; without one, the first fenced block; without any, the whole answer. A fence is a line that
begins with three backticks after at most three spaces, so that one in an indented docstring is not
taken for it. A block that is not closed ends where the answer ends.
"""

import re
from typing import Literal

# none: the whole text is the program; inside: the prompt has opened the fence already;
# search: the answer may hold a fenced block anywhere.
Fence = Literal["none", "inside", "search"]

OPENING = "```python\n"
_FENCE = re.compile(rb"^ {0,3}```+[ \t]*([^\s`]*)[^\n]*(?:\n|\Z)", re.MULTILINE)
_PYTHON = (b"python", b"python3", b"py")


def extract(answer: str, fence: Fence) -> str:
    """The program of an answer."""
    data = answer.encode()
    start, end = program_span(data, fence)
    return data[start:end].decode()


def program_span(answer: bytes, fence: Fence) -> tuple[int, int]:
    """Where the program begins and ends in an answer: half-open, in bytes, line break left out."""
    match fence:
        case "none":
            return 0, len(answer)
        case "inside":
            return 0, _end(answer, 0)[0]
        case "search":
            return _first_block(answer)


def _first_block(answer: bytes) -> tuple[int, int]:
    first: tuple[int, int] | None = None
    at = 0
    while (opening := _FENCE.search(answer, at)) is not None:
        end, at = _end(answer, opening.end())
        block = (min(opening.end(), end), end)
        if opening[1].lower() in _PYTHON:
            return block
        first = first or block
    return first or (0, len(answer))


def _end(answer: bytes, start: int) -> tuple[int, int]:
    """Where a block that begins at ``start`` ends, and where to look for the next."""
    closing = _FENCE.search(answer, start)
    if closing is None:
        return len(answer), len(answer)
    return max(closing.start() - 1, start), closing.end()
