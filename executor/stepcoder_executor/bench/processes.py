"""CPU time and memory of processes and all that they have started, as /proc tells them."""

import os
from dataclasses import dataclass
from pathlib import Path

_KIB_PER_MIB = 1024
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process. ``cpu_s`` is its own CPU time and that of the children it has waited for."""

    pid: int
    parent: int
    cpu_s: float


def family(pid: int) -> list[Process]:
    """The process ``pid`` and everything below it that is running, parents first."""
    every = _every_process()
    found = [process for process in every if process.pid == pid]
    for process in found:
        found += [child for child in every if child.parent == process.pid]
    return found


def cpu_s(pid: int) -> float:
    """CPU seconds so far of ``pid`` and everything below it."""
    return sum(process.cpu_s for process in family(pid))


def pss_mib(pids: list[int]) -> float | None:
    """MiB of these processes, shared pages divided among their holders.

    None where the kernel does not show it to this user.
    """
    try:
        return sum(_field(f"/proc/{pid}/smaps_rollup", "Pss") for pid in pids) / _KIB_PER_MIB
    except PermissionError:
        return None


def rss_anon_mib(pids: list[int]) -> float:
    """MiB of memory of these processes that no file backs, shared pages counted each time."""
    return sum(_field(f"/proc/{pid}/status", "RssAnon") for pid in pids) / _KIB_PER_MIB


def available_gib() -> float:
    """GiB of memory that can be had without swapping."""
    return _field("/proc/meminfo", "MemAvailable") / _KIB_PER_MIB / 1024


def _every_process() -> list[Process]:
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            stat = (folder / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            # It has ended since the folder was listed.
            continue
        words = stat.rpartition(")")[2].split()
        ticks = sum(int(word) for word in words[11:15])
        process = Process(pid=int(folder.name), parent=int(words[1]), cpu_s=ticks / _TICKS_PER_S)
        found.append(process)
    return found


def _field(path: str, name: str) -> int:
    """The KiB that a line ``name:  1234 kB`` of a file gives."""
    with open(path) as file:
        for line in file:
            key, _, value = line.partition(":")
            if key == name:
                return int(value.split()[0])
    raise ValueError(f"{path} has no field {name}")
