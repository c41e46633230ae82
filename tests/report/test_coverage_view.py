"""Pieces of a program say what ran, and together are the program."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_files import sample

from stepcoder_jax.report.coverage_view import pieces, visible

PREFIX, RESPONSE = "if a:\n", "    b\nelse:\n    c\n"
#        0         1         2
#        012345678901234567890123
# source "if a:\n    b\nelse:\n    c\n"


def kinds(executed):
    found = pieces(sample(1, prefix=PREFIX, response=RESPONSE, executed=executed))
    return [(piece.kind, piece.text) for piece in found]


def test_a_program_is_cut_where_the_kind_changes():
    assert kinds([[0, 5], [10, 11]]) == [
        ("prefix", "if a:"),
        ("prefix", "\n"),
        ("blank", "    "),
        ("executed", "b"),
        ("idle", "\nelse:\n    c\n"),
    ]


def test_a_span_may_begin_in_the_prefix():
    assert kinds([[3, 11]])[-2:] == [("executed", "    b"), ("idle", "\nelse:\n    c\n")]


@pytest.mark.parametrize(
    "executed", [None, "x", [[1]], [["a", "b"]], [[5, 2]], [[-9, 0]], [[90, 99]], [[True, 9]]]
)
def test_spans_that_make_no_sense_execute_nothing(executed):
    assert [kind for kind, _ in kinds(executed)] == ["prefix", "idle"]


@given(st.lists(st.tuples(st.integers(-5, 40), st.integers(-5, 40)).map(list)))
def test_nothing_is_lost(executed):
    assert "".join(text for _, text in kinds(executed)) == PREFIX + RESPONSE


def test_hidden_characters_are_made_visible():
    assert visible("a\x00b\tc\n\u202ed\ud800") == "a\u2400b\tc\n\ufffdd\ufffd"
