"""Normal forms, branches, the choice of a solution, mutants, n-grams: all without the executor."""

import json
import random
from itertools import islice

import pytest
from stepcoder_executor import AssertionTests, IoTests

from stepcoder_jax.data.refinement.branches import arms, explicit, taken
from stepcoder_jax.data.refinement.choose import choose
from stepcoder_jax.data.refinement.contamination import Benchmarks, LineOverlap
from stepcoder_jax.data.refinement.duplicates import Duplicates
from stepcoder_jax.data.refinement.mutate import mutants
from stepcoder_jax.data.refinement.normalise import normal_tests
from stepcoder_jax.problem import Problem


def problem(name="p", question="", starter="", solution="x = 1"):
    return Problem(
        id=name,
        question=question,
        difficulty="introductory",
        starter_code=starter,
        canonical_solution=solution,
        tests=IoTests(fn_name=None, inputs=("1\n",), outputs=("1\n",)),
        source="test",
    )


TWO = "class Solution:\n    def f(self, a, b=0): return a"
ONE = "def f(xs): return xs"
BOTH = "class Solution:\n    def f(self, a, b): return a"
NESTINGS = {
    "as it is": (TWO, [[1, 2]], [[1, 2]]),
    "a list that is the one argument": (ONE, [[1, 2, 3]], [[[1, 2, 3]]]),
    "arguments within a list": (BOTH, [[[1, 2]], [[3, 4]]], [[1, 2], [3, 4]]),
    "what fits is left": (ONE, [[[1, 2]]], [[[1, 2]]]),
    "all tests alike": (TWO, [[[1, 2]], [3, 4]], [[[1, 2]], [3, 4]]),
    "one test within a list": (BOTH, [[[1, 2]], [3, 4]], [[1, 2], [3, 4]]),
    "any number": ("def f(*xs): return xs", [[1, 2, 3]], [[1, 2, 3]]),
    "nothing known": ("def g(", [[1, 2, 3]], [[1, 2, 3]]),
}


@pytest.mark.parametrize("name", NESTINGS)
def test_arguments_are_nested_as_the_function_takes_them(name):
    source, given, wanted = NESTINGS[name]
    tests = IoTests(fn_name="f", inputs=tuple(given), outputs=tuple(range(len(given))))
    assert list(normal_tests(tests, [source]).inputs) == wanted


def test_values_are_rounded_and_those_that_nothing_equals_are_dropped():
    given = IoTests(
        fn_name="f",
        inputs=([1], [2], [3], [1]),
        outputs=(0.1 + 0.2, [float("nan")], {"a": -0.0}, 0.1 + 0.2),
    )
    found = normal_tests(given, [])
    assert found.inputs == ([1], [3])
    assert json.dumps(found.outputs) == '[0.3, {"a": 0.0}]'
    assert normal_tests(IoTests(fn_name="f", inputs=([2],), outputs=(float("inf"),)), []) is None


def test_texts_have_plain_line_ends_and_no_spaces_behind():
    given = IoTests(
        fn_name=None,
        inputs=("1 \r\n2", ["a", "b"]),
        outputs=("\n 1 \r\n0.30000000000000004 x1.0000000000000001\n\n", ["2.0000000000000001"]),
    )
    found = normal_tests(given, [])
    assert found.inputs == ("1 \n2\n", "a\nb\n")
    assert found.outputs == (" 1\n0.3 x1.0000000000000001\n", "2.0\n")


def test_assertions_are_kept_once():
    given = AssertionTests(assertions=("assert f(1)\r\n", "assert f(2)", "assert f(1)"))
    assert normal_tests(given, []).assertions == ("assert f(1)", "assert f(2)")


def test_arms_are_all_that_a_condition_decides_about():
    source = explicit(
        "for x in y:\n    if x:\n        a = 'é' if x else 2\n    elif z and w:\n        b\n"
    )
    texts = [source[start:end] for start, end in arms(source)]
    single = sorted(text for text in texts if "\n" not in text)
    assert single == sorted(["a = 'é' if x else 2", "'é'", "2", "b", "pass", "w"])
    assert len(texts) == 8


def test_an_arm_is_taken_where_it_overlaps_what_ran():
    assert taken([(0, 4), (4, 6), (8, 9)], [(3, 4), (6, 8)]) == {0}
    assert explicit("def f(:") == "def f(:"
    assert arms("def f(:") == ()


