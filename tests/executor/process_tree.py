"""What a process has started, holds and uses, as ``/proc`` has it."""

import os
import time
from contextlib import suppress
from pathlib import Path


def children(pid):
    """Those that there are: a thread, or the process, may end while it is being read."""
    found = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                found += [int(word) for word in (task / "children").read_text().split()]
    return found


def command_line(pid):
    """With zeros between the words; of a process that is not there, nothing."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def generations(pid):
    """The process's children, their children, and so on, as one list for each."""
    found, youngest = [], children(pid)
    while youngest:
        found.append(youngest)
        youngest = [child for parent in youngest for child in children(parent)]
    return found


def descendants(pid):
    return [child for generation in generations(pid) for child in generation]


def within(seconds, condition):
    """Whether ``condition`` comes true in this time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def gone(pids):
    return within(5, lambda: not any(map(_is_there, pids)))


def has_zombies(pid):
    """Whether a descendant has ended and stays unreaped."""
    return not within(2, lambda: "Z" not in map(_letter, descendants(pid)))


def n_descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def own_memory_kib(pid):
    """Anonymous memory, resident or swapped out."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return sum(int(fields[name].split()[0]) for name in ("RssAnon", "VmSwap"))


def _is_there(pid):
    # Reaping an orphan is init's, and not every container's init does it.
    return _state(pid) not in (None, ("Z", 1))


def _letter(pid):
    return (_state(pid) or "-")[0]


def _state(pid):
    """One letter, and the parent; None for a process that is not there."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return words[0], int(words[1])
