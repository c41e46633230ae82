"""The records of a request and its result, and their JSON form (one object a line).

Request: ``{"id", "source", "tests", "limits"?, "coverage"?}``. Tests are either
``{"fn_name": str | null, "inputs": [...], "outputs": [...]}`` (call-based with a name,
stdin/stdout without) or ``{"assertions": [...], "setup"?: str}``.
Result: ``{"id", "verdict", "tests": [{"verdict", "wall_s", "detail"}], "covered"?, "wall_s",
"detail"?}``. Anything else raises :class:`ProtocolError`, which names the field and its value.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn

MAX_SOURCE_CHARS = 8_000_000
MAX_TESTS = 60_000


class ProtocolError(ValueError):
    """A request, or a part of one, that does not follow the contract."""


class Verdict(StrEnum):
    """What became of a test, and of a program: that of its first test that did not pass."""

    PASSED = "passed"
    FAILED = "failed"
    RUNTIME_ERROR = "runtime_error"
    COMPILE_ERROR = "compile_error"
    TIMEOUT = "timeout"
    MEMORY_EXCEEDED = "memory_exceeded"
    OUTPUT_EXCEEDED = "output_exceeded"
    EXECUTOR_ERROR = "executor_error"


@dataclass(frozen=True, kw_only=True)
class IoTests:
    """Inputs and the outputs they must give.

    ``fn_name`` set: ``inputs[k]`` is the argument list of one call, ``outputs[k]`` its value.
    ``fn_name`` None: both are text for stdin and stdout, a string or a sequence of lines.
    """

    fn_name: str | None
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class AssertionTests:
    """``assert`` statements, each a test, run after the program and then ``setup``."""

    assertions: tuple[str, ...]
    setup: str = ""


Tests = IoTests | AssertionTests


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one test may use: wall-clock seconds, MiB of memory, KiB of output."""

    wall_s: float = 3.0
    memory_mb: float = 512
    output_kb: float = 64


@dataclass(frozen=True, kw_only=True)
class Request:
    """One program to run against its tests."""

    id: str
    source: str
    tests: Tests
    limits: Limits = Limits()
    coverage: bool = False


