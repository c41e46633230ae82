from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stepcoder_executor import Verdict

from stepcoder_jax.config import FGOConfig
from stepcoder_jax.coverage_mask import (
    executed_tokens,
    mark_executed,
    mark_trained,
    whole_lines,
)

FGO = FGOConfig()
PREFIX = "def f(a):\n"


def spans_of(pieces: list[str], start: int = 0) -> np.ndarray:
    """Half-open places of consecutive pieces of text."""
    edges = start + np.cumsum([0, *map(len, pieces)])
    return np.stack([edges[:-1], edges[1:]], axis=1)


def covered_text(program: str, *texts: str) -> list[tuple[int, int]]:
    """The first occurrence of each text."""
    return [(program.index(text), program.index(text) + len(text)) for text in texts]


def flags(row: str) -> np.ndarray:
    return np.array([word == "yes" for word in row.split()])


def executed(program: str, covered, pieces: list[str], start: int = 0) -> list[bool]:
    spans = spans_of(pieces, start)
    return executed_tokens(program, covered, spans, np.zeros(len(pieces), bool)).tolist()


def test_the_table_of_the_docstring():
    # token     ' '  'return' ' 1' ' if' ' a' ' else' ' g' '()\n' '\n'  'END' 'x'
    start = "    10   11       17   19    22   24      29   31     34    35    35"
    end = "      11   17       19   22    24   29      31   34     35    35    35"
    is_end = "   no   no       no   no    no   no      no   no     no    yes   no"
    expected = " yes  yes      yes  yes   yes  yes     no   no     yes   yes   no"
    program = PREFIX + " return 1 if a else g()\n\n"
    covered = covered_text(program, "def f(a):", "return 1 if a else")
    spans = np.stack([np.array(row.split(), int) for row in (start, end)], axis=1)
    result = executed_tokens(program, covered, spans, flags(is_end))
    np.testing.assert_array_equal(result, flags(expected))


def test_everything_covered_marks_everything():
    program = "x = 1\ny = 2\n"
    assert executed(program, [(0, len(program))], ["x =", " 1\n", "y = 2", "\n"]) == [
        True,
        True,
        True,
        False,  # white space that nothing follows
    ]


def test_nothing_covered_marks_the_end_alone():
    spans = np.array([[0, 5], [5, 5]])
    result = executed_tokens("x = 1", [], spans, np.array([False, True]))
    np.testing.assert_array_equal(result, [False, True])


def test_one_executed_character_is_enough():
    assert executed("ab cd", [(1, 2)], ["ab", " cd"]) == [True, False]


def test_covered_white_space_alone_is_not():
    assert executed("a b", [(1, 2)], ["a ", "b"]) == [False, False]


@pytest.mark.parametrize(("covered", "expected"), [([(4, 6)], True), ([(0, 2)], False)])
def test_white_space_goes_with_the_token_that_follows(covered, expected):
    # Tokens: 'ab', newline, blank, 'cd'.
    assert executed("ab\n cd", covered, ["ab", "\n", " ", "cd"])[1:3] == [expected] * 2


def test_white_space_before_the_end_token_goes_with_it():
    spans = np.array([[0, 1], [1, 2], [2, 2]])
    result = executed_tokens("x\n", [(0, 1)], spans, np.array([False, False, True]))
    np.testing.assert_array_equal(result, [True, True, True])


def test_parts_of_a_character_go_with_it():
    # The first token of '日' writes nothing yet, the second the character.
    spans = np.array([[0, 4], [4, 4], [4, 5], [5, 6]])
    nothing_ends = np.zeros(4, bool)
    program = "x='a日'"
    covered = executed_tokens(program, [(4, 5)], spans, nothing_ends)
    np.testing.assert_array_equal(covered, [False, True, True, False])


def test_the_prefix_shifts_the_tokens():
    program = PREFIX + "  return a\n"
    pieces = ["  return", " a\n"]
    assert executed(program, [(0, len(PREFIX))], pieces, len(PREFIX)) == [False, False]
    covered = covered_text(program, "return a")
    assert executed(program, covered, pieces, len(PREFIX)) == [True, True]


def test_tokens_that_straddle_either_border_count_by_what_lies_inside():
    program = PREFIX + "  g()"
    spans = np.array([[len(PREFIX) - 2, len(PREFIX) + 3], [len(PREFIX) + 3, len(program) + 4]])
    nothing_ends = np.zeros(2, bool)
    only_prefix = executed_tokens(program, [(0, len(PREFIX))], spans, nothing_ends)
    np.testing.assert_array_equal(only_prefix, [True, False])
    only_response = executed_tokens(program, covered_text(program, "()"), spans, nothing_ends)
    np.testing.assert_array_equal(only_response, [False, True])


