"""A slot as the broker sees it: a process on the other end of a socket, busy or not."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from stepcoder_executor.execution import Execution
from stepcoder_executor.slot.wire import Frame, FrameError, FrameReader, pack

# Hooks that ``threading``, ``random`` and ``logging`` would run after every fork are kept out: a
# child has one thread when it begins, and all programs starting from one random state is welcome.
_BOOT = """
import os, sys
os.register_at_fork = lambda **hooks: None
sys.path.append({path!r})
from slot.zygote import main
main({fd})
"""
_START_S = 20.0
_SILENCE_S = 5.0
_LEAVE_S = 0.5
_READ_BYTES = 1 << 18


class SlotRefusedError(RuntimeError):
    """A slot could not enter the rung of isolation it was told to."""


class Slot:
    """One zygote process and the request it is working on."""

    def __init__(self, rung: str) -> None:
        self.rung = rung
        self.execution: Execution | None = None
        self.is_ready = False
        self.notes: list[str] = []
        self._seq = 0
        self._expires = time.monotonic() + _START_S
        self._reader = FrameReader()
        self.socket, self._process = _spawn()
        self.socket.sendall(pack({"kind": "setup", "rung": rung}))

    @property
    def is_idle(self) -> bool:
        """Whether the slot can take a request."""
        return self.is_ready and self.execution is None

    @property
    def is_overdue(self) -> bool:
        """Whether the slot has been silent for longer than anything it does may take."""
        return time.monotonic() > self._expires

    def begin(self, execution: Execution) -> None:
        """Send the execution's next job."""
        self.execution = execution
        self._seq += 1
        budget_s = execution.request.limits.wall_s * execution.n_tests
        self._expires = time.monotonic() + budget_s + _SILENCE_S
        self.socket.sendall(execution.job(self._seq))

    def stop(self) -> None:
        """Have the running child ended: its answer then tells how far it came."""
        self.socket.sendall(pack({"kind": "stop", "seq": self._seq}))

    def receive(self) -> list[Frame]:
        """Every frame that has come since the last call.

        Raises:
            EOFError: the slot has ended.
            FrameError: the slot speaks nonsense and must be ended.
        """
        data = self.socket.recv(_READ_BYTES)
        if not data:
            raise EOFError("the slot's process has ended")
        frames = []
        for header, blobs in self._reader.feed(data):
            match header.get("kind"):
                case "ready":
                    self.is_ready, self.notes = True, header["notes"]
                    self._expires = float("inf")
                case "refused":
                    raise SlotRefusedError(header["reason"])
                case "partial" | "done" if header.get("seq") == self._seq and len(blobs) >= 2:
                    frames.append((header, blobs))
                case other:
                    raise FrameError(f"a slot sent {other!r}")
        return frames

    def wait_ready(self) -> None:
        """Block until the slot is inside its sandbox.

        Raises:
            SlotRefusedError: it could not get there; the message says why.
        """
        self.socket.settimeout(_START_S)
        try:
            while not self.is_ready:
                self.receive()
        except (EOFError, OSError, FrameError) as error:
            raise SlotRefusedError(f"the slot ended while starting: {error}") from error
        self.socket.settimeout(None)

    def finish(self) -> Execution | None:
        """The execution the slot was at; from now on it is idle."""
        execution, self.execution = self.execution, None
        self._expires = float("inf")
        return execution

    def hang_up(self) -> None:
        """Let the slot end by itself, and what it runs with it."""
        self.socket.close()

    def close(self) -> None:
        """End the slot and everything in it."""
        self.hang_up()
        try:
            self._process.wait(_LEAVE_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def _spawn() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    ours, theirs = socket.socketpair()
    boot = _BOOT.format(path=str(Path(__file__).parent), fd=theirs.fileno())
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-X", "utf8", "-c", boot],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env={},
            start_new_session=True,
        )
    return ours, process
