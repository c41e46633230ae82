"""Supervised examples as rows: what is trained, what is padding, and what shares a row."""

import numpy as np
import pytest

from stepcoder_jax.data import example_rows
from stepcoder_jax.data.example_rows import ExampleRows, one_a_row, packed
from stepcoder_jax.data.prompts import Example

PAD = 999


def example(prompt: int, answer: int, first: int = 1) -> Example:
    """Tokens that count up from ``first``."""
    length = prompt + answer
    return Example(tokens=tuple(range(first, first + length)), answer_tokens=answer)


def random_examples(count: int, longest: int, seed: int = 0) -> list[Example]:
    """Each of tokens that no other has."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(2, longest + 1, count)
    answers = generator.integers(1, lengths)
    return [
        example(int(length - answer), int(answer), first=1000 * (i + 1))
        for i, (length, answer) in enumerate(zip(lengths, answers, strict=True))
    ]


def assert_same(a: ExampleRows, b: ExampleRows) -> None:
    for name, value in vars(a).items():
        np.testing.assert_array_equal(value, getattr(b, name), err_msg=name)


def unpacked(rows: ExampleRows) -> list[Example]:
    """The examples, read back from the rows by their segments, in the order of their tokens."""
    found = []
    for tokens, is_answer, segments in zip(rows.tokens, rows.is_answer, rows.segments, strict=True):
        for number in range(1, segments.max() + 1):
            at = segments == number
            assert (np.diff(np.flatnonzero(at)) == 1).all()
            found.append(
                Example(tokens=tuple(tokens[at].tolist()), answer_tokens=int(is_answer[at].sum()))
            )
    return sorted(found, key=lambda e: e.tokens)


def test_an_example_a_row_is_the_table_of_the_docstring() -> None:
    rows = one_a_row([example(2, 2), example(1, 4, first=5)], 6, PAD)
    assert rows.tokens.tolist() == [[1, 2, 3, 4, PAD, PAD], [5, 6, 7, 8, 9, PAD]]
    assert rows.is_answer.astype(int).tolist() == [[0, 0, 1, 1, 0, 0], [0, 1, 1, 1, 1, 0]]
    assert rows.segments.tolist() == [[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 0]]
    assert rows.used_fraction == 9 / 12


def test_packed_rows_are_the_table_of_the_docstring() -> None:
    rows = packed([example(2, 2), example(1, 3)], 10, PAD, seed=0)
    assert rows.segments.tolist() == [[1, 1, 1, 1, 2, 2, 2, 2, 0, 0]]
    assert rows.tokens[0, 8:].tolist() == [PAD, PAD]
    by_two = [0, 0, 1, 1], [0, 1, 1, 1]
    halves = rows.is_answer[0, :4].astype(int).tolist(), rows.is_answer[0, 4:8].astype(int).tolist()
    assert sorted(halves) == sorted(by_two)
    assert not rows.is_answer[0, 8:].any()
    assert rows.used_fraction == 8 / 10


def test_every_example_is_in_one_row_whole_with_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example_rows, "OPEN_ROWS", 64)
    examples = random_examples(700, 20)
    rows = packed(examples, 40, PAD, seed=3)
    assert unpacked(rows) == unpacked(one_a_row(examples, 40, PAD)) == examples
    # More than the rows open at one time, so that they were filled in several rounds.
    assert len(rows) > 2 * 64
    assert rows.used_fraction > 0.95


def test_packing_follows_from_the_seed() -> None:
    examples = random_examples(50, 20)
    rows = packed(examples, 32, PAD, seed=1)
    assert_same(rows, packed(examples, 32, PAD, seed=1))
    assert rows.tokens.tolist() != packed(examples, 32, PAD, seed=2).tokens.tolist()


@pytest.mark.parametrize("pack", [False, True])
def test_a_token_that_nothing_precedes_is_no_answer(pack: bool) -> None:
    examples = [example(0, 3), example(0, 2)]
    rows = packed(examples, 5, PAD, seed=0) if pack else one_a_row(examples, 5, PAD)
    begins = np.diff(rows.segments, axis=1, prepend=0) != 0
    assert not (rows.is_answer & begins).any()
    assert rows.is_answer.sum() == 3


def test_taking_rows_takes_them_of_every_array() -> None:
    rows = one_a_row(random_examples(5, 8), 8, PAD)
    taken = rows.take(np.array([3, 3, 0]))
    assert len(taken) == 3
    assert_same(taken.take(np.array([1, 2])), rows.take(np.array([3, 0])))
