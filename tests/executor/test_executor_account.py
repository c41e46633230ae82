"""On the lowest rung: what programs start is counted, and ends with them, for root and others."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import stepcoder_executor
from stepcoder_executor import IoTests, Request

# A child and seven that come of it, most in a session of their own, some without a parent.
SLOT = """
import contextlib, os, sys, time
sys.path.insert(0, sys.argv[1])
from slot import account

if sys.argv[2] == "shared":
    account._may_become = lambda user: False
programs = account.Account()
ready, begun = os.pipe()
pid = os.fork()
if pid == 0:
    programs.enter()
    for k in range(3):
        is_old = os.fork()
        with contextlib.suppress(PermissionError):
            os.setsid()
        if is_old and k == 2:
            os.write(begun, b".")
            os._exit(0)
    os.write(begun, b".")
    time.sleep(600)
n_begun = 0
while n_begun < 8:
    n_begun += len(os.read(ready, 8))
n_ended = 0
try:
    while True:
        programs.end(pid)
        os.waitpid(-1, 0)
        n_ended += 1
except ChildProcessError:
    print(n_ended)
"""
FORKS = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from slot import account

programs = account.Account()
pid = os.fork()
if pid == 0:
    programs.enter()
    for n_forks in range(2000):
        try:
            if os.fork() == 0:
                time.sleep(600)
        except BlockingIOError:
            break
    os.execv(sys.executable, [sys.executable, "-c", f"print({n_forks})"])
os.waitpid(pid, 0)
programs.end(pid)
"""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give programs a user")


def run(script, *arguments):
    folder = Path(stepcoder_executor.__file__).parent
    command = [sys.executable, "-c", script, folder, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.mark.parametrize("user", [pytest.param("own", marks=needs_root), "shared"])
def test_all_that_a_program_has_started_ends_with_it(user):
    assert run(SLOT, user) == "8\n"


@needs_root
def test_programs_of_root_have_neither_its_privileges_nor_its_slots_priority(only_rung):
    source = (
        "import os\n"
        "def f():\n"
        "    status = dict(line.split(':\\t', 1) for line in open('/proc/self/status'))\n"
        "    privileges = int(status['CapEff'], 16)\n"
        "    return [privileges, os.sched_getscheduler(0), os.getuid() == os.geteuid()]\n"
    )
    tests = IoTests(fn_name="f", inputs=((),), outputs=([0, os.SCHED_OTHER, False],))
    with only_rung("none") as client:
        result = client.submit(Request(id="a", source=source, tests=tests)).result(timeout=30)
    assert result.verdict == "passed", result.tests


@needs_root
def test_programs_of_root_are_counted():
    assert run(FORKS) == "255\n"
