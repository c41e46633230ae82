"""Users that no account of the machine has, one for the programs of each slot that is root."""

import contextlib
import os
import signal

# Above the numbers that systems and containers give out; with a process number still 31 bits.
_FIRST_USER = 0x70000000


def user_of(slot: int) -> int:
    """The real user of the programs of the slot with this process number."""
    return _FIRST_USER + slot


def end_user(user: int) -> None:
    """End every process of a user, all at once. Needs the right to become it."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(OSError):
            os.setresuid(user, user, user)
            os.kill(-1, signal.SIGKILL)
        os._exit(0)
    os.waitpid(pid, 0)
