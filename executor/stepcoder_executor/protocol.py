"""The records of a request and its result, and their JSON form (one object a line).

Request: ``{"id", "source", "tests", "limits"?, "coverage"?}``. Tests are either
``{"fn_name": str | null, "inputs": [...], "outputs": [...]}`` (call-based with a name,
stdin/stdout without) or ``{"assertions": [...], "setup"?: str}``. A request may also have
``"report"``, one of ``Report``.
Result: ``{"id", "verdict", "tests": [{"verdict", "wall_s", "detail"}], "covered"?, "wall_s",
"detail"?}``. Anything else raises :class:`ProtocolError`, which names the field and its value.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, get_args

from stepcoder_executor.fields import ProtocolError as ProtocolError
from stepcoder_executor.fields import (
    mapping,
    no_other_keys,
    number,
    refuse,
    required,
    typed,
)

MAX_SOURCE_CHARS = 8_000_000
MAX_TESTS = 60_000


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


_VERDICTS = {verdict.value: verdict for verdict in Verdict}


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
    """What one test may use.

    wall_s: wall-clock seconds.
    cpu_s: CPU seconds of all its threads; None: as many as the wall clock allows.
    memory_mb: MiB of address space; output_kb: KiB of output.
    """

    wall_s: float = 3.0
    cpu_s: float | None = None
    memory_mb: float = 512
    output_kb: float = 64


Report = Literal["verdicts", "measured", "produced"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """One program to run against its tests.

    report: ``measured``: a test also tells its CPU time and what it put out; ``produced``: the
    same, but nothing is compared: the tests' outputs say nothing, every test is run, and one that
    ran to its end is ``passed``.
    """

    id: str
    source: str
    tests: Tests
    limits: Limits = Limits()
    coverage: bool = False
    report: Report = "verdicts"


@dataclass(frozen=True, kw_only=True)
class TestResult:
    """What one test gave. ``detail`` is for people: an exception, or what differed.

    cpu_s, output: where the request asked to report them: CPU seconds of all threads, by the
    program's own clock; what was printed, or the JSON text of what was returned, of a test that
    ran to its end.
    """

    __test__ = False

    verdict: Verdict
    wall_s: float
    detail: str = ""
    cpu_s: float | None = None
    output: str | None = None


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
    fields = mapping(obj, "tests")
    if "assertions" in fields:
        no_other_keys(fields, "tests", ("assertions", "setup"))
        assertions = _nonempty_list(fields, "assertions")
        for k, text in enumerate(assertions):
            typed(text, f"tests.assertions[{k}]", str, "a string")
        setup = typed(fields.get("setup"), "tests.setup", str | None, "a string or null")
        return AssertionTests(assertions=assertions, setup=setup or "")
    no_other_keys(fields, "tests", ("fn_name", "inputs", "outputs"))
    inputs, outputs = _nonempty_list(fields, "inputs"), _nonempty_list(fields, "outputs")
    if len(inputs) != len(outputs):
        refuse("tests.outputs", len(outputs), f"as many entries as tests.inputs, {len(inputs)}")
    fn_name = fields.get("fn_name")
    if fn_name is None:
        _check_texts("inputs", inputs)
        _check_texts("outputs", outputs)
    else:
        typed(fn_name, "tests.fn_name", str, "a function's name or null")
        if not fn_name.isidentifier():
            refuse("tests.fn_name", fn_name, "a Python identifier or null")
        for k, arguments in enumerate(inputs):
            typed(arguments, f"tests.inputs[{k}]", list | tuple, "the list of arguments")
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
    fields = mapping(obj, "request")
    no_other_keys(fields, "request", ("id", "source", "tests", "limits", "coverage", "report"))
    source = typed(required(fields, "source"), "source", str, "the program's text")
    if len(source) > MAX_SOURCE_CHARS:
        refuse("source", f"{len(source)} characters", f"at most {MAX_SOURCE_CHARS} characters")
    report = fields.get("report", "verdicts")
    if report not in get_args(Report):
        refuse("report", report, "one of " + ", ".join(get_args(Report)))
    return Request(
        id=typed(required(fields, "id"), "id", str, "a string"),
        source=source,
        tests=parse_tests(required(fields, "tests")),
        limits=_parse_limits(fields.get("limits")),
        coverage=typed(fields.get("coverage", False), "coverage", bool, "true or false"),
        report=report,
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
            "cpu_s": limits.cpu_s,
            "memory_mb": limits.memory_mb,
            "output_kb": limits.output_kb,
        },
        "coverage": request.coverage,
        "report": request.report,
    }


def parse_result(obj: Any) -> Result:
    """The result in ``obj``, one decoded line of output."""
    fields = mapping(obj, "result")
    covered = fields.get("covered")
    return Result(
        id=typed(required(fields, "id"), "id", str, "a string"),
        verdict=_parse_verdict(required(fields, "verdict"), "verdict"),
        tests=tuple(_parse_test_result(test) for test in fields.get("tests", ())),
        covered=None if covered is None else tuple((start, end) for start, end in covered),
        wall_s=number(fields.get("wall_s", 0.0), "wall_s", minimum=0.0),
        detail=typed(fields.get("detail", ""), "detail", str, "a string"),
    )


def result_to_json(result: Result) -> dict[str, Any]:
    """The inverse of :func:`parse_result`; ``covered`` and ``detail`` only where there are any."""
    line: dict[str, Any] = {
        "id": result.id,
        "verdict": result.verdict.value,
        "tests": [_test_to_json(test) for test in result.tests],
        "wall_s": result.wall_s,
    }
    if result.covered is not None:
        line["covered"] = [list(span) for span in result.covered]
    if result.detail:
        line["detail"] = result.detail
    return line


def _test_to_json(test: TestResult) -> dict[str, Any]:
    line: dict[str, Any] = {
        "verdict": test.verdict.value,
        "wall_s": test.wall_s,
        "detail": test.detail,
    }
    if test.cpu_s is not None:
        line["cpu_s"] = test.cpu_s
    if test.output is not None:
        line["output"] = test.output
    return line


def _parse_limits(obj: Any) -> Limits:
    if obj is None:
        return Limits()
    fields = mapping(obj, "limits")
    no_other_keys(fields, "limits", ("wall_s", "cpu_s", "memory_mb", "output_kb"))
    default = Limits()
    cpu_s = fields.get("cpu_s")
    return Limits(
        wall_s=number(fields.get("wall_s", default.wall_s), "limits.wall_s", maximum=86_400),
        cpu_s=None if cpu_s is None else number(cpu_s, "limits.cpu_s", maximum=86_400),
        memory_mb=number(
            fields.get("memory_mb", default.memory_mb), "limits.memory_mb", maximum=1 << 20
        ),
        output_kb=number(
            fields.get("output_kb", default.output_kb), "limits.output_kb", maximum=1 << 20
        ),
    )


def _parse_test_result(obj: Any) -> TestResult:
    fields = mapping(obj, "tests[k]")
    cpu_s = fields.get("cpu_s")
    return TestResult(
        verdict=_parse_verdict(required(fields, "verdict"), "tests[k].verdict"),
        wall_s=number(fields.get("wall_s", 0.0), "tests[k].wall_s", minimum=0.0),
        detail=typed(fields.get("detail", ""), "tests[k].detail", str, "a string"),
        cpu_s=None if cpu_s is None else number(cpu_s, "tests[k].cpu_s", minimum=0.0),
        output=typed(fields.get("output"), "tests[k].output", str | None, "a string"),
    )


def _parse_verdict(value: Any, field: str) -> Verdict:
    if not isinstance(value, str) or value not in _VERDICTS:
        refuse(field, value, "one of " + ", ".join(Verdict))
    return _VERDICTS[value]


def _check_texts(field: str, entries: tuple[Any, ...]) -> None:
    for k, entry in enumerate(entries):
        is_lines = isinstance(entry, list | tuple) and all(isinstance(x, str) for x in entry)
        if not (isinstance(entry, str) or is_lines):
            allowed = "a string or a list of lines, as tests.fn_name is null"
            refuse(f"tests.{field}[{k}]", entry, allowed)


def _nonempty_list(fields: Mapping[str, Any], name: str) -> tuple[Any, ...]:
    field = f"tests.{name}"
    entries = tuple(typed(required(fields, name, field), field, list | tuple, "a list"))
    if not 0 < len(entries) <= MAX_TESTS:
        refuse(field, f"{len(entries)} entries", f"1 to {MAX_TESTS} entries")
    return entries
