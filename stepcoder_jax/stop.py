"""Ctrl-C and SIGTERM: asked for at any time, obeyed where the run can be taken up again."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType


class Interrupted(Exception):
    """The user or the scheduler asked the run to stop; what is done has been saved."""


# With several processes: looks between two at which they tell each other, which takes a moment.
_LOOKS = 16


class StopRequest:
    """Remembers a signal until the run comes to a place where it can stop.

    With several processes all look at the same places, and stop at the same one, whichever of them
    was asked.

    Args:
      everywhere: given this process's signal, tells that of each, 0 for none; None: it is alone.
    """

    def __init__(self, everywhere: Callable[[int], Sequence[int]] | None = None) -> None:
        self.signal: signal.Signals | None = None
        self._everywhere = everywhere
        self._looks = 0

    def check(self) -> None:
        """Raises ``Interrupted`` if a stop was asked for."""
        if self._everywhere is None:
            if self.signal is not None:
                raise Interrupted(f"stopped by {self.signal.name}")
            return
        self._looks += 1
        if self._looks % _LOOKS == 0:
            asked = self._everywhere(self.signal or 0)
            for process, number in enumerate(asked):
                if number:
                    name = signal.Signals(number).name
                    raise Interrupted(f"stopped by {name} of process {process}")

    def _ask(self, number: int, _: FrameType | None) -> None:
        if self.signal is not None:
            # Asked twice: the user does not want to wait. The last checkpoint stays.
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)


@contextmanager
def stop_on_signals(
    everywhere: Callable[[int], Sequence[int]] | None = None,
) -> Iterator[StopRequest]:
    """Turns SIGINT and SIGTERM into a ``StopRequest`` while the block runs; main thread only."""
    request = StopRequest(everywhere)
    previous = {s: signal.signal(s, request._ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
