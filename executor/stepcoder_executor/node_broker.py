"""A broker on a node of a cluster, with batches of JSON going in and out."""

import contextlib
import json
import queue
from concurrent.futures import Future
from functools import partial
from typing import Any

from stepcoder_executor.client import ExecutorClient
from stepcoder_executor.config import ExecutorConfig
from stepcoder_executor.executor import ExecutorDied
from stepcoder_executor.protocol import Result, result_to_json

_MAX_BATCH = 1024


def request_message(seq: int, fields: dict[str, Any]) -> bytes:
    """What asks a node for the result of the request ``fields``."""
    return json.dumps({"seq": seq, "request": fields}).encode()


def cancel_message(seq: int) -> bytes:
    """What has a node forget a request."""
    return json.dumps({"seq": seq, "request": None}).encode()


class NodeBroker:
    """Runs on a node, and does there what its owner's messages say.

    ``send`` and ``receive`` are each called by one thread at a time, and run beside each other.
    Any exception of theirs means that the node is of no more use.
    """

    def __init__(self) -> None:
        self._futures: dict[int, Future[Result]] = {}
        self._lines: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def start(self, config: dict[str, Any]) -> dict[str, Any]:
        """Start the broker with the fields of an :class:`ExecutorConfig`.

        Returns:
            ``{"isolation", "steps"}``, those of :class:`Executor`.

        Raises:
            ExecutorDied: the broker does not start here.
        """
        self._client = ExecutorClient(ExecutorConfig(**config))
        return {"isolation": self._client.isolation, "steps": self._client.isolation_steps}

    def send(self, messages: list[bytes]) -> None:
        """Queue requests and cancel some, in this order.

        Raises:
            ExecutorDied: the broker ended and does not start again.
        """
        for message in messages:
            fields = json.loads(message)
            seq, request = fields["seq"], fields["request"]
            if request is not None:
                future = self._futures[seq] = self._client.submit_json(request)
                future.add_done_callback(partial(self._finish, seq))
            elif (started := self._futures.get(seq)) is not None:
                started.cancel()

    def receive(self, timeout_s: float) -> bytes:
        """Whatever has finished; waits ``timeout_s`` for something to.

        Returns:
            JSON ``{"answers": [{"seq", "result"} or {"seq", "died": reason}], "restarts": {...}}``.

        Raises:
            ExecutorDied: the broker ended and does not start again.
        """
        answers = []
        with contextlib.suppress(queue.Empty):
            answers.append(self._lines.get(timeout=timeout_s))
            while len(answers) < _MAX_BATCH:
                answers.append(self._lines.get_nowait())
        if self._client.death is not None:
            raise ExecutorDied(str(self._client.death))
        return json.dumps({"answers": answers, "restarts": self._client.restarts()}).encode()

    def _finish(self, seq: int, future: Future[Result]) -> None:
        self._futures.pop(seq, None)
        if future.cancelled():
            return
        error = future.exception()
        answer = {"died": str(error)} if error else {"result": result_to_json(future.result())}
        self._lines.put({"seq": seq} | answer)
