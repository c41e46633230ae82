"""What a child is told of a request, and what stays outside: never an expected output goes in."""

import json
from typing import Any, NamedTuple

from stepcoder_executor import assertions
from stepcoder_executor.judge import text_of
from stepcoder_executor.protocol import IoTests, Request
from stepcoder_executor.slot.messages import ASSERTIONS, CALL, STDIO

_KIB = 1024
_EXPECTED_MARGIN_BYTES = 1024
_BYTES_A_CHARACTER = 4


class Brief(NamedTuple):
    """A request as its child sees it.

    mode: ``STDIO``, ``CALL`` or ``ASSERTIONS``; n_tests: how many there are.
    body: the JSON text that the child is given.
    skeletons: for each assertion what is compared outside; None where all of it runs inside.
    input_bytes: room for the longest standard input.
    output_bytes: what one test may put out.
    """

    mode: int
    n_tests: int
    body: bytes
    skeletons: tuple[assertions.Skeleton | None, ...]
    input_bytes: int
    output_bytes: int


def brief_of(request: Request) -> Brief:
    """The brief for a request.

    Raises:
        SyntaxError, ValueError, RecursionError: an assertion is not Python.
    """
    tests = request.tests
    skeletons: tuple[assertions.Skeleton | None, ...] = ()
    input_bytes = 0
    spec: dict[str, Any] = {"source": request.source}
    if not isinstance(tests, IoTests):
        mode, n_tests = ASSERTIONS, len(tests.assertions)
        skeletons = tuple(assertions.split(text, request.source) for text in tests.assertions)
        spec["setup"] = tests.setup
        spec["leaves"] = [skeleton and skeleton.leaves for skeleton in skeletons]
        spec["assertions"] = [
            "" if skeleton else text.strip()
            for text, skeleton in zip(tests.assertions, skeletons, strict=True)
        ]
    elif tests.fn_name is None:
        mode, n_tests = STDIO, len(tests.inputs)
        spec["inputs"] = [text_of(entry) for entry in tests.inputs]
        input_bytes = max(map(len, spec["inputs"])) * _BYTES_A_CHARACTER
    else:
        mode, n_tests = CALL, len(tests.inputs)
        spec |= {"fn_name": tests.fn_name, "inputs": tests.inputs}
    return Brief(
        mode=mode,
        n_tests=n_tests,
        body=json.dumps(spec).encode(),
        skeletons=skeletons,
        input_bytes=input_bytes,
        output_bytes=_output_bytes(request),
    )


def _output_bytes(request: Request) -> int:
    """The output limit, but never below what a right answer takes, rounded to a power of two."""
    limit = int(request.limits.output_kb * _KIB)
    if not isinstance(request.tests, IoTests):
        return limit
    outputs = request.tests.outputs
    together = len(json.dumps(outputs)) + _EXPECTED_MARGIN_BYTES
    if together <= limit:
        return limit
    needed = max(len(json.dumps(output)) for output in outputs) + _EXPECTED_MARGIN_BYTES
    return limit if needed <= limit else 1 << needed.bit_length()
