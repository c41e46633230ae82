"""Ctrl-C and SIGTERM: asked for at any time, obeyed where the run can be taken up again."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(Exception):
    """The user or the scheduler asked the run to stop; what is done has been saved."""


class StopRequest:
    """Remembers a signal until the run comes to a place where it can stop."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def check(self) -> None:
        """Raises ``Interrupted`` if a stop was asked for."""
        if self.signal is not None:
            raise Interrupted(f"stopped by {self.signal.name}")

    def _ask(self, number: int, _: FrameType | None) -> None:
        if self.signal is not None:
            # Asked twice: the user does not want to wait. The last checkpoint stays.
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turns SIGINT and SIGTERM into a ``StopRequest`` while the block runs; main thread only."""
    request = StopRequest()
    previous = {s: signal.signal(s, request._ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
