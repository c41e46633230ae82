"""A node of a Ray cluster as its owner sees it."""

import json
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from stepcoder_executor.node_broker import cancel_message
from stepcoder_executor.ray_cluster import call

_AHEAD_PER_SLOT = 4
_POLL_S = 1.0

Answer = dict[str, Any]


class RayNode:
    """What one node's actor was given, and what is still to be sent to it.

    id: Ray's id of the node; slots: programs at a time; actor: a :class:`NodeBroker`.
    is_ready: its broker runs.
    outstanding: the requests it was given and has not answered.
    restarts: the broker's own account, as of its last answer.
    heard: monotonic time of its last answer, seconds.

    Used by one thread; ``post`` brings what Ray's threads have to say to that thread.
    """

    def __init__(
        self, node_id: str, slots: int, actor: Any, post: Callable[[Callable[[], None]], None]
    ) -> None:
        self.id, self.slots, self.actor = node_id, slots, actor
        self.is_ready = False
        self.outstanding: set[int] = set()
        self.restarts: dict[str, float] = {}
        self.heard = time.monotonic()
        self._post = post
        self._outbox: list[bytes] = []
        self._is_sending = False

    @property
    def has_room(self) -> bool:
        """Whether it takes more: beside what runs some in reserve, so that it need not wait."""
        return self.is_ready and len(self.outstanding) < _AHEAD_PER_SLOT * self.slots

    @property
    def load(self) -> float:
        """Outstanding requests a slot."""
        return len(self.outstanding) / self.slots

    def start(self, config: dict[str, Any], then: Callable[[Future[Any]], None]) -> None:
        """Start its broker; ``then`` gets what :meth:`NodeBroker.start` gave."""
        self._call("start", config, group="send", then=then)

    def give(self, seq: int, message: bytes) -> None:
        """Put a request into the next batch."""
        self.outstanding.add(seq)
        self._outbox.append(message)

    def withdraw(self, seq: int) -> None:
        """Put the cancellation of a request into the next batch."""
        self.outstanding.discard(seq)
        self._outbox.append(cancel_message(seq))

    def flush(self, then: Callable[[Future[Any]], None]) -> None:
        """Send the next batch, unless one is on its way or nothing is in it."""
        if self._outbox and not self._is_sending:
            batch, self._outbox, self._is_sending = self._outbox, [], True
            self._call("send", batch, group="send", then=then)

    def sent(self) -> None:
        """The batch on its way has arrived."""
        self._is_sending = False

    def poll(self, then: Callable[[Future[Any]], None]) -> None:
        """Ask for what has finished; ``then`` gets what :meth:`absorb` takes."""
        self._call("receive", _POLL_S, group="receive", then=then)

    def absorb(self, data: bytes) -> list[Answer]:
        """Note that ``data`` has come; the answers in it."""
        fields = json.loads(data)
        self.heard, self.restarts = time.monotonic(), fields["restarts"]
        answers: list[Answer] = fields["answers"]
        self.outstanding.difference_update(answer["seq"] for answer in answers)
        return answers

    def _call(
        self, name: str, argument: Any, *, group: str, then: Callable[[Future[Any]], None]
    ) -> None:
        call(
            self.actor,
            name,
            argument,
            group=group,
            then=lambda done: self._post(partial(then, done)),
        )
