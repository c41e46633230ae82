"""Planted copies of benchmark problems, and rows that are only like them."""

import pytest
from stepcoder_executor import AssertionTests

from stepcoder_jax.data.refinement.contamination import Benchmarks
from stepcoder_jax.data.refinement.shape import shape
from stepcoder_jax.problem import Problem

TOLD = (
    "Check if in given list of numbers, are any two numbers closer to each other than given"
    " threshold, the order of the list aside."
)
PROMPT = (
    "from typing import List\n\n\ndef has_close(numbers: List[float], threshold: float) -> bool:\n"
    f'    """ {TOLD}\n    >>> has_close([1.0, 2.0, 3.0], 0.5)\n    False\n'
    '    >>> has_close([1.0, 2.8, 3.0, 4.0, 5.0, 2.0], 0.3)\n    True\n    """\n'
)
BODY = """    for idx, elem in enumerate(numbers):
        for idx2, elem2 in enumerate(numbers):
            if idx != idx2:
                distance: float = abs(elem - elem2)
                if distance < threshold:
                    return True
    return False
"""
RENAMED = """class Solution:
    def near(self, xs, eps):
        '''Whether two are near.'''
        for i, a in enumerate(xs):
            for j, b in enumerate(xs):
                if i != j:  # not itself
                    d = abs(a - b)
                    if (d < eps):
                        return True
        return False"""


def problem(name, question, starter="", solution=None):
    return Problem(
        id=name,
        question=question,
        difficulty="introductory",
        starter_code=starter,
        canonical_solution=solution,
        tests=AssertionTests(assertions=("check(has_close)",), setup=""),
        source="test",
    )


BENCHMARK = problem(
    "HumanEval/0", "Complete the function `has_close`.", PROMPT.rstrip(), PROMPT + BODY
)
TINY = problem("HumanEval/53", "Complete the function `add`.", solution="def add(x, y): return x+y")


@pytest.mark.parametrize(
    ("question", "share"),
    [
        (TOLD, 1.0),
        (f"A warm-up.\n{TOLD.upper()} Mind the limits: 1 to 100.", 1.0),
        (TOLD.replace("threshold", "limit"), 0.5),
        (TOLD.replace("numbers", "values"), 0.3),
        ("Given some floats, tell whether two of them are nearer than a limit.", None),
    ],
)
def test_what_a_docstring_says_is_compared_without_signature_and_examples(question, share):
    worst = Benchmarks([TINY, BENCHMARK], 10).worst(problem("mine", question))
    assert (worst and (worst.problem_id, round(worst.share, 1))) == (
        share and ("HumanEval/0", share)
    )


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (PROMPT + BODY, True),
        (RENAMED, True),
        ("import math\n" + RENAMED, True),
        (RENAMED.replace("<", "<="), False),
        (RENAMED.replace("abs", "len"), False),
        (RENAMED.replace("- b", "- a"), False),
        (RENAMED + "\n\nprint(Solution().near([1, 2], 3))", False),
        ("def f(", False),
        ("def plus(a, b):\n    return a + b", False),
    ],
)
def test_a_solution_is_known_whatever_its_names(source, found):
    benchmarks = Benchmarks([TINY, BENCHMARK], 10)
    assert benchmarks.solved_by(["x = 1", source]) == ("HumanEval/0" if found else None)


def test_names_are_numbered_not_forgotten():
    one = "def f(a, b):\n    return [x * a for x in range(b) if x % 2 == 0 and x > a or x < b - a]"
    assert shape(one) == shape(one.replace("x", "y").replace("(a, b)", "(a: int, b)"))
    assert shape(one) != shape(one.replace("x * a", "x * b"))
    assert shape(one) != shape(one.replace("range(b)", "range(a)"))
