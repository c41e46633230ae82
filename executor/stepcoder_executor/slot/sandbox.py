"""The ladder of isolation, and what a zygote needs to know of the rung it stands on."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field

from slot.child import Files


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """A rung that has been entered.

    seal_child: run in each child before the program, never to be undone.
    kill_strays: ends every process that a program left behind.
    clean: empties the place where programs may write.
    """

    files: Files
    base_memory_bytes: int
    seal_child: Callable[[], None]
    kill_strays: Callable[[], None]
    clean: Callable[[], None]
    notes: list[str] = field(default_factory=list)


def enter(rung: str) -> Sandbox:
    def nothing():
        pass

    n = os.open("/dev/null", os.O_RDWR)
    os.dup2(n, 2)
    return Sandbox(
        files=memory_files(),
        base_memory_bytes=_address_space_bytes(),
        seal_child=nothing,
        kill_strays=nothing,
        clean=nothing,
    )


def memory_files() -> Files:
    """Files that have no path."""
    stdin, stdout, records = (os.memfd_create(name) for name in ("stdin", "stdout", "records"))
    append = os.open(f"/proc/self/fd/{stdout}", os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    os.close(stdout)
    return Files(stdin=stdin, stdout=append, records=records)


def _address_space_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[0]) * os.sysconf("SC_PAGESIZE")
