"""One call on a thread of its own, for as long as a block runs."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

# Called between pieces of work; raises to abandon it.
type Check = Callable[[], None]


class Abandoned(Exception):
    """Nobody waits for the work any more."""


@contextmanager
def in_background[T](work: Callable[[Check], T]) -> Iterator[Future[T]]:
    """Begins ``work`` on a thread; its value, or what it raised, is the future's result.

    The thread has ended when the block has: one that is left without waiting for the future, by an
    exception for instance, abandons the work at the next look of ``work`` at the check it is given.
    """
    left = threading.Event()

    def check() -> None:
        if left.is_set():
            raise Abandoned

    with ThreadPoolExecutor(1, thread_name_prefix="stepcoder-background") as pool:
        try:
            yield pool.submit(work, check)
        finally:
            left.set()