@dataclass(frozen=True, kw_only=True)
class TestResult:
    """What one test gave. ``detail`` is for people: an exception, or what differed."""

    __test__ = False

    verdict: Verdict
    wall_s: float
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a program gave.

    ``tests`` ends at the first test that did not pass, unless all were asked for.
    ``covered``: half-open, sorted, disjoint spans of code points of the source; None if not asked.
    """

    id: str
    verdict: Verdict
    tests: tuple[TestResult, ...]
    covered: tuple[tuple[int, int], ...] | None
    wall_s: float
    detail: str = ""


def parse_tests(obj: Any) -> Tests:
    """The tests in ``obj``, the ``tests`` field of a request or of a problem."""
    fields = _mapping(obj, "tests")
    if "assertions" in fields:
        _no_other_keys(fields, "tests", ("assertions", "setup"))
        assertions = _nonempty_list(fields, "assertions")
        for k, text in enumerate(assertions):
            _typed(text, f"tests.assertions[{k}]", str, "a string")
        setup = _typed(fields.get("setup") or "", "tests.setup", str, "a string")
        return AssertionTests(assertions=assertions, setup=setup)
    _no_other_keys(fields, "tests", ("fn_name", "inputs", "outputs"))
    inputs, outputs = _nonempty_list(fields, "inputs"), _nonempty_list(fields, "outputs")
    if len(inputs) != len(outputs):
        _refuse("tests.outputs", len(outputs), f"as many entries as tests.inputs, {len(inputs)}")
    fn_name = fields.get("fn_name")
    if fn_name is None:
        _check_texts("inputs", inputs)
        _check_texts("outputs", outputs)
    else:
        _typed(fn_name, "tests.fn_name", str, "a function's name or null")
        if not fn_name.isidentifier():
            _refuse("tests.fn_name", fn_name, "a Python identifier or null")
        for k, arguments in enumerate(inputs):
            _typed(arguments, f"tests.inputs[{k}]", list | tuple, "the list of arguments")
    return IoTests(fn_name=fn_name, inputs=inputs, outputs=outputs)


def tests_to_json(tests: Tests) -> dict[str, Any]:
    """The inverse of :func:`parse_tests`."""
    match tests:
        case IoTests():
            return {
                "fn_name": tests.fn_name,
                "inputs": list(tests.inputs),
                "outputs": list(tests.outputs),
            }
        case AssertionTests():
            return {"assertions": list(tests.assertions), "setup": tests.setup}


def parse_request(obj: Any) -> Request:
    """The request in ``obj``, one decoded line.

    Raises:
        ProtocolError: a field is missing, unknown, of the wrong type or out of range.
    """
    fields = _mapping(obj, "request")
    _no_other_keys(fields, "request", ("id", "source", "tests", "limits", "coverage"))
    source = _typed(_required(fields, "source"), "source", str, "the program's text")
    if len(source) > MAX_SOURCE_CHARS:
        _refuse("source", f"{len(source)} characters", f"at most {MAX_SOURCE_CHARS} characters")
    return Request(
        id=_typed(_required(fields, "id"), "id", str, "a string"),
        source=source,
        tests=parse_tests(_required(fields, "tests")),
        limits=_parse_limits(fields.get("limits")),
        coverage=_typed(fields.get("coverage", False), "coverage", bool, "true or false"),
    )


def request_to_json(request: Request) -> dict[str, Any]:
    """The inverse of :func:`parse_request`."""
    limits = request.limits
    return {
        "id": request.id,
        "source": request.source,
        "tests": tests_to_json(request.tests),
        "limits": {
            "wall_s": limits.wall_s,
            "memory_mb": limits.memory_mb,
            "output_kb": limits.output_kb,
        },
        "coverage": request.coverage,
    }


def parse_result(obj: Any) -> Result:
    """The result in ``obj``, one decoded line of output."""
    fields = _mapping(obj, "result")
    covered = fields.get("covered")
    return Result(
        id=_typed(_required(fields, "id"), "id", str, "a string"),
        verdict=_parse_verdict(_required(fields, "verdict"), "verdict"),
        tests=tuple(_parse_test_result(test) for test in fields.get("tests", ())),
        covered=None if covered is None else tuple((start, end) for start, end in covered),
        wall_s=_positive(fields.get("wall_s", 0.0), "wall_s", minimum=0.0),
        detail=_typed(fields.get("detail", ""), "detail", str, "a string"),
    )


def result_to_json(result: Result) -> dict[str, Any]:
    """The inverse of :func:`parse_result`; ``covered`` and ``detail`` only where there are any."""
    line: dict[str, Any] = {
        "id": result.id,
        "verdict": result.verdict.value,
        "tests": [
            {"verdict": test.verdict.value, "wall_s": test.wall_s, "detail": test.detail}
            for test in result.tests
        ],
        "wall_s": result.wall_s,
    }
    if result.covered is not None:
        line["covered"] = [list(span) for span in result.covered]
    if result.detail:
        line["detail"] = result.detail
    return line


def _parse_limits(obj: Any) -> Limits:
    if obj is None:
        return Limits()
    fields = _mapping(obj, "limits")
    _no_other_keys(fields, "limits", ("wall_s", "memory_mb", "output_kb"))
    default = Limits()
    return Limits(
        wall_s=_positive(fields.get("wall_s", default.wall_s), "limits.wall_s", maximum=86_400),
        memory_mb=_positive(
            fields.get("memory_mb", default.memory_mb), "limits.memory_mb", maximum=1 << 20
        ),
        output_kb=_positive(
            fields.get("output_kb", default.output_kb), "limits.output_kb", maximum=1 << 20
        ),
    )


def _parse_test_result(obj: Any) -> TestResult:
    fields = _mapping(obj, "tests[k]")
    return TestResult(
        verdict=_parse_verdict(_required(fields, "verdict"), "tests[k].verdict"),
        wall_s=_positive(fields.get("wall_s", 0.0), "tests[k].wall_s", minimum=0.0),
        detail=_typed(fields.get("detail", ""), "tests[k].detail", str, "a string"),
    )


def _parse_verdict(value: Any, field: str) -> Verdict:
    if value not in tuple(Verdict):
        _refuse(field, value, "one of " + ", ".join(Verdict))
    return Verdict(value)


def _check_texts(field: str, entries: tuple[Any, ...]) -> None:
    for k, entry in enumerate(entries):
        is_lines = isinstance(entry, list | tuple) and all(isinstance(x, str) for x in entry)
        if not (isinstance(entry, str) or is_lines):
            allowed = "a string or a list of lines, as tests.fn_name is null"
            _refuse(f"tests.{field}[{k}]", entry, allowed)


def _nonempty_list(fields: Mapping[str, Any], name: str) -> tuple[Any, ...]:
    field = f"tests.{name}"
    entries = tuple(_typed(_required(fields, name, field), field, list | tuple, "a list"))
    if not 0 < len(entries) <= MAX_TESTS:
        _refuse(field, f"{len(entries)} entries", f"1 to {MAX_TESTS} entries")
    return entries


def _mapping(obj: Any, field: str) -> Mapping[str, Any]:
    return _typed(obj, field, dict, "a JSON object")


def _required(fields: Mapping[str, Any], name: str, field: str | None = None) -> Any:
    if name not in fields:
        raise ProtocolError(f"{field or name} is missing; the fields given are {sorted(fields)}")
    return fields[name]


def _no_other_keys(fields: Mapping[str, Any], field: str, allowed: Iterable[str]) -> None:
    unknown = sorted(set(fields).difference(allowed))
    if unknown:
        _refuse(f"{field}: unknown field", unknown[0], f"only {', '.join(allowed)}")


def _typed(value: Any, field: str, kind: Any, allowed: str) -> Any:
    if not isinstance(value, kind):
        _refuse(field, value, allowed)
    return value


def _positive(value: Any, field: str, maximum: float = math.inf, minimum: float = 1e-3) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and minimum <= value <= maximum):
        _refuse(field, value, f"a number from {minimum:g} to {maximum:g}")
    return value


def _refuse(field: str, value: Any, allowed: str) -> NoReturn:
    raise ProtocolError(f"{field} is {shorten(value)}; allowed: {allowed}")


def shorten(value: Any, limit: int = 80, form: Callable[[Any], str] = json.dumps) -> str:
    """``value`` as JSON, cut to ``limit`` characters, for a message."""
    try:
        text = form(value)
    except (TypeError, ValueError, RecursionError):
        text = f"<{type(value).__name__}>"
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"
