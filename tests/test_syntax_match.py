"""PPOCoder's match of syntax trees."""

import pytest

from stepcoder_jax.syntax_match import syntax_match

REFERENCE = "def f(a):\n    return a + 1\n"


def test_names_and_constants_are_free() -> None:
    assert syntax_match("def other(x):\n    return y + 'z'\n", REFERENCE) == 1.0


def test_a_share_of_the_reference_by_hand() -> None:
    # Subtrees of the reference with children: module, def, arguments, return, sum.
    assert syntax_match("def f(a):\n    return a - 1\n", REFERENCE) == 1 / 5  # arguments
    assert syntax_match("b = a + 1\n", REFERENCE) == 1 / 5  # sum
    assert syntax_match("def f(a):\n    return a + 1\nf\n", REFERENCE) == 4 / 5  # all but module


def test_what_is_there_once_matches_once() -> None:
    reference = "a + 1\nb + 2\n"  # module, two expressions, two sums
    assert syntax_match("a + 1\n", reference) == 2 / 5
    assert syntax_match("a + 1\nb + 2\nc + 3\n", reference) == 4 / 5


def test_more_than_the_reference_costs_nothing() -> None:
    assert syntax_match("def g(): pass\n" + REFERENCE, REFERENCE) == 4 / 5


@pytest.mark.parametrize("program", ["def f(", "a = '\0'", "(" * 500 + ")" * 500, ""])
def test_what_does_not_parse_matches_nothing(program: str) -> None:
    assert syntax_match(program, REFERENCE) == 0.0


@pytest.mark.parametrize("reference", [None, "", "print 1"])
def test_without_a_reference_nothing_matches(reference: str | None) -> None:
    assert syntax_match("a + 1\n", reference) == 0.0


def test_a_deep_program_and_a_byte_order_mark_are_read() -> None:
    deep = "a = 0" + " + 1" * 900 + "\n"
    assert syntax_match(deep, deep) == 1.0
    assert syntax_match("\ufeff" + REFERENCE, REFERENCE) == 1.0


def test_what_python_only_warns_of_is_no_word() -> None:
    assert syntax_match("a = '\\d'\n", "b = '\\w'\n") == 1.0
