"""A slot is given its next program while another runs; that one is not bound to wait there."""

import os
import signal
import time
from dataclasses import replace

from process_tree import generations, within
from stepcoder_executor import ExecutorClient, ExecutorConfig, IoTests, Limits, Request, Verdict

ECHO = IoTests(fn_name=None, inputs=("1",), outputs=("1",))
ENDLESS = Request(id="endless", source="while 1: 0", tests=ECHO, limits=Limits(wall_s=4))


def short(k):
    return Request(id=str(k), source="print(input())", tests=ECHO)


def test_nothing_waits_behind_an_endless_program_while_a_slot_is_free():
    with ExecutorClient(ExecutorConfig(slots=2)) as client:
        order = []
        futures = [client.submit(request) for request in (ENDLESS, *map(short, range(60)))]
        for future in futures:
            future.add_done_callback(lambda done: order.append(done.result().id))
        for future in futures:
            future.result(timeout=60)
    assert order[-1] == "endless"
    assert len(order) == 61


def test_what_waits_can_be_cancelled_and_does_not_run():
    with ExecutorClient(ExecutorConfig(slots=1)) as client:
        running = client.submit(ENDLESS)
        waiting = [client.submit(short(k)) for k in range(8)]
        time.sleep(0.5)
        assert all(future.cancel() for future in waiting)
        assert client.submit(short("after")).result(timeout=60).verdict is Verdict.PASSED
        assert running.result(timeout=60).verdict is Verdict.TIMEOUT
        assert client.metrics()["programs"] == 2


def test_what_waited_in_a_slot_that_is_killed_is_not_held_against_it(tmp_path):
    runs = tmp_path / "runs"
    says_that_it_runs = f"open({str(runs)!r}, 'a').write('.')\nwhile 1: 0"
    endless = replace(ENDLESS, source=says_that_it_runs, limits=Limits(wall_s=600))
    with ExecutorClient(ExecutorConfig(slots=1, isolation="none")) as client:
        first = client.submit(endless)
        waiting = [client.submit(short(k)) for k in range(8)]
        for run in (1, 2):
            # Not what the slot forks: it also forks helpers, before it is given any program.
            assert within(60, lambda run=run: runs.exists() and runs.stat().st_size == run)
            os.kill(generations(client._process.pid)[0][0], signal.SIGKILL)
        assert first.result(timeout=60).verdict is Verdict.EXECUTOR_ERROR
        assert [one.result(timeout=60).verdict for one in waiting] == [Verdict.PASSED] * 8
        assert client.metrics()["slot_restarts"] == 2
