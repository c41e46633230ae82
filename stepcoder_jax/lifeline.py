"""A connection from every process of a run to the first: where it breaks for good, one was lost.

The system closes the connections of a process that is killed, whatever the others wait for at that
time. Nothing is sent meanwhile: neither a busy process nor a silent network is taken for a lost
one here. A host that is gone is left to the heartbeat of ``jax.distributed``.
"""

import contextlib
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable

# How long a process has to say who it is, and how long to come back: less than ``again_s``.
_HELLO_S, _BACK_S = 10.0, 2.0
_PAUSE_S = 0.2
_LEAVES = b"."


class Lifelines:
    """The first process's ends.

    Args:
      on_lost: called with the number of a process that is gone without having let go, on a thread.
      again_s: how long a process has to come back where only the connection was lost.
    """

    def __init__(self, on_lost: Callable[[int], None], *, again_s: float = 3.0) -> None:
        self._on_lost, self._again_s = on_lost, again_s
        self._server = _listening()
        self._secret = secrets.token_hex(16)
        self._times: Counter[int] = Counter()
        self._is_closed = False
        threading.Thread(target=self._accept, name="stepcoder-lifelines", daemon=True).start()

    @property
    def port_and_secret(self) -> tuple[int, str]:
        """What the others need to hold on to it."""
        return self._server.getsockname()[1], self._secret

    def close(self) -> None:
        """From now on nobody is missed."""
        self._is_closed = True
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        while not self._is_closed:
            try:
                connection, _ = self._server.accept()
            except OSError:
                # Too many open files, say: those that hold on already are none the worse.
                time.sleep(_PAUSE_S)
                continue
            threading.Thread(target=self._hold, args=(connection,), daemon=True).start()

    def _hold(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, ValueError):
            connection.settimeout(_HELLO_S)
            # Unbuffered: what comes at once behind the hello is read below.
            said = connection.makefile("rb", buffering=0).readline(100).decode("ascii").split()
            if len(said) != 2 or not secrets.compare_digest(said[0], self._secret):
                return
            process = int(said[1])
            self._times[process] += 1
            time_of_this = self._times[process]
            connection.settimeout(None)
            if _next_byte(connection) != _LEAVES:
                time.sleep(self._again_s)
                if not self._is_closed and self._times[process] == time_of_this:
                    self._on_lost(process)


class Lifeline:
    """Another process's end.

    Args:
      address: host and port of the first process's.
      secret: the first process's.
      process: the number of this one.

    Raises:
      OSError: the first cannot be reached there.
    """

    def __init__(self, address: tuple[str, int], secret: str, process: int) -> None:
        self._address = address
        self._hello = f"{secret} {process}\n".encode("ascii")
        self._has_let_go = threading.Event()
        self._connection = self._connected()
        threading.Thread(target=self._hold, name="stepcoder-lifeline", daemon=True).start()

    def let_go(self) -> None:
        """Says that the process ends by itself."""
        self._has_let_go.set()
        with contextlib.suppress(OSError):
            self._connection.sendall(_LEAVES)
            self._connection.shutdown(socket.SHUT_WR)

    def _connected(self) -> socket.socket:
        connection = socket.create_connection(self._address, timeout=_HELLO_S)
        connection.sendall(self._hello)
        connection.settimeout(None)
        return connection

    def _hold(self) -> None:
        """Comes back where the connection is lost, as long as the first process is there."""
        while True:
            with self._connection:
                _next_byte(self._connection)
            if self._has_let_go.is_set():
                return
            again = self._again()
            if again is None:
                # Whoever loses the first process learns that from JAX.
                return
            self._connection = again
            if self._has_let_go.is_set():
                self.let_go()

    def _again(self) -> socket.socket | None:
        deadline = time.monotonic() + _BACK_S
        while time.monotonic() < deadline:
            # First: somebody who accepts and closes at once is not asked without end.
            time.sleep(_PAUSE_S)
            with contextlib.suppress(OSError):
                return self._connected()
        return None


def _listening() -> socket.socket:
    with contextlib.suppress(OSError):
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))


def _next_byte(connection: socket.socket) -> bytes:
    """Empty where the connection is lost."""
    try:
        return connection.recv(1)
    except OSError:
        return b""
