"""A program that leaves early passes only what it has really answered."""

import pytest
from stepcoder_executor import AssertionTests, IoTests, Request

# Null is what a function returns that has not said anything.
NULLS = IoTests(fn_name="f", inputs=((0,), (1,), (2,)), outputs=(None, None, None))
SPLIT = AssertionTests(assertions=("assert f(0) is None", "assert f(1) is None"))
WHOLE = AssertionTests(assertions=("assert all([f(0) is None])", "assert any([f(1) is None])"))

EXITS = {
    "os._exit(0)": "__import__('os')._exit(0)",
    "os._exit(0) elsewhere": "__import__('threading').Thread(target=os._exit, args=(0,)).run()",
    "os._exit(3)": "__import__('os')._exit(3)",
    "sys.exit()": "__import__('sys').exit()",
    "sys.exit(0)": "__import__('sys').exit(0)",
    "exit(0)": "exit(0)",
    "quit()": "quit()",
    "SystemExit": "raise SystemExit(0)",
    "SystemExit of none": "raise SystemExit(None)",
}
TESTS = {"call": NULLS, "split assertions": SPLIT, "whole assertions": WHOLE}


def judge(client, source, tests):
    return client.submit(Request(id="r", source=source, tests=tests)).result(timeout=60)


@pytest.mark.parametrize("tests", TESTS.values(), ids=TESTS)
@pytest.mark.parametrize("name", EXITS)
def test_a_function_that_exits_is_an_error_in_whatever_test(client, name, tests):
    leave = f"import os\ndef leave():\n    {EXITS[name]}\n"
    at_once = judge(client, f"{leave}def f(x): leave()\n", tests)
    later = judge(client, f"{leave}def f(x): x and leave()\n", tests)
    loading = judge(client, f"{leave}def f(x): pass\nleave()\n", tests)
    assert [test.verdict for test in at_once.tests] == ["runtime_error"]
    assert [test.verdict for test in later.tests] == ["passed", "runtime_error"]
    assert [test.verdict for test in loading.tests] == ["runtime_error"]


def test_the_same_function_passes_when_it_stays(client):
    for tests in TESTS.values():
        assert judge(client, "def f(x): pass", tests).verdict == "passed"


SCRIPTS = {
    "said and left": ("print(1, flush=True)\nos._exit(0)", "passed"),
    "said and stopped": ("print(1)\nsys.exit(0)\nprint(2)", "passed"),
    "left with it unsaid": ("print(1)\nos._exit(0)", "failed"),
    "left too early": ("os._exit(0)\nprint(1)", "failed"),
    "stopped too early": ("sys.exit()\nprint(1)", "failed"),
    "left with a status": ("print(1, flush=True)\nos._exit(3)", "runtime_error"),
    "stopped with a status": ("print(1)\nsys.exit(3)", "runtime_error"),
    "stopped with a message": ("print(1)\nsys.exit('why')", "runtime_error"),
    "left in a thread": (
        "print(1, flush=True)\nThread(target=os._exit, args=(0,)).start()\ntime.sleep(60)",
        "passed",
    ),
    "left when all was done": (
        "import atexit\nprint(1)\natexit.register(os._exit, 4)",
        "runtime_error",
    ),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_may_end_as_it_likes_but_its_output_and_status_count(client, name):
    source, verdict = SCRIPTS[name]
    source = f"import os, sys, time\nfrom threading import Thread\n{source}"
    tests = IoTests(fn_name=None, inputs=("", ""), outputs=("1", "1"))
    assert judge(client, source, tests).verdict == verdict
