"""Limits of time, CPU time, memory and output, for the tests and for compiling."""

import time

import pytest
from stepcoder_executor import IoTests, Limits, Request

ECHO = IoTests(fn_name=None, inputs=("1 2\n", "3"), outputs=("1 2", "3\n"))


def judge(client, source, tests, coverage=False, **limits):
    request = Request(
        id="r", source=source, tests=tests, limits=Limits(**limits), coverage=coverage
    )
    return client.submit(request).result(timeout=60)


def test_limits_hold(client):
    began = time.monotonic()
    assert judge(client, "while True: pass", ECHO, wall_s=0.5).verdict == "timeout"
    assert time.monotonic() - began < 3
    big = "x = bytearray({} << 20); print(input())"
    assert judge(client, big.format(150), ECHO, memory_mb=100).verdict == "memory_exceeded"
    assert judge(client, big.format(150), ECHO, memory_mb=300).verdict == "passed"
    wide = IoTests(fn_name=None, inputs=("",), outputs=("x" * 20_000,))
    assert judge(client, "print('x' * 20000)", wide, output_kb=1).verdict == "passed"
    assert judge(client, "print('x' * 90000)", wide, output_kb=1).verdict == "output_exceeded"


CPU_BURNERS = {
    "a loop": "while True: pass",
    "the kernel's time": "import os\nwhile True: os.getcwd()",
    "two threads": "import threading\ndef f():\n    while True: sum(range(1000))\n"
    "threading.Thread(target=f).start()\nf()",
}


@pytest.mark.parametrize("name", CPU_BURNERS)
def test_cpu_time_has_a_limit_of_its_own(client, name):
    result = judge(client, CPU_BURNERS[name], ECHO, wall_s=30, cpu_s=0.15)
    assert result.verdict == "timeout"
    assert result.wall_s < 5
    assert "0.15 s of CPU" in result.tests[0].detail


def test_waiting_costs_no_cpu_time(client):
    slow = "import time\ntime.sleep(0.5)\nprint(input())"
    assert judge(client, slow, ECHO, wall_s=5, cpu_s=0.2).verdict == "passed"


def test_each_test_has_its_own_cpu_time(client):
    six = IoTests(fn_name="f", inputs=((0,),) * 6, outputs=(1,) * 6)
    busy = "import time\ndef f(x):\n    end = time.process_time() + 0.15\n"
    busy += "    while time.process_time() < end: pass\n    return 1\n"
    assert judge(client, busy, six, wall_s=20, cpu_s=0.4).verdict == "passed"
    assert judge(client, busy, six, wall_s=20, cpu_s=0.05).verdict == "timeout"


def test_each_test_has_its_own_time(client):
    four = IoTests(fn_name=None, inputs=("",) * 4, outputs=("1",) * 4)
    slow = "import time\ntime.sleep(0.4)\nprint(1)"
    assert judge(client, slow, four, wall_s=1.2).verdict == "passed"


def doubling(levels):
    """Right and short, but the compiler writes each ``finally`` twice, with all that is in it."""
    lines, indent = ["print(input())"], ""
    for _ in range(levels):
        lines += [f"{indent}try:", f"{indent}    a = 1", f"{indent}finally:"]
        indent += "    "
    return "\n".join([*lines, f"{indent}a = 2"])


@pytest.mark.parametrize("coverage", [False, True])
def test_compiling_has_the_limits_of_a_test(client, coverage):
    slow = doubling(15)
    kinds = {"0.1 s of CPU": {"wall_s": 60, "cpu_s": 0.1}, "0.15 s": {"wall_s": 0.15}}
    for limit, limits in kinds.items():
        result = judge(client, slow, ECHO, coverage, **limits)
        assert result.verdict == "timeout"
        assert result.tests[0].detail == f"compiling took longer than {limit}"
        assert result.covered in ((), None)


def test_what_compiles_slowly_passes_when_it_may(client):
    assert judge(client, doubling(15), ECHO, wall_s=60, memory_mb=2048).verdict == "passed"
