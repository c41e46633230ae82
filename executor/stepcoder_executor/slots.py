"""Prepared processes as the broker sees them: each on the other end of a socket, busy or not."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from array import array
from pathlib import Path
from typing import NamedTuple

from stepcoder_executor.covered import Span
from stepcoder_executor.execution import Execution
from stepcoder_executor.slot.messages import (
    DONE,
    MAPPED,
    PARTIAL,
    READY,
    RECALL,
    REFUSED,
    RETURNED,
    STOP,
    Answer,
    about,
    map_content,
    seq_of,
)
from stepcoder_executor.slot.users import end_user, user_of
from stepcoder_executor.slot.wire import FrameError, FrameReader, frame

# Hooks that ``threading``, ``random`` and ``logging`` would run after every fork are kept out: a
# child has one thread when it begins, and all programs starting from one random state is welcome.
_BOOT = """
import os, sys
os.register_at_fork = lambda **hooks: None
sys.path.append({path!r})
from slot.boot import main
main({module!r}, {fd})
"""
_START_S = 20.0
_SILENCE_S = 5.0
_MAP_S = 5.0
_LEAVE_S = 0.5
_READ_BYTES = 1 << 18
_NEVER = float("inf")


class SlotRefusedError(RuntimeError):
    """A slot could not enter the rung of isolation it was told to."""


class Prepared:
    """A process that has imported what it needs and locked itself in on a rung of the ladder."""

    def __init__(self, module: str, rung: str) -> None:
        self.rung = rung
        self.is_ready = False
        self.notes: list[str] = []
        self._expires = time.monotonic() + _START_S
        self._reader = FrameReader()
        self.socket, self._process = _spawn(module)
        self._tell(frame(rung.encode()))

    @property
    def is_overdue(self) -> bool:
        """Whether it has been silent for longer than anything it does may take."""
        return time.monotonic() > self._expires

    def receive(self) -> list[bytes]:
        """The content of every frame that has come since the last call, beyond its start.

        Raises:
            EOFError: the process has ended.
            FrameError: it speaks nonsense and must be ended.
            SlotRefusedError: it could not enter its rung; the message says why.
        """
        data = self.socket.recv(_READ_BYTES)
        if not data:
            raise EOFError("the slot's process has ended")
        contents = []
        for content in self._reader.feed(data):
            match content[:1]:
                case kind if kind == READY:
                    self.is_ready, self.notes = True, json.loads(content[1:])
                    self._expires = _NEVER
                case kind if kind == REFUSED:
                    raise SlotRefusedError(content[1:].decode())
                case _:
                    contents.append(content)
        return contents

    def _tell(self, message: bytes) -> None:
        # What has ended already is noticed where its answer is awaited.
        with contextlib.suppress(OSError):
            self.socket.sendall(message)

    def wait_ready(self) -> None:
        """Block until the process is inside its sandbox.

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

    def hang_up(self) -> None:
        """Let the process end by itself, and what it runs with it."""
        self.socket.close()

    def close(self) -> None:
        """End the process and everything in it."""
        self.hang_up()
        try:
            self._process.wait(_LEAVE_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        if self.rung == "none" and os.geteuid() == 0:
            # A slot that was killed has left what its program had started.
            end_user(user_of(self._process.pid))


class Event(NamedTuple):
    """What a slot says of an execution: an answer, the last or not; None: it is given back."""

    execution: Execution
    answer: Answer | None
    is_last: bool


class Slot(Prepared):
    """One zygote process, the request it is working on, and perhaps the next."""

    def __init__(self, rung: str) -> None:
        super().__init__("zygote", rung)
        self._jobs: dict[int, Execution] = {}
        self._recalled: set[int] = set()
        self._next_seq = 0

    @property
    def executions(self) -> list[Execution]:
        """What it was given and has not answered, in order: the first runs, others wait."""
        return list(self._jobs.values())

    @property
    def n_waiting(self) -> int:
        """How many requests wait for the one that runs."""
        return max(len(self._jobs) - 1, 0)

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs."""
        return self.is_ready and not self._jobs

    def begin(self, execution: Execution) -> None:
        """Send the execution's next job."""
        seq = self._next_seq
        self._next_seq = (seq + 1) & 0xFFFFFFFF
        self._jobs[seq] = execution
        if len(self._jobs) == 1:
            self._await()
        self._tell(frame(execution.job(seq)))

    def stop(self, execution: Execution) -> None:
        """Have an execution ended, or given back if it has not begun."""
        for seq, one in self._jobs.items():
            if one is execution:
                self._tell(frame(about(STOP, seq)))

    def recall(self) -> None:
        """Have given back what waits."""
        for seq in [*self._jobs][1:]:
            if seq not in self._recalled:
                self._recalled.add(seq)
                self._tell(frame(about(RECALL, seq)))

    def events(self) -> list[Event]:
        """What has happened. Raises as :meth:`receive` does."""
        try:
            return [self._event(content) for content in self.receive()]
        except ValueError as error:
            raise FrameError(str(error)) from error

    def _event(self, content: bytes) -> Event:
        kind, seq = content[:1], seq_of(content)
        is_first = next(iter(self._jobs), None) == seq
        if kind == PARTIAL and is_first:
            return Event(self._jobs[seq], Answer.from_content(content), is_last=False)
        if not (kind == DONE and is_first) and not (kind == RETURNED and seq in self._jobs):
            raise ValueError(f"a slot sent {kind!r} about job {seq}")
        execution = self._jobs.pop(seq)
        self._recalled.discard(seq)
        if kind == RETURNED:
            return Event(execution, None, is_last=True)
        self._await()
        return Event(execution, Answer.from_content(content), is_last=True)

    def _await(self) -> None:
        """From now on the first job may take its time."""
        self._expires = _NEVER
        for execution in self._jobs.values():
            budget_s = execution.request.limits.wall_s * execution.n_tests
            self._expires = time.monotonic() + budget_s + _SILENCE_S
            break


class Mapper(Prepared):
    """The process that turns executed instructions into spans, and the program it is at."""

    def __init__(self, rung: str) -> None:
        super().__init__("mapper", rung)
        self.execution: Execution | None = None

    @property
    def is_idle(self) -> bool:
        """Whether it can take a program."""
        return self.is_ready and self.execution is None

    def begin(self, execution: Execution) -> None:
        """Ask for the spans of what an execution has executed."""
        self.execution = execution
        self._expires = time.monotonic() + _MAP_S
        source = execution.request.source.encode("utf-8", "surrogatepass")
        self._tell(frame(map_content(source, execution.executed)))

    def spans(self) -> tuple[Execution, tuple[Span, ...]] | None:
        """The execution it was at and its spans, once they have come. Raises as ``receive``."""
        for content in self.receive():
            execution, self.execution = self.execution, None
            if content[:1] != MAPPED or execution is None:
                raise FrameError(f"a mapper sent {content[:1]!r}")
            self._expires = _NEVER
            return execution, _checked(content[1:], len(execution.request.source))
        return None


def _checked(content: bytes, n_chars: int) -> tuple[Span, ...]:
    bounds = array("I", content)
    if len(bounds) % 2 or list(bounds) != sorted(bounds) or (bounds and bounds[-1] > n_chars):
        raise FrameError("a mapper sent spans that are none")
    return tuple(zip(bounds[::2], bounds[1::2], strict=True))


def _spawn(module: str) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    ours, theirs = socket.socketpair()
    boot = _BOOT.format(path=str(Path(__file__).parent), module=module, fd=theirs.fileno())
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-X", "utf8", "-c", boot],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            # Symbols bound at once are bound before the first fork, not in every child.
            env={"LD_BIND_NOW": "1"},
            start_new_session=True,
        )
    return ours, process
