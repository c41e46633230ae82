"""What is said where process 0 of a run is lost: JAX ends the others at once, in words of its own.

Run as a program it waits for the end of the process that began it, and needs nothing but Python.
"""

import socket
import subprocess
import sys
from contextlib import suppress

_TIMEOUT_S = 5.0


class LastWord:
    """Stands beside this process, and says what became of the run if this one no longer can.

    Args:
      coordinator: HOST:PORT, where process 0 listens.
    """

    def __init__(self, coordinator: str) -> None:
        # Isolated, as modules beside this file have names of Python's own.
        self._beside = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, coordinator],
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


def main(coordinator: str) -> None:
    """Waits until the other process is gone; speaks where process 0 is, too, unless spared."""
    if sys.stdin.buffer.read(1) or _listens(coordinator):
        return
    print(
        f"stepcoder: process 0 of the run was lost: nobody listens at its address {coordinator} any"
        " more. The same command on every host goes on from the last checkpoint",
        file=sys.stderr,
    )


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_TIMEOUT_S).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main(sys.argv[1])
