"""Functions that starter codes begin, and programs that define without calling."""

import pytest

from stepcoder_jax.data.entry_function import EntryFunction, defined, entry_function, with_call


@pytest.mark.parametrize(
    ("starter", "name", "takes_arguments"),
    [
        ("def f():", "f", False),
        ("def f(xs, *, k=2):\n\t", "f", True),
        ("def f(*xs):", "f", True),
        ("import math\n\ndef g():\n    return 1\n\ndef f():\n    # here\n", "f", False),
        ("class Solution:\n    def f(self) -> None:\n        ", "f", False),
        ("class Solution:\n    def f(self, xs: List[int]) -> int:", "f", True),
        ("async def f():", "f", False),
        ("def f():\n    return 1", "f", False),
    ],
)
def test_the_last_function_that_is_begun(starter, name, takes_arguments):
    assert entry_function(starter) == EntryFunction(name=name, takes_arguments=takes_arguments)


@pytest.mark.parametrize("starter", ["", "\n", "n = int(input())", "def f(:", "class Solution:"])
def test_no_function_is_begun(starter):
    assert entry_function(starter) is None


def test_a_function_is_found_by_its_name():
    program = "def f(x):\n    return x\n\ndef g():\n    return f(1)"
    assert defined(program, "f") == EntryFunction(name="f", takes_arguments=True)
    assert defined(program, "g") == EntryFunction(name="g", takes_arguments=False)
    assert defined(program, "h") is None
    assert defined("def f(:", "f") is None


@pytest.mark.parametrize(
    ("program", "call"),
    [
        ("def f():\n    print(1)", "f()"),
        ("def g():\n    f()\n\ndef f():\n    g()", "f()"),
        ("class Solution:\n    def f(self):\n        print(1)\n", "Solution().f()"),
    ],
)
def test_a_function_that_nothing_calls_is_called(program, call):
    assert with_call(program, "f") == f"{program.rstrip()}\n\n{call}\n"


@pytest.mark.parametrize(
    "program",
    [
        "def f():\n    print(1)\nf()",
        "def f():\n    print(1)\nif __name__ == '__main__':\n    f()",
        "class S:\n    def f(self):\n        print(1)\nS().f()",
        "def f(n):\n    print(n)",
        "def g():\n    print(1)",
        "def f(:",
    ],
)
def test_a_program_that_needs_no_call_stays(program):
    assert with_call(program, "f") == program
