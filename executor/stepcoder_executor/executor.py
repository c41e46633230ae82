"""What every executor has: requests in, futures out, and the account of what is between."""

import contextlib
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from typing import Any, Self

from stepcoder_executor.config import ExecutorConfig
from stepcoder_executor.protocol import Request, Result, request_to_json

MAX_TRIES = 2
_RATE_WINDOW = 512
_AHEAD_PER_SLOT = 8


class ExecutorDied(RuntimeError):
    """The executor could not start, or what ran a request ended twice before it was answered."""


@dataclass(kw_only=True)
class Pending:
    """A request that is not answered yet.

    message: the request as it is sent, so that it can be sent again.
    submitted: monotonic seconds; tries: how often what ran it has died, or how often it was sent.
    is_begun: whether it may have been running, as far as is known.
    """

    message: bytes
    future: Future[Result]
    submitted: float
    tries: int = 0
    is_begun: bool = False


class Executor(ABC):
    """Runs requests in other processes; safe to use from several threads.

    config: what it was started with.
    isolation: the rung of the sandbox that programs run on; of several, the weakest.
    isolation_steps: each rung that was tried for it: ``{"rung", "error"}``.

    A subclass sends (``_encode``, ``_send``, ``_withdraw``) and calls ``_deliver``, ``_refuse`` and
    ``_die`` as answers come; a future is answered once, whatever comes after.
    """

    def __init__(self, config: ExecutorConfig) -> None:
        self.config = config
        self.isolation = ""
        self.isolation_steps: list[dict[str, Any]] = []
        self.death: ExecutorDied | None = None
        # Held while a request is written to a channel that may be full: never to take an answer.
        self._lock = threading.RLock()
        self._account = threading.Lock()
        self._room = threading.BoundedSemaphore(config.max_pending)
        self._pending: dict[int, Pending] = {}
        self._next_seq = 0
        self._closing = False
        self._verdicts: Counter[str] = Counter()
        self._finished: deque[float] = deque(maxlen=_RATE_WINDOW)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    @abstractmethod
    def n_slots(self) -> int:
        """How many programs can run at a time now."""

    @abstractmethod
    def restarts(self) -> dict[str, float]:
        """How often slots and brokers were replaced since the start: ``{name: count}``."""

    def submit(self, request: Request) -> Future[Result]:
        """Queue a request; its future gives the result, or raises :class:`ExecutorDied`.

        Blocks while ``config.max_pending`` requests are unanswered. Cancelling the future takes
        the request out of the queue, or ends the program.

        Raises:
            ExecutorDied: the executor had to give up.
            RuntimeError: it is closed.
        """
        return self.submit_json(request_to_json(request))

    def submit_json(self, fields: dict[str, Any], timeout_s: float | None = None) -> Future[Result]:
        """:meth:`submit` of a request's JSON form; the verdict says if that is not a request.

        Raises:
            TimeoutError: ``timeout_s`` passed and still ``config.max_pending`` are unanswered.
        """
        if not self._room.acquire(timeout=timeout_s):
            unfinished = f"{self.config.max_pending} programs unfinished"
            raise TimeoutError(f"{unfinished} after {timeout_s:.3g} s: no room for another")
        try:
            seq, entry = self._enter(fields)
        except BaseException:
            self._room.release()
            raise
        entry.future.add_done_callback(lambda done: self._forget(seq, done))
        return entry.future

    def run(self, requests: Iterable[Request], timeout_s: float | None = None) -> Iterator[Result]:
        """Results in completion order, at most ``config.max_pending`` requests ahead.

        Raises:
            TimeoutError: ``timeout_s`` passed; what was outstanding is cancelled.
            ExecutorDied: the executor had to give up, or gave up a request.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        source = iter(requests)
        done: queue.SimpleQueue[Future[Result]] = queue.SimpleQueue()
        waiting: set[Future[Result]] = set()
        try:
            while True:
                window = min(self.config.max_pending, max(_AHEAD_PER_SLOT * self.n_slots, 16))
                while len(waiting) < window and (request := next(source, None)) is not None:
                    future = self.submit_json(request_to_json(request), _left(deadline))
                    waiting.add(future)
                    future.add_done_callback(done.put)
                if not waiting:
                    return
                if _left(deadline) == 0:
                    raise TimeoutError(f"{len(waiting)} programs unfinished after {timeout_s} s")
                with contextlib.suppress(queue.Empty):
                    future = done.get(timeout=_left(deadline))
                    waiting.remove(future)
                    yield future.result()
        finally:
            for future in waiting:
                future.cancel()

    def metrics(self) -> dict[str, float | dict[str, float]]:
        """What the executor is doing, for a log.

        ``queue_depth`` (requests unanswered), ``oldest_s`` (age of the oldest of them, seconds),
        ``programs_per_s`` (of the last 512), ``programs``, ``verdicts`` (shares), and
        :meth:`restarts`.
        """
        with self._lock, self._account:
            now = time.monotonic()
            oldest = min((one.submitted for one in list(self._pending.values())), default=now)
            total = max(self._verdicts.total(), 1)
            span = now - self._finished[0] if self._finished else 0.0
            return {
                "queue_depth": len(self._pending),
                "oldest_s": now - oldest,
                "programs_per_s": len(self._finished) / span if span > 0 else 0.0,
                "programs": self._verdicts.total(),
                "verdicts": {verdict: n / total for verdict, n in self._verdicts.items()},
                **self.restarts(),
            }

    def close(self) -> None:
        """End everything that was started; outstanding futures are cancelled."""
        with self._lock:
            self._closing = True
            left = list(self._pending.values())
        for entry in left:
            entry.future.cancel()
        self._end()

    @abstractmethod
    def _encode(self, seq: int, fields: dict[str, Any]) -> bytes:
        """The message that asks for a request's result."""

    @abstractmethod
    def _send(self, seq: int, entry: Pending) -> None:
        """Send a new request on its way; called with the lock held."""

    @abstractmethod
    def _withdraw(self, seq: int) -> None:
        """Have a request forgotten that was cancelled; called with the lock held."""

    @abstractmethod
    def _end(self) -> None:
        """End threads and processes; may be called more than once."""

    def _enter(self, fields: dict[str, Any]) -> tuple[int, Pending]:
        with self._lock:
            if self.death is not None:
                raise ExecutorDied(str(self.death))
            if self._closing:
                raise RuntimeError("the executor is closed")
            seq, self._next_seq = self._next_seq, self._next_seq + 1
            message = self._encode(seq, fields)
            entry = Pending(message=message, future=Future(), submitted=time.monotonic())
            self._pending[seq] = entry
            self._send(seq, entry)
        return seq, entry

    def _deliver(self, seq: int, result: Result) -> None:
        """Answer a request, unless it is answered or cancelled already."""
        entry = self._pending.get(seq)
        if entry is None:
            return
        with self._account:
            self._verdicts[result.verdict] += 1
            self._finished.append(time.monotonic())
        with contextlib.suppress(InvalidStateError):
            entry.future.set_result(result)

    def _refuse(self, seq: int, reason: str) -> None:
        """Give a request up, unless it is answered or cancelled already."""
        entry = self._pending.get(seq)
        if entry is not None:
            with contextlib.suppress(InvalidStateError):
                entry.future.set_exception(ExecutorDied(reason))

    def _die(self, reason: str) -> None:
        """Give everything up: nothing more can be run."""
        with self._lock:
            self.death, self._closing = ExecutorDied(reason), True
            for seq in list(self._pending):
                self._refuse(seq, reason)

    def _forget(self, seq: int, future: Future[Result]) -> None:
        if self._pending.pop(seq, None) is None:
            return
        self._room.release()
        if future.cancelled():
            with self._lock:
                if not self._closing:
                    self._withdraw(seq)


def _left(deadline: float | None) -> float | None:
    """Seconds until ``deadline``, at least 0; None for no deadline."""
    return None if deadline is None else max(deadline - time.monotonic(), 0.0)
