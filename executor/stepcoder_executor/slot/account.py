"""A user of their own for the programs of one slot on the lowest rung, where they may fork.

The kernel counts processes by their real user, and finds them by it wherever they have gone. So a
slot that is root gives each child a real user that nobody else has. The child stays root in
effect, for files of root's, but without root's privileges, from which the count is exempt.
"""

import contextlib
import os
import resource
import signal

from slot.syscalls import drop_capabilities, prctl
from slot.users import end_user, go_before_others, user_of

_PR_SET_CHILD_SUBREAPER = 36
_MAX_PROCESSES = 256


class Account:
    """How the children of this process, a slot, are counted and ended."""

    def __init__(self) -> None:
        me = os.getpid()
        if os.path.exists(f"/proc/{me}/task/{me}/children"):
            # What a program leaves behind becomes this process's child, to be ended here.
            prctl(_PR_SET_CHILD_SUBREAPER, 1)
        self._user = user_of(me) if _may_become(user_of(me)) else None
        if self._user is not None:
            go_before_others()
        # A user who is not the slot's own has other processes, counted as they are now.
        n_others = _n_threads(os.getuid()) if self._user is None else 0
        self._max_processes = n_others + _MAX_PROCESSES

    @property
    def notes(self) -> list[str]:
        """What is to be known about it here."""
        if self._user is None and os.geteuid() == 0:
            return ["programs can fork without end: they are root, whose processes have no limit"]
        return []

    def enter(self) -> None:
        """Make this process, a new child, one that is counted."""
        os.setsid()
        _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
        limit = self._max_processes
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))
        if self._user is not None:
            os.setresuid(self._user, -1, -1)
            drop_capabilities()

    def end(self, pid: int) -> None:
        """End the child ``pid`` and what it has started. They are still to be waited for."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        if not _has_children():
            return
        if self._user is not None:
            end_user(self._user)
            return
        # Stopped first: were one killed while others run, they would fork into its place.
        found: set[int] = set()
        while new := _descendants(os.getpid()) - found:
            found |= new
            _signal_all(new, signal.SIGSTOP)
        _signal_all(found, signal.SIGKILL)


def _may_become(user: int) -> bool:
    """Whether a child of this process can take ``user`` for its real one."""
    if os.geteuid() != 0:
        return False
    pid = os.fork()
    if pid == 0:
        code = 1
        with contextlib.suppress(OSError):
            os.setresuid(user, -1, -1)
            code = 0
        os._exit(code)
    return os.waitpid(pid, 0)[1] == 0


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _descendants(pid: int) -> set[int]:
    """The processes that ``pid`` has started, those that they have, and so on."""
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        folder = f"/proc/{waiting.pop()}/task"
        # What has ended meanwhile has handed its children on to this process.
        with contextlib.suppress(OSError):
            for thread in os.listdir(folder):
                with open(f"{folder}/{thread}/children") as file:
                    new = {int(child) for child in file.read().split()} - found
                found |= new
                waiting += new
    return found


def _signal_all(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _n_threads(user: int) -> int:
    """How many threads, which the kernel counts as processes, a user has."""
    n_threads = 0
    for entry in os.scandir("/proc"):
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and entry.stat().st_uid == user:
                n_threads += len(os.listdir(f"{entry.path}/task"))
    return n_threads
