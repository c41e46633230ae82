"""Whoever is gone without having let go is missed, and nobody else."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from queue import Empty, Queue

import pytest

from stepcoder_jax.lifeline import Lifeline, Lifelines

# Holds on, says so, and ends as standard input says.
PROGRAM = """
import os, sys
from stepcoder_jax.lifeline import Lifeline
line = Lifeline(("127.0.0.1", int(sys.argv[1])), sys.argv[2], int(sys.argv[3]))
print("holds", flush=True)
if sys.stdin.readline() == "let go\\n":
    line.let_go()
os._exit(0)
"""
# For a connection to be noticed as gone, on a busy machine.
SOON_S = 20.0
AGAIN_S = 0.5


@pytest.fixture
def missed() -> Queue[int]:
    return Queue()


@pytest.fixture
def lines(missed: Queue[int]) -> Iterator[Lifelines]:
    found = Lifelines(missed.put, again_s=AGAIN_S)
    yield found
    found.close()


type Start = Callable[[int], subprocess.Popen[str]]


@pytest.fixture
def start(lines: Lifelines) -> Iterator[Start]:
    """Begins a process of this number, which holds on."""
    port, secret = lines.port_and_secret
    with ExitStack() as stack:

        def begin(number: int) -> subprocess.Popen[str]:
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", PROGRAM, str(port), secret, str(number)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == "holds\n"
            return process

        yield begin


def assert_nobody(missed: Queue[int], again_s: float = AGAIN_S) -> None:
    with pytest.raises(Empty):
        missed.get(timeout=again_s + 1)


def test_a_process_that_is_killed_is_missed(start: Start, missed: Queue[int]) -> None:
    victim, other = start(3), start(4)
    victim.send_signal(signal.SIGKILL)
    assert missed.get(timeout=SOON_S) == 3
    assert missed.empty()
    other.communicate("let go\n")
    assert_nobody(missed)


@pytest.mark.parametrize(("last", "is_missed"), [("let go\n", False), ("\n", True)])
def test_one_that_ends_by_itself_says_so(
    start: Start, missed: Queue[int], last: str, is_missed: bool
) -> None:
    start(1).communicate(last)
    if is_missed:
        assert missed.get(timeout=SOON_S) == 1
    else:
        assert_nobody(missed)


def test_one_that_is_stopped_for_a_while_is_not_missed(start: Start, missed: Queue[int]) -> None:
    stopped = start(1)
    stopped.send_signal(signal.SIGSTOP)
    assert_nobody(missed)
    stopped.send_signal(signal.SIGCONT)
    stopped.communicate("let go\n")
    assert_nobody(missed)


def test_a_connection_alone_may_be_lost(lines: Lifelines, missed: Queue[int]) -> None:
    # As long as it is outside tests: a busy machine has time to come back.
    lines._again_s = 3.0
    port, secret = lines.port_and_secret
    line = Lifeline(("127.0.0.1", port), secret, 2)
    line._connection.shutdown(socket.SHUT_RDWR)
    assert_nobody(missed, again_s=3.0)
    line.let_go()
    assert_nobody(missed, again_s=3.0)


def test_one_that_lets_go_at_once_is_not_missed(lines: Lifelines, missed: Queue[int]) -> None:
    port, secret = lines.port_and_secret
    for number in range(20):
        Lifeline(("127.0.0.1", port), secret, number).let_go()
    assert_nobody(missed)


def test_somebody_who_accepts_and_closes_is_not_asked_without_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(1.0)
        Lifeline(server.getsockname(), "secret", 1)
        accepted, until = 0, time.monotonic() + 1.0
        while time.monotonic() < until:
            server.accept()[0].close()
            accepted += 1
    # Without a pause it is thousands.
    assert accepted < 100


@pytest.mark.parametrize("hello", [b"", b"secret 1\n", b"\xff\n", b"1" * 200])
def test_strangers_are_not_missed(lines: Lifelines, missed: Queue[int], hello: bytes) -> None:
    with socket.create_connection(("127.0.0.1", lines.port_and_secret[0])) as stranger:
        stranger.sendall(hello)
    assert_nobody(missed)


def test_at_the_end_nobody_is_missed(lines: Lifelines, start: Start, missed: Queue[int]) -> None:
    last = start(1)
    lines.close()
    last.communicate("\n")
    assert_nobody(missed)
    with pytest.raises(OSError, match="refused"):
        Lifeline(("127.0.0.1", 1), "secret", 1)
