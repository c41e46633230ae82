"""What inputs show of their lists, and mutants that keep it."""

import random
from itertools import islice

import pytest
from stepcoder_executor import IoTests

from stepcoder_jax.data.refinement.mutate import mutants
from stepcoder_jax.data.refinement.promises import call_promises, order_of, ordered, text_promises


@pytest.mark.parametrize(
    ("lists", "order"),
    [
        ([[2, 3, 4, 7, 11]], "increasing"),
        ([[0.5, 1.5, 3.0, 9.5]], "increasing"),
        ([["ant", "bee", "cow", "dog"]], "increasing"),
        ([[2, 3, 3, 7]], "sorted"),
        ([[3, 5], [2, 7], [4, 10], [1, 8], [2, 6]], "increasing"),
        ([[3, 1, 4, 2]], "from 1"),
        ([[2, 0, 1, 3], [1, 0]], "from 0"),
        ([[9, 2, 7, 4, 1, 5, 30]], "distinct"),
    ],
)
def test_an_order_that_is_no_accident(lists, order):
    assert order_of(lists) == order


@pytest.mark.parametrize(
    "lists",
    [
        [[2, 5, 9]],
        [[1, 2, 3, 4, 5]],
        [[3, 1, 2]],
        [[2, 3, 4, 7, 11], [5, 1]],
        [[9, 2, 7, 4]],
        [[True, False, True, True]],
        [[1, "a", 2, "b"]],
        [[[1], [2], [3], [4]]],
        [[]],
    ],
)
def test_an_order_that_may_be_one(lists):
    assert order_of(lists) == "any"


@pytest.mark.parametrize(
    ("order", "made"),
    [
        ("any", [5, 2, 5, 9]),
        ("distinct", [5, 2, 9]),
        ("sorted", [2, 5, 5, 9]),
        ("increasing", [2, 5, 9]),
        ("from 1", [2, 1, 3, 4]),
        ("from 0", [1, 0, 2, 3]),
    ],
)
def test_a_list_is_put_in_order(order, made):
    assert ordered([5, 2, 5, 9], order) == made


def test_arguments_keep_their_order_and_their_lengths():
    calls = ([[1, 4, 6, 9], 4, "abcd"], [[2, 8], 2, "ab"])
    promises = call_promises(calls)
    assert promises.kept([[9, 4, 1], 7, "abc"]) == [[1, 4, 9], 3, "abc"]
    assert promises.kept([[9, 4, 1], 7, "ab"]) is None
    assert promises.kept([[9, 4, 4], 7, "abc"]) is None
    assert all(promises.kept(call) == call for call in calls)


def test_a_number_that_is_a_length_only_once_may_change():
    assert call_promises([[[7, 3, 9], 3]]).kept([[7, 3, 9], 2]) == [[7, 3, 9], 2]


def test_calls_of_several_lengths_promise_nothing():
    assert call_promises([[[1, 4, 6, 9]], [[2, 8], 2]]).kept([[3, 1]]) == [[3, 1]]


def test_a_line_keeps_its_order_and_its_length():
    promises = text_promises(["5 3\n2 3 4 7 11\nend\n", "4 9\n1 5 6 22\nend\n"])
    assert promises.kept("4 4\n9 5 6 22\nend\n") == "4 4\n5 6 9 22\nend\n"
    assert promises.kept("4 4\n9 5 5 22\nend\n") is None
    assert promises.kept("4  4\n5 6 9 22\nend\n") == "4  4\n5 6 9 22\nend\n"
    assert promises.kept("9 5\n3 1\n") == "9 5\n3 1\n"


def test_mutants_keep_what_all_inputs_show():
    calls = IoTests(fn_name="f", inputs=([[2, 3, 4, 7, 11], 5],), outputs=(9,))
    for numbers, _ in islice(mutants(calls, random.Random(0)), 100):
        assert numbers == sorted(set(numbers))
    text = IoTests(fn_name=None, inputs=("4\n3 1 4 2\n",), outputs=("",))
    made = [one.split("\n")[1] for one in islice(mutants(text, random.Random(0)), 15)]
    assert len(set(made)) == 15
    assert all(sorted(line.split()) == ["1", "2", "3", "4"] for line in made)
