"""The programs that the benchmark runs: made up, the same every time.

Seven of ten are call-based, the others read stdin; each has six tests. Of twenty, sixteen are
right, two are wrong, one raises and one does not compile. No two are the same text: nothing that
an executor keeps of one program helps it with another.
"""

from typing import Any

from stepcoder_executor.protocol import IoTests, Request

_CALL = '''\
def solve(values, k):
    """Sum of the k largest values, each doubled when even."""
    total = {offset}
    for value in sorted(values, reverse=True)[:k]:
        if value % 2 == 0:
            total += 2 * value
        elif value > {salt}:
            total += value
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
_WRONG, _RAISES, _DOES_NOT_COMPILE = (3, 11), 5, 15


def workload(n: int) -> list[Request]:
    """``n`` requests; the id of each is its index."""
    return [_request(index) for index in range(n)]


def is_right(request: Request) -> bool:
    """Whether a request of the workload must pass."""
    return int(request.id) % 20 not in (*_WRONG, _RAISES, _DOES_NOT_COMPILE)


def _request(index: int) -> Request:
    salt, kind = index % 17, index % 20
    offset = 1 if kind in _WRONG else 0
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
    if kind == _RAISES:
        source = f"raise ValueError({index})\n{source}"
    elif kind == _DOES_NOT_COMPILE:
        source = source.replace(":", "", 1)
    tests = IoTests(fn_name=fn_name, inputs=tuple(inputs), outputs=tuple(outputs))
    return Request(id=str(index), source=f"{source}# {index}\n", tests=tests)


def _solve(values: list[int], k: int, salt: int) -> list[int]:
    total = 0
    for value in sorted(values, reverse=True)[:k]:
        total += 2 * value if value % 2 == 0 else value if value > salt else -1
    return [total, max(values.count(value) for value in values)]
