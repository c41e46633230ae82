"""Runs the slot's own code a few times before the first fork.

The interpreter specialises bytecode and builds types on first use; done in the zygote this happens
once, done in a child it happens for every program, in pages that must be copied first.
"""

import json
import mmap
import os
import sys
import types

from slot.child import compile_source
from slot.program import Program, open_standard_streams, restore_descriptors
from slot.tracing import PAGE_BYTES, Tracer

_ROUNDS = 12
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


def warm_up(builtins: types.ModuleType) -> None:
    """Compile, map and run a sample in every mode, then put the standard streams back."""
    stdin, stdout = os.memfd_create("stdin"), os.memfd_create("stdout")
    kept = [os.dup(0), os.dup(1)]
    with mmap.mmap(-1, PAGE_BYTES) as page:
        for _ in range(_ROUNDS):
            program = Program(code=compile_source(SAMPLE), builtins=builtins)
            tracer = Tracer(program.code, page)
            tracer.start()
            restore_descriptors(stdin, stdout, b"1 2 3\n")
            program.run_stdio()
            program.run_call("solve", json.loads("[3, 40]"))
            tracer.stop()
    for number, fd in enumerate(kept):
        os.dup2(fd, number)
    for fd in (*kept, stdin, stdout):
        os.close(fd)
    open_standard_streams()
    sys.modules["__main__"] = sys.modules["builtins"]
