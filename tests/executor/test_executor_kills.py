"""Each process in turn is killed from outside: no result is lost, doubled or wrong, none is left.

On rung ``full`` a slot is two processes: the first of a process namespace, and its keeper.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from random import Random

import pytest
from executor_corpus import ALL, HIDDEN
from process_tree import descendants, generations, gone, has_zombies, within
from stepcoder_executor import (
    ExecutorClient,
    ExecutorConfig,
    ExecutorDied,
    IoTests,
    Limits,
    Request,
)

COMMAND = [sys.executable, "-m", "stepcoder_executor.cli", "run", "--slots", "2"]
RUNGS = [rung if rung in HIDDEN else pytest.param(rung, marks=pytest.mark.slow) for rung in ALL]
ENDLESS = Request(
    id="endless",
    source="while True: pass",
    tests=IoTests(fn_name=None, inputs=("",), outputs=("",)),
    limits=Limits(wall_s=600),
)


def napping(k):
    """A program that takes a moment, right if ``k`` is even."""
    source = f"import time\ntime.sleep(0.03)\nprint(int(input()) + {k % 2})"
    tests = IoTests(fn_name=None, inputs=(str(k),), outputs=(str(k),))
    return Request(id=str(k), source=source, tests=tests, limits=Limits(wall_s=30))


def as_line(request):
    tests = {"inputs": request.tests.inputs, "outputs": request.tests.outputs}
    limits = {"wall_s": request.limits.wall_s}
    fields = {"id": request.id, "source": request.source, "tests": tests, "limits": limits}
    return json.dumps(fields).encode() + b"\n"


def check(verdicts, count, first=0):
    """One right verdict for each of the napping programs from ``first`` to ``count``."""
    right = {str(k): "failed" if k % 2 else "passed" for k in range(first, count)}
    assert Counter(verdicts) == Counter(right.items())


class Tally:
    """The batch in flight, and what has come back of it."""

    def __init__(self, client, count):
        self.verdicts = []
        self.futures = [client.submit(napping(k)) for k in range(count)]
        for future in self.futures:
            future.add_done_callback(self._add)

    def _add(self, future):
        result = future.result()
        self.verdicts.append((result.id, result.verdict.value))

    def wait(self):
        for future in self.futures:
            future.result(timeout=120)
        assert within(5, lambda: len(self.verdicts) >= len(self.futures))
        return self.verdicts


@pytest.mark.parametrize("seed", range(4))
def test_broker_killed_at_any_moment(seed):
    with ExecutorClient(ExecutorConfig(slots=2)) as client:
        tally = Tally(client, 40)
        time.sleep(Random(seed).uniform(0, 0.5))
        family = [client._process.pid, *descendants(client._process.pid)]
        os.kill(client._process.pid, signal.SIGKILL)
        check(tally.wait(), 40)
        assert client.metrics()["broker_restarts"] == 1
        assert gone(family)
        assert not has_zombies(os.getpid())


@pytest.mark.parametrize("rung", RUNGS)
def test_slots_killed_again_and_again(rung, only_rung):
    random = Random(rung)
    slots_reach = 2 if rung == "full" else 1
    with only_rung(rung) as client:
        tally = Tally(client, 160)
        for kills in range(7):
            # A program may lose its slot once: it is the next to run, and done ten results later.
            assert within(30, lambda n=kills: client.metrics()["slot_restarts"] == n)
            before = len(tally.verdicts)
            assert within(30, lambda n=before: len(tally.verdicts) >= n + 10)
            time.sleep(random.uniform(0, 0.1))
            slots = [pid for pids in generations(client._process.pid)[:slots_reach] for pid in pids]
            os.kill(random.choice(slots), signal.SIGKILL)
        check(tally.wait(), 160)
        metrics = client.metrics()
        assert (metrics["slot_restarts"], metrics["broker_restarts"]) == (7, 0)
        assert not has_zombies(client._process.pid)


@pytest.mark.parametrize("rung", ALL)
def test_a_slot_killed_takes_its_program_with_it(rung, only_rung):
    with only_rung(rung) as client:
        future = client.submit(ENDLESS)
        time.sleep(0.3)
        *slots, programs = generations(client._process.pid)
        os.kill(slots[-1][0], signal.SIGKILL)
        is_left = not gone(programs)
        future.cancel()
        if is_left:
            os.kill(programs[0], signal.SIGKILL)
        assert not is_left


@pytest.mark.skipif(os.geteuid() != 0, reason="only a root's programs have a user of their own")
def test_a_slot_killed_takes_what_its_program_has_started(only_rung):
    source = "import os\nif os.fork() == 0: os.setsid()\nwhile True: pass"
    with only_rung("none") as client:
        future = client.submit(replace(ENDLESS, source=source))
        time.sleep(0.3)
        *slots, programs, started = generations(client._process.pid)
        os.kill(slots[-1][0], signal.SIGKILL)
        assert gone(programs + started)
        future.cancel()


def test_a_program_that_loses_two_slots_is_the_executors_failure():
    with ExecutorClient(ExecutorConfig(slots=1)) as client:
        future = client.submit(ENDLESS)
        seen = []
        for _ in range(2):
            assert within(30, lambda: _programs(client) not in ([], seen))
            seen[:] = _programs(client)
            os.kill(generations(client._process.pid)[0][0], signal.SIGKILL)
        result = future.result(timeout=30)
        assert result.verdict == "executor_error"
        assert "the slot failed twice" in result.detail
        assert client.submit(napping(0)).result(timeout=30).verdict == "passed"


def test_a_killed_program_is_one_that_had_no_memory_left():
    """From outside SIGKILL comes from the kernel's memory killer, so that is what is said."""
    with ExecutorClient(ExecutorConfig(slots=2)) as client:
        endless = client.submit(ENDLESS)
        others = Tally(client, 20)
        assert within(30, lambda: _programs(client))
        others.wait()
        (program,) = _programs(client)
        os.kill(program, signal.SIGKILL)
        assert endless.result(timeout=30).verdict == "memory_exceeded"
        check(others.verdicts, 20)
        assert client.metrics()["slot_restarts"] == 0