def test_what_the_stop_rule_cut_off_never_counts():
    # The response went on after the program with a fence and a remark.
    program = "x = 1\n"
    spans = spans_of(["x = 1", "\n", "```", "\n", "Done.", ""])
    is_end = flags("no no no no no yes")
    result = executed_tokens(program, [(0, 100)], spans, is_end)
    np.testing.assert_array_equal(result, flags("yes no no no no yes"))


def test_a_token_that_writes_white_space_and_then_the_stop_string_ends_the_response():
    # Tokens 'x', newline and fence in one, and a remark behind the fence.
    spans = np.array([[0, 1], [1, 2], [2, 2]])
    result = executed_tokens("x\n", [(0, 1)], spans, flags("no yes no"))
    np.testing.assert_array_equal(result, flags("yes yes no"))


def test_covered_spans_outside_the_program_are_ignored():
    assert executed("ab", [(-5, -1), (2, 9)], ["a", "b"]) == [False, False]


def test_a_response_without_tokens():
    assert executed("x", [(0, 1)], []) == []


@given(st.data())
def test_parity_with_a_loop_over_characters(data):
    pieces = data.draw(st.lists(st.text("ab \n\té", max_size=4), max_size=12))
    program = "".join(pieces)[: data.draw(st.integers(0, 48))]
    marked = data.draw(st.lists(st.booleans(), min_size=len(program), max_size=len(program)))
    covered = [(i, i + 1) for i, mark in enumerate(marked) if mark]
    spans = spans_of(pieces)
    expected: list[bool] = []
    following = False
    for start, end in spans[::-1]:
        inside = range(start, min(end, len(program)))
        ink = [i for i in inside if not program[i].isspace()]
        if ink or start >= len(program):
            following = any(marked[i] for i in ink)
        expected.insert(0, following)
    assert executed(program, covered, pieces) == expected


def test_whole_lines():
    program = "a = 1\nif a: b\n\n  c\rd"
    covered = [(4, 5), (13, 15)]  # the 1; the line breaks after b
    assert [program[start:end] for start, end in whole_lines(program, covered)] == ["a = 1\n"]
    assert whole_lines(program, []) == []
    assert [program[start:end] for start, end in whole_lines(program, [(17, 20)])] == [
        "  c\r",
        "d",
    ]


def test_line_granularity_spreads_over_the_line():
    program = "x = 1 if a else 2\ny = 3\n"
    pieces = ["x = 1", " if a", " else", " 2\n", "y = 3\n"]
    arguments = (
        program,
        covered_text(program, "x = 1 if a"),
        spans_of(pieces),
        np.zeros(5, bool),
        Verdict.FAILED,
    )
    np.testing.assert_array_equal(mark_executed(*arguments, FGO), [True, True, False, False, False])
    by_line = replace(FGO, granularity="line")
    np.testing.assert_array_equal(
        mark_executed(*arguments, by_line), [True, True, True, True, False]
    )


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_program_that_does_not_compile_counts_whole(verdict):
    result = mark_executed("x = (", [], np.array([[0, 5]]), np.array([False]), verdict, FGO)
    assert result.tolist() == [verdict is Verdict.COMPILE_ERROR]


def no_end(tokens):
    return np.zeros(tokens, bool)


def test_mask_all_is_every_response_token():
    mask = np.array([True, False, False])
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(
        mark_trained(mask, no_end(3), replace(FGO, mask="all"), rng), [True] * 3
    )


def test_mask_executed_is_what_was_executed():
    mask = np.array([True, False, False])
    np.testing.assert_array_equal(
        mark_trained(mask, no_end(len(mask)), FGO, np.random.default_rng(0)), mask
    )


def test_the_random_control_is_as_sparse_and_falls_anywhere():
    mask = np.array([True, True, False, False, False, True])
    is_end = np.arange(6) == 5
    control = replace(FGO, mask="random_same_sparsity")
    rng = np.random.default_rng(0)
    draws = np.stack([mark_trained(mask, is_end, control, rng) for _ in range(2000)])
    np.testing.assert_array_equal(draws.sum(axis=1), 3)
    np.testing.assert_array_equal(draws[:, 5], True)
    np.testing.assert_allclose(draws[:, :5].mean(axis=0), 2 / 5, atol=0.05)


def test_the_random_control_is_repeatable():
    mask = np.arange(50) < 20
    control = replace(FGO, mask="random_same_sparsity")
    first, second = (
        mark_trained(mask, no_end(50), control, np.random.default_rng(7)) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
