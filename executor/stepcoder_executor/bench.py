"""Programs a second on this machine, beside the limit that a bare fork sets.

The workload is made up: call-based and stdin/stdout programs, mostly right, some wrong, raising or
not compiling, about six tests each. The bare limit forks once a program from a small interpreter,
compiles it, runs its tests without judging, isolating or limiting anything, and waits.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from stepcoder_executor.client import ExecutorClient
from stepcoder_executor.config import ExecutorConfig, Isolation
from stepcoder_executor.protocol import IoTests, Request, request_to_json

_CALL = '''\
def solve(values, k):
    """Sum of the k largest values, each doubled when even."""
    total = 0
    for value in sorted(values, reverse=True)[:k]:
        if value % 2 == 0:
            total += 2 * value
        elif value > {salt}:
            total += value + {offset}
        else:
            total -= 1
    counts = {{}}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return [total, max(counts.values()) if counts else 0]
'''
_STDIO = """\
import sys

def main():
    lines = sys.stdin.read().split("\\n")
    n = int(lines[0])
    best = None
    for line in lines[1 : n + 1]:
        a, b = map(int, line.split())
        value = a * b - {salt}
        if best is None or value > best:
            best = value
    print(best + {offset})

main()
"""
_N_TESTS = 6
_BARE = """
import json, os, sys
for line in open(sys.argv[1]):
    request = json.loads(line)
    pid = os.fork()
    if pid == 0:
        try:
            code = compile(request["source"], "program", "exec")
            for k, given in enumerate(request["tests"]["inputs"]):
                names = {"__name__": "__main__"}
                if request["tests"]["fn_name"] is None:
                    fd = os.memfd_create("stdin")
                    os.write(fd, given.encode())
                    os.lseek(fd, 0, 0)
                    sys.stdin = open(fd)
                    exec(code, names)
                else:
                    exec(code, names)
                    names["solve"](*given)
        except BaseException:
            os._exit(1)
        os._exit(0)
    os.waitpid(pid, 0)
"""


def workload(n: int) -> list[Request]:
    """``n`` made-up requests, the same every time."""
    return [_request(index) for index in range(n)]


def measure(n: int, slots: int, parent_gib: float) -> list[dict[str, Any]]:
    """One row for each way of running ``n`` programs with ``slots`` at a time.

    Args:
        n: programs a row.
        slots: programs at a time; 0 means one for each usable CPU.
        parent_gib: memory to hold in this process meanwhile, as a trainer would.

    Returns:
        Rows ``{"runner", "programs_per_s", "cpu_ms", "of_bare"}``.
    """
    held = bytearray(int(parent_gib * (1 << 30)))
    held[::4096] = b"x" * len(held[::4096])
    requests = workload(n)
    slots = ExecutorConfig(slots=slots).n_slots
    bare = _timed("bare fork", lambda: _run_bare(requests, slots), n)
    rows = [bare]
    ways: tuple[tuple[str, Isolation, bool], ...] = (
        ("all layers", "best", False),
        ("all layers, coverage", "best", True),
        ("no layers", "none", False),
        ("no layers, coverage", "none", True),
    )
    for label, isolation, coverage in ways:
        rows.append(_row(label, isolation, coverage, requests, slots))
    for row in rows:
        row["of_bare"] = row["programs_per_s"] / bare["programs_per_s"]
    return rows


def table(rows: Iterable[dict[str, Any]]) -> str:
    """The rows for a person."""
    lines = [f"{'runner':<32}{'programs/s':>12}{'CPU ms':>9}{'of bare':>9}"]
    for row in rows:
        lines.append(
            f"{row['runner']:<32}{row['programs_per_s']:>12.0f}{row['cpu_ms']:>9.2f}"
            f"{row['of_bare']:>9.2f}"
        )
    return "\n".join(lines)


def _row(
    label: str,
    isolation: Isolation,
    coverage: bool,
    requests: list[Request],
    slots: int,
) -> dict[str, Any]:
    asked = [replace(request, coverage=coverage) for request in requests]
    with ExecutorClient(ExecutorConfig(slots=slots, isolation=isolation)) as client:
        list(client.run(asked[: 4 * slots]))
        began = time.perf_counter()
        results = list(client.run(asked))
        elapsed = time.perf_counter() - began
        rung = client.isolation
        before = _cpu_s()
    # The broker's time is known once it has been waited for, the warm-up and its start included.
    cpu_s = _cpu_s() - before
    if len(results) != len(requests):
        raise RuntimeError(f"{len(requests) - len(results)} results are missing")
    return {
        "runner": f"{label} ({rung})",
        "programs_per_s": len(requests) / elapsed,
        "cpu_ms": 1e3 * cpu_s / (len(requests) + 4 * slots),
    }


def _timed(label: str, run: Any, n: int) -> dict[str, Any]:
    before, began = _cpu_s(), time.perf_counter()
    run()
    elapsed, cpu_s = time.perf_counter() - began, _cpu_s() - before
    return {"runner": label, "programs_per_s": n / elapsed, "cpu_ms": 1e3 * cpu_s / n}


def _run_bare(requests: list[Request], workers: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        processes = []
        for worker in range(workers):
            path = os.path.join(folder, f"{worker}.jsonl")
            with open(path, "w", encoding="utf-8") as file:
                for request in requests[worker::workers]:
                    file.write(json.dumps(request_to_json(request)) + "\n")
            command = [sys.executable, "-I", "-S", "-c", _BARE, path]
            processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        for process in processes:
            process.wait()


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _request(index: int) -> Request:
    salt, kind = index % 17, index % 20
    offset = 1 if kind in (3, 11) else 0
    inputs: list[Any] = []
    outputs: list[Any] = []
    fn_name: str | None = None
    if index % 10 < 7:
        source, fn_name = _CALL.format(salt=salt, offset=offset), "solve"
        for k in range(_N_TESTS):
            values = [(index * 7 + k * 13 + j * 5) % 40 for j in range(12)]
            inputs.append([values, k + 2])
            outputs.append(_solve(values, k + 2, salt))
    else:
        source = _STDIO.format(salt=salt, offset=offset)
        for k in range(_N_TESTS):
            pairs = [((index + j * 3 + k) % 9, (index * j + k) % 11) for j in range(8)]
            inputs.append("\n".join(["8", *(f"{a} {b}" for a, b in pairs)]) + "\n")
            outputs.append(f"{max(a * b - salt for a, b in pairs)}\n")
    if kind == 5:
        source = f"raise ValueError({index})\n{source}"
    elif kind == 15:
        source = source.replace(":", "", 1)
    tests = IoTests(fn_name=fn_name, inputs=tuple(inputs), outputs=tuple(outputs))
    return Request(id=str(index), source=source, tests=tests)


def _solve(values: list[int], k: int, salt: int) -> list[int]:
    total = 0
    for value in sorted(values, reverse=True)[:k]:
        total += 2 * value if value % 2 == 0 else value if value > salt else -1
    return [total, max(values.count(value) for value in values)]
