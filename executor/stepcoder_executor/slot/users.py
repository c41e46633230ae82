"""Users that no account of the machine has, one for the programs of each slot that is root."""

import contextlib
import os
import signal

# Above the numbers that systems and containers give out; with a process number still 31 bits.
_FIRST_USER = 0x70000000


def user_of(slot: int) -> int:
    """The real user of the programs of the slot with this process number."""
    return _FIRST_USER + slot


def go_before_others() -> None:
    """Have this process run before all ordinary ones, and not what it forks.

    Hundreds of processes that do nothing but fork can keep an ordinary one waiting for long.
    """
    # Not every machine lets root do it; then it takes its turn.
    with contextlib.suppress(OSError):
        policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(os.sched_get_priority_min(os.SCHED_RR)))


def end_user(user: int) -> None:
    """End every process of a user, all at once. Needs the right to become it."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(OSError):
            go_before_others()
            os.setresuid(user, user, user)
            if not _may_end_others():
                os.kill(-1, signal.SIGKILL)
        os._exit(0)
    os.waitpid(pid, 0)


def _may_end_others() -> bool:
    """Whether root's privileges are still there, as unusual securebits can have it."""
    try:
        os.kill(1, 0)
    except PermissionError:
        return False
    return True
