"""The broker process: requests in on one channel, results out on the same, slots in between."""

import contextlib
import selectors
import signal
import socket
import sys
from collections import deque
from typing import Any

from stepcoder_executor.execution import Execution
from stepcoder_executor.ladder import choose
from stepcoder_executor.protocol import ProtocolError, Result, parse_request, result_to_json
from stepcoder_executor.slot.messages import Answer
from stepcoder_executor.slot.wire import (
    FrameError,
    FrameReader,
    json_fields,
    json_frame,
    read_frame,
)
from stepcoder_executor.slots import Mapper, Prepared, Slot, SlotRefusedError

_TICK_S = 1.0
_READ_BYTES = 1 << 18
_MAX_FAILED_STARTS = 3
# With more than this for each slot in the queue, a slot is given its next program ahead of time.
_DEEP_QUEUE = 2


class Broker:
    """Hands queued requests to idle slots, and replaces slots that fail."""

    def __init__(self, channel: socket.socket, config: dict[str, Any], first: Slot) -> None:
        self._channel = channel
        self._config = config
        self._rung = first.rung
        self._selector = selectors.DefaultSelector()
        self._selector.register(channel, selectors.EVENT_READ, None)
        self._reader = FrameReader()
        self._queue: deque[Execution] = deque()
        self._seqs: dict[Execution, int] = {}
        self._begun: set[int] = set()
        self._attempts: dict[Execution, int] = {}
        self._slots: list[Slot] = []
        self._mapper: Mapper | None = None
        self._to_map: deque[Execution] = deque()
        self._restarts = 0
        self._failed_starts = 0
        self._add(first)
        for _ in range(config["slots"] - 1):
            self._add(Slot(first.rung))

    def serve(self) -> None:
        """Work until the channel closes."""
        while True:
            for key, _ in self._selector.select(_TICK_S):
                if key.data is None:
                    data = self._channel.recv(_READ_BYTES)
                    if not data:
                        return
                    self._take(data)
                elif key.data in self._slots:
                    self._hear(key.data)
                elif self._mapper is not None and key.data is self._mapper:
                    self._hear_mapper(self._mapper)
            for slot in [slot for slot in self._slots if slot.is_overdue]:
                self._replace(slot, "it was silent for too long")
            if self._mapper is not None and self._mapper.is_overdue:
                self._replace_mapper(self._mapper, "it was silent for too long")
            self._dispatch()

    def close(self) -> None:
        """End every slot."""
        processes = [*self._slots, self._mapper] if self._mapper else self._slots
        for process in processes:
            process.hang_up()
        for process in processes:
            process.close()

    def _take(self, data: bytes) -> None:
        for content in self._reader.feed(data):
            header = json_fields(content)
            if header["kind"] == "cancel":
                self._cancel(header["seq"])
            else:
                self._enqueue(header["seq"], header["request"])

    def _enqueue(self, seq: int, fields: Any) -> None:
        try:
            execution = Execution(
                parse_request(fields),
                rule=self._config["compare"],
                run_all=self._config["run_all"],
            )
        except (ProtocolError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
            detail = f"{type(error).__name__}: {error}"
            line = {"id": fields["id"], "verdict": "executor_error", "tests": [], "wall_s": 0.0}
            self._send(seq, line | {"detail": detail})
            return
        self._seqs[execution] = seq
        self._queue.append(execution)

    def _cancel(self, seq: int) -> None:
        """Forget a request: drop it from the queue, or stop the child that runs it."""
        for execution in [execution for execution, own in self._seqs.items() if own == seq]:
            del self._seqs[execution]
            self._begun.discard(seq)
            with contextlib.suppress(ValueError):
                self._queue.remove(execution)
        for slot in self._slots:
            for execution in slot.executions:
                if execution not in self._seqs:
                    slot.stop(execution)

    def _hear(self, slot: Slot) -> None:
        try:
            events = slot.events()
        except (EOFError, OSError, FrameError, SlotRefusedError) as error:
            self._replace(slot, str(error))
            return
        if slot.is_ready:
            self._failed_starts = 0
        for execution, answer, is_last in events:
            if execution not in self._seqs:
                continue
            if answer is None:
                self._queue.appendleft(execution)
            elif is_last:
                # The slot has its next program while this one is judged.
                self._dispatch()
                self._advance(execution, answer)
            elif execution.is_decided(answer):
                slot.stop(execution)

    def _advance(self, execution: Execution, answer: Answer) -> None:
        if not execution.absorb(answer):
            self._queue.appendleft(execution)
        elif not execution.request.coverage:
            self._finish(execution, execution.result(None))
        elif not execution.executed:
            self._finish(execution, execution.result(()))
        else:
            self._attempts.pop(execution, None)
            self._to_map.append(execution)
            if self._mapper is None:
                self._add_mapper()

    def _hear_mapper(self, mapper: Mapper) -> None:
        try:
            found = mapper.spans()
            if mapper.is_ready:
                self._failed_starts = 0
        except (EOFError, OSError, FrameError, SlotRefusedError) as error:
            self._replace_mapper(mapper, str(error))
            return
        if found is not None:
            execution, spans = found
            if execution in self._seqs:
                self._finish(execution, execution.result(spans))

    def _replace_mapper(self, mapper: Mapper, reason: str) -> None:
        """End a mapper that cannot be trusted any more; what ended it is tried once more."""
        self._note_restart(mapper, reason)
        execution = mapper.execution
        if execution is not None and execution in self._seqs:
            self._attempts[execution] = self._attempts.get(execution, 0) + 1
            if self._attempts[execution] > 1 or mapper.is_overdue:
                # Its tests have been judged, and that stands.
                self._finish(execution, execution.result((), f"no coverage: {reason}"))
            else:
                self._to_map.appendleft(execution)
        self._add_mapper()

    def _finish(self, execution: Execution, result: Result) -> None:
        self._attempts.pop(execution, None)
        seq = self._seqs.pop(execution)
        self._begun.discard(seq)
        self._send(seq, result_to_json(result))

    def _note_restart(self, process: Prepared, reason: str) -> None:
        if not process.is_ready:
            self._failed_starts += 1
            if self._failed_starts >= _MAX_FAILED_STARTS:
                raise SlotRefusedError(f"slots no longer start: {reason}")
        self._restarts += 1
        self._selector.unregister(process.socket)
        process.close()

    def _replace(self, slot: Slot, reason: str) -> None:
        """End a slot that cannot be trusted any more; what it was at is tried once more."""
        self._note_restart(slot, reason)
        self._slots.remove(slot)
        given = slot.executions
        self._queue.extendleft(one for one in reversed(given[1:]) if one in self._seqs)
        for running in given[:1]:
            if running not in self._seqs:
                continue
            self._attempts[running] = self._attempts.get(running, 0) + 1
            if self._attempts[running] > 1:
                self._finish(running, running.failure(f"the slot failed twice: {reason}"))
            else:
                self._queue.appendleft(running)
        self._add(Slot(self._rung))

    def _dispatch(self) -> None:
        for slot in self._slots:
            if self._queue and slot.is_idle:
                self._begin(slot)
        for slot in self._slots:
            if len(self._queue) > _DEEP_QUEUE * len(self._slots):
                if slot.is_ready and not slot.n_waiting:
                    self._begin(slot)
            elif slot.n_waiting and not self._queue and any(one.is_idle for one in self._slots):
                slot.recall()
        if self._to_map and self._mapper is not None and self._mapper.is_idle:
            self._mapper.begin(self._to_map.popleft())

    def _begin(self, slot: Slot) -> None:
        """Give a slot the next program; the client hears of it first, lest that be the last."""
        execution = self._queue.popleft()
        seq = self._seqs[execution]
        if seq not in self._begun:
            self._begun.add(seq)
            self._channel.sendall(json_frame({"kind": "begun", "seq": seq}))
        slot.begin(execution)

    def _add(self, slot: Slot) -> None:
        self._slots.append(slot)
        self._selector.register(slot.socket, selectors.EVENT_READ, slot)

    def _add_mapper(self) -> None:
        self._mapper = Mapper(self._rung)
        self._selector.register(self._mapper.socket, selectors.EVENT_READ, self._mapper)

    def _send(self, seq: int, line: dict[str, Any]) -> None:
        header = {"kind": "result", "seq": seq, "restarts": self._restarts, "result": line}
        self._channel.sendall(json_frame(header))


def main(fd: int) -> int:
    """Serve the client on the other end of descriptor ``fd``; returns an exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = socket.socket(fileno=fd)
    config = json_fields(read_frame(fd))
    try:
        first, steps = choose(config["isolation"])
    except SlotRefusedError as error:
        channel.sendall(json_frame({"kind": "refused", "reason": str(error)}))
        return 1
    channel.sendall(json_frame({"kind": "ready", "rung": first.rung, "steps": steps}))
    broker = Broker(channel, config, first)
    try:
        broker.serve()
    except (BrokenPipeError, ConnectionResetError):
        return 0
    finally:
        broker.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
