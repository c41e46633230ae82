"""The caller's side: requests in, futures out, one broker process behind them."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, InvalidStateError, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args

from stepcoder_executor.judge import CompareRule
from stepcoder_executor.protocol import Request, Result, parse_result, request_to_json
from stepcoder_executor.slot.wire import FrameError, json_fields, json_frame, read_frame

Isolation = Literal["required", "best", "full", "landlock", "seccomp", "none"]
_MAX_BROKERS_PER_REQUEST = 2
_RATE_WINDOW = 512


class ExecutorDied(RuntimeError):
    """The broker process could not start, or ended twice while a request was outstanding."""


@dataclass(frozen=True, kw_only=True)
class ExecutorConfig:
    """How to run programs.

    slots: programs at a time; 0 means one for each usable CPU.
    isolation: ``required`` refuses to start where files and the network cannot be kept out of
        reach, ``best`` takes the highest rung the machine offers; ``full``, ``landlock``,
        ``seccomp`` and ``none`` (resource limits only) are single rungs.
    compare: the comparison rule of expected and produced outputs.
    run_all: go on after a test that did not pass.
    max_pending: ``submit`` blocks while this many requests are unanswered.
    """

    slots: int = 0
    isolation: Isolation = "best"
    compare: CompareRule = "strict"
    run_all: bool = False
    max_pending: int = 4096

    def __post_init__(self) -> None:
        choices = {"isolation": get_args(Isolation), "compare": get_args(CompareRule)}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed: {allowed}")
        for name, least in (("slots", 0), ("max_pending", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: {least} or more")

    @property
    def n_slots(self) -> int:
        """The number of slots, with 0 resolved."""
        return self.slots or len(os.sched_getaffinity(0))


@dataclass(kw_only=True)
class _Pending:
    frame: bytes
    future: Future[Result]
    submitted: float
    brokers: int = 1


class ExecutorClient:
    """Runs requests on a broker process of its own; safe to use from several threads.

    The broker is a fresh interpreter: the calling process is never forked. If it dies, what was
    outstanding is tried once more on a new one.
    """

    def __init__(self, config: ExecutorConfig | None = None) -> None:
        self.config = config or ExecutorConfig()
        self._lock = threading.RLock()
        self._room = threading.BoundedSemaphore(self.config.max_pending)
        self._pending: dict[int, _Pending] = {}
        self._next_seq = 0
        self._closing = False
        self._verdicts: Counter[str] = Counter()
        self._finished: deque[float] = deque(maxlen=_RATE_WINDOW)
        self._slot_restarts = 0
        self._brokers_started = 0
        self.isolation = ""
        self.isolation_steps: list[dict[str, Any]] = []
        self._start_broker()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def submit(self, request: Request) -> Future[Result]:
        """Queue a request; its future gives the result, or raises :class:`ExecutorDied`.

        Blocks while ``config.max_pending`` requests are unanswered. Cancelling the future takes
        the request out of the queue, or ends the program.
        """
        self._room.acquire()
        future: Future[Result] = Future()
        with self._lock:
            if self._closing:
                self._room.release()
                raise RuntimeError("the executor client is closed")
            seq, self._next_seq = self._next_seq, self._next_seq + 1
            header = {"kind": "request", "seq": seq, "request": request_to_json(request)}
            frame = json_frame(header)
            self._pending[seq] = _Pending(frame=frame, future=future, submitted=time.monotonic())
            self._send(frame)
        future.add_done_callback(lambda done: self._forget(seq, done))
        return future

    def run(self, requests: Iterable[Request], timeout_s: float | None = None) -> Iterator[Result]:
        """Results in completion order, at most ``config.max_pending`` requests ahead.

        Raises:
            TimeoutError: ``timeout_s`` passed; what was outstanding is cancelled.
            ExecutorDied: the broker died twice with a request outstanding.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        window = min(self.config.max_pending, max(4 * self.config.n_slots, 16))
        source = iter(requests)
        waiting: set[Future[Result]] = set()
        try:
            while True:
                while len(waiting) < window and (request := next(source, None)) is not None:
                    waiting.add(self.submit(request))
                if not waiting:
                    return
                left = None if deadline is None else max(deadline - time.monotonic(), 0)
                done, waiting = wait(waiting, left, FIRST_COMPLETED)
                if not done:
                    raise TimeoutError(f"{len(waiting)} programs unfinished after {timeout_s} s")
                for future in done:
                    yield future.result()
        finally:
            for future in waiting:
                future.cancel()

    def metrics(self) -> dict[str, float | dict[str, float]]:
        """What the executor is doing, for a log."""
        with self._lock:
            now = time.monotonic()
            oldest = min((entry.submitted for entry in self._pending.values()), default=now)
            total = max(self._verdicts.total(), 1)
            span = now - self._finished[0] if self._finished else 0.0
            return {
                "queue_depth": len(self._pending),
                "oldest_s": now - oldest,
                "programs_per_s": len(self._finished) / span if span > 0 else 0.0,
                "programs": self._verdicts.total(),
                "slot_restarts": self._slot_restarts,
                "broker_restarts": self._brokers_started - 1,
                "verdicts": {verdict: n / total for verdict, n in self._verdicts.items()},
            }

    def close(self) -> None:
        """End the broker; outstanding futures are cancelled."""
        with self._lock:
            self._closing = True
            left = list(self._pending.values())
        for entry in left:
            entry.future.cancel()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._listener.join()
        self._socket.close()
        self._process.wait()

    def _start_broker(self) -> None:
        self._socket, self._process = _spawn_broker()
        self._brokers_started += 1
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
            answer = {"kind": "refused", "reason": f"it ended at once ({error})"}
        if answer["kind"] != "ready":
            self._process.kill()
            self._process.wait()
            self._socket.close()
            raise ExecutorDied(f"the executor broker did not start: {answer['reason']}")
        self.isolation, self.isolation_steps = answer["rung"], answer["steps"]
        self._listener = threading.Thread(
            target=self._listen, name="stepcoder-executor", daemon=True
        )
        self._listener.start()

    def _send(self, frame: bytes) -> None:
        # A broken channel is the listener's to notice: it retries everything outstanding.
        with contextlib.suppress(OSError):
            self._socket.sendall(frame)

    def _listen(self) -> None:
        try:
            while True:
                self._deliver(json_fields(read_frame(self._socket.fileno())))
        except (OSError, EOFError, FrameError):
            self._recover()

    def _deliver(self, header: dict[str, Any]) -> None:
        result = parse_result(header["result"])
        with self._lock:
            entry = self._pending.get(header["seq"])
            self._slot_restarts = header["restarts"]
            self._verdicts[result.verdict] += 1
            self._finished.append(time.monotonic())
        if entry is not None:
            with contextlib.suppress(InvalidStateError):
                entry.future.set_result(result)

    def _recover(self) -> None:
        """The broker has gone: start another and send it what is outstanding, once."""
        with self._lock:
            if self._closing:
                return
            self._process.kill()
            self._process.wait()
            self._socket.close()
            lost = [e for e in self._pending.values() if e.brokers >= _MAX_BROKERS_PER_REQUEST]
            reason = f"the executor broker ended twice (status {self._process.returncode})"
            try:
                self._start_broker()
            except ExecutorDied as error:
                lost, reason, self._closing = list(self._pending.values()), str(error), True
            for entry in lost:
                with contextlib.suppress(InvalidStateError):
                    entry.future.set_exception(ExecutorDied(reason))
            for entry in self._pending.values():
                entry.brokers += 1
                self._send(entry.frame)

    def _forget(self, seq: int, future: Future[Result]) -> None:
        with self._lock:
            if self._pending.pop(seq, None) is None:
                return
            if future.cancelled() and not self._closing:
                self._send(json_frame({"kind": "cancel", "seq": seq}))
        self._room.release()


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
