"""The executor on a Ray cluster, in a process of its own.

Ray's cluster for tests forks the process that starts it, which JAX, in the process of the other
tests, does not survive.
"""

import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).with_name("ray_cases.py")
LIMIT_S = 600


def test_on_a_cluster_of_several_nodes():
    pytest.importorskip("ray")
    # What one case leaves behind when it fails could hold up the next for ever: the first is told.
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    command += ["-p", "no:xdist", "-o", f"faulthandler_timeout={LIMIT_S / 2}", str(CASES)]
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    try:
        done = subprocess.run(command, check=False, timeout=LIMIT_S, **both)
    except subprocess.TimeoutExpired as late:
        pytest.fail(f"not done after {LIMIT_S} s:\n{(late.output or b'').decode()[-10000:]}")
    output = done.stdout.decode()
    assert done.returncode == 0, output[-10000:]
    assert " passed" in output.splitlines()[-1]
    assert "skipped" not in output
