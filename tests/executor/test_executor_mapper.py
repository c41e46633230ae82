"""The process that maps instructions to characters: on every rung, killed, and overstrained."""

import os
import signal

import pytest
from process_tree import children, command_line
from stepcoder_executor import AssertionTests, IoTests, Limits, Request, Verdict

SOURCE = "def f(x):\n    if x:\n        return 'é'\n    return 2\n"
EXECUTED = ((0, 20), (39, 52))


def request(index, source=SOURCE, inputs=((0,),), outputs=(2,), **fields):
    tests = IoTests(fn_name="f", inputs=inputs, outputs=outputs)
    return Request(id=str(index), source=source, tests=tests, coverage=True, **fields)


def mapper_of(pid):
    """The number of the mapper among the descendants of a process, the outermost if several."""
    found = children(pid)
    for child in found:
        if b"main('mapper'" in command_line(child):
            return child
    return next(filter(None, map(mapper_of, found)), None)


@pytest.mark.parametrize("rung", ["full", "landlock", "seccomp", "none"])
def test_it_works_on_every_rung(only_rung, rung):
    with only_rung(rung) as client:
        found = list(client.run(request(index) for index in range(3)))
    assert [result.covered for result in found] == [EXECUTED] * 3


def test_a_mapper_that_is_killed_is_replaced_and_nothing_is_lost(only_rung):
    with only_rung("none") as client:
        client.submit(request("first")).result()
        sources = [f"{SOURCE}# {index}\n" for index in range(200)]
        futures = [client.submit(request(k, source)) for k, source in enumerate(sources)]
        os.kill(mapper_of(client._process.pid), signal.SIGKILL)
        found = [future.result(timeout=60) for future in futures]
        assert {result.verdict for result in found} == {Verdict.PASSED}
        assert [result.covered for result in found] == [
            (EXECUTED[0], (39, len(source))) for source in sources
        ]
        assert client.metrics()["slot_restarts"] >= 1


def test_a_deeply_nested_expression_is_mapped(client):
    deep = f"def f(x):\n    y = {'(' * 150}x{')' * 150}\n    return y + 2\n"
    result = client.submit(request("deep", deep)).result()
    assert (result.verdict, result.covered) == (Verdict.PASSED, ((0, len(deep)),))


LINES = {
    "assignments": ("v{k} = {k}\n", 40_000),
    # The compiler gives these instructions at places that are no node's own.
    "generic classes": ("class C{k}[T]: pass\n", 2000),
}


@pytest.mark.parametrize("name", LINES)
def test_a_long_program_is_mapped_in_full(client, name):
    line, n = LINES[name]
    source = "def f(x):\n    return 2\n" + "".join(line.format(k=k) for k in range(n))
    limits = Limits(wall_s=20)
    result = client.submit(request("long", source, limits=limits)).result()
    assert (result.verdict, result.detail) == (Verdict.PASSED, "")
    assert result.covered[-1][1] == len(source)


def test_a_program_that_no_mapper_can_read_in_time_keeps_its_verdict(only_rung):
    with only_rung("none") as client:
        client.submit(request("first")).result()
        os.kill(mapper_of(client._process.pid), signal.SIGSTOP)
        stuck = client.submit(request("stuck", f"{SOURCE}# stuck\n")).result()
        assert (stuck.verdict, stuck.covered) == (Verdict.PASSED, ())
        assert stuck.detail == "no coverage: it was silent for too long"
        assert client.submit(request("next")).result().covered == EXECUTED


def test_what_several_processes_of_a_program_executed_is_put_together(client):
    # The second test fails where the first has left its mark, and is run again without it.
    source = "seen = []\ndef f(x):\n    import sys\n    if x:\n        return len(sys.argv)\n"
    source += "    sys.argv.append('')\n    return 2\n"
    found = client.submit(request("two", source, inputs=((0,), (1,)), outputs=(2, 1))).result()
    assert (found.verdict, found.covered) == (Verdict.PASSED, ((0, len(source)),))


def test_a_cancelled_program_leaves_the_mapper_to_the_others(client):
    futures = [client.submit(request(k, f"{SOURCE}# c{k}\n")) for k in range(60)]
    for future in futures[::2]:
        future.cancel()
    found = [future.result(timeout=60) for future in futures[1::2]]
    assert all(result.covered[0] == EXECUTED[0] for result in found)


def test_a_compile_error_and_an_assertion_that_lies_have_their_coverage(client):
    broken = client.submit(request("broken", "def f(:\n")).result()
    assert (broken.verdict, broken.covered) == (Verdict.COMPILE_ERROR, ())
    tests = AssertionTests(assertions=("assert f(0) == 2",))
    asserted = Request(id="a", source=SOURCE, tests=tests, coverage=True)
    result = client.submit(asserted).result()
    assert (result.verdict, result.covered) == (Verdict.PASSED, EXECUTED)
