"""Where the error is: results as the executor itself gives them."""

from collections.abc import Iterator

import pytest
from stepcoder_executor import (
    AssertionTests,
    ExecutorClient,
    ExecutorConfig,
    IoTests,
    Limits,
    Request,
    Result,
    Verdict,
)
from stepcoder_executor import TestResult as Judged

from stepcoder_jax.error_place import error_span

CALL = IoTests(fn_name="f", inputs=([1],), outputs=(2,))


@pytest.fixture(scope="module")
def client() -> Iterator[ExecutorClient]:
    with ExecutorClient(ExecutorConfig(slots=1, isolation="best")) as client:
        yield client


def blamed(client: ExecutorClient, program: str, tests=CALL) -> str | None:
    """The text to blame, of a program that is run."""
    request = Request(id="0", source=program, tests=tests, limits=Limits(wall_s=1))
    span = error_span(program, client.submit(request).result())
    return None if span is None else program[span[0] : span[1]]


def test_an_exception_blames_its_innermost_line_in_the_program(client) -> None:
    program = "def g(a):\r\n    return a.é\r\ndef f(a):\r\n    return g(a)\r\n"
    assert blamed(client, program) == "    return a.é"


def test_the_line_is_known_of_every_kind_of_test(client) -> None:
    assertions = AssertionTests(assertions=("assert f(1) == 2",))
    assert blamed(client, "def f(a):\n    x\n", assertions) == "    x"
    opaque = AssertionTests(assertions=("for i in range(1):\n    assert f(i) == 2",))
    assert blamed(client, "def f(a):\n    x\n", opaque) == "    x"
    stdio = IoTests(fn_name=None, inputs=("1",), outputs=("1",))
    assert blamed(client, "a = 1\nint('(line 1)')\n", stdio) == "int('(line 1)')"


@pytest.mark.parametrize("program", ["def f(a):\n    return (a\n    b = 1\n", "f(\n"])
def test_a_syntax_error_blames_its_line_or_where_it_breaks_off_the_program(client, program) -> None:
    expected = "    return (a" if program.count("\n") > 1 else program
    assert blamed(client, program) == expected


@pytest.mark.parametrize(
    "program",
    [
        "def f(a):\n    while True: pass\n",
        "def f(a):\n    return f(a)\n",
        "def f(a):\n    return a if",
    ],
)
def test_the_whole_program_is_to_blame(client, program) -> None:
    assert blamed(client, program) == program


@pytest.mark.parametrize(
    "program",
    [
        "def f(a):\n    return a + 1\n",  # passes
        "def f(a):\n    return a\n",  # a wrong answer
        "def f(a):\n    raise RuntimeError\n",
        "import os\ndef f(a):\n    os._exit(3)\n",
        "def g(a):\n    return a\n",  # not found: no line of the program
        "def f(a):\n    x = [0] * 10**12\n",  # memory
        'def f(a):\n    """text\n    return a\n',
        "def f(a, a):\n    return a\nb = 1\n",
        "def f(a):\n        b = 1\n    return a\nc = 1\n",
    ],
)
def test_nothing_in_particular_is_to_blame(client, program) -> None:
    assert blamed(client, program) is None


@pytest.mark.parametrize("line", [0, 3, 99])
def test_a_line_that_the_program_does_not_have_is_none(line) -> None:
    test = Judged(verdict=Verdict.RUNTIME_ERROR, wall_s=0.0, detail=f"E: x (line {line})")
    result = Result(id="0", verdict=Verdict.RUNTIME_ERROR, tests=(test,), covered=None, wall_s=0.0)
    assert error_span("a\nb", result) is None


def test_the_blame_is_of_the_test_that_gave_the_verdict() -> None:
    tests = [
        Judged(verdict=verdict, wall_s=0.0, detail=f"E: x (line {line})")
        for line, verdict in enumerate([Verdict.PASSED, Verdict.RUNTIME_ERROR], start=1)
    ]
    result = Result(
        id="0", verdict=Verdict.RUNTIME_ERROR, tests=tuple(tests), covered=None, wall_s=0.0
    )
    assert error_span("a\nbc\nd", result) == (2, 4)
