"""What a request may ask to be told beside verdicts: CPU seconds and outputs."""

import json

import pytest
from stepcoder_executor import (
    AssertionTests,
    IoTests,
    Limits,
    ProtocolError,
    Request,
    parse_request,
    parse_result,
    request_to_json,
    result_to_json,
)

HALVES = IoTests(fn_name="f", inputs=((1,), (0,), (4,)), outputs=(0, 0, 0))
SOURCE = "def f(n):\n    return [8 // n, 'a']"


def ask(client, source, tests, report):
    request = Request(id="r", source=source, tests=tests, report=report, limits=Limits(wall_s=10))
    return client.submit(request).result(timeout=60)


def test_produced_runs_every_test_and_compares_nothing(client):
    result = ask(client, SOURCE, HALVES, "produced")
    assert [test.verdict for test in result.tests] == ["passed", "runtime_error", "passed"]
    assert json.loads(result.tests[0].output) == [8, "a"]
    assert result.tests[1].output is None
    assert json.loads(result.tests[2].output) == [2, "a"]


def test_produced_of_a_program_that_prints(client):
    tests = IoTests(fn_name=None, inputs=("1\n", "2\n"), outputs=("", ""))
    result = ask(client, "print(int(input()) + 1)\nprint('é')", tests, "produced")
    assert [test.output for test in result.tests] == ["2\né\n", "3\né\n"]


def test_measured_compares_as_ever(client):
    result = ask(client, SOURCE, HALVES, "measured")
    assert (result.verdict, len(result.tests)) == ("failed", 1)
    assert json.loads(result.tests[0].output) == [8, "a"]


def test_cpu_time_is_that_of_each_test(client):
    source = (
        "import time\ndef f(n):\n    for _ in range(n): pass\n    time.sleep(0.2)\n    return 0"
    )
    tests = IoTests(fn_name="f", inputs=((0,), (4_000_000,)), outputs=(0, 0))
    idle, busy = ask(client, source, tests, "measured").tests
    assert idle.cpu_s < 0.1 < 0.2 <= idle.wall_s
    assert busy.cpu_s > 3 * idle.cpu_s


def test_only_what_was_asked_for_is_reported(client):
    (line,) = result_to_json(ask(client, "def f(): return 1", ONE, "verdicts"))["tests"]
    assert set(line) == {"verdict", "wall_s", "detail"}


ONE = AssertionTests(assertions=("assert f() == 1",))


def test_a_report_survives_json(client):
    result = ask(client, "def f(): return 1", ONE, "measured")
    assert result.verdict == "passed"
    assert result.tests[0].cpu_s is not None
    assert parse_result(json.loads(json.dumps(result_to_json(result)))) == result
    request = Request(id="r", source="", tests=ONE, report="produced")
    assert parse_request(request_to_json(request)) == request


def test_an_unknown_report_is_refused():
    fields = request_to_json(Request(id="r", source="", tests=ONE)) | {"report": "all"}
    with pytest.raises(ProtocolError, match=r"report is \"all\".*produced"):
        parse_request(fields)