def test_a_program_killed_in_a_later_test_is_run_again_from_there():
    with ExecutorClient(ExecutorConfig(slots=1)) as client:
        source = "import time\nseconds = input()\ntime.sleep(int(seconds))\nprint(seconds)"
        tests = IoTests(fn_name=None, inputs=("0", "2", "0"), outputs=("0", "2", "0"))
        future = client.submit(
            Request(id="r", source=source, tests=tests, limits=Limits(wall_s=30))
        )
        assert within(30, lambda: _programs(client))
        time.sleep(0.5)
        os.kill(_programs(client)[0], signal.SIGKILL)
        result = future.result(timeout=30)
        assert [test.verdict for test in result.tests] == ["passed"] * 3


def _programs(client):
    """The running programs of a client on the best rung."""
    slots_reach = 2 if client.isolation == "full" else 1
    return [pid for pids in generations(client._process.pid)[slots_reach:] for pid in pids]


def test_broker_killed_twice_is_said():
    with ExecutorClient(ExecutorConfig(slots=1)) as client:
        future = client.submit(ENDLESS)
        for restarts in (1, 2):
            client._process.kill()
            assert within(30, lambda n=restarts: client.metrics()["broker_restarts"] == n)
        with pytest.raises(ExecutorDied, match="ended twice"):
            future.result(timeout=20)
        assert client.submit(napping(0)).result(timeout=30).verdict == "passed"


def test_what_waited_when_two_brokers_died_is_not_given_up():
    with ExecutorClient(ExecutorConfig(slots=1)) as client:
        futures = [client.submit(request) for request in [ENDLESS, *map(napping, range(40))]]
        for restarts in (1, 2):
            assert within(30, lambda: _programs(client))
            client._process.kill()
            assert within(30, lambda n=restarts: client.metrics()["broker_restarts"] == n)
        with pytest.raises(ExecutorDied, match="ended twice"):
            futures[0].result(timeout=30)
        # The slot had been given its next program too.
        results = [future.result(timeout=30) for future in futures[2:]]
        check([(result.id, result.verdict) for result in results], 40, first=1)


@contextmanager
def start(requests):
    """The command, at work on ``requests``, its standard input still open."""
    # A shell has its background jobs ignore this one, and what they start inherits it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    signal.signal(signal.SIGINT, before)
    with process:
        try:
            process.stdin.write(b"".join(map(as_line, requests)))
            process.stdin.flush()
            assert b"isolation" in process.stderr.readline()
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("seed", range(3))
def test_the_command_loses_no_line(seed):
    random = Random(seed)
    with start(napping(k) for k in range(60)) as process:
        time.sleep(random.uniform(0, 0.4))
        brokers, slots, *_ = generations(process.pid)
        os.kill(random.choice(slots), signal.SIGKILL)
        if seed:
            os.kill(brokers[0], signal.SIGKILL)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0
    results = map(json.loads, output.splitlines())
    check([(result["id"], result["verdict"]) for result in results], 60)


def test_the_command_answers_every_line_though_brokers_die_again_and_again():
    with start([ENDLESS, ENDLESS, *map(napping, range(200))]) as process:
        seen = set()
        for _ in range(3):
            assert within(30, lambda: len(generations(process.pid)) >= 4)
            brokers, *_ = generations(process.pid)
            assert seen.isdisjoint(brokers)
            seen.update(brokers)
            os.kill(brokers[0], signal.SIGKILL)
            assert within(30, lambda old=brokers[0]: old not in descendants(process.pid))
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0
    results = [json.loads(line) for line in output.splitlines()]
    given_up = [result for result in results if result["verdict"] == "executor_error"]
    assert 2 <= len(given_up) <= 4  # what ran, and what its slots had been given ahead
    assert all("ended twice" in result["detail"] for result in given_up)
    assert Counter(result["id"] for result in given_up)["endless"] == 2
    assert len(results) == 202


@pytest.mark.parametrize(
    ("signals", "state"),
    [
        ("SIGINT", "reading"),
        ("SIGINT", "full"),
        ("SIGINT", "draining"),
        ("SIGINT SIGINT", "draining"),
        ("SIGTERM", "reading"),
        ("SIGKILL", "reading"),
        ("SIGKILL", "full"),
    ],
)
def test_the_command_ended_by_a_signal_leaves_nothing(signals, state):
    with start([ENDLESS] * (200 if state == "full" else 2)) as process:
        if state == "draining":
            process.stdin.close()
        assert within(30, lambda: len(generations(process.pid)) >= 3)
        time.sleep(0.3)
        family = descendants(process.pid)
        for name in signals.split():
            process.send_signal(getattr(signal, name))
            time.sleep(0.01)
        status = process.wait(timeout=10)
        assert status == (-signal.SIGKILL if signals == "SIGKILL" else 1)
        assert gone(family)
        assert process.stdout.read() == b""
