"""What is said where JAX ends a process at once, in words of its own and with a stack trace.

So it does where process 0 of a run is lost, or where not all of its processes come. Run as a
program this waits for the end of the process that began it, and needs nothing but Python.
"""

import socket
import subprocess
import sys
from contextlib import suppress

_TIMEOUT_S = 5.0


class LastWord:
    """Stands beside this process, and speaks if this one ends without having spared it that.

    Args:
      words: what it says.
      unless: HOST:PORT; while somebody listens there it says nothing.
    """

    def __init__(self, words: str, *, unless: str = "") -> None:
        # Isolated, as modules beside this file have names of Python's own.
        self._beside = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, words, unless],
            stdin=subprocess.PIPE,
            # Ctrl-C is this process's to answer.
            start_new_session=True,
        )

    def spare(self) -> None:
        """Says that this process ends by itself: nothing is left to say."""
        assert self._beside.stdin is not None
        with suppress(BrokenPipeError, ValueError):
            self._beside.stdin.write(b".")
            self._beside.stdin.close()
        self._beside.wait()


def main(words: str, unless: str) -> None:
    """Waits until the other process is gone, and says so unless that was spared."""
    if not sys.stdin.buffer.read(1) and not (unless and _listens(unless)):
        print(f"stepcoder: {words}", file=sys.stderr)


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_TIMEOUT_S).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main(*sys.argv[1:])
