"""The executor of this machine: one broker process behind a channel."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from stepcoder_executor.config import ExecutorConfig
from stepcoder_executor.executor import MAX_TRIES, Executor, ExecutorDied, Pending
from stepcoder_executor.protocol import parse_result
from stepcoder_executor.slot.wire import FrameError, json_fields, json_frame, read_frame

_MAX_STARTS = 3


class ExecutorClient(Executor):
    """Runs requests on a broker process of its own.

    The broker is a fresh interpreter: the calling process is never forked. If it dies, a new one
    gets what is outstanding; a program that ran, or was about to, when two of them died is given
    up, as it may be what kills them.

    Raises:
        ExecutorDied: the broker does not start, or the machine lacks the isolation asked for.
    """

    def __init__(self, config: ExecutorConfig | None = None) -> None:
        super().__init__(config or ExecutorConfig())
        self._slot_restarts = 0
        self._past_slot_restarts = 0
        self._brokers_started = 0
        self._start_broker()

    @property
    def n_slots(self) -> int:
        """How many programs run at a time."""
        return self.config.n_slots

    def restarts(self) -> dict[str, float]:
        """``slot_restarts`` and ``broker_restarts`` since the start."""
        return {
            "slot_restarts": self._past_slot_restarts + self._slot_restarts,
            "broker_restarts": self._brokers_started - 1,
        }

    def _start_broker(self) -> None:
        for left in reversed(range(_MAX_STARTS)):
            answer = self._try_broker()
            if answer["kind"] == "ready":
                break
            if answer["kind"] == "refused" or not left:
                raise ExecutorDied(f"the executor broker did not start: {answer['reason']}")
        self._brokers_started += 1
        self.isolation, self.isolation_steps = answer["rung"], answer["steps"]
        self._listener = threading.Thread(
            target=self._listen, name="stepcoder-executor", daemon=True
        )
        self._listener.start()

    def _try_broker(self) -> dict[str, Any]:
        """Start a broker and hear what it says: ``ready``, ``refused``, or nothing: ``ended``."""
        self._socket, self._process = _spawn_broker()
        config = {
            "slots": self.config.n_slots,
            "isolation": self.config.isolation,
            "compare": self.config.compare,
            "run_all": self.config.run_all,
        }
        try:
            self._socket.sendall(json_frame(config))
            answer = json_fields(read_frame(self._socket.fileno()))
        except (OSError, EOFError, FrameError) as error:
            answer = {"kind": "ended", "reason": f"it ended at once ({error})"}
        if answer["kind"] != "ready":
            self._process.kill()
            self._process.wait()
            self._socket.close()
        return answer

    def _encode(self, seq: int, fields: dict[str, Any]) -> bytes:
        return json_frame({"kind": "request", "seq": seq, "request": fields})

    def _send(self, seq: int, entry: Pending) -> None:
        entry.is_begun = False
        self._write(entry.message)

    def _withdraw(self, seq: int) -> None:
        self._write(json_frame({"kind": "cancel", "seq": seq}))

    def _end(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._listener.join()
        self._socket.close()
        self._process.wait()

    def _write(self, frame: bytes) -> None:
        # A broken channel is the listener's to notice: it retries everything outstanding.
        with contextlib.suppress(OSError):
            self._socket.sendall(frame)

    def _listen(self) -> None:
        try:
            while True:
                header = json_fields(read_frame(self._socket.fileno()))
                if header["kind"] == "begun":
                    self._note_begun(header["seq"])
                else:
                    self._slot_restarts = header["restarts"]
                    self._deliver(header["seq"], parse_result(header["result"]))
        except (OSError, EOFError, FrameError):
            self._recover()

    def _note_begun(self, seq: int) -> None:
        entry = self._pending.get(seq)
        if entry is not None:
            entry.is_begun = True

    def _recover(self) -> None:
        """The broker has gone: start another and send it what is outstanding."""
        with self._lock:
            if self._closing:
                return
            self._process.kill()
            self._process.wait()
            self._socket.close()
            self._past_slot_restarts += self._slot_restarts
            self._slot_restarts = 0
            self._blame()
            reason = f"the executor broker ended twice (status {self._process.returncode})"
            try:
                self._start_broker()
            except ExecutorDied as error:
                self._die(str(error))
                return
            for seq, entry in list(self._pending.items()):
                if entry.tries < MAX_TRIES:
                    self._send(seq, entry)
                else:
                    self._refuse(seq, reason)

    def _blame(self) -> None:
        """Count a try of what ran when the broker died; of everything, if nothing did."""
        outstanding = list(self._pending.values())
        for entry in [one for one in outstanding if one.is_begun] or outstanding:
            entry.tries += 1


def _spawn_broker() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    ours, theirs = socket.socketpair()
    package_parent = str(Path(__file__).parent.parent)
    paths = [package_parent, os.environ.get("PYTHONPATH", "")]
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "stepcoder_executor.broker", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
            start_new_session=True,
        )
    return ours, process
