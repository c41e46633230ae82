"""Runs the slot's own code a few times before the first fork.

The interpreter specialises bytecode and builds types on first use; done in the zygote this happens
once, done in a child it happens for every program, in pages that must be copied first.
"""

import json
import mmap
import os
import sys
import types
from typing import Any

from slot.child import Files, compile_source, run_job
from slot.messages import STDIO, Job
from slot.program import Program, open_standard_streams
from slot.tracing import PAGE_BYTES, Tracer

_ROUNDS = 4
SAMPLE = '''\
import sys
from collections import defaultdict, deque

def outer(values, limit=3, *rest, **options):
    """A sample of the statements that programs are made of."""
    total, seen = 0, {}
    for index, value in enumerate(values):
        if value % 2 == 0 and index < limit:
            total += value * index
        elif value > 10 or not value:
            continue
        else:
            seen[value] = [item ** 2 for item in values[:index] if item]
    while total > 100:
        total //= 2
    try:
        best = max(seen, key=lambda one: -one) if seen else None
    except (ValueError, KeyError) as error:
        raise RuntimeError(f"{error}: {total:>5}") from error
    finally:
        del index
    pairs = {key: len(value) for key, value in seen.items()}
    return sorted(set(pairs.values())), (total, best), [*rest]

class Solution:
    count: int = 0

    def solve(self, a, b):
        return outer([a, b, a + b])[1][0]

def main():
    lines = sys.stdin.read().split()
    print(*map(int, lines), sep=" ")
    with open(0, closefd=False) as again:
        assert not again.read(), "nothing is left"

if __name__ == "__main__":
    main()
    sys.exit()
'''


_SPECS: tuple[dict[str, Any], ...] = (
    {"source": SAMPLE, "inputs": ["1 2 3\n", "4\n"]},
    {"source": SAMPLE, "fn_name": "solve", "inputs": [[3, 40], [5, 6]]},
    {
        "source": SAMPLE,
        "setup": "",
        "assertions": ["", "assert outer([1, 2, 3, 4])"],
        "leaves": [["outer([3, 40, 43])", "[1]"], None],
    },
)
_JOB = Job(
    seq=0,
    mode=STDIO,
    n_tests=2,
    first=0,
    wall_s=1.0,
    cpu_s=1.0,
    memory_bytes=0,
    output_bytes=0,
    input_bytes=0,
    coverage=False,
    run_all=True,
)


def warm_up(builtins: types.ModuleType) -> None:
    """Run a sample in every mode, as a child would, then put the standard streams back."""
    files = Files(*(os.memfd_create(name) for name in ("stdin", "stdout", "records")))
    kept = [os.dup(0), os.dup(1)]
    with mmap.mmap(-1, PAGE_BYTES) as page:
        for _ in range(_ROUNDS):
            for mode, spec in enumerate(_SPECS):
                job = _JOB._replace(mode=mode)
                run_job(job, json.dumps(spec).encode(), files, page, builtins)
            program = Program(code=compile_source(SAMPLE), builtins=builtins)
            tracer = Tracer(program.code, page)
            tracer.start()
            program.run_call("solve", [3, 40])
            tracer.stop()
    for number, fd in enumerate(kept):
        os.dup2(fd, number)
    for fd in (*kept, *files):
        os.close(fd)
    open_standard_streams()
    sys.modules["__main__"] = sys.modules["builtins"]
