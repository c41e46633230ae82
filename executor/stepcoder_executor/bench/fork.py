"""What the benchmark is measured against: fork, compile, run the tests, wait, and nothing else.

Run as a script by an interpreter of its own, so that what is forked is small or holds exactly as
much memory as it was told to. It judges, limits and isolates nothing.
"""

import json
import os
import resource
import struct
import sys
import time
from typing import Any, NoReturn

_PAGE_BYTES = 4096
_INDEX = struct.Struct("<I")


def hold(gib: float) -> bytearray:
    """``gib`` GiB of memory, every page of it touched."""
    held = bytearray(int(gib * (1 << 30)))
    held[::_PAGE_BYTES] = b"x" * len(range(0, len(held), _PAGE_BYTES))
    return held


def run_all(requests: list[dict[str, Any]], workers: int) -> dict[str, float]:
    """Run the programs, ``workers`` at a time.

    Returns:
        ``{"seconds", "cpu_s"}``: from the first program handed out until the last has ended, and
        the CPU time of the workers and their children.

    Raises:
        RuntimeError: a worker failed.
    """
    queue, feed = os.pipe()
    pids = [_start_worker(requests, queue, feed) for _ in range(workers)]
    os.close(queue)
    began = time.perf_counter()
    for index in range(len(requests)):
        os.write(feed, _INDEX.pack(index))
    os.close(feed)
    statuses = [os.waitpid(pid, 0)[1] for pid in pids]
    seconds = time.perf_counter() - began
    if any(statuses):
        raise RuntimeError(f"a worker of the bare fork ended with wait statuses {statuses}")
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"seconds": seconds, "cpu_s": usage.ru_utime + usage.ru_stime}


def _start_worker(requests: list[dict[str, Any]], queue: int, feed: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    os.close(feed)
    status = 1
    try:
        while index := os.read(queue, _INDEX.size):
            child = os.fork()
            if child == 0:
                _live(requests[_INDEX.unpack(index)[0]])
            os.waitpid(child, 0)
        status = 0
    finally:
        os._exit(status)


def _live(request: dict[str, Any]) -> NoReturn:
    """Be the child. What a program raises ends it, and nobody looks."""
    try:
        code = compile(request["source"], "program", "exec")
        for given in request["tests"]["inputs"]:
            names: dict[str, Any] = {"__name__": "__main__"}
            if request["tests"]["fn_name"] is None:
                fd = os.memfd_create("stdin")
                os.write(fd, given.encode())
                os.lseek(fd, 0, os.SEEK_SET)
                sys.stdin = open(fd)  # noqa: SIM115
                exec(code, names)
            else:
                exec(code, names)
                names["solve"](*given)
    finally:
        os._exit(0)


def main() -> None:
    """Read ``{"parent_gib", "workers", "requests"}`` on stdin; print what :func:`run_all` gave."""
    spec = json.load(sys.stdin)
    held = hold(spec["parent_gib"])
    answer = os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    json.dump(run_all(spec["requests"], spec["workers"]), answer)
    answer.close()
    del held


if __name__ == "__main__":
    main()
