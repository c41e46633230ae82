"""What is said of a process that could not say it: by one that stands beside it."""

import signal
import socket
import subprocess
import sys

import pytest

# Ends as JAX ends a process, or by itself; at the address somebody listens, or nobody.
PROGRAM = """
import os, signal, sys
from stepcoder_jax.last_word import LastWord
word = LastWord("all is over", unless=sys.argv[1])
if sys.argv[2] == "by itself":
    word.spare()
    word.spare()
else:
    os.kill(os.getpid(), signal.SIGABRT)
"""


def ending(address: str, how: str) -> tuple[int, str]:
    """Status, and what is said until both processes are gone."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, address, how],
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("how", "is_there", "speaks"),
    [("at once", False, True), ("at once", True, False), ("by itself", False, False)],
)
def test_it_speaks_where_a_process_and_the_one_that_listens_are_gone(
    how: str, is_there: bool, speaks: bool
) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        if is_there:
            listening.listen()
        status, said = ending(address, how)
    assert status == (0 if how == "by itself" else -signal.SIGABRT)
    assert ("stepcoder: all is over" in said) == speaks, said
