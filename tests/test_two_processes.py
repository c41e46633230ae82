"""Two processes that feed half of every batch each train as one that feeds it whole."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "two_processes.py"


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=1"},
    )


def outcomes(processes: int, mesh: str) -> list[tuple[int, str, str]]:
    """Status, last line of what was printed, and what was said of errors."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [start(port, process, processes, mesh) for process in range(processes)]
    try:
        ended = [process.communicate(timeout=240) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    return [
        (process.returncode, (out.splitlines() or [""])[-1], err)
        for process, (out, err) in zip(started, ended, strict=True)
    ]


def printed(processes: int, mesh: str) -> list[dict]:
    found = outcomes(processes, mesh)
    for status, _, err in found:
        assert status == 0, err
    return [json.loads(line) for _, line, _ in found]


@pytest.mark.slow
def test_two_processes_train_as_one() -> None:
    (alone,) = printed(1, "1,1")
    assert alone["own"] == [0, 6]
    together = printed(2, "2,1")
    assert [one["own"] for one in together] == [[0, 3], [3, 6]]
    assert together[0]["losses"] == together[1]["losses"]
    assert together[0]["losses"] == pytest.approx(alone["losses"], rel=1e-6)


@pytest.mark.slow
def test_a_mesh_that_gives_processes_no_rows_of_their_own_is_refused() -> None:
    for status, _, err in outcomes(2, "1,2"):
        assert status
        assert "mesh.tensor stay inside each" in err
