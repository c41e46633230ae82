"""A hundred thousand short programs through one client leave nothing behind.

``STEPCODER_SOAK_PROGRAMS`` sets another number, at least 2000.
"""

import gc
import os
from collections import Counter

import pytest
from process_tree import descendants, has_zombies, n_descriptors, own_memory_kib
from stepcoder_executor import (
    AssertionTests,
    ExecutorClient,
    ExecutorConfig,
    IoTests,
    Limits,
    Request,
)

PROGRAMS = int(os.environ.get("STEPCODER_SOAK_PROGRAMS", "100000"))
GROWTH_KIB = 1024

CALLS = {
    "passed": "def f(x):\n    return x + {k}",
    "failed": "def f(x):\n    return x - {k} - 1",
    "runtime_error": "def f(x):\n    return [{k}][x]",
    "compile_error": "def f(x)\n    return {k}",
    "timeout": "def f(x):\n    while True:\n        x += {k}",
    "memory_exceeded": "def f(x):\n    return [{k}] * 10**10",
    "output_exceeded": "def f(x):\n    print('{k}' * 100_000)",
}
# One request in this many ends so; the first that divides counts.
RARE = {1000: "timeout", 250: "memory_exceeded", 100: "output_exceeded"}
OFTEN = ("passed", "passed", "failed", "passed", "runtime_error", "compile_error", "passed")
SCRIPTS = (
    "print(int(input()) + {k})",
    "import sys\nfor line in sys.stdin:\n    sys.stdout.write(str(int(line) + {k}))",
    "import threading\ndef g():\n    print(int(input()) + {k})\nthreading.Thread(target=g).start()",
    "print(int(input()) + {k})\nprint('\\n' * 20_000)",
)


def verdict_of(k):
    for every, verdict in RARE.items():
        if k % every == 0:
            return verdict
    return OFTEN[k % len(OFTEN)]


def request(k):
    """The k-th program, unlike all others; in turn called, run as a script and asserted about."""
    verdict = verdict_of(k)
    limits = Limits(wall_s=0.1 if verdict == "timeout" else 30)
    if verdict == "passed" and k % 3 == 0:
        source = SCRIPTS[k % len(SCRIPTS)]
        tests = IoTests(fn_name=None, inputs=("1", "2"), outputs=(f"{k + 1}", f"{k + 2}"))
    else:
        source = CALLS[verdict]
        called = IoTests(fn_name="f", inputs=((1,), (2,)), outputs=(k + 1, k + 2))
        asserted = AssertionTests(assertions=(f"assert f(1) == {k + 1}", f"assert f(2) > {k}"))
        tests = asserted if k % 3 == 1 else called
    return Request(
        id=str(k),
        source=source.format(k=k),
        tests=tests,
        limits=limits,
        coverage=k % 4 == 0,
    )


def wrong_verdicts(client, numbers, n_results):
    """The verdicts that are not right, after adding each program's result to ``n_results``."""
    wrong = {}
    for result in client.run(map(request, numbers)):
        n_results[int(result.id)] += 1
        if result.verdict != verdict_of(int(result.id)):
            wrong[result.id] = (result.verdict.value, [test.detail for test in result.tests])
    return wrong


def held(client, measure):
    """What each process of a client that is at rest holds, by process number."""
    gc.collect()
    broker = client._process.pid
    return {pid: measure(pid) for pid in (os.getpid(), broker, *descendants(broker))}


def descriptors(pid):
    """How many; None where only the superuser may look."""
    return n_descriptors(pid) if os.access(f"/proc/{pid}/fd", os.R_OK) else None


@pytest.mark.slow
def test_nothing_is_left_behind():
    tenth, n_results = PROGRAMS // 10, bytearray(PROGRAMS)
    with ExecutorClient(ExecutorConfig(slots=2)) as client:
        assert wrong_verdicts(client, range(tenth), n_results) == {}
        before = held(client, descriptors), held(client, own_memory_kib)
        assert wrong_verdicts(client, range(tenth, PROGRAMS), n_results) == {}
        after = held(client, descriptors), held(client, own_memory_kib)
        assert before[0] == after[0]
        grown = {pid: after[1][pid] - kib for pid, kib in before[1].items()}
        assert max(grown.values()) < GROWTH_KIB, (before[1], after[1])
        assert not has_zombies(os.getpid())
        metrics = client.metrics()
    assert (metrics["slot_restarts"], metrics["broker_restarts"]) == (0, 0)
    assert n_results == b"\1" * PROGRAMS
    right = Counter(map(verdict_of, range(PROGRAMS)))
    assert metrics["verdicts"] == {name: n / PROGRAMS for name, n in right.items()}