LOOP = """def f(n):
    s = 0
    for i in range(n):
        if i % 2:
            s += i
    return s"""
GOLFED = "f=lambda n:(n//2)**2"
CARRIED = "def g(a):\n    if a: return 1\n" * 30 + LOOP


@pytest.mark.parametrize("order", [(GOLFED, LOOP, CARRIED), (CARRIED, GOLFED, LOOP)])
def test_neither_the_shortest_nor_the_longest_is_chosen(order):
    assert order[choose(order)] == LOOP


def test_of_equals_the_first_is_chosen():
    assert choose([LOOP, LOOP]) == 0


def test_mutants_of_calls_stay_near_what_was_seen():
    inputs = ([[3, 9, 5], "ab", 4], [[7], "ba", 2])
    tests = IoTests(fn_name="f", inputs=inputs, outputs=(0, 0))
    made = list(islice(mutants(tests, random.Random(0)), 100))
    assert len({json.dumps(one) for one in made}) == 100
    assert not any(one in inputs for one in map(list, made))
    for numbers, text, number in made:
        assert set(text) <= set("ab")
        assert 1 <= len(numbers) <= 3
        assert all(2 <= n <= 9 for n in [*numbers, number])
    assert inputs == ([[3, 9, 5], "ab", 4], [[7], "ba", 2])


def test_mutants_of_texts_keep_lines_tokens_and_counts():
    tests = IoTests(fn_name=None, inputs=("2 4\n8 5\n6 7\n",), outputs=("",))
    for one in islice(mutants(tests, random.Random(1)), 100):
        lines = one.split("\n")
        assert [len(line.split()) for line in lines] == [2, 2, 2, 0]
        assert lines[0].startswith("2 ")
        assert all(2 <= int(token) <= 8 for token in one.split())


def test_mutants_are_the_same_for_the_same_seed_and_end_where_nothing_is_new():
    tests = IoTests(fn_name="f", inputs=([True],), outputs=(0,))
    assert list(mutants(tests, random.Random(0))) == [[False]]
    numbers = IoTests(fn_name="f", inputs=([5, [1, 2]],), outputs=(0,))
    first, second = (list(islice(mutants(numbers, random.Random(3)), 20)) for _ in range(2))
    assert first == second


SUM = "Given a list of integers, return the sum of all that are even and positive, or zero if none."
BENCHMARKS = (
    problem("B/0", SUM, solution="def f(xs):\n    # all\n    return sum(xs)\n"),
    problem("B/1", "Sort it well."),
)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        (
            "Easy!  GIVEN a list\nof integers; return the sum of all that are even and positive.",
            0.6,
        ),
        (SUM + " The list is never empty, and has at most a hundred entries.", 1.0),
        ("sort it, well", 1.0),
        ("Sort it well. But how?", None),
        ("Given a list of integers, return their product.", None),
    ],
)
def test_overlap_is_the_share_of_the_benchmarks_n_grams(text, share):
    worst = Benchmarks(BENCHMARKS, 10).worst(problem("mine", text))
    assert (worst and round(worst.share, 2)) == share


def test_lines_are_found_whatever_their_indentation():
    overlap = LineOverlap(BENCHMARKS)
    overlap.add("if a:\n        return sum(xs)")
    assert overlap.shares() == {"B/0": 0.5, "B/1": 0.0}


def test_a_near_text_is_a_duplicate_only_if_the_solution_passes():
    long = " ".join(f"word{k}" for k in range(60))
    texts = [long, long.replace("word59", "end"), "other " * 9, f" {long}\n"]
    for passes, found in ((True, [None, 0, None, 0]), (False, [None, None, None, 0])):
        duplicates = Duplicates(0.8)
        tried = []

        def solves(number, tried=tried, passes=passes):
            tried.append(number)
            return passes

        rows = [problem(str(k), text) for k, text in enumerate(texts)]
        assert [duplicates.find(k, row, solves) for k, row in enumerate(rows)] == found
        assert tried == [0]


def test_signs_count_where_a_text_is_the_same():
    duplicates = Duplicates(0.8)
    assert duplicates.find(0, problem("a", "Print a + b."), lambda _: False) is None
    assert duplicates.find(1, problem("b", "Print a - b."), lambda _: False) is None
    assert duplicates.find(2, problem("c", "Print a * b."), lambda _: True) == 0
